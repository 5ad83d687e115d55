//! The invariants of the design, checked in a record when everything is over.
//!
//! A checker that finds nothing proves nothing unless it finds what is there: `tests` plants every fault.

mod story;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::record::{Block, Connection, Deed, Kill, Outcome, Poll, Record, Report, Tick};

/// What the system under test promises.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promises {
    /// How many events a job keeps: below that no watcher is told of a gap.
    pub(super) kept_events: usize,
    /// How old absolute progress may be after a kill. `None` when no answered report is lost.
    pub(super) progress_age: Option<Duration>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) job: Arc<str>,
    pub(super) what: String,
}

/// The promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Ids on one connection strictly increase, from its cursor on.
    IdsRise,
    /// The stream of an unfinished job begins with a status.
    StatusFirst,
    /// Nothing follows the terminal block.
    NothingAfterTheEnd,
    /// A status block's id is its seq, and seqs of statuses do not go back within a connection.
    IdIsSeq,
    /// Equal seq, equal bytes.
    EqualBytes,
    /// Nothing of one job on another's stream.
    OwnJob,
    /// No reading is older than what was known before it began.
    SeqGoesBack,
    /// Every watcher gets the terminal status.
    EndReaches,
    /// 204 comes at the end, and nowhere else.
    NothingMore,
    /// What has ended stays as it ended.
    EndStays,
    /// Nothing is done to a job after its end.
    AfterTheEnd,
    /// Every event reaches every watcher in whose window it falls.
    EventLost,
    /// No event reaches a watcher twice.
    EventTwice,
    /// Events are those that were reported, with the seqs that were answered.
    EventTold,
    /// A gap is told only when events were dropped.
    Gap,
    /// A status shows the fold of all changes up to its seq.
    Fold,
    /// A job that was created is there.
    JobLost,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?}: job {}: {}",
            self.rule, self.job, self.what
        )
    }
}

/// What the record says of one job.
struct Case<'a> {
    job: &'a Arc<str>,
    reports: Vec<&'a Report>,
    /// Each watcher's connections, one after the other.
    watchers: BTreeMap<usize, Vec<&'a Connection>>,
    polls: Vec<&'a Poll>,
    kills: &'a [Kill],
    promises: Promises,
    /// Every distinct text of a status.
    statuses: HashMap<&'a str, Shown>,
    /// When each seq of a status was first seen.
    first_shown: HashMap<u64, Tick>,
    /// The seq of every event that was answered or seen, and its number.
    events: BTreeMap<u64, u64>,
    violations: Vec<Violation>,
}

/// What a status says.
#[derive(Debug, Clone)]
struct Shown {
    seq: u64,
    state: String,
    count: Option<u64>,
    has_gap: bool,
    job: String,
}

impl Shown {
    fn parse(text: &str) -> Option<Self> {
        let status: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            seq: status["seq"].as_u64()?,
            state: status["status"].as_str()?.to_owned(),
            count: status["processed_count"].as_u64(),
            has_gap: status["gap"] == true,
            job: status["job_id"].as_str()?.to_owned(),
        })
    }

    fn is_terminal(&self) -> bool {
        matches!(&*self.state, "completed" | "failed" | "cancelled")
    }
}

/// All broken promises in a record; empty when all is well.
pub(super) fn check(record: &Record, promises: Promises) -> Vec<Violation> {
    let mut cases: BTreeMap<&str, Case<'_>> = BTreeMap::new();
    macro_rules! case {
        ($item:expr) => {
            cases
                .entry(&*$item.job)
                .or_insert_with(|| Case::new(&$item.job, &record.kills, promises))
        };
    }
    for report in &record.reports {
        case!(report).reports.push(report);
    }
    for connection in &record.connections {
        let watchers = &mut case!(connection).watchers;
        let own: &mut Vec<_> = watchers.entry(connection.watcher).or_default();
        own.push(connection);
    }
    for poll in &record.polls {
        case!(poll).polls.push(poll);
    }
    let checked = cases.into_values().map(Case::check);
    checked.flatten().collect()
}

