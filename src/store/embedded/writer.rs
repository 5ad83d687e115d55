//! The one thread that writes.
//!
//! It takes whatever waits, does all of it in one transaction, has that brought to the disk once,
//! and answers everybody: while the disk is at work, the next lot gathers. Progress that was
//! answered already joins such a transaction when its time has come.
//!
//! When the file cannot be written, everything is refused from then on, what was answered before
//! stays, and the file is opened anew: at once, so that it can be read, and again and again until a
//! transaction reaches the disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use redb::ReadableDatabase as _;

use super::{
    EmbeddedSettings, Inner,
    errand::{Errand, Pending},
    fault::Fault,
    front::Dirty,
    open,
    removal::SWEEP_SLICE,
    tables::{self, JOBS, Tables},
    totals::Totals,
    work::Work,
};
use crate::{job::Seq, store::StoreError};

/// How many errands one transaction takes, and how many bytes they bring: more wait for the next,
/// so that answers do not starve.
const MOST_ERRANDS: usize = 1_024;
const MOST_BYTES: usize = 16 << 20;

/// How many jobs' progress one transaction takes: some hundred milliseconds of work.
const FLUSH_SLICE: usize = 8_192;

/// How far ahead of the disk seqs may be shown, besides the time that progress may wait: what a
/// disk may take to write. Beyond it progress waits for the disk too. A process that dies and is
/// back sooner has seqs that are so much ahead of the clock.
const AHEAD: Duration = Duration::from_millis(300);

/// How soon the file is tried again that could not be written, and the longest that this grows to:
/// opening a large one anew reads all of it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What it was asked.
    Work,
    /// To see whether the file can be written.
    Probe,
    /// To leave the file in order: nothing comes after it.
    Farewell,
}

