//! Hours of coming and going at one progressd: what it takes must stay as it is, and nobody may lose anything.
//!
//! Jobs begin, send numbered events, and end; some are loud. Watchers join, leave, come back with
//! `Last-Event-ID`, and some stop reading for a while. Every watcher checks that the numbers go up
//! by one, over its absences too, and that a job's end reaches it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use rand::{RngExt as _, seq::IndexedRandom as _};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use strum::{EnumCount, EnumIter, IntoEnumIterator as _, IntoStaticStr};
use tokio::time::{Instant as Deadline, sleep, timeout_at};

use crate::peer::Server;

/// How often the server is looked at.
const LOOK: Duration = Duration::from_secs(30);
/// Bytes of a loud job's event: a slow watcher's buffers are full after some seconds.
const LOUD_BYTES: usize = 4096;
/// Events of a loud job in one request.
const LOUD_EVENTS: u64 = 20;
/// One job of so many is loud.
const LOUD_SHARE: u32 = 20;
/// One watcher of so many stops reading.
const SLOW_SHARE: u32 = 25;

/// What is counted.
#[derive(Clone, Copy, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Count {
    JobsEnded,
    Joined,
    Resumed,
    Slow,
    Events,
    Ends,
    /// Told by a status: more was missed than is kept.
    Gaps,
    /// A connection broke, as that of a watcher who does not read for long does.
    Cut,
    // Broken promises.
    Refused,
    Lost,
    Repeated,
    /// A stream came to its end without the job's, and without saying why.
    MissingEnds,
}

/// What must stay 0.
const PROMISES: [Count; 4] = [
    Count::Lost,
    Count::Repeated,
    Count::MissingEnds,
    Count::Refused,
];

/// What all tasks share.
struct Scene {
    workers: Client,
    watchers: Client,
    api: String,
    counts: [AtomicU64; Count::COUNT],
    /// Jobs under way.
    jobs: Mutex<Vec<Arc<Job>>>,
}

