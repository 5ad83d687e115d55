//! Twenty thousand malformed requests beside a thousand live streams: none of the streams is disturbed.

mod inputs;
mod maker;
mod malformed;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Barrier, mpsc},
    task::JoinSet,
};

use crate::support::{in_time, people, process::Process, server::TestServer, sse::SseStream};
use malformed::{Malformed, TARGET};

/// Malformed requests, each on a connection of its own.
const REQUESTS: u64 = 20_000;

/// How many of them are under way at a time.
const AT_A_TIME: usize = 32;

/// The streams are spread over the jobs.
const STREAMS: usize = 1_000;
const JOBS: usize = 50;

/// After so many requests there is an event and a report on every job.
const REQUESTS_A_ROUND: u64 = 400;

/// Connections on which a request begins and never goes on.
const HALF_OPEN: usize = 40;

/// Another seed than the clock's, to see a failure again.
const SEED_VARIABLE: &str = "PROGRESSD_TEST_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_malformed_requests_disturb_none_of_a_thousand_streams() {
    let seed = seed();
    println!("{SEED_VARIABLE}={seed}");
    // Two ends of a thousand streams are more than a shell allows by default.
    rlimit::increase_nofile_limit(8_192).expect("the limit can be read");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("progressd.toml");
    let settings = format!(
        "stream.update_interval_ms = 0\nlimits.header_timeout_seconds = 5\n{}",
        people::configuration()
    );
    fs::write(&file, settings).expect("a file");
    let mut process = Process::configured_by(&file).await;
    let sockets_before = process.sockets();
    let server = TestServer::at(&process.url);
    let ann = server.as_bearer("key-ann");
    // Bob's requests cannot reach what belongs to Ann.
    let bob = server.as_bearer("key-bob");
    bob.create(json!({"job_id": TARGET})).await;
    for job in 0..JOBS {
        ann.create(json!({"job_id": format!("job-{job}")})).await;
    }

    let all_watch = Arc::new(Barrier::new(STREAMS + 1));
    let mut watchers = JoinSet::new();
    for stream in 0..STREAMS {
        let (ann, all_watch) = (ann.guest(), Arc::clone(&all_watch));
        watchers.spawn(async move {
            let path = format!("/api/v1/jobs/job-{}/stream", stream % JOBS);
            let mut stream = SseStream::open(ann.request(Method::GET, &path)).await;
            assert_eq!(stream.head.status, StatusCode::OK);
            assert_eq!(stream.next_status().await["status"], "pending");
            all_watch.wait().await;
            follow(stream).await;
        });
    }
    in_time("a thousand streams", all_watch.wait()).await;

    let address = process.url.trim_start_matches("http://").parse();
    let address = address.expect("an address");
    let half_open = join_all((0..HALF_OPEN).map(|_| begin_a_request(address))).await;
    let (due, rounds) = mpsc::unbounded_channel();
    let reporting = tokio::spawn(report_every_round(ann.guest(), rounds));
    attack(address, seed, due).await;
    let rounds = reporting.await.expect("every report is accepted");
    assert_eq!(rounds, REQUESTS / REQUESTS_A_ROUND);
    while let Some(watcher) = watchers.join_next().await {
        watcher.expect("an undisturbed stream");
    }
    for connection in half_open {
        expect_close(connection, "a request that never goes on").await;
    }

    server.get("/readyz").await.expect(StatusCode::OK);
    drop((server, ann, bob));
    let back_at_the_baseline = async {
        while process.sockets() != sockets_before {
            tokio::task::yield_now().await;
        }
    };
    in_time("the end of all connections", back_at_the_baseline).await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    let log = process.rest_of_log().await;
    let trouble = log
        .iter()
        .find(|line| line.contains("panic") || line.contains("ERROR"));
    assert_eq!(trouble, None);
}

fn seed() -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => rand::random(),
    }
}

/// Reads a stream to its end: every event in its order, the counts too, ids that rise, and the end.
async fn follow(mut stream: SseStream) {
    let (mut last_id, mut events, mut count) = (0, 0, 0);
    loop {
        let block = stream.next().await;
        let data = block.json();
        if block.id.is_some() {
            assert!(block.seq() > last_id, "{last_id}, and then {block:?}");
            last_id = block.seq();
        }
        match block.name() {
            "tick" => {
                events += 1;
                assert_eq!(data, events);
            }
            "status" => {
                // Null before the first report: the event before it has moved the job on already.
                let next = data["processed_count"].as_u64().unwrap_or_default();
                assert!(next >= count, "{count}, and then {data}");
                count = next;
                if data["status"] == "completed" {
                    break;
                }
            }
            _ => panic!("{block:?}"),
        }
    }
    let rounds = REQUESTS / REQUESTS_A_ROUND;
    assert_eq!((events, count), (rounds, rounds));
    stream.expect_end().await;
}

