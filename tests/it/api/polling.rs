//! `?wait=&after=`: waiting for something newer.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::in_time;
use crate::support::server::{Answer, TestServer};

const STATUS: &str = "/api/v1/jobs/a/status";

async fn with_job(toml: &str) -> (TestServer, Value) {
    let server = TestServer::with(toml).await;
    let job = server.create(json!({"job_id": "a"})).await;
    (server, job["seq"].clone())
}

/// Begins to wait for something newer than `after`.
async fn poll(server: &TestServer, after: &Value) -> Answer {
    server.get(&format!("{STATUS}?wait=60&after={after}")).await
}

/// Gives signs of life, which change nothing, until somebody waits at the job.
async fn until_somebody_waits(server: &TestServer) {
    while server.report("a", json!({})).await["watchers"] == 0 {}
}

#[tokio::test]
async fn a_poll_waits_for_the_next_change() {
    let (server, _) = with_job("").await;
    let seq = server.report("a", json!({})).await["seq"].clone();
    let polling = poll(&server, &seq);
    let changing = async {
        until_somebody_waits(&server).await;
        server.report("a", json!({"processed_count": 7})).await
    };
    let (answer, report) = tokio::join!(polling, changing);
    let status = answer.expect(StatusCode::OK).json();
    assert_eq!(
        (&status["processed_count"], &status["seq"]),
        (&json!(7), &report["seq"])
    );
    // Whoever waited is gone.
    assert_eq!(server.report("a", json!({})).await["watchers"], 0);
}

#[tokio::test]
async fn an_event_is_something_newer_too() {
    let (server, _) = with_job("").await;
    let seq = server.report("a", json!({})).await["seq"].clone();
    let polling = poll(&server, &seq);
    let changing = async {
        until_somebody_waits(&server).await;
        let event = json!({"event": "note"});
        let answer = server.post("/api/v1/jobs/a/events", event).await;
        answer.expect(StatusCode::OK).json()
    };
    let (answer, event) = tokio::join!(polling, changing);
    assert_eq!(answer.expect(StatusCode::OK).json()["seq"], event["seq"]);
}

#[tokio::test]
async fn without_after_a_poll_waits_for_whatever_comes_next() {
    let (server, _) = with_job("").await;
    server.report("a", json!({})).await;
    let path = format!("{STATUS}?wait=60");
    let changing = async {
        until_somebody_waits(&server).await;
        server.report("a", json!({"processed_count": 7})).await
    };
    let (answer, _) = tokio::join!(server.get(&path), changing);
    assert_eq!(answer.json()["processed_count"], 7);
}

#[tokio::test]
async fn what_is_newer_already_is_answered_at_once() {
    let (server, created) = with_job("").await;
    let report = server.report("a", json!({})).await;
    let answer = poll(&server, &created).await.expect(StatusCode::OK);
    assert_eq!(answer.json()["seq"], report["seq"]);
    assert!(answer.header("etag").is_some() && answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_finished_job_is_answered_at_once() {
    let (server, _) = with_job("").await;
    let seq = server.report("a", json!({"status": "completed"})).await["seq"].clone();
    let beyond = json!(seq.as_u64().expect("a seq") + 1);
    for after in [&seq, &beyond, &json!(0)] {
        let answer = poll(&server, after).await.expect(StatusCode::OK);
        assert_eq!(answer.json()["status"], "completed");
        assert_eq!(answer.header("retry-after"), None);
    }
    let answer = server.get(&format!("{STATUS}?wait=60")).await;
    assert_eq!(answer.json()["status"], "completed");
}

#[tokio::test]
async fn when_the_time_is_up_the_answer_is_what_is_there() {
    let (server, seq) = with_job("").await;
    let path = format!("{STATUS}?wait=1&after={seq}");
    let answer = server.get(&path).await.expect(StatusCode::OK);
    assert_eq!(answer.json()["seq"], seq);
    let known = server
        .request(Method::GET, &path)
        .header("if-none-match", format!("\"{seq}\""));
    assert_eq!(Answer::of(known).await.status, StatusCode::NOT_MODIFIED);
}

/// The interval is a minute, longer than any test: after the stream's first status a count alone
/// answers no poll, but a change that must not wait does, and brings the count along.
#[tokio::test]
async fn polls_keep_the_pace_of_the_stream() {
    let (server, _) = with_job("[stream]\nupdate_interval_ms = 60000\n").await;
    let mut stream = server.watch("a").await;
    server.report("a", json!({"processed_count": 1})).await;
    let first = stream
        .status_where(|status| status["processed_count"] == 1)
        .await
        .json()["seq"]
        .clone();
    let changing = async {
        in_time("a second watcher", async {
            while server.watchers("a").await != 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server.report("a", json!({"processed_count": 2})).await;
        let cancelling = server.post("/api/v1/jobs/a/cancel", json!({})).await;
        cancelling.expect(StatusCode::ACCEPTED);
    };
    let (answer, ()) = tokio::join!(poll(&server, &first), changing);
    let status = answer.expect(StatusCode::OK).json();
    assert_eq!(
        (&status["processed_count"], &status["cancel_requested"]),
        (&json!(2), &json!(true))
    );
}

#[tokio::test]
async fn head_and_a_wait_of_nought_do_not_wait() {
    let (server, seq) = with_job("").await;
    let path = format!("{STATUS}?wait=60&after={seq}");
    let head = Answer::of(server.request(Method::HEAD, &path)).await;
    assert_eq!(head.expect(StatusCode::OK).text, "");
    let answer = server.get(&format!("{STATUS}?wait=0&after={seq}")).await;
    assert_eq!(answer.json()["seq"], seq);
    assert_eq!(server.report("a", json!({})).await["watchers"], 0);
}

#[tokio::test]
async fn a_job_that_is_removed_meanwhile_is_gone() {
    let (server, seq) = with_job("").await;
    let changing = async {
        // Not by reports: those would answer the poll.
        while server.watchers("a").await == 0 {
            tokio::task::yield_now().await;
        }
        server
            .delete("/api/v1/jobs/a")
            .await
            .expect(StatusCode::NO_CONTENT);
    };
    let (answer, ()) = tokio::join!(poll(&server, &seq), changing);
    answer.error(410, "JOB_GONE");
}

#[tokio::test]
async fn a_server_that_shuts_down_answers_those_who_wait() {
    let (server, seq) = with_job("").await;
    let guest = server.guest();
    let polling = tokio::spawn(async move { poll(&guest, &seq).await });
    while server.watchers("a").await == 0 {
        tokio::task::yield_now().await;
    }
    server.drain().await;
    let answer = polling.await.expect("an answer").expect(StatusCode::OK);
    assert_eq!(answer.json()["status"], "pending");
}

#[tokio::test]
async fn what_is_no_time_and_no_seq_is_refused_by_name() {
    let (server, _) = with_job("").await;
    for (query, field) in [
        ("wait=-1", "wait"),
        ("wait=x", "wait"),
        ("wait=", "wait"),
        ("wait=1.5", "wait"),
        ("wait=1&after=x", "after"),
        ("after=-1", "after"),
        ("after=9007199254740992", "after"),
    ] {
        let message = server
            .get(&format!("{STATUS}?{query}"))
            .await
            .error(400, "INVALID_REQUEST");
        assert!(
            message.starts_with(&format!("{field}: ")),
            "{query}: {message}"
        );
    }
    // More than the longest wait is no mistake; it is waited that long.
    let answer = server.get(&format!("{STATUS}?wait=9999999&after=0")).await;
    answer.expect(StatusCode::OK);
}
