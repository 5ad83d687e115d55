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

use super::{client::Client, listener::EVERY_JOB, sql};
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
    seq: Option<Seq>,
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
        }
    }
}

impl Announcement<'_> {
    /// The job has this seq now; tells of it.
    pub(super) fn make(mut self, seq: Seq) {
        self.seq = Some(seq);
    }

    /// There is nothing to tell.
    pub(super) fn call_off(mut self) {
        self.seq = None;
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        let Some(seq) = self.seq else {
            return;
        };
        {
            let mut waiting = self.desk.lock();
            if waiting.jobs.len() < MOST_JOBS {
                waiting.jobs.insert(self.job_id.clone(), seq);
            } else {
                waiting.is_overfull = true;
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
        if waiting.jobs.is_empty() && !waiting.is_overfull {
            continue;
        }
        let telling = announce(&client, &node, &waiting);
        if !matches!(tokio::time::timeout(PATIENCE, telling).await, Ok(Ok(()))) {
            // Who listens has lost its connection too, as a rule, and then looks at everything. To be
            // sure it is told to.
            desk.lock().is_overfull = true;
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
    let call = sql::call(
        "announce",
        &[sql::text(node), sql::texts(job_ids), sql::numbers(seqs)],
    );
    client.fetch(format!("SELECT {call}")).await.map(drop)
}
