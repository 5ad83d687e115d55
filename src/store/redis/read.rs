//! What is in Redis, as the domain's own types.

use std::sync::Arc;

use redis::{FromRedisValue, Value};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::failure::unreadable;
use crate::{
    job::{Answer, Job, Json, Ledger, Origin, ReportId, Seq, Timestamp},
    store::{StoreError, Stored},
};

/// The fields of a job's key that [`Found`] is made of.
pub(super) const JOB_FIELDS: [&str; 7] = [
    "incarnation",
    "document",
    "seq",
    "nonce",
    "reported",
    "gone",
    "origin",
];

/// What a job's key holds.
pub(super) type Found = [Option<String>; 7];

/// A name that was looked up.
pub(super) enum Held {
    Job(Box<Stored>),
    /// It was removed, and its name is known until then.
    Gone(Box<Origin>, Timestamp),
    Nothing,
}

impl Held {
    pub(super) fn read(found: Found) -> Result<Self, StoreError> {
        Ok(match found {
            [Some(_), Some(document), Some(seq), nonce, reported, ..] => Self::Job(stored(
                &document,
                &seq,
                nonce.as_deref().unwrap_or_default(),
                reported.as_deref().unwrap_or_default(),
            )?),
            [None, .., Some(gone), Some(origin)] => {
                let until = parsed("the end of a name", &gone)?;
                Self::Gone(Box::new(from_json("an origin", &origin)?), moment(until))
            }
            _ => Self::Nothing,
        })
    }
}

/// A job from its document and what is kept beside it.
pub(super) fn stored(
    document: &str,
    seq: &str,
    nonce: &str,
    reported: &str,
) -> Result<Box<Stored>, StoreError> {
    let seq = seq.parse().map_err(|()| unreadable("a seq", seq))?;
    let nonce: Option<Uuid> = match nonce {
        "" => None,
        nonce => Some(parsed("a nonce", nonce)?),
    };
    let mut job = job_of(document, seq)?;
    if !reported.is_empty() {
        let reported_at = moment(parsed("a sign of life", reported)?);
        job.reported_at = job.reported_at.max(reported_at);
    }
    Ok(Box::new(Stored {
        job: Arc::new(job),
        ledger: Ledger::default(),
        nonce,
    }))
}

/// The job of a document. Its seq stands beside it, where the store could count it on.
pub(super) fn job_of(document: &str, seq: Seq) -> Result<Job, StoreError> {
    let job: Job = from_json("a job", document)?;
    Ok(Job { seq, ..job })
}

/// Adds what a job remembers of a report id.
pub(super) fn remember(ledger: &mut Ledger, id: &str, entry: &str) -> Result<(), StoreError> {
    let what = "a report id";
    let parts = entry.split_once(' ');
    let parts = parts.and_then(|(at, rest)| Some((at, rest.split_once(' ')?)));
    let Some((at, (seq, answer))) = parts else {
        return Err(unreadable(what, "it has no answer"));
    };
    let seq = seq.parse().map_err(|()| unreadable(what, seq))?;
    let answer: Answer = from_json(what, answer)?;
    let id = ReportId::parse(id).map_err(|rule| unreadable(what, rule))?;
    ledger.remember(id, Answer { seq, ..answer }, moment(parsed(what, at)?));
    Ok(())
}

/// JSON that was written by this program, or its like: it is checked for what it is, and left so.
pub(super) fn as_is(text: &str) -> Option<Json> {
    let raw = RawValue::from_string(text.to_owned()).ok()?;
    Some(Json::compact(raw))
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        // Where, and not what: it is somebody's data.
        unreadable(
            what,
            format!("line {}, column {}", error.line(), error.column()),
        )
    })
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("jobs serialize")
}

fn parsed<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|_| unreadable(what, "it is not what this version writes"))
}

pub(super) fn moment(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The strings of a script's answer; empty when it is none.
pub(super) fn strings(value: Value) -> Vec<String> {
    Vec::from_redis_value(value).unwrap_or_default()
}
