//! Many jobs on one connection: first every status, then `synced`, then whatever changes.
//!
//! Why nothing is lost. Word of new jobs is listened for before the jobs are listed, and each job is
//! joined as a single stream joins it, so that what is not in the snapshot comes later. Ids tell a
//! time: a client that comes back with one gets every kept event since then, and some time before it.
//! So no id goes beyond anything that is known to wait: a job that is being joined, a job that is behind,
//! a list that is being read, and what the hubs had when they were last marked ([`MultiStream::told`]).
//! While a client that comes back is told what it has missed, job by job, there are none but that of
//! `synced`; while a new one is shown what there is, none is beyond the stream's beginning.

mod block;
mod inquiries;
mod joining;
mod listing;
mod members;
mod outbox;
mod selection;
mod shown;
mod start;

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Blocks, Piece, Ready, StreamEnd, StreamOptions, StreamSettings, jittered_retry_ms,
    upkeep::{Due, Upkeep},
};
use crate::{
    job::{JobId, Seq},
    metrics::{OpenStream, StreamReason},
    registry::{LifecycleEvent, LifecycleEvents, Registry, RegistryError, Since},
};
use inquiries::{Found, Inquiries, Listed};
use joining::Joined;
use members::Happening;
use outbox::Told;
use shown::Shown;

pub use selection::{Named, Selection, Selector};
pub use start::MultiStart;

/// The stream of many jobs to one watcher. Dropping it ends all subscriptions.
pub struct MultiStream {
    registry: Registry,
    settings: Arc<StreamSettings>,
    open: OpenStream,
    upkeep: Upkeep,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    lifecycle: LifecycleEvents,
    inquiries: Inquiries,
    shown: Shown,
    phase: Phase,
    ready: Option<Ready>,
    /// For the first block.
    retry_ms: Option<u64>,
    since: Option<Since>,
    /// Whether everything was read when the stream was last asked: what comes then comes to a
    /// watcher that keeps up.
    is_waiting: bool,
    /// When nothing waited anywhere.
    quiet_at: Seq,
    /// While hubs have more: up to where they were read.
    read_up_to: Option<Seq>,
    /// Whether a mark is on its way through the hubs.
    is_marked: bool,
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
        settings: impl Into<Arc<StreamSettings>>,
        options: StreamOptions,
        open: OpenStream,
    ) -> Self {
        let settings = settings.into();
        let MultiStart {
            registry,
            selector,
            refused,
            joining,
            lifecycle,
            began_at,
            since,
        } = start;
        Self {
            draining: Box::pin(registry.draining().clone().cancelled_owned()),
            shown: Shown::new(selector, refused, began_at, registry.clone()),
            inquiries: Inquiries::new(registry.clone()),
            registry,
            open,
            upkeep: Upkeep::new(&settings, options),
            lifecycle,
            phase: Phase::Snapshot(joining),
            ready: None,
            retry_ms: Some(jittered_retry_ms(settings.retry)),
            settings,
            since,
            is_waiting: false,
            quiet_at: began_at,
            read_up_to: None,
            is_marked: false,
        }
    }
}

impl Blocks for MultiStream {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let now = Instant::now();
        loop {
            if let Some(ready) = self.ready.take() {
                self.upkeep.written(now);
                self.open.delivered(ready.blocks, ready.made_at);
                if let Phase::Over(reason) = self.phase {
                    self.open.ends_by(reason);
                }
                return Poll::Ready(Some(ready.piece));
            }
            if matches!(self.phase, Phase::Over(_)) {
                return Poll::Ready(None);
            }
            if let Some(reason) = self.upkeep.end(now, context) {
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
                Due::Heartbeat(bytes) => self.ready = Some(Ready::heartbeat(bytes)),
                Due::End(reason) => self.end(reason),
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Over(_)) && self.ready.is_none()
    }

    fn leave_time_to_caller(&mut self) {
        self.upkeep.leave_time_to_caller();
    }

