//! How a command ends that is told to: by the signal itself, so that a shell knows that it was interrupted.

use signal_hook::{consts::SIGPIPE, low_level::emulate_default_handler};
use tokio::task::JoinHandle;

use super::serve::Signals;

/// Ends the process by SIGINT or SIGTERM after `last`, while it lives.
#[derive(Debug)]
pub struct EndBySignal(JoinHandle<()>);

impl EndBySignal {
    /// From now on.
    ///
    /// # Errors
    /// Signals cannot be listened to.
    pub fn after(last: impl FnOnce() + Send + 'static) -> anyhow::Result<Self> {
        let mut signals = Signals::listen()?;
        Ok(Self(tokio::spawn(async move {
            let signal = signals.next().await;
            last();
            end_by(signal);
        })))
    }
}

impl Drop for EndBySignal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends as programs do whose reader has left: without a word.
pub fn end_by_closed_pipe() -> ! {
    end_by(SIGPIPE)
}

fn end_by(signal: i32) -> ! {
    let _ = emulate_default_handler(signal);
    // Not reached: the default of all of them is the end.
    std::process::exit(128 + signal)
}
