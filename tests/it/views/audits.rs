//! Site audits, as their old clients know them.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Raw, serving};
use crate::support::{
    people::{configuration, token},
    server::{Answer, TestServer},
    sse::{Item, SseStream},
    staged_store::{Fate, StagedStore},
    until,
};

const STREAM: &str = "/api/v1/sse/audits/123/progress";
const STATUS: &str = "/api/v1/audits/123/status";

/// A server with the audit 123 of ann, and herself with a token that carries no scopes.
async fn audit() -> (TestServer, TestServer, String) {
    let server = serving(&["audits"], &configuration()).await;
    let worker = server.as_bearer("key-all");
    let job = json!({"job_id": "123", "kind": "audit", "owner": "ann"});
    worker.create(job).await;
    let ann = token(&json!({"sub": "ann"}));
    (server, worker, format!("Bearer {ann}"))
}

#[tokio::test]
async fn an_audit_is_told_to_the_byte_from_its_beginning_to_its_end() {
    let (server, worker, ann) = audit().await;
    let mut raw = Raw::open(&server, STREAM, &[("Authorization", &ann)]).await;
    raw.blocks(1).await;
    for report in [
        json!({"status": "processing"}),
        json!({"progress_percentage": 12.75, "message": "Crawling \"/\""}),
        json!({"progress_percentage": 50, "data": {"total_pages": 42, "geo_score": 78.5}}),
    ] {
        worker.report("123", report).await;
        raw.blocks(1).await;
    }
    let end = json!({"status": "completed", "result": {"geo_score": 81.25}});
    worker.report("123", end).await;
    assert_eq!(
        raw.whole().await,
        "event: message\n\
         data: {\"audit_id\":123,\"status\":\"pending\",\"progress\":0,\"message\":\"\"}\n\
         retry: 5000\n\
         id: N\n\
         \n\
         event: message\n\
         data: {\"audit_id\":123,\"status\":\"running\",\"progress\":0,\"message\":\"\"}\n\
         id: N\n\
         \n\
         event: message\n\
         data: {\"audit_id\":123,\"status\":\"running\",\"progress\":12,\"message\":\"Crawling \\\"/\\\"\"}\n\
         id: N\n\
         \n\
         event: message\n\
         data: {\"audit_id\":123,\"status\":\"running\",\"progress\":50,\"message\":\"Crawling \\\"/\\\"\",\"geo_score\":78.5,\"total_pages\":42}\n\
         id: N\n\
         \n\
         event: message\n\
         data: {\"audit_id\":123,\"status\":\"completed\",\"progress\":100,\"message\":\"Crawling \\\"/\\\"\",\"geo_score\":81.25,\"total_pages\":42}\n\
         retry: 3600000\n\
         id: N\n\
         \n"
    );
}

#[tokio::test]
async fn a_failed_and_a_cancelled_audit_say_why_in_one_block() {
    for (end, error) in [
        (
            json!({"status": "failed", "error": "No such host"}),
            "No such host",
        ),
        // What an attempt before it failed of is not why it was cancelled.
        (json!({"status": "cancelled"}), "Cancelled"),
    ] {
        let (server, worker, ann) = audit().await;
        let retry = json!({"status": "processing", "attempt": 2, "error": "flaky"});
        worker.report("123", retry).await;
        worker
            .report("123", json!({"progress_percentage": 30}))
            .await;
        let headers = [("Authorization", &*ann)];
        let mut live = Raw::open(&server, STREAM, &headers).await;
        live.blocks(1).await;
        let before = live.so_far();
        worker.report("123", end).await;
        let late = Raw::open(&server, STREAM, &headers).await.whole().await;
        // Who has watched it is told no more than who comes late.
        assert_eq!(live.whole().await, format!("{before}{late}"));
        assert_eq!(
            late,
            format!(
                "event: message\n\
                 data: {{\"audit_id\":123,\"status\":\"failed\",\"progress\":30,\"message\":\"\",\"error\":\"{error}\"}}\n\
                 retry: 3600000\n\
                 id: N\n\
                 \n"
            )
        );
    }
}

