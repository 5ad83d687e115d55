//! Runs every scenario against every peer, the peers in turn, so that what disturbs the machine
//! disturbs all of them alike.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use serde_json::json;

use crate::{
    Peer, Scenario, Template,
    scenario::{Figures, Size},
    table,
};

/// Every scenario, in the order of the table.
const SCENARIOS: [Scenario; 7] = [
    Scenario::Idle,
    Scenario::Fanout,
    Scenario::Jobs,
    Scenario::One,
    Scenario::Sixteen,
    Scenario::Connects,
    Scenario::Reports,
];

/// Who is measured, and how much.
pub(crate) struct Comparison {
    pub(crate) peers: Vec<Peer>,
    pub(crate) runs: usize,
    pub(crate) is_quick: bool,
    /// All when empty.
    pub(crate) only: Vec<Scenario>,
    pub(crate) core: Option<usize>,
    pub(crate) figures: PathBuf,
}

impl Comparison {
    /// Measures, writes all figures into a file, and prints the table.
    pub(crate) fn run(&self, template: &Template) -> anyhow::Result<()> {
        let size = if self.is_quick {
            Size::QUICK
        } else {
            Size::FULL
        };
        let versions = self.peers.iter().map(Peer::version);
        let versions = versions.collect::<anyhow::Result<Vec<_>>>()?;
        let is_asked = |scenario: &&Scenario| self.only.is_empty() || self.only.contains(scenario);
        let mut runs = vec![vec![Figures::new(); self.runs]; self.peers.len()];
        let mut unfinished = Vec::new();
        for run in 0..self.runs {
            for scenario in SCENARIOS.iter().filter(is_asked) {
                for (peer, runs) in self.peers.iter().zip(&mut runs) {
                    let began = Instant::now();
                    let server = peer.start(template, self.core)?;
                    let measured = scenario.measure(&server, &size);
                    drop(server);
                    let what = format!("run {}: {scenario:?}, {}", run + 1, peer.name());
                    match measured {
                        Ok(figures) => {
                            let seconds = began.elapsed().as_secs_f64();
                            eprintln!("{what}: {seconds:.1} s");
                            runs[run].extend(figures);
                        }
                        // What others cannot do is told, and costs the other figures nothing.
                        Err(error) if !peer.is_progressd() => {
                            unfinished.push(format!("{what}: {error:#}"));
                        }
                        Err(error) => return Err(error.context(what)),
                    }
                }
            }
        }
        let machine = machine(self.core)?;
        let peers = self.peers.iter().zip(&versions).zip(&runs);
        let peers = peers.map(|((peer, version), runs)| {
            json!({"name": peer.name(), "version": version, "runs": runs})
        });
        let peers: Vec<_> = peers.collect();
        let all = json!({"machine": machine, "peers": peers, "unfinished": unfinished});
        fs::write(&self.figures, format!("{all:#}\n"))?;
        println!("{}; {machine}.\n", versions.join(", "));
        println!("{}", table::markdown(&self.peers, &runs, &size));
        for what in &unfinished {
            println!("- not finished in {what}");
        }
        eprintln!("all figures: {}", self.figures.display());
        let has_broken = table::has_broken(&self.peers, &runs);
        anyhow::ensure!(!has_broken, "progressd has broken a promise");
        Ok(())
    }
}

/// What the figures depend on.
fn machine(core: Option<usize>) -> anyhow::Result<String> {
    let output = Command::new("uname").args(["-sr"]).output()?;
    let kernel = String::from_utf8(output.stdout)?;
    let information = fs::read_to_string("/proc/cpuinfo")?;
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = information
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let share = match core {
        Some(_) => "the server on one, the load on the other",
        None => "shared by server and load",
    };
    Ok(format!(
        "{cores} cores ({model}), {share}; {}",
        kernel.trim()
    ))
}
