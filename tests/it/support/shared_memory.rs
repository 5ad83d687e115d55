//! One memory store for several servers of a process, each of which is told what the others do;
//! notices are lost or held back when a test says so.

mod sharing;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use progressd::{
    job::{Event, Job, JobId, Origin, Seq, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Input, JobCounts, KeptEvents, Loaded, Memory, Notice,
        Position, Rows, Shared, Store, StoreError,
    },
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::jobs::roomy_limits;

/// What all nodes share.
pub(crate) struct Hall {
    memory: Mutex<Arc<Memory>>,
    desks: Mutex<Vec<Arc<Desk>>>,
    mood: Mutex<Mood>,
    claims: Mutex<HashMap<Uuid, Claim>>,
    /// The job that no node is given, since the store fails.
    refused: Mutex<Option<String>>,
}

/// What becomes of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They are delivered at once.
    Prompt,
    /// They are held back until the mood is better.
    Slow,
    /// They are lost.
    Forgetful,
}

/// A node's own notices.
struct Desk {
    follows: Mutex<HashMap<JobId, usize>>,
    follows_lifecycle: Mutex<usize>,
    notices: Mutex<VecDeque<Notice>>,
    held_back: Mutex<VecDeque<Notice>>,
    arrived: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    node: Uuid,
    until: Instant,
    turns: u64,
}

/// The store as one node has it.
pub(crate) struct Node {
    hall: Arc<Hall>,
    desk: Arc<Desk>,
    /// How far the store's clock is ahead of this machine's.
    ahead: Duration,
    /// Whether the next creation is done and answered by a failure.
    loses_an_answer: AtomicBool,
    /// How many times it was asked for a job.
    loads: AtomicUsize,
}

impl Hall {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: Mutex::new(Arc::new(Memory::new(roomy_limits()))),
            desks: Mutex::default(),
            mood: Mutex::new(Mood::Prompt),
            claims: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// The store for one more node.
    pub(crate) fn node(self: &Arc<Self>) -> Arc<Node> {
        self.node_with_clock(Duration::ZERO)
    }

    /// The same, where the store's clock is ahead of the machine's.
    pub(crate) fn node_with_clock(self: &Arc<Self>, ahead: Duration) -> Arc<Node> {
        let desk = Arc::new(Desk {
            follows: Mutex::default(),
            follows_lifecycle: Mutex::default(),
            notices: Mutex::default(),
            held_back: Mutex::default(),
            arrived: Notify::new(),
        });
        lock(&self.desks).push(Arc::clone(&desk));
        Arc::new(Node {
            hall: Arc::clone(self),
            desk,
            ahead,
            loses_an_answer: AtomicBool::new(false),
            loads: AtomicUsize::new(0),
        })
    }

    /// From now on the store fails whoever claims this job.
    pub(crate) fn refuse_claims_of(&self, job_id: &str) {
        *lock(&self.refused) = Some(job_id.to_owned());
    }

    fn memory(&self) -> Arc<Memory> {
        Arc::clone(&lock(&self.memory))
    }

    /// Loses everything, without a word.
    pub(crate) fn lose_everything(&self) {
        *lock(&self.memory) = Arc::new(Memory::new(roomy_limits()));
        lock(&self.claims).clear();
    }

    /// Tells every node that everything is lost.
    pub(crate) fn tell_of_the_loss(&self) {
        self.tell(&Notice::Emptied);
    }

    /// Tells every node this, as if the store did.
    pub(crate) fn tell(&self, notice: &Notice) {
        for desk in &*lock(&self.desks) {
            lock(&desk.notices).push_back(notice.clone());
            desk.arrived.notify_one();
        }
    }

    /// What becomes of notices from now on. What was held back arrives once the mood is prompt.
    pub(crate) fn set_mood(&self, mood: Mood) {
        *lock(&self.mood) = mood;
        if mood == Mood::Prompt {
            for desk in &*lock(&self.desks) {
                lock(&desk.notices).append(&mut lock(&desk.held_back));
                desk.arrived.notify_one();
            }
        }
    }
}

impl Node {
    /// How many jobs this node has the store tell of.
    pub(crate) fn followed(&self) -> usize {
        lock(&self.desk.follows).len()
    }

    /// How many times this node follows a job.
    pub(crate) fn subscriptions(&self) -> usize {
        lock(&self.desk.follows).values().sum()
    }

