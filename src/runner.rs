//! Built-in work: tasks of the server that do the jobs of their kind themselves.
//!
//! A [`Runner`] is a worker like any other: it reports through the same
//! [`JobHandle`] as one that comes over HTTP. [`Runners`] gives it its jobs. Such a job
//!
//! 1. is `pending` while it waits: each runner does a bounded number at a time and takes the
//!    others in the order in which they came. One that is cancelled, removed or ended meanwhile
//!    leaves the queue at once. What it works on stays in the store until its turn;
//! 2. becomes `processing` when its turn comes, and shows signs of life from then on;
//! 3. ends as its runner says: `completed` with a result, `failed` with a reason, or `cancelled`
//!    when that was asked for. A runner that panics fails its job and nothing else.
//!
//! While the store does not answer, a job waits for it and loses nothing: reports are repeated
//! until they are committed, once. Where nodes share a store, one at a time does a job, and when it
//! dies another goes on. When the server drains, runners stop at their next step and
//! leave their jobs as they are; a job that is started again, whatever cut it off, goes on behind
//! its last committed result row with a new attempt.

mod context;
mod demo;
pub mod email;
mod email_validation;
mod takeover;
mod turn;
mod worker;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::{sync::Semaphore, task::coop::unconstrained};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    config::RunnerConfig,
    job::{Failure, Json, Origin},
    registry::JobHandle,
    store::Input,
};

pub use context::JobContext;
pub use demo::Demo;
pub use email_validation::EmailValidation;

use turn::Turn;

/// Does the jobs of one kind.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// The `kind` of the jobs that it does.
    fn kind(&self) -> &'static str;

    /// What it counts: the `unit` of a job whose creation names none.
    fn unit(&self) -> Option<&'static str> {
        None
    }

    /// How many jobs it does at a time; others wait.
    fn concurrency(&self) -> NonZeroUsize;

    /// Does one job; what comes back is its `result`.
    ///
    /// Must look at [`JobContext::stopped`] wherever it waits for long. Begins at
    /// [`JobContext::row_count`], which is above 0 when an earlier attempt was cut off.
    async fn run(&self, context: JobContext, input: Option<Input>) -> Result<Json, JobError>;
}

/// Why a runner came to no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// The job failed, and this is why.
    Failed(Failure),
    /// The runner stopped before the end, since [`JobContext::should_stop`] said so.
    Stopped,
}

/// The runners of this server, each with its queue. Cheap to clone.
#[derive(Clone)]
pub struct Runners {
    lines: Arc<BTreeMap<&'static str, Line>>,
    drain: CancellationToken,
    tasks: TaskTracker,
}

/// A runner and the places beside it; tokio's semaphore gives them out first come, first served.
struct Line {
    runner: Arc<dyn Runner>,
    places: Arc<Semaphore>,
    /// Every job that waits or is at work on this node.
    held: Arc<Mutex<HashSet<Uuid>>>,
}

/// How much a runner has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait for their turn.
    pub queued: usize,
    /// Jobs that are worked on.
    pub running: usize,
}

impl JobError {
    /// A failure with a code for programs and a sentence for people.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(code, message))
    }
}

impl Runners {
    /// All built-in runners, as configured.
    pub fn new(config: &RunnerConfig) -> Self {
        Self::of([
            Arc::new(Demo) as Arc<dyn Runner>,
            Arc::new(EmailValidation::new(&config.email)),
        ])
    }

    /// These runners; of two of a kind the latter.
    pub fn of(runners: impl IntoIterator<Item = Arc<dyn Runner>>) -> Self {
        let line = |runner: Arc<dyn Runner>| {
            let places = runner.concurrency().get().min(Semaphore::MAX_PERMITS);
            let places = Arc::new(Semaphore::new(places));
            let held = Arc::default();
            (
                runner.kind(),
                Line {
                    runner,
                    places,
                    held,
                },
            )
        };
        Self {
            lines: Arc::new(runners.into_iter().map(line).collect()),
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether jobs of this kind are done here.
    pub fn knows(&self, kind: &str) -> bool {
        self.lines.contains_key(kind)
    }

    /// What jobs of this kind count, when their creation does not say.
    pub fn unit(&self, kind: &str) -> Option<&'static str> {
        self.lines.get(kind).and_then(|line| line.runner.unit())
    }

    /// Queues a job behind those that came before it; `false` when no runner does its kind.
    ///
    /// To be called once in a job's life on this node: after its creation, or when it was found
    /// unfinished after a restart. Needs a tokio runtime.
    pub fn start(&self, job: JobHandle) -> bool {
        let kind = job.job().origin.kind.clone();
        let Some(line) = kind.and_then(|kind| self.lines.get(&*kind)) else {
            return false;
        };
        let held = line.hold(&job.job().origin);
        // The first poll takes the place in the queue, and it has to happen here, since tasks
        // begin in any order. Without `unconstrained` it might be put off for the sake of others.
        let places = Arc::clone(&line.places);
        let mut place = Box::pin(unconstrained(places.acquire_owned()));
        let at_once = place.as_mut().now_or_never();
        let turn = Turn {
            runner: Arc::clone(&line.runner),
            drain: self.drain.clone(),
            job,
        };
        self.tasks.spawn(async move {
            match at_once {
                Some(place) => turn.take(std::future::ready(place)).await,
                None => turn.take(place).await,
            }
            drop(held);
        });
        true
    }

    /// The kinds of job that are done here.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.lines.keys().copied()
    }

    /// How much the runner of a kind has to do at this moment.
    pub fn load(&self, kind: &str) -> Load {
        let Some(line) = self.lines.get(kind) else {
            return Load::default();
        };
        let jobs = line.lock().len();
        let places = line.runner.concurrency().get().min(Semaphore::MAX_PERMITS);
        // Looked at one after the other, while jobs come and go: never more than there are.
        let running = (places - line.places.available_permits()).min(jobs);
        Load {
            queued: jobs - running,
            running,
        }
    }

    /// How many jobs wait or are at work.
    pub fn jobs(&self) -> usize {
        self.tasks.len()
    }

    /// Lets no further job begin, stops those at work at their next step, and waits for that; all
    /// stay unfinished. Any that takes longer than `patience` is left behind.
    pub async fn drain(&self, patience: Duration) {
        self.drain.cancel();
        self.tasks.close();
        let stopped = tokio::time::timeout(patience, self.tasks.wait()).await;
        if stopped.is_err() {
            tracing::warn!(jobs = self.jobs(), "jobs did not stop in time");
        }
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        lock(&self.held)
    }

    /// Whether the job waits or is at work on this node.
    fn has(&self, job: &Origin) -> bool {
        self.lock().contains(&job.incarnation)
    }

    /// Counts a job in until what comes back is dropped.
    fn hold(&self, job: &Origin) -> Held {
        self.lock().insert(job.incarnation);
        Held {
            jobs: Arc::clone(&self.held),
            incarnation: job.incarnation,
        }
    }
}

/// A job that is counted in.
struct Held {
    jobs: Arc<Mutex<HashSet<Uuid>>>,
    incarnation: Uuid,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.jobs).remove(&self.incarnation);
    }
}

// A plain lock: held for single look-ups.
fn lock(jobs: &Mutex<HashSet<Uuid>>) -> MutexGuard<'_, HashSet<Uuid>> {
    jobs.lock().expect("no section under the lock panics")
}

impl fmt::Debug for Runners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Runners")
            .field("kinds", &self.lines.keys())
            .field("jobs", &self.jobs())
            .finish_non_exhaustive()
    }
}
