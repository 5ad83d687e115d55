//! What a store that outlives its process has after it was closed and opened again.

use progressd::{
    job::{Job, NewJob, Seq, State},
    store::{Created, Filter, Input, InputFormat, Loaded},
};
use serde_json::json;

use super::{Backend, parts::*};

async fn reopened(backend: Box<dyn Backend>) -> Box<dyn Backend> {
    let reopened = backend.reopened().await;
    reopened.expect("a store that outlives its process")
}

/// A job as it is after a restart, which left it alone; or, where a restart renews what is unfinished,
/// gave it a new seq and a new lease and nothing besides.
async fn came_back(backend: &dyn Backend, job: &Job) -> Job {
    let found = stored(&**backend.store(), job.id().as_str()).await;
    let mut expected = job.clone();
    if backend.renews_at_a_restart() && !job.is_finished() {
        assert!(found.job.seq > job.seq);
        expected.seq = found.job.seq;
        expected.reported_at = found.job.reported_at;
    }
    assert_holds(&found, &expected);
    expected
}

/// Some jobs with everything, one in each state.
async fn filled(backend: &dyn Backend) -> Vec<Job> {
    let store = &**backend.store();
    let mut jobs = Vec::new();
    for (age, state) in (0..10).rev().zip(State::ALL) {
        let input = Input {
            format: InputFormat::Text,
            content: state.as_str().as_bytes().into(),
        };
        let new_job = NewJob {
            kind: some("k"),
            tags: Some(vec![state.as_str().to_owned()]),
            ..NewJob::default()
        };
        let job = job_of(state.as_str(), new_job, ago(age));
        let created = done("a creation", store.create(&job, Some(&input))).await;
        let Created::Done(seq) = created else {
            panic!("{created:?}");
        };
        let mut change = Proposal::on(&Job { seq, ..job })
            .event("e", &json!(state.as_str()))
            .row(&json!({"state": state.as_str()}))
            .answer("r");
        if state != State::Pending {
            change = change.report(json!({
                "status": state.as_str(),
                "processed_count": 3,
                "data": {"a": 1.5},
            }));
        }
        jobs.push(commit(store, &change).await);
    }
    jobs
}

async fn check_filled(backend: &dyn Backend, jobs: &[Job]) {
    let store = &**backend.store();
    for job in jobs {
        let name = job.id().as_str();
        came_back(backend, job).await;
        assert!(stored(store, name).await.nonce.is_some());
        assert_eq!(data_of(&kept(store, &job.origin).await), [json!(name)]);
        let row = json!({"state": name}).to_string();
        assert_eq!(all_rows(store, &job.origin).await, [row]);
        let input = done("an input", store.input(&job.origin)).await;
        let input = input.expect("an input");
        assert_eq!(*input.content, *name.as_bytes());
    }
}

pub(super) async fn a_restart_keeps_jobs_events_rows_and_inputs(backend: Box<dyn Backend>) {
    let jobs = filled(&*backend).await;
    let backend = reopened(backend).await;
    check_filled(&*backend, &jobs).await;
    // What goes on from there is kept as well.
    let store = &**backend.store();
    let job = came_back(&*backend, &jobs[0]).await;
    let job = commit(store, &Proposal::on(&job).event("e", &json!(2))).await;
    let job = commit(store, &Proposal::on(&job).row(&json!(3))).await;
    let backend = reopened(backend).await;
    let store = &**backend.store();
    came_back(&*backend, &job).await;
    assert_eq!(kept(store, &job.origin).await.len(), 2);
    assert_eq!(all_rows(store, &job.origin).await.len(), 2);
}

pub(super) async fn a_restart_keeps_report_ids_keys_and_values(backend: Box<dyn Backend>) {
    let jobs = filled(&*backend).await;
    let store = &**backend.store();
    done("a key", store.reserve("key", &id("first"), now())).await;
    done("a value", store.put_if_absent("key", b"first", None, now())).await;
    let day = Some(std::time::Duration::from_secs(86_400));
    done("a value", store.put_if_absent("day", b"first", day, now())).await;
    let backend = reopened(backend).await;
    let store = &**backend.store();
    for job in &jobs {
        let change = Proposal::on(job).row(&json!({})).answer("r");
        let refused = conflict(store, &change).await;
        let answer = refused.ledger.find(&report_id("r"), now());
        assert_eq!(answer.expect("an answer").job_id, *job.id());
    }
    let bound = done("a key", store.reserve("key", &id("second"), now())).await;
    assert_eq!(bound, id("first"));
    for key in ["key", "day"] {
        let found = done("a value", store.put_if_absent(key, b"second", None, now())).await;
        assert_eq!(&*found, b"first");
    }
}

