//! What is kept at most, and what leaves when there is more.

use super::*;

/// A store that holds so many bytes.
fn small(machine: &Machine, limits: EmbeddedLimits) -> Embedded {
    let settings = EmbeddedSettings {
        limits,
        ..settings("machine")
    };
    on(machine, settings, at(1))
}

fn limits(max_bytes: u64) -> EmbeddedLimits {
    EmbeddedLimits { max_bytes, ..ROOMY }
}

/// A finished job with a row of so many bytes; its retention ends 100 s after `seconds`.
async fn finished(store: &Embedded, name: &str, bytes: usize, seconds: u64) -> Job {
    let job = put(store, new_job(name, NewJob::default(), at(seconds)), None).await;
    let end = Change {
        rows: vec![row(&"r".repeat(bytes))],
        ..Change::to(State::Completed)
    };
    change(store, &job, &end, at(seconds)).await
}

async fn is_there(store: &Embedded, name: &str) -> bool {
    matches!(load(store, name, at(0)).await, Loaded::Job(_))
}

#[tokio::test]
async fn finished_jobs_make_room_in_the_order_in_which_they_expire() {
    let machine = machine();
    let store = small(&machine, limits(150_000));
    finished(&store, "later", 30_000, 50).await;
    finished(&store, "sooner", 30_000, 10).await;
    let working = put(&store, new_job("working", NewJob::default(), at(20)), None).await;
    let rows = |bytes: usize| Change {
        rows: vec![row(&"r".repeat(bytes))],
        ..Change::default()
    };
    let working = change(&store, &working, &rows(30_000), at(21)).await;
    assert!(is_there(&store, "sooner").await && is_there(&store, "later").await);
    let working = change(&store, &working, &rows(60_000), at(22)).await;
    assert!(!is_there(&store, "sooner").await && is_there(&store, "later").await);
    // Known as gone for as long as it should have been there.
    assert!(matches!(
        load(&store, "sooner", at(109)).await,
        Loaded::Gone(_)
    ));
    assert!(matches!(
        load(&store, "sooner", at(110)).await,
        Loaded::Unknown
    ));
    // What does not fit in even so makes nothing leave.
    let much = Proposal::of(&working, &rows(150_000), at(23));
    let answer = store.commit(much.commit()).await;
    assert!(
        matches!(answer, Err(StoreError::Unavailable(_))),
        "{answer:?}"
    );
    let input = Input {
        format: InputFormat::Text,
        content: vec![b'x'; 150_000].into(),
    };
    let job = new_job("full", NewJob::default(), at(23));
    assert!(matches!(
        store.create(&job, Some(&input)).await,
        Ok(Created::Full)
    ));
    assert!(is_there(&store, "later").await);
    assert!(matches!(
        load(&store, "full", at(23)).await,
        Loaded::Unknown
    ));
    // A change of state goes through all the same.
    let ended = change(&store, &working, &Change::to(State::Completed), at(24)).await;
    assert_eq!(stored(&store, "working").await.job.face, ended.face);
    audit(&store);
}

