//! `POST …/results`: rows from a worker outside, as an array that is taken whole or as lines that are
//! taken as they come.

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::{
    http::{
        ApiError, App, ErrorCode,
        body::{Media, report_id, unsupported},
        credentials::ended,
        limits::BodyShare,
        ndjson::{LONGEST_SILENCE, Lines},
        openapi::operations as op,
        permit::{Target, Write},
        query::Query,
    },
    job::{Answer, Command, JobId, Json, ReportId, Seq, parse_row, parse_rows},
    registry::JobHandle,
};

/// Lines are appended so many rows at a time, and a request that is repeated under its key in the
/// same portions: what was appended before is then known, portion by portion.
const PORTION_ROWS: usize = 1_000;

/// How many bytes of rows make a portion full before that.
const PORTION_BYTES: usize = 512 * 1024;

/// The answer: how many rows the request brought, and the job after them.
#[derive(Serialize)]
struct RowsAnswer {
    job_id: JobId,
    seq: Seq,
    rows: u64,
    cancel_requested: bool,
}

/// Rows on their way to a job.
struct Appending {
    job: JobHandle,
    attempt: Option<u32>,
    report_id: Option<ReportId>,
    portion: Vec<Json>,
    portion_bytes: usize,
    portions_done: u64,
    appended: u64,
}

/// Append result rows
///
/// An array of JSON objects, all or none of which are taken, or NDJSON of any length: that is appended as
/// it comes, 1,000 rows at a time, and a bad line ends it with the rows before its portion kept. Under an
/// `Idempotency-Key` the same body can be sent again, however far it came: no row is there twice.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/results", operation_id = "appendResults", tag = "results",
    params(op::AppendResults), responses(op::AppendResults), security((), ("bearer" = ["jobs:write"])),
)]
pub(in crate::http) async fn append(
    target: Target<Write>,
    State(app): State<Arc<App>>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.usage.take_reports(target.principal.account(), 1)?;
    let attempt = query.number("attempt", 1, u64::from(u32::MAX))?;
    let mut appending = Appending {
        job: target.job.clone(),
        attempt: attempt.and_then(|attempt| attempt.try_into().ok()),
        report_id: report_id(&headers, None)?,
        portion: Vec::new(),
        portion_bytes: 0,
        portions_done: 0,
        appended: 0,
    };
    match Media::of(&headers) {
        Media::Unnamed | Media::Json => {
            let body = target.reader(&app).read_json(&headers, body).await?;
            appending.portion = parse_rows(&body)?;
        }
        Media::Ndjson => {
            let mut incoming = Incoming::new(&app, &target, body);
            while let Some(row) = incoming.next(&appending).await? {
                appending.push(row).await?;
            }
        }
        _ => return Err(unsupported("application/json or application/x-ndjson")),
    }
    let answer = appending.flush().await?;
    let body = RowsAnswer {
        job_id: answer.job_id,
        seq: answer.seq,
        rows: appending.appended,
        cancel_requested: answer.cancel_requested,
    };
    Ok(axum::Json(body).into_response())
}

impl Appending {
    async fn push(&mut self, row: Json) -> Result<(), ApiError> {
        self.portion_bytes += row.as_str().len();
        self.portion.push(row);
        if self.portion.len() == PORTION_ROWS || self.portion_bytes >= PORTION_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Appends what is there; without any row it is a sign of life.
    async fn flush(&mut self) -> Result<Answer, ApiError> {
        let rows = std::mem::take(&mut self.portion);
        let count = rows.len() as u64;
        let report_id = self.report_id.as_ref();
        let report_id = report_id.map(|report_id| report_id.of_part(self.portions_done));
        let command = match self.attempt {
            Some(attempt) => Command::OfAttempt(attempt, Box::new(Command::Rows(rows))),
            None => Command::Rows(rows),
        };
        let answer = self.job.apply(command, report_id).await?;
        self.portion_bytes = 0;
        self.portions_done += 1;
        self.appended += count;
        Ok(answer)
    }
}

/// Rows as they come in the lines of a body.
struct Incoming<'r> {
    app: &'r App,
    target: &'r Target<Write>,
    body: BodyDataStream,
    lines: Lines,
    share: BodyShare,
}

impl<'r> Incoming<'r> {
    fn new(app: &'r App, target: &'r Target<Write>, body: Body) -> Self {
        Self {
            app,
            target,
            body: body.into_data_stream(),
            lines: Lines::new(target.policy.limits.ndjson_line_bytes),
            share: app.usage.body_share(),
        }
    }

    /// The next row; `None` at the end of the body.
    async fn next(&mut self, appending: &Appending) -> Result<Option<Json>, ApiError> {
        loop {
            if let Some(line) = self.lines.next_line() {
                let row = line.and_then(|text| Ok(parse_row(&text)?));
                let (number, kept) = (self.lines.number(), appending.appended);
                return row.map(Some).map_err(|error| {
                    let message = format!(
                        "Line {number}: {}; {kept} rows before it are kept",
                        error.message()
                    );
                    error.because(message)
                });
            }
            if self.lines.has_ended() {
                return Ok(None);
            }
            let piece = self.read().await?;
            self.lines.feed(piece);
            let held = self.lines.held_bytes() + appending.portion_bytes;
            let most = self.target.policy.limits.bodies_in_flight_bytes;
            self.share.resize(held, most)?;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ApiError> {
        let invalid = |message| Err(ApiError::new(ErrorCode::InvalidRequest).because(message));
        let principal = &self.target.principal;
        tokio::select! {
            biased;
            () = self.app.registry.draining().cancelled() => Err(ApiError::new(ErrorCode::Draining)),
            () = principal.ended() => Err(ended(principal)),
            piece = self.body.next() => match piece {
                Some(Ok(bytes)) => Ok(Some(bytes)),
                None => Ok(None),
                // The last line may be half a line, and the last portion less than it will be.
                Some(Err(_)) => invalid("The body ended early"),
            },
            () = tokio::time::sleep(LONGEST_SILENCE) => invalid("The body did not come in time"),
        }
    }
}

#[cfg(test)]
mod tests;
