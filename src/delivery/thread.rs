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

/// How long the clock is not looked at for all watchers after such a look, as a multiple of what it took: so that a
/// hundred thousand watchers cost a hundredth of a processor.
const REST: u32 = 100;

/// Much less than any of their times.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// What a look took can be the time of others on the same processor.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// A thread that has not begun, or that one's own state.
pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    /// Boxed, so that the room that a slab keeps for more costs next to nothing.
    watchers: Slab<Box<Watcher>>,
    /// The places of those that have more to write, each once.
    busy: Vec<usize>,
    desk: Desk,
    /// When the clock is looked at for all.
    next_sweep: Option<Instant>,
    /// Before when it is not, whoever is due.
    rests_until: Instant,
    /// The last socket could not be waited for, and the log says so already.
    is_failing: bool,
}

/// What a watcher is looked after for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The stream asks for it.
    Woken,
    /// The socket has room, the clock asks for it, or it was not through.
    Write,
    /// The client has sent something, or has ended.
    Read { has_ended: bool },
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
            rests_until: Instant::now(),
            is_failing: false,
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
                self.end_all();
            }
            self.end_all();
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
                let has_ended = event.is_read_closed() || event.is_error();
                if event.is_readable() || has_ended {
                    self.look_after(place, Work::Read { has_ended });
                }
            }
            self.inbox.take(&mut waiting);
            for stream in waiting.arrivals.drain(..) {
                // A panic in one stream ends that stream.
                if catch_unwind(AssertUnwindSafe(|| self.welcome(stream))).is_err() {
                    tracing::error!("a stream panicked as it came to its thread");
                }
            }
            for place in waiting.woken.drain(..) {
                self.look_after(place, Work::Woken);
            }
            for place in mem::take(&mut self.busy) {
                if let Some(watcher) = self.watchers.get_mut(place) {
                    watcher.is_busy = false;
                }
                self.look_after(place, Work::Write);
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
                self.is_failing = false;
                entry.insert(Box::new(watcher));
                self.look_after(place, Work::Write);
            }
            Err(error) => {
                if !mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "streams end: their sockets cannot be waited for");
                }
                watcher.leave_early(&error);
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
            Work::Read { has_ended } => watcher.read(desk, has_ended),
        }));
        match next {
            Ok(Next::Waits) => self.look_at_clock(place),
            Ok(Next::GoesOn) => {
                if !mem::replace(&mut watcher.is_busy, true) {
                    self.busy.push(place);
                }
            }
            Ok(Next::Leaves) => self.remove(place),
            Err(panic) => {
                watcher.tell_panic(&*panic);
                self.remove(place);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        // Its socket leaves the poll as it is closed.
        end(self.watchers.remove(place));
    }

    fn end_all(&mut self) {
        self.busy.clear();
        mem::take(&mut self.watchers)
            .into_iter()
            .for_each(|(_, watcher)| end(watcher));
    }

    /// Sees to it that the clock is looked at when the watcher is due.
    fn look_at_clock(&mut self, place: usize) {
        let due = self.watchers[place].due().max(self.rests_until);
        self.next_sweep = Some(self.next_sweep.map_or(due, |next| next.min(due)));
    }

    /// Looks after everybody whose time has come.
    fn sweep(&mut self) {
        let now = Instant::now();
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        let mut due = Vec::new();
        let mut earliest: Option<Instant> = None;
        for (place, watcher) in &self.watchers {
            match watcher.due() {
                at if at <= now => due.push(place),
                at => earliest = Some(earliest.map_or(at, |earliest| earliest.min(at))),
            }
        }
        self.rests_until = now + rest_after(now.elapsed());
        self.next_sweep = earliest.map(|earliest| earliest.max(self.rests_until));
        for place in due {
            self.look_after(place, Work::Write);
        }
    }
}

/// Ends a watcher, whatever its parts do then.
fn end(watcher: Box<Watcher>) {
    if catch_unwind(AssertUnwindSafe(|| drop(watcher))).is_err() {
        tracing::error!("the end of a stream panicked");
    }
}

/// How long no look at the clock follows one that took so long.
fn rest_after(look: Duration) -> Duration {
    (look * REST).clamp(SHORTEST_REST, LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_looked_at_often_and_soon_after_a_look_that_was_interrupted() {
        let rest = |micros| rest_after(Duration::from_micros(micros));
        assert_eq!(rest(1), SHORTEST_REST);
        assert_eq!(rest(1_000), Duration::from_millis(100));
        assert_eq!(rest(1_000_000), LONGEST_REST);
    }
}
