//! What every handler shares.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{ApiError, ErrorCode, Metrics, Policy, Usage, limits::Account};
use crate::{
    auth::Principal,
    job::JobId,
    registry::{JobHandle, Registry},
    runner::Runners,
    stream::StreamSettings,
};

/// The parts of a running server that requests need.
#[derive(Debug)]
pub struct App {
    /// The jobs.
    pub registry: Registry,
    /// The built-in workers.
    pub runners: Runners,
    /// How streams are paced and ended.
    pub streams: StreamSettings,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether operators have an address of their own, so that `/metrics` is served there alone.
    pub has_admin_listener: bool,
    /// Who may, and how much.
    pub policy: ArcSwap<Policy>,
    /// How much of it is in use.
    pub usage: Usage,
}

impl App {
    /// Who may, and how much, at this moment: a request asks once and keeps to the answer.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The job of that name, when it exists and `principal` may act on it.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_GONE`, `FORBIDDEN`, `STORE_UNAVAILABLE`.
    pub async fn job(&self, principal: &Principal, job_id: &str) -> Result<JobHandle, ApiError> {
        // A name that no job can have is the name of no job.
        let job_id = JobId::parse(job_id).map_err(|_| ApiError::new(ErrorCode::JobNotFound))?;
        let handle = self.registry.find(&job_id).await?;
        let job = handle.job();
        if principal.may_act_on(job_id.as_str(), job.origin.owner.as_deref()) {
            Ok(handle)
        } else {
            Err(ApiError::new(ErrorCode::Forbidden).because("This job belongs to somebody else"))
        }
    }

    /// Whom limits count a principal as.
    pub(super) fn account(&self, principal: &Principal) -> Option<Account> {
        let mode = self.policy.load().authenticator.mode();
        self.usage.account(mode, principal)
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
