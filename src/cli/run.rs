//! `progressd run`: any command as a job, without a change to the command.
//!
//! The command comes first. What it prints passes through as it is, signals reach it, and its exit code is ours; the
//! server may be away at the beginning, in between or all the time. Only what no waiting would mend (a wrong token, a
//! name that is taken) ends the run, and does so before the command has started.

mod command;
mod family;
mod output;
mod progress;
mod reporter;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::{ExitCode, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{bail, ensure};
use clap::Args;
use rustix::process::Signal;
use serde_json::{Map, Value};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    command::{Outputs, Running, Signals, exit_code},
    output::{Ear, pass_on},
    reporter::{Ending, Reporter},
};
use super::client::{Client, ClientArguments, target::JobAddress};
use crate::job::{Bounds, JobId};

/// How long the command waits for the server before it starts.
const LONGEST_BEGINNING: Duration = Duration::from_secs(3);

/// Exit code when the command was not started: that of `env`, `timeout` and `docker run`.
pub const NOT_STARTED: u8 = 125;

/// Exit code when the command has succeeded, and its output is lost.
const OUTPUT_LOST: u8 = 1;

/// The longest time that can be asked for, in seconds: a year. Clocks end far behind it.
const LONGEST_TIME: u64 = 31_536_000;

/// The kinds of job that a server does itself.
const BUILT_IN: [&str; 2] = ["demo", "email-validation"];

/// `progressd run`
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Which server, and as whom.
    #[command(flatten)]
    pub client: ClientArguments,
    /// How many steps there are; counts out of another total are not looked at then
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    pub total: Option<u64>,
    /// What is counted, such as "files"
    #[arg(long)]
    pub unit: Option<String>,
    /// Kind of job; the name of the command unless given
    #[arg(long)]
    pub kind: Option<String>,
    /// Name of the job; a new one unless given
    #[arg(long, value_parser = |text: &str| JobId::parse(text))]
    pub id: Option<JobId>,
    /// A tag of the job; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// How long the command may take to end when the job is cancelled, before it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=LONGEST_TIME))]
    pub grace: u64,
    /// How long the server is waited for when the command has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=LONGEST_TIME))]
    pub wait: u64,
    /// Say nothing of one's own
    #[arg(long, short)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<OsString>,
}

/// What is said on standard error, among the command's own words.
#[derive(Clone, Debug)]
struct Notes {
    is_quiet: bool,
    has_said: Arc<AtomicBool>,
    has_said_where: Arc<AtomicBool>,
}

/// Runs the command; the code is its own.
///
/// What keeps it from starting is said on standard error, and has the code 125 (nothing was tried), 126 (it cannot be
/// run) or 127 (there is no such command).
pub async fn run(arguments: RunArguments) -> ExitCode {
    let code = match Run::prepare(arguments).await {
        Ok(run) => run.carry_out().await,
        Err(error) => {
            complain(&format!("{error:#}"));
            NOT_STARTED
        }
    };
    ExitCode::from(code)
}

/// A command that is about to start.
struct Run {
    command: Vec<OsString>,
    address: JobAddress,
    ear: Ear,
    reporter: Reporter,
    signals: Signals,
    grace: Duration,
    wait: Duration,
}

/// How the command ended, and what had been done about it.
struct End {
    status: ExitStatus,
    was_cancelled: bool,
    was_told_to_end: bool,
}

impl Run {
    async fn prepare(arguments: RunArguments) -> anyhow::Result<Self> {
        let job = new_job(&arguments)?;
        let mut signals = Signals::listen()?;
        let client = Client::new(arguments.client)?;
        let is_name_new = arguments.id.is_none();
        let address = JobAddress {
            server: client.server().clone(),
            job_id: arguments.id.unwrap_or_else(|| JobId::from(Uuid::now_v7())),
            credential: None,
        };
        let job = with_name(job, &address.job_id);
        let ear = Ear::new(arguments.total);
        let notes = Notes {
            is_quiet: arguments.quiet,
            has_said: Arc::default(),
            has_said_where: Arc::default(),
        };
        let heard = ear.heard();
        let mut reporter = Reporter::new(client, address.clone(), job, is_name_new, heard, notes);
        tokio::select! {
            begun = reporter.begin(LONGEST_BEGINNING) => begun?,
            _ = signals.next() => bail!("told to end before the command was started"),
        }
        Ok(Self {
            command: arguments.command,
            address,
            ear,
            reporter,
            signals,
            grace: Duration::from_secs(arguments.grace),
            wait: Duration::from_secs(arguments.wait),
        })
    }

