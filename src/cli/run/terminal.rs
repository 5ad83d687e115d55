//! A terminal for the command, where ours is one: many programs draw their bars only there.
//!
//! Ours is put into raw mode, so that keys pass as they are and mean in the command's terminal what they meant in
//! ours: Ctrl-C interrupts the command. Only Ctrl-Z means nothing, since nobody there could wake the command again.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal as _},
    os::unix::fs::OpenOptionsExt as _,
};

use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::{
    fs::OFlags,
    process::getpgrp,
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe::Receiver,
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

/// Our terminal as long as the command has one of its own; then it is again as it was.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
    forwarding: JoinSet<()>,
}

/// Whether keyboard and screen are ours, for input, output and errors.
pub(super) fn is_ours() -> bool {
    let are_terminals =
        io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
    are_terminals && tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Starts a command in a terminal of its own, of the size of ours.
pub(super) fn start(
    command: &[OsString],
    variables: &[(&str, &str)],
) -> io::Result<(Child, OwnedReadPty, Raw)> {
    let ours = tcgetattr(io::stdin())?;
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    tcsetattr(&pts, OptionalActions::Now, &ours)?;
    if let Some(size) = size() {
        pty.resize(size).map_err(io::Error::other)?;
    }
    let keyboard = keyboard()?;
    let changes = signal(SignalKind::window_change())?;
    let (program, arguments) = command.split_first().expect("a command has a name");
    let start = pty_process::Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied());
    let child = start.spawn(pts).map_err(|error| match error {
        pty_process::Error::Io(error) => error,
        error => io::Error::other(error),
    })?;
    let (from, to) = pty.into_split();
    let mut raw = ours.clone();
    raw.make_raw();
    let mut restored = Raw {
        before: ours,
        forwarding: JoinSet::new(),
    };
    tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
    restored.forwarding.spawn(forward(keyboard, to, changes));
    Ok((child, from, restored))
}

impl Raw {
    /// Leaves the keys alone: from now on they are for whoever comes next.
    pub(super) fn leave_keys(&mut self) {
        self.forwarding.abort_all();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// The keys, opened anew: others who read or write there are not to find it non-blocking. That it is no pipe matters
/// to nobody here, since it is read in the same way.
fn keyboard() -> io::Result<Receiver> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let terminal = File::options()
        .read(true)
        .custom_flags(flags)
        .open("/dev/tty")?;
    Receiver::from_file_unchecked(terminal)
}

/// Passes on keys, and changes of the size.
async fn forward(mut keyboard: Receiver, mut to: OwnedWritePty, mut changes: Signal) {
    let mut chunk = [0; 1024];
    loop {
        tokio::select! {
            read = keyboard.read(&mut chunk) => {
                let Ok(length @ 1..) = read else { break };
                if to.write_all(&chunk[..length]).await.is_err() {
                    break;
                }
            }
            Some(()) = changes.recv() => {
                if let Some(size) = size() {
                    let _ = to.resize(size);
                }
            }
        }
    }
}

fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(Size::new_with_pixel(
        size.ws_row,
        size.ws_col,
        size.ws_xpixel,
        size.ws_ypixel,
    ))
}
