//! What is measured: each scenario on a fresh server, each figure under one name.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    fleet::Fleet,
    peer::{Kind, Server},
    process::own_cpu_seconds,
};

/// Figures of one run by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// A scenario's name, on the command line too.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Idle memory of very many watchers, then how soon a message reaches them
    Idle,
    /// Many watchers of one job, 20 messages a second
    Fanout,
    /// Many jobs with two watchers each, a message a second on each
    Jobs,
    /// As many messages as it takes, each when the last one has reached everybody
    One,
    /// As many as it takes, sixteen of them under way
    Sixteen,
    /// Watchers that connect, get their first block and leave
    Connects,
    /// Reports that nobody watches
    Reports,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) idle_watchers: usize,
    pub(crate) watchers: usize,
    pub(crate) jobs: u32,
    pub(crate) bulk_reports: u32,
    pub(crate) time: Duration,
}

impl Size {
    /// What the figures in the README stand for.
    pub(crate) const FULL: Self = Self {
        idle_watchers: 10_000,
        watchers: 1_000,
        jobs: 5_000,
        bulk_reports: 200_000,
        time: Duration::from_secs(5),
    };

    /// Says that everything works, and little more.
    pub(crate) const QUICK: Self = Self {
        idle_watchers: 1_000,
        watchers: 100,
        jobs: 250,
        bulk_reports: 5_000,
        time: Duration::from_secs(1),
    };
}

/// Memory counts as settled when it has changed by less than this share ...
const SETTLED: f64 = 0.005;
/// ... from one look to the next, so many times.
const SETTLED_LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_millis(250);
const SETTLE_PATIENCE: Duration = Duration::from_secs(15);

/// Frames a second for many watchers of one job.
const FANOUT_RATE: f64 = 20.0;
/// Messages a second for very many.
const IDLE_RATE: f64 = 2.0;
/// Connections by which messages go to many jobs.
const JOB_PUBLISHERS: usize = 4;
/// Watchers that are about to join at a time, where they come and go.
const CONNECTING: usize = 32;
/// When for so long nobody gets what is under way, it is lost, and the rest goes on without those who wait for it.
const STALL: Duration = Duration::from_secs(2);
/// Workers that report at the same time.
const REPORTERS: u32 = 8;

impl Scenario {
    /// Measures a server that has done nothing yet.
    pub(crate) fn measure(self, server: &Server, size: &Size) -> anyhow::Result<Figures> {
        let mut figures = Figures::new();
        match self {
            Self::Idle => idle(server, size, &mut figures)?,
            Self::Fanout => {
                let mut fleet = Fleet::new(server, 1, 1)?;
                fleet.join(size.watchers)?;
                let pace = Pace {
                    name: "fanout",
                    channels: 1,
                    rate: FANOUT_RATE,
                    time: size.time,
                };
                pace.keep(server, &mut fleet, &mut figures)?;
            }
            Self::Jobs => {
                let mut fleet = Fleet::new(server, size.jobs, JOB_PUBLISHERS)?;
                fleet.join(size.jobs as usize * 2)?;
                let pace = Pace {
                    name: "jobs",
                    channels: size.jobs,
                    rate: f64::from(size.jobs),
                    time: size.time,
                };
                pace.keep(server, &mut fleet, &mut figures)?;
            }
            Self::One => most(server, size, 1, Kind::Status, "one", &mut figures)?,
            // Statuses that are under way together are one for whoever is slower, and by design: the newest
            // counts. Events must all arrive.
            Self::Sixteen => most(server, size, 16, Kind::Event, "sixteen", &mut figures)?,
            Self::Connects => connects(server, size, &mut figures)?,
            Self::Reports => {
                reports(server, size, &mut figures)?;
                bulk(server, size, &mut figures)?;
            }
        }
        Ok(figures)
    }
}

/// What many connections cost while nothing happens, and how soon a message reaches them all.
fn idle(server: &Server, size: &Size, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, 1, 1)?;
    let before = settled_bytes(server, &mut fleet)?;
    fleet.join(size.idle_watchers)?;
    let after = settled_bytes(server, &mut fleet)?;
    let bytes = after.saturating_sub(before) as f64 / size.idle_watchers as f64;
    figures.insert("idle_kib".to_owned(), bytes / 1024.0);
    let pace = Pace {
        name: "wide",
        channels: 1,
        rate: IDLE_RATE,
        time: size.time,
    };
    pace.keep(server, &mut fleet, figures)
}

