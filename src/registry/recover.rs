//! What a restart finds unfinished in a store of this node's own.

use std::sync::Arc;

use super::{JobHandle, Registry};
use crate::{
    job::Ledger,
    store::{Position, StoreError, Stored},
};

/// How many jobs one look into the store brings.
const PAGE: usize = 1_000;

impl Registry {
    /// Holds every unfinished job, so that its deadlines are watched again, and hands each over,
    /// oldest first; returns how many there are.
    ///
    /// Jobs of a store that other nodes use too are nobody's own: they are left alone.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn recover(&self, mut take: impl FnMut(JobHandle)) -> Result<usize, StoreError> {
        let inner = &self.inner;
        if inner.is_shared() {
            return Ok(0);
        }
        let mut count = 0;
        let mut after: Option<Position> = None;
        loop {
            let page = inner.store.unfinished(None, after.as_ref(), PAGE).await?;
            count += page.len();
            let is_last = page.len() < PAGE;
            after = page.last().map(|job| Position::of(job));
            for job in page {
                // What the job remembers of reports is read when the first one comes.
                let stored = Stored {
                    job,
                    ledger: Ledger::default(),
                    nonce: None,
                };
                let slot = inner.hold(self.slot(stored, false));
                slot.watch_the_clock(inner);
                take(self.handle(Arc::clone(&slot)));
            }
            if is_last {
                return Ok(count);
            }
        }
    }
}
