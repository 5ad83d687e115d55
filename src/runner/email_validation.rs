//! The runner of the kind `email-validation`: a list of addresses in, a result row for each out.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    panic::resume_unwind,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    JobContext, JobError, Runner,
    email::{AddressList, Checker, CheckerConfig, InputError, Row, Summary},
    worker::internal_failure,
};
use crate::{
    config::{DnsSource, EmailRunnerConfig},
    job::{Count, Json, Patch, Report},
    store::Input,
};

/// The code of a job whose input is no list of addresses.
const INVALID_INPUT: &str = "INVALID_INPUT";

/// Most rows in one commit: below this a commit costs more than the rows in it.
const CHUNK_ROWS: usize = 500;

/// For how long a row waits for its chunk to fill: a fifth of the pace at which watchers see it.
const CHUNK_TIME: Duration = Duration::from_millis(200);

/// How many rows are read at once to count what earlier attempts found.
const PAGE_ROWS: usize = 1_000;

/// Checks lists of e-mail addresses.
///
/// The input is plain text, CSV or JSON (see [`input`](super::email::input)); a list that is unusable as a whole
/// fails the job with `INVALID_INPUT` and a sentence that says what is wrong where. Result rows
/// ([`Row`]) stand in the order of the list, one for each address; the result is a [`Summary`].
/// A job takes memory for its list and for the rows of one chunk, whoever watches.
pub struct EmailValidation {
    /// One for all jobs, so that they share the bound on questions to DNS.
    checker: Checker,
    step: &'static str,
    max_emails: usize,
    concurrency: NonZeroUsize,
}

/// The rows that wait for their commit, and what they have in common.
struct Chunk {
    rows: Vec<Json>,
    /// The newest row's domain.
    domain: Option<String>,
    due: Instant,
}

impl EmailValidation {
    /// A runner by `[runner.email]`. Sets DNS up, as [`Checker::new`] does.
    pub fn new(config: &EmailRunnerConfig) -> Self {
        let at_least_one = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            checker: Checker::new(CheckerConfig {
                dns: config.dns,
                concurrency: at_least_one(config.max_concurrent_lookups),
                timeout: config.lookup_timeout(),
                max_per_second: NonZeroU32::new(config.max_per_second),
            }),
            step: match config.dns {
                DnsSource::System | DnsSource::Server(_) => "Checking mail servers",
                DnsSource::Off => "Checking addresses",
            },
            max_emails: config.max_emails,
            concurrency: at_least_one(config.max_concurrent_jobs),
        }
    }
}

#[async_trait]
impl Runner for EmailValidation {
    fn kind(&self) -> &'static str {
        "email-validation"
    }

    fn unit(&self) -> Option<&'static str> {
        Some("emails")
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.concurrency
    }

    async fn run(&self, mut context: JobContext, input: Option<Input>) -> Result<Json, JobError> {
        let report = Report {
            step: Patch::Set("Reading the list".to_owned()),
            ..Report::default()
        };
        context.report(report).await?;
        let list = Arc::new(read(&context, input, self.max_emails).await?);
        let mut summary = summarize(&context).await?;
        let report = Report {
            processed_count: Some(Count::saturating(context.row_count())),
            total_count: Patch::Set(Count::saturating(list.len() as u64)),
            step: Patch::Set(self.step.to_owned()),
            ..Report::default()
        };
        context.report(report).await?;

        let from = usize::try_from(context.row_count()).unwrap_or(usize::MAX);
        let mut rows = pin!(self.checker.rows(list, from));
        let mut chunk = Chunk::new();
        loop {
            let next = tokio::select! {
                biased;
                () = context.stopped() => {
                    chunk.commit(&mut context).await?;
                    return Err(JobError::Stopped);
                }
                next = timeout_at(chunk.due, rows.next()) => next,
            };
            match next {
                Ok(Some(row)) => {
                    summary.add(&row);
                    chunk.push(&row);
                }
                Ok(None) => break,
                Err(_) => {}
            }
            if chunk.is_due() {
                chunk.commit(&mut context).await?;
            }
        }
        chunk.commit(&mut context).await?;
        Ok(Json::of(&summary).expect("a summary consists of names and numbers"))
    }
}

impl Chunk {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            domain: None,
            due: Instant::now() + CHUNK_TIME,
        }
    }

    fn push(&mut self, row: &Row) {
        self.rows
            .push(Json::of(row).expect("a row consists of texts"));
        let normalized = row.normalized.as_deref();
        // Only the domain: who is on the list is for those who may read the results.
        if let Some((_, domain)) = normalized.and_then(|address| address.rsplit_once('@')) {
            let shown = self.domain.get_or_insert_default();
            domain.clone_into(shown);
        }
    }

    fn is_due(&self) -> bool {
        self.rows.len() >= CHUNK_ROWS || Instant::now() >= self.due
    }

    /// Commits what has gathered, if anything, and begins anew.
    async fn commit(&mut self, context: &mut JobContext) -> Result<(), JobError> {
        let chunk = std::mem::replace(self, Self::new());
        if chunk.rows.is_empty() {
            return Ok(());
        }
        let processed = context.row_count() + chunk.rows.len() as u64;
        let report = Report {
            processed_count: Some(Count::saturating(processed)),
            message: chunk.domain.map_or(Patch::Keep, Patch::Set),
            ..Report::default()
        };
        context.append(chunk.rows, report).await
    }
}

/// Reads the list on a thread where it holds nobody up: 32 MiB take a while. Stops with the job.
async fn read(
    context: &JobContext,
    input: Option<Input>,
    max_emails: usize,
) -> Result<AddressList, JobError> {
    let Some(input) = input else {
        let message = "The job has no input; it needs a list of e-mail addresses";
        return Err(JobError::failed(INVALID_INPUT, message));
    };
    let stop = CancellationToken::new();
    // A thread does not end with the future that waits for it, unless it is told.
    let _stop_with_us = stop.clone().drop_guard();
    let is_stopped = move || stop.is_cancelled();
    let parse = move || AddressList::parse(&input.content, input.format, max_emails, &is_stopped);
    let read = tokio::select! {
        read = tokio::task::spawn_blocking(parse) => read,
        // Without a wait for the thread, so that no thread can hold up a cancellation or a drain.
        () = context.stopped() => return Err(JobError::Stopped),
    };
    match read {
        Ok(Ok(list)) => Ok(list),
        Ok(Err(InputError::Stopped)) => Err(JobError::Stopped),
        Ok(Err(error)) => Err(JobError::failed(INVALID_INPUT, error.to_string())),
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(JobError::Stopped),
    }
}

/// What earlier attempts found.
async fn summarize(context: &JobContext) -> Result<Summary, JobError> {
    let mut summary = Summary::default();
    while summary.total < context.row_count() {
        for row in &context.rows(summary.total, PAGE_ROWS).await?.rows {
            let row = serde_json::from_str(row.as_str()).map_err(|error| {
                tracing::error!(
                    job.id = %context.job_id(), %error,
                    "a stored result row is not one of this runner's"
                );
                JobError::Failed(internal_failure())
            })?;
            summary.add(&row);
        }
    }
    Ok(summary)
}