    async fn carry_out(mut self) -> u8 {
        let cancel = self.reporter.cancel();
        let (tell_end, ending) = oneshot::channel();
        let reporting = tokio::spawn(self.reporter.report(async { ending.await.ok() }, self.wait));
        let variables = [
            (
                "PROGRESSD_URL",
                self.address.server.as_str().trim_end_matches('/'),
            ),
            ("PROGRESSD_JOB_ID", self.address.job_id.as_str()),
        ];
        // What is still on its way goes on while the end is reported.
        let mut passing_on;
        let (ending, code) = match Running::start(&self.command, &variables) {
            Ok((running, mut outputs)) => {
                let mut terminal = outputs.terminal.take();
                let has_ended = CancellationToken::new();
                passing_on = listen(&self.ear, outputs, &has_ended);
                let end = attend(running, &mut self.signals, &cancel, self.grace).await;
                has_ended.cancel();
                if let Some(terminal) = &mut terminal {
                    terminal.leave_keys();
                }
                self.signals.forget();
                let lost = tokio::select! {
                    lost = first_error(&mut passing_on) => lost,
                    // Whoever reads the output is slower than somebody's patience.
                    _ = self.signals.next() => None,
                };
                drop(terminal);
                match lost {
                    Some(error) => end.without_output(&error),
                    None => {
                        let last_line = self.ear.heard().borrow().message.clone();
                        (end.ending(last_line.as_deref()), exit_code(end.status))
                    }
                }
            }
            Err(error) => not_run(&self.command[0], &error),
        };
        // It ends before only when there is nobody left to tell.
        let _ = tell_end.send(ending);
        tokio::select! {
            _ = reporting => {}
            // The same, of the server.
            _ = self.signals.next() => {}
        }
        code
    }
}

/// Passes the outputs on, each by a task of its own.
fn listen(ear: &Ear, outputs: Outputs, has_ended: &CancellationToken) -> JoinSet<io::Result<()>> {
    let mut tasks = JoinSet::new();
    let Outputs { output, error, .. } = outputs;
    let listener = ear.listener(error.is_none());
    let has_ended = has_ended.clone();
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let also_ended = has_ended.clone();
    tasks.spawn(async move { pass_on(output, stdout?, listener, has_ended).await });
    if let Some(error) = error {
        let listener = ear.listener(true);
        let stderr = io::stderr().as_fd().try_clone_to_owned();
        tasks.spawn(async move { pass_on(error, stderr?, listener, also_ended).await });
    }
    tasks
}

/// Waits for the end of all, and gives the first error.
async fn first_error(tasks: &mut JoinSet<io::Result<()>>) -> Option<io::Error> {
    let mut first = None;
    while let Some(ended) = tasks.join_next().await {
        first = first.or(ended.ok().and_then(Result::err));
    }
    first
}

