//! Which job is found at a view's path, and by whom.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{EVERY_REPORT, serving};
use crate::support::{
    people::{configuration, token},
    server::{Answer, TestServer},
};

/// A view whose ids are made of a name, in the path or in the query.
const TEMPLATE: &str = "
[views.found]
kinds = ['recommendation']
[[views.found.paths]]
stream = '/found/{userId}/stream'
status = '/found/{userId}'
job_id = 'rec-{userId}'
[[views.found.paths]]
stream = '/found'
job_id = 'rec-{userId}'
[views.found.fields]
of = 'job_id'
";

/// A view of the caller's newest job of two kinds.
const NEWEST: &str = "
[views.latest]
kinds = ['build', 'test']
[[views.latest.paths]]
stream = '/latest/stream'
status = '/latest'
newest = true
[views.latest.fields]
of = 'job_id'
";

/// A view that begins the work.
const STARTING: &str = "
[views.work]
kinds = ['work']
[[views.work.paths]]
stream = '/work/stream'
status = '/work'
newest = true
start = true
[views.work.fields]
of = 'job_id'
";

/// The job of a stream's first block.
async fn streamed(person: &TestServer, path: &str) -> Value {
    let mut stream = person.stream(path).await;
    assert_eq!(stream.head.status, StatusCode::OK, "{path}");
    stream.next().await.json()["of"].clone()
}

