//! What the memory store keeps, forgets and refuses, so that it stays within its bounds.

use std::{sync::atomic::AtomicBool, thread};

use futures_util::FutureExt as _;

use super::*;
use crate::{
    job::{
        Bounds, Command, Defaults, EventName, Json, NewEvent, NewJob, Origin, Report, State, step,
    },
    store::InputFormat,
};

const LIMITS: MemoryLimits = MemoryLimits {
    events_per_job: 3,
    event_bytes_per_job: 1_000,
    // Two events of 40 bytes of text, and what an event costs besides.
    event_bytes: 356,
    finished_jobs: 2,
    row_bytes: 1_000,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn id(name: &str) -> JobId {
    JobId::parse(name).expect("a valid name")
}

/// What names the job of that name, as [`new_job`] makes it.
fn origin(name: &str) -> Arc<Origin> {
    new_job(name, 60, 0).origin
}

fn new_job(name: &str, ttl_seconds: u64, seconds: u64) -> Job {
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds,
        abandon_after_seconds: 0,
    };
    NewJob::default().into_job(
        id(name),
        None,
        None,
        &defaults,
        uuid::Uuid::nil(),
        at(seconds),
    )
}

/// The store's futures are ready at once.
fn done<T>(future: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    future.now_or_never().expect("memory does not wait")
}

/// A new job in the store, with its seq.
fn put(store: &Memory, job: Job, input: Option<&Input>) -> Job {
    match done(store.create(&job, input)).expect("memory answers") {
        Created::Done(seq) => Job { seq, ..job },
        other => panic!("unexpected {other:?}"),
    }
}

fn load(store: &Memory, name: &str, seconds: u64) -> Loaded {
    done(store.load(&id(name), at(seconds))).expect("memory answers")
}

/// What a commit changes besides the status.
#[derive(Default)]
struct Extra {
    events: Vec<(u64, NewEvent)>,
    rows: Vec<Json>,
}

/// Commits a state with its extras, whatever comes of it; the job is the one that was proposed.
fn propose(
    store: &Memory,
    job: &Job,
    state: State,
    extra: &Extra,
    seconds: u64,
) -> (Job, Result<Committed, StoreError>) {
    let report = Report {
        status: Some(state),
        ..Report::default()
    };
    let command = Command::Report(Box::new(report));
    let change = step(job, &command, &Bounds::default(), at(seconds)).expect("allowed");
    let committed = done(store.commit(Commit {
        job: &change.job,
        positions: 1 + extra.events.len() as u64,
        events: &extra.events,
        rows: &extra.rows,
        answers: &[],
        now: at(seconds),
        nonce: uuid::Uuid::nil(),
        is_replaceable: false,
    }));
    (change.job, committed)
}

