//! One job's story over time, as all who read it tell it together.

use std::time::Duration;

use super::{Case, Rule, Shown};
use crate::faults::record::{Deed, End, Outcome, Report, Tick};

/// How long after the end of the node that gave it an answer may be read, on a busy machine.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

impl Case<'_> {
    /// What is known of the job's seq, and since when.
    fn facts(&self) -> Vec<(Tick, u64)> {
        let mut facts = Vec::new();
        for report in &self.reports {
            if let Outcome::Done(seq) = report.outcome {
                facts.push((report.ended, seq));
            }
        }
        for poll in &self.polls {
            let shown = poll.answer.as_deref().ok();
            if let Some(shown) = shown.and_then(|text| self.shown(text)) {
                facts.push((poll.ended, shown.seq));
            }
        }
        for connection in self.watchers.values().flatten() {
            for block in &connection.blocks {
                let seq = match &*block.event {
                    "status" => self.shown(&block.data).map(|shown| shown.seq),
                    _ => block.id,
                };
                facts.extend(seq.map(|seq| (block.tick, seq)));
            }
        }
        facts.sort_unstable();
        facts
    }

    /// No reading is older than what was known before it began.
    pub(super) fn check_timeline(&mut self) {
        let facts = self.facts();
        let mut readings = self.readings();
        readings.sort_by_key(|(began, _)| *began);
        let mut facts = facts.into_iter().peekable();
        let mut known = 0;
        for (began, shown) in readings {
            while let Some((_, seq)) = facts.next_if(|(tick, _)| *tick < began) {
                known = known.max(seq);
            }
            if shown.seq < known {
                let what = format!("{} was read at tick {began}, after {known}", shown.seq);
                self.broken(Rule::SeqGoesBack, what);
            }
        }
        let is_created = |tick: Tick| {
            self.reports.iter().any(|report| {
                matches!(report.deed, Deed::Create | Deed::Run)
                    && report.ended < tick
                    && matches!(report.outcome, Outcome::Done(_))
            })
        };
        let lost: Vec<_> = self
            .polls
            .iter()
            .filter(|poll| matches!(poll.answer, Err(404 | 410)) && is_created(poll.began))
            .map(|poll| format!("not found at tick {}", poll.began))
            .chain(self.watchers.values().flatten().filter_map(|connection| {
                let is_lost = matches!(connection.end, End::Refused(404 | 410));
                (is_lost && is_created(connection.began))
                    .then(|| format!("no stream at tick {}", connection.began))
            }))
            .collect();
        for what in lost {
            self.broken(Rule::JobLost, what);
        }
    }

    /// The terminal status that the job has, when anybody was told of one.
    pub(super) fn end(&self) -> Option<(u64, String)> {
        let answered = self.reports.iter().find_map(|report| match report.outcome {
            Outcome::Done(seq) => match report.deed {
                Deed::End(state) => Some((seq, state.to_owned())),
                _ => None,
            },
            _ => None,
        });
        let shown = self.statuses.values().filter(|shown| shown.is_terminal());
        let shown = shown.min_by_key(|shown| shown.seq);
        answered.or_else(|| shown.map(|shown| (shown.seq, shown.state.clone())))
    }

    /// What has ended stays as it ended, and nothing is done to it.
    pub(super) fn check_end(&mut self) {
        let Some((end, state)) = self.end() else {
            return;
        };
        let others: Vec<Shown> = self
            .statuses
            .values()
            .filter(|shown| shown.seq > end || (shown.is_terminal() && shown.seq < end))
            .chain(
                self.statuses
                    .values()
                    .filter(|shown| shown.seq == end && shown.state != state),
            )
            .cloned()
            .collect();
        for shown in others {
            let what = format!("{state} at {end}, and {} at {}", shown.state, shown.seq);
            self.broken(Rule::EndStays, what);
        }
        let done = self
            .reports
            .iter()
            .filter_map(|report| match report.outcome {
                Outcome::Done(seq) => Some((report, seq)),
                _ => None,
            });
        let late: Vec<_> = done
            .filter(|(report, seq)| match report.deed {
                Deed::End(other) => *seq != end || other != state,
                _ => *seq > end,
            })
            .map(|(report, seq)| format!("{:?} was done at {seq}, after {end}", report.deed))
            .collect();
        for what in late {
            self.broken(Rule::AfterTheEnd, what);
        }
        // An answer may carry an older seq, though it should not: the time tells as well.
        let ended = self
            .reports
            .iter()
            .filter(|report| matches!(report.deed, Deed::End(_)));
        let ended = ended
            .filter(|report| matches!(report.outcome, Outcome::Done(_)))
            .map(|report| report.ended)
            .min();
        let late: Vec<_> = self
            .reports
            .iter()
            .filter(|report| ended.is_some_and(|ended| report.began > ended))
            .filter(|report| !matches!(report.deed, Deed::End(_)))
            .filter(|report| matches!(report.outcome, Outcome::Done(_)))
            .map(|report| format!("{:?} was answered as done", report.deed))
            .collect();
        for what in late {
            self.broken(Rule::AfterTheEnd, what);
        }
    }

    /// Counts are what the reports up to them come to.
    pub(super) fn check_fold(&mut self) {
        if self.reports.iter().any(|report| report.deed == Deed::Run) {
            // Its reports are nobody's here.
            return;
        }
        let mut wrong = Vec::new();
        for shown in self.statuses.values() {
            let count = shown.count.unwrap_or(0);
            let (mut sure, mut possible, mut highest, mut floor) = (0, 0, 0, 0);
            for report in &self.reports {
                let is_below = matches!(report.outcome, Outcome::Done(seq) if seq <= shown.seq);
                match (&report.deed, &report.outcome) {
                    (Deed::Increment(by), Outcome::Done(_)) if is_below => sure += by,
                    (Deed::Increment(by), Outcome::Unknown) => possible += by,
                    (Deed::Count(to), Outcome::Done(_)) if is_below => {
                        highest = highest.max(*to);
                        if !self.may_be_forgotten(report, shown) {
                            floor = floor.max(*to);
                        }
                    }
                    (Deed::Count(to), Outcome::Unknown) => highest = highest.max(*to),
                    _ => {}
                }
            }
            let most = (sure + possible).max(highest);
            let least = sure.max(floor);
            if !(least..=most).contains(&count) {
                let seq = shown.seq;
                wrong.push(format!("{count} at {seq}, not from {least} to {most}"));
            }
        }
        for what in wrong {
            self.broken(Rule::Fold, what);
        }
    }

    /// Whether a progress report that was answered may be missing in what was shown later: when a node was killed
    /// soon after the answer, or while that was on its way.
    fn may_be_forgotten(&self, report: &Report, shown: &Shown) -> bool {
        let Some(age) = self.promises.progress_age else {
            return false;
        };
        let first_shown = self.first_shown.get(&shown.seq).copied();
        let first_shown = first_shown.unwrap_or(Tick::MAX);
        let soon = report.ended_at.saturating_sub(ON_ITS_WAY)..=report.ended_at + age;
        self.kills.iter().any(|kill| {
            kill.tick > report.began && kill.tick < first_shown && soon.contains(&kill.at)
        })
    }
}
