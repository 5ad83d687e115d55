//! Jobs that nobody does: their node died, or has more in its queue than it can do.
//!
//! Where nodes share a store, each looks from time to time, while a runner of its own has a free
//! place, for the oldest unfinished jobs of its kind that no node has taken.

use std::time::Duration;

use super::{Line, Runners, worker::CLAIM};
use crate::{
    job::JobId,
    registry::{JobHandle, Registry, RegistryError},
    store::Position,
};

/// How often a node looks, give or take a fifth.
const INTERVAL: Duration = Duration::from_secs(2);

/// How many jobs one look into the store brings.
const SLICE: usize = 100;

/// How many looks one round takes; those behind have their turn when those before are done.
const MOST_LOOKS: usize = 20;

impl Runners {
    /// Takes over jobs that nobody does, for ever; at once done where the store is this node's own.
    pub async fn take_over(self, registry: Registry) {
        if !registry.is_shared() {
            return;
        }
        loop {
            tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.8..1.2))).await;
            if registry.was_emptied_within(CLAIM) {
                // Those who are at work say so first.
                continue;
            }
            for (kind, line) in &*self.lines {
                if let Err(error) = self.take_over_of(kind, line, &registry).await {
                    tracing::debug!(kind, %error, "jobs to take over could not be looked for");
                }
            }
        }
    }

    async fn take_over_of(
        &self,
        kind: &str,
        line: &Line,
        registry: &Registry,
    ) -> Result<(), RegistryError> {
        let mut after = None;
        for _ in 0..MOST_LOOKS {
            if self.drain.is_cancelled() || line.places.available_permits() == 0 {
                return Ok(());
            }
            let jobs = registry.unfinished(kind, after.as_ref(), SLICE).await?;
            for job in &jobs {
                if line.has(&job.origin) {
                    continue;
                }
                match claimed(job.id(), registry).await {
                    Ok(Some(handle)) => {
                        tracing::info!(job.id = %job.id(), kind, "a job is taken over");
                        self.start(handle);
                    }
                    Ok(None) | Err(RegistryError::NotFound | RegistryError::Gone) => continue,
                    // One that cannot be had keeps none of the others waiting.
                    Err(error) => {
                        tracing::debug!(job.id = %job.id(), kind, %error, "a job could not be taken over");
                        continue;
                    }
                }
                if line.places.available_permits() == 0 {
                    return Ok(());
                }
            }
            match jobs.last() {
                Some(last) if jobs.len() == SLICE => after = Some(Position::of(last)),
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// The job, when this node has it now.
async fn claimed(job_id: &JobId, registry: &Registry) -> Result<Option<JobHandle>, RegistryError> {
    let handle = registry.find(job_id).await?;
    let turns = handle.claim(CLAIM).await?;
    Ok(turns.map(|_| handle))
}
