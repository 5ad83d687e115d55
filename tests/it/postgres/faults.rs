//! A database that goes away under load, and comes back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    in_time,
    postgres_server::{Database, PostgresServer, execute},
    server::{Answer, TestServer},
    sse::{Block, SseStream},
    until,
};

/// Jobs, each with a worker and a watcher.
const JOBS: u64 = 6;

/// How often the database crashes, unless `PROGRESSD_CRASHES` says otherwise.
const CRASHES: u64 = 2;

/// Answers that workers get between two crashes, over all jobs.
const ANSWERS: u64 = 100;

/// A server of a test's own, which keeps what it has promised.
async fn start() -> (PostgresServer, Database) {
    let server = tokio::task::spawn_blocking(|| PostgresServer::start(&["synchronous_commit=on"]));
    let server = server.await.expect("a server");
    let database = server.database().await;
    (server, database)
}

async fn serve(database: &Database) -> TestServer {
    let toml = "stream.update_interval_ms = 0\nstream.retry_ms = 1\nstore.timeout_ms = 2000\n\
                store.postgres.poll_interval_seconds = 1\n";
    TestServer::with(&format!("{}{toml}", database.keys())).await
}

/// What a worker was promised.
struct Promised {
    /// The numbers of the events that were answered.
    events: Vec<u64>,
}

/// Reports until it is told to stop, then ends the job. What the server cannot take now is sent again.
async fn work(
    server: TestServer,
    job_id: String,
    answers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Promised {
    let mut events = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = json!({"event": "n", "data": number, "report_id": format!("n{number}")});
        let path = format!("/api/v1/jobs/{job_id}/events");
        send(&server, Method::POST, &path, body).await;
        events.push(number);
        let count = json!({"processed_increment": 1, "report_id": format!("c{number}")});
        let path = format!("/api/v1/jobs/{job_id}");
        send(&server, Method::PATCH, &path, count).await;
        answers.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    let end = json!({"status": "completed", "result": number, "report_id": "end"});
    send(
        &server,
        Method::PATCH,
        &format!("/api/v1/jobs/{job_id}"),
        end,
    )
    .await;
    Promised { events }
}

/// Sends until it is taken.
async fn send(server: &TestServer, method: Method, path: &str, body: Value) {
    let sending = async {
        loop {
            let request = server.request(method.clone(), path).json(&body);
            let answer = Answer::of(request).await;
            match answer.status {
                StatusCode::OK => return,
                StatusCode::SERVICE_UNAVAILABLE => tokio::task::yield_now().await,
                status => panic!("{status}: {}", answer.text),
            }
        }
    };
    in_time("an answer that takes it", sending).await;
}

/// Watches from the start to the end, coming back where it stood whenever its stream ends before.
async fn watch(server: TestServer, job_id: String) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        // The worker does not wait for its watcher.
        let cursor = blocks.iter().rev().find_map(|block| block.id.as_deref());
        let mut stream = server.resume(&job_id, cursor.unwrap_or("0")).await;
        if stream.head.status != StatusCode::OK {
            tokio::task::yield_now().await;
            continue;
        }
        if read(&mut stream, &mut blocks).await {
            return blocks;
        }
    }
}

/// Reads a stream; says whether it brought the end.
async fn read(stream: &mut SseStream, blocks: &mut Vec<Block>) -> bool {
    while let Some(block) = stream.next_or_end().await {
        let is_end = block.retry == Some(3_600_000) && block.name() == "status";
        blocks.push(block);
        if is_end {
            stream.expect_end().await;
            return true;
        }
    }
    false
}

