//! A pet shop's recommendations, as their old clients know them: the user's newest, from everywhere.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Raw, resume, send, serving};
use crate::support::{
    people::configuration,
    server::{Answer, TestServer},
    sse::SseStream,
};

const STREAM: &str = "/v1/pets/recommendations/stream?userId=user-456";

/// A server with keys, whose owner is the shop's worker.
async fn shop() -> TestServer {
    let server = serving(&["recommendations"], &configuration()).await;
    server.with_token("key-all")
}

async fn find(server: &TestServer, job_id: &str, pet: u32) -> u64 {
    let data = json!({"petId": pet, "name": "Rex", "score": 0.95, "reason": "calm"});
    send(server, job_id, "recommendation", data).await
}

fn job(job_id: &str) -> Value {
    json!({"job_id": job_id, "kind": "recommendation", "owner": "user-456"})
}

#[tokio::test]
async fn what_is_found_is_told_to_the_byte_from_the_first_on() {
    let server = shop().await;
    server.create(job("r-1")).await;
    find(&server, "r-1", 1).await;
    let mut raw = Raw::open(&server, STREAM, &[]).await;
    raw.blocks(1).await;
    find(&server, "r-1", 2).await;
    let result = json!({"total": 2, "processingTime": 850});
    let end = json!({"status": "completed", "result": result});
    server.report("r-1", end).await;
    let pet = |number| {
        format!(
            "event: recommendation\n\
             data: {{\"petId\":{number},\"name\":\"Rex\",\"score\":0.95,\"reason\":\"calm\"}}\n\
             id: N\n\
             \n"
        )
    };
    let complete = "event: complete\n\
        data: {\"total\":2,\"processingTime\":850}\n\
        retry: 3600000\n\
        id: N\n\
        \n";
    let expected = format!(":\n{}{}{complete}", pet(1), pet(2));
    assert_eq!(raw.whole().await, expected);
    assert_eq!(
        Raw::open(&server, STREAM, &[]).await.whole().await,
        expected
    );
}

#[tokio::test]
async fn the_job_is_the_users_newest_and_an_unfinished_one_goes_first() {
    let server = shop().await;
    let stranger = json!({"job_id": "s", "kind": "recommendation", "owner": "user-457"});
    server.create(stranger).await;
    server.get(STREAM).await.error(404, "JOB_NOT_FOUND");
    server.create(job("r-1")).await;
    server.create(job("r-2")).await;
    server
        .create(json!({"job_id": "x", "kind": "other", "owner": "user-456"}))
        .await;
    find(&server, "r-2", 2).await;
    let end = json!({"status": "completed"});
    server.report("r-2", end.clone()).await;
    find(&server, "r-1", 1).await;
    let mut stream = server.stream(STREAM).await;
    assert_eq!(stream.next().await.json()["petId"], 1);
    server.report("r-1", end).await;
    let complete = stream.next().await;
    assert_eq!((complete.name(), &*complete.data), ("complete", "{}"));
    // Both have ended: the newest it is, for who comes back too.
    let mut stream = resume(&server, STREAM, None).await;
    let blocks = stream.rest().await;
    assert_eq!(blocks[0].json()["petId"], 2);
    let cursor = blocks[1].id.as_deref();
    let over = resume(&server, STREAM, cursor).await;
    assert_eq!(over.head.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn whose_they_are_must_be_said() {
    let server = shop().await;
    for query in ["", "?userId=", "?user=user-456"] {
        let path = format!("/v1/pets/recommendations/stream{query}");
        let message = server.get(&path).await.error(400, "INVALID_REQUEST");
        assert_eq!(message, "userId: must not be missing", "{query}");
    }
}

#[tokio::test]
async fn every_page_of_the_world_may_read_and_is_told_of_errors_too() {
    for keys in [configuration(), String::new()] {
        let server = serving(&["recommendations"], &keys)
            .await
            .with_token("key-all");
        server.create(job("r-1")).await;
        let foreign = |method, path: &str| {
            let request = server
                .client
                .request(method, format!("{}{path}", server.url));
            let request = request.header("origin", "https://shop.example");
            request.header("sec-fetch-site", "cross-site")
        };
        let errors = "/v1/pets/recommendations/stream";
        let head = Answer::of(foreign(Method::HEAD, STREAM)).await;
        assert_eq!(head.status, StatusCode::OK);
        let error = Answer::of(foreign(Method::GET, errors)).await;
        error.error(400, "INVALID_REQUEST");
        let preflight = foreign(Method::OPTIONS, STREAM);
        let preflight = preflight.header("access-control-request-method", "GET");
        let preflight = preflight.header("access-control-request-headers", "last-event-id");
        let preflight = Answer::of(preflight).await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        let allowed = preflight.header("access-control-allow-headers");
        assert!(allowed.is_some_and(|allowed| allowed.contains("last-event-id")));
        for answer in [head, error, preflight] {
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
        // Nothing else of the server is any more open for it.
        let other = Answer::of(foreign(Method::GET, "/api/v1/jobs/r-1")).await;
        assert!(other.status.is_client_error());
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn credentials_that_come_along_are_not_looked_at() {
    let server = shop().await;
    server.create(job("r-1")).await;
    for (path, bearer) in [
        (format!("{STREAM}&token=nonsense"), None),
        (STREAM.to_owned(), Some("nonsense")),
        (format!("{STREAM}&token=nonsense"), Some("a.b.c")),
    ] {
        let mut request = server.client.get(format!("{}{path}", server.url));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let head = SseStream::open(request).await.head;
        assert_eq!(head.status, StatusCode::OK);
    }
}
