//! The memory store among the stores under test.

use std::sync::Arc;

use async_trait::async_trait;
use progressd::store::{Memory, MemoryLimits, Store};

use super::{Backend, EventBounds};
use crate::support::jobs::roomy_limits;

struct InMemory(Arc<dyn Store>);

#[async_trait]
impl Backend for InMemory {
    fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }

    fn goes_by_callers_clock(&self) -> bool {
        true
    }
}

/// An empty one.
pub(super) async fn fresh(bounds: EventBounds) -> Box<dyn Backend> {
    let limits = MemoryLimits {
        events_per_job: bounds.count,
        event_bytes_per_job: bounds.bytes,
        finished_jobs: 100_000,
        ..roomy_limits()
    };
    Box::new(InMemory(Arc::new(Memory::new(limits))))
}
