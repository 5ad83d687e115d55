//! `POST /reports`: many reports in one request, read as a stream and answered as a stream.
//!
//! The body of the answer does the work: as long as hyper polls it, lines are read and applied.
//! So a client that does not read its answer stops its own reports and nobody else's, and one
//! that leaves takes everything with it but the reports that are under way.

mod under_way;

use std::{collections::HashSet, convert::Infallible, future::pending, pin::pin, sync::Arc};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    ApiError, App, ErrorCode, Policy,
    body::{Media, unsupported},
    limits::BodyShare,
    ndjson::{LONGEST_SILENCE, Lines},
    openapi::operations as op,
    permit::{Permit, Write},
};
use crate::{
    auth::Principal,
    job::{Command, JobId, Report},
    registry::{Gathering, JobHandle},
};
use under_way::{Answered, MOST_UNDER_WAY, UnderWay};

/// Refused lines that are told one by one; more are only counted.
const MOST_REFUSALS: u64 = 1_000;

/// One request at work.
struct Intake {
    app: Arc<App>,
    principal: Principal,
    policy: Arc<Policy>,
    body: BodyDataStream,
    /// What was read and is no whole line yet, or waits behind one that is held back.
    lines: Lines,
    /// Its part of what all bodies may hold.
    share: BodyShare,
    /// A line for which it is too early, and when it may be taken. Nothing is read meanwhile: so a
    /// client that sends too fast is slowed down and loses nothing.
    held_back: Option<(String, Instant)>,
    /// Reports that wait for the next ones before they are applied.
    gathering: Gathering,
    /// Reports that are not answered, in the order of their lines.
    under_way: UnderWay,
    accepted: u64,
    refused: u64,
    /// Jobs whose cancellation the client was told of.
    told_cancelled: HashSet<JobId>,
    is_silent_after: Instant,
    /// Ready when the client may not report any more.
    ended: BoxFuture<'static, ()>,
    /// Lines of the answer that wait to be written.
    out: Vec<u8>,
}

/// What to do next.
enum Turn {
    Bytes(Option<Bytes>),
    Answered(Answered),
    /// The line that was held back may be taken now.
    Resumed,
    End(Option<ErrorCode>),
}

