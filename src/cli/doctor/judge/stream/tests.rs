//! Tables: what was seen of a stream, and what it means.

use reqwest::{
    Version,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::*;
use crate::cli::doctor::{
    finding::Verdict,
    record::Mark,
    wire::{Block, Told},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn head(headers: &[(&'static str, &'static str)]) -> Head {
    let mut all = HeaderMap::new();
    all.insert(
        "content-type",
        HeaderValue::from_static("text/event-stream"),
    );
    all.insert("cache-control", HeaderValue::from_static("no-cache"));
    for (name, value) in headers {
        all.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    Head {
        at: MS,
        status: 200,
        version: Version::HTTP_11,
        headers: all,
        refusal: None,
    }
}

fn status(at: Duration) -> Mark {
    let event = "status".to_owned();
    let block = Block {
        event,
        ..Block::default()
    };
    Mark {
        at,
        piece: Piece::Block(block),
    }
}

fn error(at: Duration, code: &str, is_last: bool) -> Mark {
    let told = Told {
        code: Some(code.to_owned()),
        ..Told::default()
    };
    let event = "error".to_owned();
    let block = Block {
        event,
        told,
        is_last,
        id: None,
    };
    Mark {
        at,
        piece: Piece::Block(block),
    }
}

fn heartbeat(at: Duration) -> Mark {
    Mark {
        at,
        piece: Piece::Heartbeat,
    }
}

fn end(at: Duration) -> Option<End> {
    Some(End {
        at,
        how: How::Whole,
    })
}

/// The verdict on one thing of a stream that was kept from its second millisecond for so long.
#[track_caller]
fn verdict(record: &Record, kept: Duration, check: &str) -> (Verdict, String) {
    let watched = Watched {
        record,
        encoding: None,
        silence: (2 * MS, kept),
        is_ended: false,
    };
    let findings = watched.findings();
    let finding = findings.iter().find(|finding| finding.check == check);
    let finding = finding.unwrap_or_else(|| panic!("no {check}: {findings:#?}"));
    (finding.verdict, finding.seen.clone())
}

#[test]
fn heads_are_judged_by_what_watchers_need() {
    for (headers, at, expected) in [
        (&[][..], MS, Verdict::Ok),
        (&[], 2 * SECOND, Verdict::Problem),
        (&[("content-type", "text/html")], MS, Verdict::Problem),
        (
            &[("cache-control", "public, max-age=60")],
            MS,
            Verdict::Warning,
        ),
    ] {
        let head = Head {
            at,
            ..head(headers)
        };
        let record = Record {
            head: Some(head),
            ..Record::default()
        };
        assert_eq!(
            verdict(&record, SECOND, "head").0,
            expected,
            "{headers:?} {at:?}"
        );
    }
}

#[test]
fn a_page_in_the_place_of_a_stream_is_one_finding() {
    let record = Record {
        head: Some(head(&[("content-type", "text/html")])),
        end: end(2 * MS),
        ..Record::default()
    };
    let watched = Watched {
        record: &record,
        encoding: Some("gzip"),
        silence: (2 * MS, SECOND),
        is_ended: false,
    };
    let findings = watched.findings();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].change.iter().any(|line| line.contains("slash")));
}

#[test]
fn ends_are_laid_to_whoever_made_them() {
    for (marks, end, expected, words) in [
        (vec![status(MS)], None, Verdict::Ok, "open for 40.0 s"),
        (
            vec![status(MS)],
            end(15 * SECOND),
            Verdict::Problem,
            "cut after 15.0 s of silence",
        ),
        (
            vec![status(MS), heartbeat(14_500 * MS)],
            end(15 * SECOND),
            Verdict::Problem,
            "cut 15.0 s after its beginning",
        ),
        (
            vec![status(MS), error(9 * SECOND, "DRAINING", false)],
            end(9 * SECOND),
            Verdict::Warning,
            "progressd itself",
        ),
        (
            // Its message says not to come back, as a job's end does.
            vec![status(MS), error(9 * SECOND, "TOKEN_EXPIRED", true)],
            end(9 * SECOND),
            Verdict::Warning,
            "TOKEN_EXPIRED",
        ),
        (
            // A worker's own.
            vec![status(MS), error(9 * SECOND, "E42", false)],
            end(15 * SECOND),
            Verdict::Problem,
            "cut after 6.0 s of silence",
        ),
        (
            vec![error(MS, "", true)],
            end(2 * MS),
            Verdict::Ok,
            "as a finished job's does",
        ),
    ] {
        let head = Some(head(&[]));
        let record = Record { head, marks, end };
        let seen = verdict(&record, 40 * SECOND, "duration");
        assert!(
            seen.0 == expected && seen.1.contains(words),
            "{seen:?}: {record:?}"
        );
    }
}

#[test]
fn heartbeats_are_missed_only_where_one_was_due() {
    for (marks, kept, expected, words) in [
        (
            vec![status(MS), heartbeat(28 * SECOND)],
            40,
            Verdict::Ok,
            "after 28.0 s of silence",
        ),
        (vec![status(MS)], 40, Verdict::Warning, "none in 40.0 s"),
        (vec![status(MS)], 20, Verdict::NotLookedAt, "--seconds 40"),
        (
            vec![status(MS), status(20 * SECOND)],
            40,
            Verdict::NotLookedAt,
            "other blocks",
        ),
    ] {
        let head = Some(head(&[]));
        let record = Record {
            head,
            marks,
            end: None,
        };
        let seen = verdict(&record, kept * SECOND, "heartbeat");
        assert!(
            seen.0 == expected && seen.1.contains(words),
            "{seen:?}: {record:?}"
        );
    }
}

#[test]
fn first_blocks_are_late_missing_or_refusals() {
    for (marks, expected, words) in [
        (vec![status(3 * MS)], Verdict::Ok, "2 ms after the head"),
        (vec![heartbeat(MS)], Verdict::Ok, "less than 1 ms"),
        (
            vec![status(5 * SECOND)],
            Verdict::Problem,
            "only after 5.0 s",
        ),
        (vec![], Verdict::Problem, "nothing came"),
        (
            vec![error(MS, "RATE_LIMITED", false)],
            Verdict::Problem,
            "RATE_LIMITED",
        ),
    ] {
        let head = Some(head(&[]));
        let record = Record {
            head,
            marks,
            end: None,
        };
        let seen = verdict(&record, SECOND, "first block");
        assert!(
            seen.0 == expected && seen.1.contains(words),
            "{seen:?}: {record:?}"
        );
    }
}
