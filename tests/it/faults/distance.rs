//! Nodes that are not equally near to their store report on the same job.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{backing::Backing, setting};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    in_time,
    server::TestServer,
};

/// How much longer than the other's a node's way to the store is, in each direction, in milliseconds.
const DISTANCE: u64 = 5;

/// How many workers keep the near node busy.
const WORKERS: usize = 4;

/// For how long a node goes on with a report, however often another is quicker.
const PROMISED: Duration = Duration::from_secs(5);

/// How many reports the far node is sent.
const REPORTS: u64 = 6;

over_shared_stores! {
    a_node_far_from_the_store_gets_its_turn_beside_one_that_is_near
}

async fn a_node_far_from_the_store_gets_its_turn_beside_one_that_is_near(backing: Backing) {
    let proxy = FaultProxy::before(backing.address, Fault::None).await;
    let more = "stream.update_interval_ms = 0\n";
    let near = TestServer::with(&backing.toml(more)).await;
    let far = TestServer::with(&backing.toml_by(proxy.address, more)).await;
    near.create(json!({"job_id": "j"})).await;
    let distance = Duration::from_millis(setting("DISTANCE", DISTANCE));
    proxy.set(Fault::Delay(distance)).await;
    let (is_over, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    let increment = || json!({"processed_increment": 1});
    let busy = join_all((0..WORKERS).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            near.report("j", increment()).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let beside = async {
        for _ in 0..REPORTS {
            // Refused honestly, it is sent again.
            in_time("a turn", async {
                while !is_taken(&far, increment()).await {}
            })
            .await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(busy, beside);
    let counted = counted.load(Ordering::Relaxed);
    for node in [&near, &far] {
        assert_eq!(node.status("j").await["processed_count"], counted);
    }
}

/// Whether a report was taken. If not, it was tried for as long as is promised, and not much longer.
async fn is_taken(server: &TestServer, report: Value) -> bool {
    let begin = Instant::now();
    let answer = server.patch("/api/v1/jobs/j", report).await;
    let took = begin.elapsed();
    if answer.status == StatusCode::OK {
        return true;
    }
    answer.error(503, "STORE_UNAVAILABLE");
    assert!((PROMISED..4 * PROMISED).contains(&took), "{took:?}");
    false
}
