//! Reading indexes: lists, and the upkeep of what they are read from.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use redis::{Cmd, cmd};

use super::{
    Redis,
    index::{self, Doubts},
    keys::Entry,
    read::{Found, Held, JOB_FIELDS},
};
use crate::{
    job::{Job, Origin, State},
    store::{Filter, StoreError, Stored},
};

/// Entries that are read at a time; with their jobs, each of which may have 64 KiB of data and as
/// much of a result.
const SLICE: usize = 100;

/// Entries that are looked after at a time, once a second on every node: only a node that died in
/// the middle of a change leaves something to mend.
const UPKEEP_SLICE: usize = 20;

/// Which way an index is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    NewestFirst,
    OldestFirst,
}

/// Indexes that are read as one, in the order of their entries.
struct Merged {
    parts: Vec<Part>,
    direction: Direction,
}

/// One of them.
struct Part {
    index: String,
    /// What is read and not taken yet.
    read: VecDeque<Entry>,
    /// The bound from which more is to be read.
    from: String,
    is_over: bool,
}

/// Where the upkeep stands: one index after the other, each from one end to the other.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    pub(super) doubts: Doubts,
    turn: AtomicUsize,
    from: Mutex<Option<Entry>>,
}

impl Merged {
    fn new(indexes: Vec<String>, from: &str, direction: Direction) -> Self {
        let part = |index| Part {
            index,
            read: VecDeque::new(),
            from: from.to_owned(),
            is_over: false,
        };
        Self {
            parts: indexes.into_iter().map(part).collect(),
            direction,
        }
    }

    /// The next entries; none at the end. Each with the indexes that it was found in.
    async fn next(&mut self, redis: &Redis) -> Result<Vec<(Entry, Vec<String>)>, StoreError> {
        let mut taken: Vec<(Entry, Vec<String>)> = Vec::new();
        while taken.len() < SLICE {
            for part in &mut self.parts {
                part.fill(redis, self.direction).await?;
            }
            let firsts = self.parts.iter().filter_map(|part| part.read.front());
            let next = match self.direction {
                Direction::NewestFirst => firsts.max(),
                Direction::OldestFirst => firsts.min(),
            };
            let Some(next) = next.cloned() else {
                break;
            };
            let mut indexes = Vec::new();
            for part in &mut self.parts {
                if part.read.pop_front_if(|entry| *entry == next).is_some() {
                    indexes.push(part.index.clone());
                }
            }
            taken.push((next, indexes));
        }
        Ok(taken)
    }
}

impl Part {
    async fn fill(&mut self, redis: &Redis, direction: Direction) -> Result<(), StoreError> {
        if self.is_over || !self.read.is_empty() {
            return Ok(());
        }
        let entries: Vec<String> = redis
            .link
            .call(range(&self.index, &self.from, direction, SLICE))
            .await?;
        self.is_over = entries.len() < SLICE;
        if let Some(last) = entries.last() {
            self.from = format!("({last}");
        }
        self.read.extend(entries.into_iter().map(Entry::read));
        Ok(())
    }
}

/// Reads a slice of an index.
fn range(index: &str, from: &str, direction: Direction, limit: usize) -> Cmd {
    let mut range = cmd("ZRANGE");
    range.arg(index).arg(from);
    match direction {
        Direction::NewestFirst => range.arg("-").arg("BYLEX").arg("REV"),
        Direction::OldestFirst => range.arg("+").arg("BYLEX"),
    };
    range.arg("LIMIT").arg(0).arg(limit);
    range
}

impl Redis {
    /// The jobs of some indexes that fit, in order, from a bound on.
    pub(super) async fn browse(
        &self,
        indexes: Vec<String>,
        from: &str,
        direction: Direction,
        limit: usize,
        fits: impl Fn(&Job) -> bool,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let mut found = Vec::new();
        let mut merged = Merged::new(indexes, from, direction);
        while found.len() < limit {
            let entries = merged.next(self).await?;
            if entries.is_empty() {
                break;
            }
            let jobs = self.held(entries.iter().map(|(entry, _)| entry)).await?;
            let mut outdated = redis::pipe();
            for ((entry, indexes), held) in entries.iter().zip(jobs) {
                let job = match held {
                    Seen::Job(stored) if fits(&stored.job) => stored.job,
                    Seen::Job(stored) => {
                        self.doubt(&mut outdated, entry, indexes, Some(&stored.job));
                        continue;
                    }
                    Seen::Other(_) => {
                        self.doubt(&mut outdated, entry, indexes, None);
                        continue;
                    }
                    Seen::Unreadable => continue,
                };
                if found.len() < limit {
                    found.push(job);
                }
            }
            self.link.tell(outdated).await;
        }
        Ok(found)
    }

