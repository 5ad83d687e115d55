//! What the doctor is doing just now, for somebody who waits at a terminal.

use std::{sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A line on standard error, drawn over; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    line: ProgressBar,
    /// Counts down in the line. A plain mutex: nobody waits while holding it.
    counting: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Progress {
    /// An empty line.
    pub(super) fn new() -> Self {
        let line = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg}");
        line.set_style(style.expect("the template is fixed and valid"));
        line.enable_steady_tick(Duration::from_millis(200));
        Self {
            line,
            counting: Mutex::new(None),
        }
    }

    /// Says something new.
    pub(super) fn say(&self, text: &'static str) {
        *self.counting.lock().expect("nobody panics with it") = None;
        self.line.set_message(text);
    }

    /// Says something, and how many seconds are left of it.
    pub(super) fn count(&self, text: &'static str, seconds: u64) {
        let line = self.line.clone();
        let end = Instant::now() + Duration::from_secs(seconds);
        let counting = tokio::spawn(async move {
            loop {
                let left = end.saturating_duration_since(Instant::now());
                line.set_message(format!("{text}, {} s left", left.as_secs_f64().ceil()));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let counting = AbortOnDropHandle::new(counting);
        *self.counting.lock().expect("nobody panics with it") = Some(counting);
    }

    /// Takes the line away while something is written.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.line.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}
