//! The store in a file of this node's own: survives the process, and the machine.
//!
//! - **The file** is a redb database: one file, transactions, checksums. What is in it stands in
//!   `tables`.
//! - **Writing** is done by one thread (`writer`), which takes all that waits to the disk at once.
//!   Nothing is answered or visible before it is on disk, but for progress that the next report
//!   replaces: that stands in `front` meanwhile, where every read looks first.
//! - **Reading** goes on beside it, on threads that may wait for a disk: a worker of the runtime
//!   carries thousands of streams, and none of them must stand still for a seek. It costs a read
//!   some ten microseconds. Nothing is read in the way of a report: what its answer needs is in
//!   memory, or the writer looks it up.
//! - **Opening** gives every unfinished job a seq above all that were shown, at no cost: see
//!   `record`.
//! - **A file that cannot be written** any more is opened anew until it can: see `writer`.

mod answers;
mod card;
mod disk;
mod errand;
mod events;
mod fault;
mod front;
mod names;
mod open;
mod read;
mod record;
mod removal;
mod tables;
#[cfg(test)]
mod tests;
mod totals;
mod weight;
mod work;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use redb::Database;
use tokio::sync::oneshot;

use super::{
    Commit, Committed, Created, Filter, Input, JobCounts, KeptEvents, Loaded, Position, Rows,
    Store, StoreError,
};
use crate::job::{Job, JobId, Origin, Seq, Timestamp};
use card::Sieve;
use disk::Storage;
use errand::{Errand, OwnedCommit, PutIfAbsent, Reply};
use fault::Fault;
use front::Front;
use open::Opened;
use read::Search;
use record::Era;
use totals::Totals;
use writer::Writer;

pub use open::OpenError;

/// What the store is told by the configuration.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// The file.
    pub path: PathBuf,
    /// How long progress may be on its way to the disk.
    pub flush: Duration,
    /// Whether nothing at all is answered before it is on disk.
    pub is_all_durable: bool,
    /// Bytes of memory for parts of the file.
    pub cache_bytes: usize,
    /// Bounds on what it keeps.
    pub limits: EmbeddedLimits,
}

/// Bounds on what the store keeps.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedLimits {
    /// Bytes of the file; beyond it the finished job that expires first leaves early.
    pub max_bytes: u64,
    /// Kept events per job.
    pub events_per_job: u64,
    /// Bytes of kept events per job.
    pub event_bytes_per_job: u64,
    /// Bytes of kept events in all; beyond it the oldest of all is dropped.
    pub event_bytes: u64,
    /// Names of removed jobs, reserved keys, and values put once: so many of each.
    pub names: u64,
}

/// Jobs in a file.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
    /// `None` only while it is dropped.
    errands: Option<mpsc::Sender<Errand>>,
    writer: Option<thread::JoinHandle<()>>,
}

/// What the writer shares with those who read.
#[derive(Debug)]
struct Inner {
    settings: EmbeddedSettings,
    storage: Arc<Storage>,
    // Held for reading only until a transaction has begun; `None` while it cannot be opened.
    file: RwLock<Option<Database>>,
    front: Front,
    era: Era,
    // Held to copy a few numbers.
    counts: Mutex<JobCounts>,
    /// How many transactions have reached the disk.
    flushes: AtomicU64,
    /// Why nothing can be written, while that is so.
    fault: Mutex<Option<String>>,
}

impl Embedded {
    /// Opens the file, or makes it, and has it to itself from now on. Every unfinished job in it has
    /// a seq above all that were shown when this returns.
    ///
    /// Blocks on the disk. Dropping the store waits until everything that was answered is there.
    ///
    /// # Errors
    /// The file cannot be used; says why.
    pub fn open(settings: EmbeddedSettings, now: Timestamp) -> Result<Self, OpenError> {
        let opened = open::open(&settings, now)?;
        Ok(Self::start(settings, opened))
    }

    /// The same over something that can be written like a file.
    #[cfg(test)]
    fn open_over(
        backend: impl redb::StorageBackend,
        settings: EmbeddedSettings,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let storage = Arc::new(Storage::over(Box::new(backend)));
        let opened = open::over(storage, &settings, now)?;
        Ok(Self::start(settings, opened))
    }

    fn start(settings: EmbeddedSettings, opened: Opened) -> Self {
        let Opened {
            storage,
            file,
            totals,
        } = opened;
        let inner = Arc::new(Inner {
            settings,
            storage,
            file: RwLock::new(Some(file)),
            front: Front::default(),
            era: Era::of(&totals),
            counts: Mutex::default(),
            flushes: AtomicU64::new(0),
            fault: Mutex::default(),
        });
        let (sender, errands) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&inner), errands, totals);
        let writer = thread::Builder::new()
            .name("store writer".to_owned())
            .spawn(|| writer.run())
            .expect("a process that starts can have one more thread");
        Self {
            inner,
            errands: Some(sender),
            writer: Some(writer),
        }
    }

    fn send(&self, errand: Errand) -> Result<(), StoreError> {
        let errands = self.errands.as_ref().expect("the store is not dropped yet");
        errands.send(errand).map_err(|_| no_writer())
    }

    /// Has the writer do something, and waits until it is on disk.
    async fn ask<T>(&self, errand: impl FnOnce(Reply<T>) -> Errand) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(errand(reply))?;
        answer.await.unwrap_or_else(|_| Err(no_writer()))
    }

    /// Reads the file where waiting for a disk holds nobody up.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Inner) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let reading = tokio::task::spawn_blocking(move || read(&inner));
        let outcome = reading.await.map_err(|_| {
            // A file that makes no sense may make the code that reads it give up.
            StoreError::Unavailable("the store's file could not be read".to_owned())
        })?;
        Ok(outcome?)
    }
}

