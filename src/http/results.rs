//! Result rows: appended by workers, read page by page, and as a download that is streamed and never held.

pub(super) mod append;
mod csv;

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{Method, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use serde::Serialize;

use self::csv::Columns;
use super::{
    ApiError,
    openapi::operations as op,
    permit::{Read, Target},
    query::Query,
};
use crate::{
    auth::Principal,
    job::{JobId, Json},
    registry::{JobHandle, RegistryError},
};

/// Rows of a page unless asked otherwise, and at most.
const PAGE_LIMITS: (u64, u64) = (100, 1_000);

/// Rows that a download reads at a time.
const DOWNLOAD_SLICE: usize = 1_000;

#[derive(Serialize)]
struct Page<'a> {
    job_id: &'a JobId,
    page: u64,
    per_page: u64,
    total: u64,
    results: Vec<Json>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    next: Option<String>,
    prev: Option<String>,
}

/// The formats of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
    Ndjson,
}

/// Why a download stops before its end.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the credential has ended")]
    Ended,
}

/// Read result rows
///
/// Page by page, also while the job runs.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/results", operation_id = "getResults", tag = "results",
    params(op::ResultsPage), responses(op::ResultsPage), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"])),
)]
pub(super) async fn page(
    Target { job, .. }: Target<Read>,
    query: Query,
) -> Result<Response, ApiError> {
    let page = query.number("page", 1, u64::from(u32::MAX))?.unwrap_or(1);
    let per_page = query
        .number("per_page", 1, PAGE_LIMITS.1)?
        .unwrap_or(PAGE_LIMITS.0);
    let from = (page - 1) * per_page;
    let found = job.rows(from, per_page as usize).await?;
    let link = |page: u64| {
        format!(
            "/api/v1/jobs/{}/results?page={page}&per_page={per_page}",
            job.id()
        )
    };
    let body = Page {
        job_id: job.id(),
        page,
        per_page,
        total: found.total,
        links: Links {
            next: (from + per_page < found.total).then(|| link(page + 1)),
            prev: (page > 1).then(|| link(page - 1)),
        },
        results: found.rows,
    };
    let headers = [(header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, axum::Json(body)).into_response())
}

/// Download all result rows
///
/// As one file, streamed.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/download", operation_id = "downloadResults", tag = "results",
    params(op::Download), responses(op::Download), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"])),
)]
pub(super) async fn download(
    Target { job, principal, .. }: Target<Read>,
    method: Method,
    query: Query,
) -> Result<Response, ApiError> {
    let format = match query.get("format") {
        None | Some("csv") => Format::Csv,
        Some("json") => Format::Json,
        Some("ndjson") => Format::Ndjson,
        Some(_) => return Err(ApiError::invalid("format", "must be csv, json or ndjson")),
    };
    let (content_type, ending) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Json => ("application/json", "json"),
        Format::Ndjson => ("application/x-ndjson", "ndjson"),
    };
    // A name has no quote, backslash or control character, so that it needs no escaping here.
    let disposition = format!("attachment; filename=\"{}.{ending}\"", job.id());
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if method == Method::HEAD {
        // Of unknown length, as the file itself is.
        let body = Body::from_stream(stream::empty::<Result<Bytes, Infallible>>());
        return Ok((headers, body).into_response());
    }
    let columns = match format {
        Format::Csv => columns_of(&job).await?,
        Format::Json | Format::Ndjson => Columns::default(),
    };
    let body = Body::from_stream(write_rows(job, principal, format, columns));
    Ok((headers, body).into_response())
}

/// The columns of all rows that are there: what a first pass finds.
async fn columns_of(job: &JobHandle) -> Result<Columns, RegistryError> {
    let mut columns = Columns::default();
    let mut from = 0;
    loop {
        let found = job.rows(from, DOWNLOAD_SLICE).await?;
        columns.take(&found.rows);
        from += found.rows.len() as u64;
        if found.rows.is_empty() || columns.is_full() {
            return Ok(columns);
        }
    }
}

/// The file, slice by slice. A store that stops answering, the job's removal, or the end of the
/// credential breaks the download off: half a file must not look like a whole one.
fn write_rows(
    job: JobHandle,
    principal: Principal,
    format: Format,
    columns: Columns,
) -> impl Stream<Item = Result<Bytes, BrokenOff>> {
    let start = Some((job, principal, columns, 0_u64));
    stream::try_unfold(start, move |state| async move {
        let Some((job, principal, columns, from)) = state else {
            return Ok(None);
        };
        if principal.has_ended() {
            return Err(BrokenOff::Ended);
        }
        let found = job.rows(from, DOWNLOAD_SLICE).await?;
        let is_first = from == 0;
        let is_last = found.rows.is_empty();
        let bytes = match format {
            Format::Csv => columns.write(&found.rows, is_first),
            Format::Json => json_slice(&found.rows, is_first, is_last),
            Format::Ndjson => found.rows.iter().fold(Vec::new(), |mut out, row| {
                out.extend_from_slice(row.as_str().as_bytes());
                out.push(b'\n');
                out
            }),
        };
        let from = from + found.rows.len() as u64;
        let rest = (!is_last).then_some((job, principal, columns, from));
        Ok(Some((Bytes::from(bytes), rest)))
    })
}

fn json_slice(rows: &[Json], is_first: bool, is_last: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if is_first {
        out.push(b'[');
    }
    for (index, row) in rows.iter().enumerate() {
        if !is_first || index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(row.as_str().as_bytes());
    }
    if is_last {
        out.extend_from_slice(b"]\n");
    }
    out
}
