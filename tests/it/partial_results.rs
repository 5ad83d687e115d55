//! Jobs that say thousands of things a second: tokens of a text, recommendations, lines of a log.
//!
//! A watcher keeps up as long as fewer blocks wait for it than its job's hub holds. The watchers here do so by
//! construction: the worker never runs further ahead of the slowest of them than that, so that no test depends on
//! who is quick. What the others miss they are told of.

mod slow;

use futures_util::future::join_all;
use progressd::job::{Bounds, Command, JobId, parse_events};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::support::{
    in_time,
    scrape::Scrape,
    server::{Answer, TestServer},
    sse::SseStream,
    staged_store::StagedStore,
};

const EVENTS: u64 = 20_000;

/// How far the worker may be ahead of the slowest watcher: about half of what the hub holds.
const LEAD: u64 = 4_000;

/// Passes the texts on, and says what was missed.
const VIEW: &str = r#"
[views.texts]
kinds = ["text"]
paths = [{ stream = "/texts/{id}" }]
states = { pending = "waits", processing = "writes", completed = "done", failed = "broken", cancelled = "left" }
fields = { state = "status", gap = { from = "gap", absent = "omit" } }
events = { token = "word" }
"#;

/// What a watcher has been told.
#[derive(Debug, Default)]
struct Told {
    numbers: Vec<u64>,
    gaps: usize,
    last: Value,
}

/// Watchers at work, and how far each has come.
#[derive(Default)]
struct Audience {
    readers: Vec<JoinHandle<Told>>,
    progress: Vec<watch::Receiver<u64>>,
}

impl Audience {
    /// Reads a stream to its end, for events of this name; `job_id` picks one of several on a stream.
    async fn join(
        &mut self,
        mut stream: SseStream,
        name: &'static str,
        job_id: Option<&'static str>,
    ) {
        assert_eq!(stream.head.status, StatusCode::OK);
        // Whoever has its first block misses nothing of what is sent from now on.
        stream.next().await;
        let (seen, progress) = watch::channel(0);
        self.progress.push(progress);
        self.readers.push(tokio::spawn(async move {
            let mut told = Told::default();
            while let Some(block) = stream.next_or_end().await {
                let data = block.json();
                if job_id.is_some_and(|job_id| data["job_id"] != job_id) {
                    continue;
                }
                if block.name() == name {
                    let data = job_id.map_or(&data, |_| &data["data"]);
                    told.numbers.push(data["n"].as_u64().expect("a number"));
                    seen.send_replace(told.numbers.len() as u64);
                } else {
                    told.gaps += usize::from(data["gap"] == true);
                    told.last = data;
                }
            }
            told
        }));
    }

    /// Waits until everybody has been told of so many.
    async fn until(&self, number: u64) {
        for progress in &self.progress {
            let mut progress = progress.clone();
            let reached = progress.wait_for(|seen| *seen >= number);
            in_time("a watcher's progress", reached)
                .await
                .expect("a watcher that reads on");
        }
    }

    /// What they were told, when all streams have ended.
    async fn told(self) -> Vec<Told> {
        let told = in_time("the ends", join_all(self.readers)).await;
        told.into_iter()
            .map(|told| told.expect("a watcher without a fault"))
            .collect()
    }
}

fn events(from: u64, to: u64) -> Value {
    let events =
        (from..to).map(|n| json!({"event": "token", "data": {"n": n, "text": "of a long answer"}}));
    events.collect()
}

/// Each request has a connection of its own: between two of them a slow machine may take longer than an idle one lives.
async fn send(server: &TestServer, method: Method, path: &str, body: &Value) {
    let request = server.request(method, path).json(body);
    let answer = Answer::of(request.header("connection", "close")).await;
    answer.expect(StatusCode::OK);
}

async fn emit(server: &TestServer, job_id: &str, events: Value) {
    let path = format!("/api/v1/jobs/{job_id}/events");
    send(server, Method::POST, &path, &events).await;
}

async fn end(server: &TestServer, job_id: &str) {
    let path = format!("/api/v1/jobs/{job_id}");
    send(
        server,
        Method::PATCH,
        &path,
        &json!({"status": "completed"}),
    )
    .await;
}

/// Sends all events, so many a request, never further ahead of the audience than it can bear; then ends the job.
async fn tell(server: &TestServer, job_id: &str, per_request: u64, audience: &Audience) {
    for from in (0..EVENTS).step_by(per_request as usize) {
        let to = (from + per_request).min(EVENTS);
        audience.until(to.saturating_sub(LEAD)).await;
        emit(server, job_id, events(from, to)).await;
    }
    end(server, job_id).await;
}

/// How often somebody has fallen behind. Asked on a connection of its own: the server closes those of
/// the streams that have ended.
async fn lagged(server: &TestServer) -> f64 {
    let answer = TestServer::at(&server.url).get("/metrics").await;
    Scrape::read(answer.expect(StatusCode::OK).text).value("progressd_lagged_total", &[])
}

async fn expect_nobody_lagged(server: &TestServer) {
    assert_eq!(lagged(server).await, 0.0);
}

