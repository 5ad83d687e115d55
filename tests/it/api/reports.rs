//! `POST /reports`: what is a line, what is refused, and what the answer says of it.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    ndjson::refusal,
    server::{Answer, TestServer},
};

const REPORTS: &str = "/api/v1/reports";

async fn with_jobs(names: &[&str]) -> TestServer {
    let server = TestServer::start().await;
    for name in names {
        server.create(json!({"job_id": name})).await;
    }
    server
}

/// Sends a body in these pieces; the lines of the answer.
async fn send(server: &TestServer, pieces: &[&[u8]]) -> Vec<Value> {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece))
        .collect();
    let body = Body::wrap_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let answer = Answer::of(server.request(Method::POST, REPORTS).body(body)).await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert!(answer.text.ends_with('\n'), "{}", answer.text);
    let lines = answer.text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

async fn send_text(server: &TestServer, text: &str) -> Vec<Value> {
    send(server, &[text.as_bytes()]).await
}

#[tokio::test]
async fn lines_count_from_one_with_blank_ones_and_any_line_end() {
    let server = with_jobs(&["a"]).await;
    let good = r#"{"job_id":"a","processed_increment":1}"#;
    let body = format!("\n{good}\r\n\r\n   \n{{\n{good}\n\n[]\n{good}");
    let answer = send_text(&server, &body).await;
    assert_eq!(answer.len(), 3, "{answer:?}");
    assert_eq!(refusal(&answer[0]), (5, None, "INVALID_REQUEST"));
    assert_eq!(refusal(&answer[1]), (8, None, "INVALID_REQUEST"));
    assert_eq!(answer[2], json!({"accepted": 3, "refused": 2}));
    assert_eq!(server.status("a").await["processed_count"], 3);
}

#[tokio::test]
async fn without_a_line_nothing_is_accepted_and_nothing_refused() {
    let server = with_jobs(&[]).await;
    for body in ["", "\n", "\r\n\r\n", "  "] {
        let answer = send_text(&server, body).await;
        assert_eq!(answer, [json!({"accepted": 0, "refused": 0})], "{body:?}");
    }
}

#[tokio::test]
async fn the_reports_of_a_job_are_applied_in_the_order_of_their_lines() {
    let server = with_jobs(&["a", "b"]).await;
    let mut body = String::new();
    for n in 1..=2_000 {
        let line = json!({"job_id": "a", "message": n.to_string(), "processed_increment": 1});
        body += &format!("{line}\n");
        if n == 1_500 {
            body += "{\"job_id\":\"b\",\"status\":\"completed\"}\n";
        }
        if n % 500 == 0 {
            body += "{\"job_id\":\"b\",\"processed_increment\":1}\n";
        }
    }
    let answer = send_text(&server, &body).await;
    let refused: Vec<_> = answer
        .iter()
        .filter(|line| line.get("line").is_some())
        .map(refusal)
        .collect();
    assert_eq!(
        refused,
        [
            (1_504, Some("b"), "JOB_FINISHED"),
            (2_005, Some("b"), "JOB_FINISHED")
        ]
    );
    assert_eq!(
        answer.last(),
        Some(&json!({"accepted": 2_003, "refused": 2}))
    );
    let status = server.status("a").await;
    assert_eq!(
        (&status["message"], &status["processed_count"]),
        (&json!("2000"), &json!(2_000))
    );
    assert_eq!(server.status("b").await["processed_count"], 2);
}

