//! For how long a job that has ended is shown where no state is asked for, on a clock of the tests' own.

use std::{sync::Arc, time::Duration};

use futures_util::future::poll_fn;
use progressd::{
    job::State,
    metrics::{Meter, StreamMetrics},
    registry::Registry,
    store::{Filter, Store},
    stream::{
        Blocks as _, MultiStart, MultiStream, Selection, Selector, StreamOptions, StreamSettings,
    },
};
use serde_json::json;
use tokio::time::Instant;

use super::{said, words};
use crate::support::{
    jobs::{memory, put_finished, registry},
    sse::Block,
};

const SETTINGS: StreamSettings = StreamSettings {
    retry: Duration::from_secs(5),
    heartbeat: Duration::from_secs(3_600),
    max_duration: Duration::from_secs(3_600),
    rewind: Duration::ZERO,
    drain: Duration::ZERO,
};

async fn open(registry: &Registry, states: &[State]) -> MultiStream {
    let filter = Filter {
        states: states.to_vec(),
        ..Filter::default()
    };
    let selection = Selection::Matching(Selector::new(filter, |_| true));
    let start = MultiStart::new(registry, selection, None, Duration::ZERO).await;
    let start = start.expect("a store that answers").expect("a beginning");
    let open = StreamMetrics::new(&Meter::new()).open();
    MultiStream::new(start, SETTINGS, StreamOptions::default(), open)
}

/// The blocks of the next piece.
async fn next(stream: &mut MultiStream) -> Vec<Block> {
    let piece = poll_fn(|context| stream.poll_next(context)).await;
    let piece = piece.expect("a stream that stays").joined();
    let text = std::str::from_utf8(&piece).expect("UTF-8");
    let blocks = text.strip_suffix("\n\n").expect("whole blocks");
    blocks.split("\n\n").map(Block::parse).collect()
}

fn names(blocks: &[Block]) -> Vec<String> {
    let statuses = blocks.iter().filter(|block| block.name() == "status");
    statuses.map(|block| said(block).1).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_shown_for_ten_minutes_and_then_removed() {
    let store: Arc<dyn Store> = memory();
    for (job_id, seconds_ago) in [("older", 660), ("later", 300), ("sooner", 540)] {
        put_finished(&*store, job_id, seconds_ago).await;
    }
    let registry = registry(store);
    let mut stream = open(&registry, &[]).await;
    let begin = Instant::now();
    let first = next(&mut stream).await;
    let mut shown = names(&first);
    shown.sort();
    assert_eq!(shown, ["later", "sooner"]);
    let synced = first.last().expect("blocks");
    assert_eq!(
        (synced.name(), synced.json()),
        ("synced", json!({"jobs": 2}))
    );
    // The time that this test takes itself only makes what is left of them shorter.
    for (job_id, most) in [("sooner", 60), ("later", 300)] {
        let told = next(&mut stream).await;
        let told: Vec<_> = told.iter().map(said).collect();
        assert_eq!(told, [words("removed", job_id, json!(null))]);
        let after = begin.elapsed().as_secs();
        assert!(after <= most, "{job_id} after {after} s");
        assert!(after > most - 60, "{job_id} after {after} s");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_state_is_shown_it_however_long_ago() {
    let store: Arc<dyn Store> = memory();
    for (job_id, seconds_ago) in [("old", 80_000), ("older", 660), ("recent", 598)] {
        put_finished(&*store, job_id, seconds_ago).await;
    }
    let registry = registry(store);
    let mut stream = open(&registry, &[State::Completed]).await;
    let mut shown = names(&next(&mut stream).await);
    shown.sort();
    assert_eq!(shown, ["old", "older", "recent"]);
    // They stay for as long as they are kept.
    let more = tokio::time::timeout(Duration::from_secs(1_200), next(&mut stream)).await;
    assert!(more.is_err(), "{more:?}");
}
