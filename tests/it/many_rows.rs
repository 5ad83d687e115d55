//! Result rows by the million: appended in one request, read meanwhile, downloaded whole, in memory that does not grow
//! with them.
//!
//! The test runs with fewer here. `PROGRESSD_ROWS=1000000 cargo test --test it many_rows -- --nocapture` is the long form.

use std::{
    convert::Infallible,
    env,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt as _, stream};
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    process::Process,
    server::{Answer, TestServer},
};

/// Rows of the short form.
const ROWS: u64 = 20_000;

/// Rows that are sent, and expected, at a time.
const SLICE: u64 = 1_000;

/// What the server may have in memory: the file's cache (64 MiB), itself, and what is on its way.
const MOST_RESIDENT: usize = 256 << 20;

fn rows() -> u64 {
    let rows = env::var("PROGRESSD_ROWS").ok();
    rows.map_or(ROWS, |rows| rows.parse().expect("a number of rows"))
}

/// The verdict on an address: as it is sent, and as a CSV file has it.
fn line(n: u64) -> (String, String) {
    let verdict = ["valid", "risky", "invalid"][(n % 3) as usize];
    let json = format!(
        r#"{{"n":{n},"email":"person{n}@example.com","verdict":"{verdict}","reason":"=says \"{n}\", ü","score":{}.5}}"#,
        n % 100
    );
    let csv = format!(
        "{n},person{n}@example.com,{verdict},\"'=says \"\"{n}\"\", ü\",{}.5\r\n",
        n % 100
    );
    (json, csv)
}

/// Everything from `begin` to `end`, with what `piece` makes of each row between.
fn digest(begin: &str, end: &str, piece: impl Fn(u64) -> String) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    digest.update(begin.as_bytes());
    (0..rows()).for_each(|n| digest.update(piece(n).as_bytes()));
    digest.update(end.as_bytes());
    digest.finish().as_ref().to_vec()
}

/// The digest of a download, which is read as it comes.
async fn downloaded(server: &TestServer, format: &str) -> Vec<u8> {
    let path = format!("/api/v1/jobs/j/download?format={format}");
    let response = server.request(Method::GET, &path).send().await;
    let mut body = response.expect("an answer").bytes_stream();
    let mut digest = Context::new(&SHA256);
    while let Some(bytes) = body.next().await {
        digest.update(&bytes.expect("a whole file"));
    }
    digest.finish().as_ref().to_vec()
}

/// All rows in one request.
async fn append(server: &TestServer) -> Answer {
    let slices = stream::iter((0..rows()).step_by(SLICE as usize)).map(|from| {
        let lines: String = (from..(from + SLICE).min(rows()))
            .map(|n| line(n).0 + "\n")
            .collect();
        Ok::<_, Infallible>(lines)
    });
    let request = server.request(Method::POST, "/api/v1/jobs/j/results");
    let request = request.header("content-type", "application/x-ndjson");
    let response = request.body(Body::wrap_stream(slices)).send().await;
    let response = response.expect("an answer");
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        text: response.text().await.expect("a body"),
    }
}

async fn page(server: &TestServer, page: u64) -> Value {
    let path = format!("/api/v1/jobs/j/results?page={page}&per_page={SLICE}");
    server.get(&path).await.expect(StatusCode::OK).json()
}

/// The page must hold these very rows.
#[track_caller]
fn assert_holds(page: &Value, from: u64) {
    let numbers = page["results"].as_array().expect("rows").iter();
    let numbers: Vec<_> = numbers.map(|row| row["n"].as_u64()).collect();
    let to = page["total"].as_u64().expect("a total").min(from + SLICE);
    assert_eq!(numbers, Vec::from_iter((from..to).map(Some)));
}

/// Reads the newest page again and again; the most that the process had in memory meanwhile.
async fn read_meanwhile(server: &TestServer, process: &Process) -> usize {
    let (mut most, mut known) = (0, 0);
    while known < rows() {
        let last = (known / SLICE).max(1);
        let found = page(server, last).await;
        assert_holds(&found, (last - 1) * SLICE);
        let total = found["total"].as_u64().expect("a total");
        assert!(total >= known, "{total} after {known}");
        known = total;
        most = most.max(process.resident_bytes());
        // Leaves the machine to the one who appends.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_by_the_million_are_appended_read_and_downloaded_in_little_memory() {
    let process = Process::start(&[]).await;
    let server = TestServer::at(&process.url);
    server
        .create(json!({"job_id": "j", "unit": "emails"}))
        .await;
    let idle = process.resident_bytes();
    let begin = Instant::now();
    let (answer, mut most) = tokio::join!(append(&server), read_meanwhile(&server, &process));
    let appended_in = begin.elapsed();
    assert_eq!(answer.expect(StatusCode::OK).json()["rows"], rows());
    server.report("j", json!({"status": "completed"})).await;
    for from in [0, rows() / SLICE / 2, rows().div_ceil(SLICE) - 1] {
        assert_holds(&page(&server, from + 1).await, from * SLICE);
    }
    let expected = [
        ("ndjson", digest("", "", |n| line(n).0 + "\n")),
        (
            "json",
            digest("[", "]\n", |n| {
                format!("{}{}", if n > 0 { "," } else { "" }, line(n).0)
            }),
        ),
        (
            "csv",
            digest("n,email,verdict,reason,score\r\n", "", |n| line(n).1),
        ),
    ];
    for (format, expected) in expected {
        let begin = Instant::now();
        assert_eq!(downloaded(&server, format).await, expected, "{format}");
        println!("{format} in {:?}", begin.elapsed());
        most = most.max(process.resident_bytes());
    }
    println!(
        "{} rows in {appended_in:?}; MiB: {} idle, {} at most",
        rows(),
        idle >> 20,
        most >> 20
    );
    assert!(most < MOST_RESIDENT, "{} MiB", most >> 20);
}
