//! `GET /`: the dashboard, a page that uses nothing but the API.
//!
//! Its sources stand in `clients/dashboard`, and what is made of them in `assets/dashboard`, so that
//! building the server needs no Node. It needs no credential to load: it holds no job, and asks
//! for the credential that its calls need.

use std::sync::LazyLock;

use axum::{http::HeaderMap, response::Response};

use super::{
    ApiError, ErrorCode,
    asset::{Asset, CSS, HTML, JAVASCRIPT, TEXT},
    openapi::operations as op,
    permit::PathId,
};

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/dashboard/", $name, ".gz"))
    };
}

static PAGE: LazyLock<Asset> = LazyLock::new(|| Asset::compressed(HTML, built!("index.html")));

/// The files of the page, by name.
static FILES: [(&str, LazyLock<Asset>); 3] = [
    (
        "dashboard.js",
        LazyLock::new(|| Asset::compressed(JAVASCRIPT, built!("dashboard.js"))),
    ),
    (
        "style.css",
        LazyLock::new(|| Asset::compressed(CSS, built!("style.css"))),
    ),
    (
        "LICENSES.txt",
        LazyLock::new(|| Asset::compressed(TEXT, built!("LICENSES.txt"))),
    ),
];

/// The dashboard
///
/// Every job, live, and a page for each. Loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "getDashboard",
    tag = "server",
    params(op::Page),
    responses(op::Page)
)]
pub(super) async fn page(headers: HeaderMap) -> Response {
    PAGE.page(&headers)
}

/// A file of the dashboard
///
/// The program, its style sheet, and the licences of what they were made of.
#[utoipa::path(
    get,
    path = "/assets/{file}",
    operation_id = "getDashboardFile",
    tag = "server",
    params(op::DashboardFile),
    responses(op::DashboardFile)
)]
pub(super) async fn file(PathId(name): PathId, headers: HeaderMap) -> Result<Response, ApiError> {
    let file = FILES.iter().find(|(known, _)| *known == name);
    let (_, asset) = file.ok_or_else(|| ApiError::new(ErrorCode::RouteNotFound))?;
    Ok(asset.answer(&headers))
}

/// What the page consists of.
pub(super) fn file_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}
