//! A job of the doctor's own: what is reported on it, and when that arrives.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder, Url, header};
use serde_json::{Value, json};

use super::{
    calls::{Answer, Outcome, call},
    patient::Patient,
    progress::Progress,
    record::{Record, Recording},
};
use crate::cli::client::target::below;

/// How many events are sent: enough to tell a proxy that collects them from one slow moment.
pub(super) const EVENTS: usize = 8;

/// The event behind which the doctor comes back.
pub(super) const CURSOR: usize = EVENTS / 2;

/// Time from one event to the next: far more than one needs to arrive, so that those that arrive together were held.
const EVENT_INTERVAL: Duration = Duration::from_millis(250);

/// The longest wait for something that should come at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last events may be under way before the silence begins.
const LATE_TIME: Duration = Duration::from_secs(2);

/// The longest wait for the doctor's job to be removed, which is all that an impatient user waits for.
const LONGEST_REMOVAL: Duration = Duration::from_secs(5);

/// How long the job stays when nobody removes it.
const TTL_SECONDS: u64 = 60;

/// How long a header is that some proxies have no room for.
const LONG_HEADER_BYTES: usize = 7_000;

/// The doctor's job.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    patient: &'a Patient,
    server: &'a Url,
    job_id: String,
    watch_token: Option<String>,
}

/// What was seen of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The stream, opened before anything was reported.
    pub(super) record: Record,
    /// How it is encoded when a client says that it can decode.
    pub(super) encoding: Option<String>,
    /// When each event's sending was answered, in the stream's time.
    pub(super) sent: Vec<Duration>,
    /// From when to when nothing was reported, in the stream's time.
    pub(super) silence: (Duration, Duration),
    /// When the job's end was answered, in the stream's time.
    pub(super) ended: Option<Duration>,
    /// How far the server's clock is ahead, in seconds.
    pub(super) clock_ahead: Option<f64>,
    /// Calls and their answers, in order, as far as they were made.
    pub(super) calls: Vec<(Step, Outcome)>,
    /// The stream once more, behind the event [`CURSOR`].
    pub(super) resumed: Option<Record>,
    /// The seq of the job's end.
    pub(super) last_seq: Option<u64>,
}

/// A call on the doctor's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// PATCH: a first report.
    Report,
    /// POST: an event.
    Event,
    /// PATCH: the end.
    End,
    /// GET of the stream behind the end.
    Again,
    /// GET of the status after the end.
    Status,
    /// GET of the status with a token in the query and nowhere else.
    QueryToken,
    /// GET of the status with a long header.
    LongHeader,
}

impl<'a> Trial<'a> {
    /// Creates the job; the answer also when there is none.
    pub(super) async fn create(
        patient: &'a Patient,
        server: &'a Url,
        seconds: u64,
    ) -> (Option<Self>, Outcome) {
        let body = json!({
            "kind": "doctor",
            "total_count": EVENTS,
            "ttl_seconds": TTL_SECONDS,
            // Should the doctor die, the server gives the job up, and later forgets it.
            "lease_seconds": seconds + TTL_SECONDS,
            "fail_stalled_after_seconds": 1,
        });
        let request = patient.request(Method::POST, below(server, "jobs"));
        let outcome = call(request.json(&body)).await;
        let created = outcome.as_ref().ok().filter(|answer| answer.is_success());
        let text = |answer: &Answer, field: &str| answer.body[field].as_str().map(str::to_owned);
        let trial = created.and_then(|answer| {
            Some(Self {
                patient,
                server,
                job_id: text(answer, "job_id")?,
                watch_token: text(answer, "watch_token"),
            })
        });
        (trial, outcome)
    }

    /// Watches the job, reports on it, ends it, and looks at what is left.
    pub(super) async fn run(&self, seconds: u64, progress: &Progress) -> Seen {
        let mut seen = Seen::default();
        progress.say("waiting for the stream");
        let (mut recording, encoding) = open(|| self.stream()).await;
        seen.encoding = encoding;
        recording
            .wait(PATIENCE, |record| !record.marks.is_empty())
            .await;
        progress.say("sending events");
        let cursor = self.report(&mut seen, &recording).await;
        let last = EVENTS - 1;
        recording
            .wait(LATE_TIME, |record| record.event(last).is_some())
            .await;
        let begin = seen.sent.last().copied().unwrap_or(recording.now());
        progress.count("looking at silence and heartbeats", seconds);
        recording
            .wait(Duration::from_secs(seconds), |_| false)
            .await;
        seen.silence = (begin, recording.now());
        progress.say("ending the job");
        self.end(&mut seen, &recording).await;
        // Both: the last block, and that nothing follows.
        recording.wait(PATIENCE, |_| false).await;
        seen.record = recording.seen();
        drop(recording);
        progress.say("coming back to the stream");
        self.come_back(&mut seen, cursor).await;
        seen
    }

