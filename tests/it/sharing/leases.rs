//! Leases among nodes: silence counts only while somebody could have been reported to.

use std::time::Duration;

use serde_json::json;

use crate::support::{server::TestServer, shared_memory::Hall, until};

#[tokio::test]
async fn leases_begin_anew_when_no_node_was_there_to_report_to() {
    let hall = Hall::new();
    let before = TestServer::over(hall.node(), "").await;
    let leases = json!({"job_id": "j", "lease_seconds": 60, "fail_stalled_after_seconds": 60});
    before.create(leases).await;
    before.report("j", json!({"processed_count": 1})).await;
    before.drain().await;
    // The next node comes a quarter of an hour later.
    let later = hall.node_with_clock(Duration::from_secs(900));
    let after = TestServer::over(later, "").await;
    // One whose lease ends while it is there; by then every deadline has been looked at.
    after
        .create(json!({"job_id": "short", "lease_seconds": 1}))
        .await;
    after.report("short", json!({"processed_count": 1})).await;
    until("the end of the short lease", async || {
        after.status("short").await["stalled"] == true
    })
    .await;
    let status = after.status("j").await;
    assert_eq!(status["status"], "processing", "{status}");
    assert_eq!(status["stalled"], false);
    after.report("j", json!({"processed_count": 2})).await;
}

#[tokio::test]
async fn node_that_restarts_beside_another_renews_no_lease() {
    let hall = Hall::new();
    let there_all_along = TestServer::over(hall.node(), "").await;
    there_all_along
        .create(json!({"job_id": "j", "lease_seconds": 1}))
        .await;
    there_all_along.report("j", json!({})).await;
    let _new = TestServer::over(hall.node(), "").await;
    until("the end of the lease", async || {
        there_all_along.status("j").await["stalled"] == true
    })
    .await;
}
