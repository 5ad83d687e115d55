//! A built-in worker's side of its job: reports that are repeated until they are committed.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::JobError;
use crate::{
    job::{Bounds, Command, Failure, Json, Patch, Report, ReportId, State},
    registry::{JobHandle, RegistryError},
};

/// How soon something is tried again that the store did not do, and the longest that this grows
/// to. The pause doubles in between: a hiccup costs little, and an outage does not get worse by
/// our knocking.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how long a claim on a job holds that is not renewed: as long as its node may be silent
/// until another goes on in its place.
pub(super) const CLAIM: Duration = Duration::from_secs(15);

/// How often it is renewed in that time: two renewals may fail.
const RENEWALS_PER_CLAIM: u32 = 3;

/// How many signs of life a worker gives within one lease: two may come late or get lost.
const SIGNS_PER_LEASE: u32 = 3;

/// One attempt at a job by this server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) job: JobHandle,
    pub(super) attempt: u32,
    /// How many nodes have taken the job so far.
    turns: u64,
    /// How many result rows there are, by what was read and appended here.
    pub(super) row_count: Arc<AtomicU64>,
    /// The job was cancelled, removed or ended.
    stop: CancellationToken,
    /// The server is shutting down.
    drain: CancellationToken,
}

impl Worker {
    pub(super) fn new(job: JobHandle, drain: CancellationToken) -> Self {
        Self {
            attempt: job.job().face.attempt,
            turns: 0,
            row_count: Arc::default(),
            stop: job.stop_signal(),
            drain,
            job,
        }
    }

    /// Takes the job, unless another node does it; says whether it is this node's now.
    pub(super) async fn take(&mut self) -> Result<bool, JobError> {
        let job = self.job.clone();
        let turns = self.until_answered(|| job.claim(CLAIM)).await?;
        self.turns = turns.unwrap_or_default();
        if turns.is_some() {
            // Others may have worked on it, or ended it, and may ask for its cancellation.
            self.until_answered(|| job.follow()).await?;
        }
        Ok(turns.is_some())
    }

    /// Lets another node take the job.
    pub(super) async fn let_go(&self) {
        if let Err(error) = self.job.release().await {
            tracing::debug!(job.id = %self.job.id(), %error, "a claim is left to its end");
        }
    }

    /// Renews the claim for as long as it can be; returns when another node has taken the job.
    pub(super) async fn keep(&self) {
        loop {
            tokio::time::sleep(CLAIM / RENEWALS_PER_CLAIM).await;
            // While the store does not answer nobody else can take the job either.
            if let Ok(None) = self.job.claim(CLAIM).await {
                return;
            }
        }
    }

    /// Moves the job to `processing`. One that is there already was cut off, and one that another
    /// node has taken before may be in its hands still: that is a new attempt.
    pub(super) async fn begin(&mut self) -> Result<(), JobError> {
        let face = &self.job.job().face;
        self.attempt = match face.state {
            State::Pending if self.turns <= 1 => face.attempt,
            _ => face.attempt.saturating_add(1),
        };
        self.report(Report {
            status: Some(State::Processing),
            ..Report::default()
        })
        .await
    }

    /// Whether the server is shutting down.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Whether to stop, because of the job or because of the server.
    pub(super) fn should_stop(&self) -> bool {
        self.stop.is_cancelled() || self.is_draining()
    }

