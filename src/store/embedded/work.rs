//! What is done to jobs within a transaction: creations, changes and progress that has waited.

use std::sync::Arc;

use super::{
    EmbeddedLimits, answers,
    card::Card,
    errand::OwnedCommit,
    events::EventLog,
    fault::Fault,
    front::{After, Dirty, Front},
    names::Account,
    record::{Era, document},
    tables::{Head, Tables},
    totals::Totals,
    weight::weigh,
};
use crate::{
    job::{Event, Job, JobId, Seq, Timestamp},
    store::{Committed, Created, Input, Stored},
};

/// Bytes of a piece of an input: with its key it fits into a run of pages whose number is a power
/// of two.
const PIECE: usize = 65_000;

/// What the head of a job adds to its document.
const HEAD_BYTES: usize = 110;

/// A transaction at work.
///
/// Each of its operations decides first and writes then, so that one that cannot be done leaves
/// nothing behind and the others alone.
pub(super) struct Work<'a, 'txn> {
    pub(super) tables: Tables<'txn>,
    pub(super) totals: Totals,
    pub(super) era: Era,
    pub(super) limits: &'a EmbeddedLimits,
    pub(super) front: &'a Front,
    /// What became of the jobs that it dealt with, in order.
    pub(super) outcomes: Vec<(JobId, After)>,
    /// Whether there is anything to commit.
    pub(super) is_changed: bool,
}

/// A job as it is at present: on the disk, and in front of it.
struct Present {
    head: Head,
    /// How long its document is.
    length: usize,
    /// Progress that is newer than the file's.
    dirty: Option<Dirty>,
    seq: Seq,
}

impl Work<'_, '_> {
    /// Has a job queue behind this transaction.
    fn hold(&mut self, job_id: &JobId) -> Option<Dirty> {
        let dirty = self.front.hold(job_id);
        self.outcomes.push((job_id.clone(), After::Left));
        dirty
    }

    /// The job that has the name, which is held.
    fn present(&mut self, job_id: &JobId) -> Result<Option<Present>, Fault> {
        let dirty = self.hold(job_id);
        let Some((head, length)) = self.tables.head(job_id.as_str())? else {
            self.outcomes.push((job_id.clone(), After::Over));
            return Ok(None);
        };
        let on_disk = self.era.seq_of(&head);
        let dirty = dirty.filter(|dirty| {
            dirty.job.origin.incarnation == head.incarnation && dirty.job.seq > on_disk
        });
        self.know(job_id, &head);
        Ok(Some(Present {
            head,
            length,
            seq: dirty.as_ref().map_or(on_disk, |dirty| dirty.job.seq),
            dirty,
        }))
    }

    /// Notes what the file says of a job.
    fn know(&mut self, job_id: &JobId, head: &Head) {
        let after = match head.state.is_terminal() {
            true => After::Over,
            false => After::Unfinished(head.incarnation, self.era.seq_of(head), head.state),
        };
        self.outcomes.push((job_id.clone(), after));
    }

    /// The job with what its writer needs.
    fn stored(&self, job_id: &JobId, present: &Present) -> Result<Box<Stored>, Fault> {
        let head = &present.head;
        let (job, nonce) = match &present.dirty {
            Some(dirty) => (Arc::clone(&dirty.job), Some(dirty.nonce)),
            None => {
                let row = self.tables.job(job_id.as_str())?;
                let (_, document) = row.ok_or_else(|| Fault::damaged("a job's entry"))?;
                (self.era.read(head, &document)?, head.nonce)
            }
        };
        let ledger = answers::ledger(&self.tables.answers, head)?;
        Ok(Box::new(Stored { job, ledger, nonce }))
    }

    pub(super) fn create(&mut self, job: &Job, input: Option<&Input>) -> Result<Created, Fault> {
        let now = job.origin.created_at;
        let (job_id, name) = (job.id(), job.id().as_str());
        if let Some(present) = self.present(job_id)? {
            let stored = self.stored(job_id, &present)?;
            if stored.job.expires_at().is_none_or(|end| end > now) {
                return Ok(Created::Exists(stored));
            }
            self.take_out(&stored.job, &present.head)?;
        }
        let card = Card::of(job).bytes();
        let document = document(job);
        let content = input.map(|input| &*input.content).unwrap_or_default();
        let input_weight: u64 = content
            .chunks(PIECE)
            .map(|piece| weigh(12, piece.len()))
            .sum();
        let kind_bytes = job.origin.kind.as_ref().map_or(0, |kind| kind.len());
        let weight = weigh(name.len(), HEAD_BYTES + document.len())
            + weigh(8 + name.len(), card.len())
            + weigh(8 + name.len(), kind_bytes)
            + input_weight;
        if !self.make_room(weight)? {
            return Ok(Created::Full);
        }
        let totals = &mut self.totals;
        self.tables.names.gone.remove(
            name,
            Account {
                count: &mut totals.gone,
                weight: &mut totals.weight,
            },
        )?;
        // Above every seq of an earlier job of the same name, whose watchers may come back.
        let (_, seq) = self.front.assign(self.front.newest(), 1, now);
        let totals = &mut self.totals;
        let head = Head {
            number: totals.next_number,
            incarnation: job.origin.incarnation,
            seq,
            state: job.face.state,
            nonce: None,
            rows: 0,
            first_answer: 0,
            next_answer: 0,
            weight,
            input: input.map(|input| input.format),
        };
        totals.next_number += 1;
        totals.weight += weight;
        totals.add_job(head.state);
        let age = (now.as_micros(), name);
        let tables = &mut self.tables;
        for (place, piece) in content.chunks(PIECE).enumerate() {
            tables.inputs.insert((head.number, place as u32), piece)?;
        }
        tables.jobs.insert(name, (head.value(), &*document))?;
        tables.cards.insert(age, &*card)?;
        tables.unfinished.insert(age, job.origin.kind.as_deref())?;
        self.is_changed = true;
        self.know(job_id, &head);
        Ok(Created::Done(seq))
    }

