//! Telling other nodes what this one has committed: right after the commit, many at a time.
//!
//! Not within the commit; `progressd.announce` in `migrations/0002_server.sql` says why. When this node
//! dies in between, the others find the change when they look at the jobs that they follow.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{
    client::Client,
    listener::{EVERY_JOB, MOVED_JOBS},
    sql,
};
use crate::{
    job::{JobId, Seq},
    store::StoreError,
};

/// How many jobs wait to be told of; beyond it the others are told to look at all that they follow.
const MOST_JOBS: usize = 10_000;

/// How long telling may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Where changes are handed in.
#[derive(Debug)]
pub(super) struct Announcer {
    desk: Arc<Desk>,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

/// A commit whose outcome is open; dropped, it is told of in case it was done.
#[derive(Debug)]
pub(super) struct Announcement<'a> {
    desk: &'a Desk,
    job_id: &'a JobId,
    /// Which seq the job has; `None` when nobody can follow it yet, or there is nothing to tell.
    seq: Option<Seq>,
    /// Whether it is new or has another state.
    has_moved: bool,
}

#[derive(Debug, Default)]
struct Desk {
    // A plain lock: sections are short and never await.
    waiting: Mutex<Waiting>,
    /// Something waits.
    wake: Notify,
}

/// What nobody was told of yet.
#[derive(Debug, Default)]
struct Waiting {
    /// The newest seq of each job.
    jobs: HashMap<JobId, Seq>,
    /// More than is listed.
    is_overfull: bool,
    /// Whether jobs are new or have another state.
    has_moved: bool,
}

impl Announcer {
    /// Begins; `node` is how this node signs.
    pub(super) fn start(client: Client, node: String) -> Self {
        let desk = Arc::new(Desk::default());
        let task = tokio::spawn(announce_forever(Arc::clone(&desk), client, node));
        Self {
            desk,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Tells of a change that is about to be committed on `prev`, once that is done or given up.
    pub(super) fn announce_in_the_end<'a>(
        &'a self,
        job_id: &'a JobId,
        prev: Seq,
    ) -> Announcement<'a> {
        Announcement {
            desk: &self.desk,
            job_id,
            seq: Some(prev),
            has_moved: true,
        }
    }

    /// The same of a job that is about to be made.
    pub(super) fn announce_creation<'a>(&'a self, job_id: &'a JobId) -> Announcement<'a> {
        Announcement {
            desk: &self.desk,
            job_id,
            seq: None,
            has_moved: true,
        }
    }
}

impl Announcement<'_> {
    /// The job has this seq now; tells of it.
    pub(super) fn make(mut self, seq: Seq, has_moved: bool) {
        self.seq = Some(seq);
        self.has_moved = has_moved;
    }

    /// There is nothing to tell.
    pub(super) fn call_off(mut self) {
        self.seq = None;
        self.has_moved = false;
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        if self.seq.is_none() && !self.has_moved {
            return;
        }
        {
            let mut waiting = self.desk.lock();
            waiting.has_moved |= self.has_moved;
            match self.seq {
                Some(seq) if waiting.jobs.len() < MOST_JOBS => {
                    waiting.jobs.insert(self.job_id.clone(), seq);
                }
                Some(_) => waiting.is_overfull = true,
                None => {}
            }
        }
        self.desk.wake.notify_one();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("no section under the lock panics")
    }
}

async fn announce_forever(desk: Arc<Desk>, client: Client, node: String) {
    loop {
        desk.wake.notified().await;
        let waiting = mem::take(&mut *desk.lock());
        if waiting.jobs.is_empty() && !waiting.is_overfull && !waiting.has_moved {
            continue;
        }
        let telling = announce(&client, &node, &waiting);
        if !matches!(tokio::time::timeout(PATIENCE, telling).await, Ok(Ok(()))) {
            // Who listens has lost its connection too, as a rule, and then looks at everything. To be
            // sure it is told to.
            {
                let mut again = desk.lock();
                again.is_overfull = true;
                again.has_moved |= waiting.has_moved;
            }
            desk.wake.notify_one();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn announce(client: &Client, node: &str, waiting: &Waiting) -> Result<(), StoreError> {
    let mut job_ids: Vec<_> = waiting.jobs.keys().map(JobId::as_str).collect();
    let mut seqs: Vec<_> = waiting.jobs.values().map(|seq| seq.get()).collect();
    if waiting.is_overfull {
        (job_ids, seqs) = (vec![EVERY_JOB], vec![0]);
    }
    if waiting.has_moved {
        job_ids.push(MOVED_JOBS);
        seqs.push(0);
    }
    let call = sql::call(
        "announce",
        &[sql::text(node), sql::texts(job_ids), sql::numbers(seqs)],
    );
    client.fetch(format!("SELECT {call}")).await.map(drop)
}
