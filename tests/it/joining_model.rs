//! The joining core under a model checker, which decides at every lock who runs next.
//!
//! `hub/ring.rs` and `hub/channel.rs` are built here a second time, on the checker's lock in the
//! place of the standard one. Each reader must find: the state S when it joins, then exactly the
//! frames after S in order, or word that it lagged and the state anew. A reader that is not woken
//! waits for ever, which the checker reports as a deadlock.

#[path = "../../src/hub/channel.rs"]
mod channel;
#[path = "../../src/hub/ring.rs"]
mod ring;
mod sync {
    pub(super) use shuttle::sync::{Arc, Mutex, MutexGuard};
}

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use shuttle::{future::block_on, thread};

use channel::{Channel, Got, Reader};
use ring::Weigh;
use sync::Arc;

/// Tells of one change: the number that the state had after it.
#[derive(Debug, Clone)]
struct Frame {
    number: u64,
    weight: usize,
    /// Lives as long as anybody holds the frame.
    _trace: Arc<()>,
}

impl Weigh for Frame {
    fn weight(&self) -> usize {
        self.weight
    }
}

/// A channel whose state counts its changes, each told of by one frame.
#[derive(Clone)]
struct Model {
    channel: Arc<Channel<u64, Frame>>,
    weight: usize,
    trace: Arc<()>,
}

/// How much of a reader's buffer one read may fill.
#[derive(Debug, Clone, Copy)]
enum Appetite {
    OneFrame,
    Everything,
}

/// A frame so small that nobody ever lags.
const LIGHT: usize = 1;

/// A frame of which the ring holds two: who is three behind has lagged.
const HEAVY: usize = 800 * 1024;

impl Model {
    fn new(weight: usize) -> Self {
        Self {
            channel: Arc::new(Channel::new(0)),
            weight,
            trace: Arc::default(),
        }
    }

    fn publish(&self) {
        self.channel.publish(|state, readers, push| {
            *state += 1;
            // As the hub does: for nobody nothing is encoded.
            if readers > 0 {
                push(Frame {
                    number: *state,
                    weight: self.weight,
                    _trace: Arc::clone(&self.trace),
                });
            }
        });
    }

    /// A change that no frame tells of.
    fn publish_gap(&self) {
        self.channel.publish_gap(|state| *state += 1);
    }

    fn join(&self) -> Watcher {
        let (seen, reader) = self.channel.join(|state| *state);
        let room = if self.weight == LIGHT { 8_192 } else { 2 };
        Watcher {
            reader,
            room,
            seen,
            is_woken_by_next: false,
        }
    }

    /// When everybody has left, no frame is held any more.
    fn check_baseline(self) {
        assert_eq!(self.channel.with(|_, readers| readers), 0);
        assert_eq!(
            Arc::strong_count(&self.trace),
            1,
            "a frame outlived its readers"
        );
    }
}

struct Watcher {
    reader: Reader<u64, Frame>,
    /// How many frames the ring holds for it.
    room: u64,
    /// The newest number that it knows.
    seen: u64,
    /// Whether it was told that it need not ask before it is woken.
    is_woken_by_next: bool,
}

impl Watcher {
    fn poll(&mut self, context: &mut Context<'_>, appetite: Appetite) -> Poll<()> {
        let most_bytes = match appetite {
            Appetite::OneFrame => 1,
            Appetite::Everything => usize::MAX,
        };
        let mut frames = Vec::new();
        match std::task::ready!(self.reader.poll_read(context, most_bytes, |frame: &Frame| {
            frames.push(frame.clone())
        })) {
            Got::Frames { is_all } => {
                self.is_woken_by_next = is_all;
                assert!(!frames.is_empty());
                for frame in frames {
                    assert_eq!(
                        frame.number,
                        self.seen + 1,
                        "a frame is missing, or comes twice"
                    );
                    self.seen = frame.number;
                }
            }
            Got::Lagged => {
                assert!(frames.is_empty());
                let state = self.reader.rejoin(|state| *state);
                assert!(
                    state > self.seen + self.room,
                    "lagged although the ring had room"
                );
                self.seen = state;
            }
        }
        Poll::Ready(())
    }

