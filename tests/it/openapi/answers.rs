//! Real answers of a running server are what the document says that they are.

use std::collections::BTreeSet;

use progressd::job::{Command, JobId, Json};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::truth::Truth;
use crate::support::{
    people,
    server::{Answer, TestServer},
    sse::Block,
};

const JOBS: &str = "/api/v1/jobs";
const JOB: &str = "/api/v1/jobs/{id}";

/// Calls, and what is checked of their answers.
struct Session {
    server: TestServer,
    /// Who calls.
    caller: TestServer,
    truth: Truth,
}

impl Session {
    async fn with(toml: &str) -> Self {
        let server = TestServer::with(toml).await;
        Self {
            caller: server.guest(),
            server,
            truth: Truth::new(),
        }
    }

    async fn send(&mut self, call: &str, request: RequestBuilder, status: u16) -> Answer {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status.as_u16(), status, "{call}: {}", answer.text);
        self.truth.check(call, &answer);
        answer
    }

    /// A call on a job.
    async fn call(&mut self, call: &str, job_id: &str, body: Option<Value>, status: u16) -> Answer {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let method = method.parse().expect("a method");
        let request = self.caller.request(method, &path.replace("{id}", job_id));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        self.send(call, request, status).await
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.caller.request(Method::GET, path)
    }
}

/// A job with everything that a status can show.
fn full_job() -> Value {
    json!({
        "job_id": "full", "kind": "import", "total_count": 3, "unit": "emails", "owner": "ann",
        "tags": ["a"], "parent_id": "p", "data": {"n": 1.5}, "lease_seconds": 30,
    })
}

async fn create(session: &mut Session) {
    let create = "POST /api/v1/jobs";
    session.call(create, "", Some(full_job()), 201).await;
    session.call(create, "", Some(full_job()), 200).await;
    let other = json!({"job_id": "full", "kind": "other"});
    session.call(create, "", Some(other), 409).await;
    for job_id in ["failing", "plain", "doomed"] {
        let body = json!({"job_id": job_id});
        session.call(create, "", Some(body), 201).await;
    }
    session
        .call(create, "", Some(json!({"tags": 1})), 400)
        .await;
    let text = session
        .caller
        .request(Method::POST, JOBS)
        .header("content-type", "image/png");
    session.send(create, text.body("x"), 415).await;
    let long = session
        .caller
        .request(Method::POST, JOBS)
        .body(vec![b' '; 1_048_577]);
    session.send(create, long, 413).await;
    let list = session.get(&format!("{JOBS}?limit=2&status=pending&status=failed"));
    let page = session.send("GET /api/v1/jobs", list, 200).await;
    let cursor = page.json()["next_cursor"]
        .as_str()
        .expect("a second page")
        .to_owned();
    let next = session.get(&format!("{JOBS}?cursor={cursor}"));
    session.send("GET /api/v1/jobs", next, 200).await;
}

/// A job that the server does itself, watched by whoever asks for it, again, and once more.
async fn create_and_watch(session: &mut Session) {
    let create = "POST /api/v1/jobs";
    let input = json!({"items": 1, "seconds": 0, "events": false});
    let body = json!({"job_id": "watched", "kind": "demo", "input": input});
    let asking = |session: &Session| {
        let request = session.caller.request(Method::POST, JOBS).json(&body);
        request.header("accept", "text/event-stream")
    };
    let answer = session.send(create, asking(session), 201).await;
    session.send(create, asking(session), 200).await;
    let over = asking(session).header("last-event-id", last_id(&answer));
    session.send(create, over, 204).await;
    let nameless = session.caller.request(Method::POST, JOBS).json(&json!({}));
    let nameless = nameless.header("accept", "text/event-stream");
    session.send(create, nameless, 400).await;
}

/// The last id of a whole stream.
fn last_id(answer: &Answer) -> &str {
    let mut ids = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "));
    ids.next_back().expect("an id")
}

async fn report(session: &mut Session) {
    let report = format!("PATCH {JOB}");
    let error = json!({"code": "SLOW", "message": "too slow"});
    let body = json!({
        "processed_count": 1, "step": "s", "message": "m", "data": {"k": null}, "error": error,
    });
    session.call(&report, "full", Some(body), 200).await;
    session
        .call(&report, "full", Some(json!({"attempt": 2})), 200)
        .await;
    session
        .call(&report, "full", Some(json!({"attempt": 1})), 409)
        .await;
    session
        .call(&report, "full", Some(json!({"processed_count": 2})), 200)
        .await;
    session.call(&report, "nobody", Some(json!({})), 404).await;
    let event = json!({"event": "log", "data": [1]});
    let events = format!("POST {JOB}/events");
    session.call(&events, "full", Some(event), 200).await;
    let none = json!([]);
    session.call(&events, "full", Some(none), 400).await;
    let rows = format!("POST {JOB}/results");
    let row = json!([{"email": "ann@example.com"}]);
    session.call(&rows, "full", Some(row), 200).await;
    let no_row = json!([1]);
    session.call(&rows, "full", Some(no_row), 400).await;
    session
        .call(&format!("POST {JOB}/ticket"), "full", None, 200)
        .await;
    session
        .call(&format!("POST {JOB}/cancel"), "full", None, 202)
        .await;
    let many = "{\"job_id\":\"full\"}\nno JSON\n{\"job_id\":\"nobody\"}\n";
    let many = session
        .caller
        .request(Method::POST, "/api/v1/reports")
        .body(many);
    let lines = session.send("POST /api/v1/reports", many, 200).await;
    assert_eq!(lines.text.lines().count(), 4, "{}", lines.text);
    let end = json!({"status": "failed", "error": "E", "result": {"n": 1}});
    session.call(&report, "failing", Some(end), 200).await;
    session.call(&report, "failing", Some(json!({})), 409).await;
    session
        .call(&events, "failing", Some(json!({"event": "late"})), 409)
        .await;
    let remove = format!("DELETE {JOB}");
    session.call(&remove, "doomed", None, 204).await;
    session.call(&remove, "doomed", None, 410).await;
}

