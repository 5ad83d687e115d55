//! The store in a file: what it keeps, over what it may die, and what it refuses.

mod bounds;
mod faults;
mod keeps;
mod losses;
mod machine;
mod restarts;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use redb::{ReadableTable as _, ReadableTableMetadata as _};
use uuid::Uuid;

use super::{fault::Fault, tables::*, *};
use crate::{
    job::{
        Answer, Bounds, Command, Defaults, EventName, Json, NewEvent, NewJob, Report, ReportId,
        State, step,
    },
    store::{Former, InputFormat, Stored},
};
use machine::Machine;

/// Room for all that a test brings.
const ROOMY: EmbeddedLimits = EmbeddedLimits {
    max_bytes: 1 << 30,
    events_per_job: 1_000,
    event_bytes_per_job: 1 << 20,
    event_bytes: 1 << 24,
    names: 10_000,
};

fn settings(path: impl AsRef<Path>) -> EmbeddedSettings {
    EmbeddedSettings {
        path: path.as_ref().to_owned(),
        flush: Duration::from_millis(5),
        is_all_durable: false,
        cache_bytes: 4 << 20,
        limits: ROOMY,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn id(name: &str) -> JobId {
    JobId::parse(name).expect("a valid name")
}

fn report_id(text: &str) -> ReportId {
    ReportId::parse(text).expect("a report id")
}

fn event(text: &str) -> NewEvent {
    NewEvent {
        name: EventName::parse("e").expect("a name"),
        data: Json::of(text).expect("JSON"),
    }
}

fn row(text: &str) -> Json {
    Json::of(text).expect("JSON")
}

/// A new job with an incarnation of its own.
fn new_job(name: &str, body: NewJob, now: Timestamp) -> Job {
    static INCARNATIONS: AtomicU64 = AtomicU64::new(1);
    let incarnation = INCARNATIONS.fetch_add(1, Ordering::Relaxed);
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 100,
        abandon_after_seconds: 0,
    };
    let incarnation = Uuid::from_u128(u128::from(incarnation));
    body.into_job(id(name), None, None, &defaults, incarnation, now)
}

/// A change that a test makes.
#[derive(Default)]
struct Change {
    report: Report,
    events: Vec<NewEvent>,
    rows: Vec<Json>,
    answers: Vec<ReportId>,
}

impl Change {
    fn to(state: State) -> Self {
        Self {
            report: Report {
                status: Some(state),
                ..Report::default()
            },
            ..Self::default()
        }
    }

    fn count(processed: u64) -> Self {
        Self::of(&format!("{{\"processed_count\": {processed}}}"))
    }

    /// A report as it comes from outside.
    fn of(body: &str) -> Self {
        let report = Report::parse(body.as_bytes(), &Bounds::default());
        Self {
            report: report.expect("a report").report,
            ..Self::default()
        }
    }
}

/// A change as it is committed.
struct Proposal {
    job: Job,
    positions: u64,
    events: Vec<(u64, NewEvent)>,
    rows: Vec<Json>,
    answers: Vec<(ReportId, u64, Answer)>,
    now: Timestamp,
    nonce: Uuid,
    is_replaceable: bool,
}

impl Proposal {
    fn of(job: &Job, change: &Change, now: Timestamp) -> Self {
        let command = Command::Report(Box::new(change.report.clone()));
        let stepped = step(job, &command, &Bounds::default(), now).expect("an allowed change");
        let events: Vec<_> = (1..).zip(change.events.iter().cloned()).collect();
        let positions = events.len() as u64 + u64::from(stepped.is_status);
        let answer = |report_id: &ReportId| {
            let answer = Answer {
                job_id: job.id().clone(),
                status: stepped.job.face.state,
                seq: Seq::ZERO,
                cancel_requested: false,
            };
            (report_id.clone(), positions, answer)
        };
        let answers: Vec<_> = change.answers.iter().map(answer).collect();
        let is_bare = events.is_empty() && change.rows.is_empty() && answers.is_empty();
        Self {
            positions,
            events,
            rows: change.rows.clone(),
            answers,
            now,
            nonce: Uuid::now_v7(),
            is_replaceable: stepped.is_replaceable && is_bare,
            job: stepped.job,
        }
    }

    fn commit(&self) -> Commit<'_> {
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

    /// The job once it is committed.
    fn done(&self, prev: Seq, first: Seq) -> Job {
        Job {
            seq: Committed::seq_at(prev, first, self.positions),
            ..self.job.clone()
        }
    }
}

/// Puts a job; it comes back with its seq.
async fn put(store: &Embedded, job: Job, input: Option<&Input>) -> Job {
    match store.create(&job, input).await.expect("the store answers") {
        Created::Done(seq) => Job { seq, ..job },
        other => panic!("unexpected {other:?}"),
    }
}

/// Commits a change; the job comes back with its new seq.
async fn change(store: &Embedded, job: &Job, change: &Change, now: Timestamp) -> Job {
    let proposal = Proposal::of(job, change, now);
    match store.commit(proposal.commit()).await {
        Ok(Committed::Done { prev, first }) => proposal.done(prev, first),
        other => panic!("unexpected {other:?}"),
    }
}

/// A store on a machine of its own.
fn on(machine: &Machine, settings: EmbeddedSettings, now: Timestamp) -> Embedded {
    Embedded::open_over(machine.clone(), settings, now).expect("the machine is in order")
}

/// A new machine with nothing on its disk.
fn machine() -> Machine {
    Machine::new(Vec::new(), 1)
}

/// Looks again and again until it is so; ten seconds at most.
async fn until<T, Looking>(what: &str, look: impl Fn() -> Looking) -> T
where
    Looking: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), looking).await;
    found.unwrap_or_else(|_| panic!("{what} did not come"))
}

