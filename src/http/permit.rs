//! Permission as types: who asks, with the scope that a handler needs.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::{Method, request::Parts},
};

use super::{
    ApiError, App, ErrorCode, Policy,
    body::BodyReader,
    credentials::{self, Ways},
};
use crate::{
    auth::{Principal, Scope},
    job::{Answer, Command, JobId, ReportId},
    registry::{JobHandle, RegistryError},
};

/// A scope as a type.
pub(super) trait Needs: Send + Sync {
    /// The scope.
    const SCOPE: Scope;

    /// Whether the call is what a browser's `EventSource` asks for, or what it falls back to.
    const TAKES_TICKETS: bool = false;

    /// Whether what other nodes have done with the job has to be known before. Where the call is a change of the job,
    /// the store finds out, in the same round trip.
    const NEEDS_NEWEST: bool = true;
}

/// `jobs:read`
#[derive(Debug)]
pub(super) enum Read {}

/// `jobs:read`, or a ticket for the job in the path, or the cookie of a used one.
#[derive(Debug)]
pub(super) enum Watch {}

/// `jobs:write`
#[derive(Debug)]
pub(super) enum Write {}

/// `jobs:write`, for a report or events.
#[derive(Debug)]
pub(super) enum Change {}

/// `jobs:cancel`
#[derive(Debug)]
pub(super) enum Cancel {}

/// `admin`
#[derive(Debug)]
pub(super) enum Admin {}

/// Somebody who has authenticated and has the scope.
#[derive(Debug)]
pub(super) struct Permit<S> {
    pub(super) principal: Principal,
    /// By which the request is served to its end.
    pub(super) policy: Arc<Policy>,
    scope: PhantomData<S>,
}

impl<S> Permit<S> {
    /// Asks for another scope besides.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub(super) fn also_needs<T: Needs>(&self) -> Result<(), ApiError> {
        require(&self.principal, T::SCOPE)
    }

    /// Reads the request's body as it may be read.
    pub(super) fn reader<'r>(&'r self, app: &'r App) -> BodyReader<'r> {
        BodyReader {
            usage: &app.usage,
            limits: &self.policy.limits,
            principal: &self.principal,
        }
    }
}

/// Put among a request's extensions by whom the request is refused already, but not before somebody
/// has looked who asks.
#[derive(Debug, Clone)]
pub(super) struct Refused(pub(super) ApiError);

/// The job in the path, which exists, and on which the caller may act with the scope.
#[derive(Debug)]
pub(super) struct Target<S> {
    pub(super) principal: Principal,
    pub(super) policy: Arc<Policy>,
    pub(super) job: JobHandle,
    scope: PhantomData<S>,
}

impl<S> Target<S> {
    /// Reads the request's body as it may be read.
    pub(super) fn reader<'r>(&'r self, app: &'r App) -> BodyReader<'r> {
        BodyReader {
            usage: &app.usage,
            limits: &self.policy.limits,
            principal: &self.principal,
        }
    }
}

impl Target<Change> {
    /// Applies a change. The job was taken as this node knows it: when that one is gone, another node may have given
    /// its name to another job. That one is looked for then, and gets the change, which `again` reads once more.
    pub(super) async fn apply(
        &mut self,
        app: &App,
        first: (Command, Option<ReportId>),
        again: impl FnOnce() -> Result<(Command, Option<ReportId>), ApiError>,
    ) -> Result<Answer, ApiError> {
        let (command, report_id) = first;
        match self.job.apply(command, report_id).await {
            Err(RegistryError::Gone) => {}
            outcome => return Ok(outcome?),
        }
        let job_id = self.job.id().as_str();
        self.job = app.job(&self.policy, &self.principal, job_id).await?;
        let (command, report_id) = again()?;
        Ok(self.job.apply(command, report_id).await?)
    }
}

/// The `{id}` of the path, or whatever its one part is called, decoded; empty when it is no text.
#[derive(Debug)]
pub(super) struct PathId(pub(super) String);

impl Needs for Read {
    const SCOPE: Scope = Scope::JobsRead;
}

impl Needs for Watch {
    const SCOPE: Scope = Scope::JobsRead;
    const TAKES_TICKETS: bool = true;
}

impl Needs for Write {
    const SCOPE: Scope = Scope::JobsWrite;
}

impl Needs for Change {
    const SCOPE: Scope = Scope::JobsWrite;
    const NEEDS_NEWEST: bool = false;
}

impl Needs for Cancel {
    const SCOPE: Scope = Scope::JobsCancel;
}

impl Needs for Admin {
    const SCOPE: Scope = Scope::Admin;
}

impl<S: Needs> FromRequestParts<Arc<App>> for Permit<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        let job_id = match is_read && S::TAKES_TICKETS {
            true => Some(path_id(parts, app).await),
            false => None,
        };
        let ways = Ways {
            query_token: is_read && S::SCOPE == Scope::JobsRead,
            ticket_for: job_id.as_deref(),
        };
        let policy = Policy::of(&parts.extensions);
        let principal = credentials::authenticate(app, &policy, parts, ways).await;
        if let Some(Refused(error)) = parts.extensions.get() {
            // Of a credential that does not hold nothing more is said than without one.
            return Err(match principal {
                Ok(_) => error.clone(),
                Err(_) => error.clone().plainly(),
            });
        }
        let principal = principal?;
        app.usage.take_request(principal.account())?;
        require(&principal, S::SCOPE)?;
        Ok(Self {
            principal,
            policy,
            scope: PhantomData,
        })
    }
}

impl<S: Needs> FromRequestParts<Arc<App>> for Target<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let permit = Permit::<S>::from_request_parts(parts, app).await?;
        app.refuse_while_draining()?;
        let job_id = path_id(parts, app).await;
        let (policy, principal) = (&permit.policy, &permit.principal);
        let job = match S::NEEDS_NEWEST {
            true => app.job(policy, principal, &job_id).await?,
            false => {
                let job_id = JobId::parse(&job_id);
                let job_id = job_id.map_err(|_| ApiError::new(ErrorCode::JobNotFound))?;
                app.job_as_known(policy, principal, &job_id).await?
            }
        };
        Ok(Self {
            principal: permit.principal,
            policy: permit.policy,
            job,
            scope: PhantomData,
        })
    }
}

impl FromRequestParts<Arc<App>> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(path_id(parts, app).await))
    }
}

fn require(principal: &Principal, scope: Scope) -> Result<(), ApiError> {
    if principal.may(scope) {
        return Ok(());
    }
    let message = format!("The scope {scope} is missing");
    Err(ApiError::new(ErrorCode::Forbidden).because(message))
}

async fn path_id(parts: &mut Parts, app: &Arc<App>) -> String {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.map(|Path(id)| id).unwrap_or_default()
}
