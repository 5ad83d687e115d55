//! One job on this node: a queue of requests, one writer, and the hub that shows the outcome.
//!
//! Requests wait in a queue. Whoever finds no writer at work becomes it: it takes what waits,
//! applies the rules to all of it, commits once, shows the outcome, answers, and goes on until
//! the queue is empty. So a job has at most one commit in flight, what arrives meanwhile folds
//! into the next, no lock is held across a commit, and nothing is shown or answered before it
//! is committed: not even a refusal, which might rest on a change that fails.

mod batch;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Inner, RegistryError,
    timekeeper::{Alarm, remind},
};
use crate::{
    frame::Ending,
    hub::{Hub, Snapshot},
    job::{Answer, Command, Job, JobId, Ledger, ReportId, Seq, Timestamp},
    store::{Committed, Input, KeptEvents, Rows, StoreError, Stored},
};
use batch::Batch;

/// How many requests one commit takes; more wait for the next, so that answers do not starve.
const MOST_REQUESTS: usize = 256;

/// How often a batch is applied anew because another node was quicker, before it is given up.
const MOST_CONFLICTS: usize = 16;

/// One job on this node.
pub(super) struct Slot {
    job_id: JobId,
    hub: Hub,
    // A plain lock over the queue: sections are short and never await.
    writer: Mutex<Writer>,
    /// Cancelled when a runner should stop; made when somebody first asks.
    stop: OnceLock<CancellationToken>,
}

struct Writer {
    queue: VecDeque<Request>,
    /// Whether somebody is at work on the queue.
    is_busy: bool,
    /// The job as last committed, with the signs of life since then, which need no commit.
    current: Arc<Job>,
    ledger: Ledger,
    /// The earliest alarm that is set for the job's deadlines.
    alarm_at: Option<Timestamp>,
    is_removed: bool,
}

/// Something that waits for the writer.
struct Request {
    task: Task,
    at: Timestamp,
    report_id: Option<ReportId>,
    reply: oneshot::Sender<Result<Answer, RegistryError>>,
}

enum Task {
    Apply(Command),
    Remove { gone_until: Timestamp },
}

/// A job that was found: everything one can do with it. Cheap to clone.
///
/// It stays with the job that was found: when that is removed and another takes its name,
/// the handle answers [`RegistryError::Gone`].
#[derive(Clone)]
pub struct JobHandle {
    pub(super) slot: Arc<Slot>,
    pub(super) inner: Arc<Inner>,
}

/// An answer that is under way. Dropping it does not take the request back.
#[derive(Debug)]
pub struct Submission(oneshot::Receiver<Result<Answer, RegistryError>>);

impl JobHandle {
    pub(super) fn new(slot: Arc<Slot>, inner: Arc<Inner>) -> Self {
        Self { slot, inner }
    }

    /// The job's name.
    pub fn id(&self) -> &JobId {
        &self.slot.job_id
    }

    /// The job as it is shown.
    pub fn job(&self) -> Arc<Job> {
        self.slot.hub.job()
    }

    /// The job as it is shown, with its JSON.
    pub fn snapshot(&self) -> Snapshot {
        self.slot.hub.snapshot()
    }

    /// How many watch the job on this node.
    pub fn watchers(&self) -> usize {
        self.slot.hub.watchers()
    }

    /// Queues a command; its place among the job's commands is fixed when this returns.
    pub fn submit(&self, command: Command, report_id: Option<ReportId>) -> Submission {
        self.enqueue(Task::Apply(command), report_id)
    }

    /// Applies a command and waits until it is committed.
    pub async fn apply(
        &self,
        command: Command,
        report_id: Option<ReportId>,
    ) -> Result<Answer, RegistryError> {
        self.submit(command, report_id).await
    }

    /// Removes the job; its streams end.
    pub async fn remove(&self) -> Result<(), RegistryError> {
        let gone_until = self
            .inner
            .clock
            .now()
            .plus_seconds(self.inner.settings.gone_seconds);
        self.enqueue(Task::Remove { gone_until }, None)
            .await
            .map(drop)
    }

    /// Result rows from index `from` on, at most `limit`.
    pub async fn rows(&self, from: u64, limit: usize) -> Result<Rows, StoreError> {
        self.inner.store.rows(self.id(), from, limit).await
    }

    /// What the job's runner reads.
    pub async fn input(&self) -> Result<Option<Input>, StoreError> {
        self.inner.store.input(self.id()).await
    }

    /// Kept events above `after`.
    pub(super) async fn events_after(&self, after: Seq) -> Result<KeptEvents, StoreError> {
        self.inner.store.events_after(self.id(), after).await
    }

