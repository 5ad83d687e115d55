//! Result rows.

use utoipa::openapi::Content;

use super::{
    super::{
        super::ErrorCode,
        answers::{Answer, answers, file, sequence},
        parameters::{idempotency_key, job_id, query, query_number, query_word},
        shape::{integer, list, named},
    },
    describe,
};

describe! {
    /// `GET /jobs/{id}/results`
    ResultsPage {
        params: vec![
            job_id(),
            query_number("page", "Which page, from 1.", (1, u64::from(u32::MAX)), 1),
            query_number("per_page", "Rows of a page.", (1, 1_000), 100),
        ],
        answers: answers().on_a_job().with(200, Answer::json("A page of rows, readable while the job runs.", "ResultsPage")),
    }
}

describe! {
    /// `POST /jobs/{id}/results`
    AppendResults {
        params: vec![
            job_id(),
            idempotency_key("The same rows sent again are not appended again, however far they came before."),
            query("attempt", "By which attempt they were made: refused once another has begun.", integer("An attempt.", 1, u64::from(u32::MAX))),
        ],
        answers: answers()
            .on_a_job()
            .with_a_body()
            .errors(&[ErrorCode::JobFinished, ErrorCode::StaleAttempt])
            .with(200, Answer::json("The rows are there.", "RowsAnswer")),
    }
}

describe! {
    /// `GET /jobs/{id}/download`
    Download {
        params: vec![job_id(), query_word("format", "How the file is written.", &["csv", "json", "ndjson"])],
        answers: answers().on_a_job().with(200, Answer::empty(
                "All rows, as an attachment. In CSV the columns are the union of the rows' keys, 256 at most, and \
                 a text that a spreadsheet would run gets a leading `'`.")
            .content("text/csv", file("Comma-separated values with a line of names."))
            .content("application/json", Content::new(Some(list("All rows.", named("Row")))))
            .content("application/x-ndjson", sequence("A row a line.", "Row", "{\"email\":\"ann@example.com\"}\n"))
            .header("Content-Disposition")),
    }
}
