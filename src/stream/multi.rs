//! Many jobs on one connection: first every status, then `synced`, then whatever changes.
//!
//! Why nothing is lost. Word of new jobs is listened for before the jobs are listed, and each job is
//! joined as a single stream joins it, so that what is not in the snapshot comes later. Ids tell a
//! time: a client that comes back with one gets every kept event since then, and some time before it.
//! So an id must not be sent while something older waits: blocks of one piece are sorted by seq, what
//! is behind goes out without ids until it is level again, and so does a snapshot for a client that
//! comes back, whose missed events stand job by job; the id of `synced` ends it.

mod block;
mod members;
mod selection;
mod start;

use std::{
    collections::HashSet,
    fmt,
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    StreamEnd, StreamOptions, StreamSettings, jittered_retry_ms,
    upkeep::{Due, Upkeep},
};
use crate::{
    frame::{Ending, Frame, FrameKind, RETRY_NEVER_MS},
    hub::{Snapshot, as_text},
    job::{Job, JobId, Seq, Status},
    metrics::{OpenStream, StreamReason},
    registry::{Attachment, LifecycleEvent, LifecycleEvents, Registry, RegistryError},
};
use block::Block;
use members::{Happening, Member, Members, News};
use start::{JOINS, Joined, MOST_JOBS, attach, join, list};

pub use selection::{Named, Selection, Selector};
pub use start::MultiStart;

/// Bytes from which on a piece is sent before more is added to it.
const PIECE_BYTES: usize = 64 * 1024;

/// From how many frames of one job on a watcher that was busy counts as slow.
const SLOW_FRAMES: usize = 16;

/// How many jobs' news go into one piece at most.
const MOST_NEWS: usize = 1_000;

/// The longest that a job's own leaving is timed: a timer wheel has an end.
const LONGEST_STAY: Duration = Duration::from_secs(365 * 86_400);

/// How long a store that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The stream of many jobs to one watcher. Dropping it ends all subscriptions.
pub struct MultiStream {
    registry: Registry,
    settings: StreamSettings,
    /// What new jobs have to be like; `None` when the jobs were named.
    selector: Option<Selector>,
    /// Names of jobs that were asked for and are not shown, with the code of why.
    refused: Vec<(String, &'static str)>,
    open: OpenStream,
    upkeep: Upkeep,
    lifecycle: LifecycleEvents,
    members: Members,
    phase: Phase,
    /// What waits to be written.
    blocks: Vec<Block>,
    /// Whether what waits may move the client's cursor.
    may_have_ids: bool,
    /// For the first block.
    retry_ms: Option<u64>,
    /// Everything up to here is in the snapshot.
    began_at: Seq,
    since: Option<Seq>,
    /// The highest seq of all jobs that were shown.
    newest: Seq,
    /// Jobs of which frames were lost.
    behind: HashSet<JobId>,
    /// Whether jobs may have come or gone without word.
    must_list: bool,
    /// When what is behind is looked at.
    look_at: Option<Instant>,
    made_at: Option<Instant>,
}

enum Phase {
    Snapshot(BoxStream<'static, Joined>),
    Live,
    Over(StreamReason),
}

/// Bytes that go out in one write, and how many blocks they are.
type Piece = (Bytes, usize);

impl MultiStream {
    /// The stream that `start` begins.
    pub fn new(
        start: MultiStart,
        settings: StreamSettings,
        options: StreamOptions,
        open: OpenStream,
    ) -> Self {
        Self {
            registry: start.registry,
            settings,
            selector: start.selector,
            refused: start.refused,
            open,
            upkeep: Upkeep::new(&settings, options),
            lifecycle: start.lifecycle,
            members: Members::default(),
            phase: Phase::Snapshot(start.joining),
            blocks: Vec::new(),
            may_have_ids: true,
            retry_ms: Some(jittered_retry_ms(settings.retry)),
            began_at: start.began_at,
            since: start.since,
            newest: Seq::ZERO,
            behind: HashSet::new(),
            must_list: false,
            look_at: None,
            made_at: None,
        }
    }

