//! Views: the same job in another vocabulary, with other paths, field names, state names and event names.
//!
//! A view is configuration, compiled once at the start and applied where a change is encoded. It says how something
//! is put, never whether or when: resuming, pace, access, heartbeats and ends are the same code for every watcher. It
//! sends no event name and no field that it does not define.

mod compile;
mod fields;
mod paths;
mod reader;
mod routes;
mod sources;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    frame::{RETRY_NEVER_MS, block},
    job::{Event, Job, Seq, State},
};
use fields::{Data, Fields};
use sources::Facts;

pub use compile::{Definition, compile};
pub use paths::{IdTemplate, Template};
pub use routes::{Face, Pick, Place, Route, Views};

/// The name of an event on a stream; `None` leaves the `event` line out.
type Label = Option<Arc<str>>;

/// One vocabulary, compiled.
#[derive(Debug)]
pub struct View {
    name: String,
    /// Whose jobs it shows; the first is that of jobs that it starts.
    kinds: Vec<String>,
    is_public: bool,
    places: Vec<Place>,
    /// Whether a change of the status is told; else a stream has events alone.
    has_status: bool,
    /// Whether a watcher without a cursor gets every kept event.
    replays_all: bool,
    label: Label,
    states: Words,
    fields: Fields,
    /// The answer to a poll, when it differs from what a status block says.
    poll_fields: Option<Fields>,
    /// What becomes of events, by the worker's name for them.
    events: BTreeMap<String, Label>,
    last: Option<Last>,
    control: [Option<Block>; Control::ALL.len()],
}

/// The word for each state; empty where no field tells the state.
#[derive(Debug, Default)]
struct Words(BTreeMap<State, String>);

/// What ends the stream of a job that has ended in one of the states.
#[derive(Debug)]
struct Last {
    label: Label,
    data: Data,
    states: Vec<State>,
}

/// A block that is always the same.
#[derive(Debug)]
struct Block {
    label: Label,
    data: String,
}

/// Ends of a stream that are not the job's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The longest duration is over.
    Timeout,
    /// The server is shutting down.
    Drain,
    /// Something failed here.
    Internal,
    /// The token has expired.
    Expiry,
    /// The job was removed.
    Removal,
}

impl Control {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Timeout,
        Self::Drain,
        Self::Internal,
        Self::Expiry,
        Self::Removal,
    ];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Drain => "drain",
            Self::Internal => "internal",
            Self::Expiry => "expiry",
            Self::Removal => "removal",
        }
    }
}

impl View {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kinds of job that it shows, of which there is one at least.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// Whether it shows this job.
    pub fn shows(&self, job: &Job) -> bool {
        let kind = job.origin.kind.as_deref();
        kind.is_some_and(|kind| self.kinds.iter().any(|shown| shown == kind))
    }

    /// Whether everybody may watch, from everywhere.
    pub fn is_public(&self) -> bool {
        self.is_public
    }

    /// Where it is found.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether its streams tell of changes of the status.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// Whether a watcher without a cursor gets every kept event.
    pub fn replays_all(&self) -> bool {
        self.replays_all
    }

    /// Whether it passes an event of that name on.
    pub fn passes(&self, event: &Event) -> bool {
        self.events.contains_key(event.name.as_str())
    }

    /// Whether the status tells of missed events that are not kept any more.
    pub fn tells_gaps(&self) -> bool {
        self.has_status && self.fields.tell_gaps()
    }

    /// What a status block says, from the job's status as JSON.
    pub fn data(&self, job: &Job, json: &str, has_gap: bool) -> String {
        self.fields.render(&self.facts(job, json, has_gap))
    }

    /// The answer to a poll.
    pub fn answer(&self, job: &Job, json: &str) -> String {
        let fields = self.poll_fields.as_ref().unwrap_or(&self.fields);
        fields.render(&self.facts(job, json, false))
    }

    /// The block of a status whose [`View::data`] is `data`.
    pub fn status_block(&self, data: &str, retry_ms: Option<u64>, id: Option<Seq>) -> String {
        block(self.label.as_deref(), data, retry_ms, id)
    }

    /// The block of an event, when it is passed on.
    pub fn event_block(&self, event: &Event) -> Option<String> {
        let label = self.events.get(event.name.as_str())?;
        Some(block(
            label.as_deref(),
            event.data.as_str(),
            None,
            Some(event.seq),
        ))
    }

    /// Whether the end of a job in that state is told.
    pub fn has_last_block(&self, state: State) -> bool {
        self.has_status || self.last_of(state).is_some()
    }

    /// What ends a finished job's stream, if anything does.
    pub fn last_block(&self, job: &Job, json: &str, has_gap: bool) -> Option<String> {
        let (label, data) = match self.last_of(job.face.state) {
            Some(last) => {
                let facts = self.facts(job, json, has_gap);
                (&last.label, last.data.render(&facts))
            }
            None if self.has_status => (&self.label, self.data(job, json, has_gap)),
            None => return None,
        };
        let retry_ms = Some(RETRY_NEVER_MS);
        Some(block(label.as_deref(), &data, retry_ms, Some(job.seq)))
    }

    /// What ends a stream for another reason than its job's end, if that is told.
    pub fn control_block(&self, control: Control, retry_ms: Option<u64>) -> Option<String> {
        let Block { label, data } = self.control[control as usize].as_ref()?;
        Some(block(label.as_deref(), data, retry_ms, None))
    }

    fn last_of(&self, state: State) -> Option<&Last> {
        let last = self.last.as_ref();
        last.filter(|last| last.states.contains(&state))
    }

    fn facts<'j>(&'j self, job: &Job, json: &'j str, has_gap: bool) -> Facts<'j> {
        let state = job.face.state;
        let word = self.states.0.get(&state).map(String::as_str);
        Facts::new(state, word, json, has_gap)
    }
}
