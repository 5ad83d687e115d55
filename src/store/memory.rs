//! The store that keeps nothing beyond the process.

mod events;
mod index;
mod names;
mod record;
mod tally;
#[cfg(test)]
mod tests;
mod values;

use std::{
    ops::Bound,
    sync::{
        Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Commit, Committed, Created, Filter, Former, Input, JobCounts, KeptEvents, Loaded, Position,
    RESERVATION_SECONDS, Rows, Store, StoreError, Stored,
};
use crate::job::{Answer, Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp};
use events::{EventBudget, EventLog};
use index::Index;
use record::{Record, RecordState, Records};
use tally::Tally;
use values::Values;

/// Most values of `put_if_absent`: the tickets that ten thousand pages a second use up. Each is small.
const MOST_VALUES: usize = 1_000_000;

/// How many jobs a list looks at before it lets go of the index for writers.
const LIST_SLICE: usize = 1_000;

/// Bounds on what the store keeps.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// Kept events per job.
    pub events_per_job: usize,
    /// Bytes of kept events per job.
    pub event_bytes_per_job: usize,
    /// Bytes of kept events in all; beyond it the oldest of all is dropped.
    pub event_bytes: usize,
    /// Finished jobs; beyond it the one that expires first leaves early.
    pub finished_jobs: usize,
    /// Bytes of result rows and inputs in all; beyond it the finished job that expires first leaves early.
    pub row_bytes: usize,
}

/// Jobs in this process's memory.
#[derive(Debug)]
pub struct Memory {
    limits: MemoryLimits,
    // The locks are held for single operations, never across an await. Where two are needed they
    // are taken in this order: the index, the budget's queue, a record.
    index: RwLock<Index>,
    /// The index's own, so that a change of one job does not wait for others.
    jobs: Arc<Records>,
    tally: Arc<Tally>,
    budget: EventBudget,
    /// Taken alone.
    values: Mutex<Values>,
    /// The newest seq of any job: a clock that steps back takes no job's seqs below those of
    /// another's earlier changes. It guards no other memory, hence relaxed.
    newest: AtomicU64,
}

