//! The rules: a job, a command and the time give the job's next state, or a refusal.

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    Bounds, Face, Failure, FieldError, Job, Json, NewEvent, Patch, Progress, Report, State,
    Timestamp, create::check_data, rate::Estimator,
};

/// Something that happens to a job.
#[derive(Debug, Clone)]
pub enum Command {
    /// A worker's report.
    Report(Box<Report>),
    /// Events, all or none of them.
    Events(Vec<NewEvent>),
    /// Result rows, appended in this order.
    Rows(Vec<Json>),
    /// Somebody asks for the job to be cancelled.
    Cancel,
    /// Time has passed: leases and abandonment are looked at.
    Tick {
        /// Since when reports can be taken: silence before that is not the worker's.
        since: Timestamp,
    },
    /// The command of a worker that knows which attempt it is at: refused once another has begun.
    OfAttempt(u32, Box<Command>),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The job afterwards. Its `seq` is still that of the change before: the store assigns the new one.
    pub job: Job,
    /// Whether the status itself changed, apart from `seq` and `updated_at`.
    pub is_status: bool,
    /// Whether nothing is lost for good when this change is: the next report brings the same
    /// values anew, or newer ones.
    pub is_replaceable: bool,
}

/// What a command comes to.
pub type Outcome = Result<Change, Refusal>;

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The job has ended; terminal is final.
    #[error("the job has ended: it is {0}")]
    Finished(State),
    /// The report is about an attempt that a later one has replaced.
    #[error("attempt {reported} was replaced by attempt {current}")]
    StaleAttempt {
        /// The attempt that the report names.
        reported: u32,
        /// The attempt that the job is at.
        current: u32,
    },
    /// The command breaks a rule that depends on the job's state.
    #[error(transparent)]
    Invalid(#[from] FieldError),
}

/// Applies `command` to `job` at `now`. Pure: equal arguments give equal results.
///
/// A command that leaves the face as it was, a late lower count say, still counts as a sign of
/// life, but is no change of the status.
pub fn step(job: &Job, command: &Command, bounds: &Bounds, now: Timestamp) -> Outcome {
    let mut next = job.clone();
    match command {
        Command::Report(report) => apply_report(&mut next, report, bounds, now)?,
        Command::Events(_) | Command::Rows(_) => {
            refuse_finished(job)?;
            sign_of_life(&mut next, now);
            if next.face.state == State::Pending {
                enter(&mut next.face, State::Processing, now);
            }
        }
        Command::Cancel => apply_cancel(&mut next, now)?,
        Command::Tick { since } => tick(&mut next, *since, now),
        Command::OfAttempt(reported, command) => {
            refuse_finished(job)?;
            check_attempt(job, *reported)?;
            return step(job, command, bounds, now);
        }
    }
    let is_status = next.face != job.face;
    if is_status || matches!(command, Command::Events(_)) {
        next.updated_at = now;
    }
    Ok(Change {
        is_replaceable: is_replaceable(command, &job.face, &next.face),
        job: next,
        is_status,
    })
}

impl Command {
    /// How many bytes of events and rows it brings.
    pub fn weight(&self) -> usize {
        match self.inner() {
            Self::Events(events) => events.iter().map(|event| event.data.as_str().len()).sum(),
            Self::Rows(rows) => rows.iter().map(|row| row.as_str().len()).sum(),
            _ => 0,
        }
    }

    /// The command itself, whoever may give it.
    pub fn inner(&self) -> &Self {
        match self {
            Self::OfAttempt(_, command) => command.inner(),
            command => command,
        }
    }
}

/// A report of absolute progress, in numbers and words, and nothing besides.
fn is_replaceable(command: &Command, before: &Face, after: &Face) -> bool {
    let Command::Report(report) = command else {
        return false;
    };
    let rest = |face: &Face| (face.state, face.attempt, face.stalled);
    report.processed_increment.is_none()
        && report.total_count == Patch::Keep
        && report.step == Patch::Keep
        && report.data.is_none()
        && report.result.is_none()
        && report.error.is_none()
        && rest(before) == rest(after)
}

