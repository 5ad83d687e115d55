//! Reading the file: in transactions of their own, which see it as it was when they began and wait
//! for nobody.
//!
//! What waits before the file is looked at first: then a change that was answered is found in one
//! place or the other, whatever the writer does meanwhile.

use std::{ops::Bound, sync::Arc};

use redb::{ReadTransaction, ReadableDatabase as _};

use super::{
    Inner, answers,
    card::Sieve,
    events::{self, json},
    fault::Fault,
    front::Dirty,
    names::{self, GONE, GONE_BY_END, RESERVATIONS_BY_END, VALUES_BY_END},
    tables::{
        ANSWERS, CARDS, EVENT_LOGS, EVENTS, EXPIRY, Head, INPUTS, JOBS, ROWS, UNFINISHED,
        first_due, head, job,
    },
};
use crate::{
    job::{Job, JobId, Origin, Seq, Timestamp},
    store::{Filter, Former, Input, KeptEvents, Loaded, Position, Rows, Stored},
};

/// How many entries of an index one transaction looks at: some milliseconds of work.
const SLICE: usize = 8_192;

/// A search through an index, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) found: Vec<Arc<Job>>,
    /// The last entry that was looked at.
    pub(super) at: Option<Position>,
    pub(super) is_over: bool,
}

impl Inner {
    fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        self.with_file(|file| Ok(file.begin_read()?))
    }

    pub(super) fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, Fault> {
        let dirty = self.front.dirty(job_id);
        let transaction = self.begin_read()?;
        let Some(stored) = self.stored(&transaction, job_id, dirty)? else {
            let gone = transaction.open_table(GONE)?;
            let former = names::meaning(&gone, job_id.as_str(), now)?;
            return Ok(match former {
                Some(former) => Loaded::Gone(read_former(&former)?),
                None => Loaded::Unknown,
            });
        };
        let is_expired = stored.job.expires_at().is_some_and(|end| end <= now);
        Ok(match is_expired {
            true => Loaded::Gone(Former::of(&stored.job.origin)),
            false => Loaded::Job(Box::new(stored)),
        })
    }

    /// The job that has the name, with progress that has waited since before the transaction.
    fn stored(
        &self,
        transaction: &ReadTransaction,
        job_id: &JobId,
        dirty: Option<Dirty>,
    ) -> Result<Option<Stored>, Fault> {
        let jobs = transaction.open_table(JOBS)?;
        let Some((head, document)) = job(&jobs, job_id.as_str())? else {
            return Ok(None);
        };
        let ledger = answers::ledger(&transaction.open_table(ANSWERS)?, &head)?;
        Ok(Some(
            match dirty.filter(|dirty| self.is_newer(dirty, &head)) {
                Some(Dirty { job, nonce }) => Stored {
                    job,
                    ledger,
                    nonce: Some(nonce),
                },
                None => Stored {
                    job: self.era.read(&head, &document)?,
                    ledger,
                    nonce: head.nonce,
                },
            },
        ))
    }

    fn is_newer(&self, dirty: &Dirty, head: &Head) -> bool {
        dirty.job.origin.incarnation == head.incarnation && dirty.job.seq > self.era.seq_of(head)
    }

    /// That very job's head.
    fn head(&self, transaction: &ReadTransaction, origin: &Origin) -> Result<Option<Head>, Fault> {
        let head = head(&transaction.open_table(JOBS)?, origin.job_id.as_str())?;
        Ok(head.filter(|head| head.incarnation == origin.incarnation))
    }

    pub(super) fn input(&self, origin: &Origin) -> Result<Option<Input>, Fault> {
        let transaction = self.begin_read()?;
        let Some(head) = self.head(&transaction, origin)? else {
            return Ok(None);
        };
        let Some(format) = head.input else {
            return Ok(None);
        };
        let mut content = Vec::new();
        let inputs = transaction.open_table(INPUTS)?;
        for piece in inputs.range((head.number, 0)..(head.number + 1, 0))? {
            content.extend_from_slice(piece?.1.value());
        }
        Ok(Some(Input {
            format,
            content: content.into(),
        }))
    }

    pub(super) fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, Fault> {
        let transaction = self.begin_read()?;
        let Some(head) = self.head(&transaction, origin)? else {
            return Ok(KeptEvents::of_no_job());
        };
        let logs = transaction.open_table(EVENT_LOGS)?;
        events::kept(&transaction.open_table(EVENTS)?, &logs, head.number, after)
    }

    pub(super) fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, Fault> {
        let transaction = self.begin_read()?;
        let Some(head) = self.head(&transaction, origin)? else {
            return Ok(None);
        };
        let end = from.saturating_add(limit as u64).min(head.rows);
        let mut rows = Vec::new();
        if from < end {
            let table = transaction.open_table(ROWS)?;
            for row in table.range((head.number, from)..(head.number, end))? {
                rows.push(json(row?.1.value())?);
            }
        }
        Ok(Some(Rows {
            total: head.rows,
            rows,
        }))
    }

    /// Looks further through the jobs by age, newest first, for those that match.
    pub(super) fn list(
        &self,
        search: &mut Search,
        (filter, sieve): (&Filter, &Sieve),
        limit: usize,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let flushes = self.flushes();
        let transaction = self.begin_read()?;
        let (cards, jobs) = (
            transaction.open_table(CARDS)?,
            transaction.open_table(JOBS)?,
        );
        let before = search.at.clone();
        let upper = before.as_ref().map_or(Bound::Unbounded, |before| {
            Bound::Excluded((before.created_at.as_micros(), before.job_id.as_str()))
        });
        let begin = search.found.len();
        search.is_over = true;
        let slice = cards.range::<(u64, &str)>((Bound::Unbounded, upper))?.rev();
        for (looked_at, entry) in slice.enumerate() {
            if looked_at == SLICE || search.found.len() == limit {
                search.is_over = false;
                break;
            }
            let (key, card) = entry?;
            let (created_at, name) = key.value();
            if sieve.may_match(card.value(), now)? {
                let Some((head, document)) = job(&jobs, name)? else {
                    return Err(Fault::damaged("the index of jobs"));
                };
                let job = self.era.read(&head, &document)?;
                if filter.matches(&job) {
                    search.found.push(job);
                }
            }
            if looked_at + 1 == SLICE || search.found.len() == limit {
                search.at = Some(position(created_at, name)?);
            }
        }
        drop((cards, jobs, transaction));
        self.renew(&mut search.found[begin..], flushes)
    }

    /// Looks further through the unfinished jobs, oldest first, for those of a kind.
    pub(super) fn unfinished(
        &self,
        search: &mut Search,
        kind: Option<&str>,
        limit: usize,
    ) -> Result<(), Fault> {
        let flushes = self.flushes();
        let transaction = self.begin_read()?;
        let (unfinished, jobs) = (
            transaction.open_table(UNFINISHED)?,
            transaction.open_table(JOBS)?,
        );
        let after = search.at.clone();
        let lower = after.as_ref().map_or(Bound::Unbounded, |after| {
            Bound::Excluded((after.created_at.as_micros(), after.job_id.as_str()))
        });
        let begin = search.found.len();
        search.is_over = true;
        let slice = unfinished.range::<(u64, &str)>((lower, Bound::Unbounded))?;
        for (looked_at, entry) in slice.enumerate() {
            if looked_at == SLICE || search.found.len() == limit {
                search.is_over = false;
                break;
            }
            let (key, of_kind) = entry?;
            let (created_at, name) = key.value();
            if kind.is_none() || kind == of_kind.value() {
                let Some((head, document)) = job(&jobs, name)? else {
                    return Err(Fault::damaged("the index of unfinished jobs"));
                };
                search.found.push(self.era.read(&head, &document)?);
            }
            if looked_at + 1 == SLICE || search.found.len() == limit {
                search.at = Some(position(created_at, name)?);
            }
        }
        drop((unfinished, jobs, transaction));
        self.renew(&mut search.found[begin..], flushes)
    }

    /// Puts progress that waits in the place of what the file says.
    ///
    /// `flushes` is how often progress had been taken to the disk before the file was read. When it
    /// has been since, what is not found waiting may be in the file and was not when it was read:
    /// then it is read again.
    fn renew(&self, jobs: &mut [Arc<Job>], flushes: u64) -> Result<(), Fault> {
        for job in &mut *jobs {
            let dirty = self.front.dirty(job.id()).filter(|dirty| {
                dirty.job.origin.incarnation == job.origin.incarnation && dirty.job.seq > job.seq
            });
            if let Some(dirty) = dirty {
                *job = dirty.job;
            }
        }
        if self.flushes() == flushes {
            return Ok(());
        }
        for job in jobs {
            let dirty = self.front.dirty(job.id());
            let transaction = self.begin_read()?;
            let stored = self.stored(&transaction, job.id(), dirty)?;
            let newer = stored.map(|stored| stored.job).filter(|stored| {
                stored.origin.incarnation == job.origin.incarnation && stored.seq > job.seq
            });
            if let Some(newer) = newer {
                *job = newer;
            }
        }
        Ok(())
    }

    /// Whether anything's time is over.
    pub(super) fn is_anything_due(&self, now: Timestamp) -> Result<bool, Fault> {
        let transaction = self.begin_read()?;
        for table in [EXPIRY, GONE_BY_END, RESERVATIONS_BY_END, VALUES_BY_END] {
            let table = transaction.open_table(table)?;
            if first_due(&table, now.as_micros())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn position(created_at: u64, name: &str) -> Result<Position, Fault> {
    Ok(Position {
        created_at: Timestamp::from_micros(created_at),
        job_id: JobId::parse(name).map_err(Fault::damaged)?,
    })
}

fn read_former(bytes: &[u8]) -> Result<Former, Fault> {
    let (owner, incarnation) = serde_json::from_slice(bytes)
        .map_err(|error| Fault::Damaged(format!("a removed job's entry ({error})")))?;
    Ok(Former { owner, incarnation })
}