#[tokio::test]
async fn small_changes_go_through_when_the_file_is_full_of_unfinished_work() {
    let machine = machine();
    let store = small(&machine, limits(40_000));
    let mut jobs = Vec::new();
    for number in 0.. {
        let job = new_job(&format!("job-{number}"), NewJob::default(), at(10));
        match store.create(&job, None).await.expect("an answer") {
            Created::Done(seq) => jobs.push(Job { seq, ..job }),
            Created::Full => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(jobs.len() > 5, "{} jobs", jobs.len());
    let text = "t".repeat(900);
    for job in &jobs {
        let report = Change::of(&format!(
            "{{\"message\": \"{text}\", \"status\": \"processing\"}}"
        ));
        change(&store, job, &report, at(11)).await;
    }
    // Once one has ended, there is room again, at its cost.
    let first = stored(&store, "job-0").await.job;
    change(&store, &first, &Change::to(State::Completed), at(12)).await;
    assert!(!is_there(&store, "job-0").await);
    audit(&store);
}

#[tokio::test]
async fn the_file_gets_no_larger_than_it_may() {
    let machine = machine();
    let most = 6 << 20;
    let store = small(&machine, limits(most));
    for round in 0..30 {
        let input = Input {
            format: InputFormat::Text,
            content: vec![b'x'; 20_000 * (round as usize % 7)].into(),
        };
        let name = format!("job-{round}");
        let job = put(
            &store,
            new_job(&name, NewJob::default(), at(10 + round)),
            Some(&input),
        )
        .await;
        let mut job = job;
        for step in 0..20 {
            let more = Change {
                rows: (0..100)
                    .map(|row_number| row(&format!("{row_number:0>150}")))
                    .collect(),
                events: vec![event(&"e".repeat(200 * step))],
                answers: vec![report_id(&format!("report-{step}"))],
                ..Change::count(step as u64)
            };
            job = change(&store, &job, &more, at(10 + round)).await;
        }
        change(&store, &job, &Change::to(State::Completed), at(10 + round)).await;
    }
    assert!(is_there(&store, "job-29").await && !is_there(&store, "job-0").await);
    audit(&store);
    let stats = store
        .inner
        .with_file(|file| Ok(file.begin_write()?.stats()?))
        .expect("stats");
    let taken = stats.allocated_pages() * stats.page_size() as u64;
    assert!(taken < most, "{taken} bytes of {most}");
    assert!(
        taken > most / 2,
        "{taken} bytes of {most}: the estimate is far too high"
    );
}

#[tokio::test]
async fn what_a_removed_job_has_left_is_swept_and_its_place_used_again() {
    let machine = machine();
    let store = small(&machine, ROOMY);
    let mut length = 0;
    for round in 0..12 {
        let job = put(&store, new_job("big", NewJob::default(), at(10)), None).await;
        let all = Change {
            rows: (0..6_000)
                .map(|number| row(&format!("{number:0>100}")))
                .collect(),
            events: (0..500)
                .map(|number| event(&format!("{number:0>100}")))
                .collect(),
            answers: vec![report_id("report")],
            ..Change::default()
        };
        let job = change(&store, &job, &all, at(11)).await;
        store.remove(&job.origin, at(20)).await.expect("removed");
        until("the sweep", || async {
            let transaction = store
                .inner
                .with_file(|file| Ok(redb::ReadableDatabase::begin_read(file)?));
            let transaction = transaction.expect("an open file");
            let trash = transaction.open_table(TRASH).expect("a table");
            trash.is_empty().expect("readable").then_some(())
        })
        .await;
        audit(&store);
        if round == 5 {
            length = machine.synced().len();
        }
    }
    assert!(machine.synced().len() <= length, "the file still grows");
}

#[tokio::test]
async fn a_file_that_has_much_room_in_it_is_made_smaller_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    let store = Embedded::open(settings(&path), at(1)).expect("a new file");
    let input = Input {
        format: InputFormat::Text,
        content: vec![b'x'; 100 << 20].into(),
    };
    let big = put(
        &store,
        new_job("big", NewJob::default(), at(10)),
        Some(&input),
    )
    .await;
    let kept = put(&store, new_job("kept", NewJob::default(), at(12)), None).await;
    change(&store, &kept, &Change::count(1), at(12)).await;
    store.remove(&big.origin, at(20)).await.expect("removed");
    until("the sweep", || async {
        let counts = store.inner.with_file(|file| {
            let transaction = redb::ReadableDatabase::begin_read(file)?;
            Ok(transaction.open_table(TRASH)?.is_empty()?)
        });
        counts.expect("readable").then_some(())
    })
    .await;
    // As after a process that was killed: a file that is closed well gives back its end by itself.
    let copy = folder.path().join("copy.redb");
    std::fs::copy(&path, &copy).expect("copied");
    drop(store);
    let before = std::fs::metadata(&copy).expect("the copy").len();
    let store = Embedded::open(settings(&copy), at(30)).expect("the copy");
    assert!(is_there(&store, "kept").await);
    audit(&store);
    drop(store);
    let after = std::fs::metadata(&copy).expect("the copy").len();
    assert!(
        before > 100 << 20 && after < 8 << 20,
        "{before} → {after} bytes"
    );
}

#[tokio::test]
async fn kept_events_are_bounded_per_job_and_in_all() {
    let machine = machine();
    // Ten events of 128 bytes and their text.
    let bounds = EmbeddedLimits {
        events_per_job: 4,
        event_bytes: 10 * (128 + 1 + 102),
        ..ROOMY
    };
    let store = small(&machine, bounds);
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        let job = put(&store, new_job(name, NewJob::default(), at(10)), None).await;
        let events = Change {
            events: (0..6).map(|_| event(&"e".repeat(100))).collect(),
            ..Change::default()
        };
        jobs.push(change(&store, &job, &events, at(11)).await);
    }
    let mut kept = Vec::new();
    for job in &jobs {
        kept.push(
            store
                .events_after(&job.origin, Seq::ZERO)
                .await
                .expect("events"),
        );
    }
    let counts: Vec<_> = kept.iter().map(|kept| kept.events.len()).collect();
    assert_eq!(counts, [2, 4, 4]);
    for kept in kept {
        assert!(kept.dropped > Seq::ZERO && kept.dropped < kept.events[0].seq);
    }
    // Those of a removed job count no more.
    store
        .remove(&jobs[1].origin, at(20))
        .await
        .expect("removed");
    let events = Change {
        events: vec![event(&"e".repeat(100)); 2],
        ..Change::default()
    };
    let last = change(&store, &jobs[0], &events, at(12)).await;
    let kept = store
        .events_after(&last.origin, Seq::ZERO)
        .await
        .expect("events");
    assert_eq!(kept.events.len(), 4);
    audit(&store);
}