    /// Removes the job, whatever became of it.
    pub(super) async fn remove(self) -> Option<Outcome> {
        let removal = call(self.request(Method::DELETE, ""));
        tokio::time::timeout(LONGEST_REMOVAL, removal).await.ok()
    }

    /// The first report and the events; the seq of the event behind which the doctor comes back.
    async fn report(&self, seen: &mut Seen, recording: &Recording) -> Option<u64> {
        let before = unix_micros();
        let first = json!({"status": "processing"});
        let outcome = call(self.request(Method::PATCH, "").json(&first)).await;
        let middle = before.midpoint(unix_micros());
        let seq = seq_of(&outcome);
        // A seq is the server's time, unless two changes meet.
        seen.clock_ahead = seq.map(|seq| (seq as f64 - middle as f64) / 1e6);
        seen.calls.push((Step::Report, outcome));
        let mut cursor = None;
        for number in 0..EVENTS {
            tokio::time::sleep(EVENT_INTERVAL).await;
            let event = json!({"event": "doctor", "data": {"number": number}});
            let outcome = call(self.request(Method::POST, "/events").json(&event)).await;
            let Some(seq) = seq_of(&outcome) else {
                seen.calls.push((Step::Event, outcome));
                return cursor;
            };
            seen.sent.push(recording.now());
            if number == CURSOR {
                cursor = Some(seq);
            }
        }
        cursor
    }

    async fn end(&self, seen: &mut Seen, recording: &Recording) {
        // A cache on the way has something to keep now.
        let _ = call(self.get("/status")).await;
        let end = json!({"status": "completed", "processed_count": EVENTS});
        let outcome = call(self.request(Method::PATCH, "").json(&end)).await;
        seen.last_seq = seq_of(&outcome);
        seen.ended = seen.last_seq.map(|_| recording.now());
        seen.calls.push((Step::End, outcome));
    }

    async fn come_back(&self, seen: &mut Seen, cursor: Option<u64>) {
        let Some(last_seq) = seen.last_seq else {
            return;
        };
        if let Some(cursor) = cursor {
            let request = self.stream().header("last-event-id", cursor);
            let mut recording = Recording::open(request);
            recording.wait(PATIENCE, |_| false).await;
            seen.resumed = Some(recording.seen());
        }
        let again = self.stream().header("last-event-id", last_seq);
        let long = self
            .get("/status")
            .header("x-doctor", "x".repeat(LONG_HEADER_BYTES));
        for (step, request) in [
            (Step::Again, again),
            (Step::Status, self.get("/status")),
            (Step::LongHeader, long),
        ] {
            seen.calls.push((step, call(request).await));
        }
        if let Some(token) = &self.watch_token {
            let mut url = self.url("/status");
            url.query_pairs_mut().append_pair("token", token);
            let request = self.patient.without_credential(Method::GET, url);
            seen.calls.push((Step::QueryToken, call(request).await));
        }
    }

    fn url(&self, call: &str) -> Url {
        below(self.server, &format!("jobs/{}{call}", self.job_id))
    }

    fn stream(&self) -> RequestBuilder {
        self.patient.stream(self.url("/stream"))
    }

    fn request(&self, method: Method, call: &str) -> RequestBuilder {
        self.patient.request(method, self.url(call))
    }

    fn get(&self, call: &str) -> RequestBuilder {
        self.request(Method::GET, call)
    }
}

/// Opens a stream as a browser does; when it comes compressed, once more as somebody who cannot read that, and says
/// how it was compressed.
pub(super) async fn open(request: impl Fn() -> RequestBuilder) -> (Recording, Option<String>) {
    let browser = request().header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd");
    let mut recording = Recording::open(browser);
    recording
        .wait(PATIENCE, |record| record.head.is_some())
        .await;
    let seen = recording.seen();
    let encoding = seen
        .header("content-encoding")
        .filter(|encoding| *encoding != "identity");
    let Some(encoding) = encoding.map(str::to_owned) else {
        return (recording, None);
    };
    let plain = request().header(header::ACCEPT_ENCODING, "identity");
    (Recording::open(plain), Some(encoding))
}

fn seq_of(outcome: &Outcome) -> Option<u64> {
    let answer = outcome.as_ref().ok().filter(|answer| answer.is_success())?;
    answer.body.get("seq").and_then(Value::as_u64)
}

fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_micros().try_into().unwrap_or(u64::MAX)
}
