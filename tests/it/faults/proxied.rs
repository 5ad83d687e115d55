//! The way between a node and its store is cut, slowed down, sliced and swallowed.

use std::time::{Duration, Instant};

use rand::{RngExt as _, rngs::StdRng};
use reqwest::StatusCode;
use serde_json::json;

use super::{
    backing::Backing,
    check::Promises,
    setting,
    world::{Crowd, Load, World, pause, verify},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    node::Node,
    server::TestServer,
    until,
};

/// What a node waits for its store.
const TIMEOUT: Duration = Duration::from_millis(800);

const MORE: &str = "\
store.timeout_ms = 800
[stream]
update_interval_ms = 0
";

over_shared_stores! {
    losing_the_store_shows_is_answered_honestly_and_heals
    a_change_whose_answer_was_lost_counts_once
    a_way_that_is_slow_and_in_pieces_changes_nothing
    two_nodes_with_a_bad_way_to_their_store_break_no_promise
}

async fn losing_the_store_shows_is_answered_honestly_and_heals(backing: Backing) {
    let proxy = FaultProxy::before(backing.address, Fault::None).await;
    let server = TestServer::with(&backing.toml_by(proxy.address, MORE)).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    assert_eq!(stream.next_status().await["status"], "pending");
    let is_ready = async |expected: StatusCode| {
        until("readiness", async || {
            server.get("/readyz").await.status == expected
        })
        .await;
    };
    let (mut least, mut most) = (0, 0);
    for fault in [Fault::Down, Fault::Reset, Fault::BlackHole] {
        let increment = json!({"processed_increment": 1});
        server.report("j", increment.clone()).await;
        (least, most) = (least + 1, most + 1);
        proxy.set(fault.clone()).await;
        is_ready(StatusCode::SERVICE_UNAVAILABLE).await;
        let begin = Instant::now();
        let answer = server.patch("/api/v1/jobs/j", increment.clone()).await;
        let took = begin.elapsed();
        answer.error(503, "STORE_UNAVAILABLE");
        assert!(answer.header("retry-after").is_some(), "{fault:?}");
        // Once for the commit, and once to see what became of it.
        assert!(took < 4 * TIMEOUT, "{fault:?}: {took:?}");
        most += 1;
        server.get("/healthz").await.expect(StatusCode::OK);
        until("the metric", async || {
            let metrics = server.get("/metrics").await.text;
            metrics.contains("\nprogressd_store_up 0")
        })
        .await;
        proxy.set(Fault::None).await;
        is_ready(StatusCode::OK).await;
        // The stream has stayed, and tells what happens now.
        server
            .report("j", json!({"message": format!("after {fault:?}")}))
            .await;
        let block = stream.status_where(|status| status["message"] == format!("after {fault:?}"));
        let count = block.await.json()["processed_count"]
            .as_u64()
            .expect("a count");
        assert!(
            (least..=most).contains(&count),
            "{fault:?}: {count} of {least} to {most}"
        );
    }
    server.report("j", json!({"status": "completed"})).await;
    let rest = stream.rest().await;
    assert_eq!(rest.last().expect("the end").json()["status"], "completed");
}

async fn a_change_whose_answer_was_lost_counts_once(backing: Backing) {
    let proxy = FaultProxy::before(backing.address, Fault::None).await;
    let server = TestServer::with(&backing.toml_by(proxy.address, MORE)).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.resume("j", "0").await;
    // The words that a commit is known by on its way.
    let marked = || Fault::LoseAnswer(b"lose-me");
    let (mut least, mut most) = (0, 0);
    for number in 0..12_u64 {
        let is_named = number.is_multiple_of(2);
        let mut report = json!({"processed_increment": 1, "message": "lose-me"});
        if is_named {
            report["report_id"] = json!(format!("r{number}"));
        }
        let before = proxy.lost();
        proxy.set(marked()).await;
        let answer = server.patch("/api/v1/jobs/j", report.clone()).await;
        assert!(proxy.lost() > before, "no answer was lost");
        proxy.set(Fault::None).await;
        match answer.status {
            StatusCode::OK => least += 1,
            StatusCode::SERVICE_UNAVAILABLE => {}
            _ => panic!("{answer:?}"),
        }
        most += 1;
        if is_named && answer.status != StatusCode::OK {
            until("an answer", async || {
                let answer = server.patch("/api/v1/jobs/j", report.clone()).await;
                answer.status == StatusCode::OK
            })
            .await;
            least += 1;
        }
        // What was marked is not carried along.
        until("an answer", async || {
            let answer = server.patch("/api/v1/jobs/j", json!({"message": number.to_string()}));
            answer.await.status == StatusCode::OK
        })
        .await;
        let count = server.status("j").await["processed_count"].as_u64();
        let count = count.unwrap_or(0);
        assert!(
            (least..=most).contains(&count),
            "{count} of {least} to {most}"
        );
        // From here on it is known what became of the one without an answer.
        (least, most) = (count, count);
    }
    assert_eq!(
        most, 12,
        "each was known again by its commit, or sent again"
    );
    for number in 0..6 {
        let event = json!({"event": "log", "data": {"n": number, "text": "lose-me"}, });
        proxy.set(marked()).await;
        let path = "/api/v1/jobs/j/events";
        until("an answer", async || {
            let request = server.request(reqwest::Method::POST, path).json(&event);
            let request = request.header("idempotency-key", format!("e{number}"));
            let answer = request.send().await.expect("an answer");
            // One lost answer is enough; with every answer lost there is none.
            proxy.set(Fault::None).await;
            answer.status() == StatusCode::OK
        })
        .await;
    }
    server.report("j", json!({"status": "completed"})).await;
    let events = stream
        .rest()
        .await
        .into_iter()
        .filter(|block| block.name() == "log");
    let numbers: Vec<_> = events.map(|block| block.json()["n"].clone()).collect();
    assert_eq!(json!(numbers), json!([0, 1, 2, 3, 4, 5]));
}

