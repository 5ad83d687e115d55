//! One delivery task: its sockets, its streams and its clock.

use std::{
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use slab::Slab;
use tokio::{
    task::yield_now,
    time::{Sleep, sleep_until},
};

use super::{
    HandOver,
    inbox::{Inbox, StreamWaker, Waiting},
    watcher::{Desk, Next, Watcher},
};
use crate::metrics::ConnectionMetrics;

/// For how long watchers are looked after before others on the same processor have their turn.
const TURN: Duration = Duration::from_micros(500);

/// How long the clock is not looked at for all watchers after such a look, as a multiple of what it took: so that it
/// costs a hundredth of a processor.
const REST: u32 = 100;

/// How many watchers are asked for their time before others have theirs.
const ASKED_AT_A_TIME: usize = 4096;

/// Much less than any of their times.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// Not more: what a look took can be the time of others on the same processor.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// One task's own state.
pub(super) struct Task {
    inbox: Arc<Inbox>,
    /// Boxed, so that the room that a slab keeps for more costs next to nothing.
    watchers: Slab<Box<Watcher>>,
    /// The places of those that have more to do, each once.
    busy: Vec<usize>,
    desk: Desk,
    /// When others last had their turn.
    turn_began: Instant,
    /// When the clock is looked at for all.
    next_sweep: Option<Instant>,
    /// Rings then.
    alarm: Pin<Box<Sleep>>,
    /// Before when it is not, whoever is due.
    rests_until: Instant,
}

impl Task {
    pub(super) fn new(inbox: Arc<Inbox>, metrics: Arc<ConnectionMetrics>) -> Self {
        let now = Instant::now();
        Self {
            inbox,
            watchers: Slab::new(),
            busy: Vec::new(),
            desk: Desk::new(metrics),
            turn_began: now,
            next_sweep: None,
            alarm: Box::pin(sleep_until(now.into())),
            rests_until: now,
        }
    }

    /// Ends when the inbox is closed.
    pub(super) async fn run(mut self) {
        while AssertUnwindSafe(self.deliver())
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!("a delivery task panicked: its streams end, and it begins anew");
            self.end_all();
            yield_now().await;
        }
        self.end_all();
    }

    async fn deliver(&mut self) {
        let mut waiting = Waiting::default();
        while !waiting.is_closed {
            poll_fn(|context| self.poll_work(context)).await;
            // Others first: of reports that are there already, the frames leave in one write.
            self.let_others_work().await;
            self.inbox.take(&mut waiting);
            for stream in waiting.arrivals.drain(..) {
                // A panic in one stream ends that stream.
                match catch_unwind(AssertUnwindSafe(|| self.welcome(stream))) {
                    Ok(place) => self.look_after(place).await,
                    Err(_) => tracing::error!("a stream panicked as it came to its task"),
                }
            }
            for place in waiting.woken.drain(..) {
                self.look_after(place).await;
            }
            for place in mem::take(&mut self.busy) {
                if let Some(watcher) = self.watchers.get_mut(place) {
                    watcher.is_busy = false;
                }
                self.look_after(place).await;
            }
            self.sweep().await;
            self.desk.clear();
        }
    }

    /// Waits for something in the inbox, or for the clock.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.busy.is_empty() || self.inbox.poll_waiting(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(next_sweep) = self.next_sweep else {
            return Poll::Pending;
        };
        if self.alarm.deadline() != next_sweep.into() {
            self.alarm.as_mut().reset(next_sweep.into());
        }
        self.alarm.poll_unpin(context)
    }

    /// Goes on when others on this processor had a turn.
    async fn let_others_work(&mut self) {
        yield_now().await;
        self.turn_began = Instant::now();
    }

    /// Gives it a place.
    fn welcome(&mut self, stream: HandOver) -> usize {
        let entry = self.watchers.vacant_entry();
        let place = entry.key();
        let waker = StreamWaker::new(Arc::clone(&self.inbox), place);
        entry.insert(Box::new(Watcher::new(stream, waker)));
        place
    }

    /// A panic in one stream ends that stream. Others have their turn once it is time for that.
    async fn look_after(&mut self, place: usize) {
        let Some(watcher) = self.watchers.get_mut(place) else {
            return;
        };
        let desk = &mut self.desk;
        match catch_unwind(AssertUnwindSafe(|| watcher.look_after(desk))) {
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
        if self.turn_began.elapsed() >= TURN {
            self.let_others_work().await;
        }
    }

    fn remove(&mut self, place: usize) {
        let watcher = self.watchers.remove(place);
        if watcher.is_busy {
            self.busy.retain(|busy| *busy != place);
        }
        end(watcher);
    }

    fn end_all(&mut self) {
        self.busy.clear();
        self.next_sweep = None;
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
    async fn sweep(&mut self) {
        let now = Instant::now();
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        let mut due = Vec::new();
        let mut earliest: Option<Instant> = None;
        for place in 0..self.watchers.capacity() {
            match self.watchers.get(place).map(|watcher| watcher.due()) {
                None => {}
                Some(at) if at <= now => due.push(place),
                Some(at) => earliest = Some(earliest.map_or(at, |earliest| earliest.min(at))),
            }
            if place % ASKED_AT_A_TIME == ASKED_AT_A_TIME - 1 {
                self.let_others_work().await;
            }
        }
        self.rests_until = now + rest_after(now.elapsed());
        self.next_sweep = earliest.map(|earliest| earliest.max(self.rests_until));
        for place in due {
            self.look_after(place).await;
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
