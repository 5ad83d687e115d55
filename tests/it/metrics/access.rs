//! Who may read the metrics, and where.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    in_time, people,
    raw_client::RawClient,
    scrape::Scrape,
    server::{Answer, TestServer},
    until,
};

const WITH_ADMIN: &str = "[server]\nadmin_listen = '127.0.0.1:0'\n";

fn admin_url(server: &TestServer) -> String {
    let address = server.server().admin_address().expect("a second address");
    format!("http://{address}")
}

async fn get(url: &str) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build();
    Answer::of(client.expect("a client").get(url)).await
}

#[tokio::test]
async fn with_a_key_the_main_address_asks_for_admin() {
    let server = TestServer::with(&people::configuration()).await;
    server.get("/metrics").await.error(401, "UNAUTHORIZED");
    for key in ["key-all", "key-read", "key-ann"] {
        let answer = server.as_bearer(key).get("/metrics").await;
        answer.error(403, "FORBIDDEN");
    }
    Scrape::of(&server.as_bearer("key-admin")).await;
}

#[tokio::test]
async fn the_second_address_serves_metrics_and_health_alone_and_asks_for_nothing() {
    let toml = format!("{WITH_ADMIN}{}", people::configuration());
    let server = TestServer::with(&toml).await;
    let admin = admin_url(&server);
    Scrape::read(get(&format!("{admin}/metrics")).await.text);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&format!("{admin}{path}")).await.status, 200);
        assert_eq!(server.get(path).await.status, 200);
    }
    let answer = get(&format!("{admin}/api/v1/jobs")).await;
    answer.error(404, "ROUTE_NOT_FOUND");
    for client in [server.guest(), server.as_bearer("key-admin")] {
        let answer = client.get("/metrics").await;
        answer.error(404, "ROUTE_NOT_FOUND");
    }
    let foreign = "GET /metrics HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    let answer = RawClient::exchange(&admin, foreign).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_reload_reaches_the_second_address_too() {
    let server = TestServer::with(WITH_ADMIN).await;
    let admin = admin_url(&server);
    let mut first = RawClient::connect(&admin).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    first.send(request).await;
    first.read_until("200 OK").await;
    server.reload(&format!(
        "{WITH_ADMIN}[limits]\nmax_connections_per_address = 1\n"
    ));
    until("a refusal", async || {
        let address = server.server().admin_address().expect("a second address");
        let mut second = TcpStream::connect(address).await.expect("a listener");
        // Whoever is refused may be before this is sent.
        let _ = second.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await;
        second.read_u8().await.is_err()
    })
    .await;
    first.send(request).await;
    first.read_until("200 OK").await;
}

#[tokio::test]
async fn the_second_address_answers_to_the_end_of_the_drain() {
    let toml = format!("{WITH_ADMIN}[stream]\ndrain_seconds = 3600\n");
    let server = TestServer::with(&toml).await;
    let admin = admin_url(&server);
    server.create(json!({"job_id": "j"})).await;
    let mut watcher = server.watch("j").await;
    watcher.next_status().await;
    // A request whose body does not come holds the drain.
    let mut slow = RawClient::request(
        &server.url,
        "PATCH /api/v1/jobs/j HTTP/1.1",
        &[
            ("Content-Type", "application/json"),
            ("Content-Length", "2"),
            ("Expect", "100-continue"),
        ],
    )
    .await;
    // Said by the handler that waits for it.
    slow.read_until("100 Continue\r\n\r\n").await;
    let (drained, ()) = tokio::join!(server.drain(), async {
        assert_eq!(watcher.next().await.json()["code"], "DRAINING");
        watcher.expect_end().await;
        assert_eq!(get(&format!("{admin}/readyz")).await.status, 503);
        let scrape = Scrape::read(get(&format!("{admin}/metrics")).await.text);
        let draining = [("reason", "draining")];
        assert_eq!(scrape.value("progressd_stream_ends_total", &draining), 1.0);
        slow.send("{}").await;
        slow.read_to_end().await;
    });
    assert_eq!(drained.cut, 0);
    let address = admin.trim_start_matches("http://");
    let connecting = in_time("a refusal", TcpStream::connect(address)).await;
    connecting.expect_err("nobody listens any more");
}
