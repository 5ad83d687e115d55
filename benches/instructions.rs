//! How many instructions a report takes that nobody watches, as a Markdown table.
//!
//! `cargo bench --bench instructions` needs Valgrind. It runs itself in Callgrind, each part with some thousand
//! reports and with twice as many: the difference is what those take, without the start and the end. So a
//! figure is nearly the same each time and on every machine of a kind, whatever else that does. Counted with
//! them is how the reports are made here, some hundred instructions each; not counted are the kernel and the socket.
//!
//! `--part NAME --reports N` does one part without Valgrind.

use std::{
    env,
    hint::black_box,
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode, header},
};
use clap::{Parser, ValueEnum};
use http_body_util::BodyExt as _;
use jsonwebtoken::EncodingKey;
use progressd::{
    auth::{TokenClaims, mint},
    config::Config,
    http::{App, Metrics, Passes, Policy, Usage, router},
    job::{self, Bounds, Defaults, Job, JobId, NewJob, Report, Timestamp, step},
    metrics::{Meter, RegistryMetrics, StoreMetrics},
    registry::{JobHandle, Registry, Settings},
    runner::Runners,
    store::{Measured, Memory, MemoryLimits, Store},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service as _;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sixty-four of them, as the lines of one request are about more than one job.
const JOBS: usize = 64;

const DEFAULTS: Defaults = Defaults {
    lease_seconds: 60,
    ttl_seconds: 60,
    abandon_after_seconds: 604_800,
};

const SECRET: &str = "a secret of thirty-two bytes or more";

/// Counts the instructions of a report
#[derive(Debug, Parser)]
struct Arguments {
    /// Does this part alone, and without Valgrind
    #[arg(long)]
    part: Option<Part>,
    /// Reports in the shorter of two runs
    #[arg(long, default_value_t = 5_000)]
    reports: usize,
    /// What `cargo bench` adds; without meaning
    #[arg(long, hide = true)]
    bench: bool,
}

/// How far a report goes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// It is read, and the rules are applied.
    Rules,
    /// The registry takes it to its job and to the store `memory`.
    Registry,
    /// A request with a token passes all that stands before the routes.
    Patch,
    /// It is one line of many.
    Line,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Registry => "registry",
            Self::Patch => "patch",
            Self::Line => "line",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Rules => "reading a report and applying the rules",
            Self::Registry => "the registry and the store `memory`",
            Self::Patch => "a whole `PATCH` with a JWT, without its connection",
            Self::Line => "a line of `/reports`, for 64 jobs in turn",
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Some(part) = arguments.part else {
        println!("| a report nobody watches | instructions |\n|---|---|");
        for part in Part::value_variants() {
            let (once, twice) = (arguments.reports, 2 * arguments.reports);
            let more = count(*part, twice)?.saturating_sub(count(*part, once)?);
            println!("| {} | {} |", part.meaning(), more / once as u64);
        }
        return Ok(());
    };
    // One thread: what the others would do meanwhile would be counted too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(carry_out(part, arguments.reports))
}

/// The instructions of a run of this program's own.
fn count(part: Part, reports: usize) -> anyhow::Result<u64> {
    let program = env::current_exe().context("find this program")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--part", part.name(), "--reports", &reports.to_string()]);
    let output = valgrind
        .stdin(Stdio::null())
        .output()
        .context("run valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{told}");
    let collected = told
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.context("read what Callgrind has counted")?;
    number.trim().parse().context("read a number")
}

async fn carry_out(part: Part, reports: usize) -> anyhow::Result<()> {
    match part {
        Part::Rules => apply_rules(reports),
        Part::Registry => {
            let (app, _timers) = app()?;
            let jobs = create_jobs(&app.registry).await?;
            for number in 0..reports {
                let report = Report::parse(&body(number), &Bounds::default())?.report;
                let command = job::Command::Report(Box::new(report));
                jobs[number % JOBS].apply(command, None).await?;
            }
        }
        Part::Patch => {
            let (app, _timers) = app()?;
            create_jobs(&app.registry).await?;
            let mut worker = Worker::new(app)?;
            for number in 0..reports {
                let path = format!("/api/v1/jobs/job-{}", number % JOBS);
                worker.send(Method::PATCH, &path, body(number)).await?;
            }
        }
        Part::Line => {
            let (app, _timers) = app()?;
            create_jobs(&app.registry).await?;
            let mut lines = Vec::new();
            for number in 0..reports {
                write!(lines, "{{\"job_id\":\"job-{}\",", number % JOBS)?;
                lines.extend_from_slice(&body(number)[1..]);
                lines.push(b'\n');
            }
            let mut worker = Worker::new(app)?;
            let answer = worker.send(Method::POST, "/api/v1/reports", lines).await?;
            let expected = format!("{{\"accepted\":{reports},\"refused\":0}}\n");
            ensure!(answer == expected, "{answer}");
        }
    }
    Ok(())
}

