//! What one watcher of one job reads, from the first block to the end of the body.
//!
//! A [`JobStream`] turns an [`Attachment`] into bytes. Whoever delivers them, hyper or a task of
//! ours, asks for the next piece of its [`Blocks`] and is woken when there is one. There is no task
//! and no JSON per watcher: frames come ready from the job's hub.
//! A [`MultiStream`] does the same for many jobs.

mod blocks;
mod ending;
mod jitter;
mod multi;
mod piece;
mod script;
mod upkeep;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    frame::{Ending, Frame, FrameKind, HEARTBEAT},
    hub::{Received, Subscription, as_text},
    job::Seq,
    metrics::{OpenStream, StreamReason},
    registry::{Attachment, JobHandle},
    store::StoreError,
    view::View,
};

pub use blocks::Blocks;
pub use ending::{StreamEnd, refusal_block, refusal_through};
pub use jitter::jittered_retry_ms;
pub use multi::{MultiStart, MultiStream, Named, Selection, Selector};
pub use piece::Piece;

use script::Script;
use upkeep::{Due, Upkeep};

/// From how many waiting frames on a watcher that was busy writing counts as slow, and older
/// statuses are left out: it could not have read them in time.
const SLOW_FRAMES: usize = 16;

/// How streams are paced and ended; from `[stream]`.
#[derive(Debug, Clone, Copy)]
pub struct StreamSettings {
    /// When clients come back, before jitter.
    pub retry: Duration,
    /// Silence after which a heartbeat is sent, before jitter.
    pub heartbeat: Duration,
    /// The longest life of a stream, before jitter.
    pub max_duration: Duration,
    /// How long before its cursor a stream of many jobs begins to repeat events: what was committed
    /// late, or on a node whose clock is behind, is not lost.
    pub rewind: Duration,
    /// Over how long reconnects are spread when the server shuts down.
    pub drain: Duration,
}

