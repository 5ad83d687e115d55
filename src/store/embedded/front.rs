//! What stands before the file: progress that is not on disk yet, and what it takes to accept more
//! of it without looking into the file.
//!
//! A change that the next report replaces is answered as soon as it stands here. Every read looks
//! here before it looks into the file, so that it is visible as well. At most one value per job
//! waits, the newest; the writer takes all of them to the file a little later, in one go. A change
//! that must be on disk first goes to the writer, is made on the value that waits, and takes its
//! place.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use uuid::Uuid;

use crate::{
    job::{Job, JobId, Seq, State, Timestamp},
    store::{Commit, Committed},
};

/// How many jobs are known here at a time; beyond it those without waiting progress are forgotten.
/// Another's next report then waits for the disk once. Each costs some 100 bytes.
const MOST_KNOWN: usize = 1 << 18;

/// Progress on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Dirty {
    pub(super) job: Arc<Job>,
    pub(super) nonce: Uuid,
}

/// An unfinished job whose seq is known without looking into the file.
#[derive(Debug)]
struct Known {
    incarnation: Uuid,
    seq: Seq,
    /// Indexes go by it, so it never changes here.
    state: State,
    dirty: Option<Dirty>,
    /// Whether the job stands in the queue of those with progress that waits.
    is_queued: bool,
    /// Whether the writer is at work on it: then everything else has to queue behind that.
    is_busy: bool,
}

/// What became of a job in a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// Nothing.
    Left,
    /// This is what the file says of it, which is unfinished.
    Unfinished(Uuid, Seq, State),
    /// It has finished or is no more.
    Over,
}

/// See the module.
///
/// Reports on one job do not wait for those on another: what is known of jobs stands in a map of many parts, each
/// behind a lock of its own, which is held for a look at a single job and never while the disk is waited for.
#[derive(Debug, Default)]
pub(super) struct Front {
    known: DashMap<JobId, Known>,
    /// Jobs with progress that waits, oldest first. A report comes here only when its job is not there yet, and
    /// then while it holds its job's part of the map.
    queue: Mutex<VecDeque<JobId>>,
    /// Whether changes may be answered before they are on disk. Looked at with a job's part of the map held: so
    /// whoever closes this, and goes through the map then, finds every change that was let in.
    is_open: AtomicBool,
    /// The newest seq of any job: a clock that steps back takes no job's seqs below it. Like the next it guards no
    /// other memory.
    newest: AtomicU64,
    /// The highest seq that may be shown before the disk knows of a higher one.
    ceiling: AtomicU64,
}

impl Known {
    /// A job that the writer looks at for the first time.
    fn new() -> Self {
        Self {
            incarnation: Uuid::nil(),
            seq: Seq::ZERO,
            state: State::Pending,
            dirty: None,
            is_queued: false,
            is_busy: true,
        }
    }
}

