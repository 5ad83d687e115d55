//! What the client of a stream of many jobs has been shown, and the blocks that tell it more.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    task::Context,
    time::Duration,
};

use super::{
    block::Block,
    joining::Joined,
    listing::MOST_JOBS,
    members::{Members, News},
    outbox::Outbox,
    selection::Selector,
};
use crate::{
    frame::{Ending, Frame, FrameKind},
    hub::{Snapshot, as_text},
    job::{Job, JobId, Seq, Status},
    registry::{JobHandle, Registry, Since},
};

/// From how many frames of one job on a watcher that was busy counts as slow.
const SLOW_FRAMES: usize = 16;

/// The longest that a job's own leaving is timed: a timer wheel has an end.
const LONGEST_STAY: Duration = Duration::from_secs(365 * 86_400);

/// The jobs that are shown.
pub(super) struct Shown {
    /// What jobs have to be like; `None` when they were named.
    pub(super) selector: Option<Selector>,
    pub(super) members: Members,
    pub(super) outbox: Outbox,
    /// Everything up to here is in the snapshot.
    pub(super) began_at: Seq,
    registry: Registry,
    /// Names of jobs that were asked for and are not shown, with the code of why.
    refused: Vec<(String, &'static str)>,
    /// Jobs of which frames were lost, until they are shown anew.
    behind: HashSet<JobId>,
    /// Those of them that are to be joined anew.
    lagging: Vec<JobId>,
    /// What was told of jobs that left: they may come again.
    left: HashMap<JobId, Seq>,
}

impl Shown {
    /// Nothing yet.
    pub(super) fn new(
        selector: Option<Selector>,
        refused: Vec<(String, &'static str)>,
        began_at: Seq,
        registry: Registry,
    ) -> Self {
        Self {
            // Where jobs are named a cursor past all of them has a meaning of its own.
            outbox: Outbox::new(selector.is_some()),
            selector,
            members: Members::default(),
            began_at,
            registry,
            refused,
            behind: HashSet::new(),
            lagging: Vec::new(),
            left: HashMap::new(),
        }
    }

    /// Whether all jobs that were named are over.
    pub(super) fn is_complete(&self) -> bool {
        self.selector.is_none() && !self.members.has_live()
    }

    /// Since when a job is told of that comes, or comes again.
    pub(super) fn since(&self, job_id: &JobId) -> Since {
        let seen = self.left.get(job_id).copied();
        Since::from(seen.unwrap_or_default().max(self.began_at))
    }

    /// Says that everything there was has been shown.
    pub(super) fn end_snapshot(&mut self) {
        for (name, code) in std::mem::take(&mut self.refused) {
            let block = Block::removed(&name, self.began_at, Some(code));
            self.outbox.push(block);
        }
        let synced = Block::synced(self.members.len(), self.began_at);
        self.outbox.push(synced);
    }

    /// Shows a job that was joined: its status, and what was missed of it.
    pub(super) fn show(&mut self, joined: Joined, may_have_id: bool) {
        let (job, joined) = match joined {
            Joined::Absent(job_id) => return self.miss(&job_id),
            Joined::Failed(..) | Joined::Unlisted(_) => return,
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
        if ending == Some(Ending::Removed) {
            return self.miss(job.id());
        }
        if !self.wants(&job) {
            return self.remove(job.id());
        }
        if !was_behind && !self.has_room_for(&job) {
            return;
        }
        let mut live = None;
        match joined {
            None => {
                let json = Status(&job).to_json();
                let has_id = may_have_id && self.may_have_id(&job);
                self.push(Block::status(job.seq, json.into(), has_id));
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
                let is_level = attachment.missed.is_empty() && job.seq > seen;
                let has_id = may_have_id && is_level && self.may_have_id(&job);
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
            if let Some(block) = Block::of_frame(&job_id, &frame) {
                self.outbox.push_made(block, frame.made_at);
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
        let Some(seen) = self.members.take_off(job_id) else {
            return;
        };
        if self.left.len() >= MOST_JOBS {
            // They are told of once more, then, should they come again.
            self.left.clear();
        }
        self.left.insert(job_id.clone(), seen);
        self.push(Block::removed(job_id.as_str(), seen, None));
    }

    /// The same after what is left to tell of it.
    pub(super) fn see_off(&mut self, job_id: &JobId, context: &mut Context<'_>) {
        if let Some(news) = self.members.unread(job_id, context) {
            self.take(news, true);
        }
        self.remove(job_id);
    }

    /// Tells that a job which was to be shown is not there.
    fn miss(&mut self, job_id: &JobId) {
        let is_member = self.members.get(job_id).is_some();
        if self.selector.is_some() || is_member {
            return self.remove(job_id);
        }
        let gone = Block::removed(job_id.as_str(), self.began_at, Some("JOB_GONE"));
        self.outbox.push(gone);
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

    /// From where on changes of jobs were lost that are not told yet.
    pub(super) fn oldest_behind(&self) -> Option<Seq> {
        let seen = self
            .behind
            .iter()
            .filter_map(|job_id| self.members.watched(job_id));
        seen.map(|(_, seen)| seen).min()
    }

    /// Shows a job's last status, which stays for as long as the job is wanted.
    fn show_end(&mut self, snapshot: &Snapshot) {
        let job = &snapshot.job;
        if let Some(failure) = job.failure() {
            self.push(Block::failure(job.id(), job.seq, failure));
        }
        let has_id = self.may_have_id(job);
        self.push(Block::status(job.seq, snapshot.json.clone(), has_id));
        self.members.finish(job.id(), job.seq);
        match self.wants(job) {
            true => self.leave_in_time(job),
            false => self.remove(job.id()),
        }
    }

    fn push(&mut self, block: Block) {
        self.outbox.push(block);
    }

    /// Whether a job's status may move the cursor. Where jobs are named, a cursor past all ends says that
    /// all of them were told: so none of them has an id but that of the last block.
    fn may_have_id(&self, job: &Job) -> bool {
        self.selector.is_some() || !job.is_finished()
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
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shown")
            .field("jobs", &self.members.len())
            .field("outbox", &self.outbox)
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}