impl Drop for Embedded {
    /// Waits until everything that was answered is on disk.
    fn drop(&mut self) {
        self.errands = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer ended before everything was on disk");
        }
    }
}

impl Inner {
    /// Does something with the database, unless it cannot be opened at present.
    fn with_file<T>(&self, act: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        match &*file {
            Some(file) => act(file),
            None => Err(Fault::File(redb::Error::DatabaseClosed)),
        }
    }

    fn is_open(&self) -> bool {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.is_some()
    }

    fn put_file(&self, file: Database) {
        let mut place = self.file.write().unwrap_or_else(PoisonError::into_inner);
        *place = Some(file);
    }

    /// Closes the database. Before another is opened on the same file, this one must be closed.
    fn take_file(&self) {
        let mut place = self.file.write().unwrap_or_else(PoisonError::into_inner);
        drop(place.take());
    }

    /// Makes a transaction that is on disk known.
    fn publish(&self, totals: &Totals) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = totals.counts();
        self.flushes.fetch_add(1, Ordering::SeqCst);
    }

    fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Why nothing can be written.
    fn fault(&self) -> Option<StoreError> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone().map(StoreError::Unavailable)
    }

    /// From now on everything is refused.
    fn break_down(&self, reason: &str) {
        self.front.close();
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        self.take_file();
    }

    fn mend(&self) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn no_writer() -> StoreError {
    StoreError::Unavailable("the store's writer was interrupted".to_owned())
}

#[async_trait]
impl Store for Embedded {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let creation = Box::new((job.clone(), input.cloned()));
        self.ask(|reply| Errand::Create(creation, reply)).await
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let (key, job_id) = (key.to_owned(), job_id.clone());
        self.ask(|reply| Errand::Reserve(key, job_id, now, reply))
            .await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        let job_id = job_id.clone();
        self.read(move |file| file.load(&job_id, now)).await
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        let origin = origin.clone();
        self.read(move |file| file.input(&origin)).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let brings_more =
            !commit.events.is_empty() || !commit.rows.is_empty() || !commit.answers.is_empty();
        if commit.is_replaceable
            && commit.positions > 0
            && !brings_more
            && let Some((committed, is_first)) = self.inner.front.commit(&commit)
        {
            if is_first {
                self.send(Errand::Wake)?;
            }
            return Ok(committed);
        }
        let commit = Box::new(OwnedCommit::of(&commit));
        self.ask(|reply| Errand::Commit(commit, reply)).await
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        let origin = origin.clone();
        self.read(move |file| file.events_after(&origin, after))
            .await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let by = Arc::new((filter.clone(), Sieve::of(filter)));
        let mut search = Search {
            at: before.cloned(),
            ..Search::default()
        };
        while !search.is_over && search.found.len() < limit {
            let by = Arc::clone(&by);
            search = self
                .read(move |file| {
                    file.list(&mut search, (&by.0, &by.1), limit, now)?;
                    Ok(search)
                })
                .await?;
        }
        Ok(search.found)
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let mut search = Search {
            at: after.cloned(),
            ..Search::default()
        };
        while !search.is_over && search.found.len() < limit {
            let kind = kind.map(str::to_owned);
            search = self
                .read(move |file| {
                    file.unfinished(&mut search, kind.as_deref(), limit)?;
                    Ok(search)
                })
                .await?;
        }
        Ok(search.found)
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let origin = origin.clone();
        self.read(move |file| file.rows(&origin, from, limit)).await
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let (job_id, incarnation) = (origin.job_id.clone(), origin.incarnation);
        self.ask(|reply| Errand::Remove(job_id, incarnation, gone_until, reply))
            .await
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        // Asked for every second: the writer is left alone when there is nothing to do.
        if !self.read(move |file| file.is_anything_due(now)).await? {
            return Ok(0);
        }
        self.ask(|reply| Errand::Expire(now, gone_seconds, limit, reply))
            .await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let put = PutIfAbsent {
            key: key.to_owned(),
            value: value.to_vec(),
            until: ttl.map(|ttl| now.plus(ttl)),
            now,
        };
        let there = self.ask(|reply| Errand::Put(put, reply)).await?;
        Ok(there.into())
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        let counts = self.inner.counts.lock();
        Ok(*counts.unwrap_or_else(PoisonError::into_inner))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self.inner.fault() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Errand::Flush).await
    }
}
