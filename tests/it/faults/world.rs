//! Workers, watchers and pollers around nodes that die, and what they share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Client, Method, RequestBuilder};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    check::{Promises, check},
    poll,
    record::Recorder,
    watch as watching, work,
};

/// How much goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) seed: u64,
    pub(super) workers: usize,
    pub(super) watchers: usize,
    pub(super) pollers: usize,
    /// Longest pause between two reports of a worker.
    pub(super) pause: Duration,
}

/// What all who take part share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) recorder: Recorder,
    client: Client,
    /// Where requests go: to any of these.
    addresses: Vec<SocketAddr>,
    token: Option<String>,
    seed: u64,
    pub(super) pause: Duration,
    /// Jobs that were created, the newest last.
    jobs: Mutex<Vec<Arc<str>>>,
    watchers: AtomicUsize,
    /// How many requests of workers were sent, and how many answered as done.
    pub(super) sent: watch::Sender<u64>,
    pub(super) done: watch::Sender<u64>,
    /// How many ends were answered as done.
    pub(super) ended: watch::Sender<u64>,
    /// No new job is begun from now on.
    pub(super) winding_down: CancellationToken,
    /// Whoever still waits gives up.
    pub(super) over: CancellationToken,
}

/// Everybody at work.
pub(super) struct Crowd {
    pub(super) world: Arc<World>,
    workers: JoinSet<()>,
    watchers: JoinSet<()>,
}

impl World {
    pub(super) fn new(addresses: Vec<SocketAddr>, token: Option<&str>, load: &Load) -> Arc<Self> {
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30));
        Arc::new(Self {
            recorder: Recorder::new(),
            client: client.build().expect("a client"),
            addresses,
            token: token.map(str::to_owned),
            seed: load.seed,
            pause: load.pause,
            jobs: Mutex::default(),
            watchers: AtomicUsize::new(0),
            sent: watch::Sender::new(0),
            done: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            winding_down: CancellationToken::new(),
            over: CancellationToken::new(),
        })
    }

    /// Chance of somebody's own, the same in every run with this seed.
    pub(super) fn chance(&self, stream: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Begins a request to one of the nodes.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        chance: &mut StdRng,
    ) -> RequestBuilder {
        let address = self.any_address(chance);
        let url = format!("http://{address}/api/v1{path}");
        let request = self.client.request(method, url);
        let headers = self.headers().into_iter();
        headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    /// Where one of the nodes is.
    pub(super) fn any_address(&self, chance: &mut StdRng) -> SocketAddr {
        self.addresses[chance.random_range(0..self.addresses.len())]
    }

    /// What every request carries.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let token = self.token.iter();
        token
            .map(|token| ("authorization", format!("Bearer {token}")))
            .collect()
    }

    /// There is a job to watch.
    pub(super) fn add_job(&self, job: &Arc<str>) {
        self.jobs().push(Arc::clone(job));
    }

    /// One of the jobs that there are; as a rule a new one.
    pub(super) fn any_job(&self, chance: &mut StdRng) -> Option<Arc<str>> {
        let jobs = self.jobs();
        let newest = match chance.random_bool(0.9) {
            true => jobs.len().saturating_sub(40),
            false => 0,
        };
        (newest < jobs.len()).then(|| Arc::clone(&jobs[chance.random_range(newest..jobs.len())]))
    }

    /// Every job that there is.
    pub(super) fn all_jobs(&self) -> Vec<Arc<str>> {
        self.jobs().clone()
    }

    /// The next watcher's number.
    pub(super) fn next_watcher(&self) -> usize {
        self.watchers.fetch_add(1, Ordering::Relaxed)
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, Vec<Arc<str>>> {
        self.jobs.lock().expect("no section panics")
    }
}

/// Waits a random part of `most`.
pub(super) async fn pause(most: Duration, chance: &mut StdRng) {
    tokio::time::sleep(most.mul_f64(chance.random_range(0.0..1.0))).await;
}

impl Crowd {
    /// Sends everybody to work.
    pub(super) fn start(world: &Arc<World>, load: &Load) -> Self {
        let (mut workers, mut watchers) = (JoinSet::new(), JoinSet::new());
        for number in 0..load.workers {
            workers.spawn(work::work(Arc::clone(world), number as u64));
        }
        for number in 0..load.watchers {
            watchers.spawn(watching::watch(Arc::clone(world), 10_000 + number as u64));
        }
        for number in 0..load.pollers {
            watchers.spawn(poll::poll(Arc::clone(world), 20_000 + number as u64));
        }
        Self {
            world: Arc::clone(world),
            workers,
            watchers,
        }
    }

    /// Lets every job come to its end and every watcher see it; then reads every job once more.
    pub(super) async fn finish(mut self, patience: Duration) {
        self.world.winding_down.cancel();
        let everybody = async {
            while let Some(worker) = self.workers.join_next().await {
                worker.expect("no worker panics");
            }
            while let Some(watcher) = self.watchers.join_next().await {
                watcher.expect("no watcher panics");
            }
        };
        if tokio::time::timeout(patience, everybody).await.is_err() {
            // The record tells who did not come to an end.
            self.world.over.cancel();
            while self.watchers.join_next().await.is_some() {}
            let waiting = self.workers.len();
            assert_eq!(
                waiting, 0,
                "workers that still wait for an answer after {patience:?}"
            );
        }
        poll::read_everything(&self.world).await;
    }
}

/// Checks what everybody saw; the seed and the story are printed when a promise was broken.
pub(super) fn verify(world: &World, load: &Load, promises: Promises, title: &str) {
    let record = world.recorder.record();
    println!("{title}: seed {}: {}", load.seed, record.summary());
    let violations = check(&record, promises);
    if violations.is_empty() {
        return;
    }
    let told: Vec<_> = violations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    let story = std::env::temp_dir().join(format!("progressd-fault-{}.txt", load.seed));
    let jobs: Vec<_> = violations.iter().take(3).map(|it| it.job.clone()).collect();
    std::fs::write(&story, record.story_of(&jobs)).expect("room for the story");
    panic!(
        "{title}: seed {}: {} broken promises; the first are\n{}\nthe jobs' story is in {}",
        load.seed,
        violations.len(),
        told.join("\n"),
        story.display()
    );
}
