//! Reports that were pushed straight into Redis, applied like any other.
//!
//! One node does so at a time, the one that holds a claim; the others stand by. Entries of the
//! stream are finished once they were applied, or refused for good; until then they come again,
//! to whoever holds the claim by then, and under the same report id, so that none counts twice. A
//! message is applied by the node that heard it while it held the claim, or by none.

mod apply;
mod held_up;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    job::JobId,
    metrics::{PushedMetrics, PushedOutcome, PushedWay},
    registry::Registry,
    store::{PushedBatch, PushedEntries, PushedMessages, PushedReports, RefusedReport, StoreError},
};
use apply::{Outcome, Pushed, apply};
use held_up::{HeldUp, Turn};

/// How long the claim lasts without a renewal: a node that dies is replaced after this, and one
/// that pauses for less stays.
const CLAIM: Duration = Duration::from_secs(10);

/// How often it is renewed: two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(3);

/// How often a node that stands by asks for it, and how soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a read waits for an entry.
const WAIT: Duration = Duration::from_secs(1);

/// How long an entry that fails is tried again, while the store does its work otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often entries are looked for that another node was given after it had lost the claim.
const SEARCH: Duration = Duration::from_secs(60);

/// What is pushed, on its way to the jobs.
#[derive(Debug)]
pub struct Intake {
    reports: PushedReports,
    registry: Registry,
    metrics: PushedMetrics,
    patience: Duration,
}

impl Intake {
    /// Takes what is pushed to `registry`.
    pub fn new(reports: PushedReports, registry: Registry, metrics: PushedMetrics) -> Self {
        Self {
            reports,
            registry,
            metrics,
            patience: PATIENCE,
        }
    }

