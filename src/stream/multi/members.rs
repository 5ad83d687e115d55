//! The jobs that are on a stream of many, and what comes from their hubs.
//!
//! There is no task and no timer for each of them: a job's hub wakes the one task of the connection, which
//! then looks at the jobs that woke it and at no others; and the times at which jobs leave by
//! themselves stand in one queue.

use std::{
    collections::{BTreeSet, HashMap},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    Stream, StreamExt as _,
    future::AbortHandle,
    stream::{Abortable, SelectAll},
};
use tokio_util::time::{DelayQueue, delay_queue};
use uuid::Uuid;

use crate::{
    frame::Frame,
    hub::{Received, Subscription},
    job::{Job, JobId, Seq},
    registry::JobHandle,
    store::Position,
};

/// The jobs on the stream.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_name: HashMap<JobId, Member>,
    /// The oldest leaves first when there are too many.
    by_age: BTreeSet<Position>,
    live: SelectAll<Source>,
    leaving: DelayQueue<JobId>,
    /// How many have more to come.
    live_count: usize,
}

/// One job on the stream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) incarnation: Uuid,
    /// Changes up to here were sent, or are contained in what was sent.
    pub(super) seen: Seq,
    /// The seq of the newest status that was sent.
    pub(super) status_seen: Seq,
    /// The job, unless it is finished.
    pub(super) watched: Option<Watched>,
    position: Position,
    leaving: Option<delay_queue::Key>,
}

/// A job that has more to come.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) job: JobHandle,
    pub(super) subscription: Arc<Subscription>,
    live: AbortHandle,
}

/// What came from a job's hub.
#[derive(Debug)]
pub(super) struct News {
    pub(super) job_id: JobId,
    pub(super) incarnation: Uuid,
    pub(super) frames: Vec<Frame>,
    /// Whether some are lost.
    pub(super) has_lagged: bool,
}

/// What happened to a member.
#[derive(Debug)]
pub(super) enum Happening {
    /// Something came from its hub.
    News(News),
    /// Its time on the stream is over.
    Left(JobId),
    /// Whatever the hubs had when this was marked has been read.
    Marked(Seq),
}

/// Where something comes from: jobs come in the order in which they have something.
#[derive(Debug)]
enum Source {
    Job(Abortable<Live>),
    /// Comes behind all jobs that have something already.
    Mark(Option<Seq>),
}

/// A job's frames as a stream; ends with the subscription.
#[derive(Debug)]
struct Live {
    job_id: JobId,
    incarnation: Uuid,
    subscription: Weak<Subscription>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether any has more to come.
    pub(super) fn has_live(&self) -> bool {
        self.live_count > 0
    }

    pub(super) fn get(&mut self, job_id: &JobId) -> Option<&mut Member> {
        self.by_name.get_mut(job_id)
    }

    /// The job, and what was sent of it, while it has more to come.
    pub(super) fn watched(&self, job_id: &JobId) -> Option<(JobHandle, Seq)> {
        let member = self.by_name.get(job_id)?;
        Some((member.watched.as_ref()?.job.clone(), member.seen))
    }

    pub(super) fn holds(&self, job: &Job) -> bool {
        let held = self.by_name.get(job.id());
        held.is_some_and(|member| member.incarnation == job.origin.incarnation)
    }

    /// The names of those that are over, whether that was told or is still to be read.
    pub(super) fn finished(&self) -> Vec<JobId> {
        let is_over = |member: &Member| {
            let watched = member.watched.as_ref();
            watched.is_none_or(|watched| watched.job.job().is_finished())
        };
        let finished = self.by_name.iter().filter(|(_, member)| is_over(member));
        finished.map(|(job_id, _)| job_id.clone()).collect()
    }

    /// What came from a job's hub and was not read.
    pub(super) fn unread(&self, job_id: &JobId, context: &mut Context<'_>) -> Option<News> {
        let member = self.by_name.get(job_id)?;
        let live = Live {
            job_id: job_id.clone(),
            incarnation: member.incarnation,
            subscription: Arc::downgrade(&member.watched.as_ref()?.subscription),
        };
        match pin!(live).poll_next(context) {
            Poll::Ready(news) => news,
            Poll::Pending => None,
        }
    }

