//! How a delivery task falls asleep and is woken, under a model checker that decides at every lock and flag who runs
//! next.
//!
//! `delivery/inbox.rs` is built here a second time, on the checker's lock and flags in the place of the standard ones.
//! Whatever is said to a stream, or comes to the task, the task has to find; one that sleeps for ever is reported as a
//! deadlock.

#[path = "../../src/delivery/inbox.rs"]
mod inbox;
mod sync {
    pub(super) use shuttle::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    /// What comes to the task: the number of a stream.
    pub(super) type Arrival = usize;
}

use std::{future::poll_fn, sync::Arc, task::Waker};

use shuttle::{future::block_on, thread};

use inbox::{Inbox, StreamWaker, Waiting};
use sync::{AtomicU32, Ordering};

/// A stream of which somebody says how far it is.
#[derive(Default)]
struct Stream {
    said: AtomicU32,
}

/// Streams that are said something, and one that comes late.
#[derive(Clone, Copy)]
struct Crowd {
    streams: usize,
    words: u32,
    has_newcomer: bool,
}

impl Crowd {
    fn run(self) {
        let inbox = Arc::<Inbox>::default();
        let streams: Arc<[Stream]> = (0..self.streams).map(|_| Stream::default()).collect();
        let wakers = (0..self.streams).map(|place| StreamWaker::new(Arc::clone(&inbox), place));
        let wakers: Vec<Arc<StreamWaker>> = wakers.collect();
        let speakers = wakers.iter().cloned().enumerate().map(|(place, waker)| {
            let (streams, waker) = (Arc::clone(&streams), Waker::from(waker));
            thread::spawn(move || {
                for word in 1..=self.words {
                    streams[place].said.store(word, Ordering::SeqCst);
                    waker.wake_by_ref();
                }
            })
        });
        let speakers: Vec<_> = speakers.collect();
        let newcomer = self.has_newcomer.then(|| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.arrive(self.streams))
        });
        block_on(self.look_after(&inbox, &streams, &wakers));
        for other in speakers.into_iter().chain(newcomer) {
            other.join().expect("no panic");
        }
    }

    /// The delivery task: it ends when it has seen everything.
    async fn look_after(self, inbox: &Inbox, streams: &[Stream], wakers: &[Arc<StreamWaker>]) {
        let mut seen = vec![0; self.streams];
        let mut has_come = !self.has_newcomer;
        let mut waiting = Waiting::default();
        while !has_come || seen.iter().any(|seen| *seen < self.words) {
            poll_fn(|context| inbox.poll_waiting(context)).await;
            inbox.take(&mut waiting);
            for arrival in waiting.arrivals.drain(..) {
                assert_eq!(arrival, self.streams);
                assert!(!has_come, "it came twice");
                has_come = true;
            }
            for place in waiting.woken.drain(..) {
                wakers[place].rearm();
                seen[place] = streams[place].said.load(Ordering::SeqCst);
            }
        }
    }
}

const CROWD: Crowd = Crowd {
    streams: 2,
    words: 3,
    has_newcomer: true,
};

#[test]
fn a_task_finds_all_that_is_said_in_random_orders() {
    shuttle::check_random(|| CROWD.run(), 4_000);
}

#[test]
fn a_task_finds_all_that_is_said_under_rare_orders() {
    shuttle::check_pct(|| CROWD.run(), 2_000, 3);
}

#[test]
fn a_task_finds_one_word_in_every_order() {
    let crowd = Crowd {
        streams: 1,
        words: 1,
        has_newcomer: false,
    };
    shuttle::check_dfs(move || crowd.run(), None);
}

#[test]
fn a_task_that_is_closed_does_not_sleep() {
    shuttle::check_dfs(
        || {
            let inbox = Arc::<Inbox>::default();
            let closer = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.close())
            };
            let mut waiting = Waiting::default();
            block_on(async {
                while !waiting.is_closed {
                    poll_fn(|context| inbox.poll_waiting(context)).await;
                    inbox.take(&mut waiting);
                }
            });
            closer.join().expect("no panic");
        },
        None,
    );
}
