//! Nothing that was acknowledged is lost with the power, at whatever moment it fails.
//!
//! `PROGRESSD_FAULT_ROUNDS` says how often it fails, `PROGRESSD_FAULT_SEED` which way; both have
//! defaults, and the seed is printed.

mod worker;

use std::env;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{machine::Fate, *};
use worker::Worker;

/// How often the power fails when nobody says otherwise.
const ROUNDS: u64 = 100;

/// How often it fails on one and the same disk, before a new one is taken.
const ROUNDS_PER_DISK: u64 = 10;

/// Workers at a time, each with jobs of its own, and how much each does before the power fails in
/// any case.
const WORKERS: usize = 4;
const STEPS: usize = 40;

/// Time, as a machine tells it whose clock is set back now and then.
#[derive(Debug)]
struct WallClock(AtomicU64);

impl WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(37, Ordering::Relaxed))
    }

    fn set_back(&self, micros: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.saturating_sub(micros), Ordering::Relaxed);
    }
}

/// Everything that can be listed is what the workers know.
async fn check_lists(store: &Embedded, workers: &[Worker]) {
    let known = || {
        let all = workers.iter().flat_map(|worker| worker.jobs.values());
        all.filter(|known| !known.is_removed)
    };
    let listed = store
        .list(&Filter::default(), None, usize::MAX, at(0))
        .await;
    assert_eq!(listed.expect("a list").len(), known().count());
    let unfinished = store
        .unfinished(None, None, usize::MAX)
        .await
        .expect("a list");
    let still_open = known().filter(|known| !known.job.is_finished());
    assert_eq!(unfinished.len(), still_open.count());
    audit(store);
}

fn number(name: &str, otherwise: u64) -> u64 {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(otherwise, |value| value.parse().expect("a number"))
}

/// What came together, to see that the test tests something.
#[derive(Debug, Default)]
struct Tally {
    /// Losses of power in the middle of work.
    interruptions: u64,
    acknowledged: u64,
    /// Those that did not wait for the disk.
    soft: u64,
    /// Jobs whose newest progress was lost, as it may be.
    lost_progress: u64,
    /// Changes that were done though nobody was told.
    unanswered: u64,
}

impl Tally {
    fn take(&mut self, other: Self) {
        self.interruptions += other.interruptions;
        self.acknowledged += other.acknowledged;
        self.soft += other.soft;
        self.lost_progress += other.lost_progress;
        self.unanswered += other.unanswered;
    }
}

/// Some lives of one disk, each ended by a loss of power.
fn lives(runtime: &tokio::runtime::Runtime, seed: u64, rounds: u64, tally: &mut Tally) {
    let mut chance = StdRng::seed_from_u64(seed);
    let clock = Arc::new(WallClock(AtomicU64::new(1_800_000_000_000_000)));
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|number| Worker::new(number, seed ^ (number as u64 + 1)))
        .collect();
    let mut disk = Vec::new();
    for round in 0..rounds {
        let machine = Machine::new(disk, chance.random());
        let store = Embedded::open_over(machine.clone(), settings("machine"), clock.now());
        let store = Arc::new(store.unwrap_or_else(|error| panic!("round {round}: {error}")));
        runtime.block_on(async {
            for worker in &mut workers {
                worker.check(&store).await;
            }
            check_lists(&store, &workers).await;
        });
        machine.set_fate(match chance.random_range(0..2) {
            0 => Fate::AtOperation(chance.random_range(0..600)),
            _ => Fate::AtSync(chance.random_range(0..60)),
        });
        workers = runtime.block_on(async {
            let shifts: Vec<_> = workers
                .into_iter()
                .map(|worker| tokio::spawn(worker.work(Arc::clone(&store), Arc::clone(&clock))))
                .collect();
            let mut workers = Vec::new();
            for shift in shifts {
                workers.push(shift.await.expect("no worker fails"));
            }
            workers
        });
        disk = machine.lose_power();
        drop(store);
        for worker in &mut workers {
            tally.take(std::mem::take(&mut worker.tally));
        }
        if chance.random_bool(0.3) {
            clock.set_back(chance.random_range(0..3_600_000_000));
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_every_loss_of_power() {
    let rounds = number("PROGRESSD_FAULT_ROUNDS", ROUNDS);
    let seed = number("PROGRESSD_FAULT_SEED", rand::rng().random());
    println!("PROGRESSD_FAULT_ROUNDS={rounds} PROGRESSD_FAULT_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let mut tally = Tally::default();
    for begin in (0..rounds).step_by(ROUNDS_PER_DISK as usize) {
        lives(
            &runtime,
            seed.wrapping_add(begin),
            ROUNDS_PER_DISK.min(rounds - begin),
            &mut tally,
        );
    }
    println!("{tally:?}");
}