#[tokio::test]
async fn every_reason_to_refuse_a_line_has_its_code_and_its_job() {
    let server = with_jobs(&["a", "done", "retried", "removed"]).await;
    server.report("done", json!({"status": "completed"})).await;
    server
        .report("retried", json!({"status": "processing", "attempt": 2}))
        .await;
    server
        .delete("/api/v1/jobs/removed")
        .await
        .expect(StatusCode::NO_CONTENT);
    for (line, job_id, code) in [
        ("{", None, "INVALID_REQUEST"),
        ("5", None, "INVALID_REQUEST"),
        ("{}", None, "INVALID_REQUEST"),
        (r#"{"job_id":null}"#, None, "INVALID_REQUEST"),
        (r#"{"job_id":"a/b"}"#, None, "INVALID_REQUEST"),
        (r#"{"job_id":"a"} {"job_id":"a"}"#, None, "INVALID_REQUEST"),
        (
            r#"{"job_id":"a","processed":1}"#,
            Some("a"),
            "INVALID_REQUEST",
        ),
        (
            r#"{"processed_count":-1,"job_id":"a"}"#,
            Some("a"),
            "INVALID_REQUEST",
        ),
        (
            r#"{"job_id":"a","processed_count":1,"processed_increment":1}"#,
            Some("a"),
            "INVALID_REQUEST",
        ),
        (r#"{"job_id":"unknown"}"#, Some("unknown"), "JOB_NOT_FOUND"),
        (r#"{"job_id":"removed"}"#, Some("removed"), "JOB_GONE"),
        (r#"{"job_id":"done"}"#, Some("done"), "JOB_FINISHED"),
        (
            r#"{"job_id":"retried","attempt":1}"#,
            Some("retried"),
            "STALE_ATTEMPT",
        ),
    ] {
        let good = r#"{"job_id":"a"}"#;
        let answer = send_text(&server, &format!("{good}\n{line}\n{good}\n")).await;
        assert_eq!(refusal(&answer[0]), (2, job_id, code), "{line}");
        assert_eq!(answer[1], json!({"accepted": 2, "refused": 1}), "{line}");
    }
}

#[tokio::test]
async fn a_line_may_be_as_long_as_configured_and_no_longer() {
    let server = TestServer::with("[limits]\nndjson_line_bytes = 100\n").await;
    server.create(json!({"job_id": "a"})).await;
    let line = |bytes: usize| {
        let report = r#"{"job_id":"a","processed_increment":1}"#;
        format!("{report}{}", " ".repeat(bytes - report.len()))
    };
    let body = format!(
        "{}\n{}\n{}\n{}",
        line(100),
        line(101),
        line(5_000),
        line(100)
    );
    for pieces in [vec![body.as_bytes()], body.as_bytes().chunks(7).collect()] {
        let answer = send(&server, &pieces).await;
        assert_eq!(refusal(&answer[0]), (2, None, "PAYLOAD_TOO_LARGE"));
        assert_eq!(refusal(&answer[1]), (3, None, "PAYLOAD_TOO_LARGE"));
        assert_eq!(answer[2], json!({"accepted": 2, "refused": 2}));
    }
    // Also as the last line, with no end to it.
    let answer = send_text(&server, &format!("{}\n{}", line(50), line(101))).await;
    assert_eq!(refusal(&answer[0]), (2, None, "PAYLOAD_TOO_LARGE"));
    assert_eq!(answer[1], json!({"accepted": 1, "refused": 1}));
}

#[tokio::test]
async fn bytes_that_are_no_text_spoil_their_line_alone() {
    let server = with_jobs(&["a"]).await;
    let good = br#"{"job_id":"a"}"#.as_slice();
    for last in [b"\n".as_slice(), b""] {
        let body = [
            good,
            b"\n{\"job_id\":\"a\",\"message\":\"\xff\"}\n",
            good,
            b"\n\xc3",
            last,
        ]
        .concat();
        let answer = send(&server, &[&body]).await;
        assert_eq!(refusal(&answer[0]), (2, None, "INVALID_REQUEST"));
        assert_eq!(refusal(&answer[1]), (4, None, "INVALID_REQUEST"));
        assert_eq!(answer[2], json!({"accepted": 2, "refused": 2}));
    }
}

#[tokio::test]
async fn a_body_means_the_same_wherever_it_is_cut() {
    let server = with_jobs(&["a"]).await;
    let body = "{\"job_id\":\"a\",\"message\":\"ü\"}\r\n\n{\"job_id\":\n{\"job_id\":\"a\",\"step\":\"€\"}\nx";
    let whole = send_text(&server, body).await;
    assert_eq!(whole.len(), 3);
    for at in 0..=body.len() {
        let (before, after) = body.as_bytes().split_at(at);
        assert_eq!(send(&server, &[before, after]).await, whole, "cut at {at}");
    }
    let bytes: Vec<_> = body.as_bytes().chunks(1).collect();
    assert_eq!(send(&server, &bytes).await, whole);
}

#[tokio::test]
async fn after_a_thousand_refusals_the_rest_is_only_counted() {
    let server = with_jobs(&["a"]).await;
    let mut body = "x\n".repeat(1_200);
    body += "{\"job_id\":\"a\"}\n";
    let answer = send_text(&server, &body).await;
    assert_eq!(answer.len(), 1_001);
    assert_eq!(refusal(&answer[999]), (1_000, None, "INVALID_REQUEST"));
    assert_eq!(answer[1_000], json!({"accepted": 1, "refused": 1_200}));
}

#[tokio::test]
async fn a_refusal_does_not_repeat_what_was_sent_at_length() {
    let server = with_jobs(&[]).await;
    let line = json!({"x".repeat(100_000): 1});
    let answer = send_text(&server, &line.to_string()).await;
    assert!(answer[0].to_string().len() < 1_000, "{}", answer[0]);
}

#[tokio::test]
async fn a_line_that_comes_twice_counts_once() {
    let server = with_jobs(&["a"]).await;
    let line = "{\"job_id\":\"a\",\"processed_increment\":1,\"report_id\":\"r\"}\n";
    let answer = send_text(&server, &line.repeat(3)).await;
    assert_eq!(answer, [json!({"accepted": 3, "refused": 0})]);
    send_text(&server, line).await;
    assert_eq!(server.status("a").await["processed_count"], 1);
}

#[tokio::test]
async fn only_lines_of_json_are_taken() {
    let server = with_jobs(&["a"]).await;
    let post = |media: &'static str| {
        let request = server
            .request(Method::POST, REPORTS)
            .header("content-type", media);
        Answer::of(request.body("{\"job_id\":\"a\"}"))
    };
    for media in [
        "application/x-ndjson",
        "application/ndjson; charset=utf-8",
        "application/jsonl",
        "application/json",
        "Application/X-NDJSON",
    ] {
        let answer = post(media).await.expect(StatusCode::OK);
        assert_eq!(
            answer.json(),
            json!({"accepted": 1, "refused": 0}),
            "{media}"
        );
    }
    for media in [
        "text/plain",
        "text/csv",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        post(media).await.error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}