async fn load(store: &Embedded, name: &str, now: Timestamp) -> Loaded {
    store.load(&id(name), now).await.expect("the store answers")
}

async fn stored(store: &Embedded, name: &str) -> Stored {
    match load(store, name, at(0)).await {
        Loaded::Job(stored) => *stored,
        other => panic!("unexpected {other:?}"),
    }
}

/// Looks through the whole file: the totals are what the tables come to, and whatever one table
/// names is in the others.
fn audit(store: &Embedded) {
    let transaction = store
        .inner
        .with_file(|file| Ok(redb::ReadableDatabase::begin_read(file)?))
        .expect("an open file");
    audit_tables(&transaction, store.inner.era).expect("a file that can be read");
}

fn audit_tables(transaction: &redb::ReadTransaction, era: Era) -> Result<(), Fault> {
    let totals = Totals::load(&transaction.open_table(NUMBERS)?)?;
    let jobs = transaction.open_table(JOBS)?;
    let (cards, expiry) = (
        transaction.open_table(CARDS)?,
        transaction.open_table(EXPIRY)?,
    );
    let unfinished = transaction.open_table(UNFINISHED)?;
    let logs = transaction.open_table(EVENT_LOGS)?;
    let events = transaction.open_table(EVENTS)?;
    let rows = transaction.open_table(ROWS)?;
    let mut counted = Totals::default();
    let (mut live, mut finished_weight, mut event_bytes) = (0, 0, 0);
    for entry in jobs.iter()? {
        let (name, value) = entry?;
        let (head, document) = value.value();
        let head = Head::of(head)?;
        let job = era.read(&head, document)?;
        assert_eq!(job.id().as_str(), name.value());
        assert_eq!(job.face.state, head.state);
        assert_eq!(job.origin.incarnation, head.incarnation);
        counted.add_job(head.state);
        let age = (job.origin.created_at.as_micros(), name.value());
        assert_eq!(
            cards.get(age)?.map(|card| card.value().to_vec()),
            Some(card::Card::of(&job).bytes())
        );
        assert_eq!(unfinished.get(age)?.is_some(), !job.is_finished());
        if let Some(end) = job.expires_at() {
            assert!(expiry.get((end.as_micros(), name.value()))?.is_some());
        }
        let held = rows.range((head.number, 0)..(head.number + 1, 0))?.count();
        assert_eq!(held as u64, head.rows, "rows of {}", job.id());
        let mut weight = head.weight;
        if let Some(log) = logs.get(head.number)? {
            let log = super::events::EventLog::of(log.value());
            let held = events
                .range((head.number, 0)..(head.number + 1, 0))?
                .count();
            assert_eq!(held as u64, log.count, "events of {}", job.id());
            weight += log.weight;
            event_bytes += log.bytes;
        }
        live += weight;
        finished_weight += if job.is_finished() { weight } else { 0 };
    }
    assert_eq!(counted.counts(), totals.counts());
    assert_eq!(cards.len()?, jobs.len()?);
    assert_eq!(unfinished.len()? + expiry.len()?, jobs.len()?);
    let trash: u64 = transaction
        .open_table(TRASH)?
        .iter()?
        .map(|entry| entry.expect("readable").1.value())
        .sum();
    assert_eq!(
        (finished_weight, event_bytes),
        (totals.finished_weight, totals.event_bytes)
    );
    assert_eq!(trash, totals.trash_weight);
    assert!(live + trash <= totals.weight, "names weigh something too");
    if trash == 0 {
        assert_eq!(events.len()?, transaction.open_table(EVENTS_BY_AGE)?.len()?);
        assert_eq!(logs.len()?, logs.iter()?.count() as u64);
        assert_eq!(
            transaction.open_table(ANSWERS)?.len()?,
            transaction.open_table(ANSWER_PLACES)?.len()?
        );
    }
    for (sort, by_end, count) in [
        (names::GONE, names::GONE_BY_END, totals.gone),
        (
            names::RESERVATIONS,
            names::RESERVATIONS_BY_END,
            totals.reservations,
        ),
    ] {
        assert_eq!(transaction.open_table(sort)?.len()?, count);
        assert_eq!(transaction.open_table(by_end)?.len()?, count);
    }
    assert_eq!(transaction.open_table(names::VALUES)?.len()?, totals.values);
    Ok(())
}
