//! Many at once, and calls that are given up half-way.

use std::{
    collections::HashSet,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::future::join_all;
use progressd::{
    job::{Job, State},
    store::{Committed, Created, Filter, Input, InputFormat, Loaded, Store},
};
use serde_json::{Value, json};

use super::{Backend, parts::*};

pub(super) async fn one_of_many_commits_on_a_seq_wins(backend: &dyn Backend) {
    let store = backend.store();
    let mut job = created(&**store, "a").await;
    for round in 0..10 {
        let tasks = (0..16).map(|number| {
            let (store, job) = (Arc::clone(store), job.clone());
            tokio::spawn(async move {
                let change = Proposal::on(&job).event("e", &json!([round, number]));
                let committed = done("a commit", store.commit(change.commit())).await;
                match committed {
                    Committed::Done { .. } => Some((change.applied(&committed), number)),
                    Committed::Conflict(_) => None,
                    Committed::Missing => panic!("the job is there"),
                }
            })
        });
        let won = join_all(tasks).await.into_iter();
        let mut won: Vec<_> = won.filter_map(|task| task.expect("no panic")).collect();
        let (next, winner) = won.pop().expect("one wins");
        assert!(won.is_empty(), "two commits on {}", job.seq);
        assert_holds(&stored(&**store, "a").await, &next);
        let events = kept(&**store, &job.origin).await;
        assert_eq!(data_of(&events).last(), Some(&json!([round, winner])));
        assert_eq!(events.len(), round + 1);
        job = next;
    }
}

/// Adds one to the job's count, as often as it takes; with an event and a row that say who did.
pub(super) async fn count_on(
    store: &dyn Store,
    name: &str,
    who: &Value,
    report: Option<&str>,
) -> bool {
    let mut job = stored(store, name).await.job;
    loop {
        let mut change = Proposal::on(&job)
            .report(json!({"processed_increment": 1}))
            .event("e", who)
            .row(&json!({"who": who}));
        if let Some(report) = report {
            change = change.answer(report);
        }
        match done("a commit", store.commit(change.commit())).await {
            Committed::Done { .. } => return true,
            Committed::Conflict(stored) => {
                if report.is_some_and(|it| stored.ledger.find(&report_id(it), now()).is_some()) {
                    return false;
                }
                job = stored.job;
            }
            Committed::Missing => panic!("the job is there"),
        }
    }
}

/// The number of the job's events and rows, which must tell the same story as its count.
pub(super) async fn checked_count(store: &dyn Store, name: &str) -> u64 {
    let job = stored(store, name).await.job;
    let told: Vec<_> = data_of(&kept(store, &job.origin).await)
        .iter()
        .map(|who| json!({"who": who}).to_string())
        .collect();
    assert_eq!(told, all_rows(store, &job.origin).await);
    let count = job.face.progress.processed().map_or(0, |count| count.get());
    assert_eq!(count, told.len() as u64);
    assert_eq!(
        told.iter().collect::<HashSet<_>>().len(),
        told.len(),
        "one came twice"
    );
    count
}

pub(super) async fn many_writers_lose_nothing_and_count_everything_once(backend: &dyn Backend) {
    let store = backend.store();
    created(&**store, "a").await;
    let writers = (0..8).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for number in 0..10 {
                count_on(&*store, "a", &json!([writer, number]), None).await;
            }
        })
    });
    for writer in join_all(writers).await {
        writer.expect("no panic");
    }
    assert_eq!(checked_count(&**store, "a").await, 80);
}

pub(super) async fn many_report_one_id_and_it_counts_once(backend: &dyn Backend) {
    let store = backend.store();
    created(&**store, "a").await;
    let writers = (0..8).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut applied = 0;
            for number in 0..10 {
                let id = format!("r{number}");
                let who = json!([writer, number]);
                applied += u64::from(count_on(&*store, "a", &who, Some(&id)).await);
            }
            applied
        })
    });
    let applied = join_all(writers).await.into_iter();
    let applied: u64 = applied.map(|count| count.expect("no panic")).sum();
    assert_eq!(applied, 10);
    assert_eq!(checked_count(&**store, "a").await, 10);
}

