//! Fan-out of one job: a change is encoded once, and all watchers share the block.
//!
//! A hub holds the job as it is *shown*, which moves only after a commit and only forward, and
//! the frames that watchers have still to read. It knows nothing of HTTP or of how a frame gets
//! to a watcher: whoever holds a [`Subscription`] is woken through a plain [`std::task::Waker`].

mod channel;
mod lens;
mod pace;
mod ring;
mod sync;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    frame::{Ending, Frame, FrameKind, event_block, status_block, terminal_block},
    job::{Event, Job, Seq, Status},
    view::View,
};
use channel::{Channel, Got, Reader};
use lens::{Edition, Lenses, frame};
use pace::{Pace, Urgency, Verdict};

/// How many bytes of waiting frames a watcher takes at once, to go out in one write.
const GATHER_BYTES: usize = 64 * 1024;

/// The fan-out of one job. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    channel: Arc<Channel<Shown, Edition>>,
}

/// The job as a watcher joins it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The state at the moment of joining.
    pub job: Arc<Job>,
    /// The same as JSON, shared with everybody who asks at this seq.
    pub json: Bytes,
    /// What a status block says of it, for whoever joins through a view that has such blocks.
    pub data: Option<Bytes>,
    /// Set when no frames follow.
    pub ending: Option<Ending>,
}

/// A watcher's place at a hub; leaves when dropped.
pub struct Subscription {
    // Dropped before the reader: while it is counted in and the reader is not, native watchers would pass for none.
    look: Option<Look>,
    reader: Reader<Shown, Edition>,
}

/// Somebody's use of a view at a hub; counted out when dropped.
struct Look {
    view: Arc<View>,
    channel: Arc<Channel<Shown, Edition>>,
}

/// A poll that has to wait for its answer.
#[derive(Debug)]
pub struct Waiting {
    /// Brings what is newer.
    pub live: Subscription,
    /// When the pace allows what is there already; `None` when there is nothing newer yet.
    pub due: Option<Instant>,
}

/// What a watcher got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Frames, appended to the watcher's buffer. When they are all, it is woken by the next.
    Frames {
        /// Whether nothing was left.
        is_all: bool,
    },
    /// Word that it fell behind: it must take [`Subscription::rejoin`]'s snapshot.
    Lagged,
}

/// What publishing leaves to be done.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reminder(pub Option<Instant>);

/// What is true of the job for everybody outside the writer; guarded by the channel's lock.
struct Shown {
    job: Arc<Job>,
    /// The status as JSON, made when first asked for.
    json: Option<Bytes>,
    pace: Pace,
    /// The last id that went out, so that ids strictly increase.
    last_id: Seq,
    /// The newest change that does not wait: of state or flags, or an event.
    hurried: Seq,
    lenses: Lenses,
    ending: Option<Ending>,
}

impl Shown {
    fn json(&mut self) -> Bytes {
        let job = &self.job;
        self.json
            .get_or_insert_with(|| Bytes::from(Status(job).to_json()))
            .clone()
    }

    fn snapshot(&mut self, view: Option<&Arc<View>>) -> Snapshot {
        let json = self.json();
        let data = view.and_then(|view| self.lenses.data(view, &self.job, as_text(&json)));
        Snapshot {
            job: Arc::clone(&self.job),
            json,
            data,
            ending: self.ending,
        }
    }

    fn show(&mut self, job: Arc<Job>) {
        self.job = job;
        self.json = None;
        self.lenses.forget_data();
    }

    /// An event as a frame; `is_native` when somebody reads it without a view.
    fn event_frame(&mut self, event: &Event, is_native: bool, now: Instant) -> Edition {
        self.last_id = self.last_id.max(event.seq);
        let mut native = frame(event.seq, FrameKind::Event, now);
        if is_native {
            native.bytes = event_block(event).into();
        }
        self.lenses.event(native, event)
    }

    /// The newest status as a frame. One that an event has overtaken carries no id.
    fn status_frame(&mut self, is_native: bool, now: Instant) -> Edition {
        let seq = self.job.seq;
        let id = (seq > self.last_id).then_some(seq);
        self.last_id = self.last_id.max(seq);
        let json = self.json();
        let mut native = frame(seq, FrameKind::Status, now);
        if is_native {
            native.bytes = status_block(as_text(&json), None, id).into();
        }
        self.lenses.status(native, &self.job, as_text(&json))
    }

    fn terminal_frame(&mut self, is_native: bool, now: Instant) -> Edition {
        let json = self.json();
        let mut native = frame(self.job.seq, FrameKind::Terminal, now);
        if is_native {
            native.bytes = last_block(&self.job, as_text(&json)).into();
        }
        self.lenses.terminal(native, &self.job, as_text(&json))
    }
}

/// Pushes a frame that somebody gets a block of. To leave others out costs them nothing: they say nothing to anybody.
fn push_if_told(edition: Edition, push: &mut dyn FnMut(Edition)) {
    if edition.says_anything() {
        push(edition);
    }
}

/// The block or blocks that end a finished job's stream.
pub fn last_block(job: &Job, json: &str) -> String {
    terminal_block(json, job.failure(), job.seq)
}

/// A status's JSON as text.
pub fn as_text(json: &Bytes) -> &str {
    std::str::from_utf8(json).expect("JSON is written as UTF-8")
}

impl Hub {
    /// The hub of a job as it is now; `interval` paces its statuses.
    pub fn new(job: Arc<Job>, interval: Duration) -> Self {
        let shown = Shown {
            last_id: Seq::ZERO,
            hurried: Seq::ZERO,
            json: None,
            pace: Pace::new(interval),
            lenses: Lenses::default(),
            ending: None,
            job,
        };
        Self {
            channel: Arc::new(Channel::new(shown)),
        }
    }

