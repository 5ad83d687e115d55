//! The checker finds every fault that is planted into a good record.

mod good;

use std::time::Duration;

use good::*;

use super::{Promises, Rule, check};
use crate::faults::record::{Block, Deed, End, Kill, Outcome, Record};

const PROMISES: Promises = Promises {
    kept_events: 100,
    progress_age: None,
};

/// Plants a fault; which rules the checker finds broken.
fn found(plant: impl FnOnce(&mut Record)) -> Vec<Rule> {
    let mut record = good();
    plant(&mut record);
    let mut rules: Vec<_> = check(&record, PROMISES)
        .into_iter()
        .map(|violation| violation.rule)
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// The blocks of the watcher that stays.
fn stays(record: &mut Record) -> &mut Vec<Block> {
    &mut record.connections[0].blocks
}

#[test]
fn a_good_record_breaks_nothing() {
    assert_eq!(check(&good(), PROMISES), []);
}

#[test]
fn ids_that_fall_or_repeat_are_found() {
    let rules = found(|record| stays(record)[2].id = Some(15));
    assert!(rules.contains(&Rule::IdsRise), "{rules:?}");
    let rules = found(|record| record.connections[3].blocks[0].id = Some(19));
    assert!(rules.contains(&Rule::IdsRise), "{rules:?}");
    // What the cursor has passed must not come again.
    let rules = found(|record| record.connections[3].cursor = Some(45));
    assert!(rules.contains(&Rule::IdsRise), "{rules:?}");
}

#[test]
fn an_id_that_is_not_the_seq_is_found() {
    let rules = found(|record| stays(record)[2].id = Some(29));
    assert_eq!(rules, [Rule::IdIsSeq]);
    let rules = found(|record| {
        let older = block(30, "status", status("processing", 0, 15), None);
        stays(record).insert(5, older);
    });
    assert!(rules.contains(&Rule::IdIsSeq), "{rules:?}");
}

#[test]
fn a_stream_that_does_not_begin_with_a_status_is_found() {
    let rules = found(|record| {
        let blocks = vec![log(29, 2, 40), shown(30, "processing", 7, 50)];
        record.connections[2] = connection(1, Some(20), 9, End::Broken, blocks);
    });
    assert!(rules.contains(&Rule::StatusFirst), "{rules:?}");
}

#[test]
fn a_block_after_the_end_is_found() {
    let rules = found(|record| stays(record).push(block(35, "error", "{}".into(), None)));
    assert_eq!(rules, [Rule::NothingAfterTheEnd]);
}

#[test]
fn different_bytes_of_one_seq_are_found() {
    let rules = found(|record| record.polls[0].answer = Ok(status("pending", 2, 30)));
    assert_eq!(rules, [Rule::EqualBytes]);
    let rules = found(|record| record.polls[0].answer = Ok("{}".into()));
    assert_eq!(rules, [Rule::EqualBytes]);
}

#[test]
fn another_jobs_blocks_are_found() {
    let rules = found(|record| {
        let text = status("processing", 2, 30).replace(r#""j""#, r#""k""#);
        stays(record)[2].data = text.into();
    });
    assert!(rules.contains(&Rule::OwnJob), "{rules:?}");
    let rules = found(|record| stays(record)[1].data = r#"{"job":"k","n":1}"#.into());
    assert_eq!(rules, [Rule::OwnJob]);
}

#[test]
fn a_reading_that_goes_back_is_found() {
    // After a reading, after an answer, and after a block of somebody's stream.
    let rules = found(|record| {
        let older = poll(16, 17, Ok(status("pending", 0, 10)));
        record.polls.push(older);
    });
    assert_eq!(rules, [Rule::SeqGoesBack]);
    let rules = found(|record| record.connections[3].blocks[0] = shown(46, "pending", 0, 10));
    assert!(rules.contains(&Rule::SeqGoesBack), "{rules:?}");
    let rules = found(|record| {
        record.polls.clear();
        record.connections.truncate(1);
        stays(record).truncate(1);
        record.polls.push(poll(9, 10, Ok(status("pending", 0, 10))));
    });
    assert!(rules.contains(&Rule::SeqGoesBack), "{rules:?}");
}

#[test]
fn a_watcher_without_the_end_is_found() {
    let rules = found(|record| {
        stays(record).pop();
    });
    assert_eq!(rules, [Rule::EndReaches]);
    let rules = found(|record| {
        record.connections.remove(3);
    });
    assert_eq!(rules, [Rule::EndReaches]);
}

#[test]
fn no_content_anywhere_but_after_the_end_is_found() {
    let rules = found(|record| {
        record.connections[2] = connection(1, Some(20), 9, End::NothingMore, Vec::new());
    });
    assert_eq!(rules, [Rule::NothingMore]);
    let rules = found(|record| record.connections[6].cursor = Some(50));
    assert_eq!(rules, [Rule::NothingMore]);
    // Nor does the end come twice to those who say that they have it.
    let rules = found(|record| {
        let again = vec![shown(63, "completed", 7, 60)];
        record.connections[6] = connection(3, Some(60), 62, End::Closed, again);
    });
    assert_eq!(rules, [Rule::NothingMore]);
}

#[test]
fn an_end_that_is_taken_back_is_found() {
    let rules = found(|record| {
        record
            .polls
            .push(poll(70, 71, Ok(status("processing", 7, 65))));
    });
    assert_eq!(rules, [Rule::EndStays]);
    let rules = found(|record| {
        record.polls.push(poll(70, 71, Ok(status("failed", 7, 65))));
    });
    assert_eq!(rules, [Rule::EndStays]);
    // It came back with the same seq, and as something else.
    let rules = found(|record| {
        record
            .polls
            .push(poll(70, 71, Ok(status("processing", 7, 60))));
    });
    assert!(rules.contains(&Rule::EndStays), "{rules:?}");
    // It was answered, and lost before anybody saw it.
    let rules = found(|record| {
        record.connections.clear();
        record.polls = vec![poll(70, 71, Ok(status("processing", 7, 50)))];
    });
    assert!(rules.contains(&Rule::SeqGoesBack), "{rules:?}");
}

#[test]
fn what_is_done_after_the_end_is_found() {
    for deed in [Deed::Event(7), Deed::Increment(1), Deed::End("failed")] {
        let rules = found(|record| {
            let late = report(deed, 40, 41, Outcome::Done(70));
            record.reports.push(late);
        });
        assert!(rules.contains(&Rule::AfterTheEnd), "{rules:?}");
    }
    // Answered as done, and with a seq from before the end.
    let rules = found(|record| {
        let late = report(Deed::Increment(0), 40, 41, Outcome::Done(60));
        record.reports.push(late);
    });
    assert_eq!(rules, [Rule::AfterTheEnd]);
}

#[test]
fn a_lost_event_is_found() {
    // One that was answered, and one that nobody answered but others saw.
    for place in [1, 3] {
        let rules = found(|record| {
            stays(record).remove(place);
        });
        assert_eq!(rules, [Rule::EventLost]);
    }
    let rules = found(|record| {
        record.connections[4].blocks.remove(1);
    });
    assert_eq!(rules, [Rule::EventLost]);
    let rules = found(|record| {
        record.connections[3].blocks.remove(0);
    });
    assert_eq!(rules, [Rule::EventLost]);
    // Nobody ever saw it: its answer tells of it.
    let rules = found(|record| {
        for connection in &mut record.connections {
            connection
                .blocks
                .retain(|block| block.id != Some(50) || &*block.event != "log");
        }
    });
    assert_eq!(rules, [Rule::EventLost]);
}

#[test]
fn an_event_that_comes_twice_is_found() {
    let rules = found(|record| stays(record).insert(2, log(8, 1, 25)));
    assert!(rules.contains(&Rule::EventTwice), "{rules:?}");
    let rules = found(|record| record.connections[3].blocks.insert(0, log(45, 1, 20)));
    assert!(rules.contains(&Rule::EventTwice), "{rules:?}");
}

#[test]
fn an_event_that_was_never_reported_is_found() {
    for number in [4, 9, 77] {
        let rules = found(|record| stays(record).insert(5, log(30, number, 55)));
        assert!(rules.contains(&Rule::EventTold), "{rules:?}");
    }
    let rules = found(|record| record.reports[1].outcome = Outcome::Done(21));
    assert!(rules.contains(&Rule::EventTold), "{rules:?}");
}

#[test]
fn a_gap_excuses_when_there_is_a_reason_and_is_found_when_there_is_none() {
    let plant = |record: &mut Record| {
        // The first event that it missed was dropped before it came back.
        let text = status("completed", 7, 60).replace('}', r#","gap":true}"#);
        let blocks = &mut record.connections[3].blocks;
        blocks.remove(0);
        blocks[1].data = text.into();
    };
    assert_eq!(found(plant), [Rule::Gap]);
    let mut record = good();
    plant(&mut record);
    let few = Promises {
        kept_events: 2,
        ..PROMISES
    };
    assert_eq!(check(&record, few), []);
}

#[test]
fn counts_that_no_reports_come_to_are_found() {
    for count in [1, 8] {
        let rules = found(|record| {
            record
                .polls
                .push(poll(35, 36, Ok(status("completed", count, 60))));
        });
        assert!(rules.contains(&Rule::Fold), "{count}: {rules:?}");
    }
    // Counted before it was reported at a lower seq.
    let rules = found(|record| {
        record.reports[2].outcome = Outcome::Done(25);
        record.polls[0].answer = Ok(status("processing", 0, 30));
        stays(record)[2].data = status("processing", 0, 30);
    });
    assert_eq!(rules, [Rule::Fold]);
}

#[test]
fn progress_may_be_as_old_after_a_kill_as_promised_and_no_older() {
    let plant = |record: &mut Record, tick: u64, killed_at: u64| {
        record.reports[2].deed = Deed::Count(2);
        record.kills = vec![Kill {
            tick,
            at: Duration::from_millis(killed_at),
        }];
        for connection in &mut record.connections {
            for block in &mut connection.blocks {
                block.data = block
                    .data
                    .replace(r#""processed_count":7"#, r#""processed_count":1"#)
                    .into();
            }
        }
        record.polls[1].answer = Ok(status("completed", 1, 60));
    };
    let aged = Promises {
        progress_age: Some(Duration::from_millis(200)),
        ..PROMISES
    };
    let check_at = |tick, killed_at, promises| {
        let mut record = good();
        plant(&mut record, tick, killed_at);
        let violations = check(&record, promises).into_iter();
        violations
            .map(|violation| violation.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(check_at(20, 100, aged), []);
    assert!(check_at(20, 300, aged).contains(&Rule::Fold));
    assert!(check_at(20, 100, PROMISES).contains(&Rule::Fold));
    // The answer was on its way; or the report was not sent yet.
    assert_eq!(check_at(12, 12, aged), []);
    assert!(check_at(9, 9, aged).contains(&Rule::Fold));
}

#[test]
fn a_job_that_is_not_found_any_more_is_found() {
    let rules = found(|record| record.polls.push(poll(70, 71, Err(404))));
    assert_eq!(rules, [Rule::JobLost]);
    let rules = found(|record| record.connections[2].end = End::Refused(410));
    assert_eq!(rules, [Rule::JobLost]);
    // Before it was made nobody could find it.
    let rules = found(|record| record.polls.push(poll(1, 1, Err(404))));
    assert_eq!(rules, []);
}
