//! What the command prints: passed on as it comes, and looked at in passing.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    progress::{Progress, Sight, Tracker},
    screen::{Screen, Seen},
};

/// How long a line must rest before it is read though it has no end: what is written in pieces comes faster.
const REST: Duration = Duration::from_millis(200);

/// How long nothing may come once the command has ended: what it leaves running may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long something may come then: what it leaves running may also print for ever.
const LONGEST_LAST_WORDS: Duration = Duration::from_secs(3);

/// As many bytes as a pipe holds, as a rule.
const CHUNK: usize = 64 * 1024;

/// How long a place is left alone that takes nothing at the moment.
const LOOK: Duration = Duration::from_millis(10);

/// The longest message that a server takes, in characters.
const MOST_CHARACTERS: usize = 1000;

/// What the output has said so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) progress: Option<Progress>,
    /// The last line.
    pub(super) message: Option<String>,
}

/// Where all output is heard.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    // Plain: held for the lines of one chunk, never over a wait.
    tracker: Arc<Mutex<Tracker>>,
    heard: watch::Sender<Heard>,
}

/// One of the command's outputs, followed line by line.
pub(super) struct Listener {
    ear: Ear,
    screen: Screen,
    /// Every line was a number, and this is where such a number is a percentage.
    is_bare: bool,
}

impl Ear {
    /// One for a command whose number of steps is known, or is not.
    pub(super) fn new(total: Option<u64>) -> Self {
        Self {
            tracker: Arc::new(Mutex::new(Tracker::new(total))),
            heard: watch::Sender::default(),
        }
    }

    /// What is heard from now on.
    pub(super) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// For one output. Programs that print bare percentages do so on standard error; on standard output numbers are
    /// results.
    pub(super) fn listener(&self, knows_bare_numbers: bool) -> Listener {
        Listener {
            ear: self.clone(),
            screen: Screen::default(),
            is_bare: knows_bare_numbers,
        }
    }
}

impl Listener {
    /// Takes in what was printed.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        let seen = self.screen.take_in(bytes);
        self.look_at(&seen);
    }

    /// Nothing comes for the moment: a bar may stand there that is not drawn over yet.
    pub(super) fn rest(&mut self) {
        let line = self.screen.open_line();
        self.look_at(line.as_slice());
    }

    fn look_at(&mut self, seen: &[Seen]) {
        if seen.is_empty() {
            return;
        }
        let mut message = None;
        let progress = {
            let mut tracker = self
                .ear
                .tracker
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for seen in seen {
                let sight = match seen {
                    Seen::Percentage(percentage) => Sight::of(&format!("{percentage}%")),
                    Seen::Line(line) => {
                        message = Some(line);
                        let number = Sight::of_bare_number(line).filter(|_| self.is_bare);
                        self.is_bare = number.is_some();
                        number.or_else(|| Sight::of(line))
                    }
                };
                if let Some(sight) = sight {
                    tracker.see(sight);
                }
            }
            tracker.progress()
        };
        self.ear.heard.send_if_modified(|heard| {
            let before = heard.clone();
            heard.progress = progress.or(heard.progress);
            if let Some(message) = message {
                heard.message = Some(message.chars().take(MOST_CHARACTERS).collect());
            }
            *heard != before
        });
    }
}

/// Passes on everything that comes `from` the command, byte for byte, to its end or until nothing more comes after
/// the command's own.
///
/// Where nobody takes it any more, `from` is closed: the command learns it as it would without anybody in between.
///
/// # Errors
/// It cannot be written, though somebody wants to read it.
pub(super) async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: OwnedFd,
    mut listener: Listener,
    has_ended: CancellationToken,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut is_resting = true;
    let mut deadline = None;
    // What the command itself has printed is in the pipe when it ends, and no more than that holds.
    let mut length_since_end = 0;
    let result = loop {
        if deadline.is_none() && has_ended.is_cancelled() {
            deadline = Some(Instant::now() + LONGEST_LAST_WORDS);
        }
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late && length_since_end >= CHUNK {
            break Ok(());
        }
        let silence = async {
            has_ended.cancelled().await;
            let silent = Instant::now() + LAST_WORDS;
            sleep_until(deadline.map_or(silent, |deadline| deadline.min(silent))).await;
        };
        let length = tokio::select! {
            biased;
            // A terminal without its command says so by an error.
            read = from.read(&mut chunk) => read.unwrap_or(0),
            () = sleep(REST), if !is_resting => {
                is_resting = true;
                listener.rest();
                continue;
            }
            () = silence => 0,
        };
        if length == 0 {
            break Ok(());
        }
        is_resting = false;
        if deadline.is_some() {
            length_since_end += length;
        }
        let writing = spawn_blocking(move || {
            let written = write(&to, &chunk[..length]);
            (to, chunk, written)
        });
        let Ok((same_to, same_chunk, written)) = writing.await else {
            // The process ends.
            break Ok(());
        };
        (to, chunk) = (same_to, same_chunk);
        match written {
            Ok(()) => listener.take_in(&chunk[..length]),
            Err(Errno::PIPE) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    listener.rest();
    result
}

/// Writes all of it, also where somebody who shares the place has made it non-blocking.
fn write(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => thread::sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
