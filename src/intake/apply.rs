//! Some reports at once: read, taken to their jobs in order, and answered.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::held_up::Turn;
use crate::{
    job::{Command, FieldError, JobId, Refusal, Report, ReportId},
    registry::{JobHandle, Registry, RegistryError},
    store::PushedReports,
};

/// How long a job's entries are tried one by one before others have their turn.
const LONGEST_TRIAL: Duration = Duration::from_secs(1);

/// A report that was pushed.
#[derive(Debug)]
pub(super) struct Pushed<'a> {
    /// The entry that it was, or the job of its channel.
    pub(super) source: &'a str,
    /// As it came.
    pub(super) text: &'a [u8],
    report: Result<Addressed, Outcome>,
}

/// A report that can be read.
#[derive(Debug)]
struct Addressed {
    job_id: JobId,
    report_id: Option<ReportId>,
    report: Report,
}

/// What came of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was applied, or had been before.
    Accepted,
    /// It will not be.
    Refused {
        /// The word of the HTTP interface for that.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// It could not be, this time.
    Failed(String),
    /// It could not be for so long that it will not be tried again.
    GivenUp,
    /// It was not tried, since one before it failed.
    Waiting,
}

impl<'a> Pushed<'a> {
    /// The job that it is for, when it can be read.
    pub(super) fn job_id(&self) -> Option<&JobId> {
        self.report.as_ref().ok().map(|report| &report.job_id)
    }

    /// An entry of the stream. Under the id that it has there it counts once, unless it brings one
    /// of its own.
    pub(super) fn entry(
        id: &'a str,
        text: Option<&'a [u8]>,
        most_bytes: usize,
        registry: &Registry,
    ) -> Self {
        let report = match text {
            None => Err(refused(FieldError::new(
                "report",
                "must be the one field of an entry",
            ))),
            Some(text) => read(text, None, most_bytes, registry).map(|mut report| {
                let own = report.report_id.take();
                let by_entry = || ReportId::parse(&format!("redis:{id}")).ok();
                report.report_id = own.or_else(by_entry);
                report
            }),
        };
        Self {
            source: id,
            text: text.unwrap_or_default(),
            report,
        }
    }

    /// A message about a job.
    pub(super) fn message(
        job_id: &'a str,
        text: &'a [u8],
        most_bytes: usize,
        registry: &Registry,
    ) -> Self {
        let report = JobId::parse(job_id)
            .map_err(|rule| refused(FieldError::new("job_id", rule)))
            .and_then(|job_id| read(text, Some(job_id), most_bytes, registry));
        Self {
            source: job_id,
            text,
            report,
        }
    }
}

fn read(
    text: &[u8],
    channel: Option<JobId>,
    most_bytes: usize,
    registry: &Registry,
) -> Result<Addressed, Outcome> {
    if text.len() > most_bytes {
        return Err(Outcome::Refused {
            code: "PAYLOAD_TOO_LARGE",
            message: format!("a report has at most {most_bytes} bytes"),
        });
    }
    let parsed = Report::parse(text, &registry.settings().bounds).map_err(refused)?;
    let job_id = match (parsed.job_id, channel) {
        (Some(named), Some(channel)) if named != channel => {
            let rule = "must be that of the channel";
            return Err(refused(FieldError::new("job_id", rule)));
        }
        (Some(job_id), _) | (None, Some(job_id)) => job_id,
        (None, None) => return Err(refused(FieldError::new("job_id", "is missing"))),
    };
    Ok(Addressed {
        job_id,
        report_id: parsed.report_id,
        report: parsed.report,
    })
}

fn refused(error: FieldError) -> Outcome {
    Outcome::Refused {
        code: "INVALID_REQUEST",
        message: error.to_string(),
    }
}

