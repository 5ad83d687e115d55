//! `GET /docs`: the document as a page, without anything from elsewhere.
//!
//! Swagger UI shows it. `build.rs` takes its files out of the crate that carries its releases and
//! compresses them; they are sent as they are kept, since every browser of the last twenty years
//! takes gzip. The page's policy allows nothing but these files and calls to this server.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{
    super::{ApiError, ErrorCode, permit::PathId},
    Asset, op,
};

/// What the page may load and do: its own files, calls to this server, and the pictures that are
/// written in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static PAGE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "text/html; charset=utf-8",
        include_bytes!("page/index.html").as_slice().into(),
    )
});

/// A file of the page.
struct File {
    name: &'static str,
    asset: LazyLock<Asset>,
    is_compressed: bool,
}

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

static FILES: [File; 4] = [
    File {
        name: "page.js",
        asset: LazyLock::new(|| {
            Asset::new(JAVASCRIPT, include_bytes!("page/page.js").as_slice().into())
        }),
        is_compressed: false,
    },
    File {
        name: "swagger-ui-bundle.js",
        asset: LazyLock::new(|| {
            Asset::new(JAVASCRIPT, built!("swagger-ui-bundle.js").as_slice().into())
        }),
        is_compressed: true,
    },
    File {
        name: "swagger-ui.css",
        asset: LazyLock::new(|| {
            Asset::new(
                "text/css; charset=utf-8",
                built!("swagger-ui.css").as_slice().into(),
            )
        }),
        is_compressed: true,
    },
    File {
        name: "LICENSE",
        asset: LazyLock::new(|| {
            Asset::new(
                "text/plain; charset=utf-8",
                built!("LICENSE").as_slice().into(),
            )
        }),
        is_compressed: true,
    },
];

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

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
    let mut response = PAGE.answer(&headers);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
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
    let file = FILES.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| ApiError::new(ErrorCode::RouteNotFound))?;
    let mut response = file.asset.answer(&headers);
    if file.is_compressed && response.status() == StatusCode::OK {
        let gzip = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

/// What the page consists of.
pub(super) fn file_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}
