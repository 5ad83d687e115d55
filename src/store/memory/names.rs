//! Names that mean something for a while, and are forgotten when their time is over.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::job::Timestamp;

/// Names with what they stand for, each until a moment of its own; bounded in number.
///
/// Beyond the bound the name whose time ends first is forgotten early: whoever makes names in a
/// loop must not fill the memory within the day for which one is known.
#[derive(Debug)]
pub(super) struct Names<K, V> {
    most: usize,
    entries: HashMap<K, (Timestamp, V)>,
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K: Clone + Eq + Hash + Ord, V> Names<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: HashMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// What the name stands for at `now`.
    pub(super) fn get(&self, name: &K, now: Timestamp) -> Option<&V> {
        let (until, value) = self.entries.get(name)?;
        (*until > now).then_some(value)
    }

    /// Gives a name its meaning, in the place of an earlier one.
    pub(super) fn set(&mut self, name: K, value: V, until: Timestamp) {
        self.remove(&name);
        while self.entries.len() >= self.most
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.by_time.insert((until, name.clone()));
        self.entries.insert(name, (until, value));
    }

    pub(super) fn remove(&mut self, name: &K) {
        if let Some((until, _)) = self.entries.remove(name) {
            self.by_time.remove(&(until, name.clone()));
        }
    }

    /// Forgets every name whose time is over.
    pub(super) fn forget_outdated(&mut self, now: Timestamp) {
        while let Some((until, _)) = self.by_time.first()
            && *until <= now
            && let Some((_, name)) = self.by_time.pop_first()
        {
            self.entries.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_name_is_known_until_its_time_is_over() {
        let mut names = Names::new(10);
        names.set("a", 1, at(5));
        names.set("a", 2, at(9));
        assert_eq!(names.get(&"a", at(8)), Some(&2));
        assert_eq!(names.get(&"a", at(9)), None);
        names.forget_outdated(at(8));
        assert_eq!(names.get(&"a", at(0)), Some(&2));
        names.forget_outdated(at(9));
        assert_eq!(names.get(&"a", at(0)), None);
        assert!(names.entries.is_empty() && names.by_time.is_empty());
    }

    #[test]
    fn beyond_the_bound_the_name_that_ends_first_is_forgotten() {
        let mut names = Names::new(3);
        for number in 0..1_000 {
            names.set(number, (), at(1_000 - number));
        }
        assert_eq!(names.entries.len(), 3);
        assert_eq!(names.by_time.len(), 3);
        assert!(
            names.get(&999, at(0)).is_some(),
            "the newest is always known"
        );
        assert!(names.get(&0, at(0)).is_some() && names.get(&1, at(0)).is_some());
    }
}