/// What one watcher asked for, and may have.
#[derive(Default)]
pub struct StreamOptions {
    /// The view that it looks through.
    pub view: Option<Arc<View>>,
    /// Heartbeats as named events instead of comments.
    pub has_visible_heartbeat: bool,
    /// When the watcher's token ends.
    pub expires_in: Option<Duration>,
    /// Ready when what let the watcher in is taken back; polled with every piece, so it should be cheap to ask.
    pub revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The stream of one job to one watcher. Dropping it ends the subscription.
pub struct JobStream {
    job: JobHandle,
    open: OpenStream,
    settings: Arc<StreamSettings>,
    view: Option<Arc<View>>,
    upkeep: Upkeep,
    source: Source,
    /// Bytes that are ready to go out.
    ready: Option<Ready>,
    /// Whether everything was read when the stream was last asked: what comes then comes to a
    /// watcher that keeps up.
    is_waiting: bool,
    /// Whether all was read as the stream was last asked, so that the next frame wakes.
    has_read_all: bool,
    /// Changes up to here have been sent, or are contained in what was sent.
    seen: Seq,
    /// The seq of the newest status that was sent. An event that overtakes a status has the same
    /// seq as that status, which then still has to follow.
    status_seen: Seq,
    /// The highest seq that was sent, with or without an id: later ids stay above it.
    last_id: Seq,
}

/// A piece that waits to be asked for.
#[derive(Debug)]
struct Ready {
    piece: Piece,
    /// How many blocks they are; a heartbeat is none.
    blocks: usize,
    /// When the oldest of them was made that came from the hub.
    made_at: Option<Instant>,
}

impl Ready {
    fn heartbeat(bytes: Bytes) -> Self {
        Self {
            piece: bytes.into(),
            blocks: 0,
            made_at: None,
        }
    }
}

/// Where the next bytes come from.
enum Source {
    /// The job's hub.
    Live(Subscription),
    /// The store, after the watcher fell behind.
    CatchingUp(Pin<Box<dyn Future<Output = Result<Attachment, StoreError>> + Send>>),
    /// Nowhere: what is ready is the last, and this is why.
    Over(StreamReason),
}

impl JobStream {
    /// The stream that `attachment` begins.
    pub fn new(
        job: JobHandle,
        attachment: Attachment,
        settings: impl Into<Arc<StreamSettings>>,
        options: StreamOptions,
        open: OpenStream,
    ) -> Self {
        let settings = settings.into();
        let retry_ms = jittered_retry_ms(settings.retry);
        let mut stream = Self {
            job,
            open,
            view: options.view.clone(),
            upkeep: Upkeep::new(&settings, options),
            settings,
            source: Source::Over(StreamReason::Internal),
            ready: None,
            is_waiting: false,
            has_read_all: false,
            seen: Seq::ZERO,
            status_seen: Seq::ZERO,
            last_id: Seq::ZERO,
        };
        stream.begin(attachment, Some(retry_ms));
        stream
    }
}

impl Blocks for JobStream {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.has_read_all = false;
        // The timers' clock, which is the machine's own.
        let now = tokio::time::Instant::now();
        loop {
            if let Some(ready) = self.ready.take() {
                self.upkeep.written(now);
                self.open.delivered(ready.blocks, ready.made_at);
                if let Source::Over(reason) = self.source {
                    self.open.ends_by(reason);
                }
                return Poll::Ready(Some(ready.piece));
            }
            if !self.is_over()
                && let Some(reason) = self.upkeep.end(now, context)
            {
                self.end(reason);
                continue;
            }
            match &mut self.source {
                Source::Over(reason) => {
                    // Not every end has a block in every view.
                    self.open.ends_by(*reason);
                    return Poll::Ready(None);
                }
                Source::CatchingUp(attaching) => {
                    if let Poll::Ready(outcome) = attaching.as_mut().poll(context) {
                        self.caught_up(outcome);
                        continue;
                    }
                }
                Source::Live(live) => {
                    let mut frames = SmallVec::new();
                    match live.poll_receive(context, &mut frames) {
                        Poll::Ready(Received::Frames { is_all }) => {
                            self.has_read_all = is_all;
                            let keeps_up = std::mem::take(&mut self.is_waiting);
                            self.take(frames, keeps_up);
                            continue;
                        }
                        Poll::Ready(Received::Lagged) => {
                            self.is_waiting = false;
                            self.has_read_all = false;
                            self.fall_behind();
                            continue;
                        }
                        Poll::Pending => {
                            self.has_read_all = true;
                            self.is_waiting = true;
                        }
                    }
                }
            }
            match ready!(self.upkeep.poll_timer(context)) {
                Due::Heartbeat(bytes) => self.ready = Some(Ready::heartbeat(bytes)),
                Due::End(reason) => self.end(reason),
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.is_over() && self.ready.is_none()
    }

    fn leave_time_to_caller(&mut self) {
        self.upkeep.leave_time_to_caller();
    }

    fn next_look(&self) -> Instant {
        self.upkeep.next_look().into_std()
    }

    fn rests(&mut self) -> bool {
        let rests =
            self.has_read_all && self.ready.is_none() && matches!(self.source, Source::Live(_));
        self.is_waiting |= rests;
        rests
    }
}

impl JobStream {
    /// Puts what the watcher has missed, and the state, in front of the live frames.
    fn begin(&mut self, attachment: Attachment, retry_ms: Option<u64>) {
        let Attachment {
            snapshot,
            missed,
            has_gap,
            live,
            ..
        } = attachment;
        let seq = snapshot.job.seq;
        let script = Script {
            view: self.view.as_deref(),
            snapshot: &snapshot,
            has_gap,
        };
        let mut out = String::new();
        let is_finished = snapshot.job.is_finished();
        let missed = missed.iter();
        let missed = missed.filter_map(|event| Some((event.seq, script.event_block(event)?)));
        let missed: Vec<(Seq, String)> = missed.collect();
        let mut blocks = missed.len();
        if script.has_status() {
            if !is_finished {
                // The cursor must not pass an event that was not sent.
                let id = (missed.is_empty() && seq > self.last_id).then_some(seq);
                out.push_str(&script.status_block(retry_ms, id));
                self.last_id = self.last_id.max(id.unwrap_or_default());
                blocks += 1;
            }
        } else if retry_ms.is_some() {
            // The stream's beginning: something has to leave with the head, lest a proxy keep that.
            out.push_str(as_text(&HEARTBEAT));
        }
        for (seq, block) in missed {
            out.push_str(&block);
            self.last_id = self.last_id.max(seq);
        }
        if is_finished && let Some(last) = script.last_block() {
            out.push_str(&last);
            blocks += 1;
        }
        self.seen = seq;
        self.status_seen = seq;
        self.source = match (live, snapshot.ending) {
            (Some(live), None) => Source::Live(live),
            (Some(_), Some(ending)) => {
                let end = StreamEnd::from(ending);
                if let Some(block) = end.block(&self.settings, self.view.as_deref()) {
                    out.push_str(&block);
                    blocks += 1;
                }
                Source::Over(end.into())
            }
            (None, _) => Source::Over(StreamReason::Finished),
        };
        self.ready = (!out.is_empty()).then(|| Ready {
            piece: Bytes::from(out).into(),
            blocks,
            made_at: None,
        });
    }

