//! What a runner's job is spared: panics, silence, an unsteady store, too much to say.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use progressd::{
    job::{Command, Count, EventName, Json, NewEvent, NewJob, Patch, Report, Seq, State},
    registry::Cursor,
    runner::{JobContext, JobError, Runner, Runners},
    store::{Input, InputFormat},
};

use crate::support::{
    in_time,
    jobs::{create, finished, input, memory, registry, rows, wait_until},
    staged_store::{Call, Fate, StagedStore},
};

/// Does what its input says, one job at a time.
struct Obedient;

#[async_trait]
impl Runner for Obedient {
    fn kind(&self) -> &'static str {
        "obedient"
    }

    fn concurrency(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    async fn run(&self, mut context: JobContext, input: Option<Input>) -> Result<Json, JobError> {
        let content = input.expect("every test gives one").content;
        match &*content {
            b"panic" => panic!("as the input asked"),
            b"large" => return Ok(json(&"x".repeat(100_000))),
            b"long" => return Err(JobError::failed("LONG", "ä".repeat(100_000))),
            b"stop" => return Err(JobError::Stopped),
            // Nothing but time makes a lease run out, and leases are counted in seconds: this is
            // longer than the one of the test.
            b"silence" => tokio::time::sleep(Duration::from_secs(3)).await,
            b"be deaf" => {
                let message = Patch::Set("I hear nothing".to_owned());
                let report = Report {
                    message,
                    ..Report::default()
                };
                // The answer may say to stop already.
                let _ = context.report(report).await;
                std::future::pending().await
            }
            b"rows" => {
                for row in context.row_count()..10 {
                    let report = Report {
                        processed_count: Some(Count::saturating(row + 1)),
                        ..Report::default()
                    };
                    context.append(vec![json(&row)], report).await?;
                    let name = EventName::parse("row").expect("a valid name");
                    let data = json(&row);
                    context.event(NewEvent { name, data }).await?;
                }
            }
            other => panic!("unknown input {other:?}"),
        }
        Ok(json("done"))
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Json {
    Json::of(value).expect("it serializes")
}

fn runners() -> Runners {
    Runners::of([Arc::new(Obedient) as Arc<dyn Runner>])
}

/// Two of five commits, and every second look at rows and inputs, say that they failed; one of
/// those two commits was done nevertheless.
fn unsteady() -> impl FnMut(Call) -> Fate {
    let (mut commits, mut looks) = (0, 0);
    move |call| match call {
        Call::Commit => {
            commits += 1;
            match commits % 5 {
                2 => Fate::Failed,
                4 => Fate::AnswerLost,
                _ => Fate::Done,
            }
        }
        Call::Rows | Call::Input => {
            looks += 1;
            match looks % 2 {
                1 => Fate::Failed,
                _ => Fate::Done,
            }
        }
        _ => Fate::Done,
    }
}

fn order(text: &str) -> Option<Input> {
    input(InputFormat::Text, text)
}

#[tokio::test]
async fn panic_fails_its_job_and_frees_the_place() {
    let registry = registry(memory());
    let runners = runners();
    let broken = create(&registry, "obedient", order("panic")).await;
    let next = create(&registry, "obedient", order("rows")).await;
    assert!(runners.start(broken.clone()) && runners.start(next.clone()));
    let broken = finished(&broken).await;
    let failure = broken.failure().expect("it failed");
    assert_eq!(failure.code, "INTERNAL");
    assert!(!failure.message.contains("input"), "{}", failure.message);
    assert_eq!(finished(&next).await.face.state, State::Completed);
}

#[tokio::test]
async fn what_a_runner_says_is_kept_within_the_bounds_of_reports() {
    let registry = registry(memory());
    let runners = runners();
    for (text, code, message) in [
        (
            "large",
            "RESULT_TOO_LARGE",
            "The result has 100002 bytes; at most 65536 are allowed".to_owned(),
        ),
        ("long", "LONG", format!("{}…", "ä".repeat(999))),
        ("stop", "INTERNAL", "Internal server error".to_owned()),
    ] {
        let job = create(&registry, "obedient", order(text)).await;
        assert!(runners.start(job.clone()));
        let job = finished(&job).await;
        let failure = job.failure().expect("it failed");
        assert_eq!((&*failure.code, &failure.message), (code, &message));
    }
}

#[tokio::test]
async fn runner_that_does_not_stop_is_left_behind() {
    let registry = registry(memory());
    let runners = runners();
    let job = create(&registry, "obedient", order("be deaf")).await;
    assert!(runners.start(job.clone()));
    wait_until(&job, |job| job.face.message.is_some()).await;
    in_time("the end of the drain", runners.drain(Duration::ZERO)).await;
    assert_eq!(runners.jobs(), 1);
    assert_eq!(job.job().face.state, State::Processing);
}

#[tokio::test]
async fn silent_runner_does_not_look_stalled() {
    let registry = registry(memory());
    let new_job = NewJob {
        kind: Some("obedient".to_owned()),
        lease_seconds: Some(2),
        ..NewJob::default()
    };
    let (job, _) = registry
        .create(new_job, None, None, order("silence"))
        .await
        .expect("there is room");
    assert!(runners().start(job.clone()));
    let job = wait_until(&job, |job| job.is_finished() || job.face.stalled).await;
    assert_eq!(
        (job.face.stalled, job.face.state),
        (false, State::Completed)
    );
}

#[tokio::test]
async fn unsteady_store_loses_nothing_and_doubles_nothing() {
    let store = StagedStore::new();
    store.follow(unsteady());
    let registry = registry(store);
    let job = create(&registry, "obedient", order("rows")).await;
    assert!(runners().start(job.clone()));
    let ended = finished(&job).await;
    assert_eq!(ended.face.state, State::Completed);
    assert_eq!(ended.face.progress.processed(), Some(Count::saturating(10)));
    let joined = job.attach(Cursor::At(Seq::ZERO)).await;
    let told: Vec<_> = joined
        .as_ref()
        .expect("events are always read")
        .missed
        .iter()
        .map(|event| event.data.as_str())
        .collect();
    assert_eq!(told, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    // The store fails every second look, and the one before was even.
    let rows = match job.rows(0, 100).await {
        Ok(rows) => rows,
        Err(_) => job.rows(0, 100).await.expect("every second look succeeds"),
    };
    let rows: Vec<_> = rows.rows.iter().map(Json::as_str).collect();
    assert_eq!(rows, told);
}

#[tokio::test]
async fn rows_and_their_progress_are_one_commit() {
    let store = StagedStore::new();
    let registry = registry(store.clone());
    let job = create(&registry, "obedient", order("rows")).await;
    assert!(runners().start(job.clone()));
    finished(&job).await;
    // One to begin, ten times rows and an event, one to end.
    assert_eq!(store.commits.arrivals(), 22);
}

#[tokio::test]
async fn started_job_whose_worker_was_lost_goes_on_behind_its_rows() {
    let registry = registry(memory());
    let job = create(&registry, "obedient", order("rows")).await;
    let earlier = Command::Rows((0..4).map(|row| json(&row)).collect());
    job.apply(earlier, None).await.expect("it is unfinished");
    assert!(runners().start(job.clone()));
    let ended = finished(&job).await;
    assert_eq!(
        (ended.face.state, ended.face.attempt),
        (State::Completed, 2)
    );
    assert_eq!(rows(&job).await, (0..10).collect::<Vec<_>>());
}