async fn jobs(server: &TestServer) -> Vec<Value> {
    let list = server.get("/api/v1/jobs").await.json();
    list["jobs"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn an_id_is_made_of_a_name_in_the_path_or_in_the_query() {
    let server = TestServer::with(&format!("{EVERY_REPORT}{TEMPLATE}")).await;
    for job_id in ["rec-ann", "rec-bob"] {
        let job = json!({"job_id": job_id, "kind": "recommendation"});
        server.create(job).await;
    }
    for (path, job_id) in [
        ("/found/ann/stream", "rec-ann"),
        ("/found/%61nn/stream", "rec-ann"),
        ("/found?userId=ann", "rec-ann"),
        ("/found?userId=%61nn", "rec-ann"),
        // What is in the path is not up to the query.
        ("/found/ann/stream?userId=bob", "rec-ann"),
    ] {
        assert_eq!(streamed(&server, path).await, job_id, "{path}");
    }
    let answer = server.get("/found/bob").await.expect(StatusCode::OK);
    assert_eq!(answer.json(), json!({"of": "rec-bob"}));
    for path in ["/found", "/found?userId=", "/found?userid=ann"] {
        let message = server.get(path).await.error(400, "INVALID_REQUEST");
        assert_eq!(message, "userId: must not be missing", "{path}");
    }
    for path in [
        "/found/a%2Fb/stream",
        "/found/a%2Fb",
        "/found?userId=a%2Fb",
        "/found/cay/stream",
        "/found?userId=a%00",
    ] {
        let message = server.get(path).await.error(404, "JOB_NOT_FOUND");
        assert_eq!(message, "Job not found", "{path}");
    }
}

#[tokio::test]
async fn the_newest_is_the_callers_own_and_an_unfinished_one_goes_first() {
    let toml = format!("{EVERY_REPORT}{}{NEWEST}", configuration());
    let server = TestServer::with(&toml).await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    let both = async |person: &TestServer| {
        let answer = person.get("/latest").await.expect(StatusCode::OK);
        let found = answer.json()["of"].clone();
        assert_eq!(streamed(person, "/latest/stream").await, found);
        found
    };
    let none = async |person: &TestServer| {
        for path in ["/latest", "/latest/stream"] {
            person.get(path).await.error(404, "JOB_NOT_FOUND");
        }
    };
    none(&ann).await;
    for (person, job_id, kind) in [
        (&ann, "a-1", "build"),
        (&ann, "a-2", "test"),
        (&ann, "a-3", "deploy"),
        (&bob, "b-1", "deploy"),
    ] {
        let job = json!({"job_id": job_id, "kind": kind});
        person.create(job).await;
    }
    assert_eq!(both(&ann).await, "a-2");
    none(&bob).await;
    let end = json!({"status": "completed"});
    ann.report("a-2", end.clone()).await;
    assert_eq!(both(&ann).await, "a-1");
    ann.report("a-1", end).await;
    assert_eq!(both(&ann).await, "a-2");
    bob.create(json!({"job_id": "b-2", "kind": "build"})).await;
    assert_eq!(both(&ann).await, "a-2");
    assert_eq!(both(&bob).await, "b-2");
    // Without an owner it is the newest of all.
    assert_eq!(both(&server.as_bearer("key-all")).await, "b-2");
}

#[tokio::test]
async fn who_asks_for_the_status_begins_no_work() {
    let server = TestServer::with(&format!("{EVERY_REPORT}{STARTING}")).await;
    for path in ["/work", "/work?wait=60", "/work?wait=60&after=0"] {
        server.get(path).await.error(404, "JOB_NOT_FOUND");
        let head = Answer::of(server.request(Method::HEAD, path)).await;
        assert_eq!(head.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(jobs(&server).await, Vec::<Value>::new());
    let begun = streamed(&server, "/work/stream").await;
    let answer = server.get("/work").await.expect(StatusCode::OK);
    assert_eq!(answer.json()["of"], begun);
    // Once it has ended its status is still there, and no other work is begun.
    let job_id = begun.as_str().expect("an id");
    server.report(job_id, json!({"status": "completed"})).await;
    let answer = server.get("/work").await.expect(StatusCode::OK);
    assert_eq!(answer.json()["of"], begun);
    assert_eq!(jobs(&server).await.len(), 1);
}

#[tokio::test]
async fn a_jobs_own_token_reads_it_through_its_view_and_nothing_else() {
    let server = serving(&["audits", "process"], &configuration()).await;
    let worker = server.as_bearer("key-all");
    let made = async |job_id: &str, kind: &str| {
        let job = json!({"job_id": job_id, "kind": kind, "owner": "ann"});
        let created = worker.create(job).await;
        let token = created["watch_token"].as_str();
        token.expect("a watch token").to_owned()
    };
    let token = made("1", "audit").await;
    made("2", "audit").await;
    let watcher = server.as_bearer(&token);
    let paths = ["/api/v1/sse/audits/{}/progress", "/api/v1/audits/{}/status"];
    for path in paths {
        let own = path.replace("{}", "1");
        let in_query = format!("{own}?token={token}");
        for request in [
            watcher.request(Method::HEAD, &own),
            server.request(Method::HEAD, &in_query),
        ] {
            Answer::of(request).await.expect(StatusCode::OK);
        }
        let foreign = path.replace("{}", "2");
        watcher.get(&foreign).await.error(403, "FORBIDDEN");
        let options = Answer::of(server.request(Method::OPTIONS, &own)).await;
        assert_eq!(options.status, StatusCode::NO_CONTENT);
        assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"));
        // A ticket is for the job's own paths.
        let bought = worker.post("/api/v1/jobs/1/ticket", json!({})).await.json();
        let ticket = bought["ticket"].as_str().expect("a ticket");
        let answer = server.get(&format!("{own}?ticket={ticket}")).await;
        answer.error(401, "UNAUTHORIZED");
    }
    let mut stream = watcher.stream("/api/v1/sse/audits/1/progress").await;
    assert_eq!(stream.next().await.json()["audit_id"], 1);
    // Nor does it begin any work: not for its owner, and not while its own job has ended.
    let token = made("3", "process").await;
    worker.report("3", json!({"status": "completed"})).await;
    let before = jobs(&worker).await.len();
    let watcher = server.as_bearer(&token);
    let answer = watcher.get("/api/v1/process/stream").await;
    answer.error(403, "FORBIDDEN");
    assert_eq!(jobs(&worker).await.len(), before);
}

#[tokio::test]
async fn somebody_elses_work_is_forbidden_and_other_kinds_are_not_there() {
    let server = serving(&["process"], &configuration()).await;
    let worker = server.as_bearer("key-all");
    for (job_id, kind) in [("p", "process"), ("x", "other")] {
        let job = json!({"job_id": job_id, "kind": kind, "owner": "ann"});
        worker.create(job).await;
    }
    let [ann, bob] = ["ann", "bob"].map(|name| token(&json!({"sub": name})));
    let path = |job_id: &str, token: &str| format!("/api/v1/process/{job_id}/stream?token={token}");
    let mut stream = server.stream(&path("p", &ann)).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.next().await.json()["status"], "processing");
    let foreign = server.get(&path("p", &bob)).await;
    foreign.error(403, "FORBIDDEN");
    for token in [&ann, &bob] {
        let other = server.get(&path("x", token)).await;
        assert_eq!(other.error(404, "JOB_NOT_FOUND"), "Job not found");
    }
    let nobody = server.get("/api/v1/process/p/stream").await;
    nobody.error(401, "UNAUTHORIZED");
}