    /// How many times this node has read a job.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    /// The next creation is done, and its answer lost.
    pub(crate) fn lose_the_next_creations_answer(&self) {
        self.loses_an_answer.store(true, Ordering::Relaxed);
    }

    /// How many times this node follows the lifecycle of jobs.
    pub(crate) fn lifecycle_subscriptions(&self) -> usize {
        *lock(&self.desk.follows_lifecycle)
    }

    fn tell_others(&self, job_id: &JobId, notice: &Notice) {
        self.tell_those(notice, |desk| lock(&desk.follows).contains_key(job_id));
    }

    fn tell_of_lifecycle(&self, notice: &Notice) {
        self.tell_those(notice, |desk| *lock(&desk.follows_lifecycle) > 0);
    }

    fn tell_those(&self, notice: &Notice, follows: impl Fn(&Desk) -> bool) {
        let mood = *lock(&self.hall.mood);
        for desk in &*lock(&self.hall.desks) {
            if Arc::ptr_eq(desk, &self.desk) || !follows(desk) {
                continue;
            }
            match mood {
                Mood::Prompt => {
                    lock(&desk.notices).push_back(notice.clone());
                    desk.arrived.notify_one();
                }
                Mood::Slow => lock(&desk.held_back).push_back(notice.clone()),
                Mood::Forgetful => {}
            }
        }
    }

    fn clock(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let here = since_epoch.expect("after 1970") + self.ahead;
        Timestamp::from_micros(u64::try_from(here.as_micros()).expect("before 500,000 AD"))
    }
}

#[async_trait]
impl Store for Node {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let created = self.hall.memory().create(job, input).await?;
        if let Created::Done(seq) = created {
            let job = Job { seq, ..job.clone() };
            self.tell_of_lifecycle(&Notice::Entered(Arc::new(job)));
        }
        if self.loses_an_answer.swap(false, Ordering::Relaxed) {
            return Err(StoreError::Unavailable("as the test has it".to_owned()));
        }
        Ok(created)
    }

    async fn reserve(&self, key: &str, job: &JobId, now: Timestamp) -> Result<JobId, StoreError> {
        self.hall.memory().reserve(key, job, now).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.hall.memory().load(job_id, now).await
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        self.hall.memory().input(origin).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let before = self.hall.memory().load(commit.job.id(), commit.now).await?;
        let committed = self.hall.memory().commit(commit).await?;
        if let Committed::Done { prev, first } = committed
            && commit.positions > 0
        {
            let seq = Committed::seq_at(prev, first, commit.positions);
            let event = |(place, event): &(u64, progressd::job::NewEvent)| Event {
                seq: Committed::seq_at(prev, first, *place),
                name: event.name.clone(),
                data: event.data.clone(),
            };
            let job = Arc::new(Job {
                seq,
                ..commit.job.clone()
            });
            let notice = Notice::Change {
                prev,
                job: Arc::clone(&job),
                events: commit.events.iter().map(event).collect(),
            };
            self.tell_others(job.id(), &notice);
            // What another node has committed between the two is one too many.
            let is_the_same = |before: &Loaded| {
                matches!(before, Loaded::Job(stored) if stored.job.seq == prev
                    && stored.job.face.state == job.face.state)
            };
            if !is_the_same(&before) {
                self.tell_of_lifecycle(&Notice::Entered(job));
            }
        }
        Ok(committed)
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        self.hall.memory().events_after(origin, after).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.hall.memory().list(filter, before, limit, now).await
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.hall.memory().unfinished(kind, after, limit).await
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        self.hall.memory().rows(origin, from, limit).await
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        self.hall.memory().remove(origin, gone_until).await?;
        self.tell_others(&origin.job_id, &Notice::Touched(origin.job_id.clone()));
        self.tell_of_lifecycle(&Notice::Removed {
            job_id: origin.job_id.clone(),
            incarnation: origin.incarnation,
        });
        Ok(())
    }

    async fn expire(&self, now: Timestamp, gone: u64, limit: usize) -> Result<usize, StoreError> {
        self.hall.memory().expire(now, gone, limit).await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        self.hall.memory().put_if_absent(key, value, ttl, now).await
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        self.hall.memory().counts().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no section of the hall panics")
}