pub(super) async fn one_of_many_creations_of_a_name_wins(backend: &dyn Backend) {
    let store = backend.store();
    for round in 0..10 {
        let name = format!("job-{round}");
        let tasks = (0..10).map(|_| {
            let (store, job) = (Arc::clone(store), job(&name));
            tokio::spawn(async move {
                match done("a creation", store.create(&job, None)).await {
                    Created::Done(_) => (true, job.origin.incarnation),
                    Created::Exists(stored) => (false, stored.job.origin.incarnation),
                    Created::Full => panic!("there is room"),
                }
            })
        });
        let made = join_all(tasks).await.into_iter();
        let made: Vec<_> = made.map(|task| task.expect("no panic")).collect();
        assert_eq!(made.iter().filter(|(is_new, _)| *is_new).count(), 1);
        let incarnations: HashSet<_> = made.iter().map(|(_, incarnation)| incarnation).collect();
        assert_eq!(incarnations.len(), 1, "all see the one that won");
    }
    assert_eq!(
        listed(&**store, &Filter::default(), None, 100).await.len(),
        10
    );
}

pub(super) async fn removals_and_commits_at_once_leave_a_job_or_none(backend: &dyn Backend) {
    let store = backend.store();
    for _ in 0..20 {
        let job = created(&**store, "a").await;
        let writer = tokio::spawn({
            let (store, mut job) = (Arc::clone(store), job.clone());
            async move {
                for number in 0..20 {
                    let change = Proposal::on(&job)
                        .event("e", &json!(number))
                        .row(&json!(number));
                    let committed = done("a commit", store.commit(change.commit())).await;
                    match committed {
                        Committed::Done { .. } => job = change.applied(&committed),
                        Committed::Missing => return,
                        Committed::Conflict(stored) => panic!("nobody else writes: {stored:?}"),
                    }
                }
            }
        });
        remove(&**store, &job.origin, later(60)).await;
        // From now on nothing of it is there, whatever was on its way.
        let loaded = look_up(&**store, "a").await;
        assert!(matches!(loaded, Loaded::Gone(_)), "{loaded:?}");
        writer.await.expect("no panic");
        let loaded = look_up(&**store, "a").await;
        assert!(matches!(loaded, Loaded::Gone(_)), "{loaded:?}");
        assert!(kept(&**store, &job.origin).await.is_empty());
        assert!(rows(&**store, &job.origin, 0, 10).await.is_none());
    }
    assert!(
        listed(&**store, &Filter::default(), None, 10)
            .await
            .is_empty()
    );
}

pub(super) async fn jobs_do_not_mix_when_many_are_written_at_once(backend: &dyn Backend) {
    let store = backend.store();
    let writers = (0..20).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let name = format!("job-{number}");
            created(&*store, &name).await;
            for round in 0..10 {
                count_on(&*store, &name, &json!([number, round]), None).await;
            }
            let origin = stored(&*store, &name).await.job.origin.clone();
            let expected: Vec<_> = (0..10).map(|round| json!([number, round])).collect();
            assert_eq!(data_of(&kept(&*store, &origin).await), expected);
            assert_eq!(checked_count(&*store, &name).await, 10);
        })
    });
    for writer in join_all(writers).await {
        writer.expect("no panic");
    }
}

pub(super) async fn reads_beside_writes_see_whole_commits(backend: &dyn Backend) {
    let store = backend.store();
    let job = created(&**store, "a").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, is_over) = (Arc::clone(store), Arc::clone(&is_over));
        async move {
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                // What is read first is never ahead of what is read after it.
                let job = stored(&*store, "a").await.job;
                let count = job.face.progress.processed().map_or(0, |count| count.get());
                let page = rows(&*store, &job.origin, 0, 1_000).await.expect("a job");
                let events = kept(&*store, &job.origin).await;
                assert!(count >= last, "the count went back");
                assert!(page.total >= count, "rows came later than their commit");
                assert_eq!(page.total, page.rows.len() as u64);
                assert!(events.len() as u64 >= page.total, "events came later");
                assert!(events.is_sorted_by(|a, b| a.seq < b.seq));
                last = count;
            }
        }
    });
    for number in 0..100 {
        count_on(&**store, "a", &json!(number), None).await;
    }
    is_over.store(true, Ordering::Relaxed);
    reader.await.expect("no panic");
    drop(job);
}

