//! Jobs of which an entry could not be applied: their later ones wait, so that none overtakes it,
//! and everybody else's go on.
//!
//! Entries that were not finished are looked at again in passes, from the first to the last. A job
//! is tried again in a pass that begins after its pause, which doubles each time; it is held up no
//! longer after a pass in which nothing of it was left.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::job::JobId;

/// The first pause before a job is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Jobs that are held up.
#[derive(Debug)]
pub(super) struct HeldUp {
    jobs: HashMap<JobId, Trouble>,
    /// How long entries are tried again while the store does its work otherwise.
    patience: Duration,
}

#[derive(Debug)]
struct Trouble {
    /// Since when nothing of the job was applied.
    since: Instant,
    pause: Duration,
    again_at: Instant,
    /// Whether it is tried in the present pass.
    is_open: bool,
    /// Whether an entry was left in the present pass, or came after it.
    has_more: bool,
}

/// What is to be done with a job's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// They are applied.
    All,
    /// The first is tried alone; the others are applied when that works.
    First,
    /// They are tried one by one, and given up when they fail, until one works.
    Each,
    /// They wait.
    Wait,
}

impl HeldUp {
    pub(super) fn new(patience: Duration) -> Self {
        let jobs = HashMap::new();
        Self { jobs, patience }
    }

    /// Another pass begins.
    pub(super) fn begin_pass(&mut self) {
        let now = Instant::now();
        for trouble in self.jobs.values_mut() {
            trouble.is_open = trouble.again_at <= now;
            trouble.has_more = false;
        }
    }

    /// Every entry that was not finished has come by.
    pub(super) fn end_pass(&mut self) {
        self.jobs
            .retain(|_, trouble| !trouble.is_open || trouble.has_more);
    }

    /// When the next pass is worth while.
    pub(super) fn due(&self) -> Option<Instant> {
        self.jobs.values().map(|trouble| trouble.again_at).min()
    }

    /// What is to be done with entries of a job; new ones come after all those of a pass.
    pub(super) fn turn(&self, job_id: &JobId, is_new: bool) -> Turn {
        match self.jobs.get(job_id) {
            None => Turn::All,
            Some(trouble) if is_new || !trouble.is_open => Turn::Wait,
            Some(trouble) if trouble.since.elapsed() >= self.patience => Turn::Each,
            Some(_) => Turn::First,
        }
    }

    /// An entry of the job waits.
    pub(super) fn waits(&mut self, job_id: &JobId) {
        if let Some(trouble) = self.jobs.get_mut(job_id) {
            trouble.has_more = true;
        }
    }

    /// An entry of the job was not applied, and the store does its work otherwise. Whether the job was
    /// not held up before.
    pub(super) fn failed(&mut self, job_id: &JobId) -> bool {
        let now = Instant::now();
        let (shortest, longest) = PAUSES;
        let is_first = !self.jobs.contains_key(job_id);
        let trouble = self.jobs.entry(job_id.clone()).or_insert(Trouble {
            since: now,
            pause: shortest / 2,
            again_at: now,
            is_open: true,
            has_more: true,
        });
        trouble.has_more = true;
        // Of those that fail together the first decides.
        if std::mem::take(&mut trouble.is_open) {
            trouble.pause = (trouble.pause * 2).min(longest);
            trouble.again_at = now + trouble.pause;
        }
        is_first
    }

    /// An entry of the job was applied: from now on it has its patience again.
    pub(super) fn went_through(&mut self, job_id: &JobId) {
        if let Some(trouble) = self.jobs.get_mut(job_id) {
            trouble.since = Instant::now();
            trouble.pause = PAUSES.0 / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn job() -> JobId {
        JobId::parse("j").expect("a name")
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_fails_is_tried_less_and_less_often_and_then_given_up() {
        let mut held_up = HeldUp::new(PATIENCE);
        assert_eq!(held_up.turn(&job(), true), Turn::All);
        let begin = Instant::now();
        assert!(held_up.failed(&job()));
        let mut pauses = Vec::new();
        loop {
            // What came meanwhile does not overtake.
            assert_eq!(held_up.turn(&job(), true), Turn::Wait);
            assert_eq!(held_up.turn(&job(), false), Turn::Wait);
            let now = Instant::now();
            let due = held_up.due().expect("another try");
            pauses.push((due - now).as_secs());
            tokio::time::advance(due - now).await;
            held_up.begin_pass();
            match held_up.turn(&job(), false) {
                Turn::First => assert!(begin.elapsed() < PATIENCE),
                Turn::Each => break,
                other => panic!("{other:?}"),
            }
            // However many of its entries fail together.
            for _ in 0..3 {
                assert!(!held_up.failed(&job()));
            }
            held_up.end_pass();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        // All of them were refused.
        held_up.end_pass();
        assert_eq!(held_up.turn(&job(), true), Turn::All);
        assert_eq!(held_up.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_free_after_a_pass_that_left_nothing_of_it() {
        let mut held_up = HeldUp::new(PATIENCE);
        held_up.failed(&job());
        tokio::time::advance(Duration::from_secs(1)).await;
        held_up.begin_pass();
        held_up.went_through(&job());
        held_up.waits(&job());
        held_up.end_pass();
        assert_eq!(held_up.turn(&job(), true), Turn::Wait);
        held_up.begin_pass();
        held_up.end_pass();
        assert_eq!(held_up.turn(&job(), true), Turn::All);
    }
}
