//! The frames of one job that some reader has not read yet. Plain data, no lock.
//!
//! One ring for all readers: what is bounded is the job's backlog, however many readers are slow.
//! A frame leaves when the last reader has read it, when the ring is full, or when all are told to
//! look at the state anew; whoever had not read it then has *lagged*, which is told, never hidden.

use std::{collections::VecDeque, task::Waker};

use slab::Slab;

/// Most frames that wait for the readers of one job: those of eight of the largest commits, which come within
/// milliseconds when many send events at once. What a reader lacks beyond them is not here any more, and after a
/// ninth such commit not among the kept events either.
const MOST_FRAMES: usize = 8 * 1_024;

/// Most bytes of them: more than one commit brings, so that it costs nobody who had read what was before it.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// What the ring holds: something with a size.
pub(super) trait Weigh {
    /// Its size in bytes.
    fn weight(&self) -> usize;
}

/// Names a reader of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReaderKey(usize);

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// There were frames; they were handed out.
    Frames,
    /// The reader has read everything.
    Empty,
    /// Frames that the reader had not read are gone; it stands at the end again.
    Lagged,
}

/// Frames in order, and how far each reader has come.
#[derive(Debug)]
pub(super) struct Ring<F> {
    entries: VecDeque<Entry<F>>,
    /// Index of the first entry, counted from the ring's beginning.
    first: u64,
    bytes: usize,
    readers: Slab<Reader>,
}

#[derive(Debug)]
struct Entry<F> {
    frame: F,
    /// How many readers have still to read it. Readers read in order, so this never falls along the ring.
    unread: usize,
}

#[derive(Debug)]
struct Reader {
    /// Index of the next frame to read.
    next: u64,
    waker: Option<Waker>,
}

impl<F> Default for Ring<F> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            readers: Slab::new(),
        }
    }
}

impl<F: Weigh> Ring<F> {
    /// Adds a reader that reads what is pushed from now on.
    pub(super) fn join(&mut self) -> ReaderKey {
        let next = self.end();
        ReaderKey(self.readers.insert(Reader { next, waker: None }))
    }

    /// Removes a reader; what only it had still to read leaves with it. Its waker, which may hold other readers, is to
    /// be dropped once the lock is released.
    pub(super) fn leave(&mut self, key: ReaderKey) -> Option<Waker> {
        self.skip(key);
        let reader = self.readers.remove(key.0);
        if self.readers.is_empty() {
            // Nobody watches: a job that was watched once costs no more than one that never was.
            *self = Self {
                first: self.end(),
                ..Self::default()
            };
        }
        reader.waker
    }

    /// How many readers there are.
    pub(super) fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Appends a frame for every present reader.
    pub(super) fn push(&mut self, frame: F) {
        let unread = self.readers.len();
        if unread == 0 {
            return;
        }
        self.bytes += frame.weight();
        self.entries.push_back(Entry { frame, unread });
        // The newest frame stays even when it alone is too large: it is what everybody waits for.
        while self.entries.len() > 1
            && (self.entries.len() > MOST_FRAMES || self.bytes > MOST_BYTES)
        {
            self.pop();
        }
    }

    /// Drops everything that waits and lets every present reader lag.
    pub(super) fn lose(&mut self) {
        self.first = self.end() + 1;
        self.entries.clear();
        self.bytes = 0;
    }

    /// Shows `take` what `key` has not read, oldest first, until that weighs `most_bytes`.
    pub(super) fn read(
        &mut self,
        key: ReaderKey,
        most_bytes: usize,
        mut take: impl FnMut(&F),
    ) -> Read {
        let next = self.readers[key.0].next;
        if next < self.first {
            self.skip(key);
            return Read::Lagged;
        }
        let start = usize::try_from(next - self.first).expect("a ring has few entries");
        let mut taken = 0;
        let mut bytes = 0;
        for entry in self.entries.iter_mut().skip(start) {
            if bytes >= most_bytes {
                break;
            }
            bytes += entry.frame.weight();
            taken += 1;
            entry.unread -= 1;
            take(&entry.frame);
        }
        self.readers[key.0].next = next + taken;
        self.drop_read();
        if taken > 0 { Read::Frames } else { Read::Empty }
    }

    /// Whether a reader has read everything.
    pub(super) fn has_read_all(&self, key: ReaderKey) -> bool {
        self.readers[key.0].next == self.end()
    }

    /// Moves a reader to the end without handing anything out.
    pub(super) fn skip(&mut self, key: ReaderKey) {
        let next = self.readers[key.0].next.max(self.first);
        let start = usize::try_from(next - self.first).expect("a ring has few entries");
        for entry in self.entries.iter_mut().skip(start) {
            entry.unread -= 1;
        }
        self.readers[key.0].next = self.end();
        self.drop_read();
    }

