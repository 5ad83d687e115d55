//! Jobs and commits for the tests of stores, and short ways to make them.

use std::{sync::Arc, time::SystemTime};

use progressd::{
    job::{
        Answer, Bounds, Command, Count, Defaults, Event, EventName, Job, JobId, Json, NewEvent,
        NewJob, Origin, Report, ReportId, Seq, State, Timestamp, step,
    },
    store::{
        Commit, Committed, Created, Filter, KeptEvents, Loaded, Position, Rows, Store, StoreError,
        Stored,
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::in_time;

/// This machine's clock, by which the stores under test run too.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.expect("a clock after 1970").as_micros();
    Timestamp::from_micros(u64::try_from(micros).expect("64 bits of microseconds"))
}

/// So many seconds ago.
pub(super) fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_micros(now().as_micros() - seconds * 1_000_000)
}

/// So many seconds from now.
pub(super) fn later(seconds: u64) -> Timestamp {
    now().plus_seconds(seconds)
}

pub(super) fn id(name: &str) -> JobId {
    JobId::parse(name).expect("a valid name")
}

pub(super) fn report_id(text: &str) -> ReportId {
    ReportId::parse(text).expect("a valid report id")
}

/// A new job that stays for an hour after its end.
pub(super) fn job(name: &str) -> Job {
    job_of(name, NewJob::default(), now())
}

/// A new job with fields of its own, made at a time.
pub(super) fn job_of(name: &str, new_job: NewJob, at: Timestamp) -> Job {
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 3_600,
        abandon_after_seconds: 0,
    };
    let owner = new_job.owner.clone();
    new_job.into_job(id(name), owner, None, &defaults, Uuid::new_v4(), at)
}

/// A field of a job that is not empty.
pub(super) fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Puts a new job into the store; the job with its seq.
pub(super) async fn create(store: &dyn Store, job: Job) -> Job {
    match done("a creation", store.create(&job, None)).await {
        Created::Done(seq) => Job { seq, ..job },
        other => panic!("{} is not created: {other:?}", job.id()),
    }
}

/// A new job of that name, in the store.
pub(super) async fn created(store: &dyn Store, name: &str) -> Job {
    create(store, job(name)).await
}

/// A job that ended so many seconds ago and stays for an hour after that, or another time.
pub(super) async fn ended(store: &dyn Store, name: &str, ttl_seconds: u64, seconds: u64) -> Job {
    let new_job = NewJob {
        ttl_seconds: Some(ttl_seconds),
        ..NewJob::default()
    };
    let job = create(store, job_of(name, new_job, ago(seconds + 1))).await;
    let end = Proposal::on(&job).at(ago(seconds)).state(State::Completed);
    commit(store, &end).await
}

/// What a store answers, which it must.
pub(super) async fn done<T>(what: &str, future: impl Future<Output = Result<T, StoreError>>) -> T {
    let outcome = in_time(what, future).await;
    outcome.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A change of a job, as it is proposed to a store.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) job: Job,
    positions: u64,
    events: Vec<(u64, NewEvent)>,
    rows: Vec<Json>,
    answers: Vec<(ReportId, u64, Answer)>,
    now: Timestamp,
    pub(super) nonce: Uuid,
    is_replaceable: bool,
}

impl Proposal {
    /// A change of `job` that changes nothing so far.
    pub(super) fn on(job: &Job) -> Self {
        Self {
            job: job.clone(),
            positions: 0,
            events: Vec::new(),
            rows: Vec::new(),
            answers: Vec::new(),
            now: now(),
            nonce: Uuid::new_v4(),
            is_replaceable: false,
        }
    }

    /// Made at another time; to be said first.
    pub(super) fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// Applies a worker's report, which takes a position of its own.
    pub(super) fn report(mut self, report: Value) -> Self {
        let report = Report::parse(report.to_string().as_bytes(), &Bounds::default());
        let command = Command::Report(Box::new(report.expect("a valid report").report));
        let change = step(&self.job, &command, &Bounds::default(), self.now);
        self.job = change.expect("an allowed report").job;
        self.positions += 1;
        self
    }

    /// A report that says nothing: it takes no position.
    pub(super) fn sign_of_life(self) -> Self {
        let proposal = self.report(json!({}));
        let positions = proposal.positions - 1;
        Self {
            positions,
            ..proposal
        }
    }

    /// Moves to a state.
    pub(super) fn state(self, state: State) -> Self {
        self.report(json!({"status": state.as_str()}))
    }

    /// Says what is going on.
    pub(super) fn message(self, text: &str) -> Self {
        self.report(json!({"message": text}))
    }

    /// Appends an event, at a position of its own.
    pub(super) fn event(mut self, name: &str, data: &Value) -> Self {
        let event = NewEvent {
            name: EventName::parse(name).expect("a valid name"),
            data: Json::of(data).expect("JSON"),
        };
        self.positions += 1;
        self.events.push((self.positions, event));
        self.job.updated_at = self.now;
        self
    }

    /// Appends a result row, which takes no position.
    pub(super) fn row(mut self, row: &Value) -> Self {
        self.rows.push(Json::of(row).expect("JSON"));
        self
    }