    /// Cancelled once the job has ended, was removed, or somebody asked for its cancellation.
    pub fn stop_signal(&self) -> CancellationToken {
        let signal = self.slot.stop.get_or_init(CancellationToken::new).clone();
        // The job may have ended before the token existed.
        self.slot.signal_stop();
        signal
    }

    fn enqueue(&self, task: Task, report_id: Option<ReportId>) -> Submission {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            task,
            at: self.inner.clock.now(),
            report_id,
            reply,
        };
        let is_writer_needed = {
            let mut writer = self.slot.lock();
            writer.queue.push_back(request);
            !std::mem::replace(&mut writer.is_busy, true)
        };
        if is_writer_needed {
            run_writer(Arc::clone(&self.slot), Arc::clone(&self.inner));
        }
        Submission(answer)
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("JobHandle")
            .field(&self.slot.job_id)
            .finish()
    }
}

impl Future for Submission {
    type Output = Result<Answer, RegistryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| {
            let lost = StoreError::Unavailable("the writer ended before it answered".to_owned());
            received.unwrap_or(Err(RegistryError::Store(lost)))
        })
    }
}

/// Works the queue off. A store that answers at once is served on the spot; otherwise a task
/// of its own goes on, so that a client that leaves takes no commit with it.
fn run_writer(slot: Arc<Slot>, inner: Arc<Inner>) {
    let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work_off(slot, inner));
    let mut context = Context::from_waker(std::task::Waker::noop());
    if work.as_mut().poll(&mut context).is_pending() {
        tokio::spawn(work);
    }
}

async fn work_off(slot: Arc<Slot>, inner: Arc<Inner>) {
    // Should a commit panic, the next request finds the place of the writer free.
    struct Busy<'slot>(&'slot Slot);
    impl Drop for Busy<'_> {
        fn drop(&mut self) {
            self.0.lock().is_busy = false;
        }
    }
    loop {
        let busy = Busy(&slot);
        while let Some(requests) = slot.take_requests() {
            slot.serve(&inner, requests).await;
        }
        // Whether the queue is empty and whether a writer is at work change together, else a
        // request that arrives in between would wait for ever.
        std::mem::forget(busy);
        let mut writer = slot.lock();
        if writer.queue.is_empty() {
            writer.is_busy = false;
            return;
        }
    }
}

impl Slot {
    pub(super) fn new(hub: Hub, stored: Stored) -> Self {
        Self {
            job_id: stored.job.id().clone(),
            hub,
            writer: Mutex::new(Writer {
                queue: VecDeque::new(),
                is_busy: false,
                current: stored.job,
                ledger: stored.ledger,
                alarm_at: None,
                is_removed: false,
            }),
            stop: OnceLock::new(),
        }
    }