fn check_attempt(job: &Job, reported: u32) -> Result<(), Refusal> {
    match job.face.attempt {
        current if reported < current => Err(Refusal::StaleAttempt { reported, current }),
        _ => Ok(()),
    }
}

fn refuse_finished(job: &Job) -> Result<(), Refusal> {
    match job.face.state {
        state if state.is_terminal() => Err(Refusal::Finished(state)),
        _ => Ok(()),
    }
}

fn apply_report(
    job: &mut Job,
    report: &Report,
    bounds: &Bounds,
    now: Timestamp,
) -> Result<(), Refusal> {
    if job.is_finished() && report.status == Some(job.face.state) {
        // The same end once more: a worker that did not get its answer asks again.
        return Ok(());
    }
    refuse_finished(job)?;
    let is_retry = start_attempt(job, report)?;
    let state = next_state(job, report, is_retry)?;
    sign_of_life(job, now);
    let was_counted = job.face.progress.is_counted();
    let face = &mut job.face;
    enter(face, state, now);
    apply_progress(&mut face.progress, report);
    apply_texts(face, report);
    if let Some(patch) = &report.data {
        merge_data(face, patch, bounds)?;
    }
    if let Some(result) = &report.result {
        face.result = Some(result.clone());
    }
    if let Some(error) = &report.error {
        face.error = Some(Arc::new(error.clone()));
    }
    match state {
        State::Completed => {
            // A reason that an earlier attempt failed is no part of a success.
            if report.error.is_none() {
                face.error = None;
            }
            finish(face, State::Completed, now);
        }
        State::Failed => {
            // A report before this one may have given the reason.
            face.error
                .get_or_insert_with(|| Arc::new(Failure::unexplained()));
            finish(face, State::Failed, now);
        }
        State::Cancelled => finish(face, State::Cancelled, now),
        State::Pending | State::Processing => measure(job, was_counted, now),
    }
    Ok(())
}

/// Begins a new attempt when the report names a higher one; says whether it did.
fn start_attempt(job: &mut Job, report: &Report) -> Result<bool, Refusal> {
    let current = job.face.attempt;
    let reported = report.attempt.unwrap_or(current);
    check_attempt(job, reported)?;
    if reported == current {
        return Ok(false);
    }
    let face = &mut job.face;
    face.attempt = reported;
    face.progress = Progress::new(face.progress.total());
    face.step = None;
    face.message = None;
    face.error = None;
    face.rate_per_second = None;
    face.eta_seconds = None;
    job.estimator = Estimator::default();
    Ok(true)
}

fn next_state(job: &Job, report: &Report, is_retry: bool) -> Result<State, Refusal> {
    match (report.status, job.face.state) {
        (None, _) => Ok(State::Processing),
        (Some(State::Pending), State::Processing) if !is_retry => {
            let rule = "a processing job becomes pending only with a higher attempt";
            Err(FieldError::new("status", rule).into())
        }
        (Some(state), _) => Ok(state),
    }
}

fn apply_progress(progress: &mut Progress, report: &Report) {
    match report.total_count {
        Patch::Keep => {}
        Patch::Clear => progress.set_total(None),
        Patch::Set(total) => progress.set_total(Some(total)),
    }
    if let Some(processed) = report.processed_count {
        progress.count_to(processed);
    }
    if let Some(increment) = report.processed_increment {
        progress.count_on(increment);
    }
    if let Some(percentage) = report.progress_percentage {
        progress.report(percentage);
    }
}

fn apply_texts(face: &mut Face, report: &Report) {
    for (field, patch) in [
        (&mut face.step, &report.step),
        (&mut face.message, &report.message),
    ] {
        match patch {
            Patch::Keep => {}
            Patch::Clear => *field = None,
            // An unchanged text keeps its allocation.
            Patch::Set(text) if field.as_deref() == Some(text.as_str()) => {}
            Patch::Set(text) => *field = Some(Arc::from(text.as_str())),
        }
    }
}

