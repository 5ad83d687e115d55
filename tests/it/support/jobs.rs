//! A registry without HTTP, jobs of a kind in it, and what became of them.

use std::{sync::Arc, time::Duration};

use progressd::{
    job::{Bounds, Command, Defaults, Job, JobId, NewJob, Report, Seq, State, Timestamp, step},
    metrics::{Meter, RegistryMetrics},
    registry::{JobHandle, Registry, Settings},
    store::{Commit, Committed, Created, Input, InputFormat, Memory, MemoryLimits, Store},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// Room for all that a test brings.
pub(crate) fn roomy_limits() -> MemoryLimits {
    MemoryLimits {
        events_per_job: 1_000,
        event_bytes_per_job: 1 << 20,
        event_bytes: 1 << 24,
        finished_jobs: 1_000,
        row_bytes: 1 << 30,
    }
}

/// A memory store that is never full.
pub(crate) fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(roomy_limits()))
}

/// Times and bounds that no test runs into by chance; every change is sent, so that a test can
/// say which frames there are.
pub(crate) fn roomy_settings() -> Settings {
    Settings {
        bounds: Bounds::default(),
        defaults: Defaults {
            lease_seconds: 60,
            ttl_seconds: 3_600,
            abandon_after_seconds: 604_800,
        },
        update_interval: Duration::ZERO,
        max_jobs: 1_000,
        gone_seconds: 3_600,
        check_interval: Duration::from_secs(1),
    }
}

/// A registry over `store`.
pub(crate) fn registry(store: Arc<dyn Store>) -> Registry {
    let metrics = RegistryMetrics::new(&Meter::new());
    Registry::start(store, roomy_settings(), metrics, CancellationToken::new())
}

/// An input as it comes from outside.
pub(crate) fn input(format: InputFormat, content: impl Into<Vec<u8>>) -> Option<Input> {
    Some(Input {
        format,
        content: content.into().into(),
    })
}

/// A new job of a kind.
pub(crate) async fn create(registry: &Registry, kind: &str, input: Option<Input>) -> JobHandle {
    let new_job = NewJob {
        kind: Some(kind.to_owned()),
        ..NewJob::default()
    };
    let (job, is_new) = registry
        .create(new_job, None, None, input)
        .await
        .expect("there is room for a job");
    assert!(is_new);
    job
}

/// The job as soon as it is as wanted.
pub(crate) async fn wait_until(job: &JobHandle, is_wanted: impl Fn(&Job) -> bool) -> Arc<Job> {
    let mut seq = Seq::ZERO;
    loop {
        let snapshot = job.wait(seq, PATIENCE).await.expect("the job is there");
        if is_wanted(&snapshot.job) {
            return snapshot.job;
        }
        assert!(snapshot.job.seq > seq, "no news: {:?}", snapshot.job.face);
        assert!(!snapshot.job.is_finished(), "{:?}", snapshot.job.face);
        seq = snapshot.job.seq;
    }
}

/// The job as it ended.
pub(crate) async fn finished(job: &JobHandle) -> Arc<Job> {
    wait_until(job, Job::is_finished).await
}

/// The job's result as JSON.
pub(crate) fn result(job: &Job) -> Value {
    let result = job.face.result.as_ref().expect("the job has a result");
    serde_json::from_str(result.as_str()).expect("a result is JSON")
}

/// The job's result rows as JSON.
pub(crate) async fn rows(job: &JobHandle) -> Vec<Value> {
    let rows = job.rows(0, usize::MAX).await.expect("the store answers");
    assert_eq!(rows.total, rows.rows.len() as u64);
    rows.rows
        .iter()
        .map(|row| serde_json::from_str(row.as_str()).expect("a row is JSON"))
        .collect()
}

/// Puts a job without an owner into the store that was completed so many seconds ago.
pub(crate) async fn put_finished(store: &dyn Store, job_id: &str, seconds_ago: u64) {
    let now = jsonwebtoken::get_current_timestamp();
    let then = Timestamp::from_micros((now - seconds_ago) * 1_000_000);
    let id = JobId::parse(job_id).expect("a name");
    let new_job = NewJob {
        job_id: Some(id.clone()),
        ..NewJob::default()
    };
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 86_400,
        abandon_after_seconds: 0,
    };
    let job = new_job.into_job(id, None, None, &defaults, uuid::Uuid::now_v7(), then);
    let Ok(Created::Done(seq)) = store.create(&job, None).await else {
        panic!("{job_id} is there already");
    };
    let report = Report {
        status: Some(State::Completed),
        ..Report::default()
    };
    let command = Command::Report(Box::new(report));
    let job = Job { seq, ..job };
    let change = step(&job, &command, &Bounds::default(), then).expect("a report");
    let commit = Commit {
        job: &change.job,
        positions: 1,
        events: &[],
        rows: &[],
        answers: &[],
        now: then,
        nonce: uuid::Uuid::now_v7(),
        is_replaceable: false,
    };
    let committed = store.commit(commit).await;
    assert!(
        matches!(committed, Ok(Committed::Done { .. })),
        "{committed:?}"
    );
}
