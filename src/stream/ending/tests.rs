//! When clients are told to come back.

use super::*;

const RETRY: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);

/// The `retry` of a block that has one.
fn retry_of(block: &str) -> u64 {
    let mut lines = block.lines();
    let retry = lines.find_map(|line| line.strip_prefix("retry: "));
    retry.expect("a retry").parse().expect("a number")
}

/// The `retry` of many blocks that are made alike: the least and the most, which differ.
fn extremes(block: impl Fn() -> String) -> (u64, u64) {
    let retries = (0..1_000).map(|_| retry_of(&block()));
    let retries: Vec<u64> = retries.collect();
    let (least, most) = (retries.iter().min(), retries.iter().max());
    (*least.expect("blocks"), *most.expect("blocks"))
}

#[test]
fn those_who_are_refused_together_come_back_spread_by_a_fifth() {
    let (least, most) = extremes(|| refusal_block("Too many requests", "RATE_LIMITED", RETRY));
    assert!((4_000..4_200).contains(&least), "{least}");
    assert!((5_801..=6_000).contains(&most), "{most}");
}

#[test]
fn those_who_are_drained_together_come_back_over_the_whole_drain() {
    let settings = StreamSettings {
        retry: RETRY,
        heartbeat: RETRY,
        max_duration: RETRY,
        rewind: Duration::ZERO,
        drain: DRAIN,
    };
    let block = || StreamEnd::Draining.block(&settings, None).expect("a block");
    let (least, most) = extremes(block);
    assert!((5_000..5_500).contains(&least), "{least}");
    assert!((14_501..=15_000).contains(&most), "{most}");
}
