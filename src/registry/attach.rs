//! Joining a job: the one place where a watcher, streaming or polling, begins.
//!
//! Why nothing is missed and nothing comes twice. [`Hub::join`](crate::hub::Hub::join)
//! subscribes and reads the state S in one critical section, the one that publishing takes too,
//! so every change is either contained in S or will come through the subscription
//! (`hub/channel.rs` has that proof). What a resuming watcher has missed besides are events
//! with a seq above its cursor and not above S; every such event was committed before S was
//! shown, so a read of the store that begins after the join finds it, unless retention has
//! dropped it, alone or with the job, and then the store's `dropped` is above the cursor and the
//! status says `gap`.
//! Whoever falls behind goes through the same: [`JobHandle::catch_up`] rejoins in one section
//! and reads what lies between the last change it has seen, its cursor now, and the new S.
//! A job that takes the name of a removed one begins above every seq of the old one, so that
//! the events of neither pass for those of the other.
//! Where other nodes change the job too, it is followed first (`sharing.rs` has that proof).
//! Events above S that the same read may find are left to the subscription. A paced status that
//! was waiting at the time of joining tells of no more than S and falls away by its seq.

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{JobHandle, RegistryError};
use crate::{
    frame::{Ending, Frame, FrameKind},
    hub::{Received, Snapshot, Subscription, Waiting},
    job::{Event, Job, Seq},
    store::StoreError,
    view::View,
};

/// How long a watcher that fell behind waits before the store is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Where a resuming watcher says that it stands; parsed once, at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// It says nothing: it is new.
    Absent,
    /// The last id that it has seen; zero means from the start.
    At(Seq),
    /// Something that is no seq.
    Malformed,
}

/// What a watcher begins with.
#[derive(Debug)]
pub struct Attachment {
    /// The job at the moment of joining.
    pub snapshot: Snapshot,
    /// Kept events after the cursor, not above the snapshot's seq, in order.
    pub missed: Vec<Event>,
    /// Whether events after the cursor were dropped.
    pub has_gap: bool,
    /// Whether the watcher has seen a finished job's end already.
    pub is_over: bool,
    /// What comes next; `None` when nothing does.
    pub live: Option<Subscription>,
}

/// From where on a watcher of many jobs has their events: a time, and no place in the history of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Events after this come.
    pub after: Seq,
    /// Up to here it has seen them: those that were dropped leave no gap.
    pub seen: Seq,
}

impl From<Seq> for Since {
    fn from(seen: Seq) -> Self {
        Self { after: seen, seen }
    }
}

impl Cursor {
    /// Reads a cursor as clients send it: the decimal seq of an `id` line. Any other text is malformed.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or(Self::Malformed, Self::At)
    }

    /// Itself when it is a place in the history of a job at `seq`, else its beginning.
    fn or_the_start(self, seq: Seq) -> Self {
        match self {
            Self::At(cursor) if cursor <= seq => self,
            _ => Self::At(Seq::ZERO),
        }
    }

    /// After which seq events are replayed to a watcher of a job at `seq`; `None` replays nothing.
    fn replay_after(self, seq: Seq, is_finished: bool) -> Option<Seq> {
        match self {
            Self::At(cursor) if cursor <= seq => Some(cursor),
            Self::Absent => None,
            // Not a place in this job's history. While there is more to come it means from the
            // start; a finished job has told everything that matters in its last status.
            Self::At(_) | Self::Malformed => (!is_finished).then_some(Seq::ZERO),
        }
    }
}

impl JobHandle {
    /// Joins the job as a watcher that stands at `cursor`.
    pub async fn attach(&self, cursor: Cursor) -> Result<Attachment, RegistryError> {
        self.attach_through(None, cursor).await
    }

    /// The same for one who looks through a view.
    pub async fn attach_through(
        &self,
        view: Option<&Arc<View>>,
        cursor: Cursor,
    ) -> Result<Attachment, RegistryError> {
        let is_over = |job: &Job| job.is_finished() && cursor == Cursor::At(job.seq);
        let replay = |job: &Job| {
            let cursor = match view {
                Some(view) if view.replays_all() => cursor.or_the_start(job.seq),
                _ => cursor,
            };
            let after = cursor.replay_after(job.seq, job.is_finished());
            after.filter(|_| !is_over(job)).map(Since::from)
        };
        let attachment = self.join(view, replay).await?;
        Ok(Attachment {
            is_over: attachment.is_over || is_over(&attachment.snapshot.job),
            ..attachment
        })
    }

