//! What the client of a stream of many jobs has been shown, and the blocks that tell it more.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    block::Block,
    joining::Joined,
    members::{Members, News},
    selection::Selector,
    start::MOST_JOBS,
};
use crate::{
    frame::{Ending, Frame, FrameKind, RETRY_NEVER_MS},
    hub::{Snapshot, as_text},
    job::{Job, JobId, Seq, Status},
    registry::{JobHandle, Registry},
};

/// Bytes from which on a piece is sent before more is added to it.
const PIECE_BYTES: usize = 64 * 1024;

/// How many blocks go into one piece, nearly.
const PIECE_BLOCKS: usize = 1_000;

/// From how many frames of one job on a watcher that was busy counts as slow.
const SLOW_FRAMES: usize = 16;

/// The longest that a job's own leaving is timed: a timer wheel has an end.
const LONGEST_STAY: Duration = Duration::from_secs(365 * 86_400);

/// The jobs that are shown, and what waits to be written of them.
pub(super) struct Shown {
    /// What jobs have to be like; `None` when they were named.
    pub(super) selector: Option<Selector>,
    pub(super) members: Members,
    /// Everything up to here is in the snapshot.
    pub(super) began_at: Seq,
    clock: Registry,
    /// Names of jobs that were asked for and are not shown, with the code of why.
    refused: Vec<(String, &'static str)>,
    blocks: Vec<Block>,
    /// How many bytes they are, nearly.
    weight: usize,
    /// When the oldest of them was made that came from a hub.
    made_at: Option<Instant>,
    /// The highest seq of all jobs that were shown.
    newest: Seq,
    /// Jobs of which frames were lost, until they are shown anew.
    behind: HashSet<JobId>,
    /// Those of them that nobody was told of.
    lagging: Vec<JobId>,
}

/// Bytes that go out in one write.
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// How many blocks they are; a heartbeat is none.
    pub(super) blocks: usize,
    /// When the oldest of them was made that came from a hub.
    pub(super) made_at: Option<Instant>,
}

