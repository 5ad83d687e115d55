//! One node with a file is killed in the middle of everything, over and over.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};

use super::{
    check::Promises,
    run::{self, Run},
    setting,
    world::{Crowd, Load, World, pause, verify},
};
use crate::support::node::Node;

/// `store.embedded.flush_ms`, and as much again as a busy machine may take.
const PROGRESS_AGE: Duration = Duration::from_millis(200 + 1_500);

/// How long what was begun may take, once nobody is harmed any more.
const PATIENCE: Duration = Duration::from_secs(90);

const CONFIGURATION: &str = "\
[store]
backend = 'embedded'
[store.embedded]
path = 'FOLDER/progressd.redb'
[stream]
update_interval_ms = 50
retry_ms = 100
drain_seconds = 1
";

/// When a node is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// At any time.
    Random,
    /// As soon as so many more reports were answered.
    Answered(u64),
    /// As soon as so many more were sent: they are on their way.
    Sent(u64),
    /// As soon as a job's end was answered.
    Ended,
    /// While it starts, so long after its beginning; and, some time later, for good.
    Starting(Duration),
    /// While it drains, so long after it was asked to stop.
    Draining(Duration),
}

impl Moment {
    fn any(chance: &mut StdRng) -> Self {
        let within =
            |chance: &mut StdRng, most: u64| Duration::from_millis(chance.random_range(0..most));
        match chance.random_range(0..10) {
            0..=2 => Self::Random,
            3..=4 => Self::Answered(chance.random_range(1..100)),
            5..=6 => Self::Sent(chance.random_range(1..100)),
            7 => Self::Ended,
            8 => Self::Starting(within(chance, 150)),
            _ => Self::Draining(within(chance, 600)),
        }
    }
}

/// Waits until the moment has come.
async fn wait_for(moment: Moment, world: &World, node: &mut Node, chance: &mut StdRng) {
    let reaches = async |counter: &tokio::sync::watch::Sender<u64>, more: u64| {
        let mut counter = counter.subscribe();
        let target = *counter.borrow_and_update() + more;
        // A crowd that has nothing to say just now is no reason to wait for ever.
        let waiting = counter.wait_for(|count| *count >= target);
        let _ = tokio::time::timeout(Duration::from_secs(3), waiting).await;
    };
    match moment {
        Moment::Random => pause(Duration::from_millis(1_200), chance).await,
        Moment::Answered(more) => reaches(&world.done, more).await,
        Moment::Sent(more) => reaches(&world.sent, more).await,
        Moment::Ended => reaches(&world.ended, 1).await,
        Moment::Starting(after) => {
            pause(Duration::from_millis(600), chance).await;
            kill(node, world).await;
            node.start_within(after).await;
            kill(node, world).await;
            node.start().await;
            pause(Duration::from_millis(300), chance).await;
        }
        Moment::Draining(after) => {
            pause(Duration::from_millis(600), chance).await;
            node.ask_to_stop().await;
            tokio::time::sleep(after).await;
        }
    }
}

async fn kill(node: &mut Node, world: &World) {
    world.recorder.killed();
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_over_and_over_breaks_no_promise() {
    let rounds = setting("ROUNDS", 6);
    let watchers = setting("WATCHERS", 60);
    let load = Load {
        seed: setting("SEED", rand::random_range(0..1_000_000)),
        workers: setting("WORKERS", 12) as usize,
        watchers: watchers as usize,
        pollers: 4,
        pause: Duration::from_millis(60),
    };
    println!(
        "kills: seed {}, {rounds} rounds, {watchers} watchers",
        load.seed
    );
    let mut node = Node::new(&format!("{CONFIGURATION}{}", run::KEYS));
    let world = World::new(vec![node.address], None, &load);
    let mut chance = world.chance(30_000);
    node.start().await;
    let runs = [
        Run::start(&world, 0, rounds).await,
        Run::start(&world, 1, rounds).await,
    ];
    let crowd = Crowd::start(&world, &load);
    for round in 0..rounds {
        let moment = Moment::any(&mut chance);
        wait_for(moment, &world, &mut node, &mut chance).await;
        kill(&mut node, &world).await;
        println!("round {round}: {moment:?}");
        node.start().await;
    }
    for run in &runs {
        run.check(&world, PATIENCE).await;
    }
    crowd.finish(PATIENCE).await;
    // What was read at the end is still there after another start.
    node.stop().await;
    node.start().await;
    super::poll::read_everything(&world).await;
    let log = node.log();
    assert!(!log.contains("panicked"), "{log}");
    let promises = Promises {
        kept_events: 1_000,
        progress_age: Some(PROGRESS_AGE),
    };
    verify(&world, &load, promises, "kills");
}
