//! What the parts of a report's way cost, from the pure rules to ten thousand watchers.
//!
//! `cargo bench --bench core`. Compare rows of one run with each other: a report on a job that
//! nobody watches against one that is watched, one watcher against ten thousand.

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use progressd::{
    frame::{Frame, status_block},
    hub::Subscription,
    job::{Bounds, Command, Count, Defaults, Job, JobId, NewJob, Report, Status, Timestamp, step},
    metrics::{Meter, RegistryMetrics, StoreMetrics},
    registry::{Cursor, JobHandle, Registry, Settings},
    store::{Measured, Memory, MemoryLimits},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const DEFAULTS: Defaults = Defaults {
    lease_seconds: 60,
    ttl_seconds: 60,
    abandon_after_seconds: 0,
};

fn job() -> Job {
    let body =
        br#"{"kind":"email-validation","total_count":1000000000,"unit":"emails","tags":["import"],
        "data":{"geo_score":78.5}}"#;
    let new_job = NewJob::parse(body, &Bounds::default()).expect("a valid body");
    let now = Timestamp::from_micros(1_795_287_600_000_000);
    let job_id = JobId::parse("bench").expect("a valid name");
    new_job.into_job(job_id, None, None, &DEFAULTS, uuid::Uuid::nil(), now)
}

fn report() -> Command {
    let increment = serde_json::from_str::<Count>("1").expect("a count");
    Command::Report(Box::new(Report {
        processed_increment: Some(increment),
        ..Report::default()
    }))
}

fn registry() -> Registry {
    let limits = MemoryLimits {
        events_per_job: 1_000,
        event_bytes_per_job: 1 << 20,
        event_bytes: 1 << 28,
        finished_jobs: 1_000,
        row_bytes: 1 << 28,
    };
    let settings = Settings {
        bounds: Bounds::default(),
        defaults: DEFAULTS,
        // Every report goes out, so that each round below is one delivery to each watcher.
        update_interval: Duration::ZERO,
        max_jobs: 1_000,
        gone_seconds: 60,
        check_interval: Duration::from_secs(1),
    };
    let meter = Meter::new();
    // Measured, as in a server.
    let store = Measured::new(
        Arc::new(Memory::new(limits)),
        Duration::from_secs(5),
        StoreMetrics::new(&meter),
    );
    Registry::start(
        Arc::new(store),
        settings,
        RegistryMetrics::new(&meter),
        CancellationToken::new(),
    )
}

async fn create(registry: &Registry) -> JobHandle {
    let new_job = NewJob {
        total_count: Some(Count::saturating(1 << 50)),
        ..NewJob::default()
    };
    registry
        .create(new_job, None, None, None)
        .await
        .expect("room for a job")
        .0
}

fn domain(criterion: &mut Criterion) {
    let (job, report, bounds) = (job(), report(), Bounds::default());
    let now = Timestamp::from_micros(1_795_287_601_000_000);
    criterion.bench_function("step with a report", |bencher| {
        bencher.iter(|| step(black_box(&job), black_box(&report), &bounds, now));
    });
    let body = br#"{"processed_count":750,"step":"Checking mail servers","message":"gmail.com"}"#;
    criterion.bench_function("parse a report", |bencher| {
        bencher.iter(|| Report::parse(black_box(body), &bounds));
    });
    criterion.bench_function("encode a status block", |bencher| {
        bencher.iter(|| status_block(&Status(black_box(&job)).to_json(), None, Some(job.seq)));
    });
}

fn joining(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_registry, job) = runtime.block_on(async {
        let registry = registry();
        let job = create(&registry).await;
        (registry, job)
    });
    criterion.bench_function("attach and leave", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(|| job.attach(Cursor::Absent));
    });
}

/// Takes what waits for each subscription, as a woken connection would.
fn drain(watchers: &[Subscription], frames: &mut Vec<Frame>) {
    let mut context = Context::from_waker(Waker::noop());
    for watcher in watchers {
        frames.clear();
        let _ = black_box(watcher.poll_receive(&mut context, frames));
    }
}

fn fan_out(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("a report through the registry");
    for count in [0_usize, 1, 100, 10_000] {
        let (_registry, job, watchers) = runtime.block_on(async {
            let registry = registry();
            let job = create(&registry).await;
            let mut watchers = Vec::new();
            for _ in 0..count {
                let attachment = job.attach(Cursor::Absent).await.expect("a memory store");
                watchers.extend(attachment.live);
            }
            (registry, job, watchers)
        });
        let mut frames = Vec::new();
        group.bench_function(BenchmarkId::new("watchers", count), |bencher| {
            bencher.iter_batched(
                report,
                |report| {
                    let answer = runtime.block_on(job.apply(report, None));
                    assert!(answer.is_ok());
                    drain(&watchers, &mut frames);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, domain, joining, fan_out);
criterion_main!(benches);
