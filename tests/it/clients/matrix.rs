//! Every client, through two restarts of the server to a job's end, and after it.
//!
//! The test runs in a short form. `scripts/clients` runs it in full, on a release build with the default
//! configuration, and prints what was seen as the table that stands in the README.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    table::{Row, table},
    watch::Watch,
};
use crate::support::{
    client_program::ClientProgram,
    cut_proxy::CutProxy,
    nginx::{Nginx, STOCK},
    node::Node,
    server::TestServer,
};

/// The log tells of each request.
const CONFIGURATION: &str = "\
log.filter = 'info,progressd::http=debug'
store.embedded.path = 'FOLDER/progressd.redb'
";

/// Clients wait less than by default, but longer than the server is away: nginx would answer 502 meanwhile.
const SHORT: &str = "\
[stream]
retry_ms = 4000
drain_seconds = 1
";

/// Those of the short form: what most people use, of every kind.
const SIX: [ClientProgram; 6] = [
    ClientProgram::Chromium,
    ClientProgram::EventSource2,
    ClientProgram::EventSourceLatest,
    ClientProgram::SseclientPy,
    ClientProgram::HttpxSse,
    ClientProgram::Curl,
];

/// How long a client is watched after the end.
const QUIET: Duration = Duration::from_secs(10);

/// Longer than a client waits before it comes back.
const ABSENCE: Duration = Duration::from_secs(12);

/// A server with a file, and nginx in front.
struct Place {
    node: Node,
    nginx: Nginx,
}

impl Place {
    async fn start(configuration: &str) -> Self {
        let mut node = Node::new(configuration);
        node.start().await;
        let nginx = Nginx::start(STOCK, node.address).await;
        Self { node, nginx }
    }

    /// The server of the present, without a connection to that of the past.
    fn server(&self) -> TestServer {
        TestServer::at(&self.node.url())
    }

    /// Sends every client to a job, on both ways, and waits until all have joined.
    async fn joined_by(&self, programs: &[ClientProgram]) -> Vec<Watch> {
        let server = &self.server();
        let ways =
            |program: &ClientProgram| [&server.url, &self.nginx.url].map(|url| (*program, url));
        let started = programs.iter().flat_map(ways);
        let joined = started.map(async |(program, base)| {
            let mut watch = Watch::start(program, base, server).await;
            watch.joins(server).await;
            watch
        });
        join_all(joined).await
    }
}

/// Takes clients to their jobs' end, over a restart and a crash of the server.
async fn to_the_end(place: &mut Place, programs: &[ClientProgram]) -> Vec<Watch> {
    let mut watches = place.joined_by(programs).await;
    place.node.stop().await;
    place.node.start().await;
    let server = &place.server();
    join_all(watches.iter_mut().map(|watch| watch.goes_on(server))).await;
    place.node.kill().await;
    place.node.start().await;
    let (server, node) = (&place.server(), &place.node);
    let ends = watches
        .iter_mut()
        .map(|watch| watch.comes_to_the_end(server, node));
    join_all(ends).await;
    watches
}

#[tokio::test]
async fn clients_lose_nothing_by_restarts_and_stay_away_after_the_end() {
    if std::env::var_os("PROGRESSD_CLIENTS").is_some() {
        return every_client().await;
    }
    let mut place = Place::start(&format!("{CONFIGURATION}{SHORT}")).await;
    let mut watches = to_the_end(&mut place, &SIX).await;
    let (server, node) = (&place.server(), &place.node);
    let seen = watches.iter_mut().map(async |watch| {
        let seen = watch.is_over(server, node, QUIET).await;
        assert!(seen.complaints.is_empty(), "{}", seen.complaints.join("\n"));
    });
    join_all(seen).await;
}

/// Cuts clients off within a block; how many messages were spoilt by that, or what was missed.
async fn cut_within_a_block(
    place: &Place,
    programs: &[ClientProgram],
) -> Vec<Result<usize, String>> {
    let server = &place.server();
    let cut = programs.iter().map(async |program| {
        let proxy = CutProxy::start_within(&server.url, 2).await;
        let mut watch = Watch::start(*program, &proxy.url, server).await;
        watch.is_cut(server, &proxy).await
    });
    join_all(cut).await
}

/// The full form: every client, watched for longer; and what it does when it asks behind the end, when it comes back
/// while the server is away, and when a block breaks off.
async fn every_client() {
    let mut place = Place::start(CONFIGURATION).await;
    let mut watches = to_the_end(&mut place, &ClientProgram::ALL).await;
    let (server, node) = (&place.server(), &place.node);
    let seen = watches
        .iter_mut()
        .map(|watch| watch.is_over(server, node, QUIET));
    let seen = join_all(seen).await;
    let asked = watches
        .iter_mut()
        .map(|watch| watch.asks_behind_the_end(server, node, QUIET));
    let asked = join_all(asked).await;
    drop(watches);

    let cut = cut_within_a_block(&place, &ClientProgram::ALL).await;

    let mut watches = place.joined_by(&ClientProgram::ALL).await;
    place.node.kill().await;
    tokio::time::sleep(ABSENCE).await;
    place.node.start().await;
    let server = &place.server();
    let back = join_all(watches.iter_mut().map(|watch| watch.comes_back(server))).await;

    let by_program = |index: usize| [2 * index, 2 * index + 1];
    let rows: Vec<_> = ClientProgram::ALL
        .iter()
        .enumerate()
        .map(|(index, program)| Row {
            program: *program,
            seen: by_program(index).map(|at| &seen[at]),
            asked: by_program(index).map(|at| asked[at]),
            came_back: by_program(index).map(|at| back[at]),
            cut: &cut[index],
        })
        .collect();
    println!("{}", table(&rows));
    let complaints: Vec<_> = rows.iter().filter_map(Row::complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
