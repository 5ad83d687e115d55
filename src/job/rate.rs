//! How fast an attempt works and how long it will still take, from its reports alone.
//!
//! Two fading windows see the same reports. The fast one gives the rate that is shown
//! and counts all time as it passed. The slow one gives the remaining time: it looks
//! back further the longer the attempt has run, and it leaves out a pause.
//!
//! - **Work is spread over the time since the work before it.** A worker that says
//!   "1,000 more" every 30 s works at 33/s, whether or not it gave signs of life meanwhile.
//! - **The typical gap** between reports with progress, weighted by time, tells bursts from
//!   idleness: both windows span several gaps, and idle time weighs only once progress is overdue.
//! - **A pause** is a gap much longer than usual with hardly any work in it. One alone
//!   is taken for a suspended machine; when the next follows at once, it is the job's pace.
//! - **A new pace**, held by the fast window against the slow one for long enough, makes the slow
//!   one start over from it, for example after a resumed worker has skipped what was done before.
//!
//! Nothing here reads a clock: the values depend on the observed reports only, and
//! between reports they do not change.

use serde::{Deserialize, Serialize};

use window::{Stretch, Window};

#[cfg(test)]
mod tests;
mod window;

/// Half-life of the fast window: short enough to show a change within seconds, long
/// enough that ±20 % of noise in one report a second moves the shown rate by some 3 %.
const FAST_HALF_LIFE_SECONDS: f64 = 5.0;

/// Longest half-life of the fast window. Bursts every minute still show their mean
/// within 20 %; further back it would no longer be "now".
const FAST_HALF_LIFE_MAX_SECONDS: f64 = 120.0;

/// Typical gaps in one fast half-life: bursts then move the shown rate by at most 12 %.
const FAST_GAPS: f64 = 3.0;

/// Shortest half-life of the slow window: below it, one slow item would shake the remaining time.
const SLOW_HALF_LIFE_SECONDS: f64 = 60.0;

/// Typical gaps in one slow half-life: bursts then move the remaining time by at most 5 %.
const SLOW_GAPS: f64 = 8.0;

/// Share of the time worked that makes one slow half-life. An attempt that has run for
/// ten hours is judged by its last hours; when half as much again has passed, a tenth
/// of the weight is left on what was before, so that it still follows.
const SLOW_SHARE: f64 = 1.0 / 8.0;

/// Shortest time without progress that may be a pause; the default lease, after which
/// the job would count as stalled if the reports had ceased too.
const PATIENCE_SECONDS: f64 = 60.0;

/// Share of the slow half-life that may pass without progress, if longer than that. Counting
/// such a stretch costs a slow window that is full no more than a third of its rate.
const PATIENCE_SHARE: f64 = 0.5;

/// A gap in which a quarter or more of the usual work was done is slow work, not a pause;
/// and a pace that differs less than fourfold is left to the fading of the slow window.
const ODD_FACTOR: f64 = 4.0;

/// Work needed between two pauses. With less, the gaps are how the job goes, and they count.
const PAUSES_APART_SECONDS: f64 = 30.0;

/// Time worked before a rate is given: a burst right after the first report says nothing yet.
const RATE_AFTER_SECONDS: f64 = 1.0;

/// Time worked before a remaining time is given, if it came in more than one piece.
const ETA_AFTER_SECONDS: f64 = 5.0;

/// Gaps in the slow window that make "more than one piece"; two uneven ones count for less than 2.
const ETA_AFTER_GAPS: f64 = 1.5;

/// Time worked before a remaining time is given in any case: one long gap is then all there is.
const ETA_AFTER_SINGLE_GAP_SECONDS: f64 = 30.0;

/// Longest remaining time given, ten years: beyond it a number is noise.
const ETA_MAX_SECONDS: f64 = 10.0 * 365.25 * 86_400.0;

/// What floating point may add to a remaining time, as a share: 10 s must not round up to 11.
const ROUNDING_SLACK: f64 = 1e-9;

/// A rate that has faded below this share of itself without progress is shown as 0.
const FADED_TO_NOTHING: f64 = 0.01;

/// How far a report's time may lie before the last one's and still mean the order of
/// arrival; a larger step back is a corrected clock, and time is counted on from there.
const CLOCK_TOLERANCE_MICROS: u64 = 1_000_000;

const MICROS_PER_SECOND: f64 = 1_000_000.0;

/// Rate and remaining time of one attempt; a new attempt needs a new estimator.
///
/// Feed it every report from the first known position on, also those without progress, which
/// tell that time has passed. The unit of the position must stay the same: when an attempt turns
/// from percent to counts, begin anew. What a stalled or finished job shows is the caller's to decide.
///
/// 88 bytes whatever the number of reports. When it is stored as JSON and must come back
/// bit by bit, `serde_json` needs its feature `float_roundtrip`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimator {
    /// `None` before the first report.
    track: Option<Track>,
}

