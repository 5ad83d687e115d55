//! The load itself: all watchers and workers of one server, on one thread and one epoll.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::{
    mark::Mark,
    peer::{Kind, Message, Server},
    publisher::Publisher,
    watcher::{Arrival, Progress, State, Watcher, buffer},
};

/// Publishers' tokens begin here, those of watchers at 0.
const PUBLISHERS: usize = 1 << 32;

/// Connections under way at a time while a crowd joins: less than any server's backlog.
const JOINING_AT_A_TIME: usize = 64;

/// The longest wait for a crowd to join and for answers; a server that needs more has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest wait for the last messages; what comes later is lost.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// What the watchers have had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages that reached a watcher for the first time.
    pub(crate) deliveries: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    /// Numbers that a watcher has not had although a higher one came.
    pub(crate) passed_over: u64,
    /// Connections that the server ended.
    pub(crate) ended: u64,
    /// Watchers that have had their first block.
    pub(crate) joined: u64,
}

/// Watchers and workers of one server. Dropping it closes all connections.
pub(crate) struct Fleet<'a> {
    server: &'a Server,
    poll: Poll,
    events: Events,
    watchers: Vec<Option<Watcher>>,
    free: Vec<usize>,
    publishers: Vec<Publisher>,
    /// The last number of each channel.
    numbers: Vec<u32>,
    /// How many watchers have had each number of channel 0.
    arrivals: Vec<u32>,
    /// All watchers have had the numbers of channel 0 up to here.
    completed: u32,
    /// Messages that those who were cut off have not had.
    abandoned: u64,
    /// Whether watchers leave with their first block.
    leave_at_once: bool,
    /// What watchers say that they had last.
    last_id: Option<String>,
    buffer: Vec<u8>,
    began: Instant,
    pub(crate) tally: Tally,
    /// From sending to receipt, in microseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl<'a> Fleet<'a> {
    /// Makes this many channels; their messages go over this many connections.
    pub(crate) fn new(
        server: &'a Server,
        channels: u32,
        publishers: usize,
    ) -> anyhow::Result<Self> {
        let token = |index| Token(PUBLISHERS + index);
        let publisher = |index| Publisher::new(server.publish_address, token(index));
        let mut fleet = Self {
            server,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            watchers: Vec::new(),
            free: Vec::new(),
            publishers: (0..publishers).map(publisher).collect(),
            numbers: vec![0; channels as usize],
            arrivals: vec![0],
            completed: 0,
            abandoned: 0,
            leave_at_once: false,
            last_id: None,
            buffer: buffer(),
            began: Instant::now(),
            tally: Tally::default(),
            latencies: Histogram::new_with_bounds(1, PATIENCE.as_micros() as u64, 3)?,
        };
        for channel in 0..channels {
            let publisher = fleet.publisher_of(channel);
            for request in server.dialect.create(channel) {
                fleet.publishers[publisher].send(&request);
            }
        }
        fleet.flush()?;
        fleet.answered()?;
        Ok(fleet)
    }

    /// Adds watchers, the first to channel 0, the next to channel 1 and so on round, and waits until
    /// each has had its first block.
    pub(crate) fn join(&mut self, count: usize) -> anyhow::Result<()> {
        self.join_at_once(count, JOINING_AT_A_TIME)
    }

    pub(crate) fn join_at_once(&mut self, count: usize, at_once: usize) -> anyhow::Result<()> {
        let aim = self.tally.joined + count as u64;
        let mut opened = 0;
        let all = self.until(PATIENCE, |fleet| {
            while opened < count
                && opened as u64 + aim - (count as u64) < fleet.tally.joined + at_once as u64
            {
                fleet.open(opened as u32 % fleet.numbers.len() as u32)?;
                opened += 1;
            }
            Ok(fleet.tally.joined >= aim)
        })?;
        let (joined, ended) = (self.tally.joined, self.tally.ended);
        anyhow::ensure!(
            all,
            "{joined} of {aim} watchers have joined, {ended} were ended"
        );
        Ok(())
    }

    /// Connects, asks, waits for the first block and leaves, for so long, with so many at a time.
    /// How many did.
    pub(crate) fn come_and_go(&mut self, time: Duration, at_once: usize) -> anyhow::Result<u64> {
        let (before, mut opened) = (self.tally.joined, 0);
        let began = Instant::now();
        self.leave_at_once = true;
        while began.elapsed() < time {
            while opened < self.tally.joined - before + at_once as u64 {
                self.open(0)?;
                opened += 1;
            }
            self.turn(Duration::from_millis(100))?;
            anyhow::ensure!(self.tally.ended == 0, "a watcher was refused");
        }
        let joined = self.tally.joined - before;
        self.leave();
        self.leave_at_once = false;
        Ok(joined)
    }

    /// Watchers from now on have had everything up to this id.
    pub(crate) fn resume_from(&mut self, id: String) {
        self.last_id = Some(id);
    }

    /// All watchers leave.
    pub(crate) fn leave(&mut self) {
        self.watchers.clear();
        self.free.clear();
    }

    fn open(&mut self, channel: u32) -> anyhow::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.watchers.push(None);
            self.watchers.len() - 1
        });
        let (server, registry) = (self.server, self.poll.registry());
        let request = server.dialect.watch(channel, self.last_id.as_deref());
        let address = server.watch_address;
        let watcher = Watcher::open(address, channel, request, Token(index), registry);
        self.watchers[index] = Some(watcher.context("connect")?);
        Ok(())
    }

    /// Sends a message to a channel's watchers.
    pub(crate) fn publish(&mut self, channel: u32, kind: Kind) {
        let number = &mut self.numbers[channel as usize];
        *number += 1;
        if channel == 0 {
            self.arrivals.push(0);
        }
        let mark = Mark {
            number: *number,
            sent: self.began.elapsed().as_nanos() as u64,
        };
        let publisher = self.publisher_of(channel);
        self.publishers[publisher].publish(Message {
            channel,
            mark,
            kind,
        });
    }

    fn publisher_of(&self, channel: u32) -> usize {
        channel as usize % self.publishers.len()
    }

    /// Messages of channel 0 that not every watcher has had.
    pub(crate) fn in_flight(&self) -> u32 {
        self.numbers[0] - self.completed
    }

    /// Messages without an answer.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = usize> {
        self.publishers.iter().map(Publisher::outstanding)
    }

    pub(crate) fn answers(&self) -> u64 {
        self.publishers
            .iter()
            .map(|publisher| publisher.answered)
            .sum()
    }

    /// Waits until every request has its answer.
    pub(crate) fn answered(&mut self) -> anyhow::Result<()> {
        let all = self.until(
            PATIENCE,
            |fleet| Ok(fleet.outstanding().sum::<usize>() == 0),
        )?;
        anyhow::ensure!(all, "not every request was answered");
        Ok(())
    }

    /// Waits until every watcher has had the last message of its channel.
    pub(crate) fn arrived(&mut self) -> anyhow::Result<bool> {
        self.until(STRAGGLERS, |fleet| Ok(fleet.behind() == 0))
    }

    /// Cuts off those who have not had every message, so that nobody waits for them any more.
    pub(crate) fn abandon(&mut self) {
        self.abandoned += self.behind();
        for (index, place) in self.watchers.iter_mut().enumerate() {
            let had = place
                .as_ref()
                .map(|watcher| (watcher.progress, watcher.channel));
            let Some((progress, channel)) = had else {
                continue;
            };
            let highest = progress.map_or(0, |progress| progress.highest);
            if highest < self.numbers[channel as usize] {
                *place = None;
                self.free.push(index);
            }
        }
    }

    /// Messages that watchers have not had although nothing newer came to them.
    pub(crate) fn never_came(&self) -> u64 {
        self.abandoned + self.behind()
    }

    fn behind(&self) -> u64 {
        let watchers = self.watchers.iter().flatten();
        let behind = watchers.map(|watcher| {
            let highest = watcher.progress.map_or(0, |progress| progress.highest);
            u64::from(self.numbers[watcher.channel as usize] - highest)
        });
        behind.sum()
    }

    /// Turns until something holds; whether it came to that in time.
    pub(crate) fn until(
        &mut self,
        patience: Duration,
        mut holds: impl FnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if holds(self)? {
                return Ok(true);
            }
            self.turn(Duration::from_millis(20))?;
        }
        Ok(false)
    }

    /// Sends what is waiting, then reads what has come, waiting so long for something to come.
    pub(crate) fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        self.flush()?;
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let Self {
            watchers, tally, ..
        } = self;
        for event in &self.events {
            let Token(index) = event.token();
            if let Some(publisher) = index.checked_sub(PUBLISHERS) {
                let dialect = &*self.server.dialect;
                let registry = self.poll.registry();
                self.publishers[publisher].turn(dialect, registry, &mut self.buffer)?;
                continue;
            }
            // Who has left may still have an event.
            let Some(Some(watcher)) = watchers.get_mut(index) else {
                continue;
            };
            let had_joined = watcher.progress.is_some();
            let is_counted = self.numbers.len() == 1;
            let now = self.began.elapsed().as_nanos() as u64;
            let last = self.numbers[watcher.channel as usize];
            let state = watcher.turn(&mut self.buffer, |progress, mark| {
                assert!(mark.number <= last, "a number that nobody has sent");
                let Some(progress) = progress else {
                    *progress = Some(Progress::begin(mark.number));
                    tally.joined += 1;
                    return;
                };
                let before = *progress;
                let arrival = progress.arrived(mark.number);
                if arrival == Arrival::Repeated {
                    tally.repeated += 1;
                    return;
                }
                tally.reordered += u64::from(arrival == Arrival::Late);
                tally.passed_over += u64::from(progress.missing);
                tally.passed_over -= u64::from(before.missing);
                tally.deliveries += 1;
                let micros = now.saturating_sub(mark.sent) / 1000;
                self.latencies.saturating_record(micros);
                if is_counted {
                    // What was passed over is not waited for.
                    let reached = before.highest as usize + 1..=progress.highest as usize;
                    for number in reached {
                        self.arrivals[number] += 1;
                    }
                }
            });
            let has_joined = !had_joined && watcher.progress.is_some();
            tally.ended += u64::from(state == State::Ended);
            if state == State::Ended || (has_joined && self.leave_at_once) {
                watchers[index] = None;
                self.free.push(index);
            }
        }
        let everybody = (self.watchers.len() - self.free.len()) as u32;
        let is_complete = |number: u32| {
            let arrived = self.arrivals.get(number as usize);
            arrived.is_some_and(|arrived| *arrived >= everybody)
        };
        while is_complete(self.completed + 1) {
            self.completed += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        for publisher in &mut self.publishers {
            if publisher.is_eager() {
                let registry = self.poll.registry();
                publisher.turn(&*self.server.dialect, registry, &mut self.buffer)?;
            }
        }
        Ok(())
    }
}