    /// Has it told when whatever the hubs have now was read.
    pub(super) fn mark(&mut self, now: Seq) {
        self.live.push(Source::Mark(Some(now)));
    }

    /// Puts a job on the stream, in the place of what was there of its name.
    pub(super) fn put(&mut self, job: &Job, live: Option<(JobHandle, Subscription)>) {
        self.take_off(job.id());
        let (job_id, incarnation) = (job.id().clone(), job.origin.incarnation);
        let watched = live.map(|(handle, subscription)| {
            let subscription = Arc::new(subscription);
            let (handle_of_live, registration) = AbortHandle::new_pair();
            let live = Live {
                job_id: job_id.clone(),
                incarnation,
                subscription: Arc::downgrade(&subscription),
            };
            let live = Abortable::new(live, registration);
            self.live.push(Source::Job(live));
            self.live_count += 1;
            Watched {
                job: handle,
                subscription,
                live: handle_of_live,
            }
        });
        let position = Position::of(job);
        self.by_age.insert(position.clone());
        let member = Member {
            incarnation,
            seen: job.seq,
            status_seen: job.seq,
            watched,
            position,
            leaving: None,
        };
        self.by_name.insert(job_id, member);
    }

    /// Takes a job off the stream; up to where it was told, when it was there.
    pub(super) fn take_off(&mut self, job_id: &JobId) -> Option<Seq> {
        let member = self.by_name.remove(job_id)?;
        if let Some(watched) = member.watched {
            watched.live.abort();
            self.live_count -= 1;
        }
        self.by_age.remove(&member.position);
        if let Some(key) = member.leaving {
            self.leaving.try_remove(&key);
        }
        Some(member.seen)
    }

    /// Nothing more comes of this one, of which everything up to `seen` was sent.
    pub(super) fn finish(&mut self, job_id: &JobId, seen: Seq) {
        let Some(member) = self.by_name.get_mut(job_id) else {
            return;
        };
        (member.seen, member.status_seen) = (seen, seen);
        if let Some(watched) = member.watched.take() {
            watched.live.abort();
            self.live_count -= 1;
        }
    }

    /// This one is to leave by itself after so long.
    pub(super) fn leave_after(&mut self, job_id: &JobId, span: Duration) {
        if let Some(member) = self.by_name.get_mut(job_id) {
            member.leaving = Some(self.leaving.insert(job_id.clone(), span));
        }
    }

    /// Whether a job would be among the newest `most`.
    pub(super) fn has_room_for(&self, job: &Job, most: usize) -> bool {
        let oldest = self.by_age.first();
        self.by_age.len() < most || oldest.is_none_or(|oldest| *oldest < Position::of(job))
    }

    /// The oldest, when there are more than `most`.
    pub(super) fn surplus(&self, most: usize) -> Option<JobId> {
        let oldest = self.by_age.first().filter(|_| self.by_age.len() > most);
        oldest.map(|position| position.job_id.clone())
    }

    /// What happens next to any of them; waits for as long as nothing does.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Happening> {
        // Nothing in the queue: what is put there later comes with another poll.
        if let Poll::Ready(Some(expired)) = self.leaving.poll_expired(context) {
            let job_id = expired.into_inner();
            if let Some(member) = self.by_name.get_mut(&job_id) {
                member.leaving = None;
            }
            return Poll::Ready(Happening::Left(job_id));
        }
        match self.live.poll_next_unpin(context) {
            Poll::Ready(Some(happening)) => Poll::Ready(happening),
            // Nobody is live.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Stream for Source {
    type Item = Happening;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Happening>> {
        match &mut *self {
            Self::Job(live) => live
                .poll_next_unpin(context)
                .map(|news| news.map(Happening::News)),
            Self::Mark(mark) => Poll::Ready(mark.take().map(Happening::Marked)),
        }
    }
}

impl Stream for Live {
    type Item = News;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<News>> {
        let Some(subscription) = self.subscription.upgrade() else {
            return Poll::Ready(None);
        };
        let mut frames = Vec::new();
        let received = ready!(subscription.poll_receive(context, &mut frames));
        Poll::Ready(Some(News {
            job_id: self.job_id.clone(),
            incarnation: self.incarnation,
            frames,
            has_lagged: received == Received::Lagged,
        }))
    }
}
