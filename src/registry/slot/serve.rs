//! What a slot's writer does with the requests that it has taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Errand, Request, Slot, Streak, batch::Batch};
use crate::{
    frame::Ending,
    job::{Answer, Job, Seq, Timestamp},
    registry::{Inner, LifecycleEvent, RegistryError, timekeeper::remind},
    store::{Committed, Loaded, StoreError, Stored},
};

/// For how long a batch is applied anew because other nodes are quicker, before it is given up: a
/// node that is farther from the store loses often against one that is near.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(5);

/// For how long a node leaves a job alone, so that one that is farther from the store has a turn:
/// that one reads, and has to be back before anybody else. Time for the way of 20 ms, twice.
const TURN: Duration = Duration::from_millis(50);

/// How long it goes on committing without such a pause.
const LONGEST_STREAK: Duration = Duration::from_secs(1);

/// A store that takes longer than this to fail is not asked once more: whoever waits has waited enough.
const QUICK: Duration = Duration::from_secs(1);

/// How long a writer pauses at most before it tries again.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// How long a slot waits, in seconds, before it asks a store again that has failed it.
pub(super) const RETRY_SECONDS: u64 = 1;

impl Slot {
    /// Does what is asked, in order, and answers it.
    pub(super) async fn serve(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        let (is_removed, is_doubtful) = {
            let desk = self.lock();
            (desk.is_removed, desk.is_doubtful || !desk.is_verified)
        };
        if is_removed {
            return answer_all(inner, requests, &RegistryError::Gone);
        }
        let errand = &requests.first().expect("only what waits is taken").errand;
        if (is_doubtful || matches!(errand, Errand::Refresh))
            && let Err(error) = self.reread(inner).await
        {
            return answer_all(inner, requests, &error);
        }
        match errand {
            Errand::Apply(_) => self.apply(inner, requests).await,
            &Errand::Remove { gone_until } => self.remove(inner, requests, gone_until).await,
            Errand::Freshen => match self.catch_up(inner).await {
                Ok(()) => self.answer_current(requests),
                Err(error) => answer_all(inner, requests, &error),
            },
            Errand::Hear(heard) => {
                let heard = self.take_over(inner, heard).await;
                if let Err(error) = heard {
                    tracing::debug!(job.id = %self.job_id(), %error, "a notice could not be followed");
                }
            }
            Errand::Refresh => self.answer_current(requests),
        }
    }

    async fn remove(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        requests: Vec<Request>,
        gone_until: Timestamp,
    ) {
        match inner.store.remove(&self.origin, gone_until).await {
            Ok(()) => {
                self.forget(inner);
                self.answer_current(requests);
            }
            Err(error) => self.give_up(inner, requests, error).await,
        }
    }

    async fn apply(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        if inner.is_shared() {
            self.leave_a_turn().await;
        }
        let begin = Instant::now();
        let mut knows_answers = !inner.is_shared();
        while begin.elapsed() < CONFLICT_PATIENCE {
            let mut batch = {
                let desk = self.lock();
                Batch::step(
                    &desk.current,
                    &desk.ledger,
                    &requests,
                    &inner.settings.load(),
                )
            };
            if !knows_answers && batch.has_refused_a_named_one(&requests) {
                knows_answers = true;
                match self.look_up_answers(inner, &requests).await {
                    Ok(()) => continue,
                    Err(error) => return self.give_up(inner, requests, error).await,
                }
            }
            if !batch.needs_commit(inner.is_shared()) {
                // Other nodes may know what makes a refusal wrong.
                let before = batch.job().seq;
                if let Err(error) = self.catch_up(inner).await {
                    return answer_all(inner, requests, &error);
                }
                if self.lock().current.seq != before {
                    continue;
                }
                self.keep(inner, batch.take_job());
                return batch.answer(requests, &inner.metrics);
            }
            match self.commit(inner, &batch).await {
                Ok(Committed::Done { prev, first }) => {
                    return self.show(inner, batch, requests, prev, first);
                }
                Ok(Committed::Conflict(stored)) => match self.adopt(inner, *stored).await {
                    // As chance has it, so that nodes do not go on meeting each other.
                    Ok(()) => {
                        let share = rand::random_range(0.0..1.0);
                        tokio::time::sleep(LONGEST_PAUSE.mul_f64(share)).await;
                    }
                    Err(RegistryError::Store(error)) => {
                        return self.give_up(inner, requests, error).await;
                    }
                    Err(error) => return answer_all(inner, requests, &error),
                },
                // It was removed, or a store that nodes share has lost it and is given it again.
                Ok(Committed::Missing) if inner.is_shared() && !self.job().is_finished() => {
                    if let Err(error) = self.reread(inner).await {
                        return answer_all(inner, requests, &error);
                    }
                }
                Ok(Committed::Missing) => {
                    self.forget(inner);
                    return answer_all(inner, requests, &RegistryError::Gone);
                }
                Err(error) => return self.give_up(inner, requests, error).await,
            }
        }
        let error = StoreError::Unavailable("other nodes change the job too often".to_owned());
        self.give_up(inner, requests, error).await;
    }

