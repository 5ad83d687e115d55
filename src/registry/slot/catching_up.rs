//! How a slot comes to what others have done, or what the store did without an answer.

use std::{sync::Arc, time::Instant};

use super::{Request, Slot, follow::Heard, serve::RETRY_SECONDS};
use crate::{
    job::{Event, ReportId, Seq},
    registry::{Inner, RegistryError, timekeeper::remind},
    store::{Loaded, StoreError, Stored},
};

/// A store that remembers the names of removed jobs for less than this, in seconds, may have
/// forgotten a removal that this node has not heard of yet.
const LEAST_GONE_SECONDS: u64 = 60;

impl Slot {
    /// Reads the store when the job has moved there.
    pub(super) async fn catch_up(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
    ) -> Result<(), RegistryError> {
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
    pub(super) async fn take_over(
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

    /// Takes over what the store holds. The last state is never left again: what the store may
    /// hold after it is another job of the same name.
    pub(super) async fn reread(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        let is_finished = {
            let mut desk = self.lock();
            // First: what raises a doubt while the store is read is not in what is read.
            desk.is_doubtful = false;
            desk.current.is_finished()
        };
        if !is_finished && let Err(error) = self.read(inner).await {
            if matches!(error, RegistryError::Store(_)) {
                self.lock().is_doubtful = true;
                self.set_alarm(inner, inner.clock.now().plus_seconds(RETRY_SECONDS));
            }
            return Err(error);
        }
        self.lock().is_verified = true;
        Ok(())
    }

    async fn read(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), RegistryError> {
        let mut may_be_lost =
            inner.is_shared() && inner.settings.load().gone_seconds >= LEAST_GONE_SECONDS;
        loop {
            match inner.store.load(self.job_id(), inner.clock.now()).await? {
                Loaded::Job(stored) => return self.adopt(inner, *stored).await,
                // Of a job that was removed the store would say so: this one it has lost.
                Loaded::Unknown if may_be_lost => {
                    may_be_lost = false;
                    self.put_back(inner).await?;
                }
                Loaded::Gone(_) | Loaded::Unknown => {
                    self.forget(inner);
                    return Err(RegistryError::Gone);
                }
            }
        }
    }

    /// Gives the store the job as it is here: it has lost it, or its newest changes.
    pub(in crate::registry) async fn put_back(&self, inner: &Inner) -> Result<(), StoreError> {
        let Some(shared) = inner.store.shared() else {
            return Ok(());
        };
        tracing::warn!(job.id = %self.job_id(), "the store has lost what it held of a job: it is put back");
        shared.restore(&self.job()).await
    }

    /// Learns what the job remembers of the reports that requests are named by.
    pub(super) async fn look_up_answers(
        &self,
        inner: &Inner,
        requests: &[Request],
    ) -> Result<(), StoreError> {
        let named = requests
            .iter()
            .filter_map(|request| request.report_id.clone());
        let named: Vec<ReportId> = named.collect();
        if let Some(shared) = inner.store.shared() {
            let answers = shared.answers(&self.origin, &named).await?;
            self.lock().ledger.absorb(answers);
        }
        Ok(())
    }

    /// Takes over a state that was committed elsewhere, or whose commit was not answered. That of
    /// another job which has taken the name is none of this slot's, nor of its clients'.
    pub(super) async fn adopt(
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
        } else if inner.is_shared() {
            // A crash, or a change to a copy that was behind, took it back.
            self.put_back(inner).await?;
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
}
