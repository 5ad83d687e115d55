//! What is refused makes nothing, and says so by its status: whoever posts reads it, unlike an `EventSource`.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use super::{JOBS, OFFLINE, asking, expect_no_job, stream_of, uploading};
use crate::support::{
    people,
    server::{Answer, TestServer},
    staged_store::{CAUSE, Fate, StagedStore},
    until,
};

async fn refused(request: RequestBuilder, status: u16, code: &str) -> Answer {
    let answer = Answer::of(request).await;
    answer.error(status, code);
    assert_eq!(answer.header("location"), None);
    answer
}

#[tokio::test]
async fn a_request_that_cannot_be_told_from_another_one() {
    let server = TestServer::with(OFFLINE).await;
    let expected = "job_id: must be given, or an Idempotency-Key, when a stream is the answer: a request that is \
                    sent again would create another job";
    let body = json!({"kind": "email-validation", "input": ["ann"]});
    let upload = server.request(Method::POST, &format!("{JOBS}?kind=email-validation"));
    let upload = upload.header("content-type", "text/plain").body("ann");
    let upload = upload.header("accept", "text/event-stream");
    for request in [asking(&server, &body), asking(&server, &json!({})), upload] {
        let answer = refused(request, 400, "INVALID_REQUEST").await;
        assert_eq!(answer.error(400, "INVALID_REQUEST"), expected);
    }
    expect_no_job(&server).await;
    assert_eq!(server.usage().seats_taken(), 0);
}

#[tokio::test]
async fn somebody_who_may_not_both_write_and_read() {
    let server = TestServer::with(&people::configuration()).await;
    let body = json!({"job_id": "a"});
    for (key, missing) in [
        ("key-write", "jobs:read"),
        ("key-read", "jobs:write"),
        ("key-cancel", "jobs:write"),
    ] {
        let answer = refused(asking(&server.as_bearer(key), &body), 403, "FORBIDDEN").await;
        let message = answer.error(403, "FORBIDDEN");
        assert_eq!(message, format!("The scope {missing} is missing"));
    }
    let writer = people::token(&json!({"sub": "ann", "scope": "jobs:write"}));
    refused(asking(&server.as_bearer(&writer), &body), 403, "FORBIDDEN").await;
    refused(asking(&server, &body), 401, "UNAUTHORIZED").await;
    let other = json!({"job_id": "a", "owner": "bob"});
    refused(
        asking(&server.as_bearer("key-ann"), &other),
        403,
        "FORBIDDEN",
    )
    .await;
    expect_no_job(&server.as_bearer("key-admin")).await;
    assert_eq!(server.usage().seats_taken(), 0);
    let both = people::token(&json!({"sub": "ann", "scope": "jobs:write jobs:read"}));
    let mut stream = stream_of(asking(&server.as_bearer(&both), &body), StatusCode::CREATED).await;
    assert_eq!(stream.next_status().await["owner"], "ann");
    let bob = server.as_bearer("key-bob");
    refused(asking(&bob, &body), 409, "JOB_EXISTS").await;
}

