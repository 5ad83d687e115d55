//! What a slot's writer does with the requests that it has taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Errand, Request, Slot, batch::Batch, follow::Heard};
use crate::{
    frame::Ending,
    job::{Answer, Event, Job, Seq, Timestamp},
    registry::{Inner, RegistryError, timekeeper::remind},
    store::{Committed, Loaded, StoreError, Stored},
};

/// How often a batch is applied anew because another node was quicker, before it is given up.
const MOST_CONFLICTS: u32 = 20;

/// After how many of them the writer pauses before it tries again, and for how long at most.
const PATIENT_CONFLICTS: u32 = 3;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a slot waits, in seconds, before it asks a store again that has failed it.
const RETRY_SECONDS: u64 = 1;

impl Slot {
    /// Does what is asked, in order, and answers it.
    pub(super) async fn serve(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        let (is_removed, is_doubtful) = {
            let desk = self.lock();
            (desk.is_removed, desk.is_doubtful || !desk.is_verified)
        };
        if is_removed {
            return answer_all(inner, requests, &RegistryError::Gone);
        }
        let errand = &requests.first().expect("only what waits is taken").errand;
        if (is_doubtful || matches!(errand, Errand::Refresh))
            && let Err(error) = self.reread(inner).await
        {
            return answer_all(inner, requests, &error);
        }
        match errand {
            Errand::Apply(_) => self.apply(inner, requests).await,
            &Errand::Remove { gone_until } => self.remove(inner, requests, gone_until).await,
            Errand::Freshen => match self.catch_up(inner).await {
                Ok(()) => self.answer_current(requests),
                Err(error) => answer_all(inner, requests, &error),
            },
            Errand::Hear(heard) => {
                let heard = self.take_over(inner, heard).await;
                if let Err(error) = heard {
                    tracing::debug!(job.id = %self.job_id(), %error, "a notice could not be followed");
                }
            }
            Errand::Refresh => self.answer_current(requests),
        }
    }

    /// Reads the store when the job has moved there.
    async fn catch_up(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        let (is_finished, seq) = {
            let desk = self.lock();
            (desk.current.is_finished(), desk.current.seq)
        };
        let Some(shared) = inner.store.shared().filter(|_| !is_finished) else {
            return Ok(());
        };
        let seqs = shared.seqs(&[&self.origin]).await?;
        if seqs.first() == Some(&Some(seq)) {
            return Ok(());
        }
        self.reread(inner).await
    }

    /// Shows a change that another node made, when it is the next one; else the store is read.
    async fn take_over(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        heard: &Heard,
    ) -> Result<(), RegistryError> {
        let current = Arc::clone(&self.lock().current);
        if current.is_finished() || heard.job.seq <= current.seq {
            return Ok(());
        }
        if heard.prev != current.seq {
            return self.reread(inner).await;
        }
        let is_status = heard.job.face != current.face;
        let job = Arc::clone(&heard.job);
        let reminder = self
            .hub
            .publish(job, &heard.events, is_status, Instant::now());
        remind(inner, self, reminder);
        self.keep(inner, Arc::clone(&heard.job));
        Ok(())
    }

    async fn remove(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        requests: Vec<Request>,
        gone_until: Timestamp,
    ) {
        match inner.store.remove(&self.origin, gone_until).await {
            Ok(()) => {
                self.forget(inner);
                self.answer_current(requests);
            }
            Err(error) => self.give_up(inner, requests, error).await,
        }
    }

    async fn apply(self: &Arc<Self>, inner: &Arc<Inner>, requests: Vec<Request>) {
        for conflicts in 0..MOST_CONFLICTS {
            if conflicts >= PATIENT_CONFLICTS {
                // As chance has it, so that nodes do not go on meeting each other.
                let most = LONGEST_PAUSE.mul_f64(f64::from(conflicts) / f64::from(MOST_CONFLICTS));
                tokio::time::sleep(most.mul_f64(rand::random_range(0.0..1.0))).await;
            }
            let batch = {
                let desk = self.lock();
                Batch::step(
                    &desk.current,
                    &desk.ledger,
                    &requests,
                    &inner.settings.load(),
                )
            };
            if !batch.needs_commit(inner.is_shared()) {
                self.keep(inner, Arc::new(batch.job.clone()));
                return batch.answer(requests, &inner.metrics);
            }
            match self.commit(inner, &batch).await {
                Ok(Committed::Done { prev, first }) => {
                    return self.show(inner, batch, requests, prev, first);
                }
                Ok(Committed::Conflict(stored)) => match self.adopt(inner, *stored).await {
                    Ok(()) => {}
                    Err(RegistryError::Store(error)) => {
                        return self.give_up(inner, requests, error).await;
                    }
                    Err(error) => return answer_all(inner, requests, &error),
                },
                Ok(Committed::Missing) => {
                    self.forget(inner);
                    return answer_all(inner, requests, &RegistryError::Gone);
                }
                Err(error) => return self.give_up(inner, requests, error).await,
            }
        }
        let error = StoreError::Unavailable("other nodes change the job too often".to_owned());
        self.give_up(inner, requests, error).await;
    }

