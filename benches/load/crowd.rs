//! Crowds at one progressd, by hand: very many watchers, and all of them coming back at once.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    fleet::Fleet,
    peer::{Kind, Server},
    scenario::{Figures, Pace, settled_bytes},
};

/// Messages a second to a crowd.
const RATE: f64 = 2.0;
const PACED_FOR: Duration = Duration::from_secs(10);
/// What the server has to notice that a crowd has left.
const LEAVE_PATIENCE: Duration = Duration::from_secs(30);

/// So many watchers of one job: what they cost, how soon a message reaches them, what stays of them.
pub(crate) fn watchers(server: &Server, count: usize) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, 1, 1)?;
    let before = settled_bytes(server, &mut fleet)?;
    let descriptors = server.process.descriptors()?;
    let began = Instant::now();
    fleet.join(count)?;
    let joined = began.elapsed().as_secs_f64();
    let during = settled_bytes(server, &mut fleet)?;
    let mut figures = Figures::new();
    let pace = Pace {
        name: "watchers",
        channels: 1,
        rate: RATE,
        time: PACED_FOR,
    };
    pace.keep(server, &mut fleet, &mut figures)?;
    let open = server.process.descriptors()?;
    fleet.leave();
    wait_for_leaving(server, &mut fleet, descriptors)?;
    let after = settled_bytes(server, &mut fleet)?;
    let kibibytes = |bytes: u64| bytes as f64 / 1024.0;
    let report = json!({
        "watchers": count,
        "joins_per_second": count as f64 / joined,
        "descriptors": {"before": descriptors, "during": open},
        "threads": server.process.threads()?,
        "pss_kib": {"before": kibibytes(before), "during": kibibytes(during), "after": kibibytes(after)},
        "pss_kib_per_watcher": kibibytes(during.saturating_sub(before)) / count as f64,
        "messages": figures,
    });
    println!("{report:#}");
    Ok(())
}

/// So many watchers lose their connection at one moment. A message comes while they are away; then
/// all come back as fast as they can.
pub(crate) fn storm(server: &Server, count: usize) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, 1, 1)?;
    let before = settled_bytes(server, &mut fleet)?;
    let descriptors = server.process.descriptors()?;
    fleet.join(count)?;
    fleet.publish(0, Kind::Status);
    anyhow::ensure!(fleet.arrived()?, "a message did not reach everybody");
    let during = settled_bytes(server, &mut fleet)?;
    let id = line(&first_block_text(server)?, "id: ").context("an id")?;

    fleet.leave();
    fleet.publish(0, Kind::Status);
    fleet.answered()?;
    let cpu = server.process.cpu_seconds()?;
    let began = Instant::now();
    fleet.resume_from(id);
    fleet.join_at_once(count, count)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = server.process.cpu_seconds()? - cpu;
    let behind = fleet.never_came();
    let after = settled_bytes(server, &mut fleet)?;
    fleet.leave();
    wait_for_leaving(server, &mut fleet, descriptors)?;
    let left = settled_bytes(server, &mut fleet)?;
    let mebibytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let report = json!({
        "watchers": count,
        "all_back_after_seconds": seconds,
        "resumes_per_second": count as f64 / seconds,
        "server_cpu_seconds": cpu,
        "not_told_of_the_missed_message": behind,
        "pss_mib": {
            "before": mebibytes(before), "with_all": mebibytes(during),
            "after_the_storm": mebibytes(after), "when_all_have_left": mebibytes(left),
        },
    });
    println!("{report:#}");
    anyhow::ensure!(
        behind == 0,
        "{behind} watchers were not told what they have missed"
    );
    Ok(())
}

fn wait_for_leaving(
    server: &Server,
    fleet: &mut Fleet<'_>,
    descriptors: usize,
) -> anyhow::Result<()> {
    let left = fleet.until(LEAVE_PATIENCE, |_| {
        Ok(server.process.descriptors()? <= descriptors)
    })?;
    let open = server.process.descriptors()?;
    anyhow::ensure!(
        left,
        "{open} descriptors are open, {descriptors} were before"
    );
    Ok(())
}

/// The status with which a stream of job 0 begins.
pub(crate) fn first_block(server: &Server) -> anyhow::Result<String> {
    line(&first_block_text(server)?, "data: ").context("a status")
}

fn first_block_text(server: &Server) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(server.watch_address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(&server.dialect.watch(0, None))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        anyhow::ensure!(read > 0, "no stream: {text}");
        if text.contains("\n\n") {
            return Ok(text.into_owned());
        }
    }
}

fn line(text: &str, field: &str) -> Option<String> {
    let found = text.lines().find_map(|line| line.strip_prefix(field));
    found.map(str::to_owned)
}
