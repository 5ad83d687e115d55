//! What the server says of itself.

use utoipa::openapi::{Content, ObjectBuilder, schema::Type};

use super::{
    super::{
        super::{ErrorCode, dashboard},
        answers::{Answer, Answers, answers, file},
        page,
        parameters::{file_name, header},
    },
    describe,
};

/// What saves a second transfer.
const KNOWN: &str = "The `ETag` that is known already.";

describe! {
    /// `GET /healthz`
    Liveness {
        params: Vec::new(),
        answers: answers().with(200, Answer::json("The process answers.", "Health")),
    }
}

describe! {
    /// `GET /readyz`
    Readiness {
        params: Vec::new(),
        answers: answers()
            .with(200, Answer::json("The server can do its work.", "Readiness"))
            .with(503, Answer::json("It cannot, or is shutting down.", "Readiness")),
    }
}

describe! {
    /// `GET /metrics`
    Metrics {
        params: Vec::new(),
        answers: answers()
            .errors(&[ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::RouteNotFound])
            .with(200, Answer::empty("Every series, with its help and type.")
                .content("text/plain", file("Text format 0.0.4.")).header("Cache-Control")),
    }
}

describe! {
    /// `GET /openapi.json`
    Document {
        params: vec![header("If-None-Match", KNOWN)],
        answers: answers()
            .with(200, Answer::empty("The document.")
                .content("application/json", Content::new(Some(ObjectBuilder::new().schema_type(Type::Object))))
                .header("ETag").header("Cache-Control"))
            .with(304, Answer::empty("Nothing has changed.").header("ETag").header("Cache-Control")),
    }
}

describe! {
    /// `GET /` and `GET /docs`
    Page {
        params: vec![header("If-None-Match", KNOWN)],
        answers: answers()
            .with(200, Answer::empty("The page.").content("text/html", file("HTML."))
                .header("ETag").header("Cache-Control").header("Content-Security-Policy"))
            .with(304, Answer::empty("Nothing has changed.").header("ETag").header("Cache-Control")),
    }
}

/// A file of one of the pages.
fn page_file() -> Answers {
    answers()
        .errors(&[ErrorCode::RouteNotFound])
        .with(
            200,
            Answer::empty("The file.")
                .content("text/javascript", file("A program."))
                .content("text/css", file("A style sheet."))
                .content("text/plain", file("A licence."))
                .header("ETag")
                .header("Cache-Control")
                .header("Content-Encoding"),
        )
        .with(
            304,
            Answer::empty("Nothing has changed.")
                .header("ETag")
                .header("Cache-Control"),
        )
}

describe! {
    /// `GET /docs/{file}`
    PageFile {
        params: vec![file_name(page::file_names()), header("If-None-Match", KNOWN)],
        answers: page_file(),
    }
}

describe! {
    /// `GET /assets/{file}`
    DashboardFile {
        params: vec![file_name(dashboard::file_names()), header("If-None-Match", KNOWN)],
        answers: page_file(),
    }
}

describe! {
    /// `GET /client.js`
    ClientModule {
        params: vec![header("If-None-Match", KNOWN)],
        answers: answers()
            .with(200, Answer::empty("The module.").content("text/javascript", file("An ES module."))
                .header("ETag").header("Cache-Control").header("Content-Encoding"))
            .with(304, Answer::empty("Nothing has changed.").header("ETag").header("Cache-Control")),
    }
}