/// Polls a call so many times and gives it up then, if it is not done.
///
/// Between two polls the rest of the runtime gets its turn: what the call waits for may come.
async fn poll_only<T>(times: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..times {
        let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Whether a commit that nobody waited for was made: read until the store has settled, which it has
/// when a commit on what was read succeeds.
async fn settled(store: &dyn Store, name: &str) -> Job {
    loop {
        let job = stored(store, name).await.job;
        let change = Proposal::on(&job).report(json!({"data": {"settled": true}}));
        let committed = done("a commit", store.commit(change.commit())).await;
        if matches!(committed, Committed::Done { .. }) {
            return change.applied(&committed);
        }
    }
}

pub(super) async fn a_dropped_commit_is_there_whole_or_not_at_all(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    let mut made = Vec::new();
    for times in 1..60_u64 {
        let change = Proposal::on(&job)
            .event("e", &json!([times, 0]))
            .event("e", &json!([times, 1]))
            .report(json!({"processed_count": times}))
            .row(&json!({"times": times}))
            .answer(&format!("r{times}"));
        let outcome = poll_only(times as usize, store.commit(change.commit())).await;
        job = settled(store, "a").await;
        let is_made = job.face.progress.processed().map(|count| count.get()) == Some(times);
        if let Some(outcome) = outcome {
            let outcome = outcome.expect("the store answers");
            assert!(
                is_made && matches!(outcome, Committed::Done { .. }),
                "{outcome:?}"
            );
        }
        if is_made {
            made.push(times);
            conflict(store, &Proposal::on(&job).answer(&format!("r{times}"))).await;
        }
        let events: Vec<_> = made
            .iter()
            .flat_map(|times| [json!([times, 0]), json!([times, 1])])
            .collect();
        assert_eq!(data_of(&kept(store, &job.origin).await), events);
        let rows: Vec<_> = made
            .iter()
            .map(|times| json!({"times": times}).to_string())
            .collect();
        assert_eq!(all_rows(store, &job.origin).await, rows);
    }
}

pub(super) async fn dropped_calls_of_every_kind_leave_the_store_in_order(backend: &dyn Backend) {
    let store = &**backend.store();
    let input = Input {
        format: InputFormat::Text,
        content: b"input".as_slice().into(),
    };
    let filter = Filter::default();
    for times in 0..20 {
        let name = format!("job-{times}");
        let new = job(&name);
        poll_only(times, store.create(&new, Some(&input))).await;
        // What was given up is there with its input, or it is not there.
        let mut job = match done("a creation", store.create(&new, Some(&input))).await {
            Created::Done(seq) => Job { seq, ..new },
            Created::Exists(stored) => (*stored.job).clone(),
            Created::Full => panic!("there is room"),
        };
        assert_eq!(
            done("an input", store.input(&job.origin)).await,
            Some(input.clone())
        );
        job = commit(store, &Proposal::on(&job).state(State::Processing)).await;
        let origin = &job.origin;
        poll_only(times, store.load(job.id(), now())).await;
        poll_only(times, store.input(origin)).await;
        poll_only(times, store.events_after(origin, job.seq)).await;
        poll_only(times, store.list(&filter, None, 10, now())).await;
        poll_only(times, store.unfinished(None, None, 10)).await;
        poll_only(times, store.rows(origin, 0, 10)).await;
        poll_only(times, store.expire(now(), 60, 10)).await;
        poll_only(times, store.counts()).await;
        poll_only(times, store.ping()).await;
        poll_only(times, store.reserve("key", job.id(), now())).await;
        poll_only(times, store.put_if_absent("key", b"value", None, now())).await;
        if let Some(shared) = store.shared() {
            poll_only(times, shared.now()).await;
            poll_only(times, shared.follow(job.id())).await;
            poll_only(times, shared.seqs(&[&**origin])).await;
            poll_only(times, shared.due(now(), 10)).await;
            poll_only(times, shared.next_notice()).await;
        }
        assert_holds(&stored(store, &name).await, &job);
        poll_only(times, store.remove(origin, later(60))).await;
        remove(store, origin, later(60)).await;
        let gone = look_up(store, &name).await;
        assert!(matches!(gone, Loaded::Gone(_)), "{gone:?}");
    }
    assert!(listed(store, &filter, None, 10).await.is_empty());
}