    /// Makes one piece of waiting frames, so that they leave in one write.
    fn take(&mut self, frames: SmallVec<[Frame; 1]>, keeps_up: bool) {
        let is_slow = !keeps_up && frames.len() > SLOW_FRAMES;
        let newest_status = frames
            .iter()
            .rposition(|frame| matches!(frame.kind, FrameKind::Status | FrameKind::Terminal));
        // Of those that are handed over, the first is the oldest.
        let mut made_at = None;
        let mut parts: SmallVec<[Bytes; 1]> = SmallVec::with_capacity(frames.len());
        for (index, frame) in frames.into_iter().enumerate() {
            match frame.kind {
                // Of a status that was waiting when this watcher joined, it has seen as much.
                FrameKind::Status if frame.seq <= self.status_seen => continue,
                FrameKind::Status if is_slow && newest_status != Some(index) => continue,
                FrameKind::Status => {
                    parts.push(frame.bytes);
                    self.status_seen = frame.seq;
                }
                FrameKind::Event => parts.push(frame.bytes),
                FrameKind::Terminal => {
                    parts.push(frame.bytes);
                    self.source = Source::Over(StreamReason::Finished);
                }
                FrameKind::Ending(ending) => {
                    let end = StreamEnd::from(ending);
                    let block = end.block(&self.settings, self.view.as_deref());
                    parts.push(block.unwrap_or_default().into());
                    self.source = Source::Over(end.into());
                }
            }
            self.seen = self.seen.max(frame.seq);
            if parts.last().is_some_and(Bytes::is_empty) {
                // The view has nothing to say of it.
                parts.pop();
            } else {
                made_at.get_or_insert(frame.made_at);
                self.last_id = self.last_id.max(frame.seq);
            }
            if self.is_over() {
                // A job that ends and is removed at once leaves two ends; the first one counts.
                break;
            }
        }
        let blocks = parts.len();
        self.ready = (blocks > 0).then(|| Ready {
            piece: parts.into(),
            blocks,
            made_at,
        });
    }

    fn fall_behind(&mut self) {
        let between = Source::Over(StreamReason::Internal);
        let Source::Live(live) = std::mem::replace(&mut self.source, between) else {
            return;
        };
        self.open.lagged();
        tracing::debug!(job.id = %self.job.id(), "a watcher fell behind and goes on from the present state");
        let (job, seen) = (self.job.clone(), self.seen);
        self.source = Source::CatchingUp(Box::pin(async move { job.catch_up(live, seen).await }));
    }

    fn caught_up(&mut self, outcome: Result<Attachment, StoreError>) {
        match outcome {
            Ok(attachment) => self.begin(attachment, None),
            Err(error) => {
                tracing::error!(job.id = %self.job.id(), %error, "a stream ended since the store did not answer");
                self.end(StreamEnd::Internal);
            }
        }
    }

    /// Whether nothing comes after what is ready.
    fn is_over(&self) -> bool {
        matches!(self.source, Source::Over(_))
    }

    fn end(&mut self, reason: StreamEnd) {
        self.source = Source::Over(reason.into());
        let block = reason.block(&self.settings, self.view.as_deref());
        self.ready = block.map(|block| Ready {
            piece: Bytes::from(block).into(),
            blocks: 1,
            made_at: None,
        });
    }
}

impl From<Ending> for StreamEnd {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Draining => Self::Draining,
            Ending::Removed => Self::Removed,
        }
    }
}

impl From<StreamEnd> for StreamReason {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Timeout => Self::Timeout,
            StreamEnd::Draining => Self::Draining,
            StreamEnd::Internal => Self::Internal,
            StreamEnd::TokenExpired => Self::TokenExpired,
            StreamEnd::Removed => Self::Removed,
        }
    }
}

impl fmt::Debug for JobStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JobStream")
            .field("job", self.job.id())
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
