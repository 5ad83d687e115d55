//! The registry by its public calls, over a memory store that can be held up and made to fail.

use std::{future::poll_fn, sync::Arc, task::Context, time::Duration};

use progressd::{
    frame::{Frame, FrameKind},
    hub::{Received, Subscription},
    job::{
        Bounds, Command, Defaults, EventName, Job, JobId, Json, NewEvent, NewJob, Report, ReportId,
    },
    metrics::{Meter, RegistryMetrics},
    registry::{Cursor, JobHandle, Registry, RegistryError, Settings},
    store::MemoryLimits,
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{
    in_time,
    jobs::{roomy_limits, roomy_settings},
    staged_store::StagedStore,
};

mod commits;
mod creation;
mod failures;
mod joining;
mod lagging;
mod lifetime;

/// A registry over a staged store; its tasks end with it.
struct Stage {
    registry: Registry,
    store: Arc<StagedStore>,
    _stop: DropGuard,
}

impl Stage {
    fn new() -> Self {
        Self::with(roomy_settings(), roomy_limits())
    }

    fn with(settings: Settings, limits: MemoryLimits) -> Self {
        Self::over(StagedStore::with(limits), settings)
    }

    /// Another registry over the same store: this one after a restart, or a second node.
    fn beside(&self) -> Self {
        Self::over(Arc::clone(&self.store), roomy_settings())
    }

    fn over(store: Arc<StagedStore>, settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let metrics = RegistryMetrics::new(&Meter::new());
        let registry = Registry::start(Arc::clone(&store) as _, settings, metrics, stop.clone());
        Self {
            registry,
            store,
            _stop: stop.drop_guard(),
        }
    }

    async fn create(&self, body: Value) -> JobHandle {
        let (handle, is_new) = self.try_create(body, None).await.expect("room for a job");
        assert!(is_new);
        handle
    }

    async fn try_create(
        &self,
        body: Value,
        key: Option<&str>,
    ) -> Result<(JobHandle, bool), RegistryError> {
        let body = body.to_string();
        let new_job = NewJob::parse(body.as_bytes(), &Bounds::default()).expect("a valid creation");
        let owner = new_job.owner.clone();
        let key = key.map(report_id);
        self.registry
            .create(new_job, owner, key.as_ref(), None)
            .await
    }

    async fn find(&self, name: &str) -> Result<JobHandle, RegistryError> {
        self.registry.find(&job_id(name)).await
    }
}

/// Watches a job from now on.
async fn watch(handle: &JobHandle) -> Subscription {
    let attached = handle
        .attach(Cursor::Absent)
        .await
        .expect("the store answers");
    attached.live.expect("unfinished")
}

fn job_id(name: &str) -> JobId {
    JobId::parse(name).expect("a valid name")
}

fn report_id(text: &str) -> ReportId {
    ReportId::parse(text).expect("printable")
}

fn report(body: Value) -> Command {
    let addressed =
        Report::parse(body.to_string().as_bytes(), &Bounds::default()).expect("a valid report");
    Command::Report(Box::new(addressed.report))
}

/// `count` events, numbered from `first` on.
fn events(first: usize, count: usize) -> Command {
    let event = |number: usize| NewEvent {
        name: EventName::parse("note").expect("a valid name"),
        data: Json::of(&number).expect("a number serializes"),
    };
    Command::Events((first..first + count).map(event).collect())
}

fn row(number: u64) -> Command {
    Command::Rows(vec![
        Json::of(&json!({"number": number})).expect("JSON serializes"),
    ])
}

fn shown(job: &Job, field: &str) -> Value {
    let status = progressd::job::Status(job).to_json();
    let status: Value = serde_json::from_str(&status).expect("a status is JSON");
    status[field].clone()
}

/// What waits for a watcher right now.
fn waiting(live: &Subscription) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut context = Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(received) = live.poll_receive(&mut context, &mut frames) {
        assert_ne!(received, Received::Lagged, "nothing here is enough to lag");
    }
    frames
}

/// Waits until a frame comes that `is_wanted`; returns it and all before it.
async fn until(live: &Subscription, is_wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut looked_at = 0;
    while !frames[looked_at..].iter().any(&is_wanted) {
        looked_at = frames.len();
        let received = poll_fn(|context| live.poll_receive(context, &mut frames));
        assert_ne!(in_time("a frame", received).await, Received::Lagged);
    }
    frames
}

fn is_terminal(frame: &Frame) -> bool {
    frame.kind == FrameKind::Terminal
}

fn text(frame: &Frame) -> &str {
    std::str::from_utf8(&frame.bytes).expect("a frame is text")
}

/// The data of the events among some frames.
fn event_numbers(frames: &[Frame]) -> Vec<usize> {
    let number = |frame: &Frame| {
        let data = text(frame)
            .lines()
            .find_map(|line| line.strip_prefix("data: "));
        data.expect("a block with data")
            .parse()
            .expect("events carry their number")
    };
    let events = frames.iter().filter(|frame| frame.kind == FrameKind::Event);
    events.map(number).collect()
}
