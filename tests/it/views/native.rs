//! The bulk e-mail validation's old clients, which speak the server's own vocabulary: no view, and none in the way.

use progressd::view::Template;
use serde_json::json;

use super::{Raw, serving};
use crate::support::server::TestServer;

#[tokio::test]
async fn a_bulk_validation_is_told_as_documented_also_beside_views() {
    let all = [
        "audits",
        "recommendations",
        "orders",
        "inventory",
        "process",
    ];
    for server in [serving(&[], "").await, serving(&all, "").await] {
        validate(&server).await;
    }
}

async fn validate(server: &TestServer) {
    server
        .create(json!({"job_id": "bulk", "total_count": 4, "unit": "emails"}))
        .await;
    let mut raw = Raw::open(server, "/api/v1/jobs/bulk/stream", &[]).await;
    raw.blocks(1).await;
    for report in [json!({"processed_count": 3}), json!({"processed_count": 4})] {
        server.report("bulk", report).await;
        raw.blocks(1).await;
    }
    server.report("bulk", json!({"status": "completed"})).await;
    let whole = raw.whole().await;
    let told: Vec<_> = whole.split_terminator("\n\n").map(documented).collect();
    let expected = [
        ("pending", 0, 0),
        ("processing", 3, 75),
        ("processing", 4, 100),
        ("completed", 4, 100),
    ];
    let expected = expected.map(|(status, processed, percentage)| {
        json!({"job_id": "bulk", "status": status, "total_emails": 4, "processed_count": processed,
               "progress_percentage": percentage})
    });
    let mut expected = expected.to_vec();
    expected[0]["processed_count"] = told[0]["processed_count"].clone();
    assert_eq!(told, expected);
}

/// The documented fields of a `status` block, the lines of which stand in their order.
fn documented(block: &str) -> serde_json::Value {
    let mut lines = block.lines();
    assert_eq!(lines.next(), Some("event: status"), "{block}");
    let data = lines.next().and_then(|line| line.strip_prefix("data: "));
    let data: serde_json::Value = serde_json::from_str(data.expect("data")).expect("JSON");
    let names = [
        "job_id",
        "status",
        "total_emails",
        "processed_count",
        "progress_percentage",
    ];
    names
        .into_iter()
        .map(|name| (name.to_owned(), data[name].clone()))
        .collect()
}

#[test]
fn no_view_can_take_a_path_of_the_servers_own() {
    let document = progressd::http::openapi::document();
    let document: serde_json::Value = serde_json::from_str(document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").keys();
    for path in paths.map(String::as_str).chain(["/", "/api/v1/stream"]) {
        assert!(Template::parse(path).is_err(), "{path}");
    }
}
