//! How often somebody may come: a bucket for each key, which fills at the rate and holds two seconds of it.

use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// Seconds of the rate that may be spent at once: a page that loads asks for several things.
const BURST_SECONDS: u32 = 2;

/// Most keys that are kept. An attacker may come from more networks than that; the memory for
/// these is some ten megabytes.
const MOST_KEYS: usize = 100_000;

/// How many requests are counted between two looks at the number of keys, which takes every part
/// of the map in turn.
const LOOK_AFTER: u32 = 4_096;

/// A rate per key; none when the number is 0.
pub(super) struct Rate<K: Hash + Eq + Clone> {
    limiter: ArcSwapOption<Limiter<K>>,
    counted: AtomicU32,
}

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// The bucket has not enough at present, but will have after this time.
    Later(Duration),
    /// Even a full bucket holds only this much.
    Never(u32),
}

struct Limiter<K: Hash + Eq + Clone> {
    per_second: NonZeroU32,
    buckets: DefaultKeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    pub(super) fn new(per_second: u32) -> Self {
        let rate = Self {
            limiter: ArcSwapOption::empty(),
            counted: AtomicU32::new(0),
        };
        rate.set(per_second);
        rate
    }

    /// Begins anew when the number is another one than before.
    pub(super) fn set(&self, per_second: u32) {
        let before = self
            .limiter
            .load()
            .as_ref()
            .map_or(0, |limiter| limiter.per_second.get());
        if before != per_second {
            let limiter = NonZeroU32::new(per_second).map(Limiter::new);
            self.limiter.store(limiter.map(Arc::new));
        }
    }

    /// Takes `number` out of the bucket of `key`, all or none.
    pub(super) fn take(&self, key: &K, number: u32) -> Result<(), Excess> {
        let seen = self.limiter.load();
        let (Some(limiter), Some(number)) = (seen.as_ref(), NonZeroU32::new(number)) else {
            return Ok(());
        };
        if self.counted.fetch_add(1, Ordering::Relaxed) % LOOK_AFTER == LOOK_AFTER - 1 {
            self.bound_keys(&seen);
        }
        match limiter.buckets.check_key_n(key, number) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Excess::Later(
                not_until.wait_time_from(DefaultClock::default().now()),
            )),
            Err(too_many) => Err(Excess::Never(too_many.0)),
        }
    }

    /// Drops the buckets that are full again, which are as good as new ones.
    pub(super) fn forget_the_idle(&self) {
        if let Some(limiter) = self.limiter.load().as_ref() {
            limiter.buckets.retain_recent();
            limiter.buckets.shrink_to_fit();
        }
    }

    fn bound_keys(&self, seen: &Guard<Option<Arc<Limiter<K>>>>) {
        let Some(limiter) = seen.as_ref() else {
            return;
        };
        if limiter.buckets.len() <= MOST_KEYS {
            return;
        }
        limiter.buckets.retain_recent();
        if limiter.buckets.len() > MOST_KEYS {
            // More clients at once than are told apart: all of them begin anew.
            let fresh = Limiter::new(limiter.per_second);
            // Unless another rate has come meanwhile.
            self.limiter.compare_and_swap(seen, Some(Arc::new(fresh)));
        }
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(const { NonZeroU32::new(BURST_SECONDS).unwrap() });
        Self {
            per_second,
            buckets: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
        }
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Rate<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limiter = self.limiter.load();
        let per_second = limiter.as_ref().map(|limiter| limiter.per_second);
        formatter
            .debug_struct("Rate")
            .field("per_second", &per_second)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `attempts` are let through; a whole second has to pass before there is one more.
    fn taken(rate: &Rate<u32>, key: u32, attempts: u32) -> u32 {
        let taken = (0..attempts).filter(|_| rate.take(&key, 1).is_ok()).count();
        u32::try_from(taken).expect("few")
    }

    #[test]
    fn each_key_has_two_seconds_at_once_and_is_told_when_there_is_more() {
        let rate = Rate::new(1);
        assert_eq!((taken(&rate, 1, 3), taken(&rate, 2, 1)), (2, 1));
        let Err(Excess::Later(wait)) = rate.take(&1, 1) else {
            panic!("the bucket is empty");
        };
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(rate.take(&3, 3), Err(Excess::Never(2)));
        assert_eq!(rate.take(&3, 2), Ok(()));
        assert_eq!(rate.take(&3, 0), Ok(()));
    }

    #[test]
    fn without_a_number_nothing_is_counted() {
        let rate = Rate::new(0);
        assert_eq!(taken(&rate, 1, 1_000), 1_000);
        assert_eq!(rate.take(&1, u32::MAX), Ok(()));
        rate.forget_the_idle();
    }

    #[test]
    fn another_number_holds_at_once_and_the_same_one_forgets_nothing() {
        let rate = Rate::new(1);
        assert_eq!(taken(&rate, 1, 3), 2);
        rate.set(1);
        assert_eq!(taken(&rate, 1, 1), 0);
        rate.set(2);
        assert_eq!(taken(&rate, 1, 5), 4);
        rate.set(0);
        assert_eq!(taken(&rate, 1, 5), 5);
    }

    #[test]
    fn keys_are_bounded_however_many_come() {
        let rate = Rate::new(1);
        for key in 0..2 * u32::try_from(MOST_KEYS).expect("few") {
            let _ = rate.take(&key, 2);
        }
        let keys = rate
            .limiter
            .load()
            .as_ref()
            .expect("a limiter")
            .buckets
            .len();
        assert!(keys <= MOST_KEYS + LOOK_AFTER as usize, "{keys}");
    }

    #[test]
    fn a_rate_that_comes_while_keys_are_bounded_stays() {
        let rate = Rate::new(1);
        let seen = rate.limiter.load();
        let full = seen.as_ref().expect("a limiter");
        for key in 0..=u32::try_from(MOST_KEYS).expect("few") {
            let _ = full.buckets.check_key(&key);
        }
        rate.set(2);
        rate.bound_keys(&seen);
        assert_eq!(taken(&rate, 1, 5), 4);
    }

    #[test]
    fn only_buckets_that_are_not_full_are_kept() {
        let rate = Rate::new(1_000_000);
        for key in 0..100 {
            let _ = rate.take(&key, 1);
        }
        // A bucket is full again after a microsecond, and forgotten after two seconds.
        let empties = || {
            rate.forget_the_idle();
            rate.limiter
                .load()
                .as_ref()
                .expect("a limiter")
                .buckets
                .is_empty()
        };
        let begin = std::time::Instant::now();
        while !empties() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "nothing is forgotten"
            );
            std::thread::yield_now();
        }
    }
}
