//! One delivery thread: its sockets, its streams and its clock.

use std::{
    io::{self, ErrorKind},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio::runtime::Handle;

use super::{
    HandOver,
    inbox::{Inbox, StreamWaker, Waiting},
    watcher::{Desk, Next, Watcher},
};
use crate::metrics::ConnectionMetrics;

/// The token of the inbox; the others are places of watchers.
const INBOX: Token = Token(usize::MAX);

/// How many sockets are looked after between two looks into the inbox.
const EVENTS: usize = 1024;

/// The least time between two looks at the clock for all watchers: much less than any of their times.
const GRAIN: Duration = Duration::from_millis(20);

/// The least time from such a look to the next, as a multiple of what it took: a hundred thousand watchers cost no more
/// than a hundredth of the processor.
const REST: u32 = 100;

/// A thread that has not begun, or that one's own state.
pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    /// Boxed, so that the room that a slab keeps for more costs next to nothing.
    watchers: Slab<Box<Watcher>>,
    /// The places of those that have more to do, and whether that is to read.
    busy: Vec<(usize, Work)>,
    desk: Desk,
    /// When the clock is looked at for all.
    next_sweep: Option<Instant>,
}

/// What a watcher is looked after for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The stream asks for it.
    Woken,
    /// The socket, or the clock.
    Write,
    Read,
}

impl Thread {
    pub(super) fn new(metrics: Arc<ConnectionMetrics>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), INBOX)?;
        Ok(Self {
            poll,
            inbox: Arc::new(Inbox::new(waker)),
            watchers: Slab::new(),
            busy: Vec::new(),
            desk: Desk::new(metrics),
            next_sweep: None,
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Begins; the thread ends when its inbox is closed.
    pub(super) fn start(mut self, name: &str) -> io::Result<JoinHandle<()>> {
        // Streams may wait for a store, whose clients are the runtime's.
        let runtime = Handle::current();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                tracing::error!("a delivery thread panicked: its streams end, and it begins anew");
                self.busy.clear();
                // One by one, lest the drop of one take the thread with it.
                for watcher in mem::take(&mut self.watchers) {
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
                }
            }
        })
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut waiting = Waiting::default();
        while !waiting.is_closed {
            self.sleep(&mut events);
            for event in events.iter().filter(|event| event.token() != INBOX) {
                let place = event.token().0;
                if event.is_writable() {
                    self.look_after(place, Work::Write);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.look_after(place, Work::Read);
                }
            }
            self.inbox.take(&mut waiting);
            for stream in waiting.arrivals.drain(..) {
                self.welcome(stream);
            }
            for place in waiting.woken.drain(..) {
                self.look_after(place, Work::Woken);
            }
            for (place, work) in mem::take(&mut self.busy) {
                self.look_after(place, work);
            }
            self.sweep();
        }
    }

    /// Waits for a socket, for something in the inbox, or for the clock.
    fn sleep(&mut self, events: &mut Events) {
        let longest = match (
            self.busy.is_empty() && self.inbox.may_sleep(),
            self.next_sweep,
        ) {
            (false, _) => Some(Duration::ZERO),
            (true, next_sweep) => {
                next_sweep.map(|next| next.saturating_duration_since(Instant::now()))
            }
        };
        if let Err(error) = self.poll.poll(events, longest)
            && error.kind() != ErrorKind::Interrupted
        {
            panic!("a delivery thread cannot wait for its sockets: {error}");
        }
        self.inbox.has_woken();
    }

    fn welcome(&mut self, stream: HandOver) {
        let entry = self.watchers.vacant_entry();
        let place = entry.key();
        let waker = StreamWaker::new(Arc::clone(&self.inbox), place);
        let mut watcher = Watcher::new(stream, waker);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        match registry.register(watcher.socket(), Token(place), interest) {
            Ok(()) => {
                entry.insert(Box::new(watcher));
                self.look_after(place, Work::Write);
            }
            Err(error) => {
                tracing::error!(%error, "a stream ended: its socket cannot be waited for");
            }
        }
    }

    /// A panic in one stream ends that stream.
    fn look_after(&mut self, place: usize, work: Work) {
        let Some(watcher) = self.watchers.get_mut(place) else {
            return;
        };
        let desk = &mut self.desk;
        let next = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Woken => watcher.woken(desk),
            Work::Write => watcher.write(desk),
            Work::Read => watcher.read(desk),
        }));
        match next {
            Ok(Next::Waits) => self.look_at_clock(place),
            Ok(Next::GoesOn) => self.busy.push((place, work)),
            Ok(Next::Leaves) => self.remove(place),
            Err(_) => {
                tracing::error!("a stream ended by a panic");
                self.remove(place);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let watcher = self.watchers.remove(place);
        // Its socket leaves the poll as it is closed.
        if catch_unwind(AssertUnwindSafe(|| drop(watcher))).is_err() {
            tracing::error!("the end of a stream panicked");
        }
    }

    /// Sees to it that the clock is looked at when the watcher is due.
    fn look_at_clock(&mut self, place: usize) {
        let due = self.watchers[place].due();
        self.next_sweep = Some(self.next_sweep.map_or(due, |next| next.min(due)));
    }

    /// Looks after everybody whose time has come.
    fn sweep(&mut self) {
        let now = Instant::now();
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        let due = self.watchers.iter();
        let due = due.filter(|(_, watcher)| watcher.due() <= now);
        let due: Vec<usize> = due.map(|(place, _)| place).collect();
        let looked = now.elapsed();
        for place in due {
            self.look_after(place, Work::Write);
        }
        let again = now + GRAIN.max(looked * REST);
        let earliest = self.watchers.iter().map(|(_, watcher)| watcher.due()).min();
        self.next_sweep = earliest.map(|earliest| earliest.max(again));
    }
}
