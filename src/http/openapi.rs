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

use axum::{http::HeaderMap, response::Response};

use super::asset::Asset;
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

/// The OpenAPI document, pretty-printed; what `GET /openapi.json` answers.
pub fn document() -> &'static str {
    std::str::from_utf8(DOCUMENT.content()).expect("it was made from a string")
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
