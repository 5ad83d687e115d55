//! Tables: what was reported and what came, and what it means.

use reqwest::{
    Version,
    header::{HeaderMap, HeaderValue},
};

use super::*;
use crate::cli::doctor::{
    finding::Verdict,
    record::{End, Head, Mark},
    wire::{Block, Piece, Told},
};

const MS: Duration = Duration::from_millis(1);

/// An event every 250 ms, then five seconds of silence, then the end: each came when `arrival` says.
fn seen(arrival: impl Fn(Duration) -> Option<Duration>) -> Seen {
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    let sent: Vec<_> = (1..=8).map(|number| 250 * MS * number).collect();
    let ended = 7000 * MS;
    let block = |number, is_last| {
        Piece::Block(Block {
            told: Told {
                number,
                ..Told::default()
            },
            is_last,
            ..Block::default()
        })
    };
    let events = sent.iter().enumerate().filter_map(|(number, at)| {
        Some(Mark {
            at: arrival(*at)?,
            piece: block(Some(number), false),
        })
    });
    let mut marks: Vec<_> = events.collect();
    let last = arrival(ended).map(|at| Mark {
        at,
        piece: block(None, true),
    });
    let end = last.as_ref().map(|last| End {
        at: last.at,
        how: How::Whole,
    });
    marks.extend(last);
    let head = Head {
        at: MS,
        status: 200,
        version: Version::HTTP_11,
        headers,
        refusal: None,
    };
    Seen {
        record: Record {
            head: Some(head),
            marks,
            end,
        },
        sent,
        silence: (2000 * MS, ended),
        ended: Some(ended),
        ..Seen::default()
    }
}

#[track_caller]
fn finding(seen: &Seen, check: &str) -> (Verdict, String) {
    let findings = findings(seen);
    let finding = findings.iter().find(|finding| finding.check == check);
    let finding = finding.unwrap_or_else(|| panic!("no {check}: {findings:#?}"));
    (finding.verdict, finding.seen.clone())
}

#[test]
fn what_is_held_shows_by_when_it_comes() {
    let in_time = |at| Some(at + 5 * MS);
    // Every three seconds all that has gathered.
    let in_clumps = |at: Duration| Some(MS * (at.as_millis() as u32).next_multiple_of(3000));
    let with_the_end = |at: Duration| Some(at.max(7010 * MS));
    let some_are_lost = |at: Duration| (at < 1100 * MS).then_some(at);
    for (seen, expected, words) in [
        (
            seen(in_time),
            Verdict::Ok,
            "8 of 8 events in time: median 5 ms, most 5 ms",
        ),
        (seen(in_clumps), Verdict::Problem, "in 1 clump:"),
        (
            seen(with_the_end),
            Verdict::Problem,
            "only after the job had ended",
        ),
        (
            seen(some_are_lost),
            Verdict::Problem,
            "4 of 8 events in time; 4 came, in 4 clumps",
        ),
        (seen(|_| None), Verdict::Problem, "none of 8 events came"),
    ] {
        let finding = finding(&seen, "delivery");
        assert!(
            finding.0 == expected && finding.1.contains(words),
            "{finding:?}"
        );
    }
}

#[test]
fn what_was_sent_behind_a_cut_is_not_missed() {
    let mut cut = seen(|at| (at < 1100 * MS).then_some(at + MS));
    cut.record.end = Some(End {
        at: 1200 * MS,
        how: How::Whole,
    });
    assert_eq!(finding(&cut, "delivery").0, Verdict::Ok);
    assert_eq!(finding(&cut, "duration").0, Verdict::Problem);
    assert_eq!(finding(&cut, "end").0, Verdict::NotLookedAt);
}

#[test]
fn the_end_is_a_last_status_in_time_and_then_nothing() {
    let fine = seen(Some);
    let open = Seen {
        record: Record {
            end: None,
            ..fine.record.clone()
        },
        ..fine.clone()
    };
    let late = seen(|at| Some(at + 3000 * MS));
    let missing = seen(|at| (at < 7000 * MS).then_some(at));
    for (seen, expected, words) in [
        (fine, Verdict::Ok, "then the end"),
        (open, Verdict::Warning, "kept open"),
        (late, Verdict::Problem, "only after 3.0 s"),
        (missing, Verdict::Problem, "did not come"),
    ] {
        let finding = finding(&seen, "end");
        assert!(
            finding.0 == expected && finding.1.contains(words),
            "{finding:?}"
        );
    }
}

#[test]
fn a_cursor_that_is_lost_is_told_from_a_stream_that_is() {
    let whole = seen(Some).record;
    let behind = |numbers: std::ops::Range<usize>| {
        let is_in = |mark: &Mark| match &mark.piece {
            Piece::Block(block) => block
                .told
                .number
                .is_none_or(|number| numbers.contains(&number)),
            Piece::Heartbeat => true,
        };
        let marks = whole.marks.iter().filter(|mark| is_in(mark)).cloned();
        Record {
            marks: marks.collect(),
            ..whole.clone()
        }
    };
    for (resumed, expected, words) in [
        (
            behind(CURSOR + 1..EVENTS),
            Verdict::Ok,
            "3 of 3 missed events",
        ),
        (behind(0..0), Verdict::Problem, "does not reach progressd"),
        (Record::default(), Verdict::Problem, "0 of 3 missed events"),
    ] {
        let resumed = Seen {
            resumed: Some(resumed),
            ..seen(Some)
        };
        let finding = finding(&resumed, "resume");
        assert!(
            finding.0 == expected && finding.1.contains(words),
            "{finding:?}"
        );
    }
}

#[test]
fn clocks_are_worth_a_word_when_they_differ_by_seconds() {
    for (ahead, expected, words) in [
        (0.4, Verdict::Ok, "within 2 s"),
        (-1.9, Verdict::Ok, "within 2 s"),
        (3.26, Verdict::Warning, "3.3 s ahead of"),
        (-90.0, Verdict::Warning, "90.0 s behind"),
    ] {
        let skewed = Seen {
            clock_ahead: Some(ahead),
            ..seen(Some)
        };
        let finding = finding(&skewed, "clock");
        assert!(
            finding.0 == expected && finding.1.contains(words),
            "{finding:?}"
        );
    }
}
