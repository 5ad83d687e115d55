//! The rules of the domain, by topic; the helpers that all of them share.

use serde_json::{Value, json};

use super::{
    Bounds, Command, Defaults, Job, JobId, NewJob, Refusal, Report, Status, Timestamp, step,
};

mod attempts;
mod bodies;
mod cancel;
mod fold;
mod leases;
mod life;
mod measured;
mod memory;
mod merge;
mod names;
mod progress;
mod status;
mod values;

/// Time passes, and reports could be taken all the while.
const TICK: Command = Command::Tick {
    since: Timestamp::ZERO,
};

/// When the test jobs are created: 2026-11-21, 19:00 UTC.
const START_SECONDS: u64 = 1_795_287_600;

const DEFAULTS: Defaults = Defaults {
    lease_seconds: 60,
    ttl_seconds: 86_400,
    abandon_after_seconds: 7 * 86_400,
};

/// The moment `seconds` after the creation of the test jobs.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros((START_SECONDS + seconds) * 1_000_000)
}

/// A job as the body of `POST /jobs` describes it.
fn created(body: Value) -> Job {
    let new_job = NewJob::parse(body.to_string().as_bytes(), &Bounds::default())
        .expect("the test's creation is valid");
    let job_id = JobId::parse("job-1").expect("a valid name");
    let owner = new_job.owner.clone();
    new_job.into_job(job_id, owner, None, &DEFAULTS, uuid::Uuid::nil(), at(0))
}

fn new_job() -> Job {
    created(json!({}))
}

/// A report as the body of `PATCH /jobs/{id}`.
fn report(body: Value) -> Command {
    let addressed = Report::parse(body.to_string().as_bytes(), &Bounds::default())
        .expect("the test's report is valid");
    Command::Report(Box::new(addressed.report))
}

/// Applies one command within the default bounds; the flag says whether the status changed.
fn applied(job: &Job, command: &Command, seconds: u64) -> Result<(Job, bool), Refusal> {
    let change = step(job, command, &Bounds::default(), at(seconds))?;
    Ok((change.job, change.is_status))
}

/// The job after reports that must all be accepted, one a second.
fn after(mut job: Job, reports: impl IntoIterator<Item = Value>) -> Job {
    for (second, body) in (1..).zip(reports) {
        job = applied(&job, &report(body), second)
            .expect("the rules allow the report")
            .0;
    }
    job
}

/// One field of the job's status, as strangers see it.
fn shown(job: &Job, field: &str) -> Value {
    let status: Value = serde_json::from_str(&Status(job).to_json()).expect("a status is JSON");
    status
        .get(field)
        .unwrap_or_else(|| panic!("the status has no field {field}"))
        .clone()
}
