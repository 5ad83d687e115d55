//! Jobs that leave: removed, expired, or early because the file is full.
//!
//! What a job leaves behind may be a million rows. So it goes in two steps: the job itself, which
//! is no more at once, and the rest, which is swept in slices, so that nobody waits for it.

use redb::ReadableTable as _;

use super::{
    fault::Fault,
    names::Account,
    tables::{Head, first_due},
    work::Work,
};
use crate::{
    job::{Job, JobId, Timestamp},
    store::Former,
};

/// How many entries are swept at a time: some ten milliseconds of work.
const SWEEP_SLICE: usize = 4_096;

/// How many finished jobs leave early in one transaction because of changes that need no room
/// made for them.
const TRIM_SLICE: usize = 64;

/// Entries that a piece of an input counts as when it is swept.
const PIECE_COST: usize = 16;

impl Work<'_, '_> {
    /// Takes a job out of everything it is found by.
    pub(super) fn take_out(&mut self, job: &Job, head: &Head) -> Result<(), Fault> {
        let name = job.id().as_str();
        let tables = &mut self.tables;
        let age = (job.origin.created_at.as_micros(), name);
        tables.jobs.remove(name)?;
        tables.cards.remove(age)?;
        tables.unfinished.remove(age)?;
        if let Some(end) = job.expires_at() {
            tables.expiry.remove((end.as_micros(), name))?;
        }
        let log = self.log(head.number)?;
        if log.is_some() {
            self.tables.event_logs.remove(head.number)?;
        }
        let weight = head.weight + log.map_or(0, |log| log.weight);
        let totals = &mut self.totals;
        totals.remove_job(head.state);
        if head.state.is_terminal() {
            totals.finished_weight = totals.finished_weight.saturating_sub(weight);
        }
        let events = log.map_or(0, |log| log.bytes);
        totals.event_bytes = totals.event_bytes.saturating_sub(events);
        let has_more =
            head.rows > 0 || head.input.is_some() || head.next_answer > 0 || log.is_some();
        if has_more {
            totals.trash_weight += weight;
            self.tables.trash.insert(head.number, weight)?;
        } else {
            totals.weight = totals.weight.saturating_sub(weight);
        }
        self.is_changed = true;
        self.outcomes
            .push((job.id().clone(), super::front::After::Over));
        Ok(())
    }

    /// Remembers that there was a job.
    pub(super) fn mark_gone(&mut self, job: &Job, until: Timestamp) -> Result<(), Fault> {
        let Former { owner, incarnation } = Former::of(&job.origin);
        let former = serde_json::to_vec(&(owner, incarnation)).expect("a string and an id");
        let totals = &mut self.totals;
        let (count, weight) = (&mut totals.gone, &mut totals.weight);
        let gone = &mut self.tables.names.gone;
        let name = job.id().as_str();
        gone.set(name, &former, Some(until), Account { count, weight })?;
        let account = Account { count, weight };
        gone.forget(Timestamp::ZERO, self.limits.names, 1, account)?;
        Ok(())
    }

