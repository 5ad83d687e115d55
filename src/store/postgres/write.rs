//! Writing jobs: what the functions of `migrations/0002_server.sql` take.

use serde::Serialize;
use uuid::Uuid;

use super::sql::{self, Literal};
use crate::{
    job::{Count, Failure, Job, JobId, Json, Origin, ProgressParts, State, Timestamp},
    store::{Commit, Input},
};

/// What is fixed of a job, as `progressd.create` reads it.
#[derive(Serialize)]
struct OriginText<'a> {
    job_id: &'a JobId,
    incarnation: Uuid,
    kind: Option<&'a str>,
    unit: Option<&'a str>,
    owner: Option<&'a str>,
    tags: Vec<&'a str>,
    parent_id: Option<&'a JobId>,
    created_at: Timestamp,
    lease_seconds: u64,
    fail_stalled_after_seconds: Option<u64>,
    ttl_seconds: u64,
    abandon_after_seconds: u64,
    digest: String,
}

/// What changes of a job, as `progressd.read_face` reads it.
#[derive(Serialize)]
struct FaceText<'a> {
    status: State,
    attempt: u32,
    processed: Option<Count>,
    total: Option<Count>,
    named: Option<u16>,
    highest: u16,
    shown: Option<u16>,
    step: Option<String>,
    message: Option<String>,
    error: Option<Failure>,
    rate: Option<f64>,
    eta: Option<u64>,
    stalled: bool,
    cancel_requested: bool,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    updated_at: Timestamp,
    reported_at: Timestamp,
    estimator: &'a str,
    deadline: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct EventText<'a> {
    place: u64,
    name: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct AnswerText<'a> {
    id: &'a str,
    place: u64,
    status: State,
    cancel_requested: bool,
}

/// The arguments of `progressd.create`.
pub(super) fn creation(job: &Job, input: Option<&Input>) -> Vec<Literal> {
    let (data, result) = contents(job);
    vec![
        origin(&job.origin),
        face(job),
        data,
        result,
        sql::maybe(input, |input| sql::text(input.format.as_str())),
        sql::maybe(input, |input| sql::bytes(&input.content)),
        sql::null(),
        sql::flag(false),
        sql::micros(job.origin.created_at),
    ]
}

/// The arguments of `progressd.put_back` that say what is put back.
pub(super) fn return_of(job: &Job) -> Vec<Literal> {
    let (data, result) = contents(job);
    vec![
        origin(&job.origin),
        face(job),
        data,
        result,
        sql::number(job.seq.get()),
        sql::uuid(Uuid::now_v7()),
        sql::micros(job.origin.created_at),
    ]
}

/// The arguments of `progressd.commit` that say what changes.
pub(super) fn change(commit: &Commit<'_>) -> Vec<Literal> {
    let job = commit.job;
    let (data, result) = contents(job);
    let events: Vec<_> = commit
        .events
        .iter()
        .map(|(place, event)| EventText {
            place: *place,
            name: event.name.as_str(),
            data: event.data.as_str(),
        })
        .collect();
    let rows: Vec<_> = commit.rows.iter().map(Json::as_str).collect();
    let answers: Vec<_> = commit
        .answers
        .iter()
        .map(|(report_id, place, answer)| AnswerText {
            id: report_id.as_str(),
            place: *place,
            status: answer.status,
            cancel_requested: answer.cancel_requested,
        })
        .collect();
    vec![
        sql::text(job.id().as_str()),
        sql::uuid(job.origin.incarnation),
        sql::number(job.seq.get()),
        sql::number(commit.positions),
        sql::uuid(commit.nonce),
        sql::micros(commit.now),
        face(job),
        data,
        result,
        unless_empty(&events),
        unless_empty(&rows),
        unless_empty(&answers),
    ]
}

fn unless_empty(items: &[impl Serialize]) -> Literal {
    sql::maybe((!items.is_empty()).then_some(items), |items| {
        sql::json(&items)
    })
}

/// `data` and `result`, which are kept as they were written, and so apart from the rest.
fn contents(job: &Job) -> (Literal, Literal) {
    let data = sql::maybe(job.face.data.as_deref(), sql::json);
    let result = sql::maybe(job.face.result.as_ref(), |result| {
        sql::text(result.as_str())
    });
    (data, result)
}

fn origin(origin: &Origin) -> Literal {
    sql::json(&OriginText {
        job_id: &origin.job_id,
        incarnation: origin.incarnation,
        kind: origin.kind.as_deref(),
        unit: origin.unit.as_deref(),
        owner: origin.owner.as_deref(),
        tags: origin.tags.iter().map(|tag| &**tag).collect(),
        parent_id: origin.parent_id.as_ref(),
        created_at: origin.created_at,
        lease_seconds: origin.lease_seconds,
        fail_stalled_after_seconds: origin.fail_stalled_after_seconds,
        ttl_seconds: origin.ttl_seconds,
        abandon_after_seconds: origin.abandon_after_seconds,
        digest: hex::encode(origin.digest.as_bytes()),
    })
}

fn face(job: &Job) -> Literal {
    let face = &job.face;
    let progress = ProgressParts::from(face.progress);
    let estimator = serde_json::to_string(&job.estimator).expect("numbers serialize");
    sql::json(&FaceText {
        status: face.state,
        attempt: face.attempt,
        processed: progress.processed,
        total: progress.total,
        named: progress.reported.map(|reported| reported.hundredths()),
        highest: progress.highest.hundredths(),
        shown: job.percentage().map(|shown| shown.hundredths()),
        step: face.step.as_deref().map(without_nul),
        message: face.message.as_deref().map(without_nul),
        error: face
            .error
            .as_deref()
            .map(|error| Failure::new(&without_nul(&error.code), without_nul(&error.message))),
        rate: face.rate_per_second,
        eta: face.eta_seconds,
        stalled: face.stalled,
        cancel_requested: face.cancel_requested,
        started_at: face.started_at,
        finished_at: face.finished_at,
        updated_at: job.updated_at,
        reported_at: job.reported_at,
        estimator: &estimator,
        deadline: job.next_deadline(),
        expires_at: job.expires_at(),
    })
}

/// Reports have none in them; what a runner says of its failure is its own affair.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
