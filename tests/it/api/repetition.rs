//! `POST /jobs` twice: the same request finds its job, another one is refused.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    in_time, people,
    server::{Answer, TestServer},
};

const JOBS: &str = "/api/v1/jobs";

async fn create_with_key(server: &TestServer, key: &str, body: &Value) -> Answer {
    let request = server.request(Method::POST, JOBS).json(body);
    Answer::of(request.header("idempotency-key", key)).await
}

#[tokio::test]
async fn the_same_request_again_finds_the_job_as_it_is() {
    let server = TestServer::start().await;
    let request = json!({"job_id": "a", "kind": "import", "data": {"n": 1}});
    server.create(request.clone()).await;
    server.report("a", json!({"processed_count": 5})).await;
    let answer = server
        .post(JOBS, request.clone())
        .await
        .expect(StatusCode::OK);
    assert_eq!(answer.header("location"), Some("/api/v1/jobs/a"));
    assert_eq!(answer.json()["processed_count"], 5);
    assert_eq!(answer.json()["watch_token"], Value::Null);
    server.report("a", json!({"status": "completed"})).await;
    let answer = server.post(JOBS, request).await.expect(StatusCode::OK);
    assert_eq!(answer.json()["status"], "completed");
}

#[tokio::test]
async fn another_request_of_the_same_name_is_refused_and_learns_nothing() {
    let server = TestServer::with(&people::configuration()).await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    let request = json!({"job_id": "a", "kind": "import"});
    ann.create(request.clone()).await;
    for (who, body) in [
        (&ann, json!({"job_id": "a"})),
        (&ann, json!({"job_id": "a", "kind": "export"})),
        (
            &ann,
            json!({"job_id": "a", "kind": "import", "total_count": 1}),
        ),
        (&ann, json!({"job_id": "a", "kind": "import", "data": {}})),
        (
            &ann,
            json!({"job_id": "a", "kind": "import", "tags": ["x"]}),
        ),
        (
            &ann,
            json!({"job_id": "a", "kind": "import", "ttl_seconds": 5}),
        ),
        (&bob, request),
    ] {
        let answer = who.post(JOBS, body).await;
        answer.error(409, "JOB_EXISTS");
        assert!(!answer.text.contains("import"), "{}", answer.text);
        assert_eq!(answer.header("location"), None);
    }
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_job() {
    let server = TestServer::start().await;
    let body = json!({"kind": "import"});
    let first = create_with_key(&server, "k-1", &body)
        .await
        .expect(StatusCode::CREATED);
    let again = create_with_key(&server, "k-1", &body)
        .await
        .expect(StatusCode::OK);
    assert_eq!(first.json(), again.json());
    let other = create_with_key(&server, "k-2", &body)
        .await
        .expect(StatusCode::CREATED);
    assert_ne!(first.json()["job_id"], other.json()["job_id"]);
    let answer = create_with_key(&server, "k-1", &json!({"kind": "export"})).await;
    answer.error(409, "JOB_EXISTS");
    let answer = create_with_key(&server, "k-1", &json!({"job_id": "mine"})).await;
    answer.error(409, "JOB_EXISTS");
    server
        .get("/api/v1/jobs/mine")
        .await
        .error(404, "JOB_NOT_FOUND");
    for key in ["", "ü", &"x".repeat(256)] {
        let message = create_with_key(&server, key, &body)
            .await
            .error(400, "INVALID_REQUEST");
        assert!(message.starts_with("Idempotency-Key: "), "{message}");
    }
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_owner() {
    let server = TestServer::with(&people::configuration()).await;
    let mut jobs = Vec::new();
    for person in ["key-ann", "key-bob", "key-all"] {
        let answer = create_with_key(&server.as_bearer(person), "k", &json!({})).await;
        jobs.push(answer.expect(StatusCode::CREATED).json()["job_id"].clone());
    }
    assert!(jobs[0] != jobs[1] && jobs[1] != jobs[2] && jobs[0] != jobs[2]);
}

#[tokio::test]
async fn of_requests_at_the_same_time_one_creates_the_job() {
    let server = TestServer::start().await;
    for round in 0..5 {
        let (key, job_id) = (format!("k-{round}"), format!("j-{round}"));
        let by_key = join_all(
            (0..10).map(|_| async { create_with_key(&server, &key, &json!({"kind": "x"})).await }),
        );
        let by_name =
            join_all((0..10).map(|_| async { server.post(JOBS, json!({"job_id": job_id})).await }));
        let (by_key, by_name) = tokio::join!(by_key, by_name);
        for answers in [by_key, by_name] {
            let created = answers.iter().filter(|it| it.status == StatusCode::CREATED);
            assert_eq!(created.count(), 1);
            for answer in &answers {
                assert!(answer.status.is_success(), "{}", answer.text);
                assert_eq!(answer.json()["job_id"], answers[0].json()["job_id"]);
            }
        }
    }
}

#[tokio::test]
async fn a_refused_creation_may_come_again_under_its_key() {
    let server = TestServer::with("[limits]\nmax_jobs = 1\n").await;
    server.create(json!({"job_id": "a"})).await;
    let refused = create_with_key(&server, "k", &json!({"kind": "x"})).await;
    refused.error(429, "RATE_LIMITED");
    server.report("a", json!({"status": "completed"})).await;
    let created = create_with_key(&server, "k", &json!({"kind": "x"})).await;
    created.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn work_that_was_removed_is_not_done_again_under_its_key() {
    let server = TestServer::start().await;
    let body = json!({"kind": "import"});
    let first = create_with_key(&server, "k", &body).await;
    let first = first.expect(StatusCode::CREATED).json();
    let path = format!("{JOBS}/{}", first["job_id"].as_str().expect("an id"));
    let removed = server.delete(&path).await;
    removed.expect(StatusCode::NO_CONTENT);
    for _ in 0..2 {
        let again = create_with_key(&server, "k", &body).await;
        again.error(410, "JOB_GONE");
        assert!(!again.text.contains("import"), "{}", again.text);
    }
    assert_eq!(server.get(JOBS).await.json()["jobs"], json!([]));
    // Another key is another request.
    let other = create_with_key(&server, "l", &body).await;
    other.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_key_is_free_again_once_nobody_remembers_its_job() {
    let server = TestServer::with("jobs.gone_seconds = 1").await;
    let first = create_with_key(&server, "k", &json!({})).await;
    let first = first.expect(StatusCode::CREATED).json();
    let path = format!("{JOBS}/{}", first["job_id"].as_str().expect("an id"));
    server.delete(&path).await.expect(StatusCode::NO_CONTENT);
    let later = async {
        loop {
            let answer = create_with_key(&server, "k", &json!({})).await;
            if answer.status != StatusCode::GONE {
                return answer;
            }
        }
    };
    let later = in_time("the end of the tombstone", later).await;
    later.expect(StatusCode::CREATED);
}
