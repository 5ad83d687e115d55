//! `progressd demo`: a server, a real job, and its stream as a progress bar.
//!
//! The bar is drawn by a client like any other: it creates the job over HTTP and reads the
//! stream over a socket, so that what it shows is what a page would show.

use std::{
    io::{IsTerminal as _, Write, stdout},
    time::Duration,
};

use anyhow::{Context as _, bail};
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use super::{DemoArguments, serve::Signals};
use crate::{
    config::{Config, StoreBackend},
    server::Server,
    telemetry,
};

/// The bundled list: addresses of every class, at reserved and at well-known domains.
const LIST: &[u8] = include_bytes!("../../assets/demo-emails.csv");

/// What the demo needs of a status.
#[derive(Debug, Deserialize)]
struct Shown {
    status: String,
    total_count: Option<u64>,
    processed_count: Option<u64>,
    progress_percentage: Option<f64>,
    step: Option<String>,
    message: Option<String>,
    rate_per_second: Option<f64>,
    eta_seconds: Option<u64>,
    result: Option<serde_json::Value>,
    error: Option<serde_json::Value>,
}

/// What the demo needs of the answer to a creation.
#[derive(Debug, Deserialize)]
struct Created {
    job_id: String,
    links: Links,
}

#[derive(Debug, Deserialize)]
struct Links {
    stream: String,
    status: String,
    download: String,
}

/// Serves on a free loopback port, runs the bundled list, and shows its stream. Without a
/// terminal it ends with the job, otherwise with Ctrl-C.
///
/// # Errors
/// No port could be had, or the job did not complete.
pub async fn run(arguments: DemoArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let mut config = Config::from_toml("server.listen = \"127.0.0.1:0\"\nlog.filter = \"error\"")?;
    // It leaves nothing behind.
    config.store.backend = StoreBackend::Memory;
    config.runner.email.dns = arguments.dns;
    config.runner.email.max_per_second = arguments.speed;
    telemetry::init(&config.log)?;
    let server = Server::start(&config).await?;
    let url = server.url();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let created: Created = client
        .post(format!("{url}/api/v1/jobs?kind=email-validation"))
        .header("content-type", "text/csv")
        .body(LIST)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await
        .context("read the answer to the creation")?;
    let Created { job_id, links } = created;
    writeln!(output, "listening on {url}")?;
    writeln!(
        output,
        "job {job_id}: checking the bundled list of e-mail addresses"
    )?;
    writeln!(
        output,
        "watch it from another terminal:  curl -N {url}{}",
        links.stream
    )?;
    output.flush()?;

    let last = follow(&client, &format!("{url}{}", links.stream), output).await?;
    if last.status != "completed" {
        bail!(
            "the job is {}: {}",
            last.status,
            last.error.unwrap_or_default()
        );
    }
    writeln!(output, "completed: {}", last.result.unwrap_or_default())?;
    writeln!(output, "its last state:  curl {url}{}", links.status)?;
    writeln!(output, "every row:       curl {url}{}", links.download)?;
    if stdout().is_terminal() {
        writeln!(output, "The server runs on until Ctrl-C.")?;
        Signals::listen()?.next().await;
    }
    server.drain().await;
    Ok(())
}

/// Reads the stream to its end, showing each status; returns the last.
async fn follow(
    client: &reqwest::Client,
    url: &str,
    output: &mut impl Write,
) -> anyhow::Result<Shown> {
    let response = client.get(url).send().await?.error_for_status()?;
    let mut events = response.bytes_stream().eventsource();
    let bar = bar();
    let mut last = None;
    while let Some(event) = events.next().await {
        let event = event.context("read the stream")?;
        if event.event != "status" {
            continue;
        }
        let shown: Shown = serde_json::from_str(&event.data).context("read a status")?;
        show(&shown, &bar, output)?;
        last = Some(shown);
    }
    bar.finish_and_clear();
    last.context("the stream ended before its first status")
}

/// The bar, hidden where there is no terminal to draw it on.
fn bar() -> ProgressBar {
    let target = if stdout().is_terminal() {
        ProgressDrawTarget::stdout()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {pos}/{len} {msg}");
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(style.expect("the template is fixed and valid"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(shown: &Shown, bar: &ProgressBar, output: &mut impl Write) -> anyhow::Result<()> {
    let (done, total) = (
        shown.processed_count.unwrap_or(0),
        shown.total_count.unwrap_or(0),
    );
    let mut words = vec![shown.step.clone().unwrap_or_else(|| shown.status.clone())];
    words.extend(shown.message.clone());
    words.extend(shown.rate_per_second.map(|rate| format!("{rate}/s")));
    words.extend(shown.eta_seconds.map(|seconds| format!("{seconds} s left")));
    let text = words.join(", ");
    if bar.is_hidden() {
        let percent = shown.progress_percentage.unwrap_or(0.0);
        writeln!(output, "{percent:>6.2} %  {done}/{total}  {text}")?;
        output.flush()?;
    } else {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(text);
    }
    Ok(())
}
