//! What nodes tell each other: one channel for each job, to which a node listens while somebody
//! follows the job there, and one for the lifecycle of all jobs.
//!
//! Messages wait in a bounded queue. What does not fit in is lost, and so is what is told while there
//! is no connection: then whoever follows is told so ([`Notice::Missed`], [`Notice::LifecycleMissed`]),
//! after all subscriptions are there again.

mod message;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use redis::{PushInfo, PushKind, RedisError, Value, aio::SendError};
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    address::{Address, Line},
    failure::sentence,
    keys::Keys,
    link::Pauses,
    signals::Signals,
};
use crate::{
    job::JobId,
    store::{Following, Notice, StoreError},
};

/// Messages that wait to be taken. With the largest that carry a change this is 16 MiB.
const QUEUE: usize = 1_024;

/// The largest job with events, in bytes, that a message carries; of a larger one it only says
/// that it changed.
pub(super) const LARGEST_CHANGE: usize = 16 * 1024;

/// How often a connection without messages is asked whether it is one.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Channels in one command.
const SLICE: usize = 500;

/// What this node hears of others.
pub(super) struct Hearing {
    requests: mpsc::UnboundedSender<Request>,
    /// For one reader at a time, which waits without holding anybody up.
    messages: Mutex<mpsc::Receiver<Message>>,
    signals: Arc<Signals>,
    keys: Arc<Keys>,
    node: Uuid,
    _listener: AbortOnDropHandle<()>,
}

/// The channel and what was said there.
type Message = (Vec<u8>, Vec<u8>);

enum Request {
    /// To listen to a channel.
    Follow(String, oneshot::Sender<Result<(), String>>),
    Unfollow(String),
}

/// The task that has the connection.
struct Listener {
    address: Arc<Address>,
    requests: mpsc::UnboundedReceiver<Request>,
    messages: mpsc::Sender<Message>,
    signals: Arc<Signals>,
    /// How many listen to each channel.
    followers: HashMap<String, usize>,
    /// The channels that Redis has acknowledged on the present connection.
    heard: HashSet<String>,
    patience: Duration,
}

impl Hearing {
    pub(super) fn start(
        address: Arc<Address>,
        keys: Arc<Keys>,
        signals: Arc<Signals>,
        node: Uuid,
        patience: Duration,
    ) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let (sender, messages) = mpsc::channel(QUEUE);
        let listener = Listener {
            address,
            requests: asked,
            messages: sender,
            signals: Arc::clone(&signals),
            followers: HashMap::new(),
            heard: HashSet::new(),
            patience,
        };
        Self {
            requests,
            messages: Mutex::new(messages),
            signals,
            keys,
            node,
            _listener: AbortOnDropHandle::new(tokio::spawn(listener.listen())),
        }
    }

    /// Listens to a job's channel until the guard is dropped; Redis has acknowledged it when this
    /// returns.
    pub(super) async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError> {
        self.listen_to(self.keys.channel(job_id.as_str())).await
    }

    /// The same for the lifecycle of all jobs.
    pub(super) async fn follow_lifecycle(&self) -> Result<Following, StoreError> {
        self.listen_to(self.keys.lifecycle()).await
    }

    async fn listen_to(&self, channel: String) -> Result<Following, StoreError> {
        let gone = |_| StoreError::Unavailable("Redis: nobody listens any more".to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request::Follow(channel.clone(), reply);
        self.requests.send(request).map_err(|_| gone(()))?;
        // From here on whoever gives up waiting lets go as well.
        let requests = self.requests.clone();
        let guard = Following::new(move || {
            let _ = requests.send(Request::Unfollow(channel));
        });
        match answer.await.map_err(|_| gone(()))? {
            Ok(()) => Ok(guard),
            Err(reason) => Err(StoreError::Unavailable(reason)),
        }
    }

    /// The next notice. Cancel-safe: nothing is taken before it is returned.
    pub(super) async fn next(&self) -> Notice {
        let mut messages = self.messages.lock().await;
        loop {
            let (channel, text) = tokio::select! {
                biased;
                notice = self.signals.next() => return notice,
                message = messages.recv() => match message {
                    Some(message) => message,
                    // The listener has ended, with the runtime: nothing more will come.
                    None => std::future::pending().await,
                },
            };
            if let Some(notice) = self.read(&channel, &text) {
                return notice;
            }
        }
    }

    /// What a message says; `None` when it is one of our own, or none at all.
    fn read(&self, channel: &[u8], text: &[u8]) -> Option<Notice> {
        let channel = std::str::from_utf8(channel).ok()?;
        let text = std::str::from_utf8(text).unwrap_or_default();
        let (node, told) = text.split_once(' ').unwrap_or((text, ""));
        // An empty one is a node's that tries whether it may publish.
        if node.is_empty() || node.parse() == Ok(self.node) {
            return None;
        }
        // What cannot be read here, of a newer version say, is still a reason to look.
        if channel == self.keys.lifecycle() {
            return Some(
                message::of_lifecycle(told, &self.keys).unwrap_or(Notice::LifecycleMissed),
            );
        }
        let job_id = JobId::parse(self.keys.job_of_channel(channel)?).ok()?;
        Some(message::of_job(told).unwrap_or(Notice::Touched(job_id)))
    }
}

