//! Files that the program carries: the same until it is exchanged for another.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::status::names;

/// `text/html`
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// `text/javascript`
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// `text/css`
pub(super) const CSS: &str = "text/css; charset=utf-8";
/// `text/plain`
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What a page of the server's own may load and do: its files, calls to this server, and pictures
/// that are written in its files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One of them.
pub(super) struct Asset {
    content_type: &'static str,
    content: Bytes,
    /// Sent as it is kept: every browser of the last twenty years takes gzip.
    is_compressed: bool,
    /// In quotes.
    tag: HeaderValue,
}

impl Asset {
    pub(super) fn new(content_type: &'static str, content: Bytes) -> Self {
        let hash = digest(&SHA256, &content);
        // Half of it is more than enough to tell versions apart.
        let tag = format!("\"{}\"", hex::encode(&hash.as_ref()[..16]));
        Self {
            content_type,
            content,
            is_compressed: false,
            tag: HeaderValue::try_from(tag).expect("hexadecimal digits in quotes"),
        }
    }

    /// One that `build.rs` has compressed.
    pub(super) fn compressed(content_type: &'static str, content: &'static [u8]) -> Self {
        Self {
            is_compressed: true,
            ..Self::new(content_type, content.into())
        }
    }

    /// What it holds.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The content, or that it is known already.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
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
        if self.is_compressed && !is_known {
            let gzip = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
        response
    }

    /// The same for a page, with what it may load and do.
    pub(super) fn page(&self, headers: &HeaderMap) -> Response {
        let mut response = self.answer(headers);
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