async fn read(session: &mut Session) {
    for call in [format!("GET {JOB}"), format!("GET {JOB}/status")] {
        for job_id in ["full", "failing", "plain"] {
            let answer = session.call(&call, job_id, None, 200).await;
            let (_, path) = call.split_once(' ').expect("a path");
            let known = session.get(&path.replace("{id}", job_id));
            let known = known.header("if-none-match", answer.header("etag").expect("a tag"));
            session.send(&call, known, 304).await;
        }
        let (_, path) = call.split_once(' ').expect("a path");
        let wrong = session.get(&format!("{}?wait=x", path.replace("{id}", "full")));
        session.send(&call, wrong, 400).await;
    }
    let job_id = JobId::parse("full").expect("a name");
    let job = session
        .server
        .registry()
        .find(&job_id)
        .await
        .expect("the job");
    let rows = (0..3)
        .map(|n| Json::of(&json!({"n": n})).expect("JSON"))
        .collect();
    job.apply(Command::Rows(rows), None)
        .await
        .expect("rows are taken");
    let pages = format!("GET {JOB}/results");
    for query in ["", "?per_page=2", "?per_page=2&page=2"] {
        let page = session.get(&format!("{JOBS}/full/results{query}"));
        session.send(&pages, page, 200).await;
    }
    for format in ["csv", "json", "ndjson"] {
        let file = session.get(&format!("{JOBS}/full/download?format={format}"));
        session
            .send(&format!("GET {JOB}/download"), file, 200)
            .await;
    }
}

#[tokio::test]
async fn every_call_answers_as_described() {
    let mut session = Session::with("").await;
    create(&mut session).await;
    create_and_watch(&mut session).await;
    report(&mut session).await;
    read(&mut session).await;
    let stream = format!("GET {JOB}/stream");
    let answer = session.call(&stream, "failing", None, 200).await;
    let over = session.get(&format!("{JOBS}/failing/stream"));
    session
        .send(&stream, over.header("last-event-id", last_id(&answer)), 204)
        .await;
    let many = session.get("/api/v1/stream?job=failing");
    let answer = session.send("GET /api/v1/stream", many, 200).await;
    let last = answer.text.lines().rfind(|line| line.starts_with("id: "));
    let over = session.get("/api/v1/stream?job=failing");
    let over = over.header("last-event-id", &last.expect("an id")[4..]);
    session.send("GET /api/v1/stream", over, 204).await;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/client.js",
        "/",
    ] {
        let answer = session.call(&format!("GET {path}"), "", None, 200).await;
        if let Some(tag) = answer.header("etag") {
            let known = session.get(path).header("if-none-match", tag);
            session.send(&format!("GET {path}"), known, 304).await;
        }
    }
    for (folder, name) in [
        ("docs", "page.js"),
        ("docs", "swagger-ui-bundle.js"),
        ("docs", "swagger-ui.css"),
        ("docs", "LICENSE"),
        ("assets", "dashboard.js"),
        ("assets", "style.css"),
        ("assets", "LICENSES.txt"),
    ] {
        let file = &*format!("GET /{folder}/{{file}}");
        let path = format!("/{folder}/{name}");
        let answer = Answer::of(session.get(&path)).await;
        session.truth.check(file, &answer);
        let known = session
            .get(&path)
            .header("if-none-match", answer.header("etag").expect("a tag"));
        session.send(file, known, 304).await;
    }
    let unseen = session.truth.unseen_successes();
    assert!(unseen.is_empty(), "not tried: {unseen:#?}");
}

#[tokio::test]
async fn refusals_carry_the_codes_that_are_described() {
    let toml = format!("{}\n[limits]\nmax_jobs = 1", people::configuration());
    let mut session = Session::with(&toml).await;
    session.call("GET /api/v1/jobs", "", None, 401).await;
    session.caller = session.server.as_bearer("key-read");
    session
        .call("POST /api/v1/jobs", "", Some(json!({})), 403)
        .await;
    session.caller = session.server.as_bearer("key-all");
    session
        .call("POST /api/v1/jobs", "", Some(json!({})), 201)
        .await;
    session
        .call("POST /api/v1/jobs", "", Some(json!({})), 429)
        .await;
    for tail in ["", "/status", "/stream", "/results", "/download"] {
        session
            .call(&format!("GET {JOB}{tail}"), "nobody", None, 404)
            .await;
    }
}