    /// Joins the job as a watcher of many that has their events since then.
    pub async fn attach_since(&self, since: Option<Since>) -> Result<Attachment, RegistryError> {
        self.join(None, |job| since.filter(|since| since.after < job.seq))
            .await
    }

    async fn join(
        &self,
        view: Option<&Arc<View>>,
        replay: impl Fn(&Job) -> Option<Since>,
    ) -> Result<Attachment, RegistryError> {
        self.slot.follow(&self.inner).await?;
        let (snapshot, live) = self.slot.hub().join_through(view);
        let job = &snapshot.job;
        let is_finished = job.is_finished();
        let (missed, has_gap) = match replay(job) {
            Some(since) => self.missed_events(since, job.seq).await?,
            None => (Vec::new(), false),
        };
        // Where a view says nothing of the end, a watcher who has all that it says has seen it.
        let is_over = is_finished && view.is_some_and(|view| has_all(view, &missed, job));
        let live = (!is_finished).then_some(live);
        Ok(Attachment {
            snapshot,
            missed,
            has_gap,
            is_over,
            live,
        })
    }

    /// Goes on after falling behind: the watcher has seen everything up to `seen`.
    ///
    /// A store that nodes share is waited for while it does not answer: it comes back, as a rule.
    ///
    /// # Errors
    /// This node's own store does not answer.
    pub async fn catch_up(&self, live: Subscription, seen: Seq) -> Result<Attachment, StoreError> {
        loop {
            let snapshot = live.rejoin();
            let (missed, has_gap) = match self.missed_events(seen.into(), snapshot.job.seq).await {
                Ok(missed) => missed,
                Err(error) if !self.inner.is_shared() => return Err(error),
                Err(error) => {
                    tracing::warn!(job.id = %self.id(), %error, "a watcher waits for the events that it has missed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let live = (!snapshot.job.is_finished()).then_some(live);
            return Ok(Attachment {
                snapshot,
                missed,
                has_gap,
                is_over: false,
                live,
            });
        }
    }

    /// Waits until there is something newer than `after`, at the stream's pace, at most for
    /// `patience`; returns what is there then. A finished job is answered at once.
    pub async fn wait(&self, after: Seq, patience: Duration) -> Result<Snapshot, RegistryError> {
        self.slot.follow(&self.inner).await?;
        let hub = self.slot.hub();
        let now = Instant::now();
        let (snapshot, waiting) = hub.join_poll(after, now);
        let snapshot = match waiting {
            None => snapshot,
            Some(Waiting { live, due }) => {
                let until_due = due.map(|due| due.saturating_duration_since(now));
                let patience = until_due.map_or(patience, |until_due| until_due.min(patience));
                // Whether news came or the time is up: what is there then is the answer.
                let _ = tokio::time::timeout(patience, newer_than(&live, after)).await;
                hub.snapshot()
            }
        };
        match snapshot.ending {
            Some(Ending::Removed) => Err(RegistryError::Gone),
            Some(Ending::Draining) | None => Ok(snapshot),
        }
    }

    async fn missed_events(
        &self,
        since: Since,
        upto: Seq,
    ) -> Result<(Vec<Event>, bool), StoreError> {
        let kept = self.events_after(since.after).await?;
        let missed = kept
            .events
            .into_iter()
            .take_while(|event| event.seq <= upto);
        // What comes after that is still to come.
        let has_gap = kept.dropped.min(upto) > since.seen;
        Ok((missed.collect(), has_gap))
    }
}

/// Whether a view has nothing to say any more of a finished job to somebody who has missed these events.
fn has_all(view: &View, missed: &[Event], job: &Job) -> bool {
    !view.has_last_block(job.face.state) && !missed.iter().any(|event| view.passes(event))
}

async fn newer_than(live: &Subscription, after: Seq) {
    let mut frames = Vec::new();
    poll_fn(|context| {
        loop {
            frames.clear();
            match std::task::ready!(live.poll_receive(context, &mut frames)) {
                Received::Lagged => return Poll::Ready(()),
                Received::Frames { .. } => {
                    let is_news = |frame: &Frame| {
                        frame.seq > after || matches!(frame.kind, FrameKind::Ending(_))
                    };
                    if frames.iter().any(is_news) {
                        return Poll::Ready(());
                    }
                }
            }
        }
    })
    .await;
}
