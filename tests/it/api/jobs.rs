//! `POST /jobs`: fields, names and bounds.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::server::{Answer, TestServer};

const JOBS: &str = "/api/v1/jobs";

#[tokio::test]
async fn a_job_is_created_with_every_field() {
    let server = TestServer::start().await;
    let request = json!({
        "job_id": "import-7", "kind": "import", "total_count": 1_000, "unit": "emails",
        "owner": "user-456", "tags": ["import", "früh"], "parent_id": "import",
        "data": {"source": "s3", "n": [1, null]}, "lease_seconds": 30,
        "fail_stalled_after_seconds": 600, "ttl_seconds": 3_600, "input": null,
    });
    let answer = server.post(JOBS, request).await.expect(StatusCode::CREATED);
    assert_eq!(answer.header("location"), Some("/api/v1/jobs/import-7"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut job = answer.json();
    let fields = job.as_object_mut().expect("one flat object");
    assert_eq!(
        fields.remove("links"),
        Some(json!({
            "stream": "/api/v1/jobs/import-7/stream",
            "status": "/api/v1/jobs/import-7/status",
            "results": "/api/v1/jobs/import-7/results",
            "download": "/api/v1/jobs/import-7/download",
        }))
    );
    assert_eq!(
        fields.remove("watch_token"),
        Some(Value::Null),
        "open server"
    );
    assert_eq!(job, server.status("import-7").await);
    let seq = job["seq"].as_u64().expect("a seq");
    assert!(0 < seq && seq < 1 << 53, "{seq}");
    for (field, value) in [
        ("job_id", json!("import-7")),
        ("kind", json!("import")),
        ("status", json!("pending")),
        ("total_count", json!(1_000)),
        ("processed_count", json!(0)),
        ("unit", json!("emails")),
        ("total_emails", json!(1_000)),
        ("progress_percentage", json!(0)),
        ("data", json!({"source": "s3", "n": [1, null]})),
        ("owner", json!("user-456")),
        ("tags", json!(["import", "früh"])),
        ("parent_id", json!("import")),
        ("updated_at", job["created_at"].clone()),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
}

#[tokio::test]
async fn every_link_of_a_new_job_works() {
    let server = TestServer::start().await;
    let job = server.create(json!({"job_id": "a:b@c~d"})).await;
    for name in ["status", "results", "download"] {
        let path = job["links"][name].as_str().expect("a path");
        server.get(path).await.expect(StatusCode::OK);
    }
    let mut stream = server
        .stream(job["links"]["stream"].as_str().expect("a path"))
        .await;
    assert_eq!(stream.next_status().await["job_id"], "a:b@c~d");
}

#[tokio::test]
async fn without_a_body_everything_is_at_its_default() {
    let server = TestServer::start().await;
    let nulls: Value = [
        "job_id",
        "kind",
        "total_count",
        "unit",
        "owner",
        "tags",
        "parent_id",
        "data",
        "lease_seconds",
        "fail_stalled_after_seconds",
        "ttl_seconds",
        "input",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), Value::Null))
    .collect();
    let empty = Answer::of(server.request(Method::POST, JOBS)).await;
    for answer in [
        empty,
        server.post(JOBS, json!({})).await,
        server.post(JOBS, nulls).await,
    ] {
        let job = answer.expect(StatusCode::CREATED).json();
        let job_id = job["job_id"].as_str().expect("a name");
        let uuid = Uuid::parse_str(job_id).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(answer_path(&job), format!("/api/v1/jobs/{job_id}/status"));
        for field in [
            "kind",
            "total_count",
            "processed_count",
            "unit",
            "progress_percentage",
            "step",
            "message",
            "rate_per_second",
            "eta_seconds",
            "data",
            "result",
            "error",
            "owner",
            "parent_id",
            "started_at",
            "finished_at",
        ] {
            assert_eq!(job[field], Value::Null, "{field}");
        }
        assert_eq!((&job["attempt"], &job["tags"]), (&json!(1), &json!([])));
    }
}

fn answer_path(job: &Value) -> &str {
    job["links"]["status"].as_str().expect("a path")
}

#[tokio::test]
async fn names_of_jobs_are_checked() {
    let server = TestServer::start().await;
    let longest = "x".repeat(128);
    for name in ["a", "...", "~", "-", "A-Za-z0-9._~:@-", &longest] {
        let job = server.create(json!({"job_id": name})).await;
        assert_eq!(job["job_id"], name);
        assert_eq!(server.status(name).await["job_id"], name);
    }
    let too_long = "x".repeat(129);
    for name in [
        "", ".", "..", "a/b", "a b", "a%20b", "ü", "a\n", "a?b", "a#b", "a\"b", &too_long,
    ] {
        for field in ["job_id", "parent_id"] {
            let answer = server.post(JOBS, json!({ field: name })).await;
            let message = answer.error(400, "INVALID_REQUEST");
            assert!(message.starts_with(&format!("{field}: ")), "{message}");
        }
    }
}

#[tokio::test]
async fn unknown_fields_and_wrong_types_are_refused_by_name() {
    let server = TestServer::start().await;
    for (body, named) in [
        (json!({"total": 5}), "total"),
        (json!({"Kind": "x"}), "Kind"),
        (json!({"status": "processing"}), "status"),
        (json!({"kind": 5}), "kind"),
        (json!({"total_count": -1}), "total_count"),
        (json!({"total_count": 1.5}), "total_count"),
        (json!({"total_count": "10"}), "total_count"),
        (json!({"tags": "x"}), "tags"),
        (json!({"tags": ["x", 1]}), "tags[1]"),
        (json!({"data": [1]}), "data"),
        (json!({"lease_seconds": -1}), "lease_seconds"),
    ] {
        let message = server
            .post(JOBS, body.clone())
            .await
            .error(400, "INVALID_REQUEST");
        assert!(
            message.starts_with(&format!("{named}: ")),
            "{body}: {message}"
        );
    }
    for body in [
        "[]",
        "[{}]",
        "5",
        "\"x\"",
        "null",
        "{\"kind\":\"a\",\"kind\":\"b\"}",
    ] {
        let request = server.request(Method::POST, JOBS);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        Answer::of(request).await.error(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn every_bound_names_its_field() {
    let server = TestServer::start().await;
    let text = |chars: usize| Value::from("ü".repeat(chars));
    let tags = |count: usize| Value::from(vec!["tag"; count]);
    // As JSON `{"k":"…"}`: eight bytes around the text.
    let data = |bytes: usize| json!({"k": "x".repeat(bytes - 8)});
    for (field, fits, breaks) in [
        ("kind", text(64), text(65)),
        ("unit", text(64), text(65)),
        ("owner", text(255), text(256)),
        ("tags", tags(20), tags(21)),
        ("tags[0]", json!([text(64)]), json!([text(65)])),
        ("data", data(65_536), data(65_537)),
        ("total_count", json!((1_u64 << 53) - 1), json!(1_u64 << 53)),
        ("lease_seconds", json!(0), json!(u64::MAX)),
        ("fail_stalled_after_seconds", json!(0), json!(u64::MAX)),
        ("ttl_seconds", json!(0), json!(u64::MAX)),
        ("kind", json!("x"), json!("")),
        ("unit", json!("x"), json!("")),
        ("owner", json!("x"), json!("")),
        ("tags[0]", json!(["x"]), json!([""])),
        ("kind", json!("\u{1}"), json!("\0")),
        ("data", json!({"k": "\0"}), json!({"\0": 1})),
    ] {
        let name = field.split('[').next().expect("a name");
        server.create(json!({ name: fits })).await;
        let answer = server.post(JOBS, json!({ name: breaks })).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}

#[tokio::test]
async fn bounds_come_from_the_configuration() {
    let server = TestServer::with("[limits]\nkind_chars = 3\ndata_bytes = 10\n").await;
    server
        .create(json!({"kind": "abc", "data": {"k": 1}}))
        .await;
    for body in [json!({"kind": "abcd"}), json!({"data": {"key": 10_000}})] {
        server.post(JOBS, body).await.error(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn beyond_max_jobs_creation_waits_for_an_end() {
    let server = TestServer::with("[limits]\nmax_jobs = 2\n").await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let answer = server.post(JOBS, json!({"job_id": "c"})).await;
    answer.error(429, "RATE_LIMITED");
    assert!(answer.header("retry-after").is_some());
    // What is there already is no new job.
    let again = server.post(JOBS, json!({"job_id": "a"})).await;
    again.expect(StatusCode::OK);
    let other = server.post(JOBS, json!({"job_id": "a", "kind": "x"})).await;
    other.error(409, "JOB_EXISTS");
    server.report("a", json!({"status": "completed"})).await;
    server.create(json!({"job_id": "c"})).await;
    server
        .post(JOBS, json!({}))
        .await
        .error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn the_kind_may_stand_in_the_query() {
    let server = TestServer::start().await;
    let create = |body: Value| server.post("/api/v1/jobs?kind=import", body);
    for body in [json!({}), json!({"kind": "import"})] {
        let job = create(body).await.expect(StatusCode::CREATED).json();
        assert_eq!(job["kind"], "import");
    }
    let message = create(json!({"kind": "export"}))
        .await
        .error(400, "INVALID_REQUEST");
    assert!(message.starts_with("kind: "), "{message}");
    let path = format!("/api/v1/jobs?kind={}", "x".repeat(65));
    let message = server
        .post(&path, json!({}))
        .await
        .error(400, "INVALID_REQUEST");
    assert!(message.starts_with("kind: "), "{message}");
}

#[tokio::test]
async fn an_input_that_nobody_would_read_is_refused() {
    let server = TestServer::start().await;
    let mut answers = vec![
        server
            .post(JOBS, json!({"kind": "import", "input": ["a"]}))
            .await,
        server.post(JOBS, json!({"input": "a"})).await,
        server.post("/api/v1/jobs?kind=import", json!(["a"])).await,
    ];
    for media in ["text/plain", "text/csv; charset=utf-8"] {
        let request = server.request(Method::POST, "/api/v1/jobs?kind=import");
        answers.push(Answer::of(request.header("content-type", media).body("a")).await);
    }
    for answer in answers {
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.starts_with("input: "), "{message}");
    }
}