async fn is_ready(server: &TestServer) -> bool {
    server.get("/readyz").await.status == StatusCode::OK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_under_load_takes_back_nothing_that_was_answered() {
    let (postgres, database) = start().await;
    let nodes = [serve(&database).await, serve(&database).await];
    let (answers, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (mut workers, mut watchers) = (Vec::new(), Vec::new());
    for number in 0..JOBS {
        let job_id = format!("job-{number}");
        nodes[0].create(json!({"job_id": job_id})).await;
        // Each watches on the node that its worker does not use.
        let (here, there) = (number as usize % 2, (number as usize + 1) % 2);
        let worker = work(
            nodes[here].guest(),
            job_id.clone(),
            answers.clone(),
            stop.clone(),
        );
        workers.push(tokio::spawn(worker));
        watchers.push(tokio::spawn(watch(nodes[there].guest(), job_id)));
    }
    let crashes = std::env::var("PROGRESSD_CRASHES").ok();
    let crashes = crashes.map_or(CRASHES, |crashes| crashes.parse().expect("a number"));
    for crash in 1..=crashes {
        until("answers", async || {
            answers.load(Ordering::Relaxed) >= crash * ANSWERS
        })
        .await;
        tokio::task::block_in_place(|| postgres.stop("immediate"));
        for node in &nodes {
            until("word that the store is away", async || {
                !is_ready(node).await
            })
            .await;
        }
        tokio::task::block_in_place(|| postgres.start_again());
        for node in &nodes {
            until("word that the store is back", async || is_ready(node).await).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for (number, (worker, watcher)) in workers.into_iter().zip(watchers).enumerate() {
        let promised = in_time("the worker's end", worker).await.expect("no panic");
        let blocks = in_time("the watcher's end", watcher)
            .await
            .expect("no panic");
        let ids: Vec<_> = blocks.iter().filter(|block| block.id.is_some()).collect();
        let rises = ids.is_sorted_by(|before, after| before.seq() < after.seq());
        assert!(rises, "job {number}: {ids:?}");
        let seen: Vec<u64> = blocks
            .iter()
            .filter(|block| block.name() == "n")
            .map(|block| block.json().as_u64().expect("a number"))
            .collect();
        assert_eq!(seen, promised.events, "job {number}");
        let end = blocks.last().expect("an end").json();
        assert_eq!(end["status"], "completed");
        // Each report counted once, however often it was sent.
        assert_eq!(end["processed_count"], promised.events.len() as u64);
        for node in &nodes {
            assert_eq!(node.status(&format!("job-{number}")).await, end);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_ends_no_stream_and_what_it_missed_comes_later() {
    let (postgres, database) = start().await;
    let server = serve(&database).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    stream.next_status().await;
    tokio::task::block_in_place(|| postgres.stop("fast"));
    until("word that the store is away", async || {
        !is_ready(&server).await
    })
    .await;
    let refused = server
        .patch("/api/v1/jobs/j", json!({"message": "x"}))
        .await;
    let message = refused.error(503, "STORE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    assert!(!message.contains("PostgreSQL"), "{message}");
    tokio::task::block_in_place(|| postgres.start_again());
    // Before any node has noticed, a worker writes.
    let mut worker = database.connect().await;
    execute(
        &mut worker,
        "UPDATE progressd.jobs SET message = 'while away'",
    )
    .await;
    stream
        .status_where(|status| status["message"] == "while away")
        .await;
    until("word that the store is back", async || {
        is_ready(&server).await
    })
    .await;
    server.report("j", json!({"status": "completed"})).await;
    assert_eq!(stream.next_status().await["status"], "completed");
    stream.expect_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_only_reads_is_not_ready() {
    let (postgres, database) = start().await;
    let server = serve(&database).await;
    server.create(json!({"job_id": "j"})).await;
    let name = &database.name;
    let elsewhere = postgres.database_named("postgres");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE application_name = 'progressd'";
    // What a standby is, as far as a client can see.
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    elsewhere.execute(&read_only).await;
    elsewhere.execute(cut).await;
    until("word that it takes no writes", async || {
        !is_ready(&server).await
    })
    .await;
    let refused = server
        .patch("/api/v1/jobs/j", json!({"message": "x"}))
        .await;
    refused.error(503, "STORE_UNAVAILABLE");
    let writable = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    elsewhere.execute(&writable).await;
    elsewhere.execute(cut).await;
    until("word that it does again", async || is_ready(&server).await).await;
    server.report("j", json!({"message": "x"})).await;
}
