//! Notifications: one connection that listens, for all jobs that are followed on this node.
//!
//! One channel for all jobs, and no channel for each. PostgreSQL wakes every session that listens to
//! anything in the database, whatever the channel, and a session looks through the list of its channels
//! for each notification; so a channel for each job would spare nothing, cost a round trip for each
//! job that is followed, and grow dearer with every one. Here a notification of a job that nobody
//! follows costs one look into a map.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use sqlx::{
    Error, Executor as _, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{client::Client, failure::describe, lifecycle::Bell, sql};
use crate::{
    job::JobId,
    store::{Following, Notice},
};

/// The channel, as in `migrations/0002_server.sql`.
const CHANNEL: &str = "progressd";

/// In the place of a job's name, which it cannot be: a node has not told of all that it did.
pub(super) const EVERY_JOB: &str = "*";

/// The same: jobs are new, have another state, or were removed.
pub(super) const MOVED_JOBS: &str = "+";

/// The same, of a notification by which a node finds out whether it hears any.
const TEST: &str = "?";

/// How long a notification may take that nothing keeps up.
const TEST_PATIENCE: Duration = Duration::from_secs(5);

/// How long a watcher waits at its beginning for a listener that has lost its connection. Later it goes on without:
/// when the listener is back, everything that is followed is read anew, and until then it is polled.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(2);

/// How long the connection may be silent before it is asked whether it is there.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// How long it then has to answer, or to be opened at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses between tries to open it, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The listener's end at which jobs are followed.
#[derive(Debug)]
pub(super) struct Listener {
    desk: Arc<Desk>,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Desk {
    node: String,
    // Plain locks over the two: sections are short and never await. Never both at once.
    followed: Mutex<HashMap<Box<str>, Followed>>,
    news: Mutex<News>,
    /// There are news.
    wake: Notify,
    /// Whether the connection listens.
    is_listening: watch::Sender<bool>,
    /// Whether the test was heard.
    is_heard: watch::Sender<bool>,
    /// Rung when jobs have moved.
    bell: Bell,
}

#[derive(Debug)]
struct Followed {
    job_id: JobId,
    count: usize,
}

/// What nobody has taken yet. Bounded by the jobs that are followed: each is in it once.
#[derive(Debug, Default)]
struct News {
    is_missed: bool,
    touched: BTreeSet<JobId>,
}

impl Listener {
    /// Begins to listen. `node` is how this node signs its own notifications, which it need not hear.
    pub(super) fn start(options: PgConnectOptions, node: String, bell: Bell) -> Self {
        let desk = Arc::new(Desk {
            node,
            followed: Mutex::default(),
            news: Mutex::default(),
            wake: Notify::new(),
            is_listening: watch::Sender::new(false),
            is_heard: watch::Sender::new(false),
            bell,
        });
        let task = tokio::spawn(listen_forever(Arc::clone(&desk), options));
        Self {
            desk,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Says so in the log when notifications, sent through `client`, do not arrive although the
    /// connection stands: a pooler listens and forgets for whom.
    pub(super) fn warn_if_deaf(&self, client: Client) {
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let mut is_listening = desk.is_listening.subscribe();
            let listening = is_listening.wait_for(|is_listening| *is_listening);
            if !matches!(tokio::time::timeout(PATIENCE, listening).await, Ok(Ok(_))) {
                return;
            }
            let arguments = [sql::text(&desk.node), sql::texts([TEST]), sql::numbers([0])];
            let call = sql::call("announce", &arguments);
            // A pooler may also hand the notification to whoever asks, who then fails over it.
            let _ = client.fetch(format!("SELECT {call}")).await;
            let mut is_heard = desk.is_heard.subscribe();
            let hearing = is_heard.wait_for(|is_heard| *is_heard);
            if tokio::time::timeout(TEST_PATIENCE, hearing).await.is_err() {
                tracing::warn!(
                    "notifications of PostgreSQL do not arrive: when a pooler stands between, set \
                     store.postgres.listen_url"
                );
            }
        });
    }

    /// See [`Shared::follow`](crate::store::Shared::follow).
    pub(super) async fn follow(&self, job_id: &JobId) -> Following {
        self.desk.add(job_id);
        let following = Following::new({
            let (desk, job_id) = (Arc::clone(&self.desk), job_id.clone());
            move || desk.remove(&job_id)
        });
        let mut is_listening = self.desk.is_listening.subscribe();
        let listening = is_listening.wait_for(|is_listening| *is_listening);
        // Whether it listens by now or not: see above.
        let _ = tokio::time::timeout(FOLLOW_PATIENCE, listening).await;
        following
    }

