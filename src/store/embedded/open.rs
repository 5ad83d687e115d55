//! Opening the file: making it, checking it, and giving back what is unfinished.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableError};
use thiserror::Error;

use super::{
    EmbeddedSettings,
    disk::Storage,
    fault::Fault,
    tables::{FORMAT, NUMBERS, Tables},
    totals::Totals,
};
use crate::job::{Seq, Timestamp};

/// Up to this length a file that was closed well is checked all the same, byte by byte: some
/// hundred milliseconds. One that was not is checked whatever its length.
const CHECKED_BYTES: u64 = 256 << 20;

/// A file gets smaller when it opens if so much of it is free, and if no more than so much has to
/// be moved: then that takes a second or two.
const COMPACTED_BYTES: u64 = 64 << 20;
const MOST_MOVED_BYTES: u64 = 256 << 20;

/// Why the file cannot be used. Each is a sentence for whoever starts the server.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store's file {0} is in use by another process")]
    Locked(PathBuf),
    /// A newer version of this program has written it.
    #[error("the store's file {0} was written by a newer version of progressd")]
    Newer(PathBuf),
    /// It is not what this program has written.
    #[error("the store's file {0} is damaged, or no file of progressd's: {1}")]
    Damaged(PathBuf, String),
    /// The system does not let it be used.
    #[error("the store's file {0} cannot be {1}: {2}")]
    System(PathBuf, &'static str, io::Error),
}

/// The file, open.
pub(super) struct Opened {
    pub(super) storage: Arc<Storage>,
    pub(super) file: Database,
    pub(super) totals: Totals,
}

/// Opens the file at the settings' path, or makes it.
pub(super) fn open(settings: &EmbeddedSettings, now: Timestamp) -> Result<Opened, OpenError> {
    let path = &settings.path;
    let system = |done| move |error| OpenError::System(path.clone(), done, error);
    let file = loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => break file,
            Err(error) if error.kind() == ErrorKind::NotFound => create(settings)?,
            Err(error) => return Err(system("opened")(error)),
        }
    };
    if !file.metadata().map_err(system("opened"))?.is_file() {
        let error = io::Error::new(ErrorKind::InvalidInput, "it is not a file");
        return Err(system("opened")(error));
    }
    over(Storage::of(file).map_err(system("opened"))?, settings, now)
}

/// Makes the file beside its place and moves it there when it is whole: a machine that dies
/// meanwhile leaves no half of one.
fn create(settings: &EmbeddedSettings) -> Result<(), OpenError> {
    let path = &settings.path;
    let system = |error| OpenError::System(path.clone(), "created", error);
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let made = tempfile::Builder::new()
        .prefix(".progressd-")
        .tempfile_in(folder)
        .map_err(|error| {
            // Without the path of what is only made on the way.
            let error = error.to_string();
            let reason = error.split(" at path ").next().unwrap_or_default();
            system(io::Error::other(reason.to_owned()))
        })?;
    let storage = Storage::of(made.reopen().map_err(system)?).map_err(system)?;
    let made_sense = |error| sentence(path, "created", error);
    let file = database(&storage, settings).map_err(made_sense)?;
    begin_tables(&file).map_err(|fault| of_fault(path, "created", fault))?;
    drop(file);
    made.as_file().sync_all().map_err(system)?;
    match made.persist_noclobber(path) {
        Ok(_) => {}
        // Another process was quicker; whether it has the file is seen in a moment.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(system(error.error)),
    }
    // The name has to reach the disk like the file.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(system)
}

/// Opens the database on a storage.
pub(super) fn over(
    storage: Arc<Storage>,
    settings: &EmbeddedSettings,
    now: Timestamp,
) -> Result<Opened, OpenError> {
    let path = &settings.path;
    let length = storage
        .len()
        .map_err(|error| OpenError::System(path.clone(), "read", error))?;
    let mut file = database(&storage, settings).map_err(|error| sentence(path, "opened", error))?;
    if length == 0 {
        // Made by somebody else, or cut off: progressd puts no file there that is not whole.
        tracing::warn!(path = %path.display(), "the store's file is empty: it begins anew");
        begin_tables(&file).map_err(|fault| of_fault(path, "created", fault))?;
    }
    check_format(&file, path)?;
    let read = |fault| of_fault(path, "written", fault);
    let totals = begin_era(&file, now).map_err(read)?;
    if is_compaction_worth_it(length, totals.weight) {
        let done = file.compact().map_err(|error| read(error.into()))?;
        tracing::debug!(done, "compacted the store's file");
    }
    Ok(Opened {
        storage,
        file,
        totals,
    })
}