impl Front {
    fn queue(&self) -> MutexGuard<'_, VecDeque<JobId>> {
        self.queue
            .lock()
            .expect("no section under the queue's lock panics")
    }

    /// Begins anew with what the file says. `is_open`: whether anything is answered before it is on
    /// disk.
    pub(super) fn open(&self, newest: Seq, ceiling: Seq, is_open: bool) {
        self.newest.fetch_max(newest.get(), Ordering::Relaxed);
        self.ceiling.store(ceiling.get(), Ordering::Relaxed);
        self.is_open.store(is_open, Ordering::Release);
    }

    /// From now on nothing is answered here: the file is not in order. Progress that waits stays.
    pub(super) fn close(&self) {
        self.is_open.store(false, Ordering::Release);
        self.known.retain(|_, known| known.dirty.is_some());
        for mut entry in self.known.iter_mut() {
            entry.is_busy = false;
            // It may have been taken in vain.
            if !std::mem::replace(&mut entry.is_queued, true) {
                self.queue().push_back(entry.key().clone());
            }
        }
    }

    /// Answers a change that the next report replaces, if all is at hand. `None`: the writer has to
    /// look at it. The flag says whether the writer has to be told that something waits.
    pub(super) fn commit(&self, commit: &Commit<'_>) -> Option<(Committed, bool)> {
        let job = commit.job;
        if !self.is_open.load(Ordering::Acquire) {
            return None;
        }
        // Before the lock, which others wait for.
        let mut next = Arc::new(job.clone());
        let mut known = self.known.get_mut(job.id())?;
        let is_current = known.incarnation == job.origin.incarnation && known.seq == job.seq;
        let is_open = self.is_open.load(Ordering::Acquire);
        if !is_open || !is_current || known.is_busy || known.state != job.face.state {
            return None;
        }
        let newest = Timestamp::from_micros(self.newest.load(Ordering::Relaxed));
        let first = job.seq.next(commit.now.max(newest));
        let last = Committed::seq_at(job.seq, first, commit.positions);
        if last.get() > self.ceiling.load(Ordering::Relaxed) {
            return None;
        }
        self.newest.fetch_max(last.get(), Ordering::Relaxed);
        known.seq = last;
        Arc::get_mut(&mut next).expect("nobody else has it yet").seq = last;
        let nonce = commit.nonce;
        let replaced = known.dirty.replace(Dirty { job: next, nonce });
        let mut is_first = false;
        if !std::mem::replace(&mut known.is_queued, true) {
            let mut queue = self.queue();
            is_first = queue.is_empty();
            queue.push_back(job.id().clone());
        }
        drop(known);
        drop(replaced);
        let prev = job.seq;
        Some((Committed::Done { prev, first }, is_first))
    }

    /// The progress of a job that waits.
    pub(super) fn dirty(&self, job_id: &JobId) -> Option<Dirty> {
        self.known.get(job_id)?.dirty.clone()
    }

    /// Has everything about a job queue behind the writer, until [`Front::settle`]; the progress
    /// that waits.
    pub(super) fn hold(&self, job_id: &JobId) -> Option<Dirty> {
        let mut known = self.known.entry(job_id.clone()).or_insert_with(Known::new);
        known.is_busy = true;
        known.dirty.clone()
    }

    /// Gives a change made on `prev` its first and its last seq.
    pub(super) fn assign(&self, prev: Seq, positions: u64, now: Timestamp) -> (Seq, Seq) {
        let newest = Timestamp::from_micros(self.newest.load(Ordering::Relaxed));
        let first = prev.next(now.max(newest));
        let last = Committed::seq_at(prev, first, positions);
        self.newest.fetch_max(last.get(), Ordering::Relaxed);
        (first, last)
    }

    /// The newest seq of any job.
    pub(super) fn newest(&self) -> Seq {
        Seq::new(self.newest.load(Ordering::Relaxed)).unwrap_or(Seq::MAX)
    }

    /// Up to `limit` jobs with progress that waits, oldest first. They stay visible here until they
    /// are [settled](Front::settle).
    pub(super) fn take_dirty(&self, limit: usize) -> Vec<Dirty> {
        let job_ids: Vec<_> = {
            let mut queue = self.queue();
            let count = limit.min(queue.len());
            queue.drain(..count).collect()
        };
        let mut taken = Vec::with_capacity(job_ids.len());
        for job_id in job_ids {
            // What has come since it left the queue is taken as well.
            if let Some(mut known) = self.known.get_mut(&job_id) {
                known.is_queued = false;
                taken.extend(known.dirty.clone());
            }
        }
        taken
    }

    /// Whether any progress waits.
    pub(super) fn is_dirty(&self) -> bool {
        !self.queue().is_empty()
    }

    /// What a transaction that is on disk now has made of jobs, in order, and up to which seq
    /// progress may be shown from now on.
    pub(super) fn settle(&self, outcomes: Vec<(JobId, After)>, ceiling: Seq) {
        self.ceiling.fetch_max(ceiling.get(), Ordering::Relaxed);
        // The last word on each job alone: with one before it, a change would be let in that was made on a state
        // which the transaction has left behind.
        let mut last = HashMap::with_capacity(outcomes.len());
        for (job_id, after) in outcomes {
            match after {
                After::Left => {
                    last.entry(job_id).or_insert(after);
                }
                After::Unfinished(..) | After::Over => {
                    last.insert(job_id, after);
                }
            }
        }
        for (job_id, after) in last {
            let mut entry = match (self.known.entry(job_id), after) {
                (Entry::Occupied(entry), _) => entry,
                (Entry::Vacant(entry), After::Unfinished(..)) => entry.insert_entry(Known::new()),
                (Entry::Vacant(_), After::Left | After::Over) => continue,
            };
            let known = entry.get_mut();
            known.is_busy = false;
            match after {
                After::Left if known.incarnation.is_nil() => drop(entry.remove()),
                After::Left => {}
                After::Over => drop(entry.remove()),
                After::Unfinished(incarnation, seq, state) => {
                    let is_newer =
                        |dirty: &mut Dirty| known.incarnation == incarnation && dirty.job.seq > seq;
                    known.dirty = known.dirty.take_if(is_newer);
                    known.incarnation = incarnation;
                    known.state = state;
                    known.seq = known.dirty.as_ref().map_or(seq, |dirty| dirty.job.seq);
                }
            }
        }
        if self.known.len() > MOST_KNOWN {
            self.known
                .retain(|_, known| known.dirty.is_some() || known.is_busy);
        }
    }

    /// Of progress that waits, keeps what `is_wanted` says. For a file that was opened anew: it may
    /// know more than it had answered.
    pub(super) fn keep_dirty(&self, mut is_wanted: impl FnMut(&Dirty) -> bool) {
        // The file is read in between, so the lock is not held. Nothing new comes in: the front is
        // closed.
        let dirty: Vec<_> = self
            .known
            .iter()
            .filter_map(|known| known.dirty.clone())
            .collect();
        for dirty in dirty {
            if !is_wanted(&dirty) {
                self.known.remove(dirty.job.id());
            }
        }
    }
}
