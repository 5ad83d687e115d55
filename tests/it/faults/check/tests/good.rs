//! A record in which all is well, and what it is made of.

use std::{sync::Arc, time::Duration};

use crate::faults::record::{Block, Connection, Deed, End, Kill, Outcome, Poll, Record, Report};

pub(super) fn name() -> Arc<str> {
    "j".into()
}

pub(super) fn status(state: &str, count: u64, seq: u64) -> Arc<str> {
    format!(r#"{{"job_id":"j","status":"{state}","processed_count":{count},"seq":{seq}}}"#).into()
}

pub(super) fn event(number: u64) -> Arc<str> {
    format!(r#"{{"job":"j","n":{number}}}"#).into()
}

pub(super) fn report(deed: Deed, began: u64, ended: u64, outcome: Outcome) -> Report {
    Report {
        job: name(),
        deed,
        began,
        ended,
        ended_at: Duration::from_millis(ended),
        outcome,
    }
}

pub(super) fn block(tick: u64, event: &str, data: Arc<str>, id: Option<u64>) -> Block {
    Block {
        tick,
        event: event.into(),
        data,
        id,
    }
}

pub(super) fn shown(tick: u64, state: &str, count: u64, seq: u64) -> Block {
    block(tick, "status", status(state, count, seq), Some(seq))
}

pub(super) fn log(tick: u64, number: u64, seq: u64) -> Block {
    block(tick, "log", event(number), Some(seq))
}

pub(super) fn connection(
    watcher: usize,
    cursor: Option<u64>,
    began: u64,
    end: End,
    blocks: Vec<Block>,
) -> Connection {
    Connection {
        watcher,
        job: name(),
        cursor,
        began,
        blocks,
        end,
    }
}

pub(super) fn poll(began: u64, ended: u64, answer: Result<Arc<str>, u16>) -> Poll {
    Poll {
        job: name(),
        began,
        ended,
        answer,
    }
}

/// A job with three events, two of them answered, and four watchers: one that stays, one that is cut and resumes,
/// one that wants all from the start, one that comes after the end.
pub(super) fn good() -> Record {
    use Outcome::{Done, Unknown};
    let reports = vec![
        report(Deed::Create, 1, 2, Done(10)),
        report(Deed::Event(1), 5, 8, Done(20)),
        report(Deed::Increment(2), 10, 13, Done(30)),
        report(Deed::Event(2), 14, 17, Unknown),
        report(Deed::Increment(5), 24, 25, Unknown),
        report(Deed::Event(3), 26, 29, Done(50)),
        report(
            Deed::Event(9),
            26,
            29,
            Outcome::Refused("INVALID_REQUEST".to_owned()),
        ),
        report(Deed::End("completed"), 30, 33, Done(60)),
        report(
            Deed::Event(4),
            36,
            37,
            Outcome::Refused("JOB_FINISHED".to_owned()),
        ),
        report(Deed::End("completed"), 38, 39, Done(60)),
    ];
    let stays = vec![
        shown(4, "pending", 0, 10),
        log(7, 1, 20),
        shown(12, "processing", 2, 30),
        log(16, 2, 40),
        log(28, 3, 50),
        shown(32, "completed", 7, 60),
    ];
    let cut = vec![shown(4, "pending", 0, 10), log(7, 1, 20)];
    // Missed events follow the first status, so that it has no id.
    let from_the_start = vec![
        block(48, "status", status("processing", 7, 50), None),
        log(49, 1, 20),
        log(50, 2, 40),
        log(51, 3, 50),
        shown(52, "completed", 7, 60),
    ];
    Record {
        reports,
        connections: vec![
            connection(0, None, 3, End::Closed, stays),
            connection(1, None, 3, End::Broken, cut),
            connection(1, Some(20), 9, End::Refused(503), Vec::new()),
            connection(
                1,
                Some(20),
                34,
                End::Closed,
                vec![
                    log(46, 2, 40),
                    log(47, 3, 50),
                    shown(48, "completed", 7, 60),
                ],
            ),
            connection(2, Some(0), 27, End::Closed, from_the_start),
            connection(
                3,
                None,
                60,
                End::Closed,
                vec![shown(61, "completed", 7, 60)],
            ),
            connection(3, Some(60), 62, End::NothingMore, Vec::new()),
        ],
        polls: vec![
            poll(14, 15, Ok(status("processing", 2, 30))),
            poll(63, 64, Ok(status("completed", 7, 60))),
        ],
        kills: vec![Kill {
            tick: 9,
            at: Duration::from_millis(9),
        }],
    }
}
