//! What every handler shares.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{ApiError, ErrorCode, Metrics, Passes, Policy, Usage, credentials};
use crate::{
    auth::{Principal, WATCH_TOKEN_GRACE_SECONDS},
    job::{Job, JobId, Timestamp},
    registry::{JobHandle, Registry, RegistryError},
    runner::Runners,
    store::Former,
    stream::StreamSettings,
    view::{View, Views},
};

/// The parts of a running server that requests need.
#[derive(Debug)]
pub struct App {
    /// The jobs.
    pub registry: Registry,
    /// The built-in workers.
    pub runners: Runners,
    /// How streams are paced and ended.
    pub streams: Arc<StreamSettings>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether operators have an address of their own, so that `/metrics` is served there alone.
    pub has_admin_listener: bool,
    /// Who may, and how much.
    pub policy: ArcSwap<Policy>,
    /// What the server signs itself.
    pub passes: Passes,
    /// How much of it is in use.
    pub usage: Usage,
    /// The other vocabularies that it speaks.
    pub views: Views,
}

impl App {
    /// Who may, and how much, at this moment. A request is given the answer at its beginning and keeps to it.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The job of that name, when it exists and `principal` may act on it by `policy`.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_GONE`, `FORBIDDEN`, `STORE_UNAVAILABLE`; `UNAUTHORIZED` for a watch token whose time is over.
    pub async fn job(
        &self,
        policy: &Policy,
        principal: &Principal,
        job_id: &str,
    ) -> Result<JobHandle, ApiError> {
        self.job_that(policy, principal, job_id, |_| true).await
    }

    /// The same through a view, to which jobs of other kinds do not exist.
    ///
    /// # Errors
    /// As [`App::job`].
    pub async fn job_in(
        &self,
        view: &View,
        policy: &Policy,
        principal: &Principal,
        job_id: &str,
    ) -> Result<JobHandle, ApiError> {
        let is_shown = |job: &Job| view.shows(job);
        self.job_that(policy, principal, job_id, is_shown).await
    }

    async fn job_that(
        &self,
        policy: &Policy,
        principal: &Principal,
        job_id: &str,
        exists: impl FnOnce(&Job) -> bool,
    ) -> Result<JobHandle, ApiError> {
        // A name that no job can have is the name of no job.
        let job_id = JobId::parse(job_id).map_err(|_| ApiError::new(ErrorCode::JobNotFound))?;
        let found = self.registry.find_fresh(&job_id).await;
        // Before whose it is: of a job that does not exist here not even that is said.
        let found = found.and_then(|job| match exists(&job.job()) {
            true => Ok(job),
            false => Err(RegistryError::NotFound),
        });
        self.permit(policy, principal, &job_id, found).await
    }

    /// The same for a change of the job, which the store compares with what others have done: the job as far as this
    /// node knows it. Only a refusal is looked at anew, since the name may be another job's by now.
    ///
    /// # Errors
    /// As [`App::job`].
    pub async fn job_as_known(
        &self,
        policy: &Policy,
        principal: &Principal,
        job_id: &JobId,
    ) -> Result<JobHandle, ApiError> {
        let found = self.registry.find(job_id).await;
        let was_found = found.is_ok();
        match self.permit(policy, principal, job_id, found).await {
            Err(_) if was_found => {
                let found = self.registry.find_fresh(job_id).await;
                self.permit(policy, principal, job_id, found).await
            }
            outcome => outcome,
        }
    }

    async fn permit(
        &self,
        policy: &Policy,
        principal: &Principal,
        job_id: &JobId,
        found: Result<JobHandle, RegistryError>,
    ) -> Result<JobHandle, ApiError> {
        let handle = match found {
            Err(RegistryError::Gone) => return Err(self.gone(policy, principal, job_id).await?),
            found => found?,
        };
        let job = handle.job();
        if !may_act_on(principal, job_id, &Former::of(&job.origin)) {
            return Err(foreign(policy));
        }
        if principal.is_watch_token() && is_past_grace(&job, self.registry.now()) {
            return Err(credentials::invalid_pass());
        }
        Ok(handle)
    }

    /// What somebody is told of a job that is gone.
    async fn gone(
        &self,
        policy: &Policy,
        principal: &Principal,
        job_id: &JobId,
    ) -> Result<ApiError, ApiError> {
        if policy.hides_foreign_jobs && !principal.may_act_on_all() {
            let former = self.registry.former(job_id).await?;
            if !former.is_some_and(|former| may_act_on(principal, job_id, &former)) {
                return Ok(foreign(policy));
            }
        }
        Ok(ApiError::new(ErrorCode::JobGone))
    }

    /// When somebody who was turned away should come back.
    pub fn retry_after(&self) -> Duration {
        self.streams.retry
    }

    /// Refuses work once the server is shutting down.
    ///
    /// # Errors
    /// `DRAINING`.
    pub fn refuse_while_draining(self: &Arc<Self>) -> Result<(), ApiError> {
        if self.registry.is_draining() {
            return Err(ApiError::new(ErrorCode::Draining).retry_after(self.retry_after()));
        }
        Ok(())
    }
}

/// What somebody is told of a job that is not theirs.
fn foreign(policy: &Policy) -> ApiError {
    if policy.hides_foreign_jobs {
        return ApiError::new(ErrorCode::JobNotFound);
    }
    ApiError::new(ErrorCode::Forbidden).because("This job belongs to somebody else")
}

/// Whether the job is within reach; for the bearer of a pass that very job, and not another one of its name.
fn may_act_on(principal: &Principal, job_id: &JobId, which: &Former) -> bool {
    let is_bound_elsewhere = principal
        .bond()
        .is_some_and(|bond| bond.incarnation != which.incarnation);
    !is_bound_elsewhere && principal.may_act_on(job_id.as_str(), which.owner.as_deref())
}

/// Whether a job has ended so long ago that its watch tokens have ended too.
fn is_past_grace(job: &Job, now: Timestamp) -> bool {
    let end = job.face.finished_at;
    end.is_some_and(|end| end.plus_seconds(WATCH_TOKEN_GRACE_SECONDS) <= now)
}