    /// The next piece of the stream; `None` at its end. Dropped in the middle, the stream is of no more use.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let alone = match &self.phase {
                Phase::Over(_) => return None,
                Phase::Snapshot(_) => self.take_snapshot().await,
                Phase::Live => self.take_live().await,
            };
            let (piece, blocks) = match alone {
                Some(alone) => alone,
                None => self.piece(),
            };
            if piece.is_empty() {
                continue;
            }
            let now = Instant::now();
            self.upkeep.written(now);
            self.open.delivered(blocks, self.made_at.take(), now);
            if let Phase::Over(reason) = self.phase {
                self.open.ends_by(reason);
            }
            return Some(piece);
        }
    }

    /// Fills the next piece of the snapshot, unless something else goes out before.
    async fn take_snapshot(&mut self) -> Option<Piece> {
        let mut bytes = 0;
        while bytes < PIECE_BYTES {
            let Phase::Snapshot(joining) = &mut self.phase else {
                return None;
            };
            let joined = tokio::select! {
                biased;
                due = poll_fn(|context| self.upkeep.poll_due(context)) => return Some(self.on_due(due)),
                joined = joining.next() => joined,
            };
            let before = self.blocks.len();
            match joined {
                Some(Joined::Failed(error)) => {
                    tracing::error!(%error, "a stream of many jobs ended since the store did not answer");
                    return Some(self.end(StreamEnd::Internal));
                }
                Some(joined) => self.show(joined),
                None => {
                    self.end_snapshot();
                    return None;
                }
            }
            bytes += weight(&self.blocks[before..]);
        }
        None
    }

    fn end_snapshot(&mut self) {
        for (name, code) in std::mem::take(&mut self.refused) {
            let block = Block::removed(&name, self.began_at, Some(code));
            self.blocks.push(block);
        }
        self.phase = Phase::Live;
        // Where nothing more comes the client has seen everything.
        let cursor = match self.is_complete() {
            true => self.newest,
            false => self.began_at,
        };
        self.blocks.push(Block::synced(self.members.len(), cursor));
    }

    /// Waits for something to happen, and takes with it what else has come.
    async fn take_live(&mut self) -> Option<Piece> {
        let mut has_waited = false;
        let look = async {
            match self.look_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            due = poll_fn(|context| self.upkeep.poll_due(context)) => return Some(self.on_due(due)),
            () = self.registry.draining().cancelled() => return Some(self.end(StreamEnd::Draining)),
            event = self.lifecycle.next() => self.on_lifecycle(event).await,
            () = look => self.look().await,
            happening = poll_fn(|context| {
                let happening = self.members.poll_next(context);
                has_waited |= happening.is_pending();
                happening
            }) => match happening {
                Happening::Left(job_id) => self.remove(&job_id),
                Happening::News(news) => self.take_news(news, has_waited),
            },
        }
        None
    }

    fn take_news(&mut self, first: News, keeps_up: bool) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(news) = next {
            self.on_news(news, keeps_up);
            taken += 1;
            let is_full = weight(&self.blocks) >= PIECE_BYTES || taken == MOST_NEWS;
            next = match is_full {
                false => self.members.news_at_hand(),
                true => {
                    // Something older may wait.
                    self.may_have_ids = false;
                    None
                }
            };
        }
        // In the order of time, so that the client's cursor is right wherever it is cut off.
        self.blocks.sort_by_key(|block| block.place);
    }

    /// Shows what came from one job's hub.
    fn on_news(&mut self, news: News, keeps_up: bool) {
        let News {
            job_id,
            incarnation,
            frames,
            has_lagged,
        } = news;
        let Some(member) = self.members.get(&job_id) else {
            return;
        };
        let Some(watched) = member
            .watched
            .as_ref()
            .filter(|_| member.incarnation == incarnation)
        else {
            return;
        };
        if has_lagged {
            self.open.lagged();
            self.behind.insert(job_id);
            return self.look_again(false, Duration::ZERO);
        }
        let is_status = |frame: &Frame| frame.kind == FrameKind::Status;
        let newest_status = frames.iter().rposition(is_status);
        let is_slow = !keeps_up && frames.len() > SLOW_FRAMES;
        let mut ending = None;
        for (index, frame) in frames.into_iter().enumerate() {
            self.made_at.get_or_insert(frame.made_at);
            match frame.kind {
                FrameKind::Status if frame.seq <= member.status_seen => continue,
                FrameKind::Status if is_slow && newest_status != Some(index) => continue,
                FrameKind::Status | FrameKind::Event => {
                    let is_event = frame.kind == FrameKind::Event;
                    self.blocks
                        .extend(Block::of_frame(&job_id, &frame, is_event));
                    if !is_event {
                        member.status_seen = frame.seq;
                    }
                    member.seen = member.seen.max(frame.seq);
                    self.newest = self.newest.max(frame.seq);
                }
                FrameKind::Terminal | FrameKind::Ending(_) => {
                    ending = Some(frame.kind);
                    break;
                }
            }
        }
        match ending {
            Some(FrameKind::Terminal) => {
                let snapshot = watched.subscription.rejoin();
                self.show_end(&snapshot);
            }
            Some(FrameKind::Ending(Ending::Removed)) => self.remove(&job_id),
            // The whole stream is about to end.
            Some(_) => self.members.finish(&job_id),
            None => {
                let job = watched.job.job();
                // The end of one that is over is still to come.
                if !job.is_finished() && !self.wants(&job) {
                    self.remove(&job_id);
                }
            }
        }
    }

    /// Shows a job that was joined: its status, and what was missed of it.
    fn show(&mut self, joined: Joined) {
        let (job, handle, attachment) = match joined {
            Joined::Absent(job_id) => return self.remove(&job_id),
            Joined::Failed(_) => return,
            Joined::Finished(job) => (job, None, None),
            Joined::Attached(handle, attachment) => {
                let job = Arc::clone(&attachment.snapshot.job);
                (job, Some(handle), Some(attachment))
            }
        };
        let ending = attachment.as_ref().and_then(|it| it.snapshot.ending);
        if ending == Some(Ending::Removed) || !self.wants(&job) {
            return self.remove(job.id());
        }
        let member = self.members.get(job.id());
        let shown = member.filter(|member| member.incarnation == job.origin.incarnation);
        let shown = shown.map_or(Seq::ZERO, |member| member.seen);
        let (json, missed, live) = match attachment {
            None => (Status(&job).to_json().into(), Vec::new(), None),
            Some(Attachment {
                snapshot,
                missed,
                has_gap,
                live,
                ..
            }) => {
                let json = match has_gap {
                    true => Status::json_with(as_text(&snapshot.json), "\"gap\":true").into(),
                    false => snapshot.json,
                };
                (json, missed, live)
            }
        };
        // What was missed stands job by job, and not in the order of time: it moves no cursor.
        let is_in_order = missed.is_empty() && (self.since.is_none() || self.is_live());
        let has_id = is_in_order && job.seq > shown;
        self.blocks.push(Block::status(job.seq, json, has_id));
        let missed = missed.iter().map(|event| Block::missed(job.id(), event));
        self.blocks.extend(missed);
        self.newest = self.newest.max(job.seq);
        self.members.put(&job, handle.zip(live));
        self.leave_in_time(&job);
        if let Some(oldest) = self.members.surplus(MOST_JOBS) {
            self.remove(&oldest);
        }
    }

    /// Shows a job's last status, which stays for as long as the job is wanted.
    fn show_end(&mut self, snapshot: &Snapshot) {
        let job = &snapshot.job;
        let failure = job.failure();
        let failure = failure.map(|failure| Block::failure(job.id(), job.seq, failure));
        self.blocks.extend(failure);
        let status = Block::status(job.seq, snapshot.json.clone(), true);
        self.blocks.push(status);
        self.newest = self.newest.max(job.seq);
        self.members.finish(job.id());
        if let Some(member) = self.members.get(job.id()) {
            (member.seen, member.status_seen) = (job.seq, job.seq);
        }
        match self.wants(job) {
            true => self.leave_in_time(job),
            false => self.remove(job.id()),
        }
    }

    /// Tells that a job is none of this stream's any more, if it was.
    fn remove(&mut self, job_id: &JobId) {
        self.behind.remove(job_id);
        let place = self.members.get(job_id).map(|member| member.seen);
        if self.members.take_off(job_id) {
            let block = Block::removed(job_id.as_str(), place.unwrap_or_default(), None);
            self.blocks.push(block);
        }
    }

    fn leave_in_time(&mut self, job: &Job) {
        let leaves_at = match &self.selector {
            Some(selector) => selector.leaves_at(job),
            None => job.expires_at(),
        };
        if let Some(at) = leaves_at {
            let now = self.registry.now().as_micros();
            let span = Duration::from_micros(at.as_micros().saturating_sub(now));
            self.members.leave_after(job.id(), span.min(LONGEST_STAY));
        }
    }

    fn wants(&self, job: &Job) -> bool {
        let selector = self.selector.as_ref();
        selector.is_none_or(|selector| selector.wants(job, self.registry.now()))
    }

    async fn on_lifecycle(&mut self, event: LifecycleEvent) {
        match event {
            // Those that were named are there from the beginning, or never.
            LifecycleEvent::Entered(_) if self.selector.is_none() => {}
            LifecycleEvent::Entered(job) if self.members.holds(&job) => {}
            LifecycleEvent::Entered(job) => match join(self.registry.clone(), job, None).await {
                Joined::Failed(_) => self.look_again(true, RETRY_PAUSE),
                joined => self.show(joined),
            },
            LifecycleEvent::Removed {
                job_id,
                incarnation,
            } => {
                let member = self.members.get(&job_id);
                let is_it = |member: &Member| incarnation.is_none_or(|it| it == member.incarnation);
                if member.is_some_and(|member| is_it(member)) {
                    self.remove(&job_id);
                }
            }
            LifecycleEvent::Missed => self.look_again(true, Duration::ZERO),
        }
    }

    fn look_again(&mut self, must_list: bool, after: Duration) {
        self.must_list |= must_list;
        let at = Instant::now() + after;
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Reads what was not told: of jobs whose frames were lost, and of jobs that came or went.
    async fn look(&mut self) {
        self.look_at = None;
        let behind = std::mem::take(&mut self.behind).into_iter();
        let behind: Vec<_> = behind
            .filter_map(|job_id| {
                let member = self.members.get(&job_id)?;
                Some((member.watched.as_ref()?.job.clone(), member.seen))
            })
            .collect();
        let joining = stream::iter(behind).map(|(job, seen)| async move {
            let job_id = job.id().clone();
            (job_id, attach(job, Some(seen)).await)
        });
        let joined: Vec<_> = joining.buffered(JOINS).collect().await;
        for (job_id, joined) in joined {
            match joined {
                Joined::Failed(_) => {
                    self.behind.insert(job_id);
                    self.look_again(false, RETRY_PAUSE);
                }
                joined => self.show(joined),
            }
        }
        if std::mem::take(&mut self.must_list) && self.list_again().await.is_err() {
            self.look_again(true, RETRY_PAUSE);
        }
    }

    async fn list_again(&mut self) -> Result<(), RegistryError> {
        let Some(selector) = self.selector.clone() else {
            for job_id in self.members.finished() {
                match self.registry.find(&job_id).await {
                    Err(RegistryError::Gone | RegistryError::NotFound) => self.remove(&job_id),
                    found => drop(found?),
                }
            }
            return Ok(());
        };
        let jobs = list(&self.registry, &selector).await?;
        let there: HashSet<JobId> = jobs.iter().map(|job| job.id().clone()).collect();
        for job_id in self.members.finished() {
            if !there.contains(&job_id) {
                self.remove(&job_id);
            }
        }
        let new: Vec<_> = jobs
            .into_iter()
            .filter(|job| !self.members.holds(job))
            .collect();
        let joining = stream::iter(new).map(|job| join(self.registry.clone(), job, None));
        let joined: Vec<_> = joining.buffered(JOINS).collect().await;
        let mut failed = None;
        for joined in joined {
            match joined {
                Joined::Failed(error) => failed = Some(error),
                joined => self.show(joined),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// Whether all jobs that were named are over.
    fn is_complete(&self) -> bool {
        self.selector.is_none()
            && self.is_live()
            && !self.members.has_live()
            && !self.registry.is_draining()
    }

    /// What waits, as bytes.
    fn piece(&mut self) -> Piece {
        if let Some(first) = self.blocks.first_mut()
            && let Some(retry_ms) = self.retry_ms.take()
        {
            first.retry_ms = Some(retry_ms);
        }
        if self.is_complete()
            && let Some(last) = self.blocks.last_mut()
        {
            last.retry_ms = Some(RETRY_NEVER_MS);
            self.phase = Phase::Over(StreamReason::Finished);
        }
        let may_have_ids = std::mem::replace(&mut self.may_have_ids, true);
        let mut out = Vec::with_capacity(weight(&self.blocks));
        for block in &self.blocks {
            block.write(&mut out, may_have_ids);
        }
        let blocks = std::mem::take(&mut self.blocks).len();
        (out.into(), blocks)
    }

    fn on_due(&mut self, due: Due) -> Piece {
        match due {
            Due::Heartbeat(bytes) => (bytes, 0),
            Due::End(reason) => self.end(reason),
        }
    }

    /// Ends the stream for a reason outside its jobs.
    fn end(&mut self, reason: StreamEnd) -> Piece {
        self.phase = Phase::Over(reason.into());
        let (piece, blocks) = self.piece();
        let mut out = Vec::from(piece);
        let block = reason.block(&self.settings, None);
        out.extend_from_slice(block.unwrap_or_default().as_bytes());
        (out.into(), blocks + 1)
    }
}

fn weight(blocks: &[Block]) -> usize {
    blocks.iter().map(Block::weight).sum()
}

impl fmt::Debug for MultiStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MultiStream")
            .field("jobs", &self.members.len())
            .finish_non_exhaustive()
    }
}
