//! Load on a real server over loopback: thousands of raw SSE connections, figures as JSON.
//!
//! `cargo bench --bench load -- --watchers 10000 --reports 50`
//!
//! The server runs as a process of its own, so that its memory and CPU are its own. Beside it, in
//! the same run, a bare loop of `send` calls serves the same clients the same bytes: the ratio
//! between the two is what to compare between machines, not the single figures.

mod bare;
mod process;
mod watchers;

use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use crate::{process::Process, watchers::Watchers};

/// Opens SSE connections to a server of its own and measures what they cost
#[derive(Debug, Parser)]
struct Arguments {
    /// Connections to one job
    #[arg(long, default_value_t = 5_000)]
    watchers: usize,
    /// Reports, each delivered to every connection before the next
    #[arg(long, default_value_t = 50)]
    reports: usize,
    /// Reports on a job that nobody watches, in one NDJSON request
    #[arg(long, default_value_t = 200_000)]
    unwatched: usize,
    /// What `cargo bench` adds; without meaning
    #[arg(long, hide = true)]
    bench: bool,
    /// Serves as the bare loop for another run of this program
    #[arg(long, hide = true)]
    bare: Option<usize>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    if let Some(frame_bytes) = arguments.bare {
        return bare::serve(frame_bytes);
    }
    let server = Process::start_server()?;
    let api = format!("{}/api/v1", server.url());
    let client = reqwest::Client::builder().no_proxy().build()?;

    let unwatched = report_unwatched(&client, &api, arguments.unwatched).await?;
    let job = post(
        &client,
        &format!("{api}/jobs"),
        &json!({"total_count": 1_000_000_000}),
    )
    .await?;
    let job_url = format!("{api}/jobs/{}", job["job_id"].as_str().unwrap_or_default());

    let memory_before = server.resident_bytes()?;
    let began = Instant::now();
    let watchers = Watchers::open(
        &server.address(),
        &format!("{job_url}/stream"),
        arguments.watchers,
    )
    .await?;
    watchers.wait_for(1).await?;
    let joined_seconds = began.elapsed().as_secs_f64();
    let memory = server.resident_bytes()?.saturating_sub(memory_before);

    let cpu_before = server.cpu_seconds()?;
    let mut rounds = Vec::with_capacity(arguments.reports);
    for round in 0..arguments.reports {
        let began = Instant::now();
        patch(&client, &job_url, &json!({"processed_increment": 1})).await?;
        watchers.wait_for(round + 2).await?;
        rounds.push(began.elapsed());
    }
    let server_cpu = server.cpu_seconds()? - cpu_before;
    let frame_bytes = watchers.last_frame_bytes();
    drop(watchers);
    drop(server);

    let bare_cpu = bare::measure(arguments.watchers, arguments.reports, frame_bytes).await?;
    let deliveries = (arguments.watchers * arguments.reports) as f64;
    let per_million = |seconds: f64| seconds / deliveries * 1e6;
    let figures = json!({
        "watchers": arguments.watchers,
        "joins_per_second": arguments.watchers as f64 / joined_seconds,
        "resident_bytes_per_watcher": memory / arguments.watchers as u64,
        "frame_bytes": frame_bytes,
        "deliveries": deliveries,
        "fan_out_ms": {"median": quantile(&mut rounds, 0.5), "p99": quantile(&mut rounds, 0.99)},
        "cpu_seconds_per_million_deliveries": {
            "progressd": per_million(server_cpu),
            "bare_send_loop": per_million(bare_cpu),
            "ratio": server_cpu / bare_cpu,
        },
        "unwatched_reports": unwatched,
    });
    println!("{figures:#}");
    Ok(())
}

/// Sends `count` reports on one unwatched job as one stream of NDJSON.
async fn report_unwatched(
    client: &reqwest::Client,
    api: &str,
    count: usize,
) -> anyhow::Result<Value> {
    let job = post(
        client,
        &format!("{api}/jobs"),
        &json!({"total_count": count}),
    )
    .await?;
    let line = format!(
        "{{\"job_id\":{},\"processed_increment\":1}}\n",
        job["job_id"]
    );
    let began = Instant::now();
    let request = client
        .post(format!("{api}/reports"))
        .body(line.repeat(count));
    let answer = request.send().await?.error_for_status()?.text().await?;
    let seconds = began.elapsed().as_secs_f64();
    let last: Value = serde_json::from_str(answer.lines().last().unwrap_or_default())?;
    anyhow::ensure!(last["accepted"] == count, "{last}");
    Ok(json!({"count": count, "per_second": count as f64 / seconds}))
}

async fn post(client: &reqwest::Client, url: &str, body: &Value) -> anyhow::Result<Value> {
    Ok(client
        .post(url)
        .json(body)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?)
}

async fn patch(client: &reqwest::Client, url: &str, body: &Value) -> anyhow::Result<()> {
    client
        .patch(url)
        .json(body)
        .send()
        .await?
        .error_for_status()?;
    Ok(())
}

fn quantile(rounds: &mut [Duration], share: f64) -> f64 {
    rounds.sort();
    let last = rounds.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    rounds
        .get(index)
        .map_or(0.0, |round| round.as_secs_f64() * 1e3)
}
