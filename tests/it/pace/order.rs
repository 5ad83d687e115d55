//! What overtakes what, and what its id is then.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::watched;
use crate::support::{server::TestServer, sse::Block};

#[tokio::test]
async fn a_status_that_an_event_has_overtaken_comes_without_an_id() {
    // Long enough that the event is sent within it, and short enough to wait for.
    let (server, mut stream) = watched("[stream]\nupdate_interval_ms = 2000").await;
    server.report("j", json!({"processed_count": 1})).await;
    let event = json!({"event": "line", "data": "over"});
    let answer = server.post("/api/v1/jobs/j/events", event).await.json();
    let event = stream.next().await;
    assert_eq!(
        (event.name(), json!(event.seq())),
        ("line", answer["seq"].clone())
    );

    let overtaken = stream.next().await;
    assert_eq!(overtaken.json()["processed_count"], 1);
    assert_eq!(overtaken.json()["seq"], answer["seq"]);
    assert_eq!(overtaken.id, None);

    let answer = server.report("j", json!({"status": "completed"})).await;
    assert_eq!(json!(stream.next().await.seq()), answer["seq"]);
}

#[derive(Debug, Clone)]
enum Action {
    Count,
    Step(u8),
    Event,
    Events(u8),
    Retry,
    Cancel,
    SignOfLife,
    Join,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Count),
        3 => (0..3u8).prop_map(Action::Step),
        3 => Just(Action::Event),
        1 => (2..5u8).prop_map(Action::Events),
        1 => Just(Action::Retry),
        1 => Just(Action::Cancel),
        1 => Just(Action::SignOfLife),
        1 => Just(Action::Join),
    ]
}

/// What was acknowledged: the seqs of all events, and of the end.
#[derive(Default)]
struct Told {
    events: Vec<u64>,
    end: u64,
}

proptest! {
    // Each case is a server and its clients; the shrinking of a failure costs that again.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// Whenever a watcher joins, and whatever happens to the job.
    #[test]
    fn ids_strictly_increase_and_nothing_is_lost(
        actions in prop::collection::vec(action(), 1..30),
        interval in prop_oneof![Just(0u64), Just(5), Just(60_000)],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (told, streams) = runtime.block_on(run(&actions, interval));
        for (joined, blocks) in streams {
            check(&told, joined, &blocks)?;
        }
    }
}

/// Does everything to a job; returns what each watcher saw, and the job's seq when it joined.
async fn run(actions: &[Action], interval: u64) -> (Told, Vec<(u64, Vec<Block>)>) {
    let server = TestServer::with(&format!("[stream]\nupdate_interval_ms = {interval}")).await;
    let job = server
        .create(json!({"job_id": "j", "total_count": 100}))
        .await;
    let mut told = Told::default();
    let mut newest = job["seq"].as_u64().expect("a seq");
    let mut attempt = 1;
    let mut watching = vec![(newest, server.watch("j").await)];
    for (number, action) in actions.iter().enumerate() {
        let report = match action {
            Action::Count => json!({"processed_increment": 1}),
            Action::Step(step) => json!({"step": format!("step {step}")}),
            Action::SignOfLife => json!({}),
            Action::Retry => {
                attempt += 1;
                json!({"status": "processing", "attempt": attempt})
            }
            Action::Cancel => {
                // A pending job would be at its end.
                server.report("j", json!({})).await;
                server.post("/api/v1/jobs/j/cancel", json!({})).await;
                newest = server.status("j").await["seq"].as_u64().expect("a seq");
                continue;
            }
            Action::Event | Action::Events(_) => {
                let count = if let Action::Events(count) = action {
                    u64::from(*count)
                } else {
                    1
                };
                let event = json!({"event": "e", "data": number});
                let events = vec![event; count as usize];
                let answer = server
                    .post("/api/v1/jobs/j/events", json!(events))
                    .await
                    .json();
                newest = answer["seq"].as_u64().expect("a seq");
                told.events.extend(newest + 1 - count..=newest);
                continue;
            }
            Action::Join => {
                watching.push((newest, server.watch("j").await));
                continue;
            }
        };
        newest = server.report("j", report).await["seq"]
            .as_u64()
            .expect("a seq");
    }
    let end = server.report("j", json!({"status": "completed"})).await;
    told.end = end["seq"].as_u64().expect("a seq");
    let mut streams = Vec::new();
    for (joined, mut stream) in watching {
        streams.push((joined, stream.rest().await));
    }
    (told, streams)
}

fn check(told: &Told, joined: u64, blocks: &[Block]) -> Result<(), TestCaseError> {
    let ids: Vec<u64> = blocks.iter().map(Block::seq).filter(|id| *id > 0).collect();
    prop_assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");

    let is_event = |block: &&Block| block.name() == "e";
    let events: Vec<u64> = blocks.iter().filter(is_event).map(Block::seq).collect();
    let expected: Vec<u64> = told
        .events
        .iter()
        .copied()
        .filter(|seq| *seq > joined)
        .collect();
    prop_assert_eq!(events, expected);

    let statuses: Vec<Value> = blocks
        .iter()
        .filter(|block| !is_event(block))
        .map(Block::json)
        .collect();
    let seqs: Vec<u64> = statuses
        .iter()
        .map(|status| status["seq"].as_u64().expect("a seq"))
        .collect();
    prop_assert!(seqs.is_sorted(), "{seqs:?}");
    prop_assert!(seqs[0] >= joined);

    let (last, before) = blocks.split_last().expect("a first block");
    prop_assert_eq!(&last.json()["status"], "completed");
    prop_assert_eq!((last.seq(), last.retry), (told.end, Some(3_600_000)));
    prop_assert!(before.iter().all(|block| block.retry != last.retry));
    Ok(())
}