/// What is known since the first report. Times in seconds unless the name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Track {
    /// The newest report, unix microseconds.
    reported_at_micros: u64,
    /// The highest position reported, in units.
    position: f64,
    /// From the last progress (or the first report) to the newest report.
    idle: f64,
    /// Time worked, pauses left out, since the first report or the last new pace.
    worked: f64,
    /// Weighted sum of gap × time over the slow window; divided by its time, the typical gap.
    gap_sum: f64,
    fast: Window,
    slow: Window,
    /// `worked` when the last pause ended; negative when no pause stands in the way of the next.
    /// Coarse, as it is compared with tens of seconds only.
    paused_at: f32,
    course: Course,
}

/// Where the fast window has been in relation to the slow one, each with `worked` at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Course {
    Steady,
    Faster(f32),
    Slower(f32),
}

impl Estimator {
    /// A report at `at_micros` (unix microseconds) by which `position` units are done in all.
    ///
    /// The first one is where counting begins, not work done in no time. A position that is lower
    /// than before, negative or not finite counts as no progress. Times may repeat; up to a second
    /// backwards counts as no time, and after a larger step back time is counted on from there.
    pub fn observe(&mut self, at_micros: u64, position: f64) {
        match &mut self.track {
            Some(track) => track.observe(at_micros, position),
            None if position.is_finite() && position >= 0.0 => {
                self.track = Some(Track::new(at_micros, position));
            }
            None => {}
        }
    }

    /// Units per second, at this time; `None` until a second of work has been seen.
    ///
    /// Rounded to one decimal from 10 upwards, else to three significant digits, so that
    /// 0.00417/s does not look like a standstill. Falls to 0 when reports come without progress.
    pub fn rate_per_second(&self) -> Option<f64> {
        let track = self.track?;
        if track.worked < RATE_AFTER_SECONDS {
            return None;
        }
        let rest = Stretch::new(track.overdue(), track.fast_half_life());
        if rest.fade < FADED_TO_NOTHING {
            return Some(0.0);
        }
        track.fast.after(rest, 0.0).rate().map(round_rate)
    }

    /// Whole seconds, rounded up, until `remaining` units are done, if the attempt goes on as it does.
    /// Time of work: pauses that come now and then are not foretold.
    ///
    /// - 0 exactly when nothing remains.
    /// - `None` while too little is known: 5 s of work in several steps, or 30 s of it in one.
    /// - `None` when progress has been missing for so long that the past says nothing about the end.
    /// - `None` beyond ten years, and when `remaining` is not finite.
    pub fn eta_seconds(&self, remaining: f64) -> Option<u64> {
        let track = self.track?;
        if !remaining.is_finite() || track.idle > track.patience() {
            return None;
        }
        if remaining <= 0.0 {
            return Some(0);
        }
        if !track.knows_pace() {
            return None;
        }
        let rest = Stretch::new(track.overdue(), track.slow_half_life());
        let seconds = remaining / track.slow.after(rest, 0.0).rate()?;
        let seconds = (seconds * (1.0 - ROUNDING_SLACK)).ceil();
        // At least one second, also when the quotient is too small for a number.
        (seconds <= ETA_MAX_SECONDS).then_some((seconds as u64).max(1))
    }
}

impl Track {
    fn new(at_micros: u64, position: f64) -> Self {
        Self {
            reported_at_micros: at_micros,
            position,
            idle: 0.0,
            worked: 0.0,
            gap_sum: 0.0,
            fast: Window::default(),
            slow: Window::default(),
            paused_at: -(PAUSES_APART_SECONDS as f32),
            course: Course::Steady,
        }
    }

    fn observe(&mut self, at_micros: u64, position: f64) {
        self.pass_time(at_micros);
        if position.is_finite() && position > self.position {
            let work = position - self.position;
            self.position = position;
            self.progress(work);
        }
    }

    fn pass_time(&mut self, at_micros: u64) {
        let stepped_back = self.reported_at_micros.saturating_sub(at_micros);
        if stepped_back > CLOCK_TOLERANCE_MICROS {
            self.reported_at_micros = at_micros;
            return;
        }
        let passed = at_micros.saturating_sub(self.reported_at_micros);
        self.idle += passed as f64 / MICROS_PER_SECOND;
        // Holding the later time keeps reports that overtake each other from counting time twice.
        self.reported_at_micros = self.reported_at_micros.max(at_micros);
    }

