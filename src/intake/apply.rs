//! Some reports at once: read, taken to their jobs in order, and answered.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;

use crate::{
    job::{Command, FieldError, JobId, Refusal, Report, ReportId},
    registry::{JobHandle, Registry, RegistryError, Submission},
};

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
}

impl<'a> Pushed<'a> {
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

/// Takes reports to their jobs, each job's in order, and waits for what comes of them. Those of a
/// job that is held up wait for another time; one that fails holds its job up.
pub(super) async fn apply(
    registry: &Registry,
    pushed: &[Pushed<'_>],
    held_up: &mut HashSet<JobId>,
) -> Vec<Outcome> {
    let jobs = find(registry, pushed).await;
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(pushed.len());
    let mut by_job: HashMap<&JobId, Vec<usize>> = HashMap::new();
    for (place, pushed) in pushed.iter().enumerate() {
        outcomes.push(match &pushed.report {
            Err(outcome) => Some(outcome.clone()),
            Ok(report) if held_up.contains(&report.job_id) => {
                Some(Outcome::Failed("the job is held up".to_owned()))
            }
            Ok(report) => match &jobs[&report.job_id] {
                Ok(_) => {
                    by_job.entry(&report.job_id).or_default().push(place);
                    None
                }
                Err(error) => Some(error.into()),
            },
        });
    }
    // All are under way before the first is waited for; a job's reports make one commit.
    let mut under_way: Vec<(Vec<usize>, Vec<Submission>)> = Vec::new();
    for (job_id, places) in by_job {
        let Ok(job) = &jobs[job_id] else {
            continue;
        };
        let reports = places
            .iter()
            .filter_map(|place| pushed[*place].report.as_ref().ok());
        let commands = reports.map(|report| {
            let command = Command::Report(Box::new(report.report.clone()));
            (command, report.report_id.clone())
        });
        let submissions = job.submit_together(commands);
        under_way.push((places, submissions));
    }
    for (places, submissions) in under_way {
        for (place, answer) in places.into_iter().zip(join_all(submissions).await) {
            outcomes[place] = Some(match answer {
                Ok(_) => Outcome::Accepted,
                Err(error) => (&error).into(),
            });
        }
    }
    let missing = || Outcome::Failed("it was not answered".to_owned());
    let outcomes: Vec<Outcome> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(missing))
        .collect();
    for (pushed, outcome) in pushed.iter().zip(&outcomes) {
        if let (Ok(report), Outcome::Failed(_)) = (&pushed.report, outcome) {
            held_up.insert(report.job_id.clone());
        }
    }
    outcomes
}

/// The jobs of some reports, each looked up once.
async fn find(
    registry: &Registry,
    pushed: &[Pushed<'_>],
) -> HashMap<JobId, Result<JobHandle, RegistryError>> {
    let reports = pushed
        .iter()
        .filter_map(|pushed| pushed.report.as_ref().ok());
    let names: HashSet<&JobId> = reports.map(|report| &report.job_id).collect();
    let finding = names
        .into_iter()
        .map(async |job_id| (job_id.clone(), registry.find_fresh(job_id).await));
    join_all(finding).await.into_iter().collect()
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
