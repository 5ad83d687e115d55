//! What is there again after a restart.

use super::*;

/// Everything that a job can have, in a store that is closed afterwards.
async fn fill(store: &Embedded) -> Job {
    let body = NewJob {
        kind: Some("import".to_owned()),
        tags: Some(vec!["x".to_owned(), "y".to_owned()]),
        ..NewJob::default()
    };
    let input = Input {
        format: InputFormat::Csv,
        content: vec![7; 200_000].into(),
    };
    let job = put(store, new_job("a", body, at(10)), Some(&input)).await;
    let all = Change {
        events: vec![event("one"), event("two")],
        rows: vec![row("r1"), row("r2")],
        answers: vec![report_id("report")],
        ..Change::of("{\"processed_count\": 3, \"data\": {\"b\": 1, \"a\": [2]}}")
    };
    let job = change(store, &job, &all, at(11)).await;
    let ended = put(store, new_job("ended", NewJob::default(), at(12)), None).await;
    change(store, &ended, &Change::to(State::Failed), at(13)).await;
    let removed = put(store, new_job("removed", NewJob::default(), at(14)), None).await;
    store
        .remove(&removed.origin, at(500))
        .await
        .expect("removed");
    store
        .reserve("key", &id("a"), at(14))
        .await
        .expect("reserved");
    let secret = store.put_if_absent("secret", b"s", None, at(14)).await;
    secret.expect("put");
    let ticket = store.put_if_absent("ticket", b"t", Some(Duration::from_secs(30)), at(14));
    ticket.await.expect("put");
    change(store, &job, &Change::count(5), at(15)).await
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path().join("jobs.redb"));
    let store = Embedded::open(settings.clone(), at(1)).expect("a new file");
    let job = fill(&store).await;
    let before = stored(&store, "a").await;
    drop(store);

    let store = Embedded::open(settings, at(20)).expect("the same file");
    let found = stored(&store, "a").await;
    assert_eq!(found.job.face, job.face);
    assert_eq!(found.job.origin, job.origin);
    assert_eq!(found.job.estimator, job.estimator);
    assert_eq!(found.nonce, before.nonce);
    let answer = found.ledger.find(&report_id("report"), at(20));
    assert_eq!(answer, before.ledger.find(&report_id("report"), at(20)));
    assert!(answer.is_some());
    let kept = store
        .events_after(&job.origin, Seq::ZERO)
        .await
        .expect("events");
    let texts: Vec<_> = kept
        .events
        .iter()
        .map(|event| event.data.as_str().to_owned())
        .collect();
    assert_eq!(texts, ["\"one\"", "\"two\""]);
    let rows = store
        .rows(&job.origin, 1, 10)
        .await
        .expect("rows")
        .expect("the job");
    assert_eq!((rows.total, rows.rows), (2, vec![row("r2")]));
    let input = store
        .input(&job.origin)
        .await
        .expect("an answer")
        .expect("an input");
    assert_eq!(
        (input.format, input.content.len()),
        (InputFormat::Csv, 200_000)
    );
    assert!(stored(&store, "ended").await.job.is_finished());
    assert!(matches!(
        load(&store, "removed", at(20)).await,
        Loaded::Gone(_)
    ));
    assert!(matches!(
        load(&store, "removed", at(500)).await,
        Loaded::Unknown
    ));
    assert_eq!(
        store
            .reserve("key", &id("b"), at(20))
            .await
            .expect("an answer"),
        id("a")
    );
    for (key, value, now, there) in [
        ("secret", b"x", 20_000, b"s"),
        ("ticket", b"x", 43, b"t"),
        ("ticket", b"x", 44, b"x"),
    ] {
        let found = store.put_if_absent(key, value, None, at(now)).await;
        assert_eq!(&*found.expect("an answer"), there, "{key} at {now}");
    }
    let counts = store.counts().await.expect("counts");
    assert_eq!(
        (counts.of(State::Processing), counts.of(State::Failed)),
        (1, 1)
    );
    let listed = store
        .list(&Filter::default(), None, 10, at(20))
        .await
        .expect("a list");
    let names: Vec<_> = listed.iter().map(|job| job.id().as_str()).collect();
    assert_eq!(names, ["ended", "a"]);
    let unfinished = store
        .unfinished(Some("import"), None, 10)
        .await
        .expect("a list");
    assert_eq!(unfinished.len(), 1);
    audit(&store);
}