#[tokio::test]
async fn the_poll_twin_has_fields_of_its_own_and_all_that_a_poll_has() {
    let (server, worker, ann) = audit().await;
    let ann = server.as_bearer(ann.trim_start_matches("Bearer "));
    let answer = ann.get(STATUS).await.expect(StatusCode::OK);
    assert_eq!(answer.text, r#"{"id":123,"status":"pending","progress":0}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("retry-after").is_some());
    let tag = answer.header("etag").expect("a tag").to_owned();
    let known = ann
        .request(Method::GET, STATUS)
        .header("if-none-match", &tag);
    let known = Answer::of(known).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    let seq = tag.trim_matches('"').to_owned();
    let waiting = tokio::spawn({
        let ann = ann.guest();
        async move { ann.get(&format!("{STATUS}?wait=60&after={seq}")).await }
    });
    until("the poll", async || server.watchers("123").await == 1).await;
    let report = json!({"progress_percentage": 66.6, "data": {"geo_score": 7}});
    worker.report("123", report).await;
    let answer = waiting.await.expect("an answer").expect(StatusCode::OK);
    assert_eq!(
        answer.text,
        r#"{"id":123,"status":"running","progress":66,"geo_score":7}"#
    );
    worker.report("123", json!({"status": "completed"})).await;
    let answer = ann
        .get(&format!("{STATUS}?wait=60"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        answer.text,
        r#"{"id":123,"status":"completed","progress":100,"geo_score":7}"#
    );
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn who_may_not_is_told_as_everywhere() {
    let (server, worker, _) = audit().await;
    worker
        .create(json!({"job_id": "124", "kind": "import", "owner": "bob"}))
        .await;
    let bob = server.as_bearer(&token(&json!({"sub": "bob"})));
    for path in [STREAM, STATUS] {
        let message = server.get(path).await.error(401, "UNAUTHORIZED");
        assert_eq!(message, "Invalid API key");
        let wrong = server.as_bearer("a.b.c").get(path).await;
        assert_eq!(wrong.error(401, "UNAUTHORIZED"), "Invalid token");
        bob.get(path).await.error(403, "FORBIDDEN");
        // His own, of another kind: through this view there is no such job.
        for id in ["124", "125", "%2F", "a%20b"] {
            let answer = bob.get(&path.replace("123", id)).await;
            assert_eq!(answer.error(404, "JOB_NOT_FOUND"), "Job not found", "{id}");
        }
        let answer = bob.post(path, json!({})).await;
        answer.error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    // Ann's import does not show whose it is.
    worker
        .create(json!({"job_id": "126", "kind": "import", "owner": "ann"}))
        .await;
    let answer = bob.get(&STATUS.replace("123", "126")).await;
    answer.error(404, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn the_longest_duration_ends_a_stream_with_the_documented_words() {
    let server = serving(&["audits"], "stream.max_duration_seconds = 1\n").await;
    server
        .create(json!({"job_id": "123", "kind": "audit"}))
        .await;
    let raw = Raw::open(&server, STREAM, &[]).await;
    let whole = raw.whole().await;
    let (_, last) = whole.split_once("\n\n").expect("two blocks");
    assert_eq!(
        last,
        "event: message\ndata: {\"error\":\"Stream timeout\"}\n\n"
    );
}

#[tokio::test]
async fn what_the_old_words_have_nothing_for_ends_a_stream_in_silence() {
    let server = serving(&["audits"], "").await;
    server
        .create(json!({"job_id": "123", "kind": "audit"}))
        .await;
    let mut raw = Raw::open(&server, STREAM, &[]).await;
    raw.blocks(1).await;
    let before = raw.so_far();
    server
        .delete("/api/v1/jobs/123")
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(raw.whole().await, before);
    server.get(STREAM).await.error(410, "JOB_GONE");
}

#[tokio::test]
async fn an_event_source_is_told_of_trouble_with_the_documented_words() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "server.views = ['audits']").await;
    let ask = || {
        let request = server.request(Method::GET, STREAM);
        SseStream::open(request.header("accept", "text/event-stream"))
    };
    store.every_call(Fate::Failed);
    let mut stream = ask().await;
    assert_eq!(stream.head.status, StatusCode::OK);
    let only = stream.next().await;
    assert_eq!(
        (only.name(), &*only.data),
        ("message", r#"{"error":"Internal server error"}"#)
    );
    assert!(only.retry.is_some() && only.id.is_none(), "{only:?}");
    stream.expect_end().await;
    server.get(STREAM).await.error(503, "STORE_UNAVAILABLE");
    // Of a drain the old words say nothing: the client finds an end, and comes back.
    server.registry().drain();
    let mut stream = ask().await;
    assert_eq!(stream.next_item().await, Some(Item::Heartbeat));
    stream.expect_end().await;
}
