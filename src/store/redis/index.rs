//! Where jobs are found other than by their name.
//!
//! An index lies elsewhere in a cluster than the jobs in it, so no script changes both. What an
//! index must have is written before the job's own script, and what it must not have any more is
//! taken out afterwards: so a job is in every index that it belongs in, and, when a node died in
//! between, in one too many. Whoever reads an index looks at the job itself. Entries that turn out
//! wrong leave after a minute, since the job may be about to be written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use redis::Pipeline;
use tokio::time::Instant;

use super::keys::{Entry, Keys};
use crate::job::{Job, Origin, State};

/// How long an entry has to be wrong: no write is under way for so long.
const DOUBT: Duration = Duration::from_secs(60);

/// Most entries that are in doubt; beyond it doubts are forgotten, and come up again.
const MOST_DOUBTS: usize = 10_000;

/// Entries that were found wrong, and when first.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<HashMap<(String, Entry), Instant>>);

/// Writes what the indexes must have before a new job is there.
pub(super) fn announce(pipeline: &mut Pipeline, keys: &Keys, job: &Job) {
    let entry = Entry::of(&job.origin);
    for index in keys.lasting(&job.origin) {
        add(pipeline, index, &entry, 0);
    }
    prepare(pipeline, keys, job);
}

/// Writes what the indexes must have before a job is as it will be.
pub(super) fn prepare(pipeline: &mut Pipeline, keys: &Keys, job: &Job) {
    let entry = Entry::of(&job.origin);
    add(pipeline, keys.state(job.face.state), &entry, 0);
    if let Some(expires_at) = job.expires_at() {
        add(pipeline, keys.expiry(), &entry, expires_at.as_micros());
    } else if let Some(index) = keys.unfinished(&job.origin) {
        add(pipeline, index, &entry, 0);
    }
    if let Some(deadline) = job.next_deadline() {
        // Never later than it is: it is found too early, and then moved (`deadline.lua`).
        pipeline
            .cmd("ZADD")
            .arg(keys.due())
            .arg("LT")
            .arg(deadline.as_micros())
            .arg(entry.as_str())
            .ignore();
    }
}

/// Takes out what is wrong now that a job is in this state and was in another before.
pub(super) fn settle(pipeline: &mut Pipeline, keys: &Keys, job: &Job, before: State) {
    let entry = Entry::of(&job.origin);
    if before != job.face.state {
        remove(pipeline, keys.state(before), &entry);
    }
    if job.is_finished() {
        remove(pipeline, keys.due(), &entry);
        if let Some(index) = keys.unfinished(&job.origin) {
            remove(pipeline, index, &entry);
        }
    }
}

/// Takes a job out of all indexes.
pub(super) fn forget(pipeline: &mut Pipeline, keys: &Keys, origin: &Origin) {
    let entry = Entry::of(origin);
    let indexes = keys.lasting(origin).into_iter();
    let states = State::ALL.map(|state| keys.state(state));
    let others = keys.unfinished(origin).into_iter();
    for index in indexes
        .chain(states)
        .chain(others)
        .chain([keys.due(), keys.expiry()])
    {
        remove(pipeline, index, &entry);
    }
}

/// Takes an entry of which nothing else is known out of all indexes that any job can be in.
pub(super) fn forget_entry(pipeline: &mut Pipeline, keys: &Keys, entry: &Entry) {
    let states = State::ALL.map(|state| keys.state(state)).into_iter();
    for index in states.chain([keys.own("index:all"), keys.due(), keys.expiry()]) {
        remove(pipeline, index, entry);
    }
}

pub(super) fn remove(pipeline: &mut Pipeline, index: impl AsRef<str>, entry: &Entry) {
    let index = index.as_ref();
    pipeline.cmd("ZREM").arg(index).arg(entry.as_str()).ignore();
}

fn add(pipeline: &mut Pipeline, index: String, entry: &Entry, score: u64) {
    pipeline
        .cmd("ZADD")
        .arg(index)
        .arg(score)
        .arg(entry.as_str())
        .ignore();
}

impl Doubts {
    /// An entry of an index was found wrong; whether it has been for long enough to be removed.
    pub(super) fn is_certain(&self, index: &str, entry: &Entry) -> bool {
        let mut doubts = self.lock();
        let key = (index.to_owned(), entry.clone());
        match doubts.get(&key) {
            Some(since) if since.elapsed() >= DOUBT => {
                doubts.remove(&key);
                true
            }
            Some(_) => false,
            None => {
                if doubts.len() >= MOST_DOUBTS {
                    doubts.clear();
                }
                doubts.insert(key, Instant::now());
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Entry), Instant>> {
        self.0.lock().expect("no section under it panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::tests::job_named;

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_for_a_minute_is_certain() {
        let doubts = Doubts::default();
        let entry = Entry::of(&job_named("a").origin);
        assert!(!doubts.is_certain("index", &entry));
        tokio::time::advance(DOUBT - Duration::from_secs(1)).await;
        assert!(!doubts.is_certain("index", &entry));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!doubts.is_certain("another", &entry));
        assert!(doubts.is_certain("index", &entry));
        // And then it is a new one.
        assert!(!doubts.is_certain("index", &entry));
    }
}