impl<'a> Case<'a> {
    fn new(job: &'a Arc<str>, kills: &'a [Kill], promises: Promises) -> Self {
        Self {
            job,
            reports: Vec::new(),
            watchers: BTreeMap::new(),
            polls: Vec::new(),
            kills,
            promises,
            statuses: HashMap::new(),
            first_shown: HashMap::new(),
            events: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    fn check(mut self) -> Vec<Violation> {
        for connections in self.watchers.values_mut() {
            connections.sort_by_key(|connection| connection.began);
        }
        self.read_statuses();
        self.read_events();
        self.check_statuses();
        self.check_timeline();
        self.check_end();
        self.check_fold();
        let watchers = std::mem::take(&mut self.watchers);
        for (watcher, connections) in &watchers {
            self.check_watcher(*watcher, connections);
        }
        self.violations
    }

    fn broken(&mut self, rule: Rule, what: impl Into<String>) {
        // Where one thing goes wrong, a thousand may: a few of them tell as much.
        let same = self.violations.iter().filter(|it| it.rule == rule).count();
        if same < 3 {
            self.violations.push(Violation {
                rule,
                job: Arc::clone(self.job),
                what: what.into(),
            });
        }
    }

    fn read_statuses(&mut self) {
        let blocks = self.watchers.values().flatten();
        let blocks = blocks.flat_map(|connection| &connection.blocks);
        let streamed = blocks
            .filter(|block| &*block.event == "status")
            .map(|block| (&*block.data, block.tick));
        let polled = self.polls.iter();
        let polled = polled.filter_map(|poll| Some((poll.answer.as_deref().ok()?, poll.ended)));
        let mut texts: BTreeMap<&str, Tick> = BTreeMap::new();
        for (text, tick) in streamed.chain(polled) {
            let first = texts.entry(text).or_insert(tick);
            *first = tick.min(*first);
        }
        for (text, tick) in texts {
            match Shown::parse(text) {
                Some(shown) => {
                    if shown.job != **self.job {
                        self.broken(Rule::OwnJob, text);
                    }
                    let first = self.first_shown.entry(shown.seq).or_insert(tick);
                    *first = tick.min(*first);
                    self.statuses.insert(text, shown);
                }
                None => self.broken(Rule::EqualBytes, format!("no status: {text}")),
            }
        }
    }

    /// Learns the seq of every event, and that all agree on it.
    fn read_events(&mut self) {
        let answered =
            self.reports
                .iter()
                .filter_map(|report| match (&report.deed, &report.outcome) {
                    (Deed::Event(number), Outcome::Done(seq)) => Some((*number, *seq)),
                    _ => None,
                });
        let blocks = self.watchers.values().flatten();
        let blocks = blocks.flat_map(|connection| &connection.blocks);
        let told: BTreeSet<_> = answered.chain(blocks.filter_map(event_of)).collect();
        let reported = self.reports.iter().filter_map(|report| match report.deed {
            Deed::Event(number) if !matches!(report.outcome, Outcome::Refused(_)) => Some(number),
            _ => None,
        });
        let reported: BTreeSet<u64> = reported.collect();
        let mut seqs = BTreeMap::new();
        for (number, seq) in told {
            let known = *seqs.entry(number).or_insert(seq);
            if known != seq {
                let what = format!("event {number} is told to be at {known} and at {seq}");
                self.broken(Rule::EventTold, what);
            }
            if !reported.contains(&number) {
                let what = format!("event {number} was refused, or never reported");
                self.broken(Rule::EventTold, what);
            }
            self.events.insert(seq, number);
        }
    }

    /// Equal seq, equal bytes, wherever they were read.
    fn check_statuses(&mut self) {
        let mut by_seq: BTreeMap<u64, String> = BTreeMap::new();
        let mut different = Vec::new();
        for (text, shown) in &self.statuses {
            // The mark of a gap is the watcher's own, not the job's.
            let bare = text.replace(r#","gap":true"#, "");
            let known = by_seq.entry(shown.seq).or_insert_with(|| bare.clone());
            if *known != bare {
                different.push(format!("{known}\nand\n{bare}"));
            }
        }
        for what in different {
            self.broken(Rule::EqualBytes, what);
        }
    }

    /// What a status says; `None` when it is none, which is a violation already.
    fn shown(&self, text: &str) -> Option<Shown> {
        self.statuses.get(text).cloned()
    }

    /// Readings of the job's status: when each began and what it showed.
    fn readings(&self) -> Vec<(Tick, Shown)> {
        let polls = self.polls.iter().filter_map(|poll| {
            let text = poll.answer.as_deref().ok()?;
            Some((poll.began, self.shown(text)?))
        });
        // What comes later on a connection may have been on its way for long.
        let firsts = self.watchers.values().flatten().filter_map(|connection| {
            let first = connection.blocks.first()?;
            Some((connection.began, self.shown(&first.data)?))
        });
        polls.chain(firsts).collect()
    }
}

/// The number and the seq of an event that a worker reported.
fn event_of(block: &Block) -> Option<(u64, u64)> {
    if &*block.event != "log" {
        return None;
    }
    let data: Value = serde_json::from_str(&block.data).ok()?;
    Some((data["n"].as_u64()?, block.id?))
}
