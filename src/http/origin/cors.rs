//! What a page of another origin may see (WHATWG Fetch, section 3.3).
//!
//! Not tower-http's layer: it takes every OPTIONS for a preflight, which would then no longer be
//! answered with `Allow`, and tells origins that may nothing which headers and credentials would do.

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Origins, only_origin};
use crate::view::Views;

/// The methods that have routes.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";

/// What pages may send besides what they may always send.
const REQUEST_HEADERS: &str =
    "authorization, content-type, last-event-id, idempotency-key, if-none-match";

/// What pages may read besides what they may always read.
const EXPOSED_HEADERS: &str = "ETag, Location, Retry-After, X-Request-Id";

/// Seconds for which a preflight holds: as long as Chromium keeps one.
const MAX_AGE: &str = "7200";

/// Tells the browser which pages may read the answer; around everything, so that errors are told too.
pub(in crate::http) async fn share<F: Future<Output = Response>>(
    views: &Views,
    origins: &Origins,
    request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    let origin = only_origin(request.headers()).cloned();
    let is_public = views.is_public(request.uri().path());
    let origin = origin.filter(|origin| origins.allows(origin));
    let mut response = inner(request).await;
    let headers = response.headers_mut();
    // Always, since a cache in between may meet other origins than this one.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if is_public {
        // Without credentials, which browsers then keep to themselves.
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    } else if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Whether a browser asks on behalf of a page what that page may send.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to an origin that is allowed: the same for every path, as permission is asked later.
pub(super) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
