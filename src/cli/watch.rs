//! `progressd watch`: jobs to their end, before people and programs.

mod subjects;

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

pub(super) use self::subjects::Watched;
use super::{
    client::{
        ClientArguments,
        follow::{
            Follower,
            news::{News, Status, Told},
        },
    },
    display::{Display, Labels},
    ending::{EndBySignal, end_by_closed_pipe},
};

/// The exit code when a job could not be watched.
pub const UNWATCHED: u8 = 3;

/// How much may wait to be shown: a follower whose news nobody takes reads no more.
const MOST_WAITING: usize = 256;

/// How often a terminal is drawn without news: often enough for a spinner and for seconds.
const TICK: Duration = Duration::from_millis(200);

/// `progressd watch`
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Jobs by name, or addresses of jobs, streams or servers
    #[arg(value_name = "URL|ID", required = true)]
    pub targets: Vec<String>,
    /// Write one JSON object a line: statuses as they are on the wire, and events
    #[arg(long)]
    pub json: bool,
    /// Leave out the jobs' events
    #[arg(long)]
    pub no_events: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub client: ClientArguments,
}

/// What became of the jobs; the worst of it is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All completed.
    Completed,
    /// One was cancelled.
    Cancelled,
    /// One failed.
    Failed,
    /// One could not be watched.
    Unwatched,
}

impl From<Outcome> for u8 {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => 0,
            Outcome::Failed => 1,
            Outcome::Cancelled => 2,
            Outcome::Unwatched => UNWATCHED,
        }
    }
}

/// Watches, and says what became of it.
///
/// # Errors
/// The arguments name nothing that can be watched, or `output` takes no more.
pub async fn run(arguments: WatchArguments, output: &mut impl Write) -> anyhow::Result<u8> {
    let watched = subjects::read(&arguments.targets, &arguments.client)?;
    let labels = labels(&watched);
    let with_events = !arguments.no_events;
    let mut display = match arguments.json {
        true => Display::json(output, with_events),
        false => Display::new(output, labels, with_events),
    };
    match show(watched, &mut display).await {
        Ok((outcome, _)) => Ok(outcome.into()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => end_by_closed_pipe(),
        Err(error) => Err(anyhow::Error::new(error).context("write")),
    }
}

/// Shows the jobs until all is told: what became of them, and the last status of all.
///
/// # Errors
/// What is shown cannot be written.
pub(super) async fn show(
    watched: Vec<Watched>,
    display: &mut Display<'_>,
) -> io::Result<(Outcome, Option<Status>)> {
    let _ending = match display {
        Display::Bars(bars) => Some(EndBySignal::after(bars.stopper()).map_err(io::Error::other)?),
        // Who writes lines has nothing to leave in order.
        Display::Lines(_) | Display::Json(_) => None,
    };
    let (sender, mut told) = mpsc::channel(MOST_WAITING);
    let names: Vec<_> = watched
        .iter()
        .map(|watched| watched.subject.names())
        .collect();
    let mut outlook = Outlook::new(&names);
    for (source, Watched { client, subject }) in watched.into_iter().enumerate() {
        let follower = Follower::new(client, subject, source, sender.clone());
        tokio::spawn(follower.run());
    }
    drop(sender);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = told.recv_many(&mut batch, MOST_WAITING) => {
                if count == 0 {
                    break;
                }
                display.show(&batch)?;
                for told in batch.drain(..) {
                    if let Some(error) = outlook.take(told) {
                        display.error(&error);
                    }
                }
            }
            _ = ticks.tick() => display.tick(),
        }
    }
    display.finish();
    Ok(outlook.end())
}

/// What has become of the jobs so far.
#[derive(Debug)]
struct Outlook<'a> {
    /// The jobs that each follower was to follow to their end.
    names: &'a [Vec<String>],
    /// Followers that are at work.
    at_work: usize,
    worst: Outcome,
    last: Option<Status>,
}

impl<'a> Outlook<'a> {
    fn new(names: &'a [Vec<String>]) -> Self {
        Self {
            names,
            at_work: names.len(),
            worst: Outcome::Completed,
            last: None,
        }
    }

    /// Counts it in; what is wrong, if something is.
    fn take(&mut self, told: Told) -> Option<String> {
        let names = self.names.get(told.source).map_or(&[][..], Vec::as_slice);
        // Of the jobs that a filter finds nobody asked what becomes.
        let is_asked_for = !names.is_empty();
        let (outcome, error) = match told.news {
            News::Status(status) => {
                let outcome = match &*status.face.status {
                    "failed" if is_asked_for => Outcome::Failed,
                    "cancelled" if is_asked_for => Outcome::Cancelled,
                    _ => Outcome::Completed,
                };
                self.last = Some(*status);
                (outcome, None)
            }
            News::Removed(removed) if is_asked_for => {
                let error = format!(
                    "{}: {}",
                    removed.job_id,
                    removed.code.as_deref().unwrap_or("the job is gone")
                );
                (Outcome::Unwatched, Some(error))
            }
            News::Ended(end) => {
                self.at_work -= 1;
                let error = end.err()?;
                let error = match names {
                    [] => error.to_string(),
                    [name] => format!("{name}: {error}"),
                    [first, rest @ ..] => format!("{first} and {} more: {error}", rest.len()),
                };
                (Outcome::Unwatched, Some(error))
            }
            News::Removed(_) | News::Event(_) | News::Line(_) => return None,
        };
        self.worst = self.worst.max(outcome);
        error
    }

    fn end(self) -> (Outcome, Option<Status>) {
        let worst = match self.at_work {
            0 => self.worst,
            // Somebody left without a word.
            _ => Outcome::Unwatched,
        };
        (worst, self.last)
    }
}

/// How jobs are called: not at all when there is one, with their server when there are several.
fn labels(watched: &[Watched]) -> Labels {
    if let [Watched { subject, .. }] = watched
        && subject.names().len() == 1
    {
        return Labels::None;
    }
    let servers: Vec<_> = watched
        .iter()
        .map(|watched| authority(watched.client.server()))
        .collect();
    let is_one = servers.windows(2).all(|pair| pair[0] == pair[1]);
    let prefixes = servers.into_iter().map(|server| match is_one {
        true => String::new(),
        false => format!("{server}/"),
    });
    Labels::Named(prefixes.collect())
}

fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
