//! How a stream of many jobs begins: which jobs there are, and how each of them is joined.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{Named, Selection, Selector};
use crate::{
    job::{Job, JobId, Seq, State},
    registry::{Attachment, JobHandle, LifecycleEvents, Registry, RegistryError},
    store::{Filter, Position, StoreError},
};

/// Most jobs on one stream.
pub(super) const MOST_JOBS: usize = 5_000;

/// How many jobs one look into the store brings.
const SLICE: usize = 500;

/// How many jobs are joined at a time.
pub(super) const JOINS: usize = 32;

/// What a stream of many jobs begins with.
pub struct MultiStart {
    pub(super) registry: Registry,
    pub(super) selector: Option<Selector>,
    /// Codes of jobs that were asked for and are not shown.
    pub(super) refused: Vec<(String, &'static str)>,
    pub(super) joining: BoxStream<'static, Joined>,
    pub(super) lifecycle: LifecycleEvents,
    pub(super) began_at: Seq,
    pub(super) since: Option<Seq>,
}

/// A job that was joined, or not.
pub(super) enum Joined {
    Attached(JobHandle, Attachment),
    /// It is finished, and nothing of it was missed.
    Finished(Arc<Job>),
    /// It went meanwhile.
    Absent(JobId),
    Failed(StoreError),
}

impl MultiStart {
    /// Looks for the jobs. The cursor is the last id that the client has seen; `rewind` is for how long
    /// before it something may have been committed late.
    ///
    /// `None` when the jobs were named and the client has seen the end of all of them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn new(
        registry: &Registry,
        selection: Selection,
        cursor: Option<Seq>,
        rewind: Duration,
    ) -> Result<Option<Self>, RegistryError> {
        let began_at = Seq::new(registry.now().as_micros()).unwrap_or(Seq::MAX);
        let rewind = u64::try_from(rewind.as_micros()).unwrap_or(u64::MAX);
        let since = cursor.map(|cursor| {
            let since = cursor.min(began_at).get().saturating_sub(rewind);
            Seq::new(since).unwrap_or_default()
        });
        let start = match selection {
            Selection::Named(named) => {
                let names: HashSet<String> = named.iter().map(|named| named.name.clone()).collect();
                let lifecycle = registry
                    .lifecycle(move |job| names.contains(job.id().as_str()))
                    .await?;
                let (mut handles, mut refused) = (Vec::new(), Vec::new());
                for Named { name, found } in named {
                    match found {
                        Ok(job) => handles.push(job),
                        Err(code) => refused.push((name, code)),
                    }
                }
                let has_seen_all = cursor.is_some_and(|cursor| {
                    let mut jobs = handles.iter().map(JobHandle::job);
                    jobs.all(|job| job.is_finished() && job.seq <= cursor)
                });
                if has_seen_all {
                    return Ok(None);
                }
                let joining = stream::iter(handles).map(move |job| attach(job, since));
                Self {
                    registry: registry.clone(),
                    selector: None,
                    refused,
                    joining: joining.buffered(JOINS).boxed(),
                    lifecycle,
                    began_at,
                    since,
                }
            }
            Selection::Matching(selector) => {
                let wants = selector.clone();
                let clock = registry.clone();
                let lifecycle = registry
                    .lifecycle(move |job| wants.wants(job, clock.now()))
                    .await?;
                let jobs = list(registry, &selector).await?;
                let joining = {
                    let registry = registry.clone();
                    stream::iter(jobs).map(move |job| join(registry.clone(), job, since))
                };
                Self {
                    registry: registry.clone(),
                    selector: Some(selector),
                    refused: Vec::new(),
                    joining: joining.buffered(JOINS).boxed(),
                    lifecycle,
                    began_at,
                    since,
                }
            }
        };
        Ok(Some(start))
    }
}

impl fmt::Debug for MultiStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MultiStart")
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}

/// The newest jobs that match, newest first.
pub(super) async fn list(
    registry: &Registry,
    selector: &Selector,
) -> Result<Vec<Arc<Job>>, RegistryError> {
    let mut filters = vec![selector.filter().clone()];
    if selector.is_about_the_present() {
        // Apart: among all that have ended the unfinished ones could be far back.
        let (over, at_work): (Vec<_>, Vec<_>) = State::ALL
            .into_iter()
            .partition(|state| state.is_terminal());
        filters = [at_work, over]
            .map(|states| Filter {
                states,
                ..selector.filter().clone()
            })
            .into();
    }
    let mut jobs = Vec::new();
    for filter in filters {
        let (mut before, mut looked_at) = (None, 0);
        while looked_at < MOST_JOBS {
            let may_see = |job: &Job| selector.wants(job, registry.now());
            let page = registry.list_slice(&filter, before.as_ref(), SLICE).await?;
            looked_at += page.len();
            before = page.last().map(|job| Position::of(job));
            let is_last = page.len() < SLICE;
            jobs.extend(page.into_iter().filter(|job| may_see(job)));
            if is_last {
                break;
            }
        }
    }
    jobs.sort_by_cached_key(|job| std::cmp::Reverse(Position::of(job)));
    jobs.dedup_by(|one, other| one.id() == other.id());
    jobs.truncate(MOST_JOBS);
    Ok(jobs)
}

pub(super) async fn join(registry: Registry, job: Arc<Job>, since: Option<Seq>) -> Joined {
    let is_told = since.is_none_or(|since| job.seq <= since);
    if job.is_finished() && is_told {
        return Joined::Finished(job);
    }
    match registry.find(job.id()).await {
        Ok(found) => attach(found, since).await,
        Err(error) => Joined::of_error(job.id(), error),
    }
}

pub(super) async fn attach(job: JobHandle, since: Option<Seq>) -> Joined {
    match job.attach_since(since).await {
        Ok(attachment) => Joined::Attached(job, attachment),
        Err(error) => Joined::of_error(job.id(), error),
    }
}

impl Joined {
    fn of_error(job_id: &JobId, error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Failed(error),
            _ => Self::Absent(job_id.clone()),
        }
    }
}
