//! `GET /client.js`: the JavaScript client, for pages that are made without npm.
//!
//! Its sources stand in `clients/js`, and what is made of them in `assets/client.js`, so that building
//! the server needs no Node.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::{
    asset::{Asset, JAVASCRIPT},
    openapi::operations as op,
};

/// People fetch it with `curl` too, to keep it: those get it as it is.
static PLAIN: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_bytes!("../../assets/client.js").as_slice();
    Asset::new(JAVASCRIPT, content.into())
});

static COMPRESSED: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_bytes!(concat!(env!("OUT_DIR"), "/client.js.gz"));
    Asset::compressed(JAVASCRIPT, content)
});

/// The JavaScript client
///
/// A module with `watchJob` and `watchJobs`; it also defines the element `<job-progress>`.
#[utoipa::path(
    get,
    path = "/client.js",
    operation_id = "getClient",
    tag = "server",
    params(op::ClientModule),
    responses(op::ClientModule)
)]
pub(super) async fn module(headers: HeaderMap) -> Response {
    let asset = match takes_gzip(&headers) {
        true => &COMPRESSED,
        false => &PLAIN,
    };
    let mut response = asset.answer(&headers);
    let vary = HeaderValue::from_static("Accept-Encoding");
    response.headers_mut().append(header::VARY, vary);
    response
}

/// Whether `Accept-Encoding` names gzip, and not with a weight of nought (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = || {
            weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|weight| weight.parse() == Ok(0.0))
        };
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused()
    })
}