struct Job {
    url: String,
    /// Events that the server has acknowledged, all of them once the job is over.
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Scene {
    fn count(&self, count: Count) {
        self.add(count, 1);
    }

    fn add(&self, count: Count, number: u64) {
        self.counts[count as usize].fetch_add(number, Ordering::Relaxed);
    }

    fn of(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    fn with_jobs<T>(&self, look: impl FnOnce(&mut Vec<Arc<Job>>) -> T) -> T {
        look(&mut self.jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Comes and goes for so many minutes. An error when a promise was broken.
pub(crate) fn run(
    server: &Server,
    minutes: u64,
    watchers: usize,
    jobs: usize,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(come_and_go(server, minutes, watchers, jobs))
}

async fn come_and_go(
    server: &Server,
    minutes: u64,
    watchers: usize,
    jobs: usize,
) -> anyhow::Result<()> {
    let token = server.token.as_deref().context("a token")?;
    let mut headers = header::HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    let client = || {
        let client = Client::builder().no_proxy().http1_only();
        client.default_headers(headers.clone())
    };
    let scene = Arc::new(Scene {
        // Connections go sooner than the server closes what is idle, so that no report meets the closing.
        workers: client()
            .pool_idle_timeout(Duration::from_secs(10))
            .build()?,
        // The server closes behind a stream's end, so none of them serves twice.
        watchers: client().pool_max_idle_per_host(0).build()?,
        api: format!("http://{}/api/v1", server.publish_address),
        counts: Default::default(),
        jobs: Mutex::default(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..jobs {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move { work(&scene, worker).await });
    }
    for _ in 0..watchers {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move { watch(&scene).await });
    }
    let began = Instant::now();
    let time = Duration::from_secs(minutes * 60);
    while began.elapsed() < time {
        let left = time - began.elapsed();
        tokio::select! {
            () = sleep(LOOK.min(left)) => {}
            Some(ended) = tasks.join_next() => ended??,
        }
        let counts =
            Count::iter().map(|count| (<&str>::from(count).to_owned(), scene.of(count).into()));
        let counts: serde_json::Map<String, Value> = counts.collect();
        let look = json!({
            "seconds": began.elapsed().as_secs(),
            "pss_kib": server.process.proportional_bytes()? / 1024,
            "threads": server.process.threads()?,
            "descriptors": server.process.descriptors()?,
            "cpu_seconds": server.process.cpu_seconds()?,
            "counts": counts,
        });
        println!("{look}");
    }
    let broken: u64 = PROMISES.iter().map(|count| scene.of(*count)).sum();
    anyhow::ensure!(broken == 0, "{broken} promises were broken");
    Ok(())
}

/// One job after the other.
async fn work(scene: &Scene, worker: usize) -> anyhow::Result<()> {
    for turn in 0_u64.. {
        let (lifetime, pause, is_loud) = {
            let mut random = rand::rng();
            let lifetime = Duration::from_secs(random.random_range(5..60));
            let pause = Duration::from_millis(random.random_range(100..500));
            (lifetime, pause, random.random_ratio(1, LOUD_SHARE))
        };
        let id = format!("churn-{worker}-{turn}");
        // It goes soon after its end: what is kept by design is not what is looked for here.
        let job = json!({"job_id": id, "total_count": 1_000_000, "ttl_seconds": 10});
        send(
            scene,
            scene.workers.post(format!("{}/jobs", scene.api)).json(&job),
        )
        .await?;
        let url = format!("{}/jobs/{id}", scene.api);
        let job = Arc::new(Job {
            url: url.clone(),
            sent: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        scene.with_jobs(|jobs| jobs.push(Arc::clone(&job)));
        let began = Instant::now();
        let mut number = 0;
        while began.elapsed() < lifetime {
            let (events, bytes) = if is_loud {
                (LOUD_EVENTS, LOUD_BYTES)
            } else {
                (1, 100)
            };
            let event = |number: u64| json!({"event": "log", "data": {"number": number, "text": "x".repeat(bytes)}});
            let events: Vec<_> = (number + 1..=number + events).map(event).collect();
            number += events.len() as u64;
            send(
                scene,
                scene.workers.post(format!("{url}/events")).json(&events),
            )
            .await?;
            job.sent.store(number, Ordering::SeqCst);
            let report = json!({"processed_count": number, "message": "going on"});
            send(scene, scene.workers.patch(&url).json(&report)).await?;
            sleep(pause).await;
        }
        scene.with_jobs(|jobs| jobs.retain(|other| !Arc::ptr_eq(other, &job)));
        job.is_over.store(true, Ordering::SeqCst);
        let end = if number % 5 == 0 {
            "failed"
        } else {
            "completed"
        };
        send(
            scene,
            scene.workers.patch(&url).json(&json!({"status": end})),
        )
        .await?;
        scene.count(Count::JobsEnded);
    }
    Ok(())
}

async fn send(scene: &Scene, request: reqwest::RequestBuilder) -> anyhow::Result<()> {
    let answer = request.send().await?;
    if !answer.status().is_success() {
        scene.count(Count::Refused);
        eprintln!("refused: {}", answer.text().await?);
    }
    Ok(())
}

/// What a watcher knows of its job, over all its visits.
#[derive(Default)]
struct Memory {
    last_id: Option<String>,
    /// The last event's number, once there was one.
    number: Option<u64>,
    has_end: bool,
    /// Events that were missed when the job was over, of which the last status must tell.
    untold: u64,
}

/// One job after the other, each in some visits.
async fn watch(scene: &Scene) -> anyhow::Result<()> {
    loop {
        let job = scene.with_jobs(|jobs| jobs.choose(&mut rand::rng()).cloned());
        let Some(job) = job else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut memory = Memory::default();
        loop {
            let (stay, away, comes_back) = {
                let mut random = rand::rng();
                let stay = Duration::from_secs(random.random_range(1..20));
                let away = Duration::from_millis(random.random_range(0..3000));
                (stay, away, random.random_bool(0.5))
            };
            let is_over = visit(scene, &job, &mut memory, stay).await?;
            if is_over || !comes_back {
                break;
            }
            sleep(away).await;
        }
    }
}

/// One connection. Whether there is nothing more to see.
async fn visit(
    scene: &Scene,
    job: &Job,
    memory: &mut Memory,
    stay: Duration,
) -> anyhow::Result<bool> {
    // Whoever resumes behind what was missed is not told of it once more.
    memory.untold = 0;
    let mut request = scene.watchers.get(format!("{}/stream", job.url));
    if let Some(id) = &memory.last_id {
        request = request.header("Last-Event-ID", id);
    }
    let answer = request.send().await?;
    match answer.status() {
        StatusCode::OK => {}
        // Back behind the end, or so late that the job is gone.
        StatusCode::NO_CONTENT | StatusCode::GONE => return Ok(true),
        status => {
            scene.count(Count::Refused);
            eprintln!("refused: {status} {}", answer.text().await?);
            return Ok(true);
        }
    }
    let is_resumed = memory.last_id.is_some();
    scene.count(if is_resumed {
        Count::Resumed
    } else {
        Count::Joined
    });
    if rand::rng().random_ratio(1, SLOW_SHARE) {
        scene.count(Count::Slow);
        let pause = rand::rng().random_range(5..45);
        sleep(Duration::from_secs(pause)).await;
    }
    let mut blocks = answer.bytes_stream().eventsource();
    let leave = Deadline::now() + stay;
    let mut is_told = false;
    loop {
        let block = match timeout_at(leave, blocks.next()).await {
            // Time to go; the block under way is lost to this visit, as it would be to a browser's.
            Err(_) => return Ok(false),
            Ok(Some(Ok(block))) => block,
            Ok(None) => {
                scene.count(match (memory.has_end, is_told) {
                    (true, _) => Count::Ends,
                    (false, true) => Count::Cut,
                    (false, false) => Count::MissingEnds,
                });
                return Ok(memory.has_end);
            }
            Ok(Some(Err(_))) => {
                scene.count(Count::Cut);
                return Ok(false);
            }
        };
        let data: Value = serde_json::from_str(&block.data).context("JSON in a block")?;
        match &*block.event {
            "log" => {
                let number = data["number"].as_u64().context("a number")?;
                check(scene, job, memory, number);
                memory.number = Some(number);
            }
            "status" => {
                if data["gap"] == true {
                    scene.count(Count::Gaps);
                    memory.number = None;
                    memory.untold = 0;
                }
                if !data["finished_at"].is_null() {
                    memory.has_end = true;
                    end(scene, job, memory);
                }
            }
            "error" => is_told = true,
            _ => {}
        }
        if !block.id.is_empty() {
            memory.last_id = Some(block.id);
        }
    }
}

fn check(scene: &Scene, job: &Job, memory: &mut Memory, number: u64) {
    scene.count(Count::Events);
    let last = memory.number.unwrap_or(number - 1);
    if number <= last {
        scene.count(Count::Repeated);
    } else if job.is_over.load(Ordering::SeqCst) {
        // The kept events of a finished job come before its last status, which tells of those that are not kept.
        memory.untold += number - last - 1;
    } else if number > last + 1 {
        eprintln!("{}: event {number} came after {last}", job.url);
        scene.add(Count::Lost, number - last - 1);
    }
}

/// With the end everything that came before has come.
fn end(scene: &Scene, job: &Job, memory: &Memory) {
    let sent = job.sent.load(Ordering::SeqCst);
    if let Some(number) = memory.number {
        let lost = sent.saturating_sub(number) + memory.untold;
        if lost > 0 {
            eprintln!("{}: {lost} events before the end did not come", job.url);
        }
        scene.add(Count::Lost, lost);
    }
}