    /// The same JSON as the job's result, as an event and as a row.
    pub(super) fn verbatim(mut self, json: &Json) -> Self {
        // A result that is null is none.
        self.job.face.result = Some(json.clone()).filter(|json| json.as_str() != "null");
        self.rows.push(json.clone());
        self = self.event("e", &Value::Null);
        let (_, event) = self.events.last_mut().expect("the event");
        event.data = json.clone();
        self
    }

    /// Remembers the answer to a report: that of the newest position so far.
    pub(super) fn answer(mut self, text: &str) -> Self {
        let answer = Answer {
            job_id: self.job.id().clone(),
            status: self.job.face.state,
            seq: Seq::ZERO,
            cancel_requested: self.job.face.cancel_requested,
        };
        self.answers.push((report_id(text), self.positions, answer));
        self
    }

    /// One that the next report replaces.
    pub(super) fn replaceable(mut self) -> Self {
        self.is_replaceable = true;
        self
    }

    pub(super) fn commit(&self) -> Commit<'_> {
        Commit {
            job: &self.job,
            positions: self.positions,
            events: &self.events,
            rows: &self.rows,
            answers: &self.answers,
            now: self.now,
            nonce: self.nonce,
            is_replaceable: self.is_replaceable,
        }
    }

    /// The job as it is once this was applied.
    pub(super) fn applied(&self, committed: &Committed) -> Job {
        let Committed::Done { prev, first } = committed else {
            panic!("{} is not committed: {committed:?}", self.job.id());
        };
        assert_eq!(*prev, self.job.seq, "made on another seq");
        if self.positions > 0 {
            assert!(first > prev, "{first} does not rise from {prev}");
        }
        Job {
            seq: Committed::seq_at(*prev, *first, self.positions),
            ..self.job.clone()
        }
    }
}

/// Applies a change, which must work; the job afterwards.
pub(super) async fn commit(store: &dyn Store, proposal: &Proposal) -> Job {
    let committed = done("a commit", store.commit(proposal.commit())).await;
    proposal.applied(&committed)
}

/// Proposes a change, which must be refused; what is there instead.
pub(super) async fn conflict(store: &dyn Store, proposal: &Proposal) -> Stored {
    match done("a commit", store.commit(proposal.commit())).await {
        Committed::Conflict(stored) => *stored,
        other => panic!("no conflict: {other:?}"),
    }
}

/// Proposes a change of a job that is not there.
pub(super) async fn missing(store: &dyn Store, proposal: &Proposal) {
    let committed = done("a commit", store.commit(proposal.commit())).await;
    assert!(matches!(committed, Committed::Missing), "{committed:?}");
}

/// Looks a name up.
pub(super) async fn look_up(store: &dyn Store, name: &str) -> Loaded {
    done("a load", store.load(&id(name), now())).await
}

/// A job that is there.
pub(super) async fn stored(store: &dyn Store, name: &str) -> Stored {
    match look_up(store, name).await {
        Loaded::Job(stored) => *stored,
        other => panic!("{name} is not there: {other:?}"),
    }
}

/// Checks that the store holds exactly this job.
#[track_caller]
pub(super) fn assert_holds(stored: &Stored, job: &Job) {
    assert_eq!(*stored.job, *job);
}

pub(super) async fn kept_after(store: &dyn Store, origin: &Origin, after: Seq) -> KeptEvents {
    done("events", store.events_after(origin, after)).await
}

/// All events that are kept.
pub(super) async fn kept(store: &dyn Store, origin: &Origin) -> Vec<Event> {
    kept_after(store, origin, Seq::ZERO).await.events
}

/// The data of events.
pub(super) fn data_of(events: &[Event]) -> Vec<Value> {
    let data = events.iter().map(|event| event.data.as_str());
    data.map(|text| serde_json::from_str(text).expect("JSON"))
        .collect()
}

pub(super) async fn rows(
    store: &dyn Store,
    origin: &Origin,
    from: u64,
    limit: usize,
) -> Option<Rows> {
    done("rows", store.rows(origin, from, limit)).await
}

/// All rows of a job that is there, as text.
pub(super) async fn all_rows(store: &dyn Store, origin: &Origin) -> Vec<String> {
    let rows = rows(store, origin, 0, 1_000_000).await.expect("a job");
    assert_eq!(rows.total, rows.rows.len() as u64);
    rows.rows
        .iter()
        .map(|row| row.as_str().to_owned())
        .collect()
}

/// The names of a page, as of now.
pub(super) async fn listed(
    store: &dyn Store,
    filter: &Filter,
    before: Option<&Position>,
    limit: usize,
) -> Vec<String> {
    names(&done("a list", store.list(filter, before, limit, now())).await)
}

pub(super) async fn remove(store: &dyn Store, origin: &Origin, gone_until: Timestamp) {
    done("a removal", store.remove(origin, gone_until)).await;
}

pub(super) fn names(jobs: &[Arc<Job>]) -> Vec<String> {
    jobs.iter().map(|job| job.id().to_string()).collect()
}

pub(super) fn count(number: u64) -> Option<Count> {
    Some(serde_json::from_value(number.into()).expect("a count"))
}
