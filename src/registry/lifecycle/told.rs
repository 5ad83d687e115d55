//! What was told of jobs of late, so that nothing is told twice or after what is newer.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use uuid::Uuid;

use super::LifecycleEvent;
use crate::job::Seq;

/// Of how many jobs it is remembered: those that end in some seconds, for notices are not later than
/// that. An entry has about a hundred bytes.
const MOST_JOBS: usize = 16_384;

/// The newest that was told of each job.
#[derive(Debug, Default)]
pub(super) struct Told {
    newest: HashMap<Uuid, Newest>,
    /// In the order in which they came; the first leaves first.
    order: VecDeque<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Newest {
    At(Seq),
    Removed,
}

impl Told {
    /// Whether this was not told before, nor anything newer; then it counts as told.
    pub(super) fn is_news(&mut self, event: &LifecycleEvent) -> bool {
        match event {
            LifecycleEvent::Entered(job) => self.rises(job.origin.incarnation, Newest::At(job.seq)),
            LifecycleEvent::Removed { incarnation, .. } => {
                self.rises(*incarnation, Newest::Removed)
            }
            LifecycleEvent::Missed => true,
        }
    }

    fn rises(&mut self, incarnation: Uuid, to: Newest) -> bool {
        match self.newest.entry(incarnation) {
            Entry::Occupied(mut entry) => {
                let rises = *entry.get() < to;
                if rises {
                    entry.insert(to);
                }
                return rises;
            }
            Entry::Vacant(entry) => entry.insert(to),
        };
        self.order.push_back(incarnation);
        if self.order.len() > MOST_JOBS
            && let Some(first) = self.order.pop_front()
        {
            self.newest.remove(&first);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::{Defaults, Job, JobId, NewJob, Timestamp};

    fn job() -> Job {
        let defaults = Defaults {
            lease_seconds: 60,
            ttl_seconds: 60,
            abandon_after_seconds: 0,
        };
        let job_id = JobId::parse("j").expect("a name");
        let now = Timestamp::from_micros(1);
        NewJob::default().into_job(job_id, None, None, &defaults, Uuid::new_v4(), now)
    }

    fn at(job: &Job, seq: u64) -> LifecycleEvent {
        let seq = Seq::new(seq).expect("a seq");
        LifecycleEvent::Entered(Arc::new(Job { seq, ..job.clone() }))
    }

    fn removal(job: &Job) -> LifecycleEvent {
        LifecycleEvent::Removed {
            job_id: job.id().clone(),
            incarnation: job.origin.incarnation,
            job: None,
        }
    }

    #[test]
    fn nothing_is_news_after_what_is_newer() {
        let (mut told, one, other) = (Told::default(), job(), job());
        for (event, is_news) in [
            (at(&one, 5), true),
            (at(&one, 5), false),
            (at(&one, 4), false),
            (at(&one, 6), true),
            (removal(&one), true),
            (removal(&one), false),
            (at(&one, 7), false),
            // Another one of the same name.
            (at(&other, 1), true),
            (LifecycleEvent::Missed, true),
            (LifecycleEvent::Missed, true),
        ] {
            assert_eq!(told.is_news(&event), is_news, "{event:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut told = Told::default();
        let first = job();
        for _ in 0..2 {
            assert!(told.is_news(&at(&first, 1)));
            for _ in 0..MOST_JOBS {
                assert!(told.is_news(&removal(&job())));
            }
            assert_eq!(
                (told.newest.len(), told.order.len()),
                (MOST_JOBS, MOST_JOBS)
            );
        }
    }
}
