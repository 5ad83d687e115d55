//! What a runner knows of its job, and what it can do with it.

use std::sync::atomic::Ordering;

use super::{JobError, worker::Worker};
use crate::{
    job::{Command, JobId, Json, NewEvent, Report, ReportId},
    store::Rows,
};

/// One attempt at a job, in the hands of its runner.
///
/// Reports, rows and events are committed when their call returns, each exactly once, however
/// often the store had to be asked. A call that finds the work to be stopped says
/// [`JobError::Stopped`] *after* it has done its own: what was worked out is kept.
#[derive(Debug)]
pub struct JobContext {
    worker: Worker,
    events: u64,
}

impl JobContext {
    pub(super) fn new(worker: Worker) -> Self {
        Self { worker, events: 0 }
    }

    /// The job's name.
    pub fn job_id(&self) -> &JobId {
        self.worker.job.id()
    }

    /// Which try this is, from 1; above 1 when an earlier one was cut off.
    pub fn attempt(&self) -> u32 {
        self.worker.attempt
    }

    /// How many result rows are committed: the position to go on from.
    pub fn row_count(&self) -> u64 {
        self.worker.row_count.load(Ordering::Relaxed)
    }

    /// Committed result rows from index `from` on, at most `limit`.
    pub async fn rows(&self, from: u64, limit: usize) -> Result<Rows, JobError> {
        let job = &self.worker.job;
        self.worker.until_answered(|| job.rows(from, limit)).await
    }

    /// Whether to stop: somebody cancelled, ended or removed the job, or the server is draining.
    pub fn should_stop(&self) -> bool {
        self.worker.should_stop()
    }

    /// Waits until [`JobContext::should_stop`]. Cancel-safe.
    pub async fn stopped(&self) {
        self.worker.until_should_stop().await;
    }

    /// Reports on the job. The attempt is filled in; texts beyond their bounds are cut.
    pub async fn report(&self, report: Report) -> Result<(), JobError> {
        self.worker.report(report).await?;
        self.go_on()
    }

    /// Appends result rows and reports, in one commit: so rows and progress always agree.
    pub async fn append(&mut self, rows: Vec<Json>, report: Report) -> Result<(), JobError> {
        let count = rows.len() as u64;
        let rows = self.worker.of_attempt(Command::Rows(rows));
        let rows = (rows, Some(self.name("rows", self.row_count())));
        let report = (self.worker.command(report)?, None);
        self.worker.apply(vec![rows, report]).await?;
        self.worker.row_count.fetch_add(count, Ordering::Relaxed);
        self.go_on()
    }

    /// Sends an event.
    pub async fn event(&mut self, event: NewEvent) -> Result<(), JobError> {
        self.events += 1;
        let event = (
            self.worker.of_attempt(Command::Events(vec![event])),
            Some(self.name("event", self.events)),
        );
        self.worker.apply(vec![event]).await?;
        self.go_on()
    }

    fn go_on(&self) -> Result<(), JobError> {
        if self.should_stop() {
            Err(JobError::Stopped)
        } else {
            Ok(())
        }
    }

    /// The name by which the job knows a command again that was sent twice.
    fn name(&self, what: &str, number: u64) -> ReportId {
        let name = format!("runner:{}:{what}:{number}", self.attempt());
        ReportId::parse(&name).expect("a short text of printable ASCII characters")
    }
}
