//! Jobs that nobody does: their node died, or has more in its queue than it can do.
//!
//! Where nodes share a store, each looks from time to time, while a runner of its own has a free
//! place, for the oldest unfinished jobs of its kind that no node has taken.

use std::time::Duration;

use super::{Line, Runners, worker::CLAIM};
use crate::{
    registry::{Registry, RegistryError},
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
                let handle = match registry.find(job.id()).await {
                    Ok(handle) => handle,
                    Err(RegistryError::NotFound | RegistryError::Gone) => continue,
                    Err(error) => return Err(error),
                };
                match handle.claim(CLAIM).await {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(RegistryError::Gone) => continue,
                    Err(error) => return Err(error),
                }
                tracing::info!(job.id = %job.id(), kind, "a job is taken over");
                self.start(handle);
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
