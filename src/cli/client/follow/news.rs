//! What a follower tells: statuses as they were on the wire, events, and how it fares itself.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::FollowError;

/// A status: its text, and what is read of it.
#[derive(Clone, Debug)]
pub struct Status {
    /// As it was on the wire.
    pub text: String,
    /// The fields that people are shown.
    pub face: Face,
}

/// The fields of a status that are shown, or that say whether to show it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Face {
    /// The job.
    pub job_id: String,
    /// Its state; a server of another version may have more of them.
    pub status: String,
    /// Of how many.
    pub total_count: Option<u64>,
    /// How many are done.
    pub processed_count: Option<u64>,
    /// What is counted.
    pub unit: Option<String>,
    /// From 0 to 100.
    pub progress_percentage: Option<f64>,
    /// What is being done.
    pub step: Option<String>,
    /// On what.
    pub message: Option<String>,
    /// How fast.
    pub rate_per_second: Option<f64>,
    /// How much longer.
    pub eta_seconds: Option<u64>,
    /// Which try it is.
    pub attempt: u64,
    /// Whether its worker is silent.
    pub stalled: bool,
    /// Whether it was asked to stop.
    pub cancel_requested: bool,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The position of its newest change.
    pub seq: u64,
    /// Whether events are missing before it.
    pub gap: bool,
}

/// Why a job failed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// An event of a job.
#[derive(Clone, Debug)]
pub struct Event {
    /// The job.
    pub job_id: String,
    /// The event's name.
    pub name: String,
    /// Its position among the job's changes.
    pub seq: u64,
    /// Its data, as it was on the wire.
    pub data: Box<RawValue>,
}

/// Word that a job is not followed any more.
#[derive(Clone, Debug, Deserialize)]
pub struct Removed {
    /// The job.
    pub job_id: String,
    /// Why, when it was asked for by name.
    #[serde(default)]
    pub code: Option<String>,
}

/// How the connection fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Changes come as they happen.
    Live,
    /// Streams do not get through, and the status is asked for.
    Polling,
    /// There is none at present; with a reason when that was not in order.
    Reconnecting(Option<String>),
}

/// What a follower tells.
#[derive(Debug)]
pub enum News {
    /// A job's newest status.
    Status(Box<Status>),
    /// An event of a job.
    Event(Event),
    /// A job is not there any more.
    Removed(Removed),
    /// The connection.
    Line(Line),
    /// All is told, or nothing more can be.
    Ended(Result<(), FollowError>),
}

/// What is told, and by which follower.
#[derive(Debug)]
pub struct Told {
    /// The follower's number.
    pub source: usize,
    /// What it tells.
    pub news: News,
}

impl Status {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let face: Face = serde_json::from_str(text)?;
        if face.job_id.is_empty() || face.status.is_empty() {
            return Err(serde::de::Error::custom("it names no job or no state"));
        }
        let text = text.to_owned();
        Ok(Self { text, face })
    }
}

impl Face {
    /// Whether nothing follows.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status, "completed" | "failed" | "cancelled")
    }
}
