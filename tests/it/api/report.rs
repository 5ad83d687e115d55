//! `PATCH /jobs/{id}`: what a report may say, and what it is answered.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

const JOB: &str = "/api/v1/jobs/a";

async fn with_job(body: Value) -> TestServer {
    let server = TestServer::start().await;
    let mut body = body;
    body["job_id"] = json!("a");
    server.create(body).await;
    server
}

async fn report_with_key(server: &TestServer, key: &str, body: &Value) -> Answer {
    let request = server.request(Method::PATCH, JOB).json(body);
    Answer::of(request.header("idempotency-key", key)).await
}

#[track_caller]
fn assert_fields(status: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(status[field], *value, "{field} in {status}");
    }
}

#[tokio::test]
async fn the_answer_says_what_a_worker_needs_to_know() {
    let server = with_job(json!({})).await;
    let answer = server.report("a", json!({"processed_count": 1})).await;
    let status = server.status("a").await;
    assert_eq!(
        answer,
        json!({
            "job_id": "a", "status": "processing", "seq": status["seq"],
            "cancel_requested": false, "watchers": 0,
        })
    );
    let _one = server.watch("a").await;
    let _other = server.watch("a").await;
    let answer = server.report("a", json!({})).await;
    assert_eq!(answer["watchers"], 2);
}

#[tokio::test]
async fn every_field_of_a_report_shows_in_the_status() {
    let server = with_job(json!({"unit": "emails"})).await;
    let report = json!({
        "status": "processing", "processed_count": 250, "total_count": 1_000,
        "step": "Checking", "message": "gmail.com", "data": {"geo": 78.5},
        "result": {"found": [1, 2]}, "error": {"code": "SLOW", "message": "so slow"},
        "attempt": 1, "report_id": "r-1",
    });
    server.report("a", report).await;
    let status = server.status("a").await;
    assert_fields(
        &status,
        &json!({
            "status": "processing", "processed_count": 250, "total_count": 1_000,
            "total_emails": 1_000, "progress_percentage": 25, "step": "Checking",
            "message": "gmail.com", "data": {"geo": 78.5}, "result": {"found": [1, 2]},
            "error": {"code": "SLOW", "message": "so slow"}, "attempt": 1,
            "stalled": false, "cancel_requested": false, "finished_at": null,
        }),
    );
    assert_eq!(status["started_at"], status["updated_at"]);
    assert!(status.get("report_id").is_none());
}

#[tokio::test]
async fn one_report_after_the_other_changes_what_it_names() {
    let server = with_job(json!({})).await;
    for (report, expected) in [
        (json!({}), json!({"status": "processing"})),
        (
            json!({"progress_percentage": 33.339}),
            json!({"progress_percentage": 33.33}),
        ),
        (
            json!({"progress_percentage": 20}),
            json!({"progress_percentage": 33.33}),
        ),
        (json!({"processed_count": 3}), json!({"processed_count": 3})),
        (
            json!({"processed_increment": 4}),
            json!({"processed_count": 7}),
        ),
        (json!({"processed_count": 5}), json!({"processed_count": 7})),
        (
            json!({"total_count": 14}),
            json!({"total_count": 14, "progress_percentage": 50}),
        ),
        (
            json!({"total_count": 28}),
            json!({"total_count": 28, "progress_percentage": 50}),
        ),
        (
            json!({"total_count": null}),
            json!({"total_count": null, "processed_count": 7}),
        ),
        (
            json!({"step": "One", "message": "m"}),
            json!({"step": "One", "message": "m"}),
        ),
        (json!({"step": null}), json!({"step": null, "message": "m"})),
        (json!({"message": null}), json!({"message": null})),
        (
            json!({"data": {"a": 1, "b": {"c": 2}}}),
            json!({"data": {"a": 1, "b": {"c": 2}}}),
        ),
        (
            json!({"data": {"a": null, "b": {"d": 3}}}),
            json!({"data": {"b": {"c": 2, "d": 3}}}),
        ),
        (json!({"data": {"b": 5}}), json!({"data": {"b": 5}})),
        (json!({"result": "x"}), json!({"result": "x"})),
        (
            json!({"result": [1, {"k": null}]}),
            json!({"result": [1, {"k": null}]}),
        ),
        (
            json!({"error": "broken"}),
            json!({"status": "processing", "error": {"code": "JOB_FAILED", "message": "broken"}}),
        ),
    ] {
        server.report("a", report.clone()).await;
        assert_fields(&server.status("a").await, &expected);
    }
}

