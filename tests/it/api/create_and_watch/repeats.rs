//! The same request again: it finds the job, and goes on where the client was.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{JOBS, OFFLINE, asking, job_of, stream_of, uploading};
use crate::support::{
    people,
    server::{Answer, TestServer},
    sse::SseStream,
};

async fn log(server: &TestServer, text: &str) {
    let event = json!({"event": "log", "data": text});
    let path = format!("{JOBS}/a/events");
    server.post(&path, event).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_was_cut_off_goes_on_behind_its_last_id() {
    let server = TestServer::start().await;
    let body = json!({"job_id": "a", "total_count": 2});
    let mut stream = stream_of(asking(&server, &body), StatusCode::CREATED).await;
    stream.next().await;
    log(&server, "one").await;
    let cursor = stream.next().await.id.expect("an id");
    drop(stream);
    log(&server, "two").await;
    log(&server, "three").await;
    let again = asking(&server, &body).header("last-event-id", &cursor);
    let mut stream = stream_of(again, StatusCode::OK).await;
    assert_eq!(job_of(&stream), "a");
    // Missed events follow, so the status moves no cursor.
    assert_eq!(stream.next().await.id, None);
    assert_eq!(stream.next().await.data, "\"two\"");
    assert_eq!(stream.next().await.data, "\"three\"");
    server.report("a", json!({"status": "completed"})).await;
    let end = stream.next().await.id.expect("an id");
    stream.expect_end().await;
    // In the query too, where the header does not win.
    for path in ["last_event_id", "lastEventId"] {
        let path = format!("{JOBS}?{path}={cursor}");
        let request = server.request(Method::POST, &path).json(&body);
        let again = request.header("accept", "text/event-stream");
        let names: Vec<_> = stream_of(again, StatusCode::OK).await.rest().await;
        let names: Vec<_> = names.iter().map(|block| block.name().to_owned()).collect();
        assert_eq!(names, ["log", "log", "status"]);
    }
    let over = Answer::of(asking(&server, &body).header("last-event-id", &end)).await;
    assert_eq!((over.status, &*over.text), (StatusCode::NO_CONTENT, ""));
    assert_eq!(over.header("location"), Some("/api/v1/jobs/a"));
    assert_eq!(over.header("cache-control"), Some("no-cache, no-transform"));
    let anew = stream_of(asking(&server, &body), StatusCode::OK)
        .await
        .rest()
        .await;
    assert_eq!(anew.len(), 1);
    assert_eq!(anew[0].retry, Some(3_600_000));
}

#[tokio::test]
async fn an_upload_is_worked_on_once_however_often_it_comes() {
    let server = TestServer::with(OFFLINE).await;
    let list = "ann@a.example\nann\n";
    let mut first = stream_of(uploading(&server, "k", list), StatusCode::CREATED).await;
    let end = first.rest().await.pop().expect("a terminal block");
    let mut again = stream_of(uploading(&server, "k", list), StatusCode::OK).await;
    assert_eq!(job_of(&again), job_of(&first));
    let last = again.rest().await.pop().expect("a terminal block");
    assert_eq!(last.json(), end.json());
    assert_eq!(last.json()["attempt"], 1);
    let id = end.id.expect("an id");
    let over = Answer::of(uploading(&server, "k", list).header("last-event-id", id)).await;
    assert_eq!(over.status, StatusCode::NO_CONTENT);
    let list = server.get(JOBS).await.json();
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_cursor_of_something_else_means_from_the_start() {
    let server = TestServer::start().await;
    let body = json!({"job_id": "a"});
    // From a job of that name in another life, say: the client may well send it with the creation.
    let request = asking(&server, &body).header("last-event-id", "1795287600123456");
    let mut stream = stream_of(request, StatusCode::CREATED).await;
    assert_eq!(stream.next_status().await["status"], "pending");
    log(&server, "one").await;
    assert_eq!(stream.next().await.data, "\"one\"");
    let request = asking(&server, &body).header("last-event-id", "no number");
    let mut stream = stream_of(request, StatusCode::OK).await;
    stream.next_status().await;
    assert_eq!(stream.next().await.data, "\"one\"");
}

#[tokio::test]
async fn json_and_stream_are_two_answers_to_one_request() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    let body = json!({"job_id": "a", "kind": "import"});
    let mut stream = stream_of(asking(&ann, &body), StatusCode::CREATED).await;
    stream.next_status().await;
    // Where the token for a page is: it never stands in a stream or a header.
    let answer = ann.post(JOBS, body.clone()).await.expect(StatusCode::OK);
    assert_eq!(answer.json()["links"]["stream"], "/api/v1/jobs/a/stream");
    let token = answer.json()["watch_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let mut page = server
        .stream(&format!("{JOBS}/a/stream?token={token}"))
        .await;
    page.next_status().await;
    ann.post(JOBS, json!({"job_id": "b"}))
        .await
        .expect(StatusCode::CREATED);
    stream_of(asking(&ann, &json!({"job_id": "b"})), StatusCode::OK).await;
    assert!(!format!("{:?}", stream.head.headers).contains("token"));
}

async fn both(server: &TestServer, asking: impl AsyncFn() -> SseStream) {
    let streams = join_all((0..6).map(|_| asking())).await;
    let created = streams
        .iter()
        .filter(|stream| stream.head.status == StatusCode::CREATED);
    assert_eq!(created.count(), 1);
    let job_id = job_of(&streams[0]);
    let mut told: Vec<Vec<Value>> = Vec::new();
    for mut stream in streams {
        assert!(stream.head.status.is_success());
        assert_eq!(job_of(&stream), job_id);
        told.push(vec![stream.next_status().await]);
        let end = json!({"status": "completed", "message": "done"});
        server.report(&job_id, end).await;
        told.last_mut()
            .expect("a list")
            .extend(stream.rest().await.iter().map(|it| it.json()));
    }
    // The first has seen the job begin; whoever joins behind the end sees the end alone.
    let ends: Vec<_> = told.iter().map(|told| told.last()).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{told:?}");
}

#[tokio::test]
async fn of_requests_at_the_same_time_one_creates_and_all_watch() {
    let server = TestServer::start().await;
    for round in 0..5 {
        let body = json!({"job_id": format!("j-{round}")});
        both(&server, async || {
            SseStream::open(asking(&server, &body)).await
        })
        .await;
        let body = json!({"kind": "import"});
        let key = format!("k-{round}");
        let asking = async || {
            let request = asking(&server, &body).header("idempotency-key", &key);
            SseStream::open(request).await
        };
        both(&server, asking).await;
    }
}
