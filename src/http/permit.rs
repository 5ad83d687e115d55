//! Permission as types: who asks, with the scope that a handler needs.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::{header, request::Parts},
};

use super::{ApiError, App, ErrorCode};
use crate::{
    auth::{Principal, Scope},
    registry::JobHandle,
};

/// A scope as a type.
pub(super) trait Needs: Send + Sync {
    /// The scope.
    const SCOPE: Scope;
}

/// `jobs:read`
#[derive(Debug)]
pub(super) enum Read {}

/// `jobs:write`
#[derive(Debug)]
pub(super) enum Write {}

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
    scope: PhantomData<S>,
}

/// Put among a request's extensions by whom the request is refused already, but not before somebody
/// has looked who asks.
#[derive(Debug, Clone)]
pub(super) struct Refused(pub(super) ApiError);

/// The job in the path, which exists, and on which the caller may act with the scope.
#[derive(Debug)]
pub(super) struct Target<S> {
    pub(super) principal: Principal,
    pub(super) job: JobHandle,
    scope: PhantomData<S>,
}

/// The `{id}` of the path, or whatever its one part is called, decoded; empty when it is no text.
#[derive(Debug)]
pub(super) struct PathId(pub(super) String);

impl Needs for Read {
    const SCOPE: Scope = Scope::JobsRead;
}

impl Needs for Write {
    const SCOPE: Scope = Scope::JobsWrite;
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
        let credentials = parts.headers.get_all(header::AUTHORIZATION);
        let credentials = credentials.iter().map(|value| value.as_bytes());
        let principal = app.policy().authenticator.authenticate(credentials)?;
        if let Some(Refused(error)) = parts.extensions.get() {
            return Err(error.clone());
        }
        app.usage.take_request(app.account(&principal))?;
        if !principal.may(S::SCOPE) {
            let message = format!("The scope {} is missing", S::SCOPE);
            return Err(ApiError::new(ErrorCode::Forbidden).because(message));
        }
        Ok(Self {
            principal,
            scope: PhantomData,
        })
    }
}

impl<S: Needs> FromRequestParts<Arc<App>> for Target<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let permit = Permit::<S>::from_request_parts(parts, app).await?;
        app.refuse_while_draining()?;
        let PathId(job_id) = PathId::from_request_parts(parts, app)
            .await
            .unwrap_or_else(|never| match never {});
        let job = app.job(&permit.principal, &job_id).await?;
        Ok(Self {
            principal: permit.principal,
            job,
            scope: PhantomData,
        })
    }
}

impl FromRequestParts<Arc<App>> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        Ok(Self(path.map(|Path(id)| id).unwrap_or_default()))
    }
}