impl Shown {
    /// Nothing yet.
    pub(super) fn new(
        selector: Option<Selector>,
        refused: Vec<(String, &'static str)>,
        began_at: Seq,
        clock: Registry,
    ) -> Self {
        Self {
            selector,
            members: Members::default(),
            began_at,
            clock,
            refused,
            blocks: Vec::new(),
            weight: 0,
            made_at: None,
            newest: Seq::ZERO,
            behind: HashSet::new(),
            lagging: Vec::new(),
        }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether what waits should go out before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.weight >= PIECE_BYTES || self.blocks.len() >= PIECE_BLOCKS
    }

    /// Whether nothing is known to wait that is older than what is to be written.
    pub(super) fn is_level(&self) -> bool {
        !self.is_full() && self.behind.is_empty()
    }

    /// Whether all jobs that were named are over.
    pub(super) fn is_complete(&self) -> bool {
        self.selector.is_none() && !self.members.has_live() && self.behind.is_empty()
    }

    /// Says that everything there was has been shown.
    pub(super) fn end_snapshot(&mut self) {
        for (name, code) in std::mem::take(&mut self.refused) {
            self.push(Block::removed(&name, self.began_at, Some(code)));
        }
        // Where nothing more comes the client has seen everything.
        let cursor = match self.is_complete() {
            true => self.newest.max(self.began_at),
            false => self.began_at,
        };
        self.push(Block::synced(self.members.len(), cursor));
    }

    /// Shows a job that was joined: its status, and what was missed of it.
    pub(super) fn show(&mut self, joined: Joined, may_have_id: bool) {
        let (job, joined) = match joined {
            Joined::Absent(job_id) => return self.remove(&job_id),
            Joined::Failed(..) => return,
            Joined::Listed(job) => (job, None),
            Joined::Attached(handle, attachment, since) => {
                let job = Arc::clone(&attachment.snapshot.job);
                (job, Some((handle, attachment, since)))
            }
        };
        let was_behind = self.behind.remove(job.id());
        let member = self.members.get(job.id());
        let member = member.filter(|member| member.incarnation == job.origin.incarnation);
        if member.is_some() && !was_behind {
            // It entered twice before it was joined.
            return;
        }
        let seen = member.map_or(Seq::ZERO, |member| member.seen);
        let ending = joined.as_ref().and_then(|(_, it, _)| it.snapshot.ending);
        if ending == Some(Ending::Removed) || !self.wants(&job) {
            return self.remove(job.id());
        }
        if !was_behind && !self.has_room_for(&job) {
            return;
        }
        let mut live = None;
        match joined {
            None => {
                let json = Status(&job).to_json();
                self.push(Block::status(job.seq, json.into(), may_have_id));
            }
            Some((handle, attachment, since)) => {
                let is_news = since.is_some_and(|since| job.seq > since.seen);
                if let Some(failure) = job.failure().filter(|_| is_news) {
                    self.push(Block::failure(job.id(), job.seq, failure));
                }
                let json = match attachment.has_gap {
                    true => {
                        Status::json_with(as_text(&attachment.snapshot.json), "\"gap\":true").into()
                    }
                    false => attachment.snapshot.json,
                };
                // The cursor must not pass an event that was not sent.
                let has_id = may_have_id && attachment.missed.is_empty() && job.seq > seen;
                self.push(Block::status(job.seq, json, has_id));
                for event in &attachment.missed {
                    self.push(Block::missed(job.id(), job.seq, event));
                }
                live = attachment.live.map(|live| (handle, live));
            }
        }
        self.members.put(&job, live);
        self.leave_in_time(&job);
        if let Some(oldest) = self.members.surplus(MOST_JOBS) {
            self.remove(&oldest);
        }
    }

    /// Shows what came from one job's hub.
    pub(super) fn take(&mut self, news: News, keeps_up: bool) {
        let News {
            job_id,
            incarnation,
            frames,
            has_lagged,
        } = news;
        let Some(member) = self.members.get(&job_id) else {
            return;
        };
        if member.incarnation != incarnation {
            return;
        }
        let Some(watched) = member.watched.as_ref() else {
            return;
        };
        if has_lagged {
            if self.behind.insert(job_id.clone()) {
                self.lagging.push(job_id);
            }
            return;
        }
        if self.behind.contains(&job_id) {
            // It is shown anew as a whole.
            return;
        }
        let (job, subscription) = (watched.job.clone(), Arc::clone(&watched.subscription));
        let (mut seen, mut status_seen) = (member.seen, member.status_seen);
        let is_status = |frame: &Frame| frame.kind == FrameKind::Status;
        let newest_status = frames.iter().rposition(is_status);
        let is_slow = !keeps_up && frames.len() > SLOW_FRAMES;
        let mut ending = None;
        for (index, frame) in frames.into_iter().enumerate() {
            match frame.kind {
                FrameKind::Status if frame.seq <= status_seen => continue,
                FrameKind::Status if is_slow && newest_status != Some(index) => continue,
                FrameKind::Status => status_seen = frame.seq,
                FrameKind::Event => {}
                FrameKind::Terminal | FrameKind::Ending(_) => {
                    ending = Some(frame.kind);
                    break;
                }
            }
            seen = seen.max(frame.seq);
            self.made_at.get_or_insert(frame.made_at);
            if let Some(block) = Block::of_frame(&job_id, &frame) {
                self.push(block);
            }
        }
        if let Some(member) = self.members.get(&job_id) {
            (member.seen, member.status_seen) = (seen, status_seen);
        }
        match ending {
            Some(FrameKind::Terminal) => self.show_end(&subscription.rejoin()),
            Some(FrameKind::Ending(Ending::Removed)) => self.remove(&job_id),
            // The whole stream is about to end.
            Some(_) => {}
            None => {
                let job = job.job();
                // The end of one that is over is still to come.
                if !job.is_finished() && !self.wants(&job) {
                    self.remove(&job_id);
                }
            }
        }
    }

    /// Whether a job is new enough to be shown.
    pub(super) fn has_room_for(&self, job: &Job) -> bool {
        self.members.has_room_for(job, MOST_JOBS)
    }

    /// Tells that a job is none of this stream's any more, if it was.
    pub(super) fn remove(&mut self, job_id: &JobId) {
        self.behind.remove(job_id);
        let place = self.members.get(job_id).map(|member| member.seen);
        if self.members.take_off(job_id) {
            let place = place.unwrap_or_default();
            self.push(Block::removed(job_id.as_str(), place, None));
        }
    }

    /// Removes those finished jobs that are not among these.
    pub(super) fn keep_finished(&mut self, there: &[Arc<Job>]) {
        let there: HashSet<&JobId> = there.iter().map(|job| job.id()).collect();
        for job_id in self.members.finished() {
            if !there.contains(&job_id) {
                self.remove(&job_id);
            }
        }
    }

    /// Jobs of which frames were lost since this was last asked, and what was seen of them.
    pub(super) fn lagging(&mut self) -> Vec<(JobHandle, Seq)> {
        let lagging = std::mem::take(&mut self.lagging);
        let lagging = lagging.iter().filter_map(|job_id| self.behind(job_id));
        lagging.collect()
    }

    /// The job, and what was seen of it, when it is behind.
    pub(super) fn behind(&self, job_id: &JobId) -> Option<(JobHandle, Seq)> {
        self.behind.get(job_id)?;
        self.members.watched(job_id)
    }

    /// Puts what waits in the order of time, so that the client's cursor is right wherever it is cut off.
    pub(super) fn sort(&mut self) {
        self.blocks.sort_by_key(|block| block.place);
    }

    /// What waits as bytes, with ids or without, and with a first or a last `retry`.
    pub(super) fn write(
        &mut self,
        retry_ms: Option<u64>,
        may_have_ids: bool,
        is_last: bool,
    ) -> Piece {
        if let Some(first) = self.blocks.first_mut() {
            first.retry_ms = retry_ms;
        }
        if let Some(last) = self.blocks.last_mut().filter(|_| is_last) {
            last.retry_ms = Some(RETRY_NEVER_MS);
        }
        let mut out = Vec::with_capacity(self.weight);
        for block in &self.blocks {
            block.write(&mut out, may_have_ids);
        }
        self.weight = 0;
        Piece {
            bytes: out.into(),
            blocks: std::mem::take(&mut self.blocks).len(),
            made_at: self.made_at.take(),
        }
    }

    /// Shows a job's last status, which stays for as long as the job is wanted.
    fn show_end(&mut self, snapshot: &Snapshot) {
        let job = &snapshot.job;
        if let Some(failure) = job.failure() {
            self.push(Block::failure(job.id(), job.seq, failure));
        }
        self.push(Block::status(job.seq, snapshot.json.clone(), true));
        self.members.finish(job.id(), job.seq);
        match self.wants(job) {
            true => self.leave_in_time(job),
            false => self.remove(job.id()),
        }
    }

    fn push(&mut self, block: Block) {
        self.weight += block.weight();
        self.newest = self.newest.max(block.place);
        self.blocks.push(block);
    }

    fn leave_in_time(&mut self, job: &Job) {
        let leaves_at = match &self.selector {
            Some(selector) => selector.leaves_at(job),
            None => job.expires_at(),
        };
        if let Some(at) = leaves_at {
            let now = self.clock.now().as_micros();
            let span = Duration::from_micros(at.as_micros().saturating_sub(now));
            self.members.leave_after(job.id(), span.min(LONGEST_STAY));
        }
    }

    fn wants(&self, job: &Job) -> bool {
        let selector = self.selector.as_ref();
        selector.is_none_or(|selector| selector.wants(job, self.clock.now()))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shown")
            .field("jobs", &self.members.len())
            .field("blocks", &self.blocks.len())
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}