#[track_caller]
fn assert_got_everything(told: &Told) {
    assert_eq!(told.gaps, 0);
    assert_eq!(told.numbers, Vec::from_iter(0..EVENTS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_keeps_up_gets_every_event_once_and_in_order() {
    for per_request in [1_000, 130] {
        let server = TestServer::start().await;
        server.create(json!({"job_id": "j"})).await;
        let mut audience = Audience::default();
        for _ in 0..4 {
            audience.join(server.watch("j").await, "token", None).await;
        }
        tell(&server, "j", per_request, &audience).await;
        for told in audience.told().await {
            assert_got_everything(&told);
            assert_eq!(told.last["status"], "completed");
        }
        expect_nobody_lagged(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_who_looks_through_a_view() {
    let server = TestServer::with(VIEW).await;
    server.create(json!({"job_id": "j", "kind": "text"})).await;
    let mut audience = Audience::default();
    for _ in 0..2 {
        audience
            .join(server.stream("/texts/j").await, "word", None)
            .await;
        audience.join(server.watch("j").await, "token", None).await;
    }
    tell(&server, "j", 1_000, &audience).await;
    for told in audience.told().await {
        assert_got_everything(&told);
        assert!(told.last["state"] == "done" || told.last["status"] == "completed");
    }
    expect_nobody_lagged(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_who_watches_several_jobs_on_one_stream() {
    let server = TestServer::start().await;
    let mut audience = [Audience::default(), Audience::default()];
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    for (audience, job_id) in audience.iter_mut().zip(["a", "b"]) {
        let stream = server.stream("/api/v1/stream?job=a&job=b").await;
        audience.join(stream, "token", Some(job_id)).await;
    }
    let [a, b] = &audience;
    tokio::join!(tell(&server, "a", 1_000, a), tell(&server, "b", 700, b));
    for audience in audience {
        for told in audience.told().await {
            assert_got_everything(&told);
            assert_eq!(told.last["status"], "completed");
        }
    }
    expect_nobody_lagged(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_back_meanwhile_misses_nothing() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    let mut numbers: Vec<u64> = Vec::new();
    let mut cursor: Option<String> = None;
    for from in (0..10_000).step_by(500) {
        let mut stream = match &cursor {
            None => server.watch("j").await,
            Some(cursor) => server.resume("j", cursor).await,
        };
        // Half of them come while nobody is there, the other half while somebody is.
        let first = stream.next().await;
        assert_eq!(first.json()["gap"], Value::Null);
        emit(&server, "j", events(from, from + 250)).await;
        while numbers.len() < from as usize + 250 {
            let block = stream.next().await;
            if block.name() == "token" {
                numbers.push(block.json()["n"].as_u64().expect("a number"));
                cursor = block.id;
            }
        }
        drop(stream);
        emit(&server, "j", events(from + 250, from + 500)).await;
    }
    assert_eq!(numbers, Vec::from_iter(0..9_750));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_keep_up_misses_nothing_unknowingly() {
    const WORKERS: u64 = 8;
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    let mut audience = Audience::default();
    for _ in 0..4 {
        audience.join(server.watch("j").await, "token", None).await;
    }
    // As fast as the server takes them, from several at once, who number theirs apart from each other.
    let work = (0..WORKERS).map(|worker| {
        let server = &server;
        async move {
            for round in 0..5 {
                let from = worker * 1_000_000 + round * 1_000;
                emit(server, "j", events(from, from + 1_000)).await;
            }
        }
    });
    join_all(work).await;
    end(&server, "j").await;
    let all: Vec<u64> = (0..WORKERS)
        .flat_map(|worker| worker * 1_000_000..worker * 1_000_000 + 5_000)
        .collect();
    for told in audience.told().await {
        assert_eq!(told.last["status"], "completed");
        for worker in 0..WORKERS {
            let of_worker = told.numbers.iter().filter(|n| *n / 1_000_000 == worker);
            assert!(of_worker.is_sorted_by(|a, b| a < b));
        }
        let mut numbers = told.numbers;
        numbers.sort_unstable();
        assert!(told.gaps > 0 || numbers == all, "{} came", numbers.len());
    }
}

#[tokio::test]
async fn one_commit_brings_no_more_events_than_are_kept() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    for (job_id, requests, per_request, commits) in [
        ("large", 4, 600, 4),
        ("small", 25, 100, 3),
        ("largest", 3, 1_000, 3),
    ] {
        server.create(json!({"job_id": job_id})).await;
        let mut audience = Audience::default();
        audience
            .join(server.watch(job_id).await, "token", None)
            .await;
        let before = store.committed();
        store.commits.shut();
        let name = JobId::parse(job_id).expect("a name");
        let job = server.registry().find(&name).await.expect("the job");
        let apply = |to: u64| {
            let events = events(0, to).to_string();
            let (events, _) = parse_events(events.as_bytes(), &Bounds::default()).expect("events");
            job.apply(Command::Events(events), None)
        };
        // The first is on its way to the store when the others come.
        let all = [1]
            .into_iter()
            .chain(std::iter::repeat_n(per_request, requests));
        let answers = join_all(all.map(apply));
        let open = async { store.commits.open() };
        let (answers, ()) = tokio::join!(answers, open);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(store.committed() - before, 1 + commits, "{job_id}");
        end(&server, job_id).await;
        let told = audience.told().await;
        assert_eq!(
            told[0].numbers.len() as u64,
            1 + requests as u64 * per_request
        );
    }
    expect_nobody_lagged(&server).await;
}
