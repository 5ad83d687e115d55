//! One job on this node: a queue of requests, one writer, and the hub that shows the outcome.
//!
//! Requests wait in a queue. Whoever finds no writer at work becomes it: it takes what waits,
//! applies the rules to all of it, commits once, shows the outcome, answers, and goes on until
//! the queue is empty. So a job has at most one commit in flight, what arrives meanwhile folds
//! into the next, no lock is held across a commit, and nothing is shown or answered before it
//! is committed: not even a refusal, which might rest on a change that fails. A commit that the
//! store did not answer is neither shown nor forgotten: the store is read before anything else.

mod batch;
mod catching_up;
mod follow;
mod serve;
mod writer;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Inner, RegistryError, handle::Submission, timekeeper::Alarm};
use crate::{
    hub::Hub,
    job::{Answer, Command, Job, JobId, Ledger, Origin, ReportId, Timestamp},
    metrics::{Outcome as Reported, RegistryMetrics},
    store::{Following, Stored},
};
use follow::Heard;
use writer::run_writer;

pub use writer::Gathering;

/// How many requests one commit takes; more wait for the next, so that answers do not starve.
const MOST_REQUESTS: usize = 256;

/// From how many bytes of events and rows on it takes no more of them: a store has others to serve.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// How many events one commit takes, and how many bytes of them, unless one request alone brings more: what comes
/// at once to watchers must not be more than is kept for them.
const MOST_EVENTS: usize = 1_000;
const MOST_EVENT_BYTES: usize = 1024 * 1024;

/// One job on this node.
pub(super) struct Slot {
    origin: Arc<Origin>,
    hub: Hub,
    // A plain lock over the queue: sections are short and never await.
    desk: Mutex<Desk>,
    /// Cancelled when a runner should stop; made when somebody first asks.
    stop: OnceLock<CancellationToken>,
    /// The store's word on what other nodes do; stays until nobody has watched for a while.
    following: tokio::sync::Mutex<Option<Following>>,
    /// Whether there is one, for those who cannot wait.
    is_followed: AtomicBool,
}

/// What the writer works with.
struct Desk {
    queue: VecDeque<Request>,
    /// Whether somebody is at work on the queue.
    is_busy: bool,
    /// The job as last committed, with the signs of life since then, which need no commit.
    current: Arc<Job>,
    ledger: Ledger,
    /// The earliest alarm that is set for the job's deadlines.
    alarm_at: Option<Timestamp>,
    is_removed: bool,
    /// Whether a commit's outcome is unknown: the store is read before anything else is done.
    is_doubtful: bool,
    /// Whether the state was read, or created, after the slot was there for others to change the
    /// job through. Until then it may be older than what this node has already shown.
    is_verified: bool,
    /// How many changes of other nodes are in the queue.
    heard: usize,
    /// When something was last asked.
    used_at: Instant,
    /// When somebody last watched, or was about to; see [`Slot::unfollow`].
    watched_at: Instant,
    /// The commits of late; see [`Slot::leave_a_turn`].
    streak: Option<Streak>,
}

/// Commits with hardly a pause between them: when the first and the newest of them began.
#[derive(Clone, Copy)]
struct Streak {
    begin: Instant,
    end: Instant,
}

/// Something that waits for the desk.
struct Request {
    errand: Errand,
    at: Timestamp,
    report_id: Option<ReportId>,
    reply: oneshot::Sender<Result<Answer, RegistryError>>,
    /// Whether somebody wants it, rather than the node itself.
    is_asked: bool,
}

pub(super) enum Errand {
    /// Applies the rules to a command.
    Apply(Command),
    /// Removes the job.
    Remove {
        /// Until when its name is known as gone.
        gone_until: Timestamp,
    },
    /// Reads the store, which may know more than this slot.
    Refresh,
    /// The same, unless the store says that the job has not moved.
    Freshen,
    /// Takes over what another node did.
    Hear(Box<Heard>),
}