    /// Closes the gap since the last progress with `work` units in it.
    fn progress(&mut self, work: f64) {
        let gap = std::mem::take(&mut self.idle);
        if self.is_pause(gap, work) {
            // The rate shown is a fact about the time that has passed, the pause included. The
            // remaining time is a forecast, and nothing says that the pause will come again.
            self.fast = self
                .fast
                .after(Stretch::new(gap, self.fast_half_life()), work);
            self.paused_at = self.worked as f32;
            return;
        }
        // A burst at the very start looks like a torrent of tiny gaps. Until the pace is known, the
        // gap at hand is the better measure. Later it is not: one long gap must not stretch the
        // windows so far that a fast past goes on hiding a slow present.
        let typical_gap = if self.knows_pace() {
            self.typical_gap()
        } else {
            self.typical_gap().max(gap)
        };
        let fast_stretch = Stretch::new(gap, fast_half_life(typical_gap));
        let slow_stretch = Stretch::new(gap, slow_half_life(typical_gap, self.worked));
        self.fast = self.fast.after(fast_stretch, work);
        self.slow = self.slow.after(slow_stretch, work);
        self.gap_sum = self.gap_sum * slow_stretch.fade + gap * slow_stretch.time;
        self.worked += gap;
        self.follow_new_pace();
    }

    fn is_pause(&self, gap: f64, work: f64) -> bool {
        let Some(usual_rate) = self.slow.rate().filter(|_| self.knows_pace()) else {
            return false;
        };
        let usual_time = work / usual_rate;
        let rested_enough = self.worked - f64::from(self.paused_at) >= PAUSES_APART_SECONDS;
        rested_enough && gap > self.patience() + ODD_FACTOR * usual_time
    }

    fn follow_new_pace(&mut self) {
        let (Some(fast_rate), Some(slow_rate)) = (self.fast.rate(), self.slow.rate()) else {
            return;
        };
        let now = self.worked as f32;
        self.course = if fast_rate > slow_rate * ODD_FACTOR {
            match self.course {
                Course::Faster(since) => Course::Faster(since),
                _ => Course::Faster(now),
            }
        } else if fast_rate * ODD_FACTOR < slow_rate {
            match self.course {
                Course::Slower(since) => Course::Slower(since),
                _ => Course::Slower(now),
            }
        } else {
            Course::Steady
        };
        let (Course::Faster(since) | Course::Slower(since)) = self.course else {
            return;
        };
        if self.worked - f64::from(since) >= self.patience() {
            let typical_gap = self.typical_gap();
            let since_pause = now - self.paused_at;
            self.slow = self.fast;
            self.gap_sum = typical_gap * self.slow.time();
            self.worked = self.slow.time();
            self.paused_at = self.worked as f32 - since_pause;
            self.course = Course::Steady;
        }
    }

    /// Whether there is enough work behind the slow window for a forecast.
    fn knows_pace(&self) -> bool {
        let in_pieces = self.slow.time() >= ETA_AFTER_GAPS * self.typical_gap();
        self.worked >= ETA_AFTER_SINGLE_GAP_SECONDS
            || (self.worked >= ETA_AFTER_SECONDS && in_pieces)
    }

    /// Mean gap between reports with progress as a moment taken at random would find
    /// it: a thousand reports within a millisecond every 30 s give 30 s.
    fn typical_gap(&self) -> f64 {
        if self.slow.time() > 0.0 {
            self.gap_sum / self.slow.time()
        } else {
            0.0
        }
    }

    /// Time without progress beyond the typical gap.
    fn overdue(&self) -> f64 {
        (self.idle - self.typical_gap()).max(0.0)
    }

    /// Longest time without progress after which the past still says something about the end.
    fn patience(&self) -> f64 {
        (self.slow_half_life() * PATIENCE_SHARE).max(PATIENCE_SECONDS)
    }

    fn fast_half_life(&self) -> f64 {
        fast_half_life(self.typical_gap())
    }

    fn slow_half_life(&self) -> f64 {
        slow_half_life(self.typical_gap(), self.worked)
    }
}

fn fast_half_life(typical_gap: f64) -> f64 {
    (typical_gap * FAST_GAPS).clamp(FAST_HALF_LIFE_SECONDS, FAST_HALF_LIFE_MAX_SECONDS)
}

fn slow_half_life(typical_gap: f64, worked: f64) -> f64 {
    (typical_gap * SLOW_GAPS)
        .max(worked * SLOW_SHARE)
        .max(SLOW_HALF_LIFE_SECONDS)
}

/// One decimal from 10 upwards, three significant digits below.
fn round_rate(rate: f64) -> f64 {
    if rate <= 0.0 {
        return 0.0;
    }
    let decimals = if rate >= 10.0 {
        1
    } else {
        (2 - rate.log10().floor() as i32).min(12)
    };
    // Powers of ten are exact up to here, and dividing by one gives the closest double, so
    // that the number prints as short as it was rounded.
    let scale = 10f64.powi(decimals);
    let rounded = (rate * scale).round() / scale;
    if rounded.is_finite() { rounded } else { rate }
}
