//! Servers that say what real ones say seldom, or never.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::cli::client::{ClientArguments, target::Target};

/// The answers of a server, in order: how the request begins, and what it is answered.
type Script = Vec<(&'static str, String)>;

fn stream(blocks: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{blocks}"
    )
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn status(state: &str, seq: u64) -> String {
    format!("{{\"job_id\":\"j\",\"status\":\"{state}\",\"seq\":{seq}}}")
}

fn status_block(state: &str, seq: u64, retry: u64) -> String {
    let status = status(state, seq);
    format!("event: status\ndata: {status}\nretry: {retry}\nid: {seq}\n\n")
}

/// Follows the job `j` of such a server: the states that were told, how it ended, and the requests.
async fn follow(script: Script) -> (Vec<String>, Result<(), FollowError>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let serving = tokio::spawn(async move {
        for (expected, answer) in script {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a request"));
            }
            let head = String::from_utf8(head).expect("text");
            assert!(head.starts_with(expected), "{expected}: {head}");
            seen.lock().expect("no panic").push(head);
            socket.write_all(answer.as_bytes()).await.expect("a reader");
            socket.shutdown().await.expect("a reader");
        }
    });
    let server = url.parse().expect("a URL");
    let client = Client::new(ClientArguments {
        server,
        token: None,
    })
    .expect("a client");
    let Target::Job(job) = client.target("j").expect("a name") else {
        panic!("a job");
    };
    let (sender, mut told) = mpsc::channel(8);
    let mut follower = Follower::new(client, Subject::Job(job), 0, sender);
    follower.retry = LEAST_RETRY;
    follower.patience.poll_pause = LEAST_RETRY;
    tokio::spawn(follower.run());
    let mut states = Vec::new();
    let end = loop {
        let news = timeout(Duration::from_secs(60), told.recv()).await;
        match news.expect("in time").expect("an end").news {
            News::Status(status) => states.push(status.face.status),
            News::Event(event) => states.push(event.name),
            News::Line(_) | News::Removed(_) => {}
            News::Ended(end) => break end,
        }
    };
    serving.await.expect("no panic");
    let requests = std::mem::take(&mut *requests.lock().expect("no panic"));
    (states, end, requests)
}

const STREAM: &str = "GET /api/v1/jobs/j/stream ";
const POLL: &str = "GET /api/v1/jobs/j/status";

#[tokio::test]
async fn behind_the_end_the_status_tells_it() {
    let (states, end, requests) = follow(vec![
        (STREAM, stream(&status_block("processing", 7, 1))),
        (STREAM, answer("204 No Content", "", "")),
        (POLL, answer("200 OK", "", &status("completed", 9))),
    ])
    .await;
    assert_eq!(states, ["processing", "completed"]);
    end.expect("the end");
    assert!(requests[1].contains("last-event-id: 7\r\n"), "{requests:?}");
}

#[tokio::test]
async fn what_never_comes_back_without_an_end_is_asked_for() {
    let (states, end, _) = follow(vec![
        (STREAM, stream(&status_block("processing", 7, 3_600_000))),
        (POLL, answer("200 OK", "", &status("failed", 9))),
    ])
    .await;
    assert_eq!(states, ["processing", "failed"]);
    end.expect("the end");
}

#[tokio::test]
async fn passing_trouble_is_waited_out_and_the_cursor_kept() {
    let busy = answer("503 Service Unavailable", "Retry-After: 1\r\n", "");
    let drained = "event: error\ndata: {\"code\":\"DRAINING\"}\nretry: 60\n\n";
    let log = "event: log\ndata: 1\nid: 8\n\n";
    let cut = "event: status\ndata: {\"job_id\"";
    let began = Instant::now();
    let (states, end, requests) = follow(vec![
        (STREAM, busy),
        (
            STREAM,
            stream(&format!(
                "{}{log}{drained}",
                status_block("processing", 7, 60)
            )),
        ),
        (
            STREAM,
            answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>"),
        ),
        (
            STREAM,
            answer("200 OK", "Content-Type: text/html\r\n", "<html>"),
        ),
        (STREAM, stream(cut)),
        (POLL, answer("200 OK", "", &status("processing", 8))),
        (POLL, answer("200 OK", "", &status("cancelled", 9))),
    ])
    .await;
    assert_eq!(states, ["processing", "log", "processing", "cancelled"]);
    end.expect("the end");
    assert!(began.elapsed() >= Duration::from_secs(1));
    for request in &requests[2..5] {
        assert!(request.contains("last-event-id: 8\r\n"), "{requests:?}");
    }
    assert!(
        requests[6].contains("/status?wait=25&after=8 "),
        "{requests:?}"
    );
}

#[tokio::test]
async fn final_words_are_final() {
    let end = |code: &str| {
        let error = format!("event: error\ndata: {{\"code\":\"{code}\"}}\nretry: 3600000\n\n");
        stream(&format!("{}{error}", status_block("processing", 7, 1)))
    };
    let refused = r#"{"success":false,"error":{"code":"FORBIDDEN","message":"Not yours"}}"#;
    for (answer, told) in [
        (
            end("TOKEN_EXPIRED"),
            "the token has expired (TOKEN_EXPIRED)",
        ),
        (end("JOB_GONE"), "the job is gone (JOB_GONE)"),
        (
            answer("403 Forbidden", "", refused),
            "Not yours (FORBIDDEN)",
        ),
        (
            answer("404 Not Found", "", "<html>"),
            "Not Found (HTTP 404)",
        ),
        (
            answer("302 Found", "Location: /x\r\n", ""),
            "Found (HTTP 302)",
        ),
        (
            answer("200 OK", "Content-Type: text/html\r\n", "<html>"),
            "no stream",
        ),
        (
            stream("event: status\ndata: {}\n\n"),
            "not those of a progressd server",
        ),
    ] {
        let (_, end, _) = follow(vec![(STREAM, answer)]).await;
        let error = end.expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn the_backoff_grows_to_a_bound() {
    let base = Duration::from_secs(1);
    for failures in [0, 3, 6, 40, u32::MAX] {
        let bound = base * 2_u32.pow(failures.min(6));
        let waits: Vec<_> = (0..200).map(|_| backoff(failures, base)).collect();
        assert!(waits.iter().all(|wait| *wait <= bound.min(LONGEST_BACKOFF)));
        assert!(
            waits
                .iter()
                .any(|wait| *wait > bound.min(LONGEST_BACKOFF) / 2)
        );
    }
}