/// What a worker says again and again.
fn body(number: usize) -> Vec<u8> {
    let count = number / JOBS + 1;
    format!(r#"{{"processed_count":{count},"message":"gmail.com"}}"#).into_bytes()
}

fn apply_rules(reports: usize) {
    let (bounds, now) = (
        Bounds::default(),
        Timestamp::from_micros(1_795_287_600_000_000),
    );
    let mut job: Job = new_job(0).into_job(
        JobId::parse("job").expect("a valid name"),
        None,
        None,
        &DEFAULTS,
        uuid::Uuid::nil(),
        now,
    );
    for number in 0..reports {
        let report = Report::parse(&body(number), &bounds).expect("a valid report");
        let command = job::Command::Report(Box::new(report.report));
        let change = step(black_box(&job), &command, &bounds, now).expect("an unfinished job");
        job = change.job;
    }
}

fn new_job(number: usize) -> NewJob {
    NewJob {
        job_id: JobId::parse(&format!("job-{number}")).ok(),
        total_count: Some(job::Count::saturating(1 << 50)),
        ..NewJob::default()
    }
}

async fn create_jobs(registry: &Registry) -> anyhow::Result<Vec<JobHandle>> {
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let owner = Some("ann".to_owned());
        let created = registry.create(new_job(number), owner, None, None).await;
        jobs.push(created?.0);
    }
    Ok(jobs)
}

/// All of a server but its connections, over an empty memory.
fn app() -> anyhow::Result<(Arc<App>, DropGuard)> {
    let config = config()?;
    let timers = CancellationToken::new();
    let meter = Meter::new();
    let limits = MemoryLimits {
        events_per_job: 1_000,
        event_bytes_per_job: 1 << 20,
        event_bytes: 1 << 28,
        finished_jobs: 1_000,
        row_bytes: 1 << 28,
    };
    let store: Arc<dyn Store> = Arc::new(Measured::new(
        Arc::new(Memory::new(limits)),
        Duration::from_secs(5),
        StoreMetrics::new(&meter),
    ));
    let settings = Settings {
        bounds: Bounds::default(),
        defaults: DEFAULTS,
        update_interval: Duration::from_secs(1),
        max_jobs: 1_000,
        gone_seconds: 60,
        check_interval: Duration::from_secs(1),
    };
    let registry = Registry::start(
        Arc::clone(&store),
        settings,
        RegistryMetrics::new(&meter),
        timers.clone(),
    );
    let runners = Runners::new(&config.runner);
    let app = App {
        registry,
        metrics: Metrics::new(meter, &runners),
        runners,
        has_admin_listener: false,
        policy: ArcSwap::from_pointee(Policy::new(&config)),
        passes: Passes::new(store),
        usage: Usage::new(&config.limits),
        views: config.views.clone(),
        streams: Arc::new(config.stream.settings()),
    };
    Ok((Arc::new(app), timers.drop_guard()))
}

fn config() -> anyhow::Result<Config> {
    let settings = format!("[[auth.jwt]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"");
    Ok(Config::from_toml(&settings)?)
}

/// A worker with a token.
struct Worker {
    server: Router,
    credential: String,
}

impl Worker {
    fn new(app: Arc<App>) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = TokenClaims {
            owner: Some("ann".to_owned()),
            scopes: Some("jobs:write".parse()?),
            issued_at: now,
            expires_at: now + 3_600,
            ..TokenClaims::default()
        };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = mint(&config()?.auth.jwt[0], &key, None, &claims)?;
        Ok(Self {
            server: router(app),
            credential: format!("Bearer {token}"),
        })
    }

    /// The body of the answer, which says that all went well.
    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &self.credential)
            .body(Body::from(body))?;
        let answer = self.server.call(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let body = String::from_utf8(body.into())?;
        ensure!(status == StatusCode::OK, "{status}: {body}");
        Ok(body)
    }
}
