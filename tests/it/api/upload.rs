//! `POST /jobs?kind=K` with a list as its body: the upload of a job that the server runs itself.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

const UPLOAD: &str = "/api/v1/jobs?kind=email-validation";

/// No lookups, and small bounds: 4 KiB for a list, 1 KiB for JSON.
const SETTINGS: &str =
    "[runner.email]\ndns = 'off'\n[limits]\nupload_bytes = 4096\njson_body_bytes = 1024\n";

async fn upload(server: &TestServer, media: &str, body: impl Into<reqwest::Body>) -> Answer {
    upload_with_key(server, media, None, body).await
}

async fn upload_with_key(
    server: &TestServer,
    media: &str,
    key: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let request = server
        .request(Method::POST, UPLOAD)
        .header("content-type", media);
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    Answer::of(request.body(body)).await
}

/// Watches a job to its end; its last status.
async fn finished(server: &TestServer, job: &Value) -> Value {
    let path = job["links"]["stream"].as_str().expect("a path");
    let blocks = server.stream(path).await.rest().await;
    blocks.last().expect("a terminal block").json()
}

#[tokio::test]
async fn a_list_in_any_form_becomes_a_job_with_rows() {
    let server = TestServer::with(SETTINGS).await;
    let json = "application/json";
    let in_body =
        json!({"kind": "email-validation", "input": {"emails": ["ann@a.example", "ann"]}});
    for answer in [
        upload(&server, "text/plain", "ann@a.example\nann\n").await,
        upload(
            &server,
            "text/csv; charset=utf-8",
            "name,email\r\nAnn,ann@a.example\r\nB,ann\r\n",
        )
        .await,
        upload(&server, json, r#" ["ann@a.example","ann"]"#).await,
        upload(&server, json, r#"{"input":["ann@a.example","ann"]}"#).await,
        server.post("/api/v1/jobs", in_body).await,
    ] {
        let job = answer.expect(StatusCode::CREATED).json();
        assert_eq!(
            (&job["kind"], &job["unit"]),
            (&json!("email-validation"), &json!("emails"))
        );
        let last = finished(&server, &job).await;
        assert_eq!(
            (&last["status"], &last["total_emails"]),
            (&json!("completed"), &json!(2))
        );
        let results = server
            .get(job["links"]["results"].as_str().expect("a path"))
            .await
            .json();
        assert_eq!(results["total"], 2, "{results}");
        assert_eq!(results["results"][0]["email"], "ann@a.example");
        let file = server
            .get(job["links"]["download"].as_str().expect("a path"))
            .await
            .text;
        assert!(
            file.starts_with("email,") && file.lines().count() == 3,
            "{file}"
        );
    }
}

#[tokio::test]
async fn a_list_may_be_as_large_as_an_upload_and_json_only_as_json() {
    let server = TestServer::with(SETTINGS).await;
    let lines = |bytes: usize| "\n".repeat(bytes);
    for (media, body, is_taken) in [
        ("text/plain", lines(4_096), true),
        ("text/plain", lines(4_097), false),
        ("text/csv", lines(4_097), false),
        ("application/json", format!("[{}]", " ".repeat(4_094)), true),
        (
            "application/json",
            format!("[{}]", " ".repeat(4_095)),
            false,
        ),
        (
            "application/json",
            format!("{{{}}}", " ".repeat(1_022)),
            true,
        ),
        (
            "application/json",
            format!("{{{}}}", " ".repeat(1_023)),
            false,
        ),
        (
            "application/json",
            format!("{{{}}}", " ".repeat(4_095)),
            false,
        ),
    ] {
        let bytes = body.len();
        let answer = upload(&server, media, body).await;
        if is_taken {
            answer.expect(StatusCode::CREATED);
        } else {
            let most = if answer.text.contains("4096") {
                4_096
            } else {
                1_024
            };
            let message = answer.error(413, "PAYLOAD_TOO_LARGE");
            assert_eq!(
                message,
                format!("The body must have at most {most} bytes"),
                "{media} {bytes}"
            );
        }
    }
    // Without a kind in the query the bound is that of JSON.
    let body = json!({"kind": "email-validation", "input": ["x".repeat(1_024)]});
    server
        .post("/api/v1/jobs", body)
        .await
        .error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn the_same_upload_again_finds_its_job() {
    let server = TestServer::with(SETTINGS).await;
    let text = "text/plain";
    let first = upload_with_key(&server, text, Some("k"), "ann@a.example").await;
    let job = first.expect(StatusCode::CREATED).json();
    let again = upload_with_key(&server, text, Some("k"), "ann@a.example").await;
    assert_eq!(again.expect(StatusCode::OK).json()["job_id"], job["job_id"]);
    finished(&server, &job).await;
    let again = upload_with_key(&server, text, Some("k"), "ann@a.example").await;
    let status = again.expect(StatusCode::OK).json();
    assert_eq!(
        (&status["status"], &status["attempt"]),
        (&json!("completed"), &json!(1))
    );
    let other = upload_with_key(&server, text, Some("k"), "bob@a.example").await;
    other.error(409, "JOB_EXISTS");
    let as_csv = upload_with_key(&server, "text/csv", Some("k"), "ann@a.example").await;
    as_csv.error(409, "JOB_EXISTS");
}

#[tokio::test]
async fn another_kind_of_body_is_told_what_works() {
    let server = TestServer::with(SETTINGS).await;
    for media in [
        "text/html",
        "application/x-ndjson",
        "multipart/form-data",
        "application/pdf",
    ] {
        let message = upload(&server, media, "x")
            .await
            .error(415, "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(
            message,
            "The Content-Type must be application/json, text/plain or text/csv"
        );
    }
    for media in ["text/plain", "text/csv"] {
        let request = server
            .request(Method::POST, "/api/v1/jobs")
            .header("content-type", media);
        Answer::of(request.body("x"))
            .await
            .error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn a_file_that_is_no_list_fails_its_job_and_says_why() {
    let server = TestServer::with(SETTINGS).await;
    for (media, body) in [
        ("text/plain", b"\xff\xfe\x00".as_slice()),
        ("text/csv", b"\"a,b\nc"),
        ("application/json", b"[1, 2"),
        ("text/plain", b""),
    ] {
        let answer = upload(&server, media, body).await;
        let job = answer.expect(StatusCode::CREATED).json();
        let last = finished(&server, &job).await;
        assert_eq!(last["status"], "failed", "{last}");
        assert!(
            last["error"]["message"]
                .as_str()
                .is_some_and(|why| !why.is_empty()),
            "{last}"
        );
    }
}
