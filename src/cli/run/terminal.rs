//! A terminal for the command, where ours is one: many programs draw their bars only there.
//!
//! Ours is put into raw mode, so that keys pass as they are and mean in the command's terminal what they meant in
//! ours: Ctrl-C interrupts the command. Only Ctrl-Z means nothing, since nobody there could wake the command again.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
    thread,
};

use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::{
    process::getpgrp,
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr},
};
use tokio::{
    io::AsyncWriteExt as _,
    process::Child,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Keys that wait for the command to take them.
const MOST_CHUNKS: usize = 16;

/// Our terminal as long as the command has one of its own; then it is again as it was.
#[derive(Debug)]
pub(super) struct Raw(Termios);

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
    let restored = Raw(ours);
    tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
    forward(to)?;
    Ok((child, from, restored))
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Passes on keys, and changes of the size.
fn forward(mut to: OwnedWritePty) -> io::Result<()> {
    let mut keyboard = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (sender, mut keys) = mpsc::channel::<Vec<u8>>(MOST_CHUNKS);
    // Not a task: nothing waits for its end, which comes with that of the process.
    thread::spawn(move || {
        let mut chunk = [0; 1024];
        while let Ok(length @ 1..) = keyboard.read(&mut chunk) {
            if sender.blocking_send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut changes = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(typed) = keys.recv() => {
                    if to.write_all(&typed).await.is_err() {
                        break;
                    }
                }
                Some(()) = changes.recv() => {
                    if let Some(size) = size() {
                        let _ = to.resize(size);
                    }
                }
                else => break,
            }
        }
    });
    Ok(())
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
