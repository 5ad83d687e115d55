//! What the parts' own tests share.

use uuid::Uuid;

use crate::job::{Bounds, Defaults, Job, NewJob, Timestamp};

/// A job of that name.
pub(super) fn job_named(name: &str) -> Job {
    let body = format!("{{\"job_id\":\"{name}\"}}");
    let new_job = NewJob::parse(body.as_bytes(), &Bounds::default()).expect("a job");
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 60,
        abandon_after_seconds: 0,
    };
    let job_id = new_job.job_id.clone().expect("a name");
    let now = Timestamp::from_micros(1_795_287_600_000_000);
    new_job.into_job(job_id, None, None, &defaults, Uuid::now_v7(), now)
}
