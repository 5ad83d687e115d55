//! Reports that were pushed straight into Redis, applied like any other.
//!
//! One node does so at a time, the one that holds a lease; the others stand by. Entries of the
//! stream are finished once they were applied, or refused for good; until then they come again,
//! to whoever holds the lease by then, and under the same report id, so that none counts twice. A
//! message is applied by the node that heard it while it held the lease, or by none.

mod apply;

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    job::JobId,
    metrics::{PushedMetrics, PushedOutcome, PushedWay},
    registry::Registry,
    store::{PushedEntries, PushedMessages, PushedReports, RefusedReport, StoreError},
};
use apply::{Outcome, Pushed, apply};

/// How long the lease lasts without a renewal: a node that dies is replaced after this, and one
/// that pauses for less stays.
const LEASE: Duration = Duration::from_secs(10);

/// How often it is renewed: two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(3);

/// How often a node that stands by asks for it, and how soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often entries are looked for that another node was given after it had lost the lease.
const SEARCH: Duration = Duration::from_secs(60);

/// What is pushed, on its way to the jobs.
#[derive(Debug)]
pub struct Intake {
    reports: PushedReports,
    registry: Registry,
    metrics: PushedMetrics,
    /// Bytes of one report.
    most_bytes: usize,
}

impl Intake {
    /// Takes what is pushed to `registry`; a report has at most `most_bytes`.
    pub fn new(
        reports: PushedReports,
        registry: Registry,
        metrics: PushedMetrics,
        most_bytes: usize,
    ) -> Self {
        Self {
            reports,
            registry,
            metrics,
            most_bytes,
        }
    }

    /// Does so until the registry drains. What is under way then comes again elsewhere.
    pub async fn run(self) {
        let draining = self.registry.draining().clone();
        if draining
            .run_until_cancelled(self.take_turns())
            .await
            .is_none()
        {
            // Nobody has to wait for the end of the lease.
            if let Err(error) = self.reports.release().await {
                tracing::debug!(%error, "the lease on pushed reports ends by itself");
            }
        }
    }

    async fn take_turns(&self) {
        // What goes wrong every second is told once.
        let mut told = String::new();
        loop {
            if let Ok(Some(number)) = self.reports.claim(LEASE).await {
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

    /// Takes what is pushed while the lease is held under this number; why that ended.
    async fn hold(&self, number: u64) -> String {
        let opening = async {
            // Only now that the lease is held.
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
            Ok(()) => "another node has taken the lease".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Renews the lease until it is lost.
    async fn renew(&self, number: u64) -> Result<(), StoreError> {
        loop {
            sleep(RENEWAL).await;
            if self.reports.claim(LEASE).await? != Some(number) {
                return Ok(());
            }
        }
    }

    /// Applies the stream's entries until the lease is lost.
    async fn take_entries(
        &self,
        number: u64,
        mut entries: PushedEntries,
    ) -> Result<(), StoreError> {
        // Jobs of which a report could not be applied: later ones wait until that was tried again,
        // so that a job's reports stay in their order.
        let mut held_up: HashSet<JobId> = HashSet::new();
        let mut again_at = Instant::now() + SEARCH;
        loop {
            if Instant::now() >= again_at {
                entries.begin_again();
                held_up.clear();
                again_at = Instant::now() + SEARCH;
            }
            let batch = entries.next().await?;
            if batch.is_empty() {
                continue;
            }
            // One that was held up for so long that another node took over may not apply what that
            // has applied long ago, and whose ids the job has forgotten.
            if !self.reports.holds(number).await? {
                return Ok(());
            }
            let pushed = batch.iter().map(|entry| {
                let report = entry.report.as_deref();
                Pushed::entry(&entry.id, report, self.most_bytes, &self.registry)
            });
            let pushed: Vec<Pushed<'_>> = pushed.collect();
            let outcomes = apply(&self.registry, &pushed, &mut held_up).await;
            let (mut finished, mut refused) = (Vec::new(), Vec::new());
            let mut has_failed = false;
            for ((entry, pushed), outcome) in batch.iter().zip(&pushed).zip(&outcomes) {
                if let Outcome::Failed(_) = outcome {
                    has_failed = true;
                    continue;
                }
                finished.push(&*entry.id);
                refused.extend(self.count(PushedWay::Stream, pushed, outcome));
            }
            self.reports.keep_refused(&refused).await?;
            entries.finish(&finished).await?;
            if has_failed {
                again_at = again_at.min(Instant::now() + RETRY);
                if finished.is_empty() {
                    // Most likely the store's trouble, and none of some job.
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Applies messages until the lease is lost.
    async fn take_messages(
        &self,
        number: u64,
        mut messages: PushedMessages,
    ) -> Result<(), StoreError> {
        loop {
            let batch = messages.next().await?;
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
            let pushed = batch.iter().map(|message| {
                let report = &message.report;
                Pushed::message(&message.job_id, report, self.most_bytes, &self.registry)
            });
            let pushed: Vec<Pushed<'_>> = pushed.collect();
            let outcomes = apply(&self.registry, &pushed, &mut HashSet::new()).await;
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
                // Only a message ends here: nobody sends it again.
                tracing::debug!(error, "a published report was lost");
                self.metrics.pushed(way, PushedOutcome::Lost, 1);
                None
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