    /// Reads until the change `last` is known, waiting where nothing has come yet.
    fn follow(&mut self, last: u64, appetite: Appetite) {
        block_on(poll_fn(|context| {
            while self.seen < last {
                std::task::ready!(self.poll(context, appetite));
                if std::mem::take(&mut self.is_woken_by_next) && self.seen < last {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        }));
        assert_eq!(self.seen, last);
    }

    /// Reads what is there, without waiting.
    fn glance(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.poll(&mut context, Appetite::OneFrame);
    }
}

/// Publishers, followers to the end, and passers-by that leave early, all at once.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    publishers: u64,
    changes: u64,
    followers: usize,
    passers: usize,
    weight: usize,
}

impl Crowd {
    fn run(self) {
        let model = Model::new(self.weight);
        let last = self.publishers * self.changes;
        let mut threads = Vec::new();
        for _ in 0..self.publishers {
            let model = model.clone();
            threads.push(thread::spawn(move || {
                for _ in 0..self.changes {
                    model.publish();
                }
            }));
        }
        for index in 0..self.followers {
            let model = model.clone();
            let appetite = [Appetite::OneFrame, Appetite::Everything][index % 2];
            threads.push(thread::spawn(move || model.join().follow(last, appetite)));
        }
        for _ in 0..self.passers {
            let model = model.clone();
            threads.push(thread::spawn(move || {
                let mut watcher = model.join();
                watcher.glance();
                watcher.glance();
            }));
        }
        for thread in threads {
            thread.join().expect("the thread's own checks hold");
        }
        model.check_baseline();
    }
}

const CROWD: Crowd = Crowd {
    publishers: 2,
    changes: 3,
    followers: 2,
    passers: 1,
    weight: LIGHT,
};

#[test]
fn every_reader_gets_its_state_and_then_exactly_what_follows() {
    shuttle::check_random(|| CROWD.run(), 4_000);
}

#[test]
fn the_same_holds_when_few_switches_are_chosen_badly() {
    shuttle::check_pct(|| CROWD.run(), 2_000, 3);
}

#[test]
fn readers_that_lag_are_told_and_go_on_from_the_present_state() {
    let crowd = Crowd {
        publishers: 2,
        changes: 4,
        weight: HEAVY,
        ..CROWD
    };
    shuttle::check_random(move || crowd.run(), 4_000);
    shuttle::check_pct(move || crowd.run(), 2_000, 3);
}

#[test]
fn a_change_without_frames_is_told_to_every_reader() {
    shuttle::check_dfs(
        || {
            let model = Model::new(LIGHT);
            let mut watcher = model.join();
            // There is room for no frame of a change that has none.
            watcher.room = 0;
            let publisher = thread::spawn({
                let model = model.clone();
                move || {
                    model.publish();
                    model.publish_gap();
                }
            });
            watcher.follow(2, Appetite::Everything);
            publisher.join().expect("publishing does not panic");
            drop(watcher);
            model.check_baseline();
        },
        None,
    );
}

#[test]
fn joining_beside_a_publisher_holds_in_every_interleaving() {
    let crowd = Crowd {
        publishers: 1,
        changes: 2,
        followers: 1,
        passers: 0,
        weight: LIGHT,
    };
    shuttle::check_dfs(move || crowd.run(), None);
}

#[test]
fn leaving_beside_a_publisher_holds_in_every_interleaving() {
    let crowd = Crowd {
        publishers: 1,
        changes: 2,
        followers: 0,
        passers: 1,
        weight: LIGHT,
    };
    shuttle::check_dfs(move || crowd.run(), None);
}

/// A reader that only rejoins, as one that lagged does, beside a publisher.
#[test]
fn rejoining_beside_a_publisher_holds_in_every_interleaving() {
    shuttle::check_dfs(
        || {
            let model = Model::new(LIGHT);
            let mut watcher = model.join();
            let publisher = thread::spawn({
                let model = model.clone();
                move || (0..2).for_each(|_| model.publish())
            });
            watcher.seen = watcher.reader.rejoin(|state| *state);
            watcher.follow(2, Appetite::Everything);
            publisher.join().expect("publishing does not panic");
            drop(watcher);
            model.check_baseline();
        },
        None,
    );
}