    /// The job as it is shown.
    pub fn job(&self) -> Arc<Job> {
        self.channel.with(|shown, _| Arc::clone(&shown.job))
    }

    /// The job as it is shown, with its JSON.
    pub fn snapshot(&self) -> Snapshot {
        self.channel.with(|shown, _| shown.snapshot(None))
    }

    /// How many watch here.
    pub fn watchers(&self) -> usize {
        self.channel.with(|_, watchers| watchers)
    }

    /// Shows a committed change. Only the job's one writer calls this, in the order of commits.
    ///
    /// `is_status` says whether the status itself changed. The reminder names the moment at
    /// which [`Hub::flush`] has to be called, if any.
    pub fn publish(
        &self,
        job: Arc<Job>,
        events: &[Event],
        is_status: bool,
        now: Instant,
    ) -> Reminder {
        self.channel.publish(|shown, watchers, push| {
            let urgency = Urgency::between(&shown.job.face, &job.face);
            shown.show(job);
            if urgency == Urgency::Immediate || !events.is_empty() {
                shown.hurried = shown.job.seq;
            }
            if watchers == 0 {
                // Nobody watches: nothing is encoded and nothing waits.
                shown.pace.clear();
                return Reminder(None);
            }
            let is_native = watchers > shown.lenses.readers();
            for event in events {
                push_if_told(shown.event_frame(event, is_native, now), push);
            }
            if shown.job.is_finished() {
                shown.pace.clear();
                push(shown.terminal_frame(is_native, now));
                return Reminder(None);
            }
            let verdict = if is_status {
                shown.pace.offer(urgency, now)
            } else {
                Verdict::Waiting
            };
            match verdict {
                Verdict::Send => {
                    push_if_told(shown.status_frame(is_native, now), push);
                    Reminder(None)
                }
                Verdict::WaitUntil(due) => Reminder(Some(due)),
                Verdict::Waiting => Reminder(None),
            }
        })
    }

    /// Shows a state whose way there is not known whole: every watcher is told that it fell
    /// behind, and finds out for itself what it has missed. For the job's one writer.
    pub fn publish_gap(&self, job: Arc<Job>) {
        self.channel.publish_gap(|shown| {
            shown.show(job);
            shown.hurried = shown.job.seq;
            shown.pace.clear();
        });
    }

    /// Sends the status that waited for its time, if there is one that is due.
    pub fn flush(&self, now: Instant) {
        self.channel.publish(|shown, watchers, push| {
            if watchers == 0 {
                shown.pace.clear();
            } else if !shown.job.is_finished() && shown.pace.take_due(now) {
                let is_native = watchers > shown.lenses.readers();
                push_if_told(shown.status_frame(is_native, now), push);
            }
        });
    }

    /// Ends every stream here, and each that joins from now on.
    pub fn end(&self, ending: Ending) {
        self.channel.publish(|shown, _, push| {
            if shown.ending.is_none() {
                shown.ending = Some(ending);
                let kind = FrameKind::Ending(ending);
                push(Edition::native(frame(shown.job.seq, kind, Instant::now())));
            }
        });
    }

    /// Joins: the present state, and a subscription to exactly what comes after it.
    pub fn join(&self) -> (Snapshot, Subscription) {
        self.join_through(None)
    }

    /// The same for whoever looks through a view.
    pub fn join_through(&self, view: Option<&Arc<View>>) -> (Snapshot, Subscription) {
        let (snapshot, reader) = self.channel.join(|shown| {
            if let Some(view) = view {
                shown.lenses.join(view);
            }
            shown.snapshot(view)
        });
        let look = view.map(|view| Look {
            view: Arc::clone(view),
            channel: Arc::clone(&self.channel),
        });
        (snapshot, Subscription { reader, look })
    }

    /// Joins for one answer newer than `after`, at the stream's pace.
    ///
    /// Without a [`Waiting`] the snapshot is the answer. Otherwise it will be [`Hub::snapshot`], as
    /// soon as something newer has come through the subscription or the moment has come.
    pub fn join_poll(&self, after: Seq, now: Instant) -> (Snapshot, Option<Waiting>) {
        let ((snapshot, wait), reader) = self.channel.join(|shown| {
            let is_over = shown.job.is_finished() || shown.ending.is_some();
            let wait = if is_over || shown.hurried > after {
                None
            } else if shown.job.seq > after {
                shown.pace.offer_poll(now).map(Some)
            } else {
                Some(None)
            };
            (shown.snapshot(None), wait)
        });
        let waiting = wait.map(|due| Waiting {
            live: Subscription { reader, look: None },
            due,
        });
        (snapshot, waiting)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("job", &self.job().id())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Appends waiting frames to `frames`; arranges for the context to be woken when none is left behind them.
    /// Cancel-safe.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        frames: &mut impl Extend<Frame>,
    ) -> Poll<Received> {
        self.reader
            .poll_read(context, GATHER_BYTES, |edition| {
                frames.extend([edition.seen_through(self.view())]);
            })
            .map(|got| match got {
                Got::Frames { is_all } => Received::Frames { is_all },
                Got::Lagged => Received::Lagged,
            })
    }

    /// The view that it looks through.
    fn view(&self) -> Option<&Arc<View>> {
        self.look.as_ref().map(|look| &look.view)
    }

    /// The present state once more; what follows is exactly what comes after it.
    pub fn rejoin(&self) -> Snapshot {
        let view = self.view();
        self.reader.rejoin(|shown| shown.snapshot(view))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.channel.with(|shown, _| shown.lenses.leave(&self.view));
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscription")
            .finish_non_exhaustive()
    }
}
