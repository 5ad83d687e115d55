//! Load on real servers over loopback: thousands of raw SSE connections, compared side by side.
//!
//! `cargo bench --bench load` measures progressd beside a bare loop of `send` calls that serves the
//! same clients the same bytes: the ratio between the two is what to compare between machines, not
//! the single figures. `benches/peers/run` does the same with Nchan and Pushpin, each server on one
//! core and this program on another. `-- --help` lists the rest, among it what runs for hours.
//!
//! Servers run as processes of their own, so that their memory and CPU are their own. Memory of the
//! kernel, socket buffers above all, is not counted for anybody.

mod churn;
mod compare;
mod crowd;
mod fleet;
mod mark;
mod peer;
mod process;
mod publisher;
mod scenario;
mod table;
mod watcher;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::{
    compare::Comparison,
    mark::Template,
    peer::{Build, Kind, Peer},
    scenario::Scenario,
};

/// Opens thousands of SSE connections to servers of its own, and measures what they cost
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    comparison: ComparisonArguments,
    #[command(flatten)]
    progressd: ProgressdArguments,
    /// What `cargo bench` adds; without meaning
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Many watchers of one progressd: memory, latency, and what stays when they have left
    Watchers {
        #[arg(long, default_value_t = 19_000)]
        count: usize,
    },
    /// All watchers of a progressd lose their connection at the same moment and come back at once
    Storm {
        #[arg(long, default_value_t = 10_000)]
        count: usize,
    },
    /// Watchers that join, leave, resume and stop reading, jobs that begin and end, for long
    Churn {
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Watchers at a time
        #[arg(long, default_value_t = 1_000)]
        watchers: usize,
        /// Jobs at a time
        #[arg(long, default_value_t = 200)]
        jobs: usize,
    },
    /// Serves as the bare loop for another run of this program
    #[command(hide = true)]
    Bare,
}

#[derive(Debug, Args)]
struct ComparisonArguments {
    /// Who takes part besides progressd; ratios are to the first of them
    #[arg(long, value_delimiter = ',', default_value = "bare")]
    peers: Vec<PeerName>,
    /// Runs, of which the median counts
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// A tenth of everything: says that it works, and little more
    #[arg(long)]
    quick: bool,
    /// These scenarios alone
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Scenario>,
    /// The core that servers are tied to; this program is tied by whoever starts it
    #[arg(long)]
    server_core: Option<usize>,
    /// Where all figures of all runs go, as JSON
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/load.json"))]
    figures: PathBuf,
}

#[derive(Debug, Args)]
struct ProgressdArguments {
    /// A progressd other than the one that was built with this program, `PATH` or `NAME=PATH`; several stand side by
    /// side
    #[arg(long, global = true)]
    progressd: Vec<String>,
    /// A variable of the progressd of this name, or of all: `NAME:VARIABLE=VALUE` or `VARIABLE=VALUE`
    #[arg(long, global = true)]
    set: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PeerName {
    Nchan,
    Pushpin,
    Bare,
    /// Nobody: progressd alone
    None,
}

impl ProgressdArguments {
    fn builds(&self) -> anyhow::Result<Vec<Build>> {
        let own = [env!("CARGO_BIN_EXE_progressd").to_owned()];
        let programs = match &*self.progressd {
            [] => &own[..],
            given => given,
        };
        let builds = programs.iter().map(|program| {
            let (name, program) = program.split_once('=').unwrap_or(("progressd", program));
            let settings = self.set.iter().filter_map(|setting| {
                match setting.split_once('=')?.0.split_once(':') {
                    None => Some(setting.as_str()),
                    Some((of, _)) if of == name => Some(&setting[of.len() + 1..]),
                    Some(_) => None,
                }
            });
            let settings = settings.filter_map(|setting| setting.split_once('='));
            let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let program = std::fs::canonicalize(program)
                .with_context(|| format!("{program} is not there"))?;
            Ok(Build {
                name: name.to_owned(),
                program,
                settings: settings.collect(),
            })
        });
        builds.collect()
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    if matches!(arguments.command, Some(Command::Bare)) {
        return peer::serve_bare();
    }
    let mut builds = arguments.progressd.builds()?;
    if matches!(arguments.command, Some(Command::Churn { .. })) {
        // What says that a job is gone is kept for a day, and would look like a leak.
        let variable = "PROGRESSD__JOBS__GONE_SECONDS".to_owned();
        builds[0].settings.insert(0, (variable, "60".to_owned()));
    }
    let template = template(&builds[0])?;
    let core = arguments.comparison.server_core;
    let first = || Peer::Progressd(builds[0].clone()).start(&template, core);
    match arguments.command {
        Some(Command::Watchers { count }) => crowd::watchers(&first()?, count),
        Some(Command::Storm { count }) => crowd::storm(&first()?, count),
        Some(Command::Churn {
            minutes,
            watchers,
            jobs,
        }) => churn::run(&first()?, minutes, watchers, jobs),
        Some(Command::Bare) => Ok(()),
        None => {
            let asked = arguments.comparison;
            let others = asked.peers.iter().filter_map(|name| match name {
                PeerName::Nchan => Some(Peer::Nchan),
                PeerName::Pushpin => Some(Peer::Pushpin),
                PeerName::Bare => Some(Peer::Bare),
                PeerName::None => None,
            });
            let peers = builds.into_iter().map(Peer::Progressd).chain(others);
            Comparison {
                peers: peers.collect(),
                runs: asked.runs,
                is_quick: asked.quick,
                only: asked.only,
                core,
                figures: asked.figures,
            }
            .run(&template)
        }
    }
}

/// A status as progressd makes it, for others to pass on: what a worker of theirs would have to
/// write itself.
fn template(build: &Build) -> anyhow::Result<Template> {
    let empty = Template::default();
    let server = Peer::Progressd(build.clone()).start(&empty, None)?;
    let mut fleet = fleet::Fleet::new(&server, 1, 1)?;
    for _ in 0..3 {
        fleet.publish(0, Kind::Status);
        fleet.answered()?;
    }
    let status = crowd::first_block(&server)?;
    Template::new(&status).context("a status with a mark")
}