/// Proportional memory, once it stays what it is.
pub(crate) fn settled_bytes(server: &Server, fleet: &mut Fleet<'_>) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut bytes = server.process.proportional_bytes()?;
    let mut looks = 0;
    while looks < SETTLED_LOOKS && began.elapsed() < SETTLE_PATIENCE {
        fleet.until(LOOK, |_| Ok(false))?;
        let now = server.process.proportional_bytes()?;
        let is_settled = now.abs_diff(bytes) as f64 <= bytes as f64 * SETTLED;
        looks = if is_settled { looks + 1 } else { 0 };
        bytes = now;
    }
    Ok(bytes)
}

/// Messages at a rate, to one channel after the other.
pub(crate) struct Pace {
    /// What its figures' names begin with.
    pub(crate) name: &'static str,
    pub(crate) channels: u32,
    /// Messages a second in all.
    pub(crate) rate: f64,
    pub(crate) time: Duration,
}

impl Pace {
    pub(crate) fn keep(
        &self,
        server: &Server,
        fleet: &mut Fleet<'_>,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let total = (self.rate * self.time.as_secs_f64()).ceil() as u64;
        let window = Window::begin(server, fleet)?;
        let mut sent = 0;
        while sent < total {
            let due = (window.began.elapsed().as_secs_f64() * self.rate) as u64 + 1;
            while sent < due.min(total) {
                fleet.publish((sent % u64::from(self.channels)) as u32, Kind::Status);
                sent += 1;
            }
            let next = window.began + Duration::from_secs_f64(sent as f64 / self.rate);
            fleet.turn(next.saturating_duration_since(Instant::now()))?;
        }
        fleet.arrived()?;
        window.end(server, fleet, self.name, figures)
    }
}

/// Messages as fast as they reach everybody.
fn most(
    server: &Server,
    size: &Size,
    in_flight: u32,
    kind: Kind,
    name: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, 1, 1)?;
    fleet.join(size.watchers)?;
    let send_for = |fleet: &mut Fleet<'_>, time: Duration| {
        let began = Instant::now();
        let (mut deliveries, mut moved) = (0, began);
        while began.elapsed() < time {
            while fleet.in_flight() < in_flight {
                fleet.publish(0, kind);
            }
            fleet.turn(Duration::from_millis(100))?;
            if fleet.tally.deliveries > deliveries {
                (deliveries, moved) = (fleet.tally.deliveries, Instant::now());
            } else if moved.elapsed() > STALL {
                fleet.abandon();
                moved = Instant::now();
            }
        }
        anyhow::Ok(())
    };
    send_for(&mut fleet, size.time / 10)?;
    let window = Window::begin(server, &mut fleet)?;
    send_for(&mut fleet, size.time)?;
    let deliveries = fleet.tally.deliveries - window.deliveries;
    let per_second = deliveries as f64 / window.began.elapsed().as_secs_f64();
    figures.insert(format!("{name}_per_second"), per_second);
    fleet.arrived()?;
    window.end(server, &fleet, name, figures)
}

/// What it costs to watch, leaving included.
fn connects(server: &Server, size: &Size, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, 1, 1)?;
    fleet.come_and_go(size.time / 10, CONNECTING)?;
    gone(server, &mut fleet)?;
    let (cpu, own_cpu) = (server.process.cpu_seconds()?, own_cpu_seconds()?);
    let began = Instant::now();
    let joined = fleet.come_and_go(size.time, CONNECTING)? as f64;
    let seconds = began.elapsed().as_secs_f64();
    let own_share = (own_cpu_seconds()? - own_cpu) / seconds;
    gone(server, &mut fleet)?;
    let cpu = server.process.cpu_seconds()? - cpu;
    figures.insert("connects_per_second".to_owned(), joined / seconds);
    figures.insert("connects_cpu".to_owned(), cpu / joined * 1e6);
    figures.insert("connects_load_share".to_owned(), own_share);
    Ok(())
}

/// Waits until the server has closed what its watchers have left.
fn gone(server: &Server, fleet: &mut Fleet<'_>) -> anyhow::Result<()> {
    let mut open = server.process.descriptors()?;
    loop {
        fleet.until(LOOK, |_| Ok(false))?;
        let now = server.process.descriptors()?;
        if now >= open {
            return Ok(());
        }
        open = now;
    }
}

