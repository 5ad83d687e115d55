//! Creating, listing, changing and removing jobs.

use super::{
    super::{
        super::ErrorCode,
        answers::{Answer, answers, sequence},
        parameters::{
            idempotency_key, job_id, list_cursor, query, query_number, query_text, states,
        },
        shape::{named, text},
    },
    describe,
    watching::{FRAMES, as_stream, joining},
};
use crate::job::Bounds;

/// What makes a repeated report harmless.
const REPEAT: &str =
    "The same as `report_id` in the body; a job remembers the last 1,000 for a day.";

describe! {
    /// `POST /jobs`
    Create {
        params: [
            vec![
                query("kind", "Makes the body the input of this kind's built-in worker.", text("A kind.", 1, Bounds::default().kind_chars)),
                idempotency_key("The same key with the same body: 200 and the job as it is."),
            ],
            joining(),
        ]
        .concat(),
        answers: answers()
            .guarded()
            .with_a_body()
            .errors(&[ErrorCode::JobExists, ErrorCode::JobGone, ErrorCode::RateLimited, ErrorCode::TooManyStreams])
            .with(201, created("The new job."))
            .with(200, created("The same request came before: the job as it is."))
            .with(204, Answer::empty("The cursor stands at the end of the finished job that the same request made.")
                .header("Location").header("Cache-Control")),
    }
}

/// A job as JSON, or its stream to whoever prefers that.
fn created(description: &str) -> Answer {
    let answer = Answer::json(description, "CreatedJob").header("Location");
    as_stream(answer, "StreamBlock", FRAMES)
}

describe! {
    /// `GET /jobs`
    List {
        params: vec![
            states("Only jobs in these states; may be repeated."),
            query_text("kind", "Only jobs of this kind."),
            query_text("tag", "Only jobs with this tag."),
            query_text("owner", "Only this owner's jobs."),
            query("parent_id", "Only the parts of this job.", named("JobId")),
            query_number("limit", "Jobs of a page.", (1, 200), 50),
            list_cursor(),
        ],
        answers: answers().guarded().with(200, Answer::json("A page of jobs, newest first.", "JobList")),
    }
}

describe! {
    /// `PATCH /jobs/{id}`
    Report {
        params: vec![job_id(), idempotency_key(REPEAT)],
        answers: answers()
            .on_a_job()
            .with_a_body()
            .errors(&[ErrorCode::JobFinished, ErrorCode::StaleAttempt])
            .with(200, Answer::json("What the worker needs to know.", "ReportAnswer")),
    }
}

describe! {
    /// `POST /jobs/{id}/events`
    Events {
        params: vec![job_id(), idempotency_key(REPEAT)],
        answers: answers()
            .on_a_job()
            .with_a_body()
            .errors(&[ErrorCode::JobFinished])
            .with(200, Answer::json("The events are on their way.", "EventsAnswer")),
    }
}

describe! {
    /// `POST /jobs/{id}/cancel`
    Cancel {
        params: vec![job_id()],
        answers: answers()
            .on_a_job()
            .errors(&[ErrorCode::JobFinished, ErrorCode::PayloadTooLarge])
            .with(202, Answer::json("The cancellation is asked for.", "ReportAnswer")),
    }
}

describe! {
    /// `DELETE /jobs/{id}`
    Remove {
        params: vec![job_id()],
        answers: answers().on_a_job().with(204, Answer::empty("The job is gone.")),
    }
}

describe! {
    /// `POST /reports`
    Reports {
        params: Vec::new(),
        answers: answers()
            .guarded()
            .errors(&[ErrorCode::UnsupportedMediaType])
            .with(200, Answer::empty("Lines of NDJSON, written as they come up.")
                .content("application/x-ndjson", sequence(
                    "A line per refused line, a line per job whose cancellation comes up, and a last line.",
                    "ReportsAnswerLine",
                    concat!(
                        r#"{"line":3,"job_id":"b","error":{"code":"JOB_NOT_FOUND","message":"Job not found"}}"#, "\n",
                        r#"{"job_id":"import-7","cancel_requested":true}"#, "\n",
                        r#"{"accepted":2,"refused":1}"#, "\n",
                    ),
                ))
                .header("Cache-Control")),
    }
}
