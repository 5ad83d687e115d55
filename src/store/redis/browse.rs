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

/// The most entries that are read at a time without their jobs, to see which of them another index
/// has too: some milliseconds of Redis' time.
const LARGEST_SLICE: usize = 2_000;

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

/// An entry with the indexes that it was found in.
type Placed = (Entry, Vec<String>);

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

    /// The next entries, so many; none at the end.
    async fn next(&mut self, redis: &Redis, slice: usize) -> Result<Vec<Placed>, StoreError> {
        let mut taken: Vec<Placed> = Vec::new();
        while taken.len() < slice {
            for part in &mut self.parts {
                part.fill(redis, self.direction, slice).await?;
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
    async fn fill(
        &mut self,
        redis: &Redis,
        direction: Direction,
        slice: usize,
    ) -> Result<(), StoreError> {
        if self.is_over || !self.read.is_empty() {
            return Ok(());
        }
        let entries: Vec<String> = redis
            .link
            .call(range(&self.index, &self.from, direction, slice))
            .await?;
        self.is_over = entries.len() < slice;
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
    /// The jobs that fit, in order, from a bound on: those that are in one index at least of each
    /// choice.
    pub(super) async fn browse(
        &self,
        choices: Vec<Vec<String>>,
        from: &str,
        direction: Direction,
        limit: usize,
        fits: impl Fn(&Job) -> bool,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let mut found = Vec::new();
        let mut choices = choices.into_iter();
        let mut merged = Merged::new(choices.next().unwrap_or_default(), from, direction);
        let others: Vec<Vec<String>> = choices.collect();
        let mut slice = SLICE;
        let mut met = VecDeque::new();
        while found.len() < limit {
            if met.is_empty() {
                let entries = merged.next(self, slice).await?;
                if entries.is_empty() {
                    break;
                }
                met.extend(self.in_all(entries, &others).await?);
                if !others.is_empty() {
                    // Indexes that hardly meet are read on in larger steps.
                    slice = (slice * 2).min(LARGEST_SLICE);
                }
            }
            let entries: Vec<Placed> = met.drain(..met.len().min(SLICE)).collect();
            let jobs = self.held(entries.iter().map(|(entry, _)| entry)).await?;
            let mut outdated = redis::pipe();
            for ((entry, indexes), held) in entries.iter().zip(jobs) {
                let job = match held {
                    Seen::Job(stored) if fits(&stored.job) => stored.job,
                    Seen::Job(stored) => {
                        self.doubt(&mut outdated, entry, indexes, &stored.job);
                        continue;
                    }
                    Seen::Other(former) => {
                        self.doubt_all(&mut outdated, entry, indexes, former.as_deref());
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

    /// Those of some entries that are in an index of each choice.
    async fn in_all(
        &self,
        mut entries: Vec<Placed>,
        choices: &[Vec<String>],
    ) -> Result<Vec<Placed>, StoreError> {
        for choice in choices {
            if entries.is_empty() {
                break;
            }
            let mut pipeline = redis::pipe();
            // The first one again at last: a job may go from one state to another meanwhile, and is
            // in both while it does.
            let again = choice.first().filter(|_| choice.len() > 1);
            for index in choice.iter().chain(again) {
                let scores = pipeline.cmd("ZMSCORE").arg(index);
                for (entry, _) in &entries {
                    scores.arg(entry.as_str());
                }
            }
            let scores: Vec<Vec<Option<f64>>> = self.link.run(&pipeline).await?;
            let is_there = |place: usize| {
                scores
                    .iter()
                    .any(|of| of.get(place).is_some_and(Option::is_some))
            };
            let mut places = 0..entries.len();
            entries.retain(|_| places.next().is_some_and(is_there));
        }
        Ok(entries)
    }

    /// Choices of indexes, each of which has every job that a filter matches; the smallest first.
    pub(super) async fn indexes_for(
        &self,
        filter: &Filter,
    ) -> Result<Vec<Vec<String>>, StoreError> {
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
            0 => return Ok(vec![vec![keys.own("index:all")]]),
            1 => return Ok(choices),
            _ => {}
        }
        let mut pipeline = redis::pipe();
        for index in choices.iter().flatten() {
            pipeline.cmd("ZCARD").arg(index);
        }
        let sizes: Vec<u64> = self.link.run(&pipeline).await?;
        let mut sizes = sizes.into_iter();
        let mut size = |choice: &Vec<String>| sizes.by_ref().take(choice.len()).sum::<u64>();
        let mut sized: Vec<(u64, Vec<String>)> = choices
            .into_iter()
            .map(|choice| (size(&choice), choice))
            .collect();
        sized.sort();
        Ok(sized.into_iter().map(|(_, choice)| choice).collect())
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

    /// Takes a job out of indexes that it has not belonged in for a while.
    fn doubt(&self, pipeline: &mut redis::Pipeline, entry: &Entry, indexes: &[String], job: &Job) {
        for index in indexes {
            if !self.belongs(index, job) && self.upkeep.doubts.is_certain(index, entry) {
                index::remove(pipeline, index, entry);
            }
        }
    }

    /// Takes an entry out whose job has been gone for a while: of all indexes that it can be in, as
    /// far as it is known what the job was.
    fn doubt_all(
        &self,
        pipeline: &mut redis::Pipeline,
        entry: &Entry,
        indexes: &[String],
        former: Option<&Origin>,
    ) {
        let doubts = &self.upkeep.doubts;
        let mut is_known = false;
        for index in indexes {
            if doubts.is_certain(index, entry) {
                is_known = true;
                index::remove(pipeline, index, entry);
            }
        }
        match former {
            _ if !is_known => {}
            Some(origin) => index::forget(pipeline, &self.keys, origin),
            None => index::forget_entry(pipeline, &self.keys, entry),
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
                    let indexes = std::slice::from_ref(&index);
                    self.doubt(&mut pipeline, entry, indexes, &stored.job);
                    index::announce(&mut pipeline, keys, &stored.job);
                }
                Seen::Other(former) => {
                    let indexes = std::slice::from_ref(&index);
                    self.doubt_all(&mut pipeline, entry, indexes, former.as_deref());
                }
                Seen::Unreadable => {}
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