#[tokio::test]
async fn what_the_request_itself_gets_wrong() {
    let server = TestServer::with(
        "[limits]\njson_body_bytes = 1024\nupload_bytes = 1024\nndjson_line_bytes = 1024",
    )
    .await;
    let heartbeat = server.request(Method::POST, &format!("{JOBS}?heartbeat=loud"));
    let heartbeat = heartbeat
        .header("accept", "text/event-stream")
        .json(&json!({"job_id": "a"}));
    let answer = refused(heartbeat, 400, "INVALID_REQUEST").await;
    let message = answer.error(400, "INVALID_REQUEST");
    assert_eq!(message, "heartbeat: must be comment or event");
    let body = json!({"job_id": "a", "tags": 1});
    refused(asking(&server, &body), 400, "INVALID_REQUEST").await;
    let long = json!({"job_id": "a", "data": {"x": "x".repeat(1_024)}});
    refused(asking(&server, &long), 413, "PAYLOAD_TOO_LARGE").await;
    let picture = server
        .request(Method::POST, JOBS)
        .header("accept", "text/event-stream");
    let picture = picture.header("content-type", "image/png").body("x");
    refused(picture, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    let nobodys = json!({"job_id": "a", "kind": "crawl", "input": []});
    refused(asking(&server, &nobodys), 400, "INVALID_REQUEST").await;
    expect_no_job(&server).await;
    assert_eq!(server.usage().seats_taken(), 0);
}

#[tokio::test]
async fn a_name_that_stands_for_another_request() {
    let server = TestServer::start().await;
    let with_key = |key: &str, body| asking(&server, &body).header("idempotency-key", key);
    let first = with_key("k", json!({"job_id": "a"}));
    stream_of(first, StatusCode::CREATED).await;
    let other = json!({"job_id": "a", "kind": "import"});
    refused(asking(&server, &other), 409, "JOB_EXISTS").await;
    refused(with_key("k", json!({"job_id": "b"})), 409, "JOB_EXISTS").await;
}

#[tokio::test]
async fn removed_work_is_not_done_again_for_those_who_watched_it() {
    let server = TestServer::with(OFFLINE).await;
    let named = json!({"job_id": "a"});
    for request in [
        &|| uploading(&server, "k", "ann") as RequestBuilder,
        &|| asking(&server, &named),
    ] as [&dyn Fn() -> RequestBuilder; 2]
    {
        let mut stream = stream_of(request(), StatusCode::CREATED).await;
        let job_id = super::job_of(&stream);
        let id = stream.next().await.id.expect("an id");
        let removed = server.delete(&format!("{JOBS}/{job_id}")).await;
        removed.expect(StatusCode::NO_CONTENT);
        assert_eq!(
            stream.rest().await.last().expect("a block").retry,
            Some(3_600_000)
        );
        let resumed = request().header("last-event-id", id);
        refused(resumed, 410, "JOB_GONE").await;
    }
    refused(uploading(&server, "k", "ann"), 410, "JOB_GONE").await;
    // A name of one's own may be used anew, as it may without a stream.
    stream_of(asking(&server, &named), StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_watcher_for_whom_there_is_no_seat() {
    let server = TestServer::with("limits.max_streams = 1").await;
    let first = stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    for body in [json!({"job_id": "b"}), json!({"job_id": "a"})] {
        let answer = refused(asking(&server, &body), 429, "TOO_MANY_STREAMS").await;
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    server
        .get(&format!("{JOBS}/b"))
        .await
        .error(404, "JOB_NOT_FOUND");
    drop(first);
    until("the seat is free", async || {
        server.usage().seats_taken() == 0
    })
    .await;
    stream_of(
        asking(&server, &json!({"job_id": "b"})),
        StatusCode::CREATED,
    )
    .await;
}

#[tokio::test]
async fn a_watcher_too_many_of_the_job_by_whatever_name() {
    let server = TestServer::with("limits.max_streams_per_job = 1").await;
    for name in [json!({"job_id": "a"}), json!({})] {
        let request = || asking(&server, &name).header("idempotency-key", format!("k-{name}"));
        let first = stream_of(request(), StatusCode::CREATED).await;
        let answer = refused(request(), 429, "TOO_MANY_STREAMS").await;
        let message = answer.error(429, "TOO_MANY_STREAMS");
        assert_eq!(message, "Too many streams on this job");
        // It is counted with those who GET.
        let path = format!("{JOBS}/{}/stream", super::job_of(&first));
        server.get(&path).await.error(429, "TOO_MANY_STREAMS");
        drop(first);
        until("the seat is free", async || {
            server.usage().seats_taken() == 0
        })
        .await;
        stream_of(request(), StatusCode::OK).await;
        until("the seat is free", async || {
            server.usage().seats_taken() == 0
        })
        .await;
    }
}

#[tokio::test]
async fn one_job_too_many_and_one_request_too_many() {
    let server = TestServer::with("limits.max_jobs = 1").await;
    stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    let answer = refused(
        asking(&server, &json!({"job_id": "b"})),
        429,
        "RATE_LIMITED",
    )
    .await;
    assert!(answer.header("retry-after").is_some());
    stream_of(asking(&server, &json!({"job_id": "a"})), StatusCode::OK).await;
    let server = TestServer::with("limits.requests_per_second_per_address = 1").await;
    let body = json!({"job_id": "a"});
    stream_of(asking(&server, &body), StatusCode::CREATED).await;
    stream_of(asking(&server, &body), StatusCode::OK).await;
    let answer = refused(asking(&server, &body), 429, "RATE_LIMITED").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_server_that_cannot_take_it_now() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    let body = json!({"job_id": "a"});
    for (fate, status, code) in [
        (Fate::Failed, 503, "STORE_UNAVAILABLE"),
        (Fate::Panics, 500, "INTERNAL"),
    ] {
        store.every_call(fate);
        let answer = refused(asking(&server, &body), status, code).await;
        assert!(!answer.text.contains(CAUSE) && !answer.text.contains("purpose"));
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert_eq!(server.usage().seats_taken(), 0);
    }
    // Whether it was made is not known then: the same again finds out.
    store.every_call(Fate::AnswerLost);
    refused(asking(&server, &body), 503, "STORE_UNAVAILABLE").await;
    store.every_call(Fate::Done);
    stream_of(asking(&server, &body), StatusCode::OK).await;
    server.registry().drain();
    let answer = refused(asking(&server, &json!({"job_id": "b"})), 503, "DRAINING").await;
    assert!(answer.header("retry-after").is_some());
}