pub(super) async fn a_restart_keeps_removals(backend: Box<dyn Backend>) {
    let store = &**backend.store();
    let removed = created(store, "removed").await;
    remove(store, &removed.origin, later(1_000)).await;
    ended(store, "expired", 60, 100).await;
    done("an expiry", store.expire(now(), 1_000, 10)).await;
    ended(store, "over", 60, 100).await;
    let backend = reopened(backend).await;
    let store = &**backend.store();
    for name in ["removed", "expired", "over"] {
        let loaded = look_up(store, name).await;
        assert!(matches!(loaded, Loaded::Gone(_)), "{name}: {loaded:?}");
    }
    missing(store, &Proposal::on(&removed).message("x")).await;
    let again = created(store, "removed").await;
    assert!(again.seq > removed.seq);
    assert_eq!(done("an expiry", store.expire(now(), 1_000, 10)).await, 1);
    assert_eq!(
        listed(store, &Filter::default(), None, 10).await,
        ["removed"]
    );
}

pub(super) async fn a_restart_keeps_the_order_of_lists_and_counts(backend: Box<dyn Backend>) {
    let jobs = filled(&*backend).await;
    let before = listed(&**backend.store(), &Filter::default(), None, 10).await;
    let backend = reopened(backend).await;
    let store = &**backend.store();
    assert_eq!(listed(store, &Filter::default(), None, 10).await, before);
    let unfinished = done("a list", store.unfinished(Some("k"), None, 10)).await;
    let mut expected = Vec::new();
    for job in jobs.iter().filter(|job| !job.is_finished()) {
        expected.push(came_back(&*backend, job).await);
    }
    let unfinished: Vec<_> = unfinished.iter().map(|job| (**job).clone()).collect();
    assert_eq!(unfinished, expected);
    let counts = done("counts", store.counts()).await;
    for state in State::ALL {
        assert_eq!(counts.of(state), 1, "{state}");
        let filter = Filter {
            states: vec![state],
            tag: some(state.as_str()),
            ..Filter::default()
        };
        assert_eq!(listed(store, &filter, None, 10).await, [state.as_str()]);
    }
}

pub(super) async fn a_restart_takes_no_seq_back(backend: Box<dyn Backend>) {
    let mut backend = backend;
    let mut last = Seq::ZERO;
    let mut job = created(&**backend.store(), "a").await;
    for round in 1..=10 {
        let store = &**backend.store();
        // A change that the next one replaces, closed as it is.
        let report = json!({"processed_count": round});
        let change = Proposal::on(&job).report(report).replaceable();
        job = commit(store, &change).await;
        assert!(job.seq > last);
        last = job.seq;
        backend = reopened(backend).await;
        job = came_back(&*backend, &job).await;
    }
    // Nor does a name that was given anew begin below the job before.
    let store = &**backend.store();
    let many = (0..1_000).fold(Proposal::on(&job), |change, number| {
        change.event("e", &json!(number))
    });
    job = commit(store, &many).await;
    remove(store, &job.origin, later(60)).await;
    let backend = reopened(backend).await;
    let again = created(&**backend.store(), "a").await;
    assert!(again.seq > job.seq);
}

pub(super) async fn many_restarts_with_work_in_between_lose_nothing(backend: Box<dyn Backend>) {
    let mut backend = backend;
    let mut jobs = vec![created(&**backend.store(), "job-0").await];
    for round in 1..12 {
        let store = &**backend.store();
        for job in &mut jobs {
            let change = Proposal::on(job)
                .report(json!({"processed_increment": 1}))
                .event("e", &json!(round))
                .row(&json!(round))
                .answer(&format!("r{round}"));
            *job = commit(store, &change).await;
        }
        jobs.push(created(store, &format!("job-{round}")).await);
        backend = reopened(backend).await;
        let store = &**backend.store();
        for (age, job) in jobs.iter_mut().rev().enumerate() {
            *job = came_back(&*backend, job).await;
            assert_eq!(kept(store, &job.origin).await.len(), age);
            assert_eq!(all_rows(store, &job.origin).await.len(), age);
        }
        let all = listed(store, &Filter::default(), None, 100).await;
        assert_eq!(all.len(), jobs.len());
    }
}