impl Listener {
    async fn listen(mut self) {
        let mut pauses = Pauses::new();
        let mut is_first = true;
        loop {
            self.heard.clear();
            let reason = match self.connect().await {
                Ok(line) => {
                    if !is_first {
                        self.signals.missed();
                    }
                    is_first = false;
                    let begin = Instant::now();
                    let reason = self.serve(&line).await;
                    tracing::warn!(reason, "lost the connection for notices from Redis");
                    // Whoever asks now waits for the next attempt.
                    pauses.settle(begin).await;
                    continue;
                }
                Err(reason) => reason,
            };
            let pause = sleep(pauses.next().unwrap_or(CHECK_INTERVAL));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    request = self.requests.recv() => match request {
                        Some(request) => {
                            let reply = self.count(request).1;
                            refuse(reply, &reason);
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// A connection on which everything is subscribed that is followed.
    async fn connect(&mut self) -> Result<Line, String> {
        let (messages, signals) = (self.messages.clone(), Arc::clone(&self.signals));
        let receiver = move |push: PushInfo| {
            if let Some(message) = message_of(push)
                && let Err(TrySendError::Full(_)) = messages.try_send(message)
            {
                signals.missed();
            }
            Ok::<(), SendError>(())
        };
        let line = self.address.listen(receiver).await;
        let line = line.map_err(|failure| failure.reason().to_owned())?;
        let followed: Vec<String> = self.followers.keys().cloned().collect();
        self.subscribe(&line, followed).await?;
        Ok(line)
    }

    /// Does what is asked until the connection breaks; the reason.
    async fn serve(&mut self, line: &Line) -> String {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = line.broken().cancelled() => return "Redis: the connection broke".to_owned(),
                taken = self.requests.recv_many(&mut batch, SLICE) => {
                    if taken == 0 {
                        // The store is no more, and this task about to be.
                        return "nobody follows any more".to_owned();
                    }
                    if let Err(reason) = self.settle(line, batch.drain(..)).await {
                        return reason;
                    }
                }
                () = sleep(CHECK_INTERVAL) => {
                    let mut connection = line.connection();
                    let command = redis::cmd("PING");
                    let ping = command.query_async::<()>(&mut connection);
                    if let Err(reason) = self.bounded(ping).await {
                        return reason;
                    }
                }
            }
        }
    }

    /// Subscribes and unsubscribes what comes of some requests together, then answers them.
    async fn settle(
        &mut self,
        line: &Line,
        requests: impl Iterator<Item = Request>,
    ) -> Result<(), String> {
        let mut waiting = Vec::new();
        let mut touched = HashSet::new();
        for request in requests {
            let (channel, reply) = self.count(request);
            touched.insert(channel);
            waiting.extend(reply);
        }
        let is_wrong =
            |channel: &String| self.followers.contains_key(channel) != self.heard.contains(channel);
        let (wanted, unwanted): (Vec<_>, Vec<_>) = touched
            .into_iter()
            .filter(is_wrong)
            .partition(|channel| self.followers.contains_key(channel));
        let mut outcome = self.subscribe(line, wanted).await;
        if outcome.is_ok() {
            outcome = self.unsubscribe(line, unwanted).await;
        }
        for reply in waiting {
            let _ = reply.send(outcome.clone());
        }
        outcome
    }

    /// Counts who listens to what.
    fn count(&mut self, request: Request) -> (String, Option<oneshot::Sender<Result<(), String>>>) {
        match request {
            Request::Follow(channel, reply) => {
                *self.followers.entry(channel.clone()).or_default() += 1;
                (channel, Some(reply))
            }
            Request::Unfollow(channel) => {
                if let Some(count) = self.followers.get_mut(&channel) {
                    *count -= 1;
                    if *count == 0 {
                        self.followers.remove(&channel);
                    }
                }
                (channel, None)
            }
        }
    }

    async fn subscribe(&mut self, line: &Line, channels: Vec<String>) -> Result<(), String> {
        for slice in channels.chunks(SLICE) {
            let mut connection = line.connection();
            self.bounded(connection.subscribe(slice)).await?;
            self.heard.extend(slice.iter().cloned());
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, line: &Line, channels: Vec<String>) -> Result<(), String> {
        for slice in channels.chunks(SLICE) {
            let mut connection = line.connection();
            self.bounded(connection.unsubscribe(slice)).await?;
            for channel in slice {
                self.heard.remove(channel);
            }
        }
        Ok(())
    }

    async fn bounded(
        &self,
        work: impl Future<Output = Result<(), RedisError>>,
    ) -> Result<(), String> {
        match timeout(self.patience, work).await {
            Ok(outcome) => outcome.map_err(|error| sentence(&error)),
            Err(_) => Err("Redis: no answer".to_owned()),
        }
    }
}

fn refuse(reply: Option<oneshot::Sender<Result<(), String>>>, reason: &str) {
    if let Some(reply) = reply {
        let _ = reply.send(Err(reason.to_owned()));
    }
}

/// The channel and the text of what came, when it is a message.
pub(super) fn message_of(push: PushInfo) -> Option<Message> {
    let skipped = match push.kind {
        PushKind::Message => 0,
        // The pattern comes first.
        PushKind::PMessage => 1,
        _ => return None,
    };
    let mut parts = push.data.into_iter().skip(skipped);
    match (parts.next(), parts.next()) {
        (Some(Value::BulkString(channel)), Some(Value::BulkString(text))) => Some((channel, text)),
        _ => None,
    }
}

impl fmt::Debug for Hearing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hearing").finish_non_exhaustive()
    }
}
