//! Progress as a command prints it: which of the bars and counters in its output is the one that counts.
//!
//! - A count (`12/345`) is better than a percentage on the same line.
//! - Bars are told apart by their totals and by what stands before their first digit.
//! - Of several the one that was there first counts, since whoever nests loops prints the outer one first: until it
//!   is full, and another one runs.
//! - A bar that began anew, as inner ones do, counts only where there is no other.
//! - What moves, begins at nothing, stands in brackets or agrees with its percentage is better than what a line
//!   merely ends with; numbers within a sentence count once they have moved.
//! - A counter whose total changes while it goes on stays the same counter (`[5/100]`, `[6/87]`).
//! - When the total is known beforehand, counts out of others are not looked at, and percentages are parts of it.

mod sight;

pub(super) use self::sight::Sight;
use self::sight::{Count, Evidence};

/// Bars and counters that are told apart: more than programs show at once.
const MOST_BARS: usize = 16;

/// How far a counter may have got between two sights of it, when its total has changed in between.
const STRIDE: u64 = 2;

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Progress {
    /// So many of so many.
    Count {
        /// How many are done.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// Of a whole that nobody counted; 0 to 100.
    Percentage(f64),
}

impl Progress {
    /// Whether nothing seems to be left.
    pub(super) fn is_whole(self) -> bool {
        match self {
            Self::Count { done, total } => done >= total,
            Self::Percentage(percentage) => percentage >= 100.0,
        }
    }
}

/// Follows what a command prints.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Known beforehand.
    total: Option<u64>,
    /// In the order in which they appeared.
    bars: Vec<Bar>,
    /// How often anything was seen.
    sights: u64,
}

#[derive(Debug)]
struct Bar {
    progress: Progress,
    label: String,
    evidence: Evidence,
    /// Began anew.
    has_fallen: bool,
    /// Nobody has seen it on its way: a sum, such as `saved [300/300]`, rather than a bar.
    is_sum: bool,
    /// Which sight was the last of it.
    seen_at: u64,
}

impl Tracker {
    /// For a command whose number of steps is known, or is not.
    pub(super) fn new(total: Option<u64>) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// Takes in what a line said.
    pub(super) fn see(&mut self, sight: Sight) {
        let count = sight
            .count
            .filter(|count| self.total.is_none_or(|total| count.total == total));
        let seen = match (count, sight.percentage) {
            (Some(Count { done, total }), _) => Progress::Count { done, total },
            // Beside a count it is that count's; a total of one's own leaves it alone.
            (None, Some(percentage)) => Progress::Percentage(percentage),
            (None, None) => return,
        };
        self.sights += 1;
        let has_percentage = sight.percentage.is_some();
        match self.bar_of(seen, &sight.label, has_percentage) {
            Some(index) => {
                self.bars[index].seen_at = self.sights;
                self.bars[index].advance(seen, sight);
            }
            None => self.begin(seen, sight),
        }
    }

    /// Where the work is, as far as one can tell.
    pub(super) fn progress(&self) -> Option<Progress> {
        let progress = self.bars[self.shown()?].progress;
        Some(match (self.total, progress) {
            (Some(total), Progress::Percentage(percentage)) => Progress::Count {
                done: share(total, percentage),
                total,
            },
            (_, progress) => progress,
        })
    }

    /// The bar that counts.
    fn shown(&self) -> Option<usize> {
        let can_count = |bar: &Bar| bar.evidence > Evidence::Weak;
        let is_running = |bar: &&Bar| can_count(bar) && !bar.has_fallen && !bar.is_sum;
        let running = self.bars.iter().filter(is_running);
        let newest = running.map(|bar| bar.seen_at).max().unwrap_or(0);
        let bars = self
            .bars
            .iter()
            .enumerate()
            .filter(|(_, bar)| can_count(bar));
        // The first of the best.
        let best = bars.min_by_key(|(_, bar)| {
            let is_over = bar.is_sum || (bar.progress.is_whole() && bar.seen_at < newest);
            (bar.has_fallen, is_over, bar.evidence < Evidence::Strong)
        });
        best.map(|(index, _)| index)
    }

    fn bar_of(&self, seen: Progress, label: &str, has_percentage: bool) -> Option<usize> {
        let same_measure = |bar: &Bar| match (bar.progress, seen) {
            (Progress::Count { total, .. }, Progress::Count { total: seen, .. }) => total == seen,
            (Progress::Percentage(_), Progress::Percentage(_)) => true,
            _ => false,
        };
        let find = |is_it: &dyn Fn(&Bar) -> bool| self.bars.iter().position(is_it);
        let named = find(&|bar| same_measure(bar) && bar.label == label);
        // Labels that change with every item are names of the items.
        let renamed = || find(&|bar| same_measure(bar) && !bar.falls_to(seen));
        let resized = || {
            let index = self.shown().filter(|_| !has_percentage)?;
            let bar = &self.bars[index];
            let (Progress::Count { done, .. }, Progress::Count { done: seen, .. }) =
                (bar.progress, seen)
            else {
                return None;
            };
            let goes_on = (done..=done.saturating_add(STRIDE)).contains(&seen);
            (goes_on && bar.label == label).then_some(index)
        };
        named.or_else(renamed).or_else(resized)
    }

    fn begin(&mut self, seen: Progress, sight: Sight) {
        if self.bars.len() == MOST_BARS {
            // What says least leaves: never the bar that counts, unless all are alike.
            let least = (0..self.bars.len()).rev().min_by_key(|index| {
                let bar = &self.bars[*index];
                (bar.evidence, !bar.has_fallen, !bar.progress.is_whole())
            });
            self.bars.remove(least.expect("there are bars"));
        }
        self.bars.push(Bar {
            progress: seen,
            label: sight.label,
            evidence: sight.evidence,
            has_fallen: false,
            is_sum: seen.is_whole(),
            seen_at: self.sights,
        });
    }
}

impl Bar {
    fn advance(&mut self, seen: Progress, sight: Sight) {
        if self.falls_to(seen) {
            self.has_fallen = true;
        } else if part(seen) < part(self.progress) && self.is_same_size(seen) {
            // Several do the work at once, and one of them was late to say so.
            return;
        } else if seen != self.progress {
            self.evidence = Evidence::Strong;
        }
        self.progress = seen;
        self.label = sight.label;
        self.evidence = self.evidence.max(sight.evidence);
    }

    /// Whether the way there is no disorder but a beginning.
    fn falls_to(&self, seen: Progress) -> bool {
        part(seen) < part(self.progress) / 2.0 && self.is_same_size(seen)
    }

    fn is_same_size(&self, seen: Progress) -> bool {
        match (self.progress, seen) {
            (Progress::Count { total, .. }, Progress::Count { total: seen, .. }) => total == seen,
            _ => true,
        }
    }
}

/// How much of the whole.
#[expect(
    clippy::cast_precision_loss,
    reason = "to compare, a rounded part will do"
)]
fn part(progress: Progress) -> f64 {
    match progress {
        Progress::Count { done, total } => done as f64 / total as f64,
        Progress::Percentage(percentage) => percentage / 100.0,
    }
}

/// So many per cent of a total, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a part of the total is not more than the total; only beyond 2^53 it is rounded"
)]
fn share(total: u64, percentage: f64) -> u64 {
    (total as f64 * percentage / 100.0) as u64
}