/// See the module.
pub(super) struct Writer {
    inner: Arc<Inner>,
    errands: Receiver<Errand>,
    totals: Totals,
    /// When the progress that waits has to be written.
    flush_at: Option<Instant>,
    /// When the file is tried again, and the pause that led there; `None` while all is well.
    retry: Option<(Instant, Duration)>,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, errands: Receiver<Errand>, totals: Totals) -> Self {
        let writer = Self {
            inner,
            errands,
            totals,
            flush_at: None,
            retry: None,
        };
        writer.welcome();
        writer
    }

    /// Works until nobody can ask for anything any more; then everything is on disk.
    pub(super) fn run(mut self) {
        loop {
            let errand = match self.wakes_at() {
                None => self.errands.recv().map_err(RecvTimeoutError::from),
                Some(at) => {
                    let patience = at.saturating_duration_since(Instant::now());
                    self.errands.recv_timeout(patience)
                }
            };
            match errand {
                Ok(errand) => {
                    let batch = self.gather(errand);
                    self.serve(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.serve(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.finish();
    }

    /// When there is something to do although nobody asks.
    fn wakes_at(&self) -> Option<Instant> {
        match self.retry {
            Some((at, _)) => Some(at),
            None if self.totals.trash_weight > 0 => Some(Instant::now()),
            None => self.flush_at,
        }
    }

    /// What has come together by now.
    fn gather(&mut self, first: Errand) -> Vec<Errand> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < MOST_ERRANDS
            && bytes < MOST_BYTES
            && let Ok(errand) = self.errands.try_recv()
        {
            bytes += errand.bytes();
            batch.push(errand);
        }
        let count = batch.len();
        batch.retain(|errand| !matches!(errand, Errand::Wake));
        if batch.len() < count && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.inner.settings.flush);
        }
        batch
    }

    fn serve(&mut self, batch: Vec<Errand>) {
        if self.retry.is_some_and(|(at, _)| at <= Instant::now()) {
            self.heal();
        }
        if let Some(error) = self.inner.fault() {
            for errand in batch {
                errand.refuse(error.clone());
            }
            return;
        }
        let is_asked = batch
            .iter()
            .any(|errand| matches!(errand, Errand::Flush(_)));
        let limit = match self.flush_at {
            _ if is_asked => usize::MAX,
            Some(at) if at <= Instant::now() => FLUSH_SLICE,
            _ => 0,
        };
        let taken = self.inner.front.take_dirty(limit);
        if limit > 0 {
            self.flush_at = None;
        }
        let has_work = !batch.is_empty() || !taken.is_empty() || self.totals.trash_weight > 0;
        if has_work && let Err(reason) = self.try_transact(batch, &taken, Purpose::Work) {
            return self.fail(&reason);
        }
        if self.inner.front.is_dirty() && self.flush_at.is_none() {
            let rest = limit > 0 && taken.len() == limit;
            let pause = if rest {
                Duration::ZERO
            } else {
                self.inner.settings.flush
            };
            self.flush_at = Some(Instant::now() + pause);
        }
    }

    /// A transaction, or why there was none.
    fn try_transact(
        &mut self,
        batch: Vec<Errand>,
        taken: &[Dirty],
        purpose: Purpose,
    ) -> Result<(), String> {
        let transaction = AssertUnwindSafe(|| self.transact(batch, taken, purpose));
        // A file that makes no sense may make the code that reads it give up.
        catch_unwind(transaction)
            .unwrap_or_else(|_| Err(Fault::damaged("something in it")))
            .map_err(|fault| fault.to_string())
    }

    fn transact(
        &mut self,
        batch: Vec<Errand>,
        taken: &[Dirty],
        purpose: Purpose,
    ) -> Result<(), Fault> {
        let mut answers = Vec::with_capacity(batch.len());
        let done = self.write(batch, taken, purpose, &mut answers);
        if let Err(fault) = &done {
            // Whoever is refused because of it finds it when he asks how the store is.
            self.inner.break_down(&fault.to_string());
        }
        for answer in answers {
            answer(match &done {
                Ok(()) => Ok(()),
                Err(fault) => Err(StoreError::Unavailable(fault.to_string())),
            });
        }
        done
    }

    fn write(
        &mut self,
        batch: Vec<Errand>,
        taken: &[Dirty],
        purpose: Purpose,
        answers: &mut Vec<Pending>,
    ) -> Result<(), Fault> {
        let inner = &*self.inner;
        let transaction = inner.with_file(|file| Ok(file.begin_write()?))?;
        let (totals, outcomes, is_changed) = {
            let mut work = Work {
                tables: Tables::open(&transaction)?,
                totals: self.totals.clone(),
                era: inner.era,
                limits: &inner.settings.limits,
                front: &inner.front,
                outcomes: Vec::new(),
                is_changed: purpose != Purpose::Work,
            };
            work.flush(taken)?;
            let mut errands = batch.into_iter();
            while let Some(errand) = errands.next() {
                if let Err(fault) = errand.perform(&mut work, answers) {
                    answers.extend(errands.map(Errand::refusal));
                    return Err(fault);
                }
            }
            work.trim()?;
            if work.has_trash() {
                work.sweep(SWEEP_SLICE)?;
            }
            if work.is_changed {
                let newest = inner.front.newest();
                let ceiling = &mut work.totals.ceiling;
                *ceiling = match purpose {
                    // Nothing is shown any more: the next opening need not begin above what might
                    // have been.
                    Purpose::Farewell => newest.get(),
                    _ => newest.plus(inner.settings.ahead()).get().max(*ceiling),
                };
                work.totals.save(&self.totals, &mut work.tables.numbers)?;
            }
            (work.totals, work.outcomes, work.is_changed)
        };
        match is_changed {
            true => transaction.commit()?,
            false => transaction.abort()?,
        }
        self.totals = totals;
        inner.publish(&self.totals);
        let ceiling = Seq::new(self.totals.ceiling).unwrap_or(Seq::MAX);
        inner.front.settle(outcomes, ceiling);
        Ok(())
    }

    /// The file was not written: nobody knows what of the last transaction has reached it.
    fn fail(&mut self, reason: &str) {
        tracing::error!(
            store.path = %self.inner.settings.path.display(),
            error = reason,
            "the store's file cannot be written; what comes is refused until it can"
        );
        self.inner.break_down(reason);
        self.retry = Some((Instant::now() + FIRST_PAUSE, FIRST_PAUSE));
        // For those who read. Whether it can be written is tried in a moment.
        if let Err(error) = self.reopen() {
            tracing::warn!(%error, "the store's file cannot be opened anew yet");
        }
    }

    /// Tries whether the file can be written again.
    fn heal(&mut self) {
        let healed = self.try_to_heal();
        match healed {
            Ok(()) => {
                self.retry = None;
                self.welcome();
                self.inner.mend();
                tracing::info!("the store's file is written again");
            }
            Err(reason) => {
                tracing::debug!(error = reason, "the store's file can still not be written");
                self.inner.break_down(&reason);
                let pause = self.retry.map_or(FIRST_PAUSE, |(_, pause)| pause * 2);
                let pause = pause.min(LONGEST_PAUSE);
                self.retry = Some((Instant::now() + pause, pause));
                let _ = self.reopen();
            }
        }
    }

    fn try_to_heal(&mut self) -> Result<(), String> {
        if !self.inner.is_open() {
            self.reopen().map_err(|fault| fault.to_string())?;
        }
        let taken = self.inner.front.take_dirty(usize::MAX);
        self.try_transact(Vec::new(), &taken, Purpose::Probe)
    }

    /// Opens the file anew, in which there may be more than was answered.
    fn reopen(&mut self) -> Result<(), Fault> {
        let inner = &*self.inner;
        let file = open::reopen(&inner.settings, &inner.storage)?;
        let transaction = file.begin_read()?;
        self.totals = Totals::load(&transaction.open_table(tables::NUMBERS)?)?;
        let jobs = transaction.open_table(JOBS)?;
        inner.front.keep_dirty(|dirty| {
            let head = tables::head(&jobs, dirty.job.id().as_str());
            // What cannot be read now is looked at once more when it is written.
            head.is_err()
                || head.ok().flatten().is_some_and(|head| {
                    head.incarnation == dirty.job.origin.incarnation
                        && inner.era.seq_of(&head) < dirty.job.seq
                })
        });
        inner.publish(&self.totals);
        drop((jobs, transaction));
        inner.put_file(file);
        Ok(())
    }

    /// Lets changes in that may be answered before they are on disk.
    fn welcome(&self) {
        let inner = &self.inner;
        let ceiling = Seq::new(self.totals.ceiling).unwrap_or(Seq::MAX);
        // Everything that was shown is at or below the ceiling.
        let newest = self.totals.floor();
        inner.publish(&self.totals);
        inner
            .front
            .open(newest, ceiling, !inner.settings.is_all_durable);
    }

    /// Brings everything to the disk and closes the file.
    fn finish(mut self) {
        self.inner.front.close();
        if self.inner.fault().is_some() {
            let _ = self.try_to_heal();
        }
        let taken = self.inner.front.take_dirty(usize::MAX);
        if let Err(reason) = self.try_transact(Vec::new(), &taken, Purpose::Farewell) {
            tracing::error!(
                error = reason,
                "progress that was answered could not be written"
            );
        }
        self.inner.take_file();
    }
}

impl EmbeddedSettings {
    /// How far ahead of the disk seqs may be shown, in microseconds.
    fn ahead(&self) -> u64 {
        if self.is_all_durable {
            return 0;
        }
        u64::try_from((AHEAD + self.flush).as_micros()).unwrap_or(u64::MAX)
    }
}