    fn next_look(&self) -> std::time::Instant {
        self.upkeep.next_look().into_std()
    }

    /// What wakes it is not one place that could be asked.
    fn rests(&mut self) -> bool {
        false
    }
}

impl MultiStream {
    /// Shows jobs as they are joined, until a piece is full or there are no more. Says whether
    /// anything happened.
    fn poll_snapshot(&mut self, context: &mut Context<'_>) -> bool {
        let may_have_ids = self.since.is_none();
        while let Phase::Snapshot(joining) = &mut self.phase
            && !self.shown.outbox.is_full()
        {
            let error = match joining.poll_next_unpin(context) {
                Poll::Ready(Some(Joined::Failed(_, error))) => RegistryError::from(error),
                Poll::Ready(Some(Joined::Unlisted(error))) => error,
                Poll::Ready(Some(joined)) => {
                    self.shown.show(joined, may_have_ids);
                    continue;
                }
                Poll::Ready(None) => {
                    self.phase = Phase::Live;
                    self.shown.end_snapshot();
                    continue;
                }
                Poll::Pending => break,
            };
            tracing::error!(%error, "a stream of many jobs ended since the store did not answer");
            self.end(StreamEnd::Internal);
            return true;
        }
        self.write(Told::UpTo(self.shown.began_at))
    }

    /// Takes what has happened. Says whether anything has.
    fn poll_live(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_happened = false;
        while !self.inquiries.is_full()
            && let Poll::Ready(event) = self.lifecycle.poll_next(context)
        {
            has_happened = true;
            self.on_lifecycle(event, context);
        }
        while let Poll::Ready(found) = self.inquiries.poll_next(context) {
            has_happened = true;
            match found {
                Found::Joined(joined) => self.shown.show(joined, true),
                Found::Listed(listed) => self.on_listed(listed, context),
                Found::Nothing { job_ids, must_list } => self.ask_again(job_ids, must_list),
            }
        }
        has_happened |= self.poll_hubs(context, has_happened);
        for (job, seen) in self.shown.lagging() {
            self.inquiries.catch_up(job, seen);
        }
        self.shown.outbox.sort();
        let told = self.told();
        self.write(told);
        has_happened
    }

    /// Reads what hubs have until there is no more, or a piece is full. Says whether there was anything.
    fn poll_hubs(&mut self, context: &mut Context<'_>, has_happened: bool) -> bool {
        let keeps_up = std::mem::take(&mut self.is_waiting);
        let mut has_read = false;
        while !self.shown.outbox.is_full() {
            match self.shown.members.poll_next(context) {
                Poll::Ready(Happening::Left(job_id)) => self.shown.remove(&job_id),
                Poll::Ready(Happening::Marked(at)) => {
                    self.is_marked = false;
                    self.read_up_to = Some(at);
                }
                Poll::Ready(Happening::News(news)) => {
                    // Until a mark comes through, no more is known to be read than when it was quiet.
                    self.read_up_to.get_or_insert(self.quiet_at);
                    if !std::mem::replace(&mut self.is_marked, true) {
                        self.shown.members.mark(self.now());
                    }
                    if news.has_lagged {
                        self.open.lagged();
                    }
                    self.shown.take(news, keeps_up);
                }
                Poll::Pending => {
                    self.is_waiting = !has_happened && !has_read;
                    self.read_up_to = None;
                    break;
                }
            }
            has_read = true;
        }
        has_read
    }

    /// How far the client's cursor may move.
    fn told(&mut self) -> Told {
        // Of these it is not known what waits.
        let is_unsure = self.inquiries.is_unsure() || !self.lifecycle.is_empty();
        let oldest = [
            is_unsure.then_some(self.quiet_at),
            self.read_up_to,
            self.inquiries.oldest(),
            self.shown.oldest_behind(),
        ];
        match oldest.into_iter().flatten().min() {
            Some(oldest) => Told::UpTo(oldest),
            None => {
                self.quiet_at = self.now();
                Told::Everything
            }
        }
    }

