//! Many jobs on one connection: first every status, then `synced`, then whatever changes.
//!
//! Why nothing is lost. Word of new jobs is listened for before the jobs are listed, and each job is
//! joined as a single stream joins it, so that what is not in the snapshot comes later. Ids tell a
//! time: a client that comes back with one gets every kept event since then, and some time before it.
//! So an id must not be sent while something older waits: blocks of one piece are sorted by seq, while
//! anything is behind blocks go out without ids, and so does a snapshot for a client that comes back,
//! whose missed events stand job by job; the id of `synced` ends it.

mod block;
mod joining;
mod members;
mod selection;
mod shown;
mod start;

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    StreamEnd, StreamOptions, StreamSettings, jittered_retry_ms,
    upkeep::{Due, Upkeep},
};
use crate::{
    job::JobId,
    metrics::{OpenStream, StreamReason},
    registry::{LifecycleEvent, LifecycleEvents, Registry, RegistryError, Since},
};
use joining::{Joined, Joining, attach, join};
use members::Happening;
use shown::{Piece, Shown};
use start::{Jobs, gone_of, list};

pub use selection::{Named, Selection, Selector};
pub use start::MultiStart;

/// How long a store that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The stream of many jobs to one watcher. Dropping it ends all subscriptions.
pub struct MultiStream {
    registry: Registry,
    settings: StreamSettings,
    open: OpenStream,
    upkeep: Upkeep,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    lifecycle: LifecycleEvents,
    joining: Joining,
    /// Under way since jobs may have come or gone without word.
    listing: Option<BoxFuture<'static, Result<Jobs, RegistryError>>>,
    /// Jobs that could not be joined, for want of the store's answer.
    failed: Vec<JobId>,
    /// Whether the list could not be read, for the same want.
    must_list: bool,
    /// When the store is asked again.
    pause: Option<Pin<Box<Sleep>>>,
    shown: Shown,
    phase: Phase,
    ready: Option<Piece>,
    /// For the first block.
    retry_ms: Option<u64>,
    since: Option<Since>,
    /// Whether everything was read when the stream was last asked: what comes then comes to a
    /// watcher that keeps up.
    is_waiting: bool,
}

enum Phase {
    /// The jobs that there were at the beginning are being shown.
    Snapshot(BoxStream<'static, Joined>),
    Live,
    /// What is ready is the last, and this is why.
    Over(StreamReason),
}

impl MultiStream {
    /// The stream that `start` begins.
    pub fn new(
        start: MultiStart,
        settings: StreamSettings,
        options: StreamOptions,
        open: OpenStream,
    ) -> Self {
        let MultiStart {
            registry,
            selector,
            refused,
            joining,
            lifecycle,
            began_at,
            since,
        } = start;
        let clock = registry.clone();
        Self {
            draining: Box::pin(registry.draining().clone().cancelled_owned()),
            registry,
            settings,
            open,
            upkeep: Upkeep::new(&settings, options),
            lifecycle,
            joining: Joining::default(),
            listing: None,
            failed: Vec::new(),
            must_list: false,
            pause: None,
            shown: Shown::new(selector, refused, began_at, clock),
            phase: Phase::Snapshot(joining),
            ready: None,
            retry_ms: Some(jittered_retry_ms(settings.retry)),
            since,
            is_waiting: false,
        }
    }