/// Waits for the end of the command; passes signals on until then, and ends it when somebody has cancelled the job.
async fn attend(
    mut running: Running,
    signals: &mut Signals,
    cancel: &CancellationToken,
    grace: Duration,
) -> End {
    let mut deadline = None;
    let mut is_killed = false;
    let mut was_told_to_end = false;
    let status = loop {
        let time_is_up = async {
            match deadline {
                Some(deadline) if !is_killed => sleep_until(deadline).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            status = running.end() => break status.expect("a child of ours is waited for"),
            signal = signals.next() => {
                running.pass_on(signal);
                was_told_to_end |= !matches!(signal, Signal::USR1 | Signal::USR2);
            }
            () = cancel.cancelled(), if deadline.is_none() => {
                running.stop();
                deadline = Some(Instant::now() + grace);
            }
            () = time_is_up => {
                running.kill();
                is_killed = true;
            }
        }
    };
    if let Some(deadline) = deadline {
        running.end_of_all(deadline).await;
    }
    End {
        status,
        was_cancelled: deadline.is_some(),
        was_told_to_end,
    }
}

impl End {
    /// Its end when what it printed could not be written: nobody would take that for a success.
    fn without_output(&self, error: &io::Error) -> (Ending, u8) {
        let message = format!("write: {error}");
        complain(&message);
        let mut ending = self.ending(Some(&message));
        let code = match exit_code(self.status) {
            0 => OUTPUT_LOST,
            code => code,
        };
        if ending.status == "completed" {
            ending.status = "failed";
            ending.error = Some(("OUTPUT_LOST", cut(&message)));
        }
        (ending, code)
    }

    fn ending(&self, last_line: Option<&str>) -> Ending {
        let code = exit_code(self.status);
        // Ctrl-C, by the signal or by what shells make of it.
        let is_interrupted = code == 130;
        let status = match code {
            _ if self.was_cancelled => "cancelled",
            0 => "completed",
            _ if self.was_told_to_end || is_interrupted => "cancelled",
            _ => "failed",
        };
        let (code, how) = match self.status.code() {
            Some(code) => ("EXIT_CODE", format!("exited with {code}")),
            // `signal: 9 (SIGKILL)`
            None => ("SIGNAL", format!("ended by {}", self.status)),
        };
        let message = match last_line {
            Some(line) => format!("{how}: {line}"),
            None => how,
        };
        Ending {
            status,
            error: (status == "failed").then(|| (code, cut(&message))),
        }
    }
}

/// What became of a command that could not be started, and the code that shells have for it.
fn not_run(program: &OsString, error: &io::Error) -> (Ending, u8) {
    let program = program.to_string_lossy();
    let (code, number) = match error.kind() {
        io::ErrorKind::NotFound => ("COMMAND_NOT_FOUND", 127),
        _ => ("COMMAND_NOT_RUN", 126),
    };
    let message = format!("run {program}: {error}");
    complain(&message);
    let ending = Ending {
        status: "failed",
        error: Some((code, cut(&message))),
    };
    (ending, number)
}

/// The request for a job, but for its name.
fn new_job(arguments: &RunArguments) -> anyhow::Result<Map<String, Value>> {
    let mut job = Map::new();
    if let Some(kind) = arguments
        .kind
        .clone()
        .or_else(|| kind_of(&arguments.command))
    {
        let is_built_in = BUILT_IN.contains(&&*kind);
        ensure!(
            !is_built_in || arguments.kind.is_none(),
            "jobs of the kind \"{kind}\" are done by the server itself: take another --kind"
        );
        if !is_built_in {
            job.insert("kind".to_owned(), kind.into());
        }
    }
    if let Some(total) = arguments.total {
        job.insert("total_count".to_owned(), total.into());
    }
    if let Some(unit) = &arguments.unit {
        job.insert("unit".to_owned(), unit.as_str().into());
    }
    if !arguments.tags.is_empty() {
        job.insert("tags".to_owned(), arguments.tags.clone().into());
    }
    Ok(job)
}

fn with_name(mut job: Map<String, Value>, job_id: &JobId) -> Map<String, Value> {
    job.insert("job_id".to_owned(), job_id.as_str().into());
    job
}

/// The name of the program, without its folder.
fn kind_of(command: &[OsString]) -> Option<String> {
    let name = Path::new(command.first()?).file_name()?.to_string_lossy();
    let name = name.chars().filter(|letter| !letter.is_control());
    let kind: String = name.take(Bounds::default().kind_chars).collect();
    (!kind.is_empty()).then_some(kind)
}

fn cut(message: &str) -> String {
    message
        .chars()
        .take(Bounds::default().message_chars)
        .collect()
}

fn complain(message: &str) {
    // While the command has a terminal of its own, ours leaves lines as they are.
    let end = if io::stderr().is_terminal() {
        "\r\n"
    } else {
        "\n"
    };
    // Where nobody reads it, there is nobody to tell.
    let _ = write!(io::stderr(), "progressd: {message}{end}");
}

impl Notes {
    fn say(&self, text: &str) {
        if !self.is_quiet {
            complain(text);
        }
    }

    /// What would be said again with every attempt.
    fn say_once(&self, text: &str) {
        if !self.has_said.swap(true, Ordering::Relaxed) {
            self.say(text);
        }
    }

    fn say_where(&self, address: &JobAddress) {
        if !self.has_said_where.swap(true, Ordering::Relaxed) {
            self.say(&format!("{}#/jobs/{}", address.server, address.job_id));
        }
    }
}
