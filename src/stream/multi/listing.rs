//! Which jobs there are: read from the store slice by slice, as they are shown.

use std::{collections::VecDeque, fmt, sync::Arc};

use super::Selector;
use crate::{
    job::{Job, State},
    registry::{Registry, RegistryError},
    store::{Filter, Position},
};

/// Most jobs on one stream.
pub(super) const MOST_JOBS: usize = 5_000;

/// How many jobs one look into the store brings: they are held until they are shown.
const SLICE: usize = 100;

/// The newest jobs that match, newest first.
pub(super) struct Listing {
    registry: Registry,
    selector: Selector,
    groups: Vec<Group>,
    left: usize,
}

/// Jobs that are looked for apart from others.
struct Group {
    filter: Filter,
    /// How many are looked at, where not all of them are wanted.
    looks_left: usize,
    page: VecDeque<Arc<Job>>,
    before: Option<Position>,
    is_over: bool,
}

impl Listing {
    pub(super) fn new(registry: Registry, selector: Selector) -> Self {
        let of = |states: Vec<State>, looks_left| Group {
            filter: Filter {
                states,
                ..selector.filter().clone()
            },
            looks_left,
            page: VecDeque::new(),
            before: None,
            is_over: false,
        };
        let groups = match selector.is_about_the_present() {
            // Apart: among all that have ended the unfinished ones could be far back, and those that
            // ended a while ago are not wanted, however many they are.
            true => {
                let (over, at_work): (Vec<_>, Vec<_>) = State::ALL
                    .into_iter()
                    .partition(|state| state.is_terminal());
                vec![of(at_work, usize::MAX), of(over, MOST_JOBS)]
            }
            false => vec![of(selector.filter().states.clone(), usize::MAX)],
        };
        Self {
            registry,
            selector,
            groups,
            left: MOST_JOBS,
        }
    }

    /// The next job; `None` when there are no more.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn next(&mut self) -> Result<Option<Arc<Job>>, RegistryError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.fill().await?;
        let first = |group: &Group| group.page.front().map(|job| Position::of(job));
        let newest = self.groups.iter_mut().max_by_key(|group| first(group));
        let job = newest.and_then(|group| group.page.pop_front());
        self.left -= usize::from(job.is_some());
        Ok(job)
    }

    /// Looks for more where all that was found has been taken.
    pub(super) async fn fill(&mut self) -> Result<(), RegistryError> {
        for group in &mut self.groups {
            while group.page.is_empty() && !group.is_over {
                let before = group.before.as_ref();
                let found = self
                    .registry
                    .list_slice(&group.filter, before, SLICE)
                    .await?;
                group.looks_left = group.looks_left.saturating_sub(found.len());
                group.is_over = found.len() < SLICE || group.looks_left == 0;
                group.before = found.last().map(|job| Position::of(job));
                let now = self.registry.now();
                let wanted = found
                    .into_iter()
                    .filter(|job| self.selector.wants(job, now));
                group.page.extend(wanted);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listing")
            .field("selector", &self.selector)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