/// Takes reports to their jobs, each job's in order and as its turn is, and waits for what comes of
/// them.
pub(super) async fn apply(
    registry: &Registry,
    store: &PushedReports,
    pushed: &[Pushed<'_>],
    turn: impl Fn(&JobId) -> Turn,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(pushed.len());
    let mut by_job: HashMap<&JobId, Vec<usize>> = HashMap::new();
    for (place, pushed) in pushed.iter().enumerate() {
        outcomes.push(match &pushed.report {
            Err(outcome) => Some(outcome.clone()),
            Ok(report) => {
                by_job.entry(&report.job_id).or_default().push(place);
                None
            }
        });
    }
    // All are under way before the first is waited for; a job's reports make one commit.
    let mut under_way = Vec::new();
    for (job_id, places) in by_job {
        let reports = places
            .iter()
            .filter_map(|place| pushed[*place].report.as_ref().ok());
        let reports: Vec<&Addressed> = reports.collect();
        let turn = turn(job_id);
        under_way.push(async move {
            let outcomes = take_to(registry, store, job_id, turn, &reports).await;
            (places, outcomes)
        });
    }
    for (places, of_job) in join_all(under_way).await {
        for (place, outcome) in places.into_iter().zip(of_job) {
            outcomes[place] = Some(outcome);
        }
    }
    let missing = || Outcome::Failed("it was not answered".to_owned());
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.unwrap_or_else(missing))
        .collect()
}

/// Takes some reports to their job.
async fn take_to(
    registry: &Registry,
    store: &PushedReports,
    job_id: &JobId,
    turn: Turn,
    reports: &[&Addressed],
) -> Vec<Outcome> {
    if turn == Turn::Wait {
        return vec![Outcome::Waiting; reports.len()];
    }
    let job = match registry.find_fresh(job_id).await {
        Ok(job) => job,
        Err(error) => {
            let mut outcome = Outcome::from(&error);
            if matches!(outcome, Outcome::Failed(_)) && turn == Turn::Each && store.works().await {
                outcome = Outcome::GivenUp;
            }
            return vec![outcome; reports.len()];
        }
    };
    let begin = Instant::now();
    let mut outcomes = Vec::with_capacity(reports.len());
    while turn != Turn::All
        && let Some(report) = reports.get(outcomes.len())
    {
        let outcome = submit(&job, &[report]).await.pop();
        let outcome = outcome.unwrap_or(Outcome::Waiting);
        let has_failed = matches!(outcome, Outcome::Failed(_));
        if !has_failed {
            outcomes.push(outcome);
            break;
        }
        if turn == Turn::Each && store.works().await {
            outcomes.push(Outcome::GivenUp);
            if begin.elapsed() < LONGEST_TRIAL {
                continue;
            }
        } else {
            outcomes.push(outcome);
        }
        outcomes.resize(reports.len(), Outcome::Waiting);
    }
    let rest = submit(&job, &reports[outcomes.len()..]).await;
    outcomes.extend(rest);
    outcomes
}

async fn submit(job: &JobHandle, reports: &[&Addressed]) -> Vec<Outcome> {
    if reports.is_empty() {
        return Vec::new();
    }
    let commands = reports.iter().map(|report| {
        let command = Command::Report(Box::new(report.report.clone()));
        (command, report.report_id.clone())
    });
    let answers = join_all(job.submit_together(commands)).await;
    let outcomes = answers.into_iter().map(|answer| match answer {
        Ok(_) => Outcome::Accepted,
        Err(error) => (&error).into(),
    });
    outcomes.collect()
}

impl From<&RegistryError> for Outcome {
    fn from(error: &RegistryError) -> Self {
        let code = match error {
            RegistryError::NotFound => "JOB_NOT_FOUND",
            RegistryError::Gone => "JOB_GONE",
            RegistryError::Refused(Refusal::Finished(_)) => "JOB_FINISHED",
            RegistryError::Refused(Refusal::StaleAttempt { .. }) => "STALE_ATTEMPT",
            RegistryError::Refused(Refusal::Invalid(_)) => "INVALID_REQUEST",
            RegistryError::Exists
            | RegistryError::Full
            | RegistryError::NoRoom
            | RegistryError::Interrupted
            | RegistryError::Store(_) => return Self::Failed(error.to_string()),
        };
        Self::Refused {
            code,
            message: error.to_string(),
        }
    }
}