    /// Removes up to `limit` jobs whose retention has ended, and forgets names whose time is over.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, Fault> {
        self.forget_names(now, limit)?;
        let mut removed = 0;
        while removed < limit
            && let Some((end, name)) = first_due(&self.tables.expiry, now.as_micros())?
        {
            let end = Timestamp::from_micros(end);
            self.leave(&name, end, end.plus_seconds(gone_seconds))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes a finished job whose retention ends at `end`.
    fn leave(&mut self, name: &str, end: Timestamp, gone_until: Timestamp) -> Result<(), Fault> {
        let Some((head, document)) = self.tables.job(name)? else {
            self.tables.expiry.remove((end.as_micros(), name))?;
            self.is_changed = true;
            return Ok(());
        };
        let job = self.era.read(&head, &document)?;
        self.take_out(&job, &head)?;
        self.mark_gone(&job, gone_until)
    }

    fn forget_names(&mut self, now: Timestamp, limit: usize) -> Result<(), Fault> {
        let names = &mut self.tables.names;
        let totals = &mut self.totals;
        let sorts = [
            (&mut names.gone, &mut totals.gone),
            (&mut names.reservations, &mut totals.reservations),
            (&mut names.values, &mut totals.values),
        ];
        let mut forgotten = 0;
        for (names, count) in sorts {
            let account = Account {
                count,
                weight: &mut totals.weight,
            };
            forgotten += names.forget(now, u64::MAX, limit, account)?;
        }
        self.is_changed |= forgotten > 0;
        Ok(())
    }

    /// Makes sure that so much more fits into the file, if need be in the place of finished jobs.
    /// When even that would not do, nothing leaves.
    pub(super) fn make_room(&mut self, weight: u64) -> Result<bool, Fault> {
        let totals = &self.totals;
        let reclaimable = totals.finished_weight + totals.trash_weight;
        if weight == 0 {
            return Ok(true);
        }
        if totals.weight.saturating_sub(reclaimable) + weight > self.limits.max_bytes {
            return Ok(false);
        }
        while self.totals.weight + weight > self.limits.max_bytes {
            if !self.sweep(SWEEP_SLICE)? && !self.evict()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps the file within its bounds after changes that go through in any case.
    pub(super) fn trim(&mut self) -> Result<(), Fault> {
        for _ in 0..TRIM_SLICE {
            let needed = self.totals.weight.saturating_sub(self.totals.trash_weight);
            if needed <= self.limits.max_bytes || !self.evict()? {
                break;
            }
        }
        Ok(())
    }

    /// Removes the finished job whose retention ends first, early: its name is known as gone for
    /// as long as it should have been there.
    fn evict(&mut self) -> Result<bool, Fault> {
        let Some((end, name)) = first_due(&self.tables.expiry, u64::MAX)? else {
            return Ok(false);
        };
        let end = Timestamp::from_micros(end);
        self.leave(&name, end, end)?;
        Ok(true)
    }

    /// Sweeps some of what removed jobs have left, if there is any.
    pub(super) fn sweep_some(&mut self) -> Result<(), Fault> {
        if self.totals.trash_weight > 0 {
            self.sweep(SWEEP_SLICE)?;
        }
        Ok(())
    }

    /// Sweeps some of what removed jobs have left; whether there was anything.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<bool, Fault> {
        let first = self.tables.trash.first()?;
        let Some((number, weight)) = first.map(|(key, value)| (key.value(), value.value())) else {
            self.is_changed |= std::mem::take(&mut self.totals.trash_weight) > 0;
            return Ok(false);
        };
        self.is_changed = true;
        let tables = &mut self.tables;
        let mut left = limit;
        let all = (number, 0)..(number + 1, 0);
        for entry in tables
            .events
            .extract_from_if(all.clone(), |_, _| true)?
            .take(left)
        {
            let seq = entry?.0.value().1;
            tables.events_by_age.remove((seq, number))?;
            left -= 1;
        }
        for entry in tables
            .rows
            .extract_from_if(all.clone(), |_, _| true)?
            .take(left)
        {
            entry?;
            left -= 1;
        }
        for entry in tables.answers.extract_from_if(all, |_, _| true)?.take(left) {
            let (_, entry) = entry?;
            let (_, report_id, _) = entry.value();
            tables.answer_places.remove((number, report_id))?;
            left -= 1;
        }
        let pieces = (number, 0)..(number + 1, 0);
        let most = left.div_ceil(PIECE_COST);
        for entry in tables
            .inputs
            .extract_from_if(pieces, |_, _| true)?
            .take(most)
        {
            entry?;
            left = left.saturating_sub(PIECE_COST);
        }
        if left > 0 {
            tables.trash.remove(number)?;
            let totals = &mut self.totals;
            totals.trash_weight = totals.trash_weight.saturating_sub(weight);
            totals.weight = totals.weight.saturating_sub(weight);
        }
        Ok(true)
    }

    /// See [`Store::reserve`](crate::store::Store::reserve).
    pub(super) fn reserve(
        &mut self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, Fault> {
        let reservations = &mut self.tables.names.reservations;
        if let Some(bound) = reservations.get(key, now)? {
            let bound =
                std::str::from_utf8(&bound).map_err(|_| Fault::damaged("a reserved name"))?;
            return JobId::parse(bound).map_err(Fault::damaged);
        }
        let until = now.plus_seconds(crate::store::RESERVATION_SECONDS);
        let totals = &mut self.totals;
        let (count, weight) = (&mut totals.reservations, &mut totals.weight);
        let name = job_id.as_str().as_bytes();
        reservations.set(key, name, Some(until), Account { count, weight })?;
        let account = Account { count, weight };
        reservations.forget(Timestamp::ZERO, self.limits.names, 1, account)?;
        self.is_changed = true;
        Ok(job_id.clone())
    }

    /// See [`Store::put_if_absent`](crate::store::Store::put_if_absent).
    pub(super) fn put_if_absent(
        &mut self,
        key: &str,
        value: &[u8],
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<u8>, Fault> {
        let values = &mut self.tables.names.values;
        if let Some(there) = values.get(key, now)? {
            return Ok(there);
        }
        let totals = &mut self.totals;
        let (count, weight) = (&mut totals.values, &mut totals.weight);
        values.forget(now, u64::MAX, SWEEP_SLICE, Account { count, weight })?;
        self.is_changed = true;
        if *count >= self.limits.names {
            return Err(Fault::Full("another value"));
        }
        values.set(key, value, until, Account { count, weight })?;
        Ok(value.to_vec())
    }
}
