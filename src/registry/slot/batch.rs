//! Several requests applied one after the other, to be committed as one change.

use std::{mem, sync::Arc};

use uuid::Uuid;

use super::{Errand, Request, serve::answer_of};
use crate::{
    job::{
        Answer, Bounds, Command, Event, Job, Json, Ledger, NewEvent, ReportId, Seq, Timestamp, step,
    },
    metrics::RegistryMetrics,
    registry::{RegistryError, Settings},
    store::{Commit, Committed, Stored},
};

/// What a run of requests comes to. Seqs are still *places*: 1 for the commit's first change.
pub(super) struct Batch {
    /// The job before the first of them, with the seq that the commit is made on.
    before: Arc<Job>,
    /// The job after the last of them, still with that seq; `None` when all were refused.
    after: Option<Job>,
    /// Whether the status itself changed, since the last of the steps.
    is_status: bool,
    /// When the last request came.
    pub(super) now: Timestamp,
    /// Whether watchers are shown each of the changes, rather than what they come to.
    is_every_change_shown: bool,
    /// The job after each change but the newest, the change's place, and whether the status itself changed, when each is
    /// shown.
    steps: Vec<(Job, u64, bool)>,
    positions: u64,
    events: Vec<(u64, NewEvent)>,
    rows: Vec<Json>,
    /// Whether some of the rows came without a report id.
    has_nameless_rows: bool,
    remembered: Vec<(ReportId, u64, Answer)>,
    outcomes: Vec<Outcome>,
    /// By which its commit is known again.
    nonce: Uuid,
    is_replaceable: bool,
}

/// What is shown at once of a committed batch.
pub(super) struct Stage {
    /// The job afterwards.
    pub(super) job: Arc<Job>,
    /// The events since the stage before.
    pub(super) events: Vec<Event>,
    /// Whether the status itself changed.
    pub(super) is_status: bool,
}

/// What one request is answered with.
enum Outcome {
    /// As after the change at this place.
    Placed(u64, Answer),
    /// As before, since this very request was answered before.
    Repeated(Answer),
    /// It changed nothing.
    Refused(RegistryError),
}

impl Batch {
    /// Applies `requests` to `current` in order. One that is refused leaves the others alone.
    pub(super) fn step(
        current: &Arc<Job>,
        ledger: &Ledger,
        requests: &[Request],
        settings: &Settings,
    ) -> Self {
        let now = requests.last().map_or(current.updated_at, |last| last.at);
        let mut batch = Self {
            before: Arc::clone(current),
            after: None,
            is_status: false,
            now,
            // Without a pace, whoever keeps up gets every report.
            is_every_change_shown: settings.update_interval.is_zero(),
            steps: Vec::new(),
            positions: 0,
            events: Vec::new(),
            rows: Vec::new(),
            has_nameless_rows: false,
            remembered: Vec::new(),
            outcomes: Vec::with_capacity(requests.len()),
            nonce: Uuid::new_v4(),
            is_replaceable: true,
        };
        for request in requests {
            let outcome = batch.take(request, ledger, &settings.bounds);
            batch.outcomes.push(outcome);
        }
        batch
    }

    fn take(&mut self, request: &Request, ledger: &Ledger, bounds: &Bounds) -> Outcome {
        let Errand::Apply(command) = &request.errand else {
            return Outcome::Refused(RegistryError::Gone);
        };
        if let Some(report_id) = &request.report_id {
            if let Some(answer) = ledger.find(report_id, request.at) {
                return Outcome::Repeated(answer.clone());
            }
            let twin = self
                .remembered
                .iter()
                .find(|(known, ..)| known == report_id);
            if let Some((_, place, answer)) = twin {
                return Outcome::Placed(*place, answer.clone());
            }
        }
        let change = match step(self.job(), command, bounds, request.at) {
            Ok(change) => change,
            Err(refusal) => return Outcome::Refused(refusal.into()),
        };
        let is_change = change.is_status || matches!(command.inner(), Command::Events(_));
        if is_change && self.is_every_change_shown && self.positions > 0 {
            let is_status = mem::take(&mut self.is_status);
            self.steps
                .push((self.job().clone(), self.positions, is_status));
        }
        let answer = answer_of(self.after.insert(change.job));
        self.is_status |= change.is_status;
        self.is_replaceable &= change.is_replaceable && request.report_id.is_none();
        match command.inner() {
            Command::Events(events) => {
                let first = self.positions + 1;
                self.events.extend((first..).zip(events.iter().cloned()));
                self.positions += events.len() as u64;
            }
            Command::Rows(rows) => {
                self.rows.extend_from_slice(rows);
                self.has_nameless_rows |= request.report_id.is_none();
                self.positions += u64::from(change.is_status);
            }
            _ => self.positions += u64::from(change.is_status),
        }
        if let Some(report_id) = &request.report_id {
            self.remembered
                .push((report_id.clone(), self.positions, answer.clone()));
        }
        Outcome::Placed(self.positions, answer)
    }

