//! `GET /docs`: the document as a page, without anything from elsewhere.
//!
//! Swagger UI shows it. `build.rs` takes its files out of the crate that carries its releases and
//! compresses them.

use std::sync::LazyLock;

use axum::{http::HeaderMap, response::Response};

use super::{
    super::{
        ApiError, ErrorCode,
        asset::{Asset, CSS, HTML, JAVASCRIPT, TEXT},
        permit::PathId,
    },
    op,
};

static PAGE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(HTML, include_bytes!("page/index.html").as_slice().into()));

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

/// The files of the page, by name.
static FILES: [(&str, LazyLock<Asset>); 4] = [
    (
        "page.js",
        LazyLock::new(|| Asset::new(JAVASCRIPT, include_bytes!("page/page.js").as_slice().into())),
    ),
    (
        "swagger-ui-bundle.js",
        LazyLock::new(|| Asset::compressed(JAVASCRIPT, built!("swagger-ui-bundle.js"))),
    ),
    (
        "swagger-ui.css",
        LazyLock::new(|| Asset::compressed(CSS, built!("swagger-ui.css"))),
    ),
    (
        "LICENSE",
        LazyLock::new(|| Asset::compressed(TEXT, built!("LICENSE"))),
    ),
];

/// The page of this document
///
/// Loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "getDocs",
    tag = "server",
    params(op::Page),
    responses(op::Page)
)]
pub(in crate::http) async fn page(headers: HeaderMap) -> Response {
    PAGE.page(&headers)
}

/// A file of the page
///
/// Swagger UI, under the Apache License 2.0 (`LICENSE`), and the line that starts it.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    operation_id = "getDocsFile",
    tag = "server",
    params(op::PageFile),
    responses(op::PageFile)
)]
pub(in crate::http) async fn file(
    PathId(name): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let file = FILES.iter().find(|(known, _)| *known == name);
    let (_, asset) = file.ok_or_else(|| ApiError::new(ErrorCode::RouteNotFound))?;
    Ok(asset.answer(&headers))
}

/// What the page consists of.
pub(super) fn file_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}