/// An event and a report on every job each time that a round is due, and the end after the last.
async fn report_every_round(ann: TestServer, mut due: mpsc::UnboundedReceiver<()>) -> u64 {
    let mut round = 0;
    while due.recv().await.is_some() {
        round += 1;
        let jobs = (0..JOBS).map(async |job| {
            let events = format!("/api/v1/jobs/job-{job}/events");
            let tick = json!({"event": "tick", "data": round});
            ann.post(&events, tick).await.expect(StatusCode::OK);
            let count = json!({"processed_count": round});
            ann.report(&format!("job-{job}"), count).await;
        });
        join_all(jobs).await;
    }
    let end = json!({"status": "completed"});
    join_all((0..JOBS).map(async |job| ann.report(&format!("job-{job}"), end.clone()).await)).await;
    round
}

/// Sends all malformed requests; a message for each round that they make due.
async fn attack(address: SocketAddr, seed: u64, due: mpsc::UnboundedSender<()>) {
    let next = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (next, due) = (Arc::clone(&next), due.clone());
        attackers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return;
                }
                send(address, seed.wrapping_add(number)).await;
                if (number + 1).is_multiple_of(REQUESTS_A_ROUND) {
                    due.send(()).expect("somebody reports");
                }
            }
        });
    }
    while let Some(attacker) = attackers.join_next().await {
        attacker.expect("a server that stands it");
    }
}

/// Sends one malformed request and checks what comes back.
async fn send(address: SocketAddr, seed: u64) {
    let request = Malformed::of(seed);
    let what = format!("an answer to the request of seed {seed}, or the end");
    let exchange = async {
        let mut connection = TcpStream::connect(address).await.expect("a listener");
        for piece in &request.pieces {
            // A server that has refused already need not read the rest.
            if connection.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = connection.shutdown().await;
        let mut answer = Vec::new();
        // A reset is an end too, and takes nothing back that was read before.
        let _ = connection.read_to_end(&mut answer).await;
        answer
    };
    let answer = in_time(&what, exchange).await;
    if !request.is_http2 {
        let answer = String::from_utf8_lossy(&answer);
        let pieces = request.pieces.concat();
        let sent = String::from_utf8_lossy(&pieces);
        if let Err(reason) = judge(&answer, request.must_be_refused) {
            panic!("{reason}; seed {seed}\nsent: {sent:?}\nanswered: {answer:?}");
        }
    }
}

/// What is wrong with the answer to a malformed request, if anything is.
fn judge(answer: &str, must_be_refused: bool) -> Result<(), &'static str> {
    if answer.is_empty() {
        return Ok(());
    }
    if answer.contains("HTTP/1.1 5") || answer.contains("HTTP/1.0 5") {
        return Err("a fault of the server");
    }
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no whole head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or("no status")?;
    if must_be_refused && !(400..500).contains(&status) {
        return Err("not refused");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if status >= 400 && head.contains("application/json") && !body.is_empty() {
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .ok_or("an error of unknown length")?;
        // Without a body, as after HEAD, it may be the next answer that follows.
        let body = body.get(..length).filter(|body| body.starts_with('{'));
        let envelope = body.map(serde_json::from_str::<Value>).transpose();
        let envelope = envelope.map_err(|_| "an error that is no JSON")?;
        if envelope.is_some_and(|envelope| {
            envelope["success"] != false || !envelope["error"]["code"].is_string()
        }) {
            return Err("no envelope");
        }
    }
    Ok(())
}

/// Begins a request and falls silent.
async fn begin_a_request(address: SocketAddr) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("a listener");
    let begin = b"GET /api/v1/jobs HTTP/1.1\r\nHost: loc";
    connection.write_all(begin).await.expect("room to write");
    connection
}

async fn expect_close(mut connection: TcpStream, what: &str) {
    let mut answer = Vec::new();
    let reading = connection.read_to_end(&mut answer);
    // A reset is an end too.
    let _ = in_time(what, reading).await;
}

#[test]
fn a_seed_makes_the_same_request_each_time_and_the_seeds_make_all_sorts() {
    let requests = (0..500).map(|seed| format!("{:?}", Malformed::of(seed)));
    let requests: Vec<_> = requests.collect();
    let again = (0..500).map(|seed| format!("{:?}", Malformed::of(seed)));
    assert!(requests.iter().eq(again.collect::<Vec<_>>().iter()));
    let different: std::collections::HashSet<_> = requests.iter().collect();
    assert!(different.len() > 300, "{}", different.len());
}

#[test]
fn the_judge_tells_right_answers_from_wrong_ones() {
    let refused = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(judge(refused, true), Ok(()));
    assert_eq!(judge("", true), Ok(()));
    let envelope = "{\"success\":false,\"error\":{\"code\":\"X\"}}";
    let head = "content-type: application/json\r\ncontent-length";
    let with = |body: &str| format!("HTTP/1.1 404 No\r\n{head}: {}\r\n\r\n{body}", body.len());
    assert_eq!(judge(&with(envelope), true), Ok(()));
    assert_eq!(judge(&with("{\"a\":1}"), true), Err("no envelope"));
    let fault = "HTTP/1.1 503 No\r\n\r\n";
    assert_eq!(judge(fault, false), Err("a fault of the server"));
    assert_eq!(
        judge(&format!("{refused}{fault}"), true),
        Err("a fault of the server")
    );
    assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\n", true), Err("not refused"));
    assert_eq!(judge("hello", false), Err("no whole head"));
}