    /// Whether there is anything to store. A mere sign of life needs no commit, unless other nodes
    /// have to know of it.
    pub(super) fn needs_commit(&self, is_shared: bool) -> bool {
        self.positions > 0
            || !self.rows.is_empty()
            || !self.remembered.is_empty()
            || (is_shared && !self.job().is_finished() && self.has_sign_of_life())
    }

    /// The job after all of them, with the seq of the one before.
    pub(super) fn job(&self) -> &Job {
        self.after.as_ref().unwrap_or(&self.before)
    }

    /// The same, once: it is not kept, so nothing but the answers may be asked of the batch afterwards.
    pub(super) fn take_job(&mut self) -> Arc<Job> {
        match self.after.take() {
            Some(job) => Arc::new(job),
            None => Arc::clone(&self.before),
        }
    }

    fn has_sign_of_life(&self) -> bool {
        let is_placed = |outcome: &Outcome| matches!(outcome, Outcome::Placed(..));
        self.outcomes.iter().any(is_placed)
    }

    /// Whether a request was refused that may be a repetition of one which was not.
    pub(super) fn has_refused_a_named_one(&self, requests: &[Request]) -> bool {
        let mut outcomes = self.outcomes.iter().zip(requests);
        outcomes.any(|(outcome, request)| {
            request.report_id.is_some() && matches!(outcome, Outcome::Refused(_))
        })
    }

    /// Where the changes begin of this very batch, when the store turns out to hold it as its newest
    /// commit.
    pub(super) fn first_if_done(&self, stored: &Stored) -> Option<Seq> {
        let is_done = stored.nonce == Some(self.nonce);
        let before_last = self.positions.saturating_sub(1);
        is_done
            .then(|| Seq::new(stored.job.seq.get().saturating_sub(before_last)))
            .flatten()
    }

    /// Whether the store would do it a second time when it has done it already and was given another
    /// commit since: rows take no position, so that no seq tells of them.
    pub(super) fn may_be_done_twice(&self) -> bool {
        self.positions == 0 && self.has_nameless_rows
    }

    pub(super) fn commit(&self) -> Commit<'_> {
        Commit {
            job: self.job(),
            positions: self.positions,
            events: &self.events,
            rows: &self.rows,
            answers: &self.remembered,
            now: self.now,
            nonce: self.nonce,
            is_replaceable: self.is_replaceable,
        }
    }

    /// Puts the seqs that the store assigned in the place of places.
    pub(super) fn settle(&mut self, prev: Seq, first: Seq) {
        if let Some(job) = &mut self.after {
            job.seq = Committed::seq_at(prev, first, self.positions);
        }
        let outcomes = self
            .outcomes
            .iter_mut()
            .filter_map(|outcome| match outcome {
                Outcome::Placed(place, answer) => Some((*place, answer)),
                Outcome::Repeated(_) | Outcome::Refused(_) => None,
            });
        let remembered = self
            .remembered
            .iter_mut()
            .map(|(_, place, answer)| (*place, answer));
        for (place, answer) in outcomes.chain(remembered) {
            answer.seq = Committed::seq_at(prev, first, place);
        }
    }

    /// What watchers are shown, in order: each change, or all of them as one, which `job` is.
    pub(super) fn stages(&mut self, job: &Arc<Job>, prev: Seq, first: Seq) -> Vec<Stage> {
        let steps = mem::take(&mut self.steps).into_iter();
        let steps = steps.map(|(job, place, is_status)| {
            let seq = Committed::seq_at(prev, first, place);
            (Arc::new(Job { seq, ..job }), place, is_status)
        });
        let newest = (Arc::clone(job), self.positions, self.is_status);
        let newest = (self.positions > 0).then_some(newest);
        let mut events = self.events.drain(..).peekable();
        let stage = |(job, place, is_status): (Arc<Job>, u64, bool)| {
            let mut shown = Vec::new();
            while let Some((place, event)) = events.next_if(|(at, _)| *at <= place) {
                let seq = Committed::seq_at(prev, first, place);
                let NewEvent { name, data } = event;
                shown.push(Event { seq, name, data });
            }
            Stage {
                job,
                events: shown,
                is_status,
            }
        };
        steps.chain(newest).map(stage).collect()
    }

    /// The report ids to remember, with their settled answers.
    pub(super) fn remembered(&self) -> impl Iterator<Item = (ReportId, Answer)> + '_ {
        let entry =
            |(report_id, _, answer): &(ReportId, u64, Answer)| (report_id.clone(), answer.clone());
        self.remembered.iter().map(entry)
    }

    /// Answers the requests that the batch was made of.
    pub(super) fn answer(self, requests: Vec<Request>, metrics: &RegistryMetrics) {
        for (request, outcome) in requests.into_iter().zip(self.outcomes) {
            match &outcome {
                Outcome::Placed(..) => request.count(true, metrics),
                Outcome::Refused(_) => request.count(false, metrics),
                // Counted when it was done.
                Outcome::Repeated(_) => {}
            }
            let answer = match outcome {
                Outcome::Placed(_, answer) | Outcome::Repeated(answer) => Ok(answer),
                Outcome::Refused(error) => Err(error),
            };
            // A client that has left gets no answer; its request stands.
            let _ = request.reply.send(answer);
        }
    }
}
