//! Values that are put once and found again until their time is over.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use super::StoreError;
use crate::job::Timestamp;

/// Values by key, bounded in number. None is forgotten early: whoever put it counts on finding it.
#[derive(Debug)]
pub(super) struct Values {
    most: usize,
    entries: HashMap<Arc<str>, Arc<[u8]>>,
    /// When each value leaves; those that stay are not in it.
    by_end: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Values {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: HashMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// As in [`Store::put_if_absent`](crate::store::Store::put_if_absent).
    pub(super) fn put_if_absent(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        while let Some((end, _)) = self.by_end.first()
            && *end <= now
            && let Some((_, outdated)) = self.by_end.pop_first()
        {
            self.entries.remove(&outdated);
        }
        let is_full = self.entries.len() >= self.most;
        match self.entries.entry(Arc::from(key)) {
            Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
            Entry::Vacant(_) if is_full => {
                let reason = "no memory is left for another value";
                Err(StoreError::Unavailable(reason.to_owned()))
            }
            Entry::Vacant(entry) => {
                if let Some(ttl) = ttl {
                    let end = now.plus(ttl);
                    self.by_end.insert((end, Arc::clone(entry.key())));
                }
                Ok(Arc::clone(entry.insert(Arc::from(value))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn put(values: &mut Values, key: &str, value: &[u8], ttl: Option<u64>, now: u64) -> Vec<u8> {
        let ttl = ttl.map(Duration::from_secs);
        let found = values.put_if_absent(key, value, ttl, at(now));
        found.expect("there is room").to_vec()
    }

    #[test]
    fn the_first_value_stays_until_its_time_is_over() {
        let mut values = Values::new(10);
        assert_eq!(put(&mut values, "a", b"1", Some(5), 10), b"1");
        assert_eq!(put(&mut values, "a", b"2", Some(50), 14), b"1");
        assert_eq!(put(&mut values, "a", b"3", None, 15), b"3");
        assert_eq!(
            put(&mut values, "a", b"4", Some(5), u64::MAX / 2_000_000),
            b"3"
        );
        assert_eq!((values.entries.len(), values.by_end.len()), (1, 0));
    }

    #[test]
    fn beyond_the_bound_nothing_is_put_and_nothing_forgotten() {
        let mut values = Values::new(2);
        put(&mut values, "a", b"1", None, 0);
        put(&mut values, "b", b"1", Some(5), 0);
        assert!(values.put_if_absent("c", b"1", None, at(4)).is_err());
        assert_eq!(put(&mut values, "b", b"2", Some(5), 4), b"1");
        assert_eq!(put(&mut values, "c", b"1", Some(5), 5), b"1");
        assert_eq!(put(&mut values, "a", b"2", None, 5), b"1");
    }
}
