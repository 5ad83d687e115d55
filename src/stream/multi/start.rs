//! How a stream of many jobs begins: which jobs there are, and how each of them is joined.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    Named, Selection, Selector,
    joining::{Joined, attach, join},
    listing::Listing,
};
use crate::{
    job::{Job, JobId, Seq},
    registry::{LifecycleEvent, LifecycleEvents, Registry, RegistryError, Since},
};

/// How many jobs are joined at a time. Where missed events come along, fewer: they are held until
/// they are shown.
const JOINS: usize = 32;
const JOINS_WITH_EVENTS: usize = 4;

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
        let began_at = Seq::from(registry.now());
        if selection.is_over(cursor, began_at) {
            return Ok(None);
        }
        let since = cursor.map(|cursor| since(cursor, began_at, rewind));
        match selection {
            Selection::Named(named) => {
                let start = Self::of_named(registry, named, began_at, since).await?;
                Ok(Some(start))
            }
            Selection::Matching(selector) => {
                let start = Self::of_matching(registry, selector, began_at, since).await?;
                Ok(Some(start))
            }
        }
    }

    async fn of_named(
        registry: &Registry,
        named: Vec<Named>,
        began_at: Seq,
        since: Option<Since>,
    ) -> Result<Self, RegistryError> {
        let (mut handles, mut refused) = (Vec::new(), Vec::new());
        for Named { name, found } in named {
            match found {
                Ok(job) => handles.push(job),
                Err(code) => refused.push((name, code)),
            }
        }
        let names: HashSet<JobId> = handles.iter().map(|job| job.id().clone()).collect();
        // They are there from the beginning, or never.
        let wants = move |event: &LifecycleEvent| match event {
            LifecycleEvent::Entered(_) => false,
            LifecycleEvent::Removed { job_id, .. } => names.contains(job_id),
            LifecycleEvent::Missed => true,
        };
        let lifecycle = registry.lifecycle(wants).await?;
        let joining = stream::iter(handles).map(move |job| attach(job, since));
        Ok(Self {
            registry: registry.clone(),
            selector: None,
            refused,
            joining: joining.buffered(joins(since)).boxed(),
            lifecycle,
            began_at,
            since,
        })
    }

    async fn of_matching(
        registry: &Registry,
        selector: Selector,
        began_at: Seq,
        since: Option<Since>,
    ) -> Result<Self, RegistryError> {
        let wants = {
            let (selector, registry) = (selector.clone(), registry.clone());
            move |event: &LifecycleEvent| match event {
                LifecycleEvent::Entered(job) => selector.wants(job, registry.now()),
                LifecycleEvent::Removed { job: Some(job), .. } => selector.may_have_wanted(job),
                LifecycleEvent::Removed { job: None, .. } | LifecycleEvent::Missed => true,
            }
        };
        // Before the first look: what comes behind it is told.
        let lifecycle = registry.lifecycle(wants).await?;
        let mut listing = Listing::new(registry.clone(), selector.clone());
        // Now, so that a store which does not answer refuses the request.
        listing.fill().await?;
        let found = stream::unfold(Some(listing), |listing| async {
            let mut listing = listing?;
            match listing.next().await {
                Ok(job) => Some((Ok(job?), Some(listing))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let joining = {
            let registry = registry.clone();
            found.map(move |found| take(registry.clone(), found, since))
        };
        Ok(Self {
            registry: registry.clone(),
            selector: Some(selector),
            refused: Vec::new(),
            joining: joining.buffered(joins(since)).boxed(),
            lifecycle,
            began_at,
            since,
        })
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

/// From where on a client has events that stands at `cursor`. One from beyond the present, by more
/// than clocks are apart, is none that was ever given.
fn since(cursor: Seq, began_at: Seq, rewind: Duration) -> Since {
    let rewind = u64::try_from(rewind.as_micros()).unwrap_or(u64::MAX);
    if cursor.get() > began_at.get().saturating_add(rewind) {
        return Since::from(Seq::ZERO);
    }
    let after = cursor.min(began_at).get().saturating_sub(rewind);
    Since {
        after: Seq::new(after).unwrap_or_default(),
        seen: cursor,
    }
}

fn joins(since: Option<Since>) -> usize {
    match since {
        None => JOINS,
        Some(_) => JOINS_WITH_EVENTS,
    }
}

/// Joins a job that was listed; one whose end was seen before is shown as it is.
async fn take(
    registry: Registry,
    found: Result<Arc<Job>, RegistryError>,
    since: Option<Since>,
) -> Joined {
    let job = match found {
        Ok(job) => job,
        Err(error) => return Joined::Unlisted(error),
    };
    let is_told = since.is_none_or(|since| job.seq <= since.after);
    match job.is_finished() && is_told {
        true => Joined::Listed(job),
        false => join(registry, job.id().clone(), since).await,
    }
}

/// Which jobs match now, by their names.
pub(super) async fn names(
    registry: Registry,
    selector: Selector,
) -> Result<Vec<(JobId, uuid::Uuid)>, RegistryError> {
    let mut listing = Listing::new(registry, selector);
    let mut names = Vec::new();
    while let Some(job) = listing.next().await? {
        names.push((job.id().clone(), job.origin.incarnation));
    }
    Ok(names)
}

/// Which of these jobs are not there any more.
pub(super) async fn gone_of(
    registry: Registry,
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
