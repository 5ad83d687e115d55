//! Tickets: how a browser's own `EventSource`, which sends no header, watches a job on somebody's credit.
//!
//! A page buys a ticket with its credential and opens the stream with it. The first use sets a cookie, for the path of
//! this job alone, and uses the ticket up; when the browser reconnects by itself, it repeats the spent ticket and
//! brings the cookie. Both are signed and carry what they stand for, so that any node takes them; what bought them is
//! looked up again each time, so that they end with it.

use std::sync::{Arc, OnceLock};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    ApiError, App, ErrorCode, Policy,
    client::Client,
    credentials::invalid_pass,
    openapi::operations as op,
    permit::{Read, Target},
};
use crate::auth::{Bond, Pass, PassMint, Principal};

/// The name of the cookie. One for all jobs: the path keeps them apart.
const COOKIE: &str = "progressd_ticket";

/// How many cookies of that name are tried: a browser sends one for each path that fits, which here is one, unless
/// other pages of the same site have set more of them.
const MOST_COOKIES: usize = 16;

#[derive(Serialize)]
struct TicketAnswer {
    ticket: String,
    expires_in: u64,
}

/// Where the cookie waits for the answer, whatever that becomes: a refusal that passes must not cost the browser its
/// way back.
#[derive(Clone, Default)]
struct CookieSlot(Arc<OnceLock<HeaderValue>>);

/// Buy a ticket for a browser's stream
///
/// Used as `?ticket=` within its time it sets a cookie for this job's stream and status, so that the
/// browser's own reconnects, which repeat the used ticket, work.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/ticket", operation_id = "buyTicket", tag = "watching",
    params(op::Ticket), responses(op::Ticket), security((), ("bearer" = ["jobs:read"])),
)]
pub(super) async fn sell(
    target: Target<Read>,
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<Response, ApiError> {
    target.reader(&app).read_nothing(body).await?;
    let Target { job, principal, .. } = target;
    // A watch token is for who needs no ticket, and would become one that lives longer.
    let Some(admission) = principal.admission().filter(|_| principal.bond().is_none()) else {
        let message = "This token buys no ticket: use it as it is";
        return Err(ApiError::new(ErrorCode::Forbidden).because(message));
    };
    let now = app.registry.now();
    let mint = app.passes.mint(now).await?;
    let bond = bond_of(&job.job().origin);
    let (id, seconds) = (Uuid::new_v4(), now.as_seconds());
    let (account, end) = (principal.account(), principal.expires_at());
    let (ticket, expires_in) = mint.ticket(&bond, admission, account, end, id, seconds);
    let answer = TicketAnswer { ticket, expires_in };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((headers, Json(answer)).into_response())
}

/// Puts the cookie on the answer to a request whose ticket was used.
pub(super) async fn carry_cookie<F: Future<Output = Response>>(
    mut request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    let has_query = request.uri().query().is_some_and(|query| !query.is_empty());
    if !has_query {
        return inner(request).await;
    }
    let slot = CookieSlot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = inner(request).await;
    if let Some(cookie) = slot.0.get() {
        let headers = response.headers_mut();
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    response
}

/// Uses a ticket up, and has the cookie set that stands for it from now on.
///
/// # Errors
/// `UNAUTHORIZED` when it does not hold or was used before, `STORE_UNAVAILABLE`.
pub(super) async fn redeem(
    app: &App,
    policy: &Policy,
    parts: &Parts,
    job_id: &str,
    text: &[u8],
) -> Result<Principal, ApiError> {
    let now = app.registry.now();
    let seconds = now.as_seconds();
    let mint = app.passes.mint(now).await?;
    let ticket = mint.read_ticket(text, seconds).ok_or_else(invalid_pass)?;
    let principal = admitted(policy, &mint, &ticket.pass).ok_or_else(invalid_pass)?;
    if ticket.pass.bond.job_id != job_id {
        // It is still good for its own job; of this one it lets nobody see anything.
        return Ok(principal);
    }
    if !app.passes.spend(ticket.id, now).await? {
        return Err(invalid_pass());
    }
    if let Some(CookieSlot(slot)) = parts.extensions.get::<CookieSlot>() {
        // Nobody else fills the slot of this request.
        let _ = slot.set(set_cookie(&mint, &ticket.pass, parts, seconds));
    }
    Ok(principal)
}

/// Who comes with the cookie of a used ticket: the one for this job, wherever it stands among others. Without it, the
/// bearer of another one, of whom is said that this job is not theirs.
pub(super) async fn by_cookie(
    app: &App,
    policy: &Policy,
    parts: &Parts,
    job_id: &str,
) -> Option<Principal> {
    let mut values = cookies(&parts.headers).take(MOST_COOKIES).peekable();
    values.peek()?;
    let now = app.registry.now();
    let mint = app.passes.mint(now).await.ok()?;
    let seconds = now.as_seconds();
    let mut of_another_job = None;
    for value in values {
        let pass = mint.read_cookie(value.as_bytes(), seconds);
        let Some(principal) = pass.and_then(|pass| admitted(policy, &mint, &pass)) else {
            continue;
        };
        if principal.bond().is_some_and(|bond| bond.job_id == job_id) {
            return Some(principal);
        }
        of_another_job.get_or_insert(principal);
    }
    of_another_job
}

/// What a pass for this very job is bound to.
pub(super) fn bond_of(origin: &crate::job::Origin) -> Bond {
    Bond {
        job_id: origin.job_id.as_str().to_owned(),
        incarnation: origin.incarnation,
    }
}

/// The bearer of a pass, if what bought it still stands in the configuration.
fn admitted(policy: &Policy, mint: &PassMint, pass: &Pass) -> Option<Principal> {
    let bought_it = |admission: &_| mint.was_bought_by(pass, admission);
    let admission = policy.authenticator.find_admission(bought_it)?;
    let bond = pass.bond.clone();
    Some(Principal::of_pass(
        bond,
        pass.expires_at,
        pass.account,
        admission,
    ))
}

/// The values of the cookie, of every `Cookie` header (RFC 6265, section 4.2.1).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let headers = headers.get_all(header::COOKIE).iter();
    let pairs = headers.flat_map(|value| value.to_str().unwrap_or_default().split(';'));
    pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// The header that sets the cookie. Without `Max-Age`, for a buyer without an end, it lives as long as the browser.
fn set_cookie(mint: &PassMint, pass: &Pass, parts: &Parts, now: u64) -> HeaderValue {
    let (value, path) = (mint.cookie(pass), job_path(parts.uri.path()));
    let max_age = pass
        .expires_at
        .map(|end| format!("; Max-Age={}", end - now));
    let secure = is_https(parts).then_some("; Secure");
    let cookie = format!(
        "{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict{}{}",
        max_age.unwrap_or_default(),
        secure.unwrap_or_default()
    );
    HeaderValue::from_str(&cookie)
        .expect("what an id is written with in a path, and base64url, are visible ASCII")
}

/// The job's path as the browser wrote it, escapes included: it compares letter by letter.
fn job_path(requested: &str) -> String {
    let id = requested.split('/').nth(4).unwrap_or_default();
    format!("/api/v1/jobs/{id}")
}

/// Whether the client's side of the connection is https.
fn is_https(parts: &Parts) -> bool {
    let client = parts.extensions.get::<Client>();
    client.is_some_and(|client| client.is_https)
}

#[cfg(test)]
mod tests;