async fn a_way_that_is_slow_and_in_pieces_changes_nothing(backing: Backing) {
    let proxy = FaultProxy::before(backing.address, Fault::None).await;
    let server = TestServer::with(&backing.toml_by(proxy.address, MORE)).await;
    for (name, fault) in [
        ("slow", Fault::Delay(Duration::from_millis(20))),
        ("pieces", Fault::Slice(1)),
        ("larger", Fault::Slice(700)),
    ] {
        proxy.set(fault).await;
        server
            .create(json!({"job_id": name, "data": {"text": "ü".repeat(2_000)}}))
            .await;
        let mut stream = server.watch(name).await;
        assert_eq!(stream.next_status().await["status"], "pending");
        for number in 1..=3 {
            let data = json!({"n": number, "text": "x".repeat(3_000)});
            let path = format!("/api/v1/jobs/{name}/events");
            let events = json!([{"event": "log", "data": data}]);
            server.post(&path, events).await.expect(StatusCode::OK);
            server
                .report(name, json!({"processed_count": number}))
                .await;
        }
        server.report(name, json!({"status": "completed"})).await;
        let blocks = stream.rest().await;
        let events = blocks.iter().filter(|block| block.name() == "log");
        let numbers: Vec<_> = events.map(|block| block.json()["n"].clone()).collect();
        assert_eq!(json!(numbers), json!([1, 2, 3]));
        assert_eq!(blocks.last().expect("the end").json()["processed_count"], 3);
    }
}

/// What chance does to the way of one node.
fn any_fault(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..12) {
        0..=3 => Fault::None,
        4 => Fault::Down,
        5 => Fault::Reset,
        6 | 7 => Fault::BlackHole,
        8 => Fault::Delay(Duration::from_millis(chance.random_range(1..300))),
        9 => Fault::Slice(chance.random_range(1..50)),
        // Every job's name begins so, and so does every request about one.
        _ => Fault::LoseAnswer(b"w1"),
    }
}

async fn two_nodes_with_a_bad_way_to_their_store_break_no_promise(backing: Backing) {
    let rounds = setting("ROUNDS", 12);
    let load = Load {
        seed: setting("SEED", rand::random_range(0..1_000_000)),
        workers: setting("WORKERS", 8) as usize,
        watchers: setting("WATCHERS", 30) as usize,
        pollers: 4,
        pause: Duration::from_millis(40),
    };
    println!("bad ways: seed {}, {rounds} rounds", load.seed);
    let mut nodes = Vec::new();
    let mut proxies = Vec::new();
    for _ in 0..2 {
        let proxy = FaultProxy::before(backing.address, Fault::None).await;
        let more = format!("{MORE}\nretry_ms = 100\ndrain_seconds = 1\n");
        let mut node = Node::new(&backing.toml_by(proxy.address, &more));
        node.start().await;
        nodes.push(node);
        proxies.push(proxy);
    }
    let addresses = nodes.iter().map(|node| node.address).collect();
    let world = World::new(addresses, None, &load);
    let crowd = Crowd::start(&world, &load);
    let mut chance = world.chance(30_000);
    for round in 0..rounds {
        let faults = [any_fault(&mut chance), any_fault(&mut chance)];
        println!("round {round}: {faults:?}");
        for (proxy, fault) in proxies.iter().zip(faults) {
            proxy.set(fault).await;
        }
        pause(Duration::from_millis(1_200), &mut chance).await;
    }
    for proxy in &proxies {
        proxy.set(Fault::None).await;
    }
    crowd.finish(Duration::from_secs(60)).await;
    for node in &mut nodes {
        node.stop().await;
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    let promises = Promises {
        kept_events: 1_000,
        progress_age: None,
    };
    verify(&world, &load, promises, "bad ways");
}