fn merge_data(face: &mut Face, patch: &Map<String, Value>, bounds: &Bounds) -> Result<(), Refusal> {
    let mut data = face.data.as_deref().cloned().unwrap_or_default();
    merge_patch(&mut data, patch);
    check_data(&data, bounds)?;
    face.data = Some(Arc::new(data));
    Ok(())
}

/// Applies a merge patch whose root is an object (RFC 7396, section 2).
///
/// Not the `json-patch` crate, which fills a removed key's place with the last one: pages show
/// `data` in the order in which the worker wrote it.
fn merge_patch(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    // One pass for all that leave, so that many nulls cost no more than one.
    target.retain(|key, _| patch.get(key).is_none_or(|value| !value.is_null()));
    for (key, value) in patch {
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                let entry = target.entry(key.as_str()).or_insert(Value::Null);
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                if let Value::Object(entry) = entry {
                    merge_patch(entry, inner);
                }
            }
            value => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A worker lives: the lease starts anew.
fn sign_of_life(job: &mut Job, now: Timestamp) {
    job.reported_at = job.reported_at.max(now);
    job.face.stalled = false;
}

fn enter(face: &mut Face, state: State, now: Timestamp) {
    face.state = state;
    if state != State::Pending {
        face.started_at.get_or_insert(now);
    }
}

/// Rate and remaining time, from this attempt's reports alone.
fn measure(job: &mut Job, was_counted: bool, now: Timestamp) {
    let progress = &job.face.progress;
    if progress.is_counted() != was_counted {
        // From per cent to units or back: the positions before mean something else.
        job.estimator = Estimator::default();
    }
    let Some((position, remaining)) = progress.measure() else {
        // Nothing is known any more: what was shown before was about something else.
        job.face.rate_per_second = None;
        job.face.eta_seconds = None;
        return;
    };
    job.estimator.observe(now.as_micros(), position);
    job.face.rate_per_second = job
        .estimator
        .rate_per_second()
        .filter(|_| progress.is_counted());
    job.face.eta_seconds = remaining.and_then(|remaining| job.estimator.eta_seconds(remaining));
}

fn apply_cancel(job: &mut Job, now: Timestamp) -> Result<(), Refusal> {
    match job.face.state {
        State::Cancelled => {}
        state @ (State::Completed | State::Failed) => return Err(Refusal::Finished(state)),
        State::Pending => {
            job.face.cancel_requested = true;
            finish(&mut job.face, State::Cancelled, now);
        }
        State::Processing => job.face.cancel_requested = true,
    }
    Ok(())
}

fn tick(job: &mut Job, since: Timestamp, now: Timestamp) {
    let origin = Arc::clone(&job.origin);
    if job.is_finished() {
        return;
    }
    let silent_since = job.reported_at.max(since);
    let abandon_after = origin.abandon_after_seconds;
    if abandon_after > 0 && silent_since.plus_seconds(abandon_after) <= now {
        let message = format!("No report for {abandon_after} seconds");
        fail(&mut job.face, Failure::new("ABANDONED", message), now);
        return;
    }
    if job.face.state != State::Processing || origin.lease_seconds == 0 {
        return;
    }
    let lease_end = silent_since.plus_seconds(origin.lease_seconds);
    if lease_end > now {
        return;
    }
    job.face.stalled = true;
    job.face.rate_per_second = None;
    job.face.eta_seconds = None;
    if let Some(after) = origin.fail_stalled_after_seconds
        && lease_end.plus_seconds(after) <= now
    {
        let silence = origin.lease_seconds.saturating_add(after);
        let message = format!("The worker has been silent for {silence} seconds");
        fail(&mut job.face, Failure::new("STALLED", message), now);
    }
}

fn fail(face: &mut Face, failure: Failure, now: Timestamp) {
    face.error = Some(Arc::new(failure));
    finish(face, State::Failed, now);
}

fn finish(face: &mut Face, state: State, now: Timestamp) {
    face.state = state;
    face.stalled = false;
    face.rate_per_second = None;
    face.eta_seconds = None;
    face.finished_at = Some(now);
}