impl Memory {
    /// An empty store.
    pub fn new(limits: MemoryLimits) -> Self {
        let index = Index::default();
        Self {
            limits,
            jobs: Arc::clone(&index.jobs),
            tally: Arc::clone(&index.tally),
            index: RwLock::new(index),
            budget: EventBudget::new(limits.event_bytes),
            values: Mutex::new(Values::new(MOST_VALUES)),
            newest: AtomicU64::new(0),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index
            .read()
            .expect("no section under the index lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index
            .write()
            .expect("no section under the index lock panics")
    }

    /// The record of that very job.
    fn record(&self, origin: &Origin) -> Option<Arc<Record>> {
        let record = self.jobs.get(&origin.job_id)?;
        (record.incarnation == origin.incarnation).then_some(record)
    }

    /// Looks at up to [`LIST_SLICE`] jobs below `before`, which it moves; says whether there are no
    /// more.
    fn list_slice(
        &self,
        filter: &Filter,
        before: &mut Option<Position>,
        limit: usize,
        now: Timestamp,
        found: &mut Vec<Arc<Job>>,
    ) -> bool {
        let index = self.read();
        let upper = before.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let positions = index.by_age.range((Bound::Unbounded, upper)).rev();
        let mut looked_at = 0;
        let mut last = None;
        for position in positions.take(LIST_SLICE) {
            looked_at += 1;
            last = Some(position.clone());
            let Some(record) = index.jobs.get(&position.job_id) else {
                continue;
            };
            let job = Arc::clone(&record.lock().job);
            if filter.matches(&job) && !is_expired(&job, now) {
                found.push(job);
                if found.len() == limit {
                    break;
                }
            }
        }
        *before = last;
        looked_at < LIST_SLICE
    }

    /// The first seq of a change made on `prev`.
    fn seq_after(&self, prev: Seq, now: Timestamp) -> Seq {
        let newest = Timestamp::from_micros(self.newest.load(Ordering::Relaxed));
        prev.next(now.max(newest))
    }

    fn saw(&self, seq: Seq) {
        self.newest.fetch_max(seq.get(), Ordering::Relaxed);
    }
}

fn is_expired(job: &Job, now: Timestamp) -> bool {
    job.expires_at().is_some_and(|end| end <= now)
}

#[async_trait]
impl Store for Memory {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let now = job.origin.created_at;
        let mut index = self.write();
        if let Some(record) = index.jobs.get(job.id()) {
            let state = record.lock();
            if !is_expired(&state.job, now) {
                return Ok(Created::Exists(state.stored()));
            }
            drop(state);
            index.remove(job.id(), now, &self.budget);
        }
        let input_bytes = input.map_or(0, |input| input.content.len());
        if !index.has_room(input_bytes, &self.limits) {
            return Ok(Created::Full);
        }
        index.gone.remove(job.id());
        // Above every seq of an earlier job of the same name, whose watchers may come back.
        let seq = Seq::new(self.newest.load(Ordering::Relaxed))
            .unwrap_or(Seq::MAX)
            .next(now);
        self.saw(seq);
        let job = Arc::new(Job { seq, ..job.clone() });
        index.by_age.insert(Position::of(&job));
        index.tally.add(job.face.state);
        index.bulk_bytes += input_bytes;
        let state = RecordState {
            job: Arc::clone(&job),
            ledger: Ledger::default(),
            nonce: None,
            events: EventLog::default(),
            rows: Vec::new(),
            row_bytes: 0,
            is_removed: false,
        };
        let record = Record {
            incarnation: job.origin.incarnation,
            state: Mutex::new(state),
            input: input.cloned(),
        };
        index.jobs.insert(job.id().clone(), record);
        index.trim(&self.limits, &self.budget);
        Ok(Created::Done(seq))
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let mut index = self.write();
        index.forget_outdated(now);
        let key = Arc::from(key);
        if let Some(bound) = index.reservations.get(&key, now) {
            return Ok(bound.clone());
        }
        let until = now.plus_seconds(RESERVATION_SECONDS);
        index.reservations.set(key, job_id.clone(), until);
        Ok(job_id.clone())
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        let index = self.read();
        if let Some(record) = index.jobs.get(job_id) {
            let state = record.lock();
            return Ok(if is_expired(&state.job, now) {
                Loaded::Gone(Former::of(&state.job.origin))
            } else {
                Loaded::Job(state.stored())
            });
        }
        let former = index.gone.get(job_id, now);
        Ok(former.map_or(Loaded::Unknown, |former| Loaded::Gone(former.clone())))
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        Ok(self.record(origin).and_then(|record| record.input.clone()))
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let Some(record) = self.record(&commit.job.origin) else {
            return Ok(Committed::Missing);
        };
        let row_bytes: usize = commit.rows.iter().map(|row| row.as_str().len()).sum();
        if row_bytes > 0 && !self.read().has_room(row_bytes, &self.limits) {
            let reason = "no memory is left for result rows";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        let prev = commit.job.seq;
        let mut state = record.lock();
        if state.is_removed {
            return Ok(Committed::Missing);
        }
        let is_known = |(report_id, ..): &(ReportId, u64, Answer)| {
            state.ledger.find(report_id, commit.now).is_some()
        };
        if state.job.seq != prev || commit.answers.iter().any(is_known) {
            return Ok(Committed::Conflict(state.stored()));
        }
        self.budget.charge(commit.events);
        let first = self.seq_after(prev, commit.now);
        let last = Committed::seq_at(prev, first, commit.positions);
        self.saw(last);
        let before = state.job.face.state;
        self.tally.change(before, commit.job.face.state);
        state.job = Arc::new(Job {
            seq: last,
            ..commit.job.clone()
        });
        for (report_id, place, answer) in commit.answers {
            let seq = Committed::seq_at(prev, first, *place);
            let answer = Answer {
                seq,
                ..answer.clone()
            };
            state.ledger.remember(report_id.clone(), answer, commit.now);
        }
        for (place, event) in commit.events {
            let seq = Committed::seq_at(prev, first, *place);
            let freed = state.events.append(seq, event, &self.limits);
            self.budget.release(freed);
        }
        state.rows.extend_from_slice(commit.rows);
        state.nonce = Some(commit.nonce);
        let expires_at = state.job.expires_at();
        drop(state);
        if !commit.events.is_empty() {
            let seqs = commit
                .events
                .iter()
                .map(|(place, _)| Committed::seq_at(prev, first, *place));
            self.budget.settle(&record, seqs);
        }
        if row_bytes > 0 || expires_at.is_some() {
            let mut index = self.write();
            let mut state = record.lock();
            // Between the two locks the job may have been removed. The index and the record count
            // the rows together, so that a removal takes off what was added and no more.
            if !state.is_removed {
                state.row_bytes += row_bytes;
                let bytes = state.row_bytes + record.input_bytes();
                drop(state);
                index.bulk_bytes += row_bytes;
                if let Some(expires_at) = expires_at {
                    index.finish(commit.job.id(), expires_at, bytes);
                }
                index.trim(&self.limits, &self.budget);
            }
        }
        Ok(Committed::Done { prev, first })
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        let kept = self.record(origin).and_then(|record| {
            let state = record.lock();
            (!state.is_removed).then(|| state.events.after(after))
        });
        Ok(kept.unwrap_or_else(KeptEvents::of_no_job))
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let mut found = Vec::new();
        let mut before = before.cloned();
        loop {
            let is_end = self.list_slice(filter, &mut before, limit, now, &mut found);
            if is_end || found.len() == limit {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let index = self.read();
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let jobs = index
            .by_age
            .range((lower, Bound::Unbounded))
            .filter_map(|position| index.jobs.get(&position.job_id))
            .map(|record| Arc::clone(&record.lock().job))
            .filter(|job| !job.is_finished())
            .filter(|job| kind.is_none() || kind == job.origin.kind.as_deref());
        Ok(jobs.take(limit).collect())
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let Some(record) = self.record(origin) else {
            return Ok(None);
        };
        let state = record.lock();
        let start = usize::try_from(from)
            .unwrap_or(usize::MAX)
            .min(state.rows.len());
        let end = start.saturating_add(limit).min(state.rows.len());
        Ok(Some(Rows {
            total: state.rows.len() as u64,
            rows: state.rows[start..end].to_vec(),
        }))
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let mut index = self.write();
        let held = index.jobs.get(&origin.job_id);
        if held.is_some_and(|record| record.incarnation == origin.incarnation) {
            index.remove(&origin.job_id, gone_until, &self.budget);
        }
        Ok(())
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut index = self.write();
        index.forget_outdated(now);
        let mut removed = 0;
        while removed < limit
            && let Some((expires_at, job_id)) = index.finished.first().cloned()
            && expires_at <= now
        {
            index.remove(&job_id, expires_at.plus_seconds(gone_seconds), &self.budget);
            removed += 1;
        }
        Ok(removed)
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let mut values = self
            .values
            .lock()
            .expect("no section under the lock panics");
        values.put_if_absent(key, value, ttl, now)
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        Ok(self.tally.counts())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