/// The same, where nobody else is at work; the job comes back with its new seq.
fn commit(
    store: &Memory,
    job: &Job,
    state: State,
    extra: &Extra,
    seconds: u64,
) -> Result<Job, StoreError> {
    let (job, committed) = propose(store, job, state, extra, seconds);
    match committed? {
        Committed::Done { prev, first } => {
            let seq = Committed::seq_at(prev, first, 1 + extra.events.len() as u64);
            Ok(Job { seq, ..job })
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn events(texts: &[&str]) -> Extra {
    let event = |text: &&str| NewEvent {
        name: EventName::parse("e").expect("a valid name"),
        data: Json::of(*text).expect("a string serializes"),
    };
    Extra {
        events: (1..).zip(texts.iter().map(event)).collect(),
        ..Extra::default()
    }
}

fn rows(bytes: usize) -> Extra {
    Extra {
        rows: vec![Json::of(&"x".repeat(bytes - 2)).expect("a string serializes")],
        ..Extra::default()
    }
}

fn kept(store: &Memory, name: &str) -> (Vec<String>, bool) {
    let kept = done(store.events_after(&origin(name), Seq::ZERO)).expect("memory answers");
    let texts = kept
        .events
        .iter()
        .map(|event| event.data.as_str().to_owned());
    (texts.collect(), kept.dropped > Seq::ZERO)
}

#[test]
fn beyond_the_bytes_of_all_jobs_the_oldest_event_of_any_job_goes() {
    let store = Memory::new(LIMITS);
    let a = put(&store, new_job("a", 60, 1), None);
    let b = put(&store, new_job("b", 60, 1), None);
    let text = "x".repeat(37);
    // 40 bytes each, with name and quotes.
    commit(&store, &a, State::Processing, &events(&[&text]), 2).expect("room");
    let b = commit(&store, &b, State::Processing, &events(&[&text]), 3).expect("room");
    assert_eq!((kept(&store, "a").1, kept(&store, "b").1), (false, false));
    commit(&store, &b, State::Processing, &events(&[&text]), 4).expect("room");
    assert_eq!(
        kept(&store, "a"),
        (vec![], true),
        "the oldest was that of the other job"
    );
    assert_eq!(kept(&store, "b").0.len(), 2);
}

#[test]
fn removing_a_job_frees_its_events_for_others() {
    let store = Memory::new(LIMITS);
    let text = "x".repeat(90);
    for round in 0..5 {
        let job = put(&store, new_job("a", 60, round), None);
        commit(&store, &job, State::Processing, &events(&[&text]), round).expect("room");
        assert_eq!(kept(&store, "a").0.len(), 1);
        done(store.remove(&origin("a"), at(round))).expect("memory answers");
    }
}

#[test]
fn a_removed_job_leaves_nothing_of_its_input_behind() {
    let store = Memory::new(LIMITS);
    let content: Arc<[u8]> = Arc::from(&b"a list of addresses"[..]);
    let input = Input {
        format: InputFormat::Text,
        content: Arc::clone(&content),
    };
    let job = put(&store, new_job("a", 60, 1), Some(&input));
    drop(input);
    commit(&store, &job, State::Processing, &events(&["x"]), 2).expect("room");
    done(store.remove(&origin("a"), at(3))).expect("memory answers");
    assert_eq!(
        Arc::strong_count(&content),
        1,
        "somebody still holds the input"
    );
}

#[test]
fn a_finished_job_that_leaves_early_is_gone_and_not_unknown() {
    let store = Memory::new(LIMITS);
    for (name, ttl) in [("a", 50), ("b", 60), ("c", 70)] {
        let job = put(&store, new_job(name, ttl, 1), None);
        commit(&store, &job, State::Completed, &Extra::default(), 2).expect("room");
    }
    assert!(
        matches!(load(&store, "a", 3), Loaded::Gone(_)),
        "two may stay"
    );
    assert!(matches!(load(&store, "b", 3), Loaded::Job(_)));
    assert!(matches!(load(&store, "a", 60), Loaded::Unknown));
}

#[test]
fn rows_push_finished_jobs_out_and_are_refused_when_there_is_none() {
    let store = Memory::new(LIMITS);
    let old = put(&store, new_job("old", 60, 1), None);
    commit(&store, &old, State::Completed, &rows(600), 2).expect("room");
    let job = put(&store, new_job("a", 60, 3), None);
    let job = commit(&store, &job, State::Processing, &rows(600), 4).expect("room is made");
    assert!(matches!(load(&store, "old", 5), Loaded::Gone(_)));
    let error = commit(&store, &job, State::Processing, &rows(600), 5).expect_err("no room");
    assert!(error.to_string().contains("rows"), "{error}");
    let Loaded::Job(stored) = load(&store, "a", 6) else {
        panic!("the job stays");
    };
    assert_eq!(stored.job.seq, job.seq, "a refused commit changes nothing");
    let page = done(store.rows(&origin("a"), 0, 10)).expect("memory answers");
    let page = page.expect("the job is there");
    assert_eq!((page.total, page.rows.len()), (1, 1));
    commit(&store, &job, State::Completed, &rows(400), 6).expect("exactly the room that is left");
}

#[test]
fn a_clock_that_steps_back_takes_no_seq_back() {
    let store = Memory::new(LIMITS);
    let a = put(&store, new_job("a", 60, 1_000), None);
    let a = commit(&store, &a, State::Processing, &events(&["x", "y"]), 1_000).expect("room");
    let b = put(&store, new_job("b", 60, 500), None);
    assert!(b.seq > a.seq, "a later change of another job");
    let b = commit(&store, &b, State::Processing, &Extra::default(), 500).expect("room");
    done(store.remove(&origin("b"), at(500))).expect("memory answers");
    let again = put(&store, new_job("b", 60, 400), None);
    assert!(
        again.seq > b.seq,
        "a watcher of the first b stands before the second"
    );
}

#[test]
fn a_reserved_key_stays_bound_for_a_day() {
    const DAY: u64 = 86_400;
    let store = Memory::new(LIMITS);
    let reserve = |name: &str, seconds: u64| {
        done(store.reserve("key", &id(name), at(seconds))).expect("memory answers")
    };
    assert_eq!(reserve("a", 0), id("a"));
    assert_eq!(reserve("b", DAY - 1), id("a"));
    assert_eq!(reserve("c", DAY), id("c"));
}

/// A commit's rows are counted under another lock than the job's own, and a removal may come in
/// between.
#[test]
fn rows_are_counted_right_when_removals_meet_commits() {
    let store = Memory::new(LIMITS);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                done(store.remove(&origin("a"), at(0))).expect("memory answers");
            }
        });
        for round in 1..=20_000 {
            let job = put(&store, new_job("a", 60, round), None);
            let (_, committed) = propose(&store, &job, State::Processing, &rows(10), round);
            committed.expect("there is always room for so little");
            done(store.remove(&origin("a"), at(0))).expect("memory answers");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.read().bulk_bytes, 0);
}
