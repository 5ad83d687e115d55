//! The command itself: how it starts, which signals reach it, and how it is stopped.
//!
//! There are three ways:
//! - Where our input, output and errors are a terminal, it gets one of its own ([`terminal`]).
//! - Where there is no terminal at all, as under cron, it leads a process group of its own. In both cases signals go
//!   to its whole group: a shell's children are reached too.
//! - Else, as in a pipeline that somebody has typed, it stays in our group, as it would without anybody in between:
//!   it may ask for a password, and Ctrl-C and Ctrl-Z reach it by themselves. Then a signal from elsewhere goes to it
//!   alone, and a stop to it and all that it has started.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{
    Pid, Signal, getpgrp, kill_process, kill_process_group, test_kill_process_group,
};
use tokio::{
    io::AsyncRead,
    net::unix::pipe::Receiver,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    family::Family,
    terminal::{self, Raw},
};

/// What is passed on.
const SIGNALS: [(SignalKind, Signal); 6] = [
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// How often a group is looked at that is asked to end.
const LOOK: Duration = Duration::from_millis(20);

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    id: Pid,
    has_own_group: bool,
    /// Where it has none: it and what it has started, as far as that was seen.
    family: Family,
}

/// What comes from a command that has just started.
pub(super) struct Outputs {
    /// Its standard output, and its error where both go to the same place: so they stay in order.
    pub(super) output: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) error: Option<Receiver>,
    /// To be kept until all output has come.
    pub(super) terminal: Option<Raw>,
}

/// Signals that came to us.
#[derive(Debug)]
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Listens from now on: until then a signal ends the process. Those that whoever started us has switched off,
    /// as `nohup` does, stay off, for the command too.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let ignored = ignored_signals();
        let (sender, receiver) = mpsc::channel(SIGNALS.len());
        for (kind, number) in SIGNALS {
            if ignored & (1 << (number.as_raw() - 1)) != 0 {
                continue;
            }
            let mut signals = signal(kind).context("listen for signals")?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if sender.send(number).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Leaves out those that have come already.
    pub(super) fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            // All of them are switched off.
            None => std::future::pending().await,
        }
    }
}

impl Running {
    /// Starts it with these variables besides ours.
    ///
    /// # Errors
    /// There is no such program, or it cannot be run.
    pub(super) fn start(
        command: &[OsString],
        variables: &[(&str, &str)],
    ) -> io::Result<(Self, Outputs)> {
        if terminal::is_ours() {
            let (child, output, raw) = terminal::start(command, variables)?;
            let outputs = Outputs {
                output: Box::new(output),
                error: None,
                terminal: Some(raw),
            };
            return Ok((Self::new(child, true), outputs));
        }
        let has_own_group = File::open("/dev/tty").is_err();
        let (program, arguments) = command.split_first().expect("a command has a name");
        let mut start = Command::new(program);
        start.args(arguments).envs(variables.iter().copied());
        if has_own_group {
            start.process_group(0);
        }
        let (output, writer) = io::pipe()?;
        let error = if is_same_place()? {
            start.stderr(writer.try_clone()?);
            None
        } else {
            let (error, writer) = io::pipe()?;
            start.stderr(writer);
            Some(Receiver::from_owned_fd(error.into())?)
        };
        start.stdin(Stdio::inherit()).stdout(writer);
        let outputs = Outputs {
            output: Box::new(Receiver::from_owned_fd(output.into())?),
            error,
            terminal: None,
        };
        Ok((Self::new(start.spawn()?, has_own_group), outputs))
    }

    fn new(child: Child, has_own_group: bool) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Self {
            child,
            id: id.expect("a process that was just started has a number"),
            has_own_group,
            family: Family::default(),
        }
    }

    /// Waits for its end. Cancel-safe.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Lets it have a signal that came to us.
    pub(super) fn pass_on(&self, signal: Signal) {
        let is_typed = matches!(signal, Signal::INT | Signal::QUIT);
        // It may be gone already: its end is on its way.
        let _ = match self.has_own_group {
            true => kill_process_group(self.id, signal),
            // The terminal has told it already: twice means "at once" to many programs.
            false if is_typed && is_in_foreground() => Ok(()),
            false => kill_process(self.id, signal),
        };
    }

    /// Asks it and what it has started to end.
    pub(super) fn stop(&mut self) {
        self.tell_all(Signal::TERM);
    }

    /// Ends it and what it has started.
    pub(super) fn kill(&mut self) {
        self.tell_all(Signal::KILL);
    }

    /// Waits until nothing is left of what was asked to end; at `deadline` what is left is killed.
    pub(super) async fn end_of_all(&mut self, deadline: Instant) {
        while self.is_something_left() {
            if Instant::now() >= deadline {
                self.tell_all(Signal::KILL);
                return;
            }
            sleep(LOOK).await;
        }
    }

    fn is_something_left(&mut self) -> bool {
        if self.has_own_group {
            return test_kill_process_group(self.id).is_ok();
        }
        self.family.look();
        !self.family.is_empty()
    }

    fn tell_all(&mut self, signal: Signal) {
        if self.has_own_group {
            let _ = kill_process_group(self.id, signal);
            return;
        }
        // Once it has been waited for, its number may be another's.
        if self.child.id().is_some() {
            self.family.add(self.id);
        }
        self.family.look();
        self.family.tell(signal);
    }
}

/// What a shell would say of such an end.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| code.try_into().ok())
        .unwrap_or(u8::MAX)
}

/// Whether the terminal's keys are ours at the moment.
fn is_in_foreground() -> bool {
    let terminal = File::open("/dev/tty");
    terminal.is_ok_and(|terminal| {
        rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
    })
}

/// Whether our standard output and error are one and the same.
fn is_same_place() -> io::Result<bool> {
    let output = rustix::fs::fstat(io::stdout())?;
    let error = rustix::fs::fstat(io::stderr())?;
    Ok((output.st_dev, output.st_ino) == (error.st_dev, error.st_ino))
}

/// The signals that are switched off for us, a bit each (Linux: proc(5), `SigIgn`); elsewhere none is known.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