/// Opens the database anew after something went wrong: it is checked whatever its length.
pub(super) fn reopen(
    settings: &EmbeddedSettings,
    storage: &Arc<Storage>,
) -> Result<Database, Fault> {
    Ok(database(storage, settings)?)
}

fn database(
    storage: &Arc<Storage>,
    settings: &EmbeddedSettings,
) -> Result<Database, DatabaseError> {
    let is_small = storage.len()? <= CHECKED_BYTES;
    let disk = storage.disk();
    // A file that makes no sense may make the code that reads it give up.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(settings.cache_bytes)
            .set_check_integrity_on_open(is_small)
            .set_repair_callback(|progress| {
                tracing::debug!(progress = progress.progress(), "checking the store's file");
            })
            .create_with_backend(disk)
    }));
    opened.unwrap_or_else(|_| {
        let reason = "its pages make no sense".to_owned();
        Err(StorageError::Corrupted(reason).into())
    })
}

/// Makes all tables, so that each is there whoever reads first.
fn begin_tables(file: &Database) -> Result<(), Fault> {
    let transaction = file.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let mut totals = Totals::default();
    totals.format = FORMAT;
    totals.save(&Totals::default(), &mut tables.numbers)?;
    drop(tables);
    transaction.commit()?;
    Ok(())
}

fn check_format(file: &Database, path: &Path) -> Result<(), OpenError> {
    let damaged = |reason: String| OpenError::Damaged(path.to_owned(), reason);
    let read = || {
        let transaction = file.begin_read()?;
        let numbers = match transaction.open_table(NUMBERS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(0),
            numbers => numbers?,
        };
        Ok(Totals::load(&numbers)?.format)
    };
    match read().map_err(|fault: Fault| damaged(fault.to_string()))? {
        0 => Err(damaged("its tables are missing".to_owned())),
        FORMAT => Ok(()),
        _ => Err(OpenError::Newer(path.to_owned())),
    }
}

/// Gives every unfinished job its new seq: see [`Era`](super::record::Era).
fn begin_era(file: &Database, now: Timestamp) -> Result<Totals, Fault> {
    let transaction = file.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let before = Totals::load(&tables.numbers)?;
    let mut totals = before.clone();
    let ceiling = Seq::new(totals.ceiling).unwrap_or(Seq::MAX);
    totals.floor = ceiling.next(now).get();
    totals.ceiling = totals.floor;
    totals.opened_at = now.as_micros();
    totals.save(&before, &mut tables.numbers)?;
    drop(tables);
    transaction.commit()?;
    Ok(totals)
}

fn is_compaction_worth_it(length: u64, weight: u64) -> bool {
    let free = length.saturating_sub(2 * weight);
    free > COMPACTED_BYTES && length > 3 * weight && weight <= MOST_MOVED_BYTES
}

fn of_fault(path: &Path, done: &'static str, fault: Fault) -> OpenError {
    match fault {
        Fault::File(redb::Error::Io(error)) => sentence(path, done, StorageError::Io(error).into()),
        fault => OpenError::Damaged(path.to_owned(), fault.to_string()),
    }
}

/// What is wrong, in a sentence.
fn sentence(path: &Path, done: &'static str, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::Locked(path)
        }
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            ErrorKind::InvalidData => {
                OpenError::Damaged(path, "it does not begin as one".to_owned())
            }
            ErrorKind::UnexpectedEof => OpenError::Damaged(path, "it ends too early".to_owned()),
            _ => OpenError::System(path, done, error),
        },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            // redb has no error of its own for this.
            match reason.starts_with("Expected file format version <=") {
                true => OpenError::Newer(path),
                false => OpenError::Damaged(path, reason),
            }
        }
        error => OpenError::Damaged(path, error.to_string()),
    }
}
