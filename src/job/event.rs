//! Events: named messages besides the status.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Bounds, FieldError, Json, ReportId, Seq,
    field::{Object, check_json, parse_json},
};

/// How many events one request may bring.
const MOST_EVENTS: usize = 1_000;

/// Names that mean something else on a stream.
const RESERVED: [&str; 6] = [
    "status",
    "message",
    "open",
    "heartbeat",
    "synced",
    "removed",
];

/// An event's name: 1 to 64 of `A-Za-z0-9_.-`, and none that the stream itself uses.
///
/// No line break can stand in it, so that it is safe in an SSE `event` line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct EventName(Arc<str>);

/// An event as a worker sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is called on the stream.
    pub name: EventName,
    /// What it says; JSON `null` when the worker said nothing.
    pub data: Json,
}

/// An event with its place in the job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its position.
    pub seq: Seq,
    /// What it is called on the stream.
    pub name: EventName,
    /// What it says.
    pub data: Json,
}

impl EventName {
    /// Checks a name that came from outside; the error is the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            Err("must be 1 to 64 of A-Z a-z 0-9 _ . -")
        } else if RESERVED.contains(&text) {
            Err("must not be one of status, message, open, heartbeat, synced, removed")
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody {
    event: EventName,
    data: Option<Json>,
    report_id: Option<ReportId>,
}

/// Reads the body of `POST /jobs/{id}/events`: one event, or an array of 1 to 1,000.
///
/// A single event may bring its `report_id`; an array is one request and takes it from the header.
pub fn parse_events(
    body: &[u8],
    bounds: &Bounds,
) -> Result<(Vec<NewEvent>, Option<ReportId>), FieldError> {
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        let Object(event) = parse_json::<Object<EventBody>>(body)?;
        let report_id = event.report_id.clone();
        return Ok((vec![event.check(bounds)?], report_id));
    }
    let events: Vec<Object<EventBody>> = parse_json(body)?;
    if events.is_empty() || events.len() > MOST_EVENTS {
        let rule = format!("an array must have 1 to {MOST_EVENTS} events");
        return Err(FieldError::new("", rule));
    }
    let mut checked = Vec::with_capacity(events.len());
    for (index, Object(event)) in events.into_iter().enumerate() {
        let place = format!("[{index}]");
        if event.report_id.is_some() {
            let rule = "stands for a whole request: with an array use the Idempotency-Key header";
            return Err(FieldError::new("report_id", rule).within(&place));
        }
        checked.push(event.check(bounds).map_err(|error| error.within(&place))?);
    }
    Ok((checked, None))
}

impl EventBody {
    fn check(self, bounds: &Bounds) -> Result<NewEvent, FieldError> {
        let data = self
            .data
            .unwrap_or_else(|| Json::of(&()).expect("null serializes"));
        check_json("data", data.as_str().len(), bounds.event_data_bytes)?;
        Ok(NewEvent {
            name: self.event,
            data,
        })
    }
}
