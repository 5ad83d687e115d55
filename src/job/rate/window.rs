//! An exponentially fading window over a job's past: how much work, in how much time.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

/// Work and time, both weighted by age: weight 1 now, one half after a half-life.
///
/// Since work and time fade alike, their quotient needs no bias correction: a young
/// window simply holds little of both. The half-life may differ from call to call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// Weighted units of work.
    work: f64,
    /// Weighted seconds; never more than the half-life divided by ln 2.
    time: f64,
}

/// What one stretch of time does to a window: how the past fades, and how the stretch weighs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Factor on everything older than the stretch, 0 to 1.
    pub(super) fade: f64,
    /// The stretch's own weighted seconds.
    pub(super) time: f64,
    /// Weight of work that is spread evenly over the stretch, 0 to 1.
    pub(super) work_weight: f64,
}

impl Stretch {
    /// A stretch of `seconds` (≥ 0) up to now, seen with `half_life` seconds (> 0).
    pub(super) fn new(seconds: f64, half_life: f64) -> Self {
        let age = seconds * LN_2 / half_life;
        // `exp_m1` keeps its digits when reports are microseconds apart.
        let faded_share = -(-age).exp_m1();
        Self {
            fade: (-age).exp(),
            time: faded_share * half_life / LN_2,
            // Work in no time at all is an impulse at full weight, the limit of the quotient.
            work_weight: if age > 0.0 { faded_share / age } else { 1.0 },
        }
    }
}

impl Window {
    /// Weighted seconds held.
    pub(super) fn time(&self) -> f64 {
        self.time
    }

    /// The window after a stretch in which `work` units were done, evenly spread over it.
    pub(super) fn after(self, stretch: Stretch, work: f64) -> Self {
        Self {
            work: self.work * stretch.fade + work * stretch.work_weight,
            time: self.time * stretch.fade + stretch.time,
        }
    }

    /// Units per second; `None` as long as no time has passed.
    pub(super) fn rate(&self) -> Option<f64> {
        Some(self.work / self.time).filter(|rate| self.time > 0.0 && rate.is_finite())
    }
}