    /// Remembers whom to wake when something is pushed.
    pub(super) fn register(&mut self, key: ReaderKey, waker: &Waker) {
        match &mut self.readers[key.0].waker {
            Some(known) => known.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// Takes the wakers of all readers that wait, to be woken once the lock is released.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.readers
            .iter_mut()
            .filter_map(|(_, reader)| reader.waker.take())
            .collect()
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn drop_read(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.unread == 0) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.frame.weight();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Weigh for u64 {
        fn weight(&self) -> usize {
            10_000
        }
    }

    /// A frame of which there may be too many before they are too large.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Small(usize);

    impl Weigh for Small {
        fn weight(&self) -> usize {
            1
        }
    }

    #[test]
    fn a_reader_may_be_as_many_frames_behind_as_eight_commits_bring_and_no_more() {
        let mut ring = Ring::default();
        let reader = ring.join();
        (0..MOST_FRAMES).for_each(|number| ring.push(Small(number)));
        let mut read = Vec::new();
        assert_eq!(
            ring.read(reader, usize::MAX, |frame| read.push(frame.0)),
            Read::Frames
        );
        assert_eq!(read, Vec::from_iter(0..MOST_FRAMES));
        (0..=MOST_FRAMES).for_each(|number| ring.push(Small(number)));
        assert_eq!(ring.entries.len(), MOST_FRAMES);
        assert_eq!(ring.read(reader, usize::MAX, |_| {}), Read::Lagged);
        assert_eq!(ring.read(reader, usize::MAX, |_| {}), Read::Empty);
        assert_eq!((ring.entries.len(), ring.bytes), (0, 0));
    }

    #[test]
    fn one_frame_that_is_too_large_by_itself_is_read_all_the_same() {
        struct Large;
        impl Weigh for Large {
            fn weight(&self) -> usize {
                MOST_BYTES + 1
            }
        }
        let mut ring = Ring::default();
        let reader = ring.join();
        ring.push(Large);
        assert_eq!(ring.read(reader, usize::MAX, |_| {}), Read::Frames);
        ring.push(Large);
        ring.push(Large);
        assert_eq!(ring.read(reader, usize::MAX, |_| {}), Read::Lagged);
    }

    #[derive(Debug, Clone)]
    enum Action {
        Join,
        Leave(usize),
        Push,
        Lose,
        Read(usize, usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            20 => Just(Action::Join),
            10 => (0..8usize).prop_map(Action::Leave),
            80 => Just(Action::Push),
            1 => Just(Action::Lose),
            40 => (0..8usize, 1..100_000usize).prop_map(|(reader, most)| Action::Read(reader, most)),
        ]
    }

    proptest! {
        // Each case is hundreds of actions long, since a reader lags by hundreds of frames.
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each reader gets every frame since it joined, in order, except after being told of a lag.
        #[test]
        fn readers_get_everything_in_order_or_are_told(actions in prop::collection::vec(action(), 0..900)) {
            let mut ring = Ring::default();
            let mut pushed = 0u64;
            // The number from which on nothing was lost on purpose.
            let mut kept_from = 0u64;
            // For each live reader: its key and the next number that it must see.
            let mut readers: Vec<(ReaderKey, u64)> = Vec::new();
            for action in actions {
                match action {
                    Action::Join => readers.push((ring.join(), pushed)),
                    Action::Leave(at) if at < readers.len() => {
                        ring.leave(readers.remove(at).0);
                    }
                    Action::Push => {
                        ring.push(pushed);
                        pushed += 1;
                    }
                    Action::Lose => {
                        ring.lose();
                        pushed += 1;
                        kept_from = pushed;
                    }
                    Action::Read(at, most) if at < readers.len() => {
                        let (key, expected) = &mut readers[at];
                        let mut out = Vec::new();
                        match ring.read(*key, most, |number| out.push(*number)) {
                            Read::Frames => {
                                prop_assert!(*expected >= kept_from, "a loss was not told");
                                for number in out {
                                    prop_assert_eq!(number, *expected);
                                    *expected += 1;
                                }
                            }
                            Read::Empty => prop_assert_eq!(*expected, pushed),
                            Read::Lagged => {
                                let is_lost = *expected < kept_from;
                                prop_assert!(is_lost || pushed - *expected > 200, "lagged without reason");
                                *expected = pushed;
                            }
                        }
                    }
                    Action::Leave(_) | Action::Read(..) => {}
                }
                let behind = readers.iter().map(|(_, expected)| pushed - expected).max();
                prop_assert!(ring.entries.len() as u64 <= behind.unwrap_or(0));
                prop_assert!(ring.entries.len() <= MOST_FRAMES);
                prop_assert_eq!(ring.bytes, ring.entries.len() * 10_000);
            }
        }
    }
}