    /// Waits until [`Worker::should_stop`]. Cancel-safe.
    pub(super) async fn until_should_stop(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// Reports on this attempt; texts are cut to what a report may bring.
    pub(super) async fn report(&self, report: Report) -> Result<(), JobError> {
        self.apply(vec![(self.command(report)?, None)]).await
    }

    /// A report on this attempt, within its bounds; only a result that is too large has no remedy.
    pub(super) fn command(&self, mut report: Report) -> Result<Command, JobError> {
        let settings = self.job.settings();
        let bounds = &settings.bounds;
        report.attempt = Some(self.attempt);
        if let Patch::Set(step) = &mut report.step {
            clip(step, bounds.step_chars);
        }
        if let Patch::Set(message) = &mut report.message {
            clip(message, bounds.message_chars);
        }
        if let Some(error) = &mut report.error {
            clip(&mut error.message, bounds.message_chars);
        }
        match &report.result {
            Some(result) if result.as_str().len() > bounds.result_bytes => {
                Err(result_too_large(result, bounds))
            }
            _ => Ok(Command::Report(Box::new(report))),
        }
    }

    /// A command of this attempt alone: when another node has begun the next, it changes nothing.
    pub(super) fn of_attempt(&self, command: Command) -> Command {
        Command::OfAttempt(self.attempt, Box::new(command))
    }

    /// Applies commands as one change. Those that must not happen twice carry a name.
    pub(super) async fn apply(
        &self,
        commands: Vec<(Command, Option<ReportId>)>,
    ) -> Result<(), JobError> {
        let send = || self.job.submit_together(commands.iter().cloned());
        self.until_answered(|| async {
            for submission in send() {
                submission.await?;
            }
            Ok(())
        })
        .await
    }

    /// Asks the store until it answers, or until the server drains.
    ///
    /// There is no other end to its patience: a job given up here would have nobody who takes it
    /// up again, and while the store is silent nothing is gained by going on to the next one.
    pub(super) async fn until_answered<T, Asking>(
        &self,
        ask: impl Fn() -> Asking,
    ) -> Result<T, JobError>
    where
        Asking: Future<Output = Result<T, RegistryError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(RegistryError::Store(error)) => error,
                Err(refusal) => return Err(self.refused(&refusal)),
            };
            tracing::warn!(
                job.id = %self.job.id(), %error,
                "the store did not take a runner's report, trying again"
            );
            tokio::select! {
                () = self.drain.cancelled() => return Err(JobError::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The job has ended, is gone, or somebody else is at it: there is nothing left to do. Any
    /// other refusal is a runner's mistake.
    fn refused(&self, refusal: &RegistryError) -> JobError {
        use crate::job::Refusal;
        match refusal {
            RegistryError::Gone
            | RegistryError::NotFound
            | RegistryError::Refused(Refusal::Finished(_) | Refusal::StaleAttempt { .. }) => {
                JobError::Stopped
            }
            error => {
                tracing::error!(job.id = %self.job.id(), %error, "a runner's report was refused");
                JobError::Failed(internal_failure())
            }
        }
    }

    /// Reports nothing, again and again, so that a long silence does not look like a dead worker.
    pub(super) async fn show_life(&self) -> std::convert::Infallible {
        let lease_seconds = self.job.job().origin.lease_seconds;
        if lease_seconds == 0 {
            return std::future::pending().await;
        }
        let interval = Duration::from_secs(lease_seconds) / SIGNS_PER_LEASE;
        loop {
            tokio::time::sleep(interval).await;
            let report = Report {
                attempt: Some(self.attempt),
                ..Report::default()
            };
            // A sign that gets lost is followed by the next; whether the work should stop is
            // learned elsewhere.
            let _ = self
                .job
                .apply(Command::Report(Box::new(report)), None)
                .await;
        }
    }
}

/// What a job fails with when the fault is the server's own; the log has the cause.
pub(super) fn internal_failure() -> Failure {
    Failure::new("INTERNAL", "Internal server error")
}

fn result_too_large(result: &Json, bounds: &Bounds) -> JobError {
    let (bytes, most) = (result.as_str().len(), bounds.result_bytes);
    let message = format!("The result has {bytes} bytes; at most {most} are allowed");
    JobError::failed("RESULT_TOO_LARGE", message)
}

/// Makes a text one that a report may bring: it may quote an input, which can be of any length.
fn clip(text: &mut String, most_chars: usize) {
    text.retain(|character| character != '\0');
    if let Some((cut, _)) = text.char_indices().nth(most_chars) {
        let before = text[..cut].char_indices().next_back();
        text.truncate(before.map_or(0, |(start, _)| start));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::clip;

    #[test]
    fn text_is_cut_between_characters_to_what_is_allowed() {
        for (text, clipped) in [
            ("äöü", "äöü"),
            ("äöüß", "äö…"),
            ("", ""),
            ("a\0bc", "abc"),
            ("a\0bcd", "ab…"),
        ] {
            let mut text = text.to_owned();
            clip(&mut text, 3);
            assert_eq!(text, clipped);
        }
    }
}
