//! One job's way past its runner: the wait, the work, the end.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures_util::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    JobContext, JobError, Runner,
    worker::{Worker, internal_failure},
};
use crate::{
    job::{Failure, Json, Patch, Report, State},
    registry::JobHandle,
    store::Input,
};

/// A job that waits for its runner.
pub(super) struct Turn {
    pub(super) runner: Arc<dyn Runner>,
    pub(super) job: JobHandle,
    pub(super) drain: CancellationToken,
}

impl Turn {
    /// Waits for `place`, does the work and reports how it ended.
    pub(super) async fn take(
        self,
        place: impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>>,
    ) {
        let mut worker = Worker::new(self.job, self.drain);
        let place = tokio::select! {
            biased;
            () = worker.until_should_stop() => None,
            place = place => Some(place.expect("the places of a runner are never closed")),
        };
        // Boxed, so that a job that waits takes little memory.
        match place {
            Some(_) => Box::pin(work_and_conclude(&*self.runner, &mut worker)).await,
            None => conclude(&worker, Err(JobError::Stopped)).await,
        }
        // Only now: whoever sees a job's end may rely on its place being the next one's.
        drop(place);
    }
}

/// Does the work as long as the job is this node's, and reports how it ended.
async fn work_and_conclude(runner: &dyn Runner, worker: &mut Worker) {
    match worker.take().await {
        Ok(true) => {}
        // Another node does it.
        Ok(false) => return,
        Err(error) => return conclude(worker, Err(error)).await,
    }
    let renewed = worker.clone();
    let outcome = tokio::select! {
        outcome = work_on(runner, worker) => Some(outcome),
        () = renewed.keep() => None,
    };
    match outcome {
        Some(outcome) => {
            conclude(worker, outcome).await;
            worker.let_go().await;
        }
        None => tracing::warn!(
            job.id = %worker.job.id(),
            "another node has taken a job over: this one was silent for too long"
        ),
    }
}

/// Works, and begins anew when the store has lost the rows.
async fn work_on(runner: &dyn Runner, worker: &mut Worker) -> Result<Json, JobError> {
    let mut emptied = worker.job.emptied();
    let mut input = None;
    loop {
        emptied.mark_unchanged();
        let outcome = tokio::select! {
            biased;
            Ok(()) = emptied.changed() => None,
            outcome = work(runner, worker, &mut input) => Some(outcome),
        };
        let Some(outcome) = outcome else {
            tracing::warn!(job.id = %worker.job.id(), "the store has lost a job's rows");
            continue;
        };
        let result = outcome?;
        // It says more than its rows, and must not be shown without them.
        let row_count = count_rows(worker).await?;
        return match row_count == worker.row_count.load(Ordering::Relaxed) {
            true => Ok(result),
            false => Err(rows_lost()),
        };
    }
}

async fn count_rows(worker: &Worker) -> Result<u64, JobError> {
    let job = &worker.job;
    worker
        .until_answered(|| async { Ok(job.rows(0, 0).await?.total) })
        .await
}

fn rows_lost() -> JobError {
    let message = "The store has lost rows of the result".to_owned();
    JobError::Failed(Failure::new("RESULTS_LOST", message))
}

/// One attempt. `held` is the input as it was found before: the store may have lost it since.
async fn work(
    runner: &dyn Runner,
    worker: &mut Worker,
    held: &mut Option<Input>,
) -> Result<Json, JobError> {
    worker.begin().await?;
    let (job, worker) = (&worker.job, &*worker);
    let row_count = count_rows(worker).await?;
    let stored = worker
        .until_answered(|| async { Ok(job.input().await?) })
        .await?;
    if worker.should_stop() {
        return Err(JobError::Stopped);
    }
    let before = worker.row_count.swap(row_count, Ordering::Relaxed);
    if row_count > 0 && row_count < before {
        // Those that are left are not the first ones.
        return Err(rows_lost());
    }
    let input = stored.or_else(|| held.take());
    held.clone_from(&input);
    let context = JobContext::new(worker.clone());
    let run = AssertUnwindSafe(async { runner.run(context, input).await }).catch_unwind();
    tokio::select! {
        outcome = run => outcome.unwrap_or_else(|panic| {
            let cause = cause_of(&*panic);
            tracing::error!(job.id = %job.id(), cause, "a runner panicked");
            Err(JobError::Failed(internal_failure()))
        }),
        never = worker.show_life() => match never {},
    }
}

/// Reports the end; a job that should stay unfinished, or is no longer this worker's, is left alone.
async fn conclude(worker: &Worker, outcome: Result<Json, JobError>) {
    let report = match outcome {
        Ok(result) => Report {
            status: Some(State::Completed),
            // Nothing is being done any more.
            message: Patch::Clear,
            result: Some(result),
            ..Report::default()
        },
        Err(JobError::Failed(failure)) => failed(failure),
        Err(JobError::Stopped) => {
            let job = worker.job.job();
            if job.face.cancel_requested {
                Report {
                    status: Some(State::Cancelled),
                    ..Report::default()
                }
            } else if worker.should_stop() || job.face.attempt != worker.attempt {
                return;
            } else {
                tracing::error!(job.id = %job.id(), "a runner stopped and nobody had asked it to");
                failed(internal_failure())
            }
        }
    };
    let reported = match worker.report(report).await {
        Err(JobError::Failed(failure)) => worker.report(failed(failure)).await,
        other => other,
    };
    if reported.is_err() && worker.is_draining() {
        tracing::warn!(
            job.id = %worker.job.id(),
            "the end of a job could not be stored before the shutdown"
        );
    }
}

fn failed(failure: Failure) -> Report {
    Report {
        status: Some(State::Failed),
        error: Some(failure),
        ..Report::default()
    }
}

/// What a panic said, when it said it in words.
fn cause_of(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