    /// The smallest choice of indexes that has every job which a filter matches.
    pub(super) async fn indexes_for(&self, filter: &Filter) -> Result<Vec<String>, StoreError> {
        let keys = &self.keys;
        let values = [
            ("owner", filter.owner.as_deref()),
            ("kind", filter.kind.as_deref()),
            ("tag", filter.tag.as_deref()),
            ("parent", filter.parent_id.as_ref().map(|id| id.as_str())),
        ];
        let mut choices: Vec<Vec<String>> = values
            .into_iter()
            .filter_map(|(field, value)| Some(vec![keys.index(field, value?)]))
            .collect();
        if !filter.states.is_empty() {
            let states = State::ALL.into_iter();
            let wanted = states.filter(|state| filter.states.contains(state));
            choices.push(wanted.map(|state| keys.state(state)).collect());
        }
        match choices.len() {
            0 => return Ok(vec![keys.own("index:all")]),
            1 => return Ok(choices.remove(0)),
            _ => {}
        }
        let mut pipeline = redis::pipe();
        for index in choices.iter().flatten() {
            pipeline.cmd("ZCARD").arg(index);
        }
        let sizes: Vec<u64> = self.link.run(&pipeline).await?;
        let mut sizes = sizes.into_iter();
        let size = |choice: &Vec<String>| sizes.by_ref().take(choice.len()).sum::<u64>();
        let sizes: Vec<u64> = choices.iter().map(size).collect();
        let smallest = (0..choices.len()).min_by_key(|choice| sizes[*choice]);
        Ok(choices.swap_remove(smallest.unwrap_or(0)))
    }

    /// What the jobs' own keys hold, in one round trip.
    async fn held(&self, entries: impl Iterator<Item = &Entry>) -> Result<Vec<Seen>, StoreError> {
        let mut pipeline = redis::pipe();
        let entries: Vec<_> = entries.map(Entry::job).collect();
        for (job_id, _) in entries.iter().flatten() {
            let key = self.keys.job(job_id);
            pipeline.cmd("HMGET").arg(key).arg(&JOB_FIELDS[..]);
        }
        let found: Vec<Found> = match pipeline.is_empty() {
            true => Vec::new(),
            false => self.link.run(&pipeline).await?,
        };
        let mut found = found.into_iter();
        let held = entries.into_iter().map(|entry| {
            let Some((job_id, incarnation)) = entry else {
                return Seen::Other(None);
            };
            match Held::read(found.next().unwrap_or_default()) {
                Ok(Held::Job(stored)) if stored.job.origin.incarnation == incarnation => {
                    Seen::Job(stored)
                }
                Ok(Held::Gone(origin, _)) if origin.incarnation == incarnation => {
                    Seen::Other(Some(origin))
                }
                Ok(_) => Seen::Other(None),
                Err(error) => {
                    // One such job must not take every list with it.
                    tracing::warn!(job.id = %job_id, %error, "a job is left out of a list");
                    Seen::Unreadable
                }
            }
        });
        Ok(held.collect())
    }

    /// Takes entries out that have been wrong for a while: `job` is what they should stand for.
    fn doubt(
        &self,
        pipeline: &mut redis::Pipeline,
        entry: &Entry,
        indexes: &[String],
        job: Option<&Job>,
    ) {
        for index in indexes {
            let is_right = job.is_some_and(|job| self.belongs(index, job));
            if !is_right && self.upkeep.doubts.is_certain(index, entry) {
                index::remove(pipeline, index, entry);
            }
        }
    }

    /// Whether a job belongs into an index.
    fn belongs(&self, index: &str, job: &Job) -> bool {
        let origin = &job.origin;
        index == self.keys.state(job.face.state)
            || self.keys.lasting(origin).iter().any(|own| own == index)
            || (!job.is_finished() && self.keys.unfinished(origin).is_some_and(|own| own == index))
    }

    /// Looks at another slice of an index: wrong entries leave, and what a job lacks in others is
    /// put there.
    pub(super) async fn look_after(&self) -> Result<(), StoreError> {
        let keys = &self.keys;
        let states = State::ALL.map(|state| keys.state(state));
        let turn = self.upkeep.turn.load(Ordering::Relaxed) % (states.len() + 1);
        let index = match states.get(turn) {
            Some(index) => index.clone(),
            None => keys.own("index:all"),
        };
        let from = self.upkeep.lock().clone();
        let bound = from.map_or_else(|| "-".to_owned(), |entry| format!("({}", entry.as_str()));
        let entries: Vec<String> = self
            .link
            .call(range(&index, &bound, Direction::OldestFirst, UPKEEP_SLICE))
            .await?;
        let entries: Vec<Entry> = entries.into_iter().map(Entry::read).collect();
        if entries.len() < UPKEEP_SLICE {
            *self.upkeep.lock() = None;
            self.upkeep.turn.store(turn + 1, Ordering::Relaxed);
        } else {
            *self.upkeep.lock() = entries.last().cloned();
        }
        let mut pipeline = redis::pipe();
        for (entry, held) in entries.iter().zip(self.held(entries.iter()).await?) {
            match held {
                Seen::Job(stored) => {
                    self.doubt(
                        &mut pipeline,
                        entry,
                        std::slice::from_ref(&index),
                        Some(&stored.job),
                    );
                    index::prepare(&mut pipeline, keys, &stored.job);
                }
                Seen::Other(Some(origin)) if self.upkeep.doubts.is_certain(&index, entry) => {
                    index::forget(&mut pipeline, keys, &origin);
                }
                Seen::Other(Some(_)) | Seen::Unreadable => {}
                Seen::Other(None) => {
                    self.doubt(&mut pipeline, entry, std::slice::from_ref(&index), None);
                }
            }
        }
        self.link.tell(pipeline).await;
        Ok(())
    }
}

impl Upkeep {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Entry>> {
        self.from.lock().expect("no section under it panics")
    }
}

/// What an entry turned out to stand for.
enum Seen {
    Job(Box<Stored>),
    /// For nothing, or for a job that is gone.
    Other(Option<Box<Origin>>),
    Unreadable,
}
