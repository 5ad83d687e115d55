//! A machine whose power can fail: what was synced is on its disk, of the rest anything may be.

use std::{
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use redb::StorageBackend;

/// A sector: the least that a disk writes.
const SECTOR: usize = 512;

/// The machine. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug)]
struct State {
    /// What is on the disk for certain.
    synced: Vec<u8>,
    /// What programs see.
    seen: Vec<u8>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Operation>,
    /// When the power fails.
    fate: Fate,
    chance: StdRng,
    is_dead: bool,
    /// What every write comes to while it is set.
    failure: Option<io::ErrorKind>,
    /// So long the file can get.
    room: u64,
    syncs: u64,
    /// Whether a sync takes for ever.
    is_stuck: bool,
}

/// When the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Never,
    /// At the operation with this number from now on: in the middle of it.
    AtOperation(u64),
    /// At the sync with this number from now on: just before, in the middle of it, or just after.
    AtSync(u64),
}

#[derive(Debug)]
enum Operation {
    Write(u64, Vec<u8>),
    SetLength(u64),
}

impl Machine {
    pub(super) fn new(disk: Vec<u8>, seed: u64) -> Self {
        let state = Mutex::new(State {
            seen: disk.clone(),
            synced: disk,
            unsynced: Vec::new(),
            fate: Fate::Never,
            chance: StdRng::seed_from_u64(seed),
            is_dead: false,
            failure: None,
            room: u64::MAX,
            syncs: 0,
            is_stuck: false,
        });
        Self(Arc::new((state, Condvar::new())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no section under the lock panics")
    }

    pub(super) fn set_fate(&self, fate: Fate) {
        self.lock().fate = fate;
    }

    /// From now on every write fails like this, or none does.
    pub(super) fn fail_with(&self, failure: Option<io::ErrorKind>) {
        self.lock().failure = failure;
    }

    /// From now on there is nothing behind this length.
    pub(super) fn set_room(&self, room: u64) {
        self.lock().room = room;
    }

    /// From now on no sync ends, or they do again.
    pub(super) fn stick(&self, is_stuck: bool) {
        self.lock().is_stuck = is_stuck;
        self.0.1.notify_all();
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The power fails, if it has not yet; what is on the disk afterwards.
    pub(super) fn lose_power(&self) -> Vec<u8> {
        let mut state = self.lock();
        let state = &mut *state;
        state.is_dead = true;
        let mut disk = state.synced.clone();
        // How much of the rest had been written is a matter of luck, too.
        let luck = [0.0, 0.2, 0.5, 0.9, 1.0][state.chance.random_range(0..5)];
        for operation in state.unsynced.drain(..) {
            if !state.chance.random_bool(luck) {
                continue;
            }
            match operation {
                Operation::SetLength(length) => disk.resize(length as usize, 0),
                Operation::Write(offset, data) => {
                    for range in torn(&mut state.chance, data.len()) {
                        write(&mut disk, offset + range.start as u64, &data[range]);
                    }
                }
            }
        }
        disk
    }

    /// What is on the disk for certain.
    pub(super) fn synced(&self) -> Vec<u8> {
        self.lock().synced.clone()
    }
}

/// What of a write that was under way has reached the disk.
fn torn(chance: &mut StdRng, length: usize) -> Vec<Range<usize>> {
    let cut = chance.random_range(0..=length);
    let sector = cut - cut % SECTOR;
    let part = match chance.random_range(0..8) {
        // Any byte.
        0 => 0..cut,
        1 => cut..length,
        // Whole sectors: the first ones, the last ones, some of them.
        2 => 0..sector,
        3 => sector..length,
        4 => {
            let starts = (0..length).step_by(SECTOR);
            return starts
                .filter(|_| chance.random_bool(0.5))
                .map(|start| start..length.min(start + SECTOR))
                .collect();
        }
        _ => 0..length,
    };
    [part].into()
}

fn write(disk: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = offset as usize;
    let end = offset + data.len();
    if disk.len() < end {
        disk.resize(end, 0);
    }
    disk[offset..end].copy_from_slice(data);
}

impl State {
    /// Another operation begins; whether the machine is still there.
    fn go_on(&mut self) -> io::Result<()> {
        if let Fate::AtOperation(left) = &mut self.fate {
            if *left == 0 {
                self.is_dead = true;
            }
            *left = left.saturating_sub(1);
        }
        self.living()
    }

    fn living(&self) -> io::Result<()> {
        match (self.is_dead, self.failure) {
            (true, _) => Err(io::Error::other("the power is gone")),
            (false, Some(failure)) => Err(failure.into()),
            (false, None) => Ok(()),
        }
    }

    fn bring_to_disk(&mut self) {
        for operation in self.unsynced.drain(..) {
            match operation {
                Operation::SetLength(length) => self.synced.resize(length as usize, 0),
                Operation::Write(offset, data) => write(&mut self.synced, offset, &data),
            }
        }
    }
}

impl StorageBackend for Machine {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if state.is_dead {
            return state.living();
        }
        let end = offset as usize + out.len();
        let there = state.seen.get(offset as usize..end);
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        state.living()?;
        state.unsynced.push(Operation::SetLength(length));
        state.go_on()?;
        state.seen.resize(length as usize, 0);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        state.living()?;
        if offset + data.len() as u64 > state.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.unsynced.push(Operation::Write(offset, data.to_vec()));
        state.go_on()?;
        write(&mut state.seen, offset, data);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = self.lock();
        let mut state = self
            .0
            .1
            .wait_while(state, |state| state.is_stuck)
            .expect("no section under the lock panics");
        let state = &mut *state;
        state.go_on()?;
        if let Fate::AtSync(left) = &mut state.fate {
            if *left == 0 {
                state.is_dead = true;
                if state.chance.random_bool(0.4) {
                    state.bring_to_disk();
                }
                return state.living();
            }
            *left -= 1;
        }
        state.bring_to_disk();
        state.syncs += 1;
        Ok(())
    }
}
