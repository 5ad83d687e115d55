//! Which jobs a stream of many is about.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    job::{Job, Seq, Timestamp},
    registry::JobHandle,
    store::Filter,
};

/// For how long a finished job is still shown where no state is asked for.
const RECENT: Duration = Duration::from_secs(600);

/// Which jobs.
#[derive(Debug)]
pub enum Selection {
    /// These.
    Named(Vec<Named>),
    /// Whichever match.
    Matching(Selector),
}

impl Selection {
    /// Whether the jobs were named, all of them have ended, and a client with this cursor has seen it:
    /// on such a stream no id but its very last is as high as the highest of the ends. One from beyond
    /// `now` was never given.
    pub fn is_over(&self, cursor: Option<Seq>, now: Seq) -> bool {
        let (Self::Named(named), Some(cursor)) = (self, cursor) else {
            return false;
        };
        let found = named.iter().filter_map(|named| named.found.as_ref().ok());
        let end = found
            .map(JobHandle::job)
            .map(|job| job.is_finished().then_some(job.seq))
            .try_fold(Seq::ZERO, |end, seq| Some(end.max(seq?)));
        end.is_some_and(|end| end <= cursor && cursor <= now.max(end))
    }
}

/// A job that was asked for by its name.
#[derive(Debug)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The job, or the code of why it is not shown.
    pub found: Result<JobHandle, &'static str>,
}

/// What jobs have to be like.
#[derive(Clone)]
pub struct Selector {
    filter: Filter,
    may_see: Arc<dyn Fn(&Job) -> bool + Send + Sync>,
}

impl Selector {
    /// Jobs that match, and that `may_see` lets through. Where the filter says nothing about states
    /// these are the jobs that are unfinished, or have been until a short time ago.
    pub fn new(filter: Filter, may_see: impl Fn(&Job) -> bool + Send + Sync + 'static) -> Self {
        Self {
            filter,
            may_see: Arc::new(may_see),
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether finished jobs are shown for a while only.
    pub(super) fn is_about_the_present(&self) -> bool {
        self.filter.states.is_empty()
    }

    pub(super) fn wants(&self, job: &Job, now: Timestamp) -> bool {
        self.filter.matches(job)
            && self.leaves_at(job).is_none_or(|at| at > now)
            && (self.may_see)(job)
    }

    /// Whether the job may be on the stream, whatever its state was.
    pub(super) fn may_have_wanted(&self, job: &Job) -> bool {
        let filter = Filter {
            states: Vec::new(),
            ..self.filter.clone()
        };
        filter.matches(job) && (self.may_see)(job)
    }

    /// When time alone takes the job off the stream.
    pub(super) fn leaves_at(&self, job: &Job) -> Option<Timestamp> {
        let recent_until = job
            .face
            .finished_at
            .filter(|_| self.is_about_the_present())
            .map(|end| end.plus_seconds(RECENT.as_secs()));
        recent_until.into_iter().chain(job.expires_at()).min()
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Selector")
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