impl Request {
    fn new(errand: Errand, at: Timestamp, report_id: Option<ReportId>) -> (Self, Submission) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            errand,
            at,
            report_id,
            reply,
            is_asked: true,
        };
        (request, Submission(answer))
    }

    /// How many bytes of events and rows it brings, nearly.
    fn weight(&self) -> usize {
        match &self.errand {
            Errand::Apply(command) => command.weight(),
            _ => 0,
        }
    }

    /// How many events it brings.
    fn events(&self) -> usize {
        match &self.errand {
            Errand::Apply(command) => match command.inner() {
                Command::Events(events) => events.len(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Counts it, now that it is answered.
    fn count(&self, is_accepted: bool, metrics: &RegistryMetrics) {
        let Errand::Apply(command) = &self.errand else {
            return;
        };
        match command.inner() {
            Command::Report(_) if is_accepted => metrics.reported(Reported::Accepted),
            Command::Report(_) => metrics.reported(Reported::Refused),
            Command::Events(events) if is_accepted => metrics.took_events(events.len()),
            _ => {}
        }
    }
}

impl Slot {
    /// The slot of a job. One that others could already change needs [`Slot::verify`].
    pub(super) fn new(hub: Hub, stored: Stored, is_verified: bool) -> Self {
        Self {
            origin: Arc::clone(&stored.job.origin),
            hub,
            desk: Mutex::new(Desk {
                queue: VecDeque::new(),
                is_busy: false,
                current: stored.job,
                ledger: stored.ledger,
                alarm_at: None,
                is_removed: false,
                is_doubtful: false,
                is_verified,
                heard: 0,
                used_at: Instant::now(),
                watched_at: Instant::now(),
                streak: None,
            }),
            stop: OnceLock::new(),
            following: tokio::sync::Mutex::default(),
            is_followed: AtomicBool::new(false),
        }
    }

    pub(super) fn job_id(&self) -> &JobId {
        &self.origin.job_id
    }

    /// Which job it is: never another one of the same name.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn job(&self) -> Arc<Job> {
        self.hub.job()
    }

    /// Queues an errand; its place among the job's errands is fixed when this returns.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        errand: Errand,
        report_id: Option<ReportId>,
    ) -> Submission {
        let (request, submission) = Request::new(errand, inner.clock.now(), report_id);
        self.enqueue_all(inner, [request]);
        submission
    }

    /// Queues an errand of the node's own, which nobody waits for.
    fn enqueue_unasked(self: &Arc<Self>, inner: &Arc<Inner>, errand: Errand) {
        let (request, _) = Request::new(errand, inner.clock.now(), None);
        let request = Request {
            is_asked: false,
            ..request
        };
        self.enqueue_all(inner, [request]);
    }

    /// Queues commands with nothing between them.
    pub(super) fn enqueue_together(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        commands: impl IntoIterator<Item = (Command, Option<ReportId>)>,
    ) -> Vec<Submission> {
        let at = inner.clock.now();
        let (requests, submissions): (Vec<_>, _) = commands
            .into_iter()
            .map(|(command, report_id)| Request::new(Errand::Apply(command), at, report_id))
            .unzip();
        self.enqueue_all(inner, requests);
        submissions
    }

    /// Queues an errand that is done with others; see [`Gathering`].
    pub(super) fn enqueue_into(
        self: &Arc<Self>,
        gathering: &mut Gathering,
        inner: &Arc<Inner>,
        errand: Errand,
        report_id: Option<ReportId>,
    ) -> Submission {
        let (request, submission) = Request::new(errand, inner.clock.now(), report_id);
        if self.queue([request]) {
            let writer = (Arc::clone(self), Arc::clone(inner));
            gathering.writers.push(writer);
        }
        submission
    }

    fn enqueue_all(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        requests: impl IntoIterator<Item = Request>,
    ) {
        if self.queue(requests) {
            run_writer(Arc::clone(self), Arc::clone(inner));
        }
    }

    /// Whether the caller has to see to it that a writer begins.
    fn queue(&self, requests: impl IntoIterator<Item = Request>) -> bool {
        let mut desk = self.lock();
        for request in requests {
            if request.is_asked {
                desk.used_at = Instant::now();
            }
            desk.queue.push_back(request);
        }
        !std::mem::replace(&mut desk.is_busy, true)
    }

    /// Waits until the slot shows at least what the store held when it was made known to others.
    pub(super) async fn verify(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        if self.lock().is_verified {
            return Ok(());
        }
        self.refresh(inner).await
    }

    /// Has the writer read the store.
    pub(super) async fn refresh(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        self.enqueue(inner, Errand::Refresh, None).await.map(drop)
    }

    /// See [`JobHandle::stop_signal`](super::JobHandle::stop_signal).
    pub(super) fn stop_signal(&self) -> CancellationToken {
        let signal = self.stop.get_or_init(CancellationToken::new).clone();
        // The job may have ended before the token existed.
        self.stop_if_over();
        signal
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk
            .lock()
            .expect("no section under a desk's lock panics")
    }

    /// Up to [`MOST_REQUESTS`] commands, or as many wishes to read the store, which one look
    /// grants, or one errand of another sort.
    fn take_requests(&self) -> Option<Vec<Request>> {
        let mut desk = self.lock();
        let first = &desk.queue.front()?.errand;
        let goes_with = |next: &&Request| {
            matches!(
                (first, &next.errand),
                (Errand::Apply(_), Errand::Apply(_))
                    | (Errand::Refresh, Errand::Refresh | Errand::Freshen)
                    | (Errand::Freshen, Errand::Freshen)
            )
        };
        let (mut bytes, mut events, mut event_bytes) = (0, 0, 0);
        let together = desk
            .queue
            .iter()
            .take(MOST_REQUESTS)
            .take_while(goes_with)
            .take_while(|next| {
                let has_room = bytes < MOST_BYTES;
                bytes += next.weight();
                if next.events() > 0 {
                    events += next.events();
                    event_bytes += next.weight();
                }
                has_room && events <= MOST_EVENTS && event_bytes <= MOST_EVENT_BYTES
            })
            .count();
        let taken = together.max(1);
        if matches!(first, Errand::Hear(_)) {
            desk.heard -= 1;
        }
        Some(desk.queue.drain(..taken).collect())
    }

    fn stop_if_over(&self) {
        let Some(signal) = self.stop.get() else {
            return;
        };
        let must_stop = {
            let desk = self.lock();
            let job = &desk.current;
            desk.is_removed || job.is_finished() || job.face.cancel_requested
        };
        if must_stop {
            signal.cancel();
        }
    }

    /// Sets an alarm for the job's next deadline.
    pub(super) fn watch_the_clock(self: &Arc<Self>, inner: &Inner) {
        if inner.is_shared() {
            // Any node may be the one that is there when the time has come: see `sharing`.
            return;
        }
        let since = inner.reachable_since();
        let deadline = self.lock().current.next_deadline_since(since);
        if let Some(deadline) = deadline {
            self.set_alarm(inner, deadline);
        }
    }

    /// Sets an alarm, unless an earlier one is set already.
    fn set_alarm(self: &Arc<Self>, inner: &Inner, at: Timestamp) {
        {
            let mut desk = self.lock();
            if desk.is_removed || desk.alarm_at.is_some_and(|alarm_at| alarm_at <= at) {
                return;
            }
            desk.alarm_at = Some(at);
        }
        let micros = at.as_micros().saturating_sub(inner.clock.now().as_micros());
        let at = Instant::now() + Duration::from_micros(micros);
        inner
            .timekeeper
            .set(at, Alarm::Deadline(Arc::downgrade(self)));
    }

    /// An alarm fired: the job is looked at when its deadline has come; reports may have moved it.
    pub(super) fn on_deadline(self: &Arc<Self>, inner: &Arc<Inner>) {
        let since = inner.reachable_since();
        let is_due = {
            let mut desk = self.lock();
            desk.alarm_at = None;
            let deadline = desk.current.next_deadline_since(since);
            desk.is_doubtful || deadline.is_some_and(|deadline| deadline <= inner.clock.now())
        };
        if is_due {
            // What comes of it is shown; nobody waits for the answer.
            self.enqueue_unasked(inner, Errand::Apply(Command::Tick { since }));
        } else {
            self.watch_the_clock(inner);
        }
    }
}