#[tokio::test]
async fn null_is_refused_where_nothing_can_be_cleared() {
    let server = with_job(json!({})).await;
    let before = server.status("a").await;
    for field in [
        "status",
        "processed_count",
        "processed_increment",
        "progress_percentage",
        "data",
        "result",
        "error",
        "attempt",
        "report_id",
    ] {
        let answer = server.patch(JOB, json!({ field: null })).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    assert_eq!(
        server.status("a").await,
        before,
        "a refusal changes nothing"
    );
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_by_name_and_changes_nothing() {
    let server = with_job(json!({"data": {"k": "x".repeat(60_000)}})).await;
    server.report("a", json!({"status": "processing"})).await;
    let before = server.status("a").await;
    let text = |chars: usize| "ü".repeat(chars);
    for (report, field) in [
        (
            json!({"processed_count": 1, "processed_increment": 1}),
            "processed_increment",
        ),
        (json!({"processed_increment": 0}), "processed_increment"),
        (json!({"processed_increment": -1}), "processed_increment"),
        (json!({"processed_count": -1}), "processed_count"),
        (json!({"processed_count": 1.5}), "processed_count"),
        (json!({"processed_count": 1_u64 << 53}), "processed_count"),
        (json!({"total_count": "10"}), "total_count"),
        (
            json!({"progress_percentage": 100.01}),
            "progress_percentage",
        ),
        (json!({"progress_percentage": -0.1}), "progress_percentage"),
        (json!({"progress_percentage": "50%"}), "progress_percentage"),
        (json!({"status": "done"}), "status"),
        (json!({"status": "pending"}), "status"),
        (json!({"attempt": 0}), "attempt"),
        (json!({"attempt": -1}), "attempt"),
        (json!({"step": text(201)}), "step"),
        (json!({"message": text(1_001)}), "message"),
        (json!({"message": "\0"}), "message"),
        (json!({"data": []}), "data"),
        (json!({"data": {"more": "x".repeat(6_000)}}), "data"),
        (json!({"result": "x".repeat(65_535)}), "result"),
        (json!({"error": 5}), "error"),
        (json!({"error": {"code": ""}}), "error.code"),
        (json!({"error": {"message": 5}}), "error.message"),
        (json!({"error": {"message": text(1_001)}}), "error.message"),
        (json!({"error": {"reason": "x"}}), "error.reason"),
        (json!({"report_id": ""}), "report_id"),
        (json!({"report_id": "ü"}), "report_id"),
        (json!({"job_id": "a"}), "job_id"),
        (json!({"processed": 5}), "processed"),
        (json!({"kind": "x"}), "kind"),
    ] {
        let message = server
            .patch(JOB, report.clone())
            .await
            .error(400, "INVALID_REQUEST");
        assert!(
            message.starts_with(&format!("{field}: ")),
            "{field}: {message}"
        );
    }
    assert_eq!(server.status("a").await, before);
    let fits = json!({"step": text(200), "message": text(1_000), "result": "x".repeat(65_534)});
    server.report("a", fits).await;
}

#[tokio::test]
async fn an_empty_body_is_a_sign_of_life() {
    let server = with_job(json!({})).await;
    let answer = Answer::of(server.request(Method::PATCH, JOB)).await;
    assert_eq!(answer.expect(StatusCode::OK).json()["status"], "processing");
    let seq = server.status("a").await["seq"].clone();
    assert_eq!(
        server.report("a", json!({})).await["seq"],
        seq,
        "no change, no seq"
    );
}

#[tokio::test]
async fn a_higher_attempt_starts_anew_and_a_lower_one_is_stale() {
    let server = with_job(json!({"total_count": 10})).await;
    let report = json!({"processed_count": 5, "step": "One", "message": "m", "data": {"k": 1}});
    server.report("a", report).await;
    server
        .report(
            "a",
            json!({"status": "pending", "attempt": 3, "error": "lost"}),
        )
        .await;
    assert_fields(
        &server.status("a").await,
        &json!({
            "status": "pending", "attempt": 3, "total_count": 10, "processed_count": 0,
            "progress_percentage": 0, "step": null, "message": null, "data": {"k": 1},
            "error": {"code": "JOB_FAILED", "message": "lost"},
        }),
    );
    for report in [
        json!({"attempt": 1, "processed_count": 9}),
        json!({"attempt": 2, "status": "completed"}),
    ] {
        let message = server.patch(JOB, report).await.error(409, "STALE_ATTEMPT");
        assert_eq!(&message[..8], "Attempt ", "{message}");
    }
    server
        .report("a", json!({"attempt": 3, "processed_count": 1}))
        .await;
    let status = server.status("a").await;
    assert_fields(
        &status,
        &json!({"status": "processing", "attempt": 3, "processed_count": 1}),
    );
}

#[tokio::test]
async fn after_the_end_nothing_changes_and_the_same_end_is_acknowledged() {
    for end in ["completed", "failed", "cancelled"] {
        let server = with_job(json!({})).await;
        let answer = server
            .report("a", json!({"status": end, "message": "bye"}))
            .await;
        let status = server.status("a").await;
        let again = server
            .report("a", json!({"status": end, "message": "again"}))
            .await;
        assert_eq!(answer, again);
        let events = json!({"event": "note"});
        for (method, path, body) in [
            (Method::PATCH, JOB.to_owned(), json!({})),
            (
                Method::PATCH,
                JOB.to_owned(),
                json!({"status": "processing"}),
            ),
            (
                Method::PATCH,
                JOB.to_owned(),
                json!({"status": "pending", "attempt": 2}),
            ),
            (
                Method::PATCH,
                JOB.to_owned(),
                json!({"processed_increment": 1}),
            ),
            (Method::POST, format!("{JOB}/events"), events),
        ] {
            let request = server.request(method, &path).json(&body);
            let message = Answer::of(request).await.error(409, "JOB_FINISHED");
            assert!(message.contains(end), "{message}");
        }
        for other in ["completed", "failed", "cancelled"] {
            if other != end {
                let answer = server.patch(JOB, json!({"status": other})).await;
                answer.error(409, "JOB_FINISHED");
            }
        }
        assert_eq!(server.status("a").await, status);
    }
}

#[tokio::test]
async fn a_report_that_comes_twice_counts_once() {
    let server = with_job(json!({})).await;
    let report = json!({"processed_increment": 5, "report_id": "r-1"});
    let first = server.report("a", report.clone()).await;
    server.report("a", json!({"processed_increment": 1})).await;
    assert_eq!(server.report("a", report).await, first);
    let by_header = json!({"processed_increment": 10});
    let second = report_with_key(&server, "r-2", &by_header)
        .await
        .expect(StatusCode::OK);
    let again = report_with_key(&server, "r-2", &by_header)
        .await
        .expect(StatusCode::OK);
    assert_eq!(second.json(), again.json());
    // Header and body are two places for the same thing.
    let in_body = json!({"processed_increment": 10, "report_id": "r-2"});
    assert_eq!(server.report("a", in_body.clone()).await, second.json());
    let both = report_with_key(&server, "r-2", &in_body)
        .await
        .expect(StatusCode::OK);
    assert_eq!(both.json(), second.json());
    assert_eq!(server.status("a").await["processed_count"], 16);
    let differing = report_with_key(&server, "r-3", &in_body).await;
    let message = differing.error(400, "INVALID_REQUEST");
    assert!(message.starts_with("report_id: "), "{message}");
    let malformed = report_with_key(&server, "ü", &by_header).await;
    let message = malformed.error(400, "INVALID_REQUEST");
    assert!(message.starts_with("Idempotency-Key: "), "{message}");
}

#[tokio::test]
async fn a_repeated_report_is_answered_as_before_even_after_the_end() {
    let server = with_job(json!({})).await;
    let report = json!({"processed_increment": 1, "report_id": "r-1"});
    let first = server.report("a", report.clone()).await;
    server.report("a", json!({"status": "completed"})).await;
    assert_eq!(server.report("a", report).await, first);
    let other = json!({"processed_increment": 1, "report_id": "r-2"});
    server.patch(JOB, other).await.error(409, "JOB_FINISHED");
}

#[tokio::test]
async fn a_repeated_report_is_told_of_those_who_watch_now() {
    let server = with_job(json!({})).await;
    let report = json!({"processed_count": 1, "report_id": "r"});
    let mut first = server.report("a", report.clone()).await;
    assert_eq!(first["watchers"], 0);
    let _stream = server.watch("a").await;
    first["watchers"] = json!(1);
    assert_eq!(server.report("a", report).await, first);
}

#[tokio::test]
async fn a_refused_report_may_come_again_under_its_id() {
    let server = with_job(json!({})).await;
    server
        .report("a", json!({"attempt": 2, "status": "processing"}))
        .await;
    let stale = json!({"attempt": 1, "processed_increment": 1, "report_id": "r"});
    server.patch(JOB, stale).await.error(409, "STALE_ATTEMPT");
    let mended = json!({"attempt": 2, "processed_increment": 1, "report_id": "r"});
    server.report("a", mended).await;
    assert_eq!(server.status("a").await["processed_count"], 1);
}
