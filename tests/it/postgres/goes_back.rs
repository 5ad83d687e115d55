//! A PostgreSQL that comes back as it was some time ago: a copy took its place that was behind.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    postgres_server::{PostgresServer, as_postgres},
    server::TestServer,
    until,
};

/// Copies the cluster of a server that is stopped.
fn copy(from: &PostgresServer, way: &str) {
    let data = from.data().display().to_string();
    let script = match way {
        "there" => "cp -a \"$0\" \"$0.copy\"",
        _ => "rm -rf \"$0\" && mv \"$0.copy\" \"$0\"",
    };
    let mut shell: Command = as_postgres("sh");
    let status = shell.args(["-c", script, &data]).current_dir("/").status();
    assert!(status.expect("a shell").success());
}

async fn is_ready(server: &TestServer) -> bool {
    server.get("/readyz").await.status == StatusCode::OK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_back_takes_back_nothing_that_was_shown_and_tells_of_lost_events() {
    let postgres = tokio::task::spawn_blocking(|| PostgresServer::start(&["fsync=off"])).await;
    let postgres = postgres.expect("a server");
    let database = postgres.database().await;
    let toml = format!(
        "{}stream.update_interval_ms = 0\nstore.postgres.poll_interval_seconds = 1\n",
        database.keys()
    );
    let nodes = [TestServer::with(&toml).await, TestServer::with(&toml).await];
    let [here, there] = &nodes;
    let send = async |server: &TestServer, number: u64| {
        let event = json!({"event": "line", "data": number});
        let answer = server.post("/api/v1/jobs/j/events", event).await;
        answer.expect(StatusCode::OK).json()["seq"].as_u64()
    };
    here.create(json!({"job_id": "j"})).await;
    let kept = send(here, 1).await;
    let mut stream = here.watch("j").await;
    stream.next_status().await;
    tokio::task::block_in_place(|| {
        postgres.stop("fast");
        copy(&postgres, "there");
        postgres.start_again();
    });
    for server in &nodes {
        until("its return", async || is_ready(server).await).await;
    }
    send(here, 2).await;
    let newest = here.report("j", json!({"processed_count": 5})).await["seq"].as_u64();
    let is_newest = |status: &Value| status["processed_count"] == 5;
    stream.status_where(is_newest).await;
    tokio::task::block_in_place(|| {
        postgres.stop("immediate");
        copy(&postgres, "back");
        postgres.start_again();
    });
    for server in &nodes {
        until("its return", async || is_ready(server).await).await;
    }
    // The node that has shown it puts it back, and the other shows it too.
    for server in &nodes {
        let shown = server.status("j").await;
        assert!(shown["seq"].as_u64() >= newest, "{shown}");
        assert_eq!(shown["processed_count"], 5);
    }
    // The second event is lost; whoever has not seen it is told, wherever it asks.
    for server in &nodes {
        let mut stream = server.resume("j", &kept.expect("a seq").to_string()).await;
        let first = stream.next_status().await;
        assert_eq!(first["gap"], true, "{first}");
    }
    let seen = there.status("j").await["seq"].to_string();
    let mut resumed = there.resume("j", &seen).await;
    assert_eq!(resumed.next_status().await.get("gap"), None);
    send(there, 3).await;
    there.report("j", json!({"status": "completed"})).await;
    for stream in [&mut stream, &mut resumed] {
        let blocks = stream.rest().await;
        let ids: Vec<_> = blocks.iter().filter(|block| block.id.is_some()).collect();
        let rises = ids.is_sorted_by(|before, after| before.seq() < after.seq());
        assert!(rises, "{blocks:?}");
        let lines = blocks.iter().filter(|block| block.name() == "line");
        let lines: Vec<_> = lines.map(|block| block.data.as_str()).collect();
        assert_eq!(lines, ["3"]);
        let end = blocks.last().expect("an end").json();
        assert_eq!(end["status"], "completed");
        assert_eq!(end["processed_count"], 5);
    }
}
