//! Clients that come and go in great numbers, and clients that send what none would send.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{raw_client::RawClient, server::TestServer, until};

#[tokio::test]
async fn a_storm_of_reconnects_leaves_nothing_behind_and_disturbs_nobody() {
    let server = TestServer::with("stream.update_interval_ms = 0").await;
    server.create(json!({"job_id": "j"})).await;
    let mut steady = server.watch("j").await;
    steady.next_status().await;
    let storm = join_all((0..500).map(async |client: usize| {
        for round in 0..3 {
            let line = "GET /api/v1/jobs/j/stream HTTP/1.1";
            let mut client_connection = RawClient::request(&server.url, line, &[]).await;
            // Some leave before they were answered, in the middle of it, and after it.
            match (client + round) % 3 {
                0 => {}
                1 => drop(client_connection.read_until("HTTP/1.1 200 OK").await),
                _ => drop(client_connection.read_until("event: status").await),
            }
        }
    }));
    let reports = async {
        for count in 1..=20 {
            server.report("j", json!({"processed_count": count})).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(storm, reports);
    steady
        .status_where(|status| status["processed_count"] == 20)
        .await;
    until("the end of the storm", async || {
        server.usage().seats_taken() == 1 && server.watchers("j").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_cursor_that_nobody_was_given_is_no_cursor_however_it_looks() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    let long = |piece: &str| piece.repeat(15_000 / piece.len());
    for cursor in [
        long("9"),
        long("0"),
        long("x"),
        long("\u{e9}"),
        long("1,"),
        "9007199254740991".to_owned(),
        "9007199254740992".to_owned(),
        "9007199254740993".to_owned(),
        "18446744073709551615".to_owned(),
        "18446744073709551616".to_owned(),
        "340282366920938463463374607431768211456".to_owned(),
        "-1".to_owned(),
        "-9223372036854775808".to_owned(),
        "+1".to_owned(),
        "1e15".to_owned(),
        "1.5".to_owned(),
        "0x10".to_owned(),
        "NaN".to_owned(),
        "\u{661}\u{662}".to_owned(),
        "\u{ff11}".to_owned(),
        "\"1\"".to_owned(),
        "1 OR 1=1".to_owned(),
    ] {
        let line = "GET /api/v1/jobs/j/stream HTTP/1.1";
        let headers = [("Last-Event-ID", &*cursor)];
        let mut client = RawClient::request(&server.url, line, &headers).await;
        client
            .read_until("event: status\ndata: {\"job_id\":\"j\"")
            .await;
        let status = client.read_until("\n\n").await;
        assert!(!status.contains("\"gap\""), "{cursor:.40}: {status}");
        let encoded: String = form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        // What is longer is refused for its length: the head has its own bound.
        if encoded.len() < 16_000 {
            let path = format!("/api/v1/jobs/j/stream?last_event_id={encoded}");
            assert_eq!(
                server.stream(&path).await.next_status().await["job_id"],
                "j"
            );
        }
    }
    server.get("/healthz").await.expect(StatusCode::OK);
    until("everybody to leave", async || {
        server.usage().seats_taken() == 0
    })
    .await;
}
