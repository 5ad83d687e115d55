//! Two nodes behind nginx, on one store: killed, frozen, drained, and their store with them.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};
use tokio::task::block_in_place;

use super::{
    backing::Backing,
    check::Promises,
    run::{self, Run},
    setting,
    world::{Crowd, Load, World, pause, verify},
};
use crate::support::{
    nginx::Nginx,
    node::Node,
    people,
    postgres_server::PostgresServer,
    redis_server::{Options, RedisServer},
};

/// How long what was begun may take, once nobody is harmed any more: a job whose node was killed is taken over after a
/// while.
const PATIENCE: Duration = Duration::from_secs(90);

const MORE: &str = "\
store.timeout_ms = 1500
[stream]
update_interval_ms = 50
retry_ms = 100
drain_seconds = 1
";

/// A server of the store's that may be harmed. What it has answered, it keeps.
enum Server {
    Redis(Box<RedisServer>),
    Postgres(PostgresServer),
}

/// What happens to one of them.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// The node is killed, and is away for so long.
    Kill(usize, Duration),
    /// Both are.
    KillBoth(Duration),
    /// The node stands still for so long, and does not know of it.
    Freeze(usize, Duration),
    /// The node is asked to stop, and started again.
    Restart(usize),
    /// The store's server is killed, and is away for so long.
    KillStore(Duration),
    /// The store's server stands still for so long.
    FreezeStore(Duration),
    /// Whoever listens for notices is cut off.
    Deafen,
}

impl Blow {
    fn any(chance: &mut StdRng, longest_pause: Duration) -> Self {
        let mut within = |most: Duration| most.mul_f64(chance.random_range(0.0..1.0));
        let (short, long) = (within(Duration::from_millis(1_000)), within(longest_pause));
        let node = chance.random_range(0..2);
        match chance.random_range(0..20) {
            0..=6 => Self::Kill(node, short),
            7 => Self::KillBoth(short),
            8..=10 => Self::Freeze(node, short * 2),
            11..=12 => Self::Restart(node),
            13..=15 => Self::KillStore(short),
            16..=17 => Self::FreezeStore(long),
            _ => Self::Deafen,
        }
    }
}

impl Server {
    async fn kill(&mut self, away: Duration) {
        match self {
            Self::Redis(server) => {
                server.kill().await;
                tokio::time::sleep(away).await;
                server.restart().await;
            }
            Self::Postgres(server) => {
                block_in_place(|| server.stop("immediate"));
                tokio::time::sleep(away).await;
                block_in_place(|| server.start_again());
            }
        }
    }

    async fn freeze(&mut self, time: Duration) {
        match self {
            Self::Redis(server) => {
                server.pause().await;
                tokio::time::sleep(time).await;
                server.resume().await;
            }
            // Its processes are many: to stop it well is what comes nearest.
            Self::Postgres(server) => {
                block_in_place(|| server.stop("fast"));
                tokio::time::sleep(time).await;
                block_in_place(|| server.start_again());
            }
        }
    }

    async fn deafen(&mut self) {
        match self {
            Self::Redis(server) => {
                let _: i64 = server.ask("CLIENT KILL TYPE pubsub").await;
            }
            Self::Postgres(server) => {
                let database = server.database_named("postgres");
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
                database.execute(sql).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_redis_that_are_harmed_at_random_break_no_promise() {
    let options = Options {
        durable: true,
        ..Options::default()
    };
    let server = RedisServer::with(options).await;
    let backing = Backing::private_redis(&server);
    harm(
        &backing,
        Server::Redis(Box::new(server)),
        "two nodes on Redis",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_postgresql_that_are_harmed_at_random_break_no_promise() {
    let server = block_in_place(|| PostgresServer::start(&["max_connections=100"]));
    let backing = Backing::private_postgres(&server).await;
    harm(
        &backing,
        Server::Postgres(server),
        "two nodes on PostgreSQL",
    )
    .await;
}

async fn harm(backing: &Backing, mut server: Server, title: &str) {
    let rounds = setting("ROUNDS", 8);
    let longest_pause = Duration::from_secs(setting("PAUSE", 2));
    let load = Load {
        seed: setting("SEED", rand::random_range(0..1_000_000)),
        workers: setting("WORKERS", 8) as usize,
        watchers: setting("WATCHERS", 40) as usize,
        pollers: 4,
        pause: Duration::from_millis(60),
    };
    println!(
        "{title}: seed {}, {rounds} rounds, {} watchers",
        load.seed, load.watchers
    );
    let more = format!("{MORE}{}{}", run::KEYS, people::configuration());
    let toml = backing.toml(&more);
    let mut nodes = [Node::new(&toml), Node::new(&toml)];
    for node in &mut nodes {
        node.start().await;
    }
    let nginx = Nginx::before(&nodes.each_ref().map(|node| node.address)).await;
    let world = World::new(vec![nginx.address], Some("key-all"), &load);
    let runs = [
        Run::start(&world, 0, rounds).await,
        Run::start(&world, 1, rounds).await,
    ];
    let crowd = Crowd::start(&world, &load);
    let mut chance = world.chance(30_000);
    for round in 0..rounds {
        pause(Duration::from_millis(1_000), &mut chance).await;
        let blow = Blow::any(&mut chance, longest_pause);
        println!("round {round}: {blow:?}");
        match blow {
            Blow::Kill(node, away) => {
                world.recorder.killed();
                nodes[node].kill().await;
                tokio::time::sleep(away).await;
                nodes[node].start().await;
            }
            Blow::KillBoth(away) => {
                for node in &mut nodes {
                    world.recorder.killed();
                    node.kill().await;
                }
                tokio::time::sleep(away).await;
                for node in &mut nodes {
                    node.start().await;
                }
            }
            Blow::Freeze(node, time) => {
                nodes[node].signal("STOP").await;
                tokio::time::sleep(time).await;
                nodes[node].signal("CONT").await;
            }
            Blow::Restart(node) => {
                nodes[node].stop().await;
                nodes[node].start().await;
            }
            Blow::KillStore(away) => server.kill(away).await,
            Blow::FreezeStore(time) => server.freeze(time).await,
            Blow::Deafen => server.deafen().await,
        }
    }
    for run in &runs {
        run.check(&world, PATIENCE).await;
    }
    crowd.finish(PATIENCE).await;
    for node in &mut nodes {
        node.stop().await;
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    let promises = Promises {
        kept_events: 1_000,
        progress_age: None,
    };
    verify(&world, &load, promises, title);
}
