//! When a job's newest status may go out. Pure: the caller passes the time in.
//!
//! Pacing is per job, not per watcher: all watchers of a job share its frames, so 100,000
//! reports a second cost each of them one frame an interval.

use std::time::{Duration, Instant};

use crate::job::Face;

/// The shortest time between two statuses that tell of a new step: ten a second.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// How long a change of the status may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Until the interval is over.
    Ordinary,
    /// A tenth of a second.
    Step,
    /// Not at all.
    Immediate,
}

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send the status now.
    Send,
    /// Look again at this moment; nothing else will remind you.
    WaitUntil(Instant),
    /// A reminder is under way already.
    Waiting,
}

/// The pacing state of one job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The shortest time between two ordinary statuses; zero sends every one.
    interval: Duration,
    sent_at: Option<Instant>,
    step_sent_at: Option<Instant>,
    /// When a poll was last answered with what was there, or will be.
    polled_at: Option<Instant>,
    /// When the waiting status is due.
    due: Option<Instant>,
    /// Whether a change of step is among what waits.
    is_step_waiting: bool,
}

impl Urgency {
    /// How urgent the way from one face to the next is.
    pub(super) fn between(before: &Face, after: &Face) -> Self {
        let flags = |face: &Face| {
            (
                face.state,
                face.attempt,
                face.stalled,
                face.cancel_requested,
            )
        };
        if flags(before) != flags(after) {
            Self::Immediate
        } else if before.step != after.step {
            Self::Step
        } else {
            Self::Ordinary
        }
    }
}

impl Pace {
    /// The pace of a job that nothing was sent of yet.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            sent_at: None,
            step_sent_at: None,
            polled_at: None,
            due: None,
            is_step_waiting: false,
        }
    }

    /// A status changed: may it go out at `now`?
    pub(super) fn offer(&mut self, urgency: Urgency, now: Instant) -> Verdict {
        let step_interval = STEP_INTERVAL.min(self.interval);
        let free_at = match urgency {
            Urgency::Immediate => None,
            Urgency::Step => self.step_sent_at.map(|at| at + step_interval),
            Urgency::Ordinary => self.sent_at.map(|at| at + self.interval),
        };
        self.is_step_waiting |= urgency == Urgency::Step;
        match free_at.filter(|free_at| *free_at > now) {
            None => {
                self.sent(now);
                Verdict::Send
            }
            Some(free_at) if self.due.is_some_and(|due| due <= free_at) => Verdict::Waiting,
            Some(free_at) => {
                self.due = Some(free_at);
                Verdict::WaitUntil(free_at)
            }
        }
    }

    /// A poll could be answered with what is there: at once, or at which moment?
    ///
    /// Polls keep the stream's pace and leave it alone: a status that waits for its time goes
    /// out to those who stream, whoever has polled it meanwhile.
    pub(super) fn offer_poll(&mut self, now: Instant) -> Option<Instant> {
        let Some(last) = self.sent_at.max(self.polled_at) else {
            self.polled_at = Some(now);
            return None;
        };
        // A moment to come has been given to another poll already; the two share it.
        let free_at = if last > now {
            last
        } else {
            last + self.interval
        };
        self.polled_at = Some(free_at.max(now));
        Some(free_at).filter(|free_at| *free_at > now)
    }

    /// A reminder fired: is there something to send at `now`?
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.sent(now);
        }
        is_due
    }

    /// A status went out, or nobody is there to send one to: nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.due = None;
        self.is_step_waiting = false;
    }

    fn sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
        if self.is_step_waiting {
            self.step_sent_at = Some(now);
        }
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(1_000);

    /// Drives a pace as the hub does, reminders included; returns when statuses went out, in ms.
    fn run(changes: &[(u64, Urgency)], interval: Duration) -> Vec<u64> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::new(interval);
        let mut reminders: Vec<Instant> = Vec::new();
        let mut sent = Vec::new();
        let fire =
            |pace: &mut Pace, reminders: &mut Vec<Instant>, until: Instant, sent: &mut Vec<u64>| {
                reminders.sort();
                while reminders.first().is_some_and(|first| *first <= until) {
                    let now = reminders.remove(0);
                    if pace.take_due(now) {
                        sent.push((now - start).as_millis() as u64);
                    }
                }
            };
        for (ms, urgency) in changes {
            fire(&mut pace, &mut reminders, at(*ms), &mut sent);
            match pace.offer(*urgency, at(*ms)) {
                Verdict::Send => sent.push(*ms),
                Verdict::WaitUntil(due) => reminders.push(due),
                Verdict::Waiting => {}
            }
        }
        fire(&mut pace, &mut reminders, at(1_000_000), &mut sent);
        sent
    }

    #[test]
    fn first_and_last_of_a_burst_go_out_and_one_an_interval_between() {
        let burst: Vec<_> = (0..2_500).map(|ms| (ms, Urgency::Ordinary)).collect();
        assert_eq!(run(&burst, INTERVAL), [0, 1_000, 2_000, 3_000]);
    }

    #[test]
    fn a_change_after_a_quiet_time_goes_out_at_once() {
        let changes = [(0, Urgency::Ordinary), (5_000, Urgency::Ordinary)];
        assert_eq!(run(&changes, INTERVAL), [0, 5_000]);
    }

    #[test]
    fn state_changes_never_wait_and_carry_what_waited() {
        let changes = [
            (0, Urgency::Ordinary),
            (10, Urgency::Ordinary),
            (20, Urgency::Immediate),
        ];
        assert_eq!(run(&changes, INTERVAL), [0, 20]);
    }

    #[test]
    fn steps_go_out_up_to_ten_a_second() {
        let steps: Vec<_> = (0..1_000)
            .step_by(10)
            .map(|ms| (ms, Urgency::Step))
            .collect();
        let sent = run(&steps, INTERVAL);
        assert_eq!(sent, (0..=1_000).step_by(100).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_soon_after_an_ordinary_status_does_not_wait() {
        let changes = [(0, Urgency::Ordinary), (50, Urgency::Step)];
        assert_eq!(run(&changes, INTERVAL), [0, 50]);
    }

    #[test]
    fn interval_zero_sends_every_change() {
        let changes = [
            (0, Urgency::Ordinary),
            (0, Urgency::Step),
            (0, Urgency::Step),
            (1, Urgency::Ordinary),
        ];
        assert_eq!(run(&changes, Duration::ZERO), [0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn the_newest_status_always_goes_out_within_an_interval(
            mut changes in prop::collection::vec((0..20_000u64, prop_oneof![
                5 => Just(Urgency::Ordinary), 2 => Just(Urgency::Step), 1 => Just(Urgency::Immediate),
            ]), 1..200),
        ) {
            changes.sort_by_key(|(ms, _)| *ms);
            let sent = run(&changes, INTERVAL);
            for (ms, urgency) in &changes {
                let most = match urgency { Urgency::Ordinary => 1_000, Urgency::Step => 100, Urgency::Immediate => 0 };
                prop_assert!(sent.iter().any(|at| at >= ms && *at <= ms + most));
            }
            let hurried = changes.iter().filter(|(_, urgency)| *urgency != Urgency::Ordinary).count();
            prop_assert!(sent.len() <= 21 + hurried + 1);
        }
    }
}
