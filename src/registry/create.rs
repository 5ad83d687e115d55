//! Creating a job, once, however often and wherever the request is repeated.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{JobHandle, LifecycleEvent, Registry, RegistryError, slot::Slot};
use crate::{
    job::{Job, JobId, Ledger, NewJob, ReportId},
    store::{Created, Input, Stored},
};

/// For how long those who begin the same job find each other: longer than a look at the store and a creation take.
const BEGIN_TOGETHER: Duration = Duration::from_secs(60);

impl Registry {
    /// Begins a job of a kind for `owner`, after `last`, the newest that it has had. Of several who do so at the same
    /// time, on any node, one creates the job and all get it.
    ///
    /// # Errors
    /// As [`Registry::create`].
    pub async fn begin(
        &self,
        new_job: NewJob,
        owner: Option<String>,
        last: Option<&Job>,
    ) -> Result<(JobHandle, bool), RegistryError> {
        let now = self.inner.clock.now();
        let last = last.map(|job| job.origin.incarnation);
        let key = serde_json::to_string(&(&new_job.kind, &owner, last)).expect("strings serialize");
        let key = format!("begin:{key}");
        let candidate = Uuid::now_v7();
        // They all see the same last job, and the first of them names the next. Whoever comes once that is there sees it.
        let found = self
            .inner
            .store
            .put_if_absent(&key, candidate.as_bytes(), Some(BEGIN_TOGETHER), now)
            .await?;
        let job_id = Uuid::from_slice(&found).unwrap_or(candidate);
        let new_job = NewJob {
            job_id: Some(JobId::from(job_id)),
            ..new_job
        };
        self.create(new_job, owner, None, None).await
    }

    /// Creates a job for `owner`, or finds the one that the same request created before.
    ///
    /// The flag says whether the job is new. `key` is the client's own name for the request.
    pub async fn create(
        &self,
        new_job: NewJob,
        owner: Option<String>,
        key: Option<&ReportId>,
        input: Option<Input>,
    ) -> Result<(JobHandle, bool), RegistryError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let wanted = new_job.job_id.clone();
        let mut job_id = wanted
            .clone()
            .unwrap_or_else(|| JobId::from(Uuid::now_v7()));
        let candidate = job_id.clone();
        if let Some(key) = key {
            // The owner is part of the key, so that nobody meets another's requests.
            let key = format!("{}\n{}", owner.as_deref().unwrap_or_default(), key.as_str());
            job_id = inner.store.reserve(&key, &job_id, now).await?;
            if wanted.is_some_and(|wanted| wanted != job_id) {
                return Err(RegistryError::Exists);
            }
            if job_id != candidate && matches!(self.find(&job_id).await, Err(RegistryError::Gone)) {
                // A repetition of the request must not do removed work again.
                return Err(RegistryError::Gone);
            }
        }
        let content = input
            .as_ref()
            .map(|input| (input.format.as_str(), &*input.content));
        let job = new_job.into_job(
            job_id.clone(),
            owner,
            content,
            &inner.settings.load().defaults,
            Uuid::now_v7(),
            now,
        );
        if inner.unfinished_jobs() >= inner.settings.load().max_jobs {
            // Only what is there already can be answered.
            return match self.find(&job_id).await {
                Ok(existing) => same_request(existing, &job),
                Err(RegistryError::NotFound | RegistryError::Gone) => Err(RegistryError::Full),
                Err(error) => Err(error),
            };
        }
        if inner.is_shared()
            && let Ok(Some(held)) = inner.held(&job_id).await
        {
            // A store that has lost the job would make another one in the place of what is held here;
            // looking at it puts it back.
            match held.refresh(inner).await {
                Ok(()) if !held.job().is_finished() => {
                    return same_request(self.handle(held), &job);
                }
                Ok(()) | Err(RegistryError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        let created = inner.store.create(&job, input.as_ref()).await;
        if created.is_err() && inner.is_shared() {
            // It may be there all the same, and nobody tells this node of what it has done itself.
            inner.lifecycle.look_at(job_id.clone());
        }
        match created? {
            Created::Done(seq) => {
                let job = Arc::new(Job { seq, ..job });
                let stored = Stored {
                    job,
                    ledger: Ledger::default(),
                    nonce: None,
                };
                let slot = self.hold_created(stored).await?;
                slot.watch_the_clock(inner);
                inner.lifecycle.tell(&LifecycleEvent::Entered(slot.job()));
                Ok((self.handle(slot), true))
            }
            Created::Exists(stored) => {
                let existing = match self.find(&job_id).await {
                    Ok(existing) => existing,
                    // It went between the two looks; what it was still decides.
                    Err(_) => self.handle(self.slot(*stored, true)),
                };
                same_request(existing, &job)
            }
            Created::Full => Err(RegistryError::NoRoom),
        }
    }

    /// The held slot of a job that was just created.
    async fn hold_created(&self, stored: Stored) -> Result<Arc<Slot>, RegistryError> {
        let inner = &self.inner;
        // Others may have found the job, changed it and let it go again before this.
        let slot = self.slot(stored, inner.is_shared());
        loop {
            let held = inner.hold(Arc::clone(&slot));
            if Arc::ptr_eq(&held, &slot) {
                // A store that does not answer now is asked again before the slot is used.
                let _ = slot.verify(inner).await;
                return Ok(slot);
            }
            // Either somebody has found the job before its creator could hold it: then that slot
            // knows of the creation once its writer has read the store. Or it is that of an
            // earlier job of the same name, and about to be let go.
            match held.refresh(inner).await {
                Ok(()) | Err(RegistryError::Gone) => {}
                Err(error) => return Err(error),
            }
            if held.job().seq >= slot.job().seq {
                return Ok(held);
            }
            inner.let_go(&held);
        }
    }
}

/// The answer to a creation whose name is taken: the job, when the very same request made it.
fn same_request(existing: JobHandle, job: &Job) -> Result<(JobHandle, bool), RegistryError> {
    let origin = &existing.job().origin;
    if origin.digest == job.origin.digest && origin.owner == job.origin.owner {
        Ok((existing, false))
    } else {
        Err(RegistryError::Exists)
    }
}
