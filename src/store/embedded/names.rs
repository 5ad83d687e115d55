//! Names that mean something until a moment of their own: those of removed jobs, reserved keys,
//! and values that are put once.

use redb::{ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::{fault::Fault, tables::first_due, weight::weigh};
use crate::job::Timestamp;

/// Until when a name has its meaning, for one that keeps it for good.
const FOR_GOOD: u64 = u64::MAX;

/// What names mean, and until when.
type Entries = TableDefinition<'static, &'static str, (u64, &'static [u8])>;

/// Names by the end of their meaning.
type ByEnd = TableDefinition<'static, (u64, &'static str), ()>;

/// Names of removed jobs, with what is remembered of them.
pub(super) const GONE: Entries = TableDefinition::new("gone");
pub(super) const GONE_BY_END: ByEnd = TableDefinition::new("gone by end");

/// Keys of creations, with the names that they are bound to.
pub(super) const RESERVATIONS: Entries = TableDefinition::new("reservations");
pub(super) const RESERVATIONS_BY_END: ByEnd = TableDefinition::new("reservations by end");

/// Values of `put_if_absent`.
pub(super) const VALUES: Entries = TableDefinition::new("values");
pub(super) const VALUES_BY_END: ByEnd = TableDefinition::new("values by end");

/// All names.
pub(super) struct NamesTables<'txn> {
    pub(super) gone: Names<'txn>,
    pub(super) reservations: Names<'txn>,
    pub(super) values: Names<'txn>,
}

/// Names of one sort.
pub(super) struct Names<'txn> {
    entries: Table<'txn, &'static str, (u64, &'static [u8])>,
    by_end: Table<'txn, (u64, &'static str), ()>,
}

/// How many names of a sort there are, and what everything in the file weighs.
pub(super) struct Account<'totals> {
    pub(super) count: &'totals mut u64,
    pub(super) weight: &'totals mut u64,
}

impl<'txn> NamesTables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, TableError> {
        let open = |entries, by_end| {
            Ok::<_, TableError>(Names {
                entries: transaction.open_table::<&str, (u64, &[u8])>(entries)?,
                by_end: transaction.open_table::<(u64, &str), ()>(by_end)?,
            })
        };
        Ok(Self {
            gone: open(GONE, GONE_BY_END)?,
            reservations: open(RESERVATIONS, RESERVATIONS_BY_END)?,
            values: open(VALUES, VALUES_BY_END)?,
        })
    }
}

impl Names<'_> {
    /// What a name means at `now`.
    pub(super) fn get(&self, name: &str, now: Timestamp) -> Result<Option<Vec<u8>>, Fault> {
        meaning(&self.entries, name, now)
    }

    /// Gives a name its meaning, in the place of an earlier one; for good without an end.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &[u8],
        until: Option<Timestamp>,
        account: Account<'_>,
    ) -> Result<(), Fault> {
        let Account { count, weight } = account;
        self.remove(name, Account { count, weight })?;
        let until = until.map_or(FOR_GOOD, Timestamp::as_micros);
        self.entries.insert(name, (until, value))?;
        if until != FOR_GOOD {
            self.by_end.insert((until, name), ())?;
        }
        *count += 1;
        *weight += weight_of(name, value);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str, account: Account<'_>) -> Result<(), Fault> {
        let Some(entry) = self.entries.remove(name)? else {
            return Ok(());
        };
        let (until, value) = entry.value();
        *account.count = account.count.saturating_sub(1);
        *account.weight = account.weight.saturating_sub(weight_of(name, value));
        self.by_end.remove((until, name))?;
        Ok(())
    }

    /// Forgets up to `limit` names whose time is over, and, while there are more than `most`, those
    /// whose time ends first. Says how many it forgot.
    pub(super) fn forget(
        &mut self,
        now: Timestamp,
        most: u64,
        limit: usize,
        account: Account<'_>,
    ) -> Result<usize, Fault> {
        let Account { count, weight } = account;
        let mut forgotten = 0;
        while forgotten < limit {
            let is_over = *count > most;
            let until = if is_over { FOR_GOOD } else { now.as_micros() };
            let Some((_, name)) = first_due(&self.by_end, until)? else {
                break;
            };
            self.remove(&name, Account { count, weight })?;
            forgotten += 1;
        }
        Ok(forgotten)
    }
}

/// What a name means at `now`.
pub(super) fn meaning(
    entries: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    name: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, Fault> {
    let Some(entry) = entries.get(name)? else {
        return Ok(None);
    };
    let (until, value) = entry.value();
    Ok((until > now.as_micros()).then(|| value.to_vec()))
}

fn weight_of(name: &str, value: &[u8]) -> u64 {
    weigh(name.len(), 8 + value.len()) + weigh(8 + name.len(), 0)
}
