//! How a stream of many jobs begins: which jobs there are, and how each of them is joined.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    Named, Selection, Selector,
    joining::{Joined, MOST_AT_ONCE, attach, join},
};
use crate::{
    job::{Job, JobId, Seq, State},
    registry::{LifecycleEvents, Registry, RegistryError, Since},
    store::{Filter, Position},
};

/// Most jobs on one stream.
pub(super) const MOST_JOBS: usize = 5_000;

/// How many jobs one look into the store brings.
const SLICE: usize = 500;

/// What a stream of many jobs begins with.
pub struct MultiStart {
    pub(super) registry: Registry,
    pub(super) selector: Option<Selector>,
    /// Codes of jobs that were asked for and are not shown.
    pub(super) refused: Vec<(String, &'static str)>,
    pub(super) joining: BoxStream<'static, Joined>,
    pub(super) lifecycle: LifecycleEvents,
    pub(super) began_at: Seq,
    pub(super) since: Option<Since>,
}

/// What a look for jobs that came or went without word has found.
pub(super) enum Jobs {
    /// All that match, newest first.
    Matching(Vec<Arc<Job>>),
    /// Those that are not there any more.
    Gone(Vec<JobId>),
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
        if selection.is_over(cursor) {
            return Ok(None);
        }
        let began_at = Seq::new(registry.now().as_micros()).unwrap_or(Seq::MAX);
        let rewind = u64::try_from(rewind.as_micros()).unwrap_or(u64::MAX);
        let since = cursor.map(|seen| Since {
            after: Seq::new(seen.min(began_at).get().saturating_sub(rewind)).unwrap_or_default(),
            seen,
        });
        let start = match selection {
            Selection::Named(named) => {
                // Those that were named are there from the beginning, or never.
                let lifecycle = registry.lifecycle(|_| false);
                let (mut handles, mut refused) = (Vec::new(), Vec::new());
                for Named { name, found } in named {
                    match found {
                        Ok(job) => handles.push(job),
                        Err(code) => refused.push((name, code)),
                    }
                }
                let joining = stream::iter(handles).map(move |job| attach(job, since));
                Self {
                    registry: registry.clone(),
                    selector: None,
                    refused,
                    joining: joining.buffered(MOST_AT_ONCE).boxed(),
                    lifecycle,
                    began_at,
                    since,
                }
            }
            Selection::Matching(selector) => {
                let wants = selector.clone();
                let clock = registry.clone();
                let lifecycle = registry.lifecycle(move |job| wants.wants(job, clock.now()));
                let jobs = list(registry, &selector).await?;
                let joining = {
                    let registry = registry.clone();
                    stream::iter(jobs).map(move |job| take(registry.clone(), job, since))
                };
                Self {
                    registry: registry.clone(),
                    selector: Some(selector),
                    refused: Vec::new(),
                    joining: joining.buffered(MOST_AT_ONCE).boxed(),
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

/// Joins a job that was listed; one whose end was seen before is shown as it is.
async fn take(registry: Registry, job: Arc<Job>, since: Option<Since>) -> Joined {
    let is_told = since.is_none_or(|since| job.seq <= since.after);
    match job.is_finished() && is_told {
        true => Joined::Listed(job),
        false => join(registry, job.id().clone(), since).await,
    }
}

/// Which of these jobs are not there any more.
pub(super) async fn gone_of(
    registry: &Registry,
    jobs: Vec<JobId>,
) -> Result<Vec<JobId>, RegistryError> {
    let mut gone = Vec::new();
    for job_id in jobs {
        match registry.find(&job_id).await {
            Ok(_) => {}
            Err(RegistryError::Gone | RegistryError::NotFound) => gone.push(job_id),
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}