    /// Gives entries up that have failed for so long, rather than for five minutes.
    #[must_use]
    pub fn giving_up_after(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Does so until the registry drains. What is under way then comes again elsewhere.
    pub async fn run(self) {
        let draining = self.registry.draining().clone();
        if draining
            .run_until_cancelled(self.take_turns())
            .await
            .is_none()
        {
            // Nobody has to wait for the end of the claim.
            if let Err(error) = self.reports.release().await {
                tracing::debug!(%error, "the claim on pushed reports ends by itself");
            }
        }
    }

    async fn take_turns(&self) {
        // What goes wrong every second is told once.
        let mut told = String::new();
        loop {
            if let Ok(Some(number)) = self.reports.claim(CLAIM).await {
                tracing::debug!(number, "taking pushed reports");
                let reason = self.hold(number).await;
                if reason != told {
                    tracing::warn!(number, reason, "pushed reports are not taken here any more");
                    told = reason;
                }
            }
            sleep(RETRY.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }

    /// Takes what is pushed while the claim is held under this number; why that ended.
    async fn hold(&self, number: u64) -> String {
        let opening = async {
            // Only now that the claim is held.
            let messages = self.reports.messages().await?;
            Ok::<_, StoreError>((self.reports.entries().await?, messages))
        };
        let (entries, messages) = match opening.await {
            Ok(opened) => opened,
            Err(error) => return error.to_string(),
        };
        let outcome = tokio::select! {
            outcome = self.renew(number) => outcome,
            outcome = self.take_entries(number, entries) => outcome,
            outcome = self.take_messages(number, messages) => outcome,
        };
        match outcome {
            Ok(()) => "another node has taken the claim".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Renews the claim until it is lost.
    async fn renew(&self, number: u64) -> Result<(), StoreError> {
        loop {
            sleep(RENEWAL).await;
            if self.reports.claim(CLAIM).await? != Some(number) {
                return Ok(());
            }
        }
    }

    /// Applies the stream's entries until the claim is lost.
    async fn take_entries(
        &self,
        number: u64,
        mut entries: PushedEntries,
    ) -> Result<(), StoreError> {
        let mut held_up = HeldUp::new(self.patience);
        // Whether what was not finished is looked at again. At the end of it new entries are read,
        // once at least, so that none that cannot be applied keeps others waiting.
        let mut is_passing = true;
        let mut search_at = Instant::now() + SEARCH;
        loop {
            let now = Instant::now();
            let due = held_up.due().map_or(search_at, |due| due.min(search_at));
            if due <= now && !is_passing {
                entries.begin_again();
                held_up.begin_pass();
                is_passing = true;
                search_at = now + SEARCH;
            }
            let wait = due.saturating_duration_since(now).min(WAIT);
            let batch = entries.next(wait).await?;
            if batch.is_new && is_passing {
                held_up.end_pass();
                is_passing = false;
            }
            if batch.entries.is_empty() {
                continue;
            }
            // One that was held up for so long that another node took over may not apply what that
            // has applied long ago, and whose ids the job has forgotten.
            if !self.reports.holds(number).await? {
                return Ok(());
            }
            if !self.take_batch(&entries, batch, &mut held_up).await? {
                // No job's fault. All of it once more, and nothing new before.
                sleep(RETRY).await;
                entries.begin_again();
                held_up = HeldUp::new(self.patience);
                is_passing = true;
            }
        }
    }

    /// Applies some entries; whether the store does its work.
    async fn take_batch(
        &self,
        entries: &PushedEntries,
        batch: PushedBatch,
        held_up: &mut HeldUp,
    ) -> Result<bool, StoreError> {
        let most_bytes = self.reports.most_bytes();
        let pushed = batch.entries.iter().map(|entry| {
            let report = entry.report.as_deref();
            Pushed::entry(&entry.id, report, most_bytes, &self.registry)
        });
        let pushed: Vec<Pushed<'_>> = pushed.collect();
        let turn = |job_id: &JobId| held_up.turn(job_id, batch.is_new);
        let outcomes = apply(&self.registry, &self.reports, &pushed, turn).await;
        let has_failed = outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Failed(_)));
        let is_at_work = !has_failed || self.reports.works().await;
        let (mut finished, mut refused) = (Vec::new(), Vec::new());
        for (pushed, outcome) in pushed.iter().zip(&outcomes) {
            if let Some(job_id) = pushed.job_id() {
                match outcome {
                    Outcome::Accepted | Outcome::Refused { .. } => held_up.went_through(job_id),
                    Outcome::Failed(error) if is_at_work && held_up.failed(job_id) => {
                        tracing::warn!(
                            job.id = %job_id,
                            error,
                            "reports that were pushed for a job cannot be applied, and are tried again"
                        );
                    }
                    Outcome::Waiting => held_up.waits(job_id),
                    Outcome::Failed(_) | Outcome::GivenUp => {}
                }
            }
            refused.extend(self.count(PushedWay::Stream, pushed, outcome));
            if !matches!(outcome, Outcome::Failed(_) | Outcome::Waiting) {
                finished.push(pushed.source);
            }
        }
        self.reports.keep_refused(&refused).await?;
        entries.finish(&finished).await?;
        Ok(is_at_work)
    }

    /// Applies messages until the claim is lost.
    async fn take_messages(
        &self,
        number: u64,
        mut messages: PushedMessages,
    ) -> Result<(), StoreError> {
        loop {
            let batch = match messages.next().await {
                Ok(batch) => batch,
                Err(error) => {
                    self.metrics.subscription_broke();
                    return Err(error);
                }
            };
            // Held under the same number now, it was held all the time: since this node had
            // subscribed, no other one has, and what was heard here was heard here alone.
            let is_held = self.reports.holds(number).await;
            let mut lost = messages.take_lost();
            if !matches!(is_held, Ok(true)) {
                lost += batch.len() as u64;
            }
            self.metrics
                .pushed(PushedWay::Publish, PushedOutcome::Lost, lost);
            if !is_held? {
                return Ok(());
            }
            let most_bytes = self.reports.most_bytes();
            let pushed = batch.iter().map(|message| {
                let report = &message.report;
                Pushed::message(&message.job_id, report, most_bytes, &self.registry)
            });
            let pushed: Vec<Pushed<'_>> = pushed.collect();
            let outcomes = apply(&self.registry, &self.reports, &pushed, |_| Turn::All).await;
            let told = pushed.iter().zip(&outcomes);
            let refused: Vec<_> = told
                .filter_map(|(pushed, outcome)| self.count(PushedWay::Publish, pushed, outcome))
                .collect();
            self.reports.keep_refused(&refused).await?;
        }
    }

    /// Counts what came of a report; what is to be kept of it when it was refused.
    fn count<'a>(
        &self,
        way: PushedWay,
        pushed: &'a Pushed<'a>,
        outcome: &'a Outcome,
    ) -> Option<RefusedReport<'a>> {
        match outcome {
            Outcome::Accepted => {
                self.metrics.pushed(way, PushedOutcome::Accepted, 1);
                None
            }
            Outcome::Failed(error) => {
                tracing::debug!(source = pushed.source, error, "a pushed report failed");
                let outcome = match way {
                    PushedWay::Stream => PushedOutcome::Failed,
                    // Nobody sends it again.
                    PushedWay::Publish => PushedOutcome::Lost,
                };
                self.metrics.pushed(way, outcome, 1);
                None
            }
            Outcome::Waiting => None,
            Outcome::GivenUp => {
                tracing::debug!(source = pushed.source, "a pushed report was given up");
                self.metrics.pushed(way, PushedOutcome::Refused, 1);
                Some(RefusedReport {
                    way: way.into(),
                    source: pushed.source,
                    code: "STORE_UNAVAILABLE",
                    message: "the job could not be read or written for too long",
                    report: pushed.text,
                })
            }
            Outcome::Refused { code, message } => {
                tracing::debug!(source = pushed.source, code, "a pushed report was refused");
                self.metrics.pushed(way, PushedOutcome::Refused, 1);
                Some(RefusedReport {
                    way: way.into(),
                    source: pushed.source,
                    code,
                    message,
                    report: pushed.text,
                })
            }
        }
    }
}