    /// Commits a batch. When the store did not answer it is asked whether it has done it all the
    /// same; and once more to do it, when other nodes use it too: then it is the way there that
    /// failed, as a rule, which is another one by now.
    async fn commit(&self, inner: &Inner, batch: &Batch) -> Result<Committed, StoreError> {
        let prev = batch.job.seq;
        let done = |stored: &Stored| {
            let first = batch.first_if_done(stored)?;
            Some(Committed::Done { prev, first })
        };
        let mut is_last = !inner.is_shared();
        loop {
            match inner.store.commit(batch.commit()).await {
                Ok(Committed::Conflict(stored)) => {
                    // The first try may have come late and all the same before the second.
                    return Ok(done(&stored).unwrap_or(Committed::Conflict(stored)));
                }
                Ok(committed) => return Ok(committed),
                Err(error) => {
                    let loaded = inner.store.load(self.job_id(), inner.clock.now()).await;
                    let Ok(Loaded::Job(stored)) = loaded else {
                        return Err(error);
                    };
                    if let Some(done) = done(&stored) {
                        return Ok(done);
                    }
                    let may_come_twice = stored.job.seq != prev;
                    if is_last || may_come_twice {
                        return Err(error);
                    }
                    is_last = true;
                }
            }
        }
    }

    /// Refuses requests that the store failed. Whether it did what it was asked is unknown, so
    /// its state is read at the next occasion: now, with the next request, or in a second, which
    /// also gives a deadline that could not be kept another chance.
    async fn give_up(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        requests: Vec<Request>,
        error: StoreError,
    ) {
        self.lock().is_doubtful = true;
        self.set_alarm(inner, inner.clock.now().plus_seconds(RETRY_SECONDS));
        answer_all(inner, requests, &error.into());
        // What was committed although its answer was lost is shown without waiting for a report.
        let _ = self.reread(inner).await;
    }

    /// Takes over what the store holds. The last state is never left again: what the store may
    /// hold after it is another job of the same name.
    async fn reread(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        if !self.lock().current.is_finished() {
            let loaded = inner.store.load(self.job_id(), inner.clock.now()).await;
            let outcome = match loaded {
                Ok(Loaded::Job(stored)) => self.adopt(inner, *stored).await,
                Ok(Loaded::Gone(_) | Loaded::Unknown) => {
                    self.forget(inner);
                    return Err(RegistryError::Gone);
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                self.set_alarm(inner, inner.clock.now().plus_seconds(RETRY_SECONDS));
                return Err(error);
            }
        }
        let mut desk = self.lock();
        desk.is_doubtful = false;
        desk.is_verified = true;
        Ok(())
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
        {
            let mut desk = self.lock();
            for (report_id, answer) in batch.remembered() {
                desk.ledger.remember(report_id, answer, batch.now);
            }
        }
        for stage in batch.stages(prev, first) {
            let reminder =
                self.hub
                    .publish(stage.job, &stage.events, stage.is_status, Instant::now());
            remind(inner, self, reminder);
        }
        self.keep(inner, job);
        batch.answer(requests, &inner.metrics);
    }

    /// Takes over a state that was committed elsewhere, or whose commit was not answered. That of
    /// another job which has taken the name is none of this slot's, nor of its clients'.
    async fn adopt(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        stored: Stored,
    ) -> Result<(), RegistryError> {
        let Stored { job, ledger, .. } = stored;
        if job.origin.incarnation != self.origin.incarnation {
            self.forget(inner);
            return Err(RegistryError::Gone);
        }
        let before = self.job().seq;
        if job.seq > before {
            match self.events_between(inner, before, job.seq).await? {
                Some(events) => {
                    let job = Arc::clone(&job);
                    let reminder = self.hub.publish(job, &events, true, Instant::now());
                    remind(inner, self, reminder);
                }
                None => self.hub.publish_gap(Arc::clone(&job)),
            }
            self.keep(inner, job);
        } else if job.seq == before {
            // A sign of life that another node took has no seq.
            let mut desk = self.lock();
            if job.reported_at > desk.current.reported_at {
                desk.current = job;
            }
        }
        // Also at the same seq: answers and rows take none.
        self.lock().ledger.absorb(ledger);
        Ok(())
    }

    /// The events of a change that was made elsewhere; `None` when not all are known: some were
    /// dropped, or nobody is there to be shown them. Whoever joins meanwhile finds out for itself.
    async fn events_between(
        &self,
        inner: &Inner,
        after: Seq,
        upto: Seq,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        if self.hub.watchers() == 0 {
            return Ok(None);
        }
        let kept = inner.store.events_after(&self.origin, after).await?;
        let mut events = kept.events;
        events.retain(|event| event.seq <= upto);
        Ok((kept.dropped <= after).then_some(events))
    }

    /// Makes `job` the state that the next batch works on.
    fn keep(self: &Arc<Self>, inner: &Arc<Inner>, job: Arc<Job>) {
        let is_finished = job.is_finished();
        self.lock().current = job;
        self.stop_if_over();
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
        self.stop_if_over();
    }

    fn answer_current(&self, requests: Vec<Request>) {
        let answer = answer_of(&self.lock().current);
        for request in requests {
            let _ = request.reply.send(Ok(answer.clone()));
        }
    }
}

fn answer_all(inner: &Inner, requests: Vec<Request>, error: &RegistryError) {
    for request in requests {
        request.count(false, &inner.metrics);
        let _ = request.reply.send(Err(error.clone()));
    }
}

/// The answer to a report that left the job like this.
pub(super) fn answer_of(job: &Job) -> Answer {
    Answer {
        job_id: job.id().clone(),
        status: job.face.state,
        seq: job.seq,
        cancel_requested: job.face.cancel_requested,
    }
}
