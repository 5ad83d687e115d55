//! What only the inside can see: that alarms leave with their jobs and do not pile up.

use serde_json::{Value, json};

use super::*;
use crate::{
    job::{Command, NewJob, Report},
    metrics::Meter,
    store::{Memory, MemoryLimits},
};

fn registry(stop: &CancellationToken) -> Registry {
    let limits = MemoryLimits {
        events_per_job: 10,
        event_bytes_per_job: 1_000,
        event_bytes: 1_000,
        finished_jobs: 10,
        row_bytes: 1_000,
    };
    let settings = Settings {
        bounds: Bounds::default(),
        defaults: Defaults {
            lease_seconds: 3_600,
            ttl_seconds: 3_600,
            abandon_after_seconds: 604_800,
        },
        update_interval: Duration::ZERO,
        max_jobs: 10,
        gone_seconds: 3_600,
        check_interval: Duration::from_secs(1),
    };
    let metrics = RegistryMetrics::new(&Meter::new());
    Registry::start(
        Arc::new(Memory::new(limits)),
        settings,
        metrics,
        stop.clone(),
    )
}

async fn created(registry: &Registry) -> JobHandle {
    let outcome = registry.create(NewJob::default(), None, None, None).await;
    outcome.expect("room for a job").0
}

async fn report(handle: &JobHandle, body: Value) {
    let report = Report::parse(body.to_string().as_bytes(), &Bounds::default())
        .expect("a valid report")
        .report;
    let applied = handle.apply(Command::Report(Box::new(report)), None).await;
    applied.expect("allowed");
}

/// Waits until so many alarms hold the job's slot; each holds it weakly.
async fn until_alarms(handle: &JobHandle, count: usize) {
    let reached = async {
        while Arc::weak_count(&handle.slot) != count {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), reached).await;
    let alarms = Arc::weak_count(&handle.slot);
    outcome.unwrap_or_else(|_| panic!("{alarms} alarms instead of {count}"));
}

#[tokio::test]
async fn a_job_has_one_alarm_however_often_its_deadline_moves() {
    let stop = CancellationToken::new();
    let registry = registry(&stop);
    let handle = created(&registry).await;
    until_alarms(&handle, 1).await;
    // Each round moves the deadline to the end of the lease, and back to the abandonment.
    for attempt in 2..200 {
        report(&handle, json!({})).await;
        report(&handle, json!({"status": "pending", "attempt": attempt})).await;
    }
    until_alarms(&handle, 1).await;
    stop.cancel();
}

#[tokio::test]
async fn a_job_that_ends_takes_its_alarm_along() {
    let stop = CancellationToken::new();
    let registry = registry(&stop);
    for is_removal in [false, true] {
        let handle = created(&registry).await;
        report(&handle, json!({})).await;
        until_alarms(&handle, 1).await;
        if is_removal {
            handle.remove().await.expect("the store answers");
        } else {
            report(&handle, json!({"status": "completed"})).await;
        }
        until_alarms(&handle, 0).await;
    }
    assert_eq!(registry.inner.slots.len(), 0);
    stop.cancel();
}
