//! The bytes of request bodies that are held at a time, over all requests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::http::{ApiError, ErrorCode};

/// What all requests hold together.
#[derive(Debug, Default)]
pub(super) struct BodyBudget {
    held: AtomicUsize,
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub(in crate::http) struct BodyShare {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyBudget {
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl BodyShare {
    pub(super) fn empty(budget: Arc<BodyBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Holds `bytes` from now on, when all together then hold `most` or fewer. Never waits: requests
    /// that hold something and wait for more could wait for each other.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(in crate::http) fn resize(&mut self, bytes: usize, most: usize) -> Result<(), ApiError> {
        if bytes <= self.bytes {
            self.budget
                .held
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        } else {
            let more = bytes - self.bytes;
            let grown = |held: usize| held.checked_add(more).filter(|held| *held <= most);
            let outcome =
                self.budget
                    .held
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
            if outcome.is_err() {
                let error = ApiError::new(ErrorCode::RateLimited);
                return Err(error.because("Too many request bodies at present"));
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_stay_within_the_budget_and_come_back() {
        let budget = Arc::new(BodyBudget::default());
        let mut first = BodyShare::empty(Arc::clone(&budget));
        let mut second = BodyShare::empty(Arc::clone(&budget));
        first.resize(60, 100).expect("room");
        second.resize(40, 100).expect("room");
        second.resize(41, 100).expect_err("the budget is used up");
        assert_eq!(budget.held(), 100);
        first.resize(10, 100).expect("less always fits");
        second.resize(90, 100).expect("room");
        drop(first);
        assert_eq!(budget.held(), 90);
        // A budget that a reload has made smaller refuses more, and takes back what is given back.
        second.resize(91, 50).expect_err("no room");
        second.resize(80, 50).expect("less always fits");
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