    fn now(&self) -> Seq {
        Seq::from(self.registry.now())
    }

    fn on_lifecycle(&mut self, event: LifecycleEvent, context: &mut Context<'_>) {
        match event {
            LifecycleEvent::Entered(job) => {
                if !self.shown.members.holds(&job) && self.shown.has_room_for(&job) {
                    self.join(job.id().clone(), job.seq);
                }
            }
            LifecycleEvent::Removed {
                job_id,
                incarnation,
                ..
            } => {
                if !self.inquiries.note_removal(incarnation) {
                    self.list();
                }
                let member = self.shown.members.get(&job_id);
                if member.is_some_and(|member| member.incarnation == incarnation) {
                    self.shown.see_off(&job_id, context);
                }
            }
            LifecycleEvent::Missed => self.list(),
        }
    }

    /// Has a job joined that is new here, with its events since the stream began or it was last here.
    fn join(&mut self, job_id: JobId, from: Seq) {
        let since = self.shown.since(&job_id);
        self.inquiries.join(job_id, from, since);
    }

    /// Looks for jobs that came or went without word.
    fn list(&mut self) {
        let finished = self.shown.members.finished();
        self.inquiries.list(self.shown.selector.clone(), finished);
    }

    fn on_listed(&mut self, listed: Listed, context: &mut Context<'_>) {
        let gone = match &listed {
            Listed::Gone(gone) => gone.clone(),
            Listed::Matching(there) => {
                let there: HashSet<_> = there.iter().map(|(job_id, _)| job_id).collect();
                let mut finished = self.shown.members.finished();
                finished.retain(|job_id| !there.contains(job_id));
                finished
            }
        };
        for job_id in gone {
            self.shown.see_off(&job_id, context);
        }
        if let Listed::Matching(there) = listed {
            for (job_id, incarnation) in there {
                let member = self.shown.members.get(&job_id);
                if member.is_none_or(|member| member.incarnation != incarnation) {
                    self.join(job_id, self.quiet_at);
                }
            }
        }
    }

    /// Asks the store for what it did not answer before.
    fn ask_again(&mut self, job_ids: Vec<JobId>, mut must_list: bool) {
        for job_id in job_ids {
            match self.shown.behind(&job_id) {
                Some((job, seen)) => self.inquiries.catch_up(job, seen),
                // It was to come.
                None => must_list |= self.shown.selector.is_some(),
            }
        }
        if must_list {
            self.list();
        }
    }

    /// Makes what waits ready to go out, if anything does.
    fn write(&mut self, told: Told) -> bool {
        if self.shown.outbox.is_empty() {
            return false;
        }
        let is_complete = matches!(self.phase, Phase::Live) && self.shown.is_complete();
        let told = match is_complete {
            true => Told::ToTheEnd,
            false => told,
        };
        // A stream that is over as it begins says nothing else of coming back.
        let retry_ms = self.retry_ms.take().filter(|_| !is_complete);
        self.ready = Some(self.shown.outbox.write(retry_ms, told));
        if is_complete {
            self.phase = Phase::Over(StreamReason::Finished);
        }
        true
    }

    /// Ends the stream for a reason outside its jobs.
    fn end(&mut self, reason: StreamEnd) {
        self.phase = Phase::Over(reason.into());
        let block = reason.block(&self.settings, None).unwrap_or_default();
        let retry_ms = self.retry_ms.take();
        let before = self.shown.outbox.write(retry_ms, Told::UpTo(Seq::ZERO));
        let bytes = [&before.piece.joined(), block.as_bytes()].concat();
        self.ready = Some(Ready {
            piece: Bytes::from(bytes).into(),
            blocks: before.blocks + 1,
            made_at: before.made_at,
        });
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