    /// See [`Shared::next_notice`](crate::store::Shared::next_notice).
    pub(super) async fn next_notice(&self) -> Notice {
        loop {
            // A notification between the look and the wait leaves its permit.
            if let Some(notice) = self.desk.take() {
                return notice;
            }
            self.desk.wake.notified().await;
        }
    }
}

impl Desk {
    fn add(&self, job_id: &JobId) {
        let mut followed = lock(&self.followed);
        let entry = followed
            .entry(job_id.as_str().into())
            .or_insert_with(|| Followed {
                job_id: job_id.clone(),
                count: 0,
            });
        entry.count += 1;
    }

    fn remove(&self, job_id: &JobId) {
        let mut followed = lock(&self.followed);
        if let Some(entry) = followed.get_mut(job_id.as_str()) {
            entry.count -= 1;
            if entry.count == 0 {
                followed.remove(job_id.as_str());
            }
        }
    }

    /// A notification came: `node seq job_id`, as `progressd.notify` writes it.
    fn hear(&self, payload: &str) {
        let mut words = payload.splitn(3, ' ');
        let (Some(node), Some(_seq), Some(job_id)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        if node == self.node {
            if job_id == TEST {
                self.is_heard.send_replace(true);
            }
            return;
        }
        match job_id {
            EVERY_JOB => return self.miss(),
            MOVED_JOBS => return self.bell.ring(),
            _ => {}
        }
        let job_id = match lock(&self.followed).get(job_id) {
            Some(followed) => followed.job_id.clone(),
            None => return,
        };
        lock(&self.news).touched.insert(job_id);
        self.wake.notify_one();
    }

    /// Notifications may have been lost.
    fn miss(&self) {
        *lock(&self.news) = News {
            is_missed: true,
            touched: BTreeSet::new(),
        };
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Notice> {
        let mut news = lock(&self.news);
        if std::mem::take(&mut news.is_missed) {
            return Some(Notice::Missed);
        }
        news.touched.pop_first().map(Notice::Touched)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no section under the lock panics")
}

async fn listen_forever(desk: Arc<Desk>, options: PgConnectOptions) {
    let mut pause = FIRST_PAUSE;
    let mut is_known = false;
    let mut is_first = true;
    loop {
        // For one connection that the listener itself never opens again.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.clone());
        let error = match open(&pool).await {
            Ok(mut connection) => {
                // First the word that something may have been lost, then those that wait for it.
                desk.miss();
                match std::mem::take(&mut is_first) {
                    true => desk.bell.ring(),
                    false => desk.bell.ring_after_a_loss(),
                }
                desk.is_listening.send_replace(true);
                if is_known {
                    tracing::info!("listening to PostgreSQL again");
                }
                (pause, is_known) = (FIRST_PAUSE, false);
                let error = listen(&desk, &mut connection).await;
                desk.is_listening.send_replace(false);
                error
            }
            Err(error) => error,
        };
        // Once for each time that it is away, however long.
        if !is_known {
            let error = describe(&error);
            tracing::warn!(%error, "PostgreSQL tells nothing any more, jobs are polled until it does");
            is_known = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn open(pool: &PgPool) -> Result<PgListener, Error> {
    let opening = async {
        let mut connection = PgListener::connect_with(pool).await?;
        connection.eager_reconnect(false);
        connection.listen(CHANNEL).await?;
        Ok(connection)
    };
    in_time(opening).await
}

/// Hears notifications until the connection is lost; why it was.
async fn listen(desk: &Desk, connection: &mut PgListener) -> Error {
    loop {
        // Cancel-safe: what was read of a message stays in the connection.
        match tokio::time::timeout(LONGEST_SILENCE, connection.try_recv()).await {
            Ok(Ok(Some(notification))) => desk.hear(notification.payload()),
            Ok(Ok(None)) => return lost("it was closed"),
            Ok(Err(error)) => return error,
            // A connection may be lost without a word, as when a machine or a firewall between goes down.
            Err(_) => {
                let answer = async { connection.execute("SELECT 1").await.map(drop) };
                if let Err(error) = in_time(answer).await {
                    return error;
                }
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(lost("no answer in time")))
}

fn lost(reason: &str) -> Error {
    Error::Io(std::io::Error::other(reason.to_owned()))
}
