//! The simulated job.

use std::sync::Arc;

use progressd::{
    job::{Command, Count, Job, Seq, State},
    registry::{Cursor, JobHandle, Registry},
    runner::{Demo, Runner, Runners},
    store::InputFormat,
};
use serde_json::{Value, json};

use crate::support::jobs::{create, finished, input, memory, registry, result, wait_until};

async fn start(registry: &Registry, script: Value) -> JobHandle {
    let input = input(InputFormat::Json, script.to_string());
    let job = create(registry, "demo", input).await;
    assert!(Runners::of([Arc::new(Demo) as Arc<dyn Runner>]).start(job.clone()));
    job
}

async fn run(script: Value) -> Arc<Job> {
    let registry = registry(memory());
    finished(&start(&registry, script).await).await
}

#[tokio::test]
async fn demo_goes_through_its_steps_and_completes() {
    let registry = registry(memory());
    let script = json!({"items": 40, "seconds": 0, "steps": ["Load", "Save"]});
    let job = start(&registry, script).await;
    let ended = finished(&job).await;
    assert_eq!(ended.face.state, State::Completed);
    assert_eq!(ended.face.progress.processed(), Some(Count::saturating(40)));
    assert_eq!(ended.face.progress.total(), Some(Count::saturating(40)));
    assert_eq!(ended.face.step.as_deref(), Some("Save"));
    assert_eq!(result(&ended), json!({"items": 40, "seconds": 0}));
    let joined = job.attach(Cursor::At(Seq::ZERO)).await;
    let kept = joined.expect("the store answers").missed;
    assert_eq!(kept.len(), 10);
    let first: Value = serde_json::from_str(kept[0].data.as_str()).expect("JSON");
    assert_eq!(kept[0].name.as_str(), "partial_result");
    assert_eq!(first, json!({"items": 4, "step": "Load"}));
}

#[tokio::test]
async fn demo_of_one_item_without_events_is_a_demo_too() {
    let registry = registry(memory());
    let script = json!({"items": 1, "seconds": 0, "events": false});
    let job = start(&registry, script).await;
    assert_eq!(finished(&job).await.face.state, State::Completed);
    let joined = job.attach(Cursor::At(Seq::ZERO)).await;
    assert!(joined.expect("the store answers").missed.is_empty());
}

#[tokio::test]
async fn demo_fails_where_it_was_asked_to() {
    let job = run(json!({"items": 1_000, "seconds": 0, "fail_at": 333})).await;
    let failure = job.failure().expect("it failed");
    assert_eq!(failure.code, "DEMO_FAILED");
    assert_eq!(failure.message, "Failed at item 333, as the input asked");
    assert_eq!(job.face.progress.processed(), Some(Count::saturating(332)));
}

#[tokio::test]
async fn demo_refuses_what_it_does_not_understand_by_name() {
    let range = "must be 1 to 1000000";
    for (script, message) in [
        (json!({"secs": 1}), "secs: unknown field `secs`"),
        (json!({"items": 0}), &format!("items: {range}")),
        (json!({"items": 1_000_001}), &format!("items: {range}")),
        (json!({"seconds": 3_601}), "seconds: must be 0 to 3600"),
        (json!({"steps": []}), "steps: must be 1 to 20 names"),
        (json!({"steps": [""]}), "steps: must be 1 to 20 names"),
        (
            json!({"items": 5, "fail_at": 6}),
            "fail_at: must be 1 to items",
        ),
        (json!({"fail_at": 0}), "fail_at: must be 1 to items"),
        (json!([5, 0]), "input: must be a JSON object"),
    ] {
        let job = run(script.clone()).await;
        let failure = job.failure().expect("it failed");
        assert_eq!(failure.code, "INVALID_INPUT", "{script}");
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }
}

#[tokio::test]
async fn cancelled_demo_stops_in_the_middle() {
    let registry = registry(memory());
    let job = start(&registry, json!({"seconds": 3_600})).await;
    wait_until(&job, |job| job.face.step.is_some()).await;
    job.apply(Command::Cancel, None).await.expect("it runs");
    let ended = finished(&job).await;
    assert_eq!(ended.face.state, State::Cancelled);
    assert!(ended.face.progress.processed() < ended.face.progress.total());
}