#[tokio::test]
async fn a_job_remembers_a_thousand_reports_for_a_day() {
    let machine = machine();
    let store = small(&machine, ROOMY);
    let mut job = put(&store, new_job("a", NewJob::default(), at(10)), None).await;
    for number in 0..1_200 {
        let report = Change {
            answers: vec![report_id(&format!("report-{number}"))],
            ..Change::default()
        };
        let proposal = Proposal {
            positions: 0,
            ..Proposal::of(&job, &report, at(10))
        };
        job = match store.commit(proposal.commit()).await {
            Ok(Committed::Done { prev, first }) => proposal.done(prev, first),
            other => panic!("unexpected {other:?}"),
        };
    }
    let ledger = stored(&store, "a").await.ledger;
    for (number, is_known) in [(0, false), (199, false), (200, true), (1_199, true)] {
        let found = ledger.find(&report_id(&format!("report-{number}")), at(11));
        assert_eq!(found.is_some(), is_known, "report-{number}");
    }
    let again = |name: &str, seconds| {
        let report = Change {
            answers: vec![report_id(name)],
            ..Change::default()
        };
        Proposal {
            positions: 0,
            ..Proposal::of(&job, &report, at(seconds))
        }
    };
    let repeated = again("report-500", 20);
    assert!(matches!(
        store.commit(repeated.commit()).await,
        Ok(Committed::Conflict(_))
    ));
    let next_day = again("report-500", 10 + 86_400);
    assert!(matches!(
        store.commit(next_day.commit()).await,
        Ok(Committed::Done { .. })
    ));
    audit(&store);
}

#[tokio::test]
async fn names_are_bounded_and_values_are_refused_rather_than_forgotten() {
    let machine = machine();
    let store = small(&machine, EmbeddedLimits { names: 3, ..ROOMY });
    for number in 0..6 {
        let name = format!("job-{number}");
        let job = put(&store, new_job(&name, NewJob::default(), at(10)), None).await;
        store
            .remove(&job.origin, at(100 + number))
            .await
            .expect("removed");
        store
            .reserve(&name, &id(&name), at(10 + number))
            .await
            .expect("reserved");
    }
    for number in 0..6 {
        let is_known = matches!(
            load(&store, &format!("job-{number}"), at(20)).await,
            Loaded::Gone(_)
        );
        assert_eq!(is_known, number >= 3, "job-{number}");
    }
    for (key, is_taken) in [
        ("a", true),
        ("b", true),
        ("c", true),
        ("d", false),
        ("b", true),
    ] {
        let put = store.put_if_absent(key, b"v", Some(Duration::from_secs(9)), at(20));
        assert_eq!(put.await.is_ok(), is_taken, "{key}");
    }
    assert!(
        store.put_if_absent("d", b"v", None, at(29)).await.is_ok(),
        "the others' time is over"
    );
    audit(&store);
}

#[tokio::test]
async fn what_expires_leaves_and_is_forgotten_in_the_end() {
    let machine = machine();
    let store = small(&machine, ROOMY);
    for number in 0..5 {
        finished(&store, &format!("job-{number}"), 100, 10 + number).await;
    }
    assert_eq!(store.expire(at(110), 50, 10).await.expect("an answer"), 1);
    assert_eq!(store.expire(at(112), 50, 1).await.expect("an answer"), 1);
    assert_eq!(store.expire(at(112), 50, 10).await.expect("an answer"), 1);
    assert!(matches!(
        load(&store, "job-0", at(150)).await,
        Loaded::Gone(_)
    ));
    assert!(matches!(
        load(&store, "job-0", at(160)).await,
        Loaded::Unknown
    ));
    // One whose time is over is gone before it is swept.
    assert!(matches!(
        load(&store, "job-4", at(114)).await,
        Loaded::Gone(_)
    ));
    let listed = store
        .list(&Filter::default(), None, 10, at(114))
        .await
        .expect("a list");
    assert!(listed.is_empty());
    assert_eq!(store.expire(at(1_000), 50, 10).await.expect("an answer"), 2);
    let counts = store.counts().await.expect("counts");
    assert_eq!(counts, JobCounts::default());
    store.expire(at(2_000), 50, 10).await.expect("an answer");
    audit(&store);
}