/// Report on many jobs
///
/// Lines of NDJSON, each a report with its `job_id`, read as a stream and applied in order per job. A bad
/// line never stops the rest.
#[utoipa::path(
    post, path = "/api/v1/reports", operation_id = "reportMany", tag = "jobs",
    params(op::Reports), responses(op::Reports), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn reports(
    Permit {
        principal, policy, ..
    }: Permit<Write>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.refuse_while_draining()?;
    if !matches!(
        Media::of(&headers),
        Media::Unnamed | Media::Ndjson | Media::Json
    ) {
        return Err(unsupported("application/x-ndjson"));
    }
    let intake = Intake {
        lines: Lines::new(policy.limits.ndjson_line_bytes),
        share: app.usage.body_share(),
        held_back: None,
        app,
        ended: principal.ended().boxed(),
        principal,
        policy,
        body: body.into_data_stream(),
        gathering: Gathering::default(),
        under_way: UnderWay::default(),
        accepted: 0,
        refused: 0,
        told_cancelled: HashSet::new(),
        is_silent_after: Instant::now() + LONGEST_SILENCE,
        out: Vec::new(),
    };
    let answer = stream::unfold(Some(intake), |intake| async {
        let mut intake = intake?;
        let has_more = intake.work_until_output().await;
        let output = Bytes::from(std::mem::take(&mut intake.out));
        Some((Ok::<_, Infallible>(output), has_more.then_some(intake)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
    ];
    Ok((headers, Body::from_stream(answer)).into_response())
}

impl Intake {
    /// Goes on until there is something to write; says whether there will be more.
    async fn work_until_output(&mut self) -> bool {
        while self.out.is_empty() {
            match self.next_turn().await {
                Turn::Answered(answered) => self.answered(answered),
                Turn::Bytes(bytes) => {
                    self.is_silent_after = Instant::now() + LONGEST_SILENCE;
                    self.lines.feed(bytes);
                    self.take_lines().await;
                }
                Turn::Resumed => {
                    // The client was not silent, but not listened to.
                    self.is_silent_after = Instant::now() + LONGEST_SILENCE;
                    if let Some((text, _)) = self.held_back.take() {
                        self.take_or_hold_back(text).await;
                    }
                    self.take_lines().await;
                }
                Turn::End(reason) => {
                    self.finish(reason).await;
                    return false;
                }
            }
            if self.lines.has_ended() && self.held_back.is_none() {
                self.finish(None).await;
                return false;
            }
            let most = self.policy.limits.bodies_in_flight_bytes;
            if self.share.resize(self.held_bytes(), most).is_err() {
                self.finish(Some(ErrorCode::RateLimited)).await;
                return false;
            }
        }
        true
    }

    /// Bytes that came and are not applied yet.
    fn held_bytes(&self) -> usize {
        let held_back = self.held_back.as_ref().map_or(0, |(text, _)| text.len());
        self.lines.held_bytes() + held_back
    }

    async fn next_turn(&mut self) -> Turn {
        let resume_at = self.held_back.as_ref().map(|(_, at)| *at);
        let resume = async {
            match resume_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
        };
        let is_reading = resume_at.is_none() && !self.lines.has_ended();
        tokio::select! {
            biased;
            answered = self.under_way.next() => Turn::Answered(answered),
            () = self.app.registry.draining().cancelled() => Turn::End(Some(ErrorCode::Draining)),
            () = &mut self.ended => Turn::End(Some(ErrorCode::TokenExpired)),
            () = resume => Turn::Resumed,
            () = tokio::time::sleep_until(self.is_silent_after), if is_reading => Turn::End(None),
            chunk = self.body.next(), if is_reading => match chunk {
                Some(Ok(bytes)) => Turn::Bytes(Some(bytes)),
                // The client broke off: what it sent whole still counts.
                Some(Err(_)) | None => Turn::Bytes(None),
            },
        }
    }

    /// Applies every whole line of the buffer, and at the end of the body what is left of it, until
    /// one has to wait.
    async fn take_lines(&mut self) {
        let mut taken = 0;
        while self.held_back.is_none() {
            if taken == MOST_UNDER_WAY {
                // A piece of the body may hold thousands of lines: others have to have their turn in between, while
                // nothing is gathered that they might wait for.
                self.apply_gathered();
                tokio::task::yield_now().await;
                taken = 0;
            }
            taken += 1;
            match self.lines.next_line() {
                None => break,
                Some(Ok(text)) => self.take_or_hold_back(text).await,
                Some(Err(error)) => self.refuse(self.lines.number(), None, &error),
            }
        }
        self.apply_gathered();
    }

    /// Applies what is gathered, and takes the answers that are there at once.
    fn apply_gathered(&mut self) {
        self.gathering.begin();
        while let Some(answered) = self.under_way.next_at_once() {
            self.answered(answered);
        }
    }

    async fn take_or_hold_back(&mut self, text: String) {
        match self.app.usage.take_report_or_wait(self.principal.account()) {
            None => self.take_line(&text).await,
            Some(wait) => self.held_back = Some((text, Instant::now() + wait)),
        }
    }

    async fn take_line(&mut self, text: &str) {
        let line = self.lines.number();
        let addressed = match Report::parse(text.as_bytes(), &self.app.registry.bounds()) {
            Ok(addressed) => addressed,
            Err(error) => return self.refuse(line, named_job(text), &error.into()),
        };
        let Some(job_id) = addressed.job_id else {
            return self.refuse(
                line,
                None,
                &ApiError::invalid("job_id", "must not be missing"),
            );
        };
        let job = match self.find(&job_id).await {
            Ok(job) => job,
            Err(error) => return self.refuse(line, Some(job_id), &error),
        };
        if self.under_way.is_full() {
            self.apply_gathered();
        }
        while self.under_way.is_full() {
            let answered = self.under_way.next().await;
            self.answered(answered);
        }
        let command = Command::Report(Box::new(addressed.report));
        // Submitted here and now: that fixes the order of a job's reports.
        let submission = job.submit_into(&mut self.gathering, command, addressed.report_id);
        self.under_way.push(line, job_id, submission);
    }

    /// The job that a line is about. A look for one that is not at hand may wait for a writer that begins with this
    /// very gathering, which has to begin then: else both would wait for ever.
    async fn find(&mut self, job_id: &JobId) -> Result<JobHandle, ApiError> {
        let Self {
            app,
            policy,
            principal,
            gathering,
            ..
        } = self;
        let mut found = pin!(app.job_as_known(policy, principal, job_id));
        match found.as_mut().now_or_never() {
            Some(found) => found,
            None => {
                gathering.begin();
                found.await
            }
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered {
            line,
            job_id,
            outcome,
        } = answered;
        match outcome {
            Ok(answer) => {
                self.accepted += 1;
                if answer.cancel_requested && self.told_cancelled.insert(job_id.clone()) {
                    #[derive(Serialize)]
                    struct Told<'a> {
                        job_id: &'a JobId,
                        cancel_requested: bool,
                    }
                    self.write(&Told {
                        job_id: &job_id,
                        cancel_requested: true,
                    });
                }
            }
            Err(error) => self.refuse(line, Some(job_id), &error.into()),
        }
    }

    fn refuse(&mut self, line: u64, job_id: Option<JobId>, error: &ApiError) {
        #[derive(Serialize)]
        struct Refused<'a> {
            line: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            job_id: Option<JobId>,
            error: LineError<'a>,
        }
        self.refused += 1;
        self.app.metrics.refused(error.code());
        if let Some(cause) = error.cause() {
            tracing::warn!(line, cause, "a line of reports was refused");
        }
        if self.refused <= MOST_REFUSALS {
            let error = LineError {
                code: error.code().as_str(),
                message: error.message(),
            };
            self.write(&Refused {
                line,
                job_id,
                error,
            });
        }
    }

    /// Waits for what is under way and writes the last line.
    async fn finish(&mut self, reason: Option<ErrorCode>) {
        #[derive(Serialize)]
        struct Last<'a> {
            accepted: u64,
            refused: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<LineError<'a>>,
        }
        self.apply_gathered();
        while !self.under_way.is_empty() {
            let answered = self.under_way.next().await;
            self.answered(answered);
        }
        let error = reason.map(|code| LineError {
            code: code.as_str(),
            message: code.message(),
        });
        let (accepted, refused) = (self.accepted, self.refused);
        self.write(&Last {
            accepted,
            refused,
            error,
        });
    }

    fn write<T: Serialize>(&mut self, line: &T) {
        serde_json::to_writer(&mut self.out, line).expect("a line of the answer serializes");
        self.out.push(b'\n');
    }
}

#[derive(Serialize)]
struct LineError<'a> {
    code: &'a str,
    message: &'a str,
}

/// The job that a refused line names, if it is JSON that far.
fn named_job(text: &str) -> Option<JobId> {
    let line: serde_json::Value = serde_json::from_str(text).ok()?;
    JobId::parse(line.get("job_id")?.as_str()?).ok()
}

#[cfg(test)]
mod tests;
