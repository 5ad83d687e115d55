//! Listing jobs, page by page, for whoever sees only some of them.

use std::sync::Arc;

use super::{Registry, RegistryError};
use crate::{
    job::Job,
    store::{Filter, Position, StoreError},
};

/// How many jobs each further look into the store brings when a list is filtered by who asks.
const LIST_SLICE: usize = 500;

/// A page of a list.
#[derive(Debug)]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<Arc<Job>>,
    /// Where the next page begins, when there may be one.
    pub next: Option<Position>,
}

impl Registry {
    /// Jobs that match and that `may_see` lets through, newest first, below `before`.
    pub async fn list(
        &self,
        filter: &Filter,
        may_see: impl Fn(&Job) -> bool,
        before: Option<Position>,
        limit: usize,
    ) -> Result<JobPage, RegistryError> {
        let mut jobs = Vec::new();
        let mut before = before;
        let now = self.now();
        // One more than asked for says whether there is a next page. Whoever sees only some of
        // the jobs has larger slices looked through.
        let mut slice = limit + 1;
        loop {
            let found = self
                .inner
                .store
                .list(filter, before.as_ref(), slice, now)
                .await?;
            let is_last = found.len() < slice;
            before = found.last().map(|job| Position::of(job));
            jobs.extend(found.into_iter().filter(|job| may_see(job)));
            if jobs.len() > limit {
                jobs.truncate(limit);
                let next = jobs.last().map(|job| Position::of(job));
                return Ok(JobPage { jobs, next });
            }
            if is_last {
                return Ok(JobPage { jobs, next: None });
            }
            slice = LIST_SLICE;
            tokio::task::yield_now().await;
        }
    }

    /// Jobs that match, newest first, below `before`; at most `limit`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list_slice(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let now = self.now();
        self.inner.store.list(filter, before, limit, now).await
    }
}