#[tokio::test]
async fn an_unfinished_job_comes_back_with_a_new_seq_and_a_new_lease() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = fill(&store).await;
    let ended = stored(&store, "ended").await.job;
    drop(store);

    let store = on(&machine, settings("machine"), at(30));
    let found = stored(&store, "a").await.job;
    assert_eq!(
        (found.seq.get(), found.reported_at),
        (at(30).as_micros(), at(30))
    );
    assert_eq!(found.updated_at, job.updated_at);
    assert_eq!(
        *stored(&store, "ended").await.job,
        *ended,
        "nothing happens to what has ended"
    );
    // The seq before is out of date, the new one is what changes are made on.
    let late = Proposal::of(&job, &Change::count(9), at(31));
    assert!(matches!(
        store.commit(late.commit()).await,
        Ok(Committed::Conflict(_))
    ));
    let job = change(&store, &found, &Change::count(9), at(29)).await;
    assert_eq!(job.seq, found.seq.plus(1), "the clock does not go back");
    // Rows take no seq, and stay where they belong.
    let rows = Change {
        rows: vec![row("r3")],
        ..Change::default()
    };
    let job = change(&store, &job, &rows, at(32)).await;
    assert_eq!(*stored(&store, "a").await.job, job);
    drop(store);

    let store = on(&machine, settings("machine"), at(5));
    let again = stored(&store, "a").await.job;
    assert!(again.seq > job.seq, "not even over a restart");
    assert_eq!(
        again.reported_at,
        at(5),
        "a lease is a matter of the present clock"
    );
    let new = put(&store, new_job("new", NewJob::default(), at(6)), None).await;
    assert!(new.seq > again.seq);
}

#[tokio::test]
async fn many_unfinished_jobs_come_back_at_the_cost_of_few_writes() {
    let machine = machine();
    let store = Arc::new(on(&machine, settings("machine"), at(1)));
    let mut creations = Vec::new();
    for number in 0..2_000 {
        let (store, job) = (
            Arc::clone(&store),
            new_job(&format!("job-{number}"), NewJob::default(), at(10)),
        );
        creations.push(tokio::spawn(async move { put(&store, job, None).await }));
    }
    for creation in creations {
        creation.await.expect("created");
    }
    drop(store);
    let syncs = machine.syncs();
    let store = on(&machine, settings("machine"), at(30));
    assert!(
        machine.syncs() - syncs < 20,
        "{} syncs",
        machine.syncs() - syncs
    );
    let mut after = None;
    let mut found = 0;
    loop {
        let page = store
            .unfinished(None, after.as_ref(), 300)
            .await
            .expect("a page");
        assert!(page.iter().all(|job| job.seq.get() == at(30).as_micros()));
        found += page.len();
        match page.last() {
            Some(job) => after = Some(Position::of(job)),
            None => break,
        }
    }
    assert_eq!(found, 2_000);
}

#[tokio::test]
async fn a_well_closed_file_brings_the_clock_no_further_than_what_was_shown() {
    let machine = machine();
    let mut last = Seq::ZERO;
    for life in 0..50 {
        let store = on(&machine, settings("machine"), at(10));
        if life == 0 {
            put(&store, new_job("a", NewJob::default(), at(10)), None).await;
        }
        let job = stored(&store, "a").await.job;
        assert!(job.seq > last);
        last = job.seq;
    }
    assert!(last.get() < at(11).as_micros(), "{last}");
}
