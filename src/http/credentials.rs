//! Where a request's credential stands, and whom it lets in.
//!
//! Explicit ones are the header `Authorization`, `?token=` and `?ticket=`; a request has one of them at most, since of
//! two a proxy in between may have checked the other. The cookie of a used ticket counts only where none of them holds.

use std::{borrow::Cow, fmt};

use axum::http::{header, request::Parts};
use form_urlencoded::parse;

use super::{ApiError, App, ErrorCode, Policy, tickets};
use crate::{
    auth::{AuthError, KeyHash, PassMint, Principal, TokenRefusal, bearer, is_shaped_like_token},
    config::AuthMode,
};

/// In which ways a call may be asked for, beside the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways<'r> {
    /// It reads: `?token=`.
    pub(super) query_token: bool,
    /// It is what a browser's `EventSource` asks for, about the job of this id: `?ticket=` and its cookie.
    pub(super) ticket_for: Option<&'r str>,
}

/// An explicit credential; its `Debug` shows where it stands and nothing of it.
enum Explicit<'r> {
    Header(&'r [u8]),
    Token(Cow<'r, str>),
    Ticket(Cow<'r, str>),
}

/// Who asks.
///
/// # Errors
/// `INVALID_REQUEST` for several credentials, `UNAUTHORIZED` for none that holds, `STORE_UNAVAILABLE` when only the
/// store could say.
pub(super) async fn authenticate(
    app: &App,
    policy: &Policy,
    parts: &Parts,
    ways: Ways<'_>,
) -> Result<Principal, ApiError> {
    if policy.authenticator.mode() == AuthMode::Open {
        // Not looked at, so that a client that sends one works there too.
        return Ok(policy.authenticator.everybody());
    }
    let outcome = match explicit(parts)? {
        None => Err(AuthError::InvalidApiKey.into()),
        Some(Explicit::Header(value)) => by_header(app, policy, value).await,
        Some(Explicit::Token(token)) => by_query_token(app, policy, token.as_bytes(), ways).await,
        Some(Explicit::Ticket(ticket)) => match ways.ticket_for {
            Some(job_id) => tickets::redeem(app, policy, parts, job_id, ticket.as_bytes()).await,
            None => Err(invalid_pass()),
        },
    };
    match (outcome, ways.ticket_for) {
        (Err(refusal), Some(job_id)) => {
            let by_cookie = tickets::by_cookie(app, policy, parts, job_id).await;
            by_cookie.ok_or(refusal)
        }
        (outcome, _) => outcome,
    }
}

/// The refusal of something of our own making that does not hold here.
pub(super) fn invalid_pass() -> ApiError {
    AuthError::InvalidToken(TokenRefusal::Pass).into()
}

/// The refusal of a credential that held when the call began, in the words that it would be refused with now.
pub(super) fn ended(principal: &Principal) -> ApiError {
    match principal.expires_at() {
        Some(_) => AuthError::InvalidToken(TokenRefusal::Ended).into(),
        None => AuthError::InvalidApiKey.into(),
    }
}

/// The one explicit credential.
fn explicit(parts: &Parts) -> Result<Option<Explicit<'_>>, ApiError> {
    let headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let in_headers = headers.map(|value| Explicit::Header(value.as_bytes()));
    let query = parse(parts.uri.query().unwrap_or_default().as_bytes());
    let in_query = query.filter_map(|(name, value)| match &*name {
        "token" => Some(Explicit::Token(value)),
        "ticket" => Some(Explicit::Ticket(value)),
        _ => None,
    });
    let mut credentials = in_headers.chain(in_query);
    match (credentials.next(), credentials.next()) {
        (Some(first), Some(second)) => {
            let message =
                format!("The request has two credentials, {first} and {second}: send one");
            Err(ApiError::new(ErrorCode::InvalidRequest).because(message))
        }
        (first, _) => Ok(first),
    }
}

async fn by_header(app: &App, policy: &Policy, value: &[u8]) -> Result<Principal, ApiError> {
    let credential = bearer(value).ok_or(AuthError::InvalidApiKey)?;
    let hash = KeyHash::of(credential);
    if let Some(principal) = policy.authenticator.recognize(&hash) {
        return Ok(principal);
    }
    match by_watch_token(app, credential).await? {
        Some(principal) => Ok(principal),
        None => Ok(policy.authenticator.verify(credential, hash).await?),
    }
}

async fn by_query_token(
    app: &App,
    policy: &Policy,
    token: &[u8],
    ways: Ways<'_>,
) -> Result<Principal, ApiError> {
    if !is_shaped_like_token(token) {
        // An API key in a URL would stand in logs and histories for as long as it lives.
        return Err(AuthError::InvalidApiKey.into());
    }
    let refusal = || ApiError::from(AuthError::InvalidToken(TokenRefusal::NotForQueries));
    if !ways.query_token {
        return Err(refusal());
    }
    if let Some(principal) = by_watch_token(app, token).await? {
        return Ok(principal);
    }
    let principal = policy.authenticator.authenticate_token(token).await?;
    let is_short_lived = principal
        .expires_in()
        .is_some_and(|span| span <= policy.query_token_max);
    if principal.is_read_only() && is_short_lived {
        Ok(principal)
    } else {
        Err(refusal())
    }
}

/// `None` when the credential is something else. Whether its time is over is for its job to say.
async fn by_watch_token(app: &App, credential: &[u8]) -> Result<Option<Principal>, ApiError> {
    if !PassMint::claims_to_be_watch_token(credential) {
        return Ok(None);
    }
    let mint = app.passes.mint(app.registry.now()).await?;
    let bond = mint.read_watch_token(credential).ok_or_else(invalid_pass)?;
    Ok(Some(Principal::of_watch_token(bond)))
}

impl fmt::Display for Explicit<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Header(_) => "the header Authorization",
            Self::Token(_) => "token in the query",
            Self::Ticket(_) => "ticket in the query",
        })
    }
}

impl fmt::Debug for Explicit<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn the_debug_output_of_a_credential_says_where_it_stands_and_nothing_more() {
        let request = Request::get("/?token=show-me-not").body(());
        let (parts, ()) = request.expect("a request").into_parts();
        let found = explicit(&parts).expect("one credential");
        assert_eq!(format!("{found:?}"), "Some(token in the query)");
    }
}