    pub(super) fn job_id(&self) -> &JobId {
        &self.job_id
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn job(&self) -> Arc<Job> {
        self.hub.job()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer
            .lock()
            .expect("no section under a writer's lock panics")
    }

    /// Up to [`MOST_REQUESTS`] commands, or one removal.
    fn take_requests(&self) -> Option<Vec<Request>> {
        let mut writer = self.lock();
        let is_command = |request: &Request| matches!(request.task, Task::Apply(_));
        let commands = writer
            .queue
            .iter()
            .take(MOST_REQUESTS)
            .take_while(|next| is_command(next))
            .count();
        let taken = commands.max(1).min(writer.queue.len());
        (taken > 0).then(|| writer.queue.drain(..taken).collect())
    }

    async fn serve(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        if self.lock().is_removed {
            answer_all(requests, &RegistryError::Gone);
        } else if let [
            Request {
                task: Task::Remove { gone_until },
                ..
            },
        ] = &requests[..]
        {
            let gone_until = *gone_until;
            match inner.store.remove(&self.job_id, gone_until).await {
                Ok(()) => {
                    let job = Arc::clone(&self.lock().current);
                    self.forget(inner);
                    for request in requests {
                        let _ = request.reply.send(Ok(answer_of(&job)));
                    }
                }
                Err(error) => answer_all(requests, &error.into()),
            }
        } else {
            self.apply(inner, requests).await;
        }
    }

    async fn apply(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        for _ in 0..MOST_CONFLICTS {
            let batch = {
                let writer = self.lock();
                Batch::step(
                    &writer.current,
                    &writer.ledger,
                    &requests,
                    &inner.settings.bounds,
                )
            };
            if !batch.needs_commit() {
                self.keep(inner, Arc::new(batch.job.clone()));
                return batch.answer(requests);
            }
            match inner.store.commit(batch.commit()).await {
                Ok(Committed::Done { prev, first }) => {
                    return self.show(inner, batch, requests, prev, first);
                }
                Ok(Committed::Conflict(stored)) => {
                    if let Err(error) = self.adopt(inner, *stored).await {
                        return answer_all(requests, &error.into());
                    }
                }
                Ok(Committed::Missing) => {
                    self.forget(inner);
                    return answer_all(requests, &RegistryError::Gone);
                }
                Err(error) => return answer_all(requests, &error.into()),
            }
        }
        let error = StoreError::Unavailable("other nodes change the job too often".to_owned());
        answer_all(requests, &error.into());
    }

    /// Shows a committed batch, then answers it.
    fn show(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        mut batch: Batch,
        requests: Vec<Request>,
        prev: Seq,
        first: Seq,
    ) {
        batch.settle(prev, first);
        let job = Arc::new(batch.job.clone());
        let events = batch.committed_events(prev, first);
        {
            let mut writer = self.lock();
            for (report_id, answer) in batch.remembered() {
                writer.ledger.remember(report_id, answer, batch.now);
            }
        }
        if job.seq > prev {
            let reminder =
                self.hub
                    .publish(Arc::clone(&job), &events, batch.is_status, Instant::now());
            remind(inner, self, reminder);
        }
        self.keep(inner, job);
        batch.answer(requests);
    }

    /// Takes over a state that was committed elsewhere.
    pub(super) async fn adopt(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        stored: Stored,
    ) -> Result<(), StoreError> {
        let before = self.job().seq;
        if stored.job.seq <= before {
            return Ok(());
        }
        let kept = inner.store.events_after(&self.job_id, before).await?;
        let events: Vec<_> = kept
            .events
            .into_iter()
            .filter(|event| event.seq <= stored.job.seq)
            .collect();
        let job = stored.job;
        self.lock().ledger = stored.ledger;
        let reminder = self
            .hub
            .publish(Arc::clone(&job), &events, true, Instant::now());
        remind(inner, self, reminder);
        self.keep(inner, job);
        Ok(())
    }

    /// Makes `job` the state that the next batch works on.
    fn keep(self: &Arc<Self>, inner: &Arc<Inner>, job: Arc<Job>) {
        let is_finished = job.is_finished();
        self.lock().current = job;
        self.signal_stop();
        if is_finished {
            inner.let_go(self);
        } else {
            self.watch_the_clock(inner);
        }
    }

    /// The job is no more: its streams end, and every later request is told so.
    fn forget(self: &Arc<Self>, inner: &Arc<Inner>) {
        self.lock().is_removed = true;
        inner.let_go(self);
        self.hub.end(Ending::Removed);
        self.signal_stop();
    }

    fn signal_stop(&self) {
        let Some(signal) = self.stop.get() else {
            return;
        };
        let must_stop = {
            let writer = self.lock();
            let job = &writer.current;
            writer.is_removed || job.is_finished() || job.face.cancel_requested
        };
        if must_stop {
            signal.cancel();
        }
    }

    /// Sets an alarm for the job's next deadline, unless an earlier one is set already.
    pub(super) fn watch_the_clock(self: &Arc<Self>, inner: &Arc<Inner>) {
        let mut writer = self.lock();
        let Some(deadline) = writer.current.next_deadline() else {
            return;
        };
        if writer.alarm_at.is_some_and(|alarm_at| alarm_at <= deadline) {
            return;
        }
        writer.alarm_at = Some(deadline);
        drop(writer);
        let micros = deadline
            .as_micros()
            .saturating_sub(inner.clock.now().as_micros());
        let at = Instant::now() + Duration::from_micros(micros);
        let alarm = Alarm::Deadline(Arc::downgrade(self), Arc::downgrade(inner));
        inner.timekeeper.set(at, alarm);
    }

    /// An alarm fired: the job is looked at when its deadline has come; reports may have moved it.
    pub(super) fn on_deadline(slot: Arc<Self>, inner: &Arc<Inner>) {
        let is_due = {
            let mut writer = slot.lock();
            writer.alarm_at = None;
            let deadline = writer.current.next_deadline();
            deadline.is_some_and(|deadline| deadline <= inner.clock.now())
        };
        if is_due {
            let handle = JobHandle::new(slot, Arc::clone(inner));
            drop(handle.submit(Command::Tick, None));
        } else {
            slot.watch_the_clock(inner);
        }
    }
}

fn answer_all(requests: Vec<Request>, error: &RegistryError) {
    for request in requests {
        let _ = request.reply.send(Err(error.clone()));
    }
}

fn answer_of(job: &Job) -> Answer {
    Answer {
        job_id: job.id().clone(),
        status: job.face.state,
        seq: job.seq,
        cancel_requested: job.face.cancel_requested,
    }
}