    /// The next piece of the stream; `None` at its end. Cancel-safe.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.take() {
                let now = Instant::now();
                self.upkeep.written(now);
                let made_at = piece.made_at;
                self.open.delivered(piece.blocks, made_at, now.into_std());
                if let Phase::Over(reason) = self.phase {
                    self.open.ends_by(reason);
                }
                return Poll::Ready(Some(piece.bytes));
            }
            if matches!(self.phase, Phase::Over(_)) {
                return Poll::Ready(None);
            }
            if let Some(reason) = self.upkeep.end(context) {
                self.end(reason);
                continue;
            }
            let has_happened = match self.phase {
                Phase::Snapshot(_) => self.poll_snapshot(context),
                _ => self.poll_live(context),
            };
            if has_happened {
                continue;
            }
            // After what has happened: a job that has just ended is told.
            if self.draining.as_mut().poll(context).is_ready() {
                self.end(StreamEnd::Draining);
                continue;
            }
            match ready!(self.upkeep.poll_timer(context)) {
                Due::Heartbeat(bytes) => {
                    self.ready = Some(Piece {
                        bytes,
                        blocks: 0,
                        made_at: None,
                    });
                }
                Due::End(reason) => self.end(reason),
            }
        }
    }

    /// Shows jobs as they are joined, until a piece is full or there are no more. Says whether
    /// anything happened.
    fn poll_snapshot(&mut self, context: &mut Context<'_>) -> bool {
        // What was missed stands job by job, and not in the order of time: it moves no cursor.
        let may_have_ids = self.since.is_none();
        while let Phase::Snapshot(joining) = &mut self.phase
            && !self.shown.is_full()
        {
            match joining.poll_next_unpin(context) {
                Poll::Ready(Some(Joined::Failed(job_id, error))) => {
                    tracing::error!(job.id = %job_id, %error, "a stream of many jobs ended since the store did not answer");
                    self.end(StreamEnd::Internal);
                    return true;
                }
                Poll::Ready(Some(joined)) => self.shown.show(joined, may_have_ids),
                Poll::Ready(None) => {
                    self.phase = Phase::Live;
                    self.shown.end_snapshot();
                }
                Poll::Pending => break,
            }
        }
        self.write(true)
    }

    /// Takes what has happened. Says whether anything has.
    fn poll_live(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_happened = false;
        while !self.joining.is_full()
            && let Poll::Ready(event) = self.lifecycle.poll_next(context)
        {
            has_happened = true;
            self.on_lifecycle(event);
        }
        if let Some(listing) = &mut self.listing
            && let Poll::Ready(listed) = listing.poll_unpin(context)
        {
            has_happened = true;
            self.listing = None;
            self.on_listed(listed);
        }
        while let Poll::Ready(joined) = self.joining.poll_next(context) {
            has_happened = true;
            match joined {
                Joined::Failed(job_id, _) => {
                    self.failed.push(job_id);
                    self.pause();
                }
                joined => self.shown.show(joined, true),
            }
        }
        if let Some(pause) = &mut self.pause
            && pause.as_mut().poll(context).is_ready()
        {
            has_happened = true;
            self.pause = None;
            self.ask_again();
        }
        let keeps_up = std::mem::take(&mut self.is_waiting);
        while !self.shown.is_full() {
            match self.shown.members.poll_next(context) {
                Poll::Ready(Happening::Left(job_id)) => self.shown.remove(&job_id),
                Poll::Ready(Happening::News(news)) => {
                    if news.has_lagged {
                        self.open.lagged();
                    }
                    self.shown.take(news, keeps_up);
                }
                Poll::Pending => {
                    self.is_waiting = !has_happened;
                    break;
                }
            }
            has_happened = true;
        }
        for (job, seen) in self.shown.lagging() {
            self.joining.add(attach(job, Some(seen.into())));
        }
        self.shown.sort();
        // Nothing older may wait than what moves the cursor.
        let waits = self.listing.is_some() || self.must_list || !self.failed.is_empty();
        self.write(!waits && self.shown.is_level());
        has_happened
    }

    fn on_lifecycle(&mut self, event: LifecycleEvent) {
        match event {
            // Those that were named are there from the beginning, or never.
            LifecycleEvent::Entered(_) if self.shown.selector.is_none() => {}
            LifecycleEvent::Entered(job) if self.shown.members.holds(&job) => {}
            LifecycleEvent::Entered(job) if !self.shown.has_room_for(&job) => {}
            // Events came before the word of it.
            LifecycleEvent::Entered(job) => {
                self.join(job.id().clone());
            }
            LifecycleEvent::Removed {
                job_id,
                incarnation,
            } => {
                let member = self.shown.members.get(&job_id);
                if member
                    .is_some_and(|member| incarnation.is_none_or(|it| it == member.incarnation))
                {
                    self.shown.remove(&job_id);
                }
            }
            LifecycleEvent::Missed => self.list(),
        }
    }

    /// Joins a job that is new here, with its events since the stream began.
    fn join(&mut self, job_id: JobId) {
        let since = Some(self.shown.began_at.into());
        self.joining.add(join(self.registry.clone(), job_id, since));
    }

    /// Looks for jobs that came or went without word.
    fn list(&mut self) {
        if self.listing.is_some() {
            // What it reads may be older than this.
            self.must_list = true;
            return self.pause();
        }
        let registry = self.registry.clone();
        self.listing = Some(match self.shown.selector.clone() {
            Some(selector) => async move {
                let found = list(&registry, &selector).await?;
                Ok(Jobs::Matching(found))
            }
            .boxed(),
            None => {
                let finished = self.shown.members.finished();
                async move {
                    let gone = gone_of(&registry, finished).await?;
                    Ok(Jobs::Gone(gone))
                }
                .boxed()
            }
        });
    }

    fn on_listed(&mut self, listed: Result<Jobs, RegistryError>) {
        match listed {
            Ok(Jobs::Gone(gone)) => gone.iter().for_each(|job_id| self.shown.remove(job_id)),
            Ok(Jobs::Matching(jobs)) => {
                self.shown.keep_finished(&jobs);
                for job in jobs {
                    if !self.shown.members.holds(&job) {
                        self.join(job.id().clone());
                    }
                }
            }
            Err(_) => {
                self.must_list = true;
                self.pause();
            }
        }
    }

    fn pause(&mut self) {
        let pause = || Box::pin(tokio::time::sleep(RETRY_PAUSE));
        self.pause.get_or_insert_with(pause);
    }

    /// Asks the store for what it did not answer before.
    fn ask_again(&mut self) {
        for job_id in std::mem::take(&mut self.failed) {
            match self.shown.behind(&job_id) {
                Some((job, seen)) => self.joining.add(attach(job, Some(seen.into()))),
                // It was to come.
                None => self.must_list |= self.shown.selector.is_some(),
            }
        }
        if std::mem::take(&mut self.must_list) {
            self.list();
        }
    }

    /// Makes what waits ready to go out, if anything does.
    fn write(&mut self, may_have_ids: bool) -> bool {
        if self.shown.is_empty() {
            return false;
        }
        let is_last = matches!(self.phase, Phase::Live) && self.shown.is_complete();
        // A stream that is over as it begins says nothing else of coming back.
        let retry_ms = self.retry_ms.take().filter(|_| !is_last);
        self.ready = Some(self.shown.write(retry_ms, may_have_ids, is_last));
        if is_last {
            self.phase = Phase::Over(StreamReason::Finished);
        }
        true
    }

    /// Ends the stream for a reason outside its jobs.
    fn end(&mut self, reason: StreamEnd) {
        self.phase = Phase::Over(reason.into());
        let block = reason.block(&self.settings, None).unwrap_or_default();
        let before = self.shown.write(self.retry_ms.take(), false, false);
        self.ready = Some(Piece {
            bytes: [&before.bytes, block.as_bytes()].concat().into(),
            blocks: before.blocks + 1,
            made_at: before.made_at,
        });
    }
}

impl http_body::Body for MultiStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.poll_next(context)
            .map(|piece| piece.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }

    /// Lets the end of the body leave in one write with the last block.
    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Over(_)) && self.ready.is_none()
    }
}

impl fmt::Debug for MultiStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MultiStream")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}