#[tokio::test]
async fn every_sort_of_block_is_described() {
    let toml = "[stream]\nupdate_interval_ms = 0\nheartbeat_seconds = 1";
    let session = Session::with(toml).await;
    let (server, truth) = (&session.server, &session.truth);
    server
        .create(json!({"job_id": "a", "total_count": 2, "unit": "emails"}))
        .await;
    let mut stream = server
        .stream(&format!("{JOBS}/a/stream?heartbeat=event"))
        .await;
    truth.check_block("StreamBlock", "StatusBlock", &stream.next().await);
    server
        .post(
            &format!("{JOBS}/a/events"),
            json!({"event": "log", "data": null}),
        )
        .await
        .expect(StatusCode::OK);
    loop {
        let block = stream.next().await;
        match block.name() {
            "status" => truth.check_block("StreamBlock", "StatusBlock", &block),
            "log" => truth.check_block("StreamBlock", "EventBlock", &block),
            "heartbeat" => break truth.check_block("StreamBlock", "HeartbeatBlock", &block),
            other => panic!("{other}: {block:?}"),
        }
    }
    let error = json!({"code": "C", "message": "m"});
    server
        .report("a", json!({"status": "failed", "error": error}))
        .await;
    let rest = stream.rest().await;
    let blocks = rest.iter().filter(|block| block.name() != "heartbeat");
    let [failure, status] = blocks.collect::<Vec<_>>()[..] else {
        panic!("{rest:?}");
    };
    truth.check_block("StreamBlock", "FailureBlock", failure);
    truth.check_block("StreamBlock", "StatusBlock", status);

    server.create(json!({"job_id": "b"})).await;
    let mut stream = server.watch("b").await;
    stream.next().await;
    server
        .delete(&format!("{JOBS}/b"))
        .await
        .expect(StatusCode::NO_CONTENT);
    truth.check_block("StreamBlock", "EndBlock", &stream.next().await);
}

#[tokio::test]
async fn every_sort_of_block_of_many_jobs_is_described() {
    let toml = "[stream]\nupdate_interval_ms = 0\nheartbeat_seconds = 1";
    let session = Session::with(toml).await;
    let (server, truth) = (&session.server, &session.truth);
    server.create(json!({"job_id": "a"})).await;
    let query = "job=a&job=none&heartbeat=event";
    let mut stream = server.stream(&format!("/api/v1/stream?{query}")).await;
    let event = json!({"event": "log", "data": null});
    let sent = server.post(&format!("{JOBS}/a/events"), event).await;
    sent.expect(StatusCode::OK);
    let mut blocks = Vec::new();
    while blocks.last().map(Block::name) != Some("heartbeat") {
        blocks.push(stream.next().await);
    }
    let error = json!({"code": "C", "message": "m"});
    let end = json!({"status": "failed", "error": error});
    server.report("a", end).await;
    blocks.extend(stream.rest().await);
    let mut names = BTreeSet::new();
    for block in &blocks {
        truth.check_block(
            "MultiStreamBlock",
            match block.name() {
                "status" => "StatusBlock",
                "synced" => "SyncedBlock",
                "removed" => "RemovedBlock",
                "heartbeat" => "HeartbeatBlock",
                _ => "JobEventBlock",
            },
            block,
        );
        names.insert(block.name());
    }
    let all = ["error", "heartbeat", "log", "removed", "status", "synced"];
    assert_eq!(names, BTreeSet::from(all));
}

#[test]
fn the_schemas_refuse_what_the_server_refuses() {
    let truth = Truth::new();
    for (name, body) in [
        ("NewJob", json!({"nmae": "x"})),
        ("NewJob", json!({"job_id": ".."})),
        ("NewJob", json!({"tags": vec!["t"; 21]})),
        ("NewJob", json!({"input": [1]})),
        ("NewBuiltInJob", json!({"kind": "unheard of", "input": 1})),
        (
            "Report",
            json!({"processed_count": 1, "processed_increment": 1}),
        ),
        ("Report", json!({"result": null})),
        ("Report", json!({"progress_percentage": 100.01})),
        ("Report", json!({"step": "a\u{0}b"})),
        ("ReportLine", json!({"processed_count": 1})),
        ("NewEvent", json!({"event": "status"})),
        ("EventOfMany", json!({"event": "log", "report_id": "r"})),
        ("Status", json!({"job_id": "a"})),
    ] {
        assert!(!truth.fits_named(name, &body), "{name} takes {body}");
    }
    truth.must_fit_named(
        "Report",
        &json!({"processed_count": 3.0, "total_count": null}),
    );
    truth.must_fit_named("NewEvent", &json!({"event": "status.x"}));
}