/// Reports one at a time on each of a few connections.
fn reports(server: &Server, size: &Size, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(server, REPORTERS, REPORTERS as usize)?;
    let send_for = |fleet: &mut Fleet<'_>, time: Duration| {
        let (began, before) = (Instant::now(), fleet.answers());
        while began.elapsed() < time {
            let idle: Vec<_> = fleet.outstanding().map(|count| count == 0).collect();
            for (channel, _) in idle.iter().enumerate().filter(|(_, idle)| **idle) {
                fleet.publish(channel as u32, Kind::Status);
            }
            fleet.turn(Duration::from_millis(100))?;
        }
        fleet.answered()?;
        anyhow::Ok(fleet.answers() - before)
    };
    send_for(&mut fleet, size.time / 10)?;
    let (cpu, own_cpu) = (server.process.cpu_seconds()?, own_cpu_seconds()?);
    let began = Instant::now();
    let count = send_for(&mut fleet, size.time)? as f64;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = server.process.cpu_seconds()? - cpu;
    let own_share = (own_cpu_seconds()? - own_cpu) / seconds;
    figures.insert("reports_per_second".to_owned(), count / seconds);
    figures.insert("reports_cpu".to_owned(), cpu / count * 1e6);
    figures.insert("reports_load_share".to_owned(), own_share);
    Ok(())
}

/// Reports in one request, where there is such a thing.
fn bulk(server: &Server, size: &Size, figures: &mut Figures) -> anyhow::Result<()> {
    // A job of its own, on which no number was used.
    let fleet = Fleet::new(server, REPORTERS + 1, 1)?;
    let Some(request) = server.dialect.bulk(REPORTERS, size.bulk_reports) else {
        return Ok(());
    };
    drop(fleet);
    let mut socket = TcpStream::connect(server.publish_address)?;
    let mut writer = socket.try_clone()?;
    let cpu = server.process.cpu_seconds()?;
    let began = Instant::now();
    let writing = thread::spawn(move || writer.write_all(&request));
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let expected = format!("\"accepted\":{}", size.bulk_reports);
    while !String::from_utf8_lossy(&answer).contains("\"accepted\"") {
        let read = socket.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "no answer to /reports");
        answer.extend_from_slice(&buffer[..read]);
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = server.process.cpu_seconds()? - cpu;
    let text = String::from_utf8_lossy(&answer);
    anyhow::ensure!(text.contains(&expected), "{text}");
    writing.join().ok().context("a thread that writes")??;
    let count = f64::from(size.bulk_reports);
    figures.insert("bulk_per_second".to_owned(), count / seconds);
    figures.insert("bulk_cpu".to_owned(), cpu / count * 1e6);
    Ok(())
}

/// From the first message that counts to the last receipt.
struct Window {
    began: Instant,
    cpu: f64,
    own_cpu: f64,
    deliveries: u64,
}

impl Window {
    fn begin(server: &Server, fleet: &mut Fleet<'_>) -> anyhow::Result<Self> {
        fleet.latencies.reset();
        Ok(Self {
            cpu: server.process.cpu_seconds()?,
            own_cpu: own_cpu_seconds()?,
            deliveries: fleet.tally.deliveries,
            began: Instant::now(),
        })
    }

    fn end(
        self,
        server: &Server,
        fleet: &Fleet<'_>,
        name: &str,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let cpu = server.process.cpu_seconds()? - self.cpu;
        let seconds = self.began.elapsed().as_secs_f64();
        let deliveries = (fleet.tally.deliveries - self.deliveries) as f64;
        let milliseconds = |share| fleet.latencies.value_at_quantile(share) as f64 / 1e3;
        let mut insert = |figure: &str, value| figures.insert(format!("{name}_{figure}"), value);
        if deliveries > 0.0 {
            insert("cpu", cpu / deliveries * 1e6);
        }
        insert("p50", milliseconds(0.5));
        insert("p99", milliseconds(0.99));
        insert("deliveries", deliveries);
        // Near 1, and it was the load that was measured.
        insert("load_share", (own_cpu_seconds()? - self.own_cpu) / seconds);
        insert("server_share", cpu / seconds);
        insert("passed_over", fleet.tally.passed_over as f64);
        insert("never_came", fleet.never_came() as f64);
        insert("repeated", fleet.tally.repeated as f64);
        insert("reordered", fleet.tally.reordered as f64);
        insert("ended", fleet.tally.ended as f64);
        Ok(())
    }
}