    /// Pauses when this node has given the job no rest for too long: one that is near to the store
    /// would always be quicker than another. What comes meanwhile folds into the next commit.
    async fn leave_a_turn(&self) {
        let is_due = {
            let mut desk = self.lock();
            let now = Instant::now();
            let mut streak = desk.streak.filter(|streak| now <= streak.end + TURN);
            let begin = streak
                .get_or_insert(Streak {
                    begin: now,
                    end: now,
                })
                .begin;
            let is_due = now > begin + LONGEST_STREAK;
            desk.streak = (!is_due).then_some(Streak { begin, end: now });
            is_due
        };
        if is_due {
            tokio::time::sleep(TURN).await;
        }
    }

    /// Commits a batch. When the store did not answer it is asked whether it has done it all the
    /// same; and once more to do it, when other nodes use it too: then it is the way there that
    /// failed, as a rule, which is another one by now.
    async fn commit(&self, inner: &Inner, batch: &Batch) -> Result<Committed, StoreError> {
        let prev = batch.job().seq;
        let done = |stored: &Stored| {
            let first = batch.first_if_done(stored)?;
            Some(Committed::Done { prev, first })
        };
        let mut failed: Option<StoreError> = None;
        let begin = Instant::now();
        loop {
            let error = match (inner.store.commit(batch.commit()).await, failed.take()) {
                (Ok(Committed::Conflict(stored)), first_error) => {
                    // The first try may have come late and all the same before the second. When
                    // somebody has changed the job since, nobody knows.
                    return match (done(&stored), first_error) {
                        (Some(done), _) => Ok(done),
                        (None, Some(error)) => Err(error),
                        (None, None) => Ok(Committed::Conflict(stored)),
                    };
                }
                (Ok(committed), _) => return Ok(committed),
                (Err(error), _) if inner.is_shared() && begin.elapsed() > QUICK => {
                    return Err(error);
                }
                (Err(error), None) if inner.is_shared() => error,
                (Err(error), _) => {
                    let stored = self.load(inner).await;
                    return stored.and_then(|stored| done(&stored)).ok_or(error);
                }
            };
            let Some(stored) = self.load(inner).await else {
                return Err(error);
            };
            if let Some(done) = done(&stored) {
                return Ok(done);
            }
            if stored.job.seq != prev || batch.may_be_done_twice() {
                return Err(error);
            }
            failed = Some(error);
        }
    }

    /// The job as the store has it, if it says.
    async fn load(&self, inner: &Inner) -> Option<Box<Stored>> {
        match inner.store.load(self.job_id(), inner.clock.now()).await {
            Ok(Loaded::Job(stored)) => Some(stored),
            _ => None,
        }
    }

    /// Refuses requests that the store failed. Whether it did what it was asked is unknown, so
    /// its state is read at the next occasion: now, with the next request, or in a second, which
    /// also gives a deadline that could not be kept another chance.
    async fn give_up(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        requests: Vec<Request>,
        error: StoreError,
    ) {
        self.lock().is_doubtful = true;
        self.set_alarm(inner, inner.clock.now().plus_seconds(RETRY_SECONDS));
        answer_all(inner, requests, &error.into());
        // What was committed although its answer was lost is shown without waiting for a report.
        let _ = self.reread(inner).await;
    }

    /// Shows a committed batch, then answers it.
    fn show(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        mut batch: Batch,
        requests: Vec<Request>,
        prev: Seq,
        first: Seq,
    ) {
        batch.settle(prev, first);
        let job = batch.take_job();
        {
            let mut desk = self.lock();
            for (report_id, answer) in batch.remembered() {
                desk.ledger.remember(report_id, answer, batch.now);
            }
        }
        for stage in batch.stages(&job, prev, first) {
            let reminder =
                self.hub
                    .publish(stage.job, &stage.events, stage.is_status, Instant::now());
            remind(inner, self, reminder);
        }
        self.keep(inner, job);
        batch.answer(requests, &inner.metrics);
    }

    /// Makes `job` the state that the next batch works on.
    pub(super) fn keep(self: &Arc<Self>, inner: &Arc<Inner>, job: Arc<Job>) {
        let is_finished = job.is_finished();
        let before = std::mem::replace(&mut self.lock().current, Arc::clone(&job));
        self.stop_if_over();
        if job.face.state != before.face.state {
            inner.lifecycle.tell(&LifecycleEvent::Entered(job));
        }
        if is_finished {
            inner.let_go(self);
        } else {
            self.watch_the_clock(inner);
        }
    }

    /// The job is no more: its streams end, and every later request is told so.
    pub(super) fn forget(self: &Arc<Self>, inner: &Arc<Inner>) {
        self.lock().is_removed = true;
        inner.let_go(self);
        self.hub.end(Ending::Removed);
        self.stop_if_over();
        inner.lifecycle.tell(&LifecycleEvent::Removed {
            job_id: self.job_id().clone(),
            incarnation: self.origin.incarnation,
            job: Some(self.job()),
        });
    }

    fn answer_current(&self, requests: Vec<Request>) {
        let answer = answer_of(&self.lock().current);
        for request in requests {
            let _ = request.reply.send(Ok(answer.clone()));
        }
    }
}

fn answer_all(inner: &Inner, requests: Vec<Request>, error: &RegistryError) {
    for request in requests {
        request.count(false, &inner.metrics);
        let _ = request.reply.send(Err(error.clone()));
    }
}

/// The answer to a report that left the job like this.
pub(super) fn answer_of(job: &Job) -> Answer {
    Answer {
        job_id: job.id().clone(),
        status: job.face.state,
        seq: job.seq,
        cancel_requested: job.face.cancel_requested,
    }
}
