//! The API's own description: the OpenAPI document, made from the routes, and its page.
//!
//! A route is added through `routes!`, which takes the description at the handler: none can exist
//! without. What is long in a description stands in `operations`, what is shared in `schemas` and
//! `answers`. The domain knows nothing of it; tests hold the schemas against real answers.

mod answers;
mod bodies;
mod document;
pub(super) mod operations;
pub(super) mod page;
mod parameters;
mod schemas;
mod shape;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::status::names;
pub(super) use document::base;
use operations as op;

/// The document as text, the same for as long as the program runs.
static DOCUMENT: LazyLock<Asset> = LazyLock::new(|| {
    let document = document::finish(super::routes(true).into_openapi());
    let mut text =
        serde_json::to_string_pretty(&document).expect("a document of strings and numbers");
    text.push('\n');
    Asset::new("application/json", text.into())
});

/// Something that is the same until the program is exchanged for another.
struct Asset {
    content_type: &'static str,
    content: Bytes,
    /// In quotes.
    tag: HeaderValue,
}

/// The OpenAPI document, pretty-printed; what `GET /openapi.json` answers.
pub fn document() -> &'static str {
    std::str::from_utf8(&DOCUMENT.content).expect("it was made from a string")
}

/// This document
///
/// OpenAPI 3.1, made from the server's own routes.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getDocument",
    tag = "server",
    params(op::Document),
    responses(op::Document)
)]
pub(super) async fn json(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers)
}

impl Asset {
    fn new(content_type: &'static str, content: Bytes) -> Self {
        let hash = digest(&SHA256, &content);
        // Half of it is more than enough to tell versions apart.
        let tag = format!("\"{}\"", hex::encode(&hash.as_ref()[..16]));
        Self {
            content_type,
            content,
            tag: HeaderValue::try_from(tag).expect("hexadecimal digits in quotes"),
        }
    }

    /// The content, or that it is known already.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag.to_str().unwrap_or_default();
        let known = headers.get_all(header::IF_NONE_MATCH);
        let is_known = known.iter().any(|value| names(value, tag));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            (
                [(header::CONTENT_TYPE, self.content_type)],
                self.content.clone(),
            )
                .into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        // Kept, and asked about each time: another program may answer at this address tomorrow.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}
