//! What a report costs in each store, side by side, as a Markdown table.
//!
//! `cargo bench --bench stores -- --redis redis://127.0.0.1:6379/9 --postgres postgres://…`
//!
//! Memory and the embedded store always take part, the others when their address is given; each
//! keeps its jobs under a name of its own. Below the table stands what a restart of the embedded
//! store costs. The reports go straight to the registry: this is about
//! stores, not about HTTP. Compare rows and columns of one run.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use futures_util::{StreamExt as _, stream};
use progressd::{
    config::Config,
    job::{Command, Count, NewJob, Report},
    registry::JobHandle,
    server::Server,
};

/// Measures how many reports a second each store takes
#[derive(Debug, Parser)]
struct Arguments {
    /// A Redis to measure
    #[arg(long)]
    redis: Option<String>,
    /// A PostgreSQL database to measure
    #[arg(long)]
    postgres: Option<String>,
    /// Seconds for each figure
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Unfinished jobs for which the embedded store's restart is measured
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// What `cargo bench` adds; without meaning
    #[arg(long, hide = true)]
    bench: bool,
}

/// What workers do at the same time.
struct Load {
    name: &'static str,
    jobs: usize,
    /// Reports under way on each job.
    in_flight: usize,
    report: fn() -> Report,
}

const LOADS: [Load; 4] = [
    Load {
        name: "one job, one increment at a time",
        jobs: 1,
        in_flight: 1,
        report: increment,
    },
    Load {
        name: "one job, 256 increments under way",
        jobs: 1,
        in_flight: 256,
        report: increment,
    },
    Load {
        name: "64 jobs, one increment at a time on each",
        jobs: 64,
        in_flight: 1,
        report: increment,
    },
    Load {
        name: "64 jobs, one count at a time on each",
        jobs: 64,
        in_flight: 1,
        report: count,
    },
];

/// Must not get lost, so it is on disk before it is answered.
fn increment() -> Report {
    Report {
        processed_increment: Some(Count::saturating(1)),
        ..Report::default()
    }
}

/// Is replaced by the next one.
fn count() -> Report {
    let now = jiff::Timestamp::now().as_microsecond();
    Report {
        processed_count: Some(Count::saturating(now.unsigned_abs())),
        ..Report::default()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.redb");
    let mut stores = vec![
        ("memory", "store.backend = 'memory'".to_owned()),
        (
            "embedded",
            format!("store.backend = 'embedded'\nstore.embedded.path = {file:?}"),
        ),
    ];
    if let Some(url) = &arguments.redis {
        let toml = format!(
            "store.backend = 'redis'\nstore.redis.url = '{url}'\nstore.redis.prefix = 'bench:'"
        );
        stores.push(("redis", toml));
    }
    if let Some(url) = &arguments.postgres {
        let toml = format!("store.backend = 'db'\nstore.postgres.url = '{url}'");
        stores.push(("db", toml));
    }
    let time = Duration::from_secs(arguments.seconds);
    println!("| reports a second | {} |", names(&stores).join(" | "));
    println!("|---|{}", "---|".repeat(stores.len()));
    for load in &LOADS {
        let mut cells = Vec::new();
        for (_, toml) in &stores {
            cells.push(format!("{:.0}", measure(toml, load, time).await?));
        }
        println!("| {} | {} |", load.name, cells.join(" | "));
    }
    restart(&folder.path().join("restart.redb"), arguments.jobs).await
}

/// What unfinished jobs cost in the embedded store: to create, to keep, and to find again.
async fn restart(file: &Path, count: usize) -> anyhow::Result<()> {
    let toml = format!(
        "server.listen = '127.0.0.1:0'\nstore.backend = 'embedded'\nstore.embedded.path = {file:?}"
    );
    let config = Config::from_toml(&toml)?;
    let server = Server::start(&config).await?;
    let registry = server.registry();
    let memory = resident_bytes()?;
    let begin = Instant::now();
    let mut creations = stream::iter(0..count)
        .map(|_| registry.create(NewJob::default(), None, None, None))
        .buffer_unordered(1_024);
    while let Some(created) = creations.next().await {
        created.context("a new job")?;
    }
    drop(creations);
    println!(
        "\n{count} jobs: created in {:.1} s, {} bytes of memory each (registry and store)",
        begin.elapsed().as_secs_f64(),
        resident_bytes()?.saturating_sub(memory) / count,
    );
    // As after a kill: the file as it is, without a word.
    let copy = file.with_extension("copy");
    fs::copy(file, &copy)?;
    server.drain().await;
    for (how, file) in [("a stop", file), ("a kill", &copy)] {
        let toml = toml.replace(
            "restart.redb",
            &file.file_name().unwrap_or_default().to_string_lossy(),
        );
        let config = Config::from_toml(&toml)?;
        until_free(file).await?;
        let begin = Instant::now();
        let server = Server::start(&config).await?;
        println!(
            "after {how}: {:.2} s until it serves, a file of {} bytes for each",
            begin.elapsed().as_secs_f64(),
            fs::metadata(file)?.blocks() * 512 / count as u64,
        );
        server.drain().await;
    }
    Ok(())
}

/// Waits until the server before has let go of the file: a hundred thousand jobs leave memory first.
async fn until_free(file: &Path) -> anyhow::Result<()> {
    let file = fs::File::open(file)?;
    let latest = Instant::now() + Duration::from_secs(30);
    while let Err(error) = file.try_lock() {
        anyhow::ensure!(Instant::now() < latest, "the file is not free: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Bytes of memory that the process has in use (Linux, proc(5): `statm`, in pages of 4 KiB).
fn resident_bytes() -> anyhow::Result<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).context("a second number")?;
    Ok(pages.parse::<usize>()? * 4_096)
}

fn names<'a>(stores: &'a [(&str, String)]) -> Vec<&'a str> {
    stores.iter().map(|(name, _)| *name).collect()
}

/// Reports a second under a load.
async fn measure(toml: &str, load: &Load, time: Duration) -> anyhow::Result<f64> {
    let config = Config::from_toml(&format!("server.listen = '127.0.0.1:0'\n{toml}\n"))?;
    let server = Server::start(&config).await?;
    let mut jobs = Vec::new();
    for _ in 0..load.jobs {
        let created = server
            .registry()
            .create(NewJob::default(), None, None, None);
        jobs.push(created.await.context("a new job")?.0);
    }
    let end = Instant::now() + time;
    let workers = jobs
        .iter()
        .flat_map(|job| vec![job.clone(); load.in_flight]);
    let workers = workers.map(|job| tokio::spawn(work(job, load.report, end)));
    let workers: Vec<_> = workers.collect();
    let done: Vec<_> = stream::iter(workers)
        .then(|worker| worker)
        .collect::<Vec<_>>()
        .await;
    let mut reports = 0;
    for count in done {
        reports += count??;
    }
    for job in &jobs {
        job.remove().await.context("remove a job")?;
    }
    server.drain().await;
    Ok(reports as f64 / time.as_secs_f64())
}

/// Reports until `end`; returns how often.
async fn work(job: JobHandle, report: fn() -> Report, end: Instant) -> anyhow::Result<u64> {
    let mut reports = 0;
    while Instant::now() < end {
        let command = Command::Report(Box::new(report()));
        job.apply(command, None).await.context("a report")?;
        reports += 1;
    }
    Ok(reports)
}
