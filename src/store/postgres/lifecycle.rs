//! The lifecycle of jobs: which are new, have another state or were removed since the last look.
//!
//! A notification only says that it is time to look, for all that has happened at once; a look from time
//! to time finds what nobody told of. What there is to find is said by transactions and by no clock or
//! highest number, which a transaction that commits late would be behind: a job has the transaction in
//! which it came into its state, and a look finds those that were not visible to the snapshot of the look
//! before. So each is found once, by a walk along an index, whenever it commits.

mod statement;

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::{client::Client, row::unreadable};
use crate::store::{Following, Notice, StoreError};
use statement::{Page, Place, Snapshot};

/// Notices that wait to be taken; until then nobody looks for more.
const QUEUE: usize = 64;

/// The least time between two looks, so that many changes are found by one: watchers see that much later
/// what changes often.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// How long the database is left alone that has failed a look.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The watch for it, which is kept while somebody follows.
#[derive(Debug)]
pub(super) struct Lifecycle {
    desk: Arc<Desk>,
    /// For one reader at a time, which waits without holding anybody up.
    notices: tokio::sync::Mutex<mpsc::Receiver<Notice>>,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

/// By which it is said that there is something to find.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<Desk>);

#[derive(Debug, Default)]
struct Desk {
    // A plain lock: sections are short and never await.
    watch: Mutex<Watch>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Watch {
    followers: usize,
    /// Nothing that is visible to it has to be found. `None` while nobody follows.
    since: Option<Snapshot>,
    /// Whether the database may be another one by now, to which no snapshot means anything.
    is_lost: bool,
}

/// The task that looks.
struct Watcher {
    desk: Arc<Desk>,
    client: Arc<Client>,
    node: String,
    notices: mpsc::Sender<Notice>,
}

impl Lifecycle {
    /// Begins; what `node` has done itself is not found. Looks every `interval` without being told to.
    pub(super) fn start(client: Arc<Client>, node: String, interval: Duration) -> Self {
        let desk = Arc::new(Desk::default());
        let (sender, notices) = mpsc::channel(QUEUE);
        let watcher = Watcher {
            desk: Arc::clone(&desk),
            client,
            node,
            notices: sender,
        };
        let task = tokio::spawn(watcher.watch(interval));
        Self {
            desk,
            notices: tokio::sync::Mutex::new(notices),
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.desk))
    }

    /// See [`Shared::follow_lifecycle`](crate::store::Shared::follow_lifecycle).
    pub(super) async fn follow(&self, client: &Client) -> Result<Following, StoreError> {
        let mut begin = None;
        while !self.desk.add(begin.take()) {
            begin = Some(snapshot(client).await?);
        }
        let desk = Arc::clone(&self.desk);
        Ok(Following::new(move || desk.remove()))
    }

    /// The next notice. Waits for as long as there is none. Cancel-safe.
    pub(super) async fn next_notice(&self) -> Notice {
        match self.notices.lock().await.recv().await {
            Some(notice) => notice,
            // The watcher has ended, with the runtime: nothing more will come.
            None => std::future::pending().await,
        }
    }
}

impl Bell {
    /// There may be something to find.
    pub(super) fn ring(&self) {
        self.0.wake.notify_one();
    }

    /// The connection was lost, and another server may have taken the database over.
    pub(super) fn ring_after_a_loss(&self) {
        self.0.lock().is_lost = true;
        self.ring();
    }
}

impl Desk {
    /// Counts one who follows from `begin` on; says whether that is known from another already.
    fn add(&self, begin: Option<Snapshot>) -> bool {
        let mut watch = self.lock();
        if watch.since.is_none() {
            // Whatever was lost before is of no concern.
            watch.is_lost = false;
            watch.since = begin;
        }
        let is_known = watch.since.is_some();
        watch.followers += usize::from(is_known);
        is_known
    }

    fn remove(&self) {
        let mut watch = self.lock();
        watch.followers -= 1;
        if watch.followers == 0 {
            watch.since = None;
        }
    }

    fn since(&self) -> Option<Snapshot> {
        self.lock().since.clone()
    }

    /// Moves on from one look to the next, unless the watch has begun anew meanwhile.
    fn move_on(&self, from: &Snapshot, to: Snapshot) {
        let mut watch = self.lock();
        if watch.since.as_ref() == Some(from) {
            watch.since = Some(to);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().expect("no section under the lock panics")
    }
}

impl Watcher {
    async fn watch(self, interval: Duration) {
        loop {
            // Whether it was rung or the time has come.
            let _ = tokio::time::timeout(interval, self.desk.wake.notified()).await;
            let mut pause = LEAST_PAUSE;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "jobs that have moved could not be looked for");
                self.desk.wake.notify_one();
                pause = RETRY_PAUSE;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells of all that there is to find.
    async fn look(&self) -> Result<(), StoreError> {
        let Some(since) = self.desk.since() else {
            return Ok(());
        };
        if mem::take(&mut self.desk.lock().is_lost) {
            return self.begin_anew(&since).await;
        }
        // What later pages do not find any more, since it has moved on, the next look does.
        let mut seen_by_the_first = None;
        let mut place: Option<Place> = None;
        loop {
            let statement = statement::of(&since, place.as_ref(), &self.node);
            let rows = self.client.read(statement).await?;
            let page = Page::read(&rows).map_err(unreadable)?;
            if page.snapshot.is_before(&since) {
                // A copy took the place of the database that was behind.
                return self.begin_anew(&since).await;
            }
            for notice in page.notices {
                self.tell(notice).await;
            }
            let first = seen_by_the_first.get_or_insert(page.snapshot);
            if page.end.is_none() {
                self.desk.move_on(&since, first.clone());
                return Ok(());
            }
            place = page.end;
        }
    }

    async fn begin_anew(&self, since: &Snapshot) -> Result<(), StoreError> {
        let begin = snapshot(&self.client).await;
        let begin = begin.inspect_err(|_| self.desk.lock().is_lost = true)?;
        self.desk.move_on(since, begin);
        self.tell(Notice::LifecycleMissed).await;
        Ok(())
    }

    async fn tell(&self, notice: Notice) {
        // Nobody is there to read only when the store is no more, and this about to be.
        let _ = self.notices.send(notice).await;
    }
}

/// What is visible now.
async fn snapshot(client: &Client) -> Result<Snapshot, StoreError> {
    let row = client.fetch_one(statement::NOW.to_owned()).await?;
    Snapshot::read(&row).map_err(unreadable)
}