    pub(super) fn commit(&mut self, commit: &OwnedCommit) -> Result<Committed, Fault> {
        let job = &commit.job;
        let job_id = job.id();
        let Some(present) = self.present(job_id)? else {
            return Ok(Committed::Missing);
        };
        let mut head = present.head;
        if head.incarnation != job.origin.incarnation {
            return Ok(Committed::Missing);
        }
        let prev = present.seq;
        if prev != job.seq || self.knows_any(&head, &commit.answers, commit.now)? {
            return Ok(Committed::Conflict(self.stored(job_id, &present)?));
        }
        let before = head;
        let events = commit
            .events
            .iter()
            .map(|(_, event)| EventLog::weight_of(event));
        let rows = commit.rows.iter().map(|row| weigh(16, row.as_str().len()));
        let rows_weight: u64 = rows.sum();
        if !self.make_room(events.sum::<u64>() + rows_weight)? {
            return Err(Fault::Full("events and result rows"));
        }
        let (first, last) = self.front.assign(prev, commit.positions, commit.now);
        for (index, row) in (head.rows..).zip(&commit.rows) {
            self.tables
                .rows
                .insert((head.number, index), row.as_str())?;
        }
        head.rows += commit.rows.len() as u64;
        let answers_weight = self.remember(&mut head, &commit.answers, prev, first, commit.now)?;
        head.seq = last;
        head.nonce = Some(commit.nonce);
        head.state = job.face.state;
        let new_length = commit.document.len();
        let document = |length| weigh(job_id.as_str().len(), HEAD_BYTES + length) as i64;
        let growth =
            document(new_length) - document(present.length) + rows_weight as i64 + answers_weight;
        head.weight = head.weight.saturating_add_signed(growth);
        self.totals.weight = self.totals.weight.saturating_add_signed(growth);
        self.move_on(job, &before, &head)?;
        let row = (head.value(), &*commit.document);
        self.tables.jobs.insert(job_id.as_str(), row)?;
        if !commit.events.is_empty() {
            let events = commit.events.iter().map(|(place, event)| Event {
                seq: Committed::seq_at(prev, first, *place),
                name: event.name.clone(),
                data: event.data.clone(),
            });
            self.append_events(head.number, head.state.is_terminal(), events)?;
        }
        self.is_changed = true;
        self.know(job_id, &head);
        Ok(Committed::Done { prev, first })
    }

    /// Keeps the indexes and the totals up with a job's state.
    fn move_on(&mut self, job: &Job, before: &Head, head: &Head) -> Result<(), Fault> {
        let (was_over, is_over) = (before.state.is_terminal(), head.state.is_terminal());
        if was_over {
            let growth = head.weight as i64 - before.weight as i64;
            let finished = &mut self.totals.finished_weight;
            *finished = finished.saturating_add_signed(growth);
        }
        if before.state == head.state {
            return Ok(());
        }
        self.totals.remove_job(before.state);
        self.totals.add_job(head.state);
        let name = job.id().as_str();
        let age = (job.origin.created_at.as_micros(), name);
        self.tables.cards.insert(age, &*Card::of(job).bytes())?;
        if is_over && !was_over {
            self.tables.unfinished.remove(age)?;
            let end = job.expires_at().unwrap_or(job.updated_at);
            self.tables.expiry.insert((end.as_micros(), name), ())?;
            let events = self.finish_events(head.number)?;
            self.totals.finished_weight += head.weight + events;
        }
        Ok(())
    }

    /// Takes progress that has waited to the disk.
    pub(super) fn flush(&mut self, taken: &[Dirty]) -> Result<(), Fault> {
        for Dirty { job, nonce } in taken {
            let name = job.id().as_str();
            let found = match self.tables.head(name) {
                // Nothing can be made of it any more, and the others' progress must not wait for it.
                Err(fault) if !fault.is_fatal() => None,
                found => found?,
            };
            let Some((mut head, length)) = found else {
                self.outcomes.push((job.id().clone(), After::Over));
                continue;
            };
            let is_that = head.incarnation == job.origin.incarnation;
            if is_that && job.seq > self.era.seq_of(&head) {
                let document = document(job);
                let weight = |length| weigh(name.len(), HEAD_BYTES + length) as i64;
                let growth = weight(document.len()) - weight(length);
                head.seq = job.seq;
                head.nonce = Some(*nonce);
                head.weight = head.weight.saturating_add_signed(growth);
                self.totals.weight = self.totals.weight.saturating_add_signed(growth);
                self.tables.jobs.insert(name, (head.value(), &*document))?;
                self.is_changed = true;
            }
            self.know(job.id(), &head);
        }
        Ok(())
    }

    /// Removes that very job, if it is there; its name is known as gone until `gone_until`.
    pub(super) fn remove(
        &mut self,
        job_id: &JobId,
        incarnation: uuid::Uuid,
        gone_until: Timestamp,
    ) -> Result<(), Fault> {
        let Some(present) = self.present(job_id)? else {
            return Ok(());
        };
        if present.head.incarnation != incarnation {
            return Ok(());
        }
        let stored = self.stored(job_id, &present)?;
        self.take_out(&stored.job, &present.head)?;
        self.mark_gone(&stored.job, gone_until)
    }
}
