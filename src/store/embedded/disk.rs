//! What the file is stored on, and stays so while the database in it is opened anew.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io,
    ops::Bound,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, StorageBackend, backends::FileBackend};
use rustix::fs::{Advice, fadvise};

/// A range of the file that is locked.
type Range = (Bound<u64>, Bound<u64>);

/// The file itself, with its lock, from the start of the process to its end: while the database is
/// opened anew, no other process must come in between.
#[derive(Debug)]
pub(super) struct Storage {
    backend: Box<dyn StorageBackend>,
    /// For what is beyond a backend: the same file.
    file: Option<File>,
    // Locks that are held. Taken only while a database is opened.
    locks: Mutex<HashSet<Range>>,
    /// Whether the disk has failed to take what it was given.
    has_lost_writes: AtomicBool,
}

/// The file as one opening of the database sees it: when that is over, nothing of it touches the
/// file any more.
pub(super) struct Disk {
    storage: Arc<Storage>,
    is_closed: AtomicBool,
}

impl Storage {
    /// A file that is open for reading and writing.
    pub(super) fn of(file: File) -> io::Result<Arc<Self>> {
        let same = file.try_clone()?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Arc::new(Self {
            file: Some(same),
            ..Self::over(Box::new(backend))
        }))
    }

    /// Something that can be written like a file.
    pub(super) fn over(backend: Box<dyn StorageBackend>) -> Self {
        Self {
            backend,
            file: None,
            locks: Mutex::default(),
            has_lost_writes: AtomicBool::new(false),
        }
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    /// The file for another opening.
    ///
    /// After a sync that failed, the system may hold pages for written that never reached the disk:
    /// they are forgotten here, so that the opening reads and checks what the disk really has.
    pub(super) fn disk(self: &Arc<Self>) -> Disk {
        if self.has_lost_writes.swap(false, Ordering::Relaxed)
            && let Some(file) = &self.file
            && let Err(error) = fadvise(file, 0, None, Advice::DontNeed)
        {
            tracing::warn!(%error, "the system keeps pages of the store's file that may not be on disk");
        }
        Disk {
            storage: Arc::clone(self),
            is_closed: AtomicBool::new(false),
        }
    }
}

impl Disk {
    fn backend(&self) -> io::Result<&dyn StorageBackend> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the file was opened anew"));
        }
        Ok(&*self.storage.backend)
    }

    /// Takes a lock, unless an earlier opening has it already.
    fn take(
        &self,
        range: Range,
        take: impl FnOnce(&dyn StorageBackend) -> Result<bool, BackendError>,
    ) -> Result<bool, BackendError> {
        let backend = self.backend()?;
        let mut locks = self
            .storage
            .locks
            .lock()
            .expect("no section under the lock panics");
        let is_taken = locks.contains(&range) || take(backend)?;
        if is_taken {
            locks.insert(range);
        }
        Ok(is_taken)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.backend()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend()?.sync_data().inspect_err(|_| {
            self.storage.has_lost_writes.store(true, Ordering::Relaxed);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend()?.write(offset, data)
    }

    /// The file stays open, and locked.
    fn close(&self) -> io::Result<()> {
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.take((start, end), |backend| backend.try_lock_range(start, end))
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.take((start, end), |backend| {
            backend.try_lock_shared_range(start, end)
        })
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.take((start, end), |backend| {
            backend.lock_range(start, end).map(|()| true)
        })
        .map(drop)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.take((start, end), |backend| {
            backend.lock_shared_range(start, end).map(|()| true)
        })
        .map(drop)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let mut locks = self
            .storage
            .locks
            .lock()
            .expect("no section under the lock panics");
        self.backend()?.unlock_range(start, end)?;
        locks.remove(&(start, end));
        Ok(())
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend()?.query_lock_range(start, end)
    }
}
