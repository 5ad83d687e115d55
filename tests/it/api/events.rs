//! `POST /jobs/{id}/events`: one or many, all or none.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

const EVENTS: &str = "/api/v1/jobs/a/events";

async fn with_job() -> TestServer {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    server
}

async fn post_with_key(server: &TestServer, key: &str, body: &Value) -> Answer {
    let request = server.request(Method::POST, EVENTS).json(body);
    Answer::of(request.header("idempotency-key", key)).await
}

/// Names and data of the events that a watcher from the start is sent.
async fn kept(server: &TestServer) -> Vec<(String, String)> {
    server.report("a", json!({"status": "completed"})).await;
    let blocks = server.resume("a", "0").await.rest().await;
    let events = blocks.into_iter().filter(|block| block.name() != "status");
    events
        .map(|block| (block.name().to_owned(), block.data))
        .collect()
}

#[tokio::test]
async fn an_event_starts_the_job_and_its_answer_has_its_seq() {
    let server = with_job().await;
    let event = json!({"event": "note", "data": {"k": 1}});
    let answer = server
        .post(EVENTS, event)
        .await
        .expect(StatusCode::OK)
        .json();
    let status = server.status("a").await;
    assert_eq!(status["status"], "processing");
    assert_eq!(answer, json!({"job_id": "a", "seq": status["seq"]}));
}

#[tokio::test]
async fn many_events_keep_their_order_and_are_answered_with_the_last_seq() {
    let server = with_job().await;
    let events: Vec<_> = (0..1_000)
        .map(|n| json!({"event": format!("e-{n}"), "data": n}))
        .collect();
    let answer = server
        .post(EVENTS, json!(events))
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(answer["seq"], server.status("a").await["seq"]);
    let kept = kept(&server).await;
    assert_eq!(kept.len(), 1_000);
    for (n, (name, data)) in kept.iter().enumerate() {
        assert_eq!((name, data), (&format!("e-{n}"), &n.to_string()));
    }
}

#[tokio::test]
async fn data_is_any_json_and_arrives_bare_and_on_one_line() {
    let server = with_job().await;
    let bodies = [
        r#"{"event":"a"}"#,
        r#"{"event":"b","data":null}"#,
        r#"{"event":"c","data":"a\nb"}"#,
        "{\"event\":\"d\",\"data\": {\r\n  \"x\" : [ 1.50, 1e300 ]\n}}",
        r#"{"event":"error","data":false}"#,
    ];
    for body in bodies {
        let request = server.request(Method::POST, EVENTS).body(body);
        let answer = Answer::of(request.header("content-type", "application/json")).await;
        answer.expect(StatusCode::OK);
    }
    let kept = kept(&server).await;
    let kept: Vec<_> = kept
        .iter()
        .map(|(name, data)| (name.as_str(), data.as_str()))
        .collect();
    assert_eq!(
        kept,
        [
            ("a", "null"),
            ("b", "null"),
            ("c", r#""a\nb""#),
            ("d", r#"{"x":[1.50,1e300]}"#),
            ("error", "false"),
        ]
    );
}

#[tokio::test]
async fn one_bad_event_refuses_all_and_is_named() {
    let server = with_job().await;
    let longest = "x".repeat(64);
    let ok = json!({"event": longest, "data": "x".repeat(65_534)});
    server
        .post(EVENTS, json!([ok]))
        .await
        .expect(StatusCode::OK);
    let before = server.status("a").await;
    for (event, field) in [
        (json!({"event": ""}), "event"),
        (json!({"event": "x".repeat(65)}), "event"),
        (json!({"event": "a b"}), "event"),
        (json!({"event": "a\nid: 5"}), "event"),
        (json!({"event": "a\rdata: x"}), "event"),
        (json!({"event": "ü"}), "event"),
        (json!({"event": "status"}), "event"),
        (json!({"event": "message"}), "event"),
        (json!({"event": "open"}), "event"),
        (json!({"event": "heartbeat"}), "event"),
        (json!({"event": "synced"}), "event"),
        (json!({"event": "removed"}), "event"),
        (json!({"event": 5}), "event"),
        (json!({"event": "a", "data": "x".repeat(65_535)}), "data"),
        (json!({"event": "a", "id": 5}), "id"),
    ] {
        let message = server
            .post(EVENTS, event.clone())
            .await
            .error(400, "INVALID_REQUEST");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
        let list = json!([{"event": "good"}, event, {"event": "good"}]);
        let message = server
            .post(EVENTS, list)
            .await
            .error(400, "INVALID_REQUEST");
        assert!(message.starts_with(&format!("[1].{field}: ")), "{message}");
    }
    assert_eq!(server.status("a").await, before);
}

#[tokio::test]
async fn neither_none_nor_too_many_events_are_a_request() {
    let server = with_job().await;
    for body in [
        json!([]),
        json!(vec![json!({"event": "a"}); 1_001]),
        json!({}),
        json!("a"),
        json!(null),
    ] {
        server
            .post(EVENTS, body)
            .await
            .error(400, "INVALID_REQUEST");
    }
    let empty = Answer::of(server.request(Method::POST, EVENTS)).await;
    empty.error(400, "INVALID_REQUEST");
    assert_eq!(server.status("a").await["status"], "pending");
}

#[tokio::test]
async fn events_that_come_twice_are_sent_once() {
    let server = with_job().await;
    let single = json!({"event": "a", "report_id": "r-1"});
    let first = server
        .post(EVENTS, single.clone())
        .await
        .expect(StatusCode::OK);
    let list = json!([{"event": "b"}, {"event": "c"}]);
    let second = post_with_key(&server, "r-2", &list)
        .await
        .expect(StatusCode::OK);
    assert_eq!(server.post(EVENTS, single).await.json(), first.json());
    assert_eq!(
        post_with_key(&server, "r-2", &list).await.json(),
        second.json()
    );
    let inside = json!([{"event": "b", "report_id": "r-3"}]);
    let message = server
        .post(EVENTS, inside)
        .await
        .error(400, "INVALID_REQUEST");
    assert!(message.starts_with("[0].report_id: "), "{message}");
    let names: Vec<_> = kept(&server)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn after_the_end_events_are_refused() {
    let server = with_job().await;
    server.report("a", json!({"status": "completed"})).await;
    server
        .post(EVENTS, json!({"event": "a"}))
        .await
        .error(409, "JOB_FINISHED");
}
