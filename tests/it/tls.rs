//! HTTPS as clients and operators meet it.

use std::{fs, process::Stdio};

use futures_util::future::join_all;
use progressd::{
    config::{Config, StoreBackend},
    server::Server,
};
use reqwest::Version;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::support::{
    certificate::Certificate, client_program::open_in_one_page, in_time, people, process::Process,
    server::TestServer, sse::SseStream,
};

/// Far more than the six connections that browsers open to one host.
const MANY: usize = 200;

#[tokio::test]
async fn the_server_speaks_https_in_both_versions_of_http() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "").await;
    assert!(server.url.starts_with("https://127.0.0.1:"));
    server.create(json!({"job_id": "j"})).await;
    let http1 = certificate.client().http1_only().build();
    for (client, version) in [
        (server.client.clone(), Version::HTTP_2),
        (http1.expect("a client"), Version::HTTP_11),
    ] {
        let url = format!("{}/api/v1/jobs/j/status", server.url);
        let answer = in_time("an answer", client.get(url).send()).await;
        let answer = answer.expect("a trusted server");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
}

#[tokio::test]
async fn the_cookie_of_a_ticket_travels_by_https_alone() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, &people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    let bought = ann.post("/api/v1/jobs/a/ticket", json!({})).await.json();
    let ticket = bought["ticket"].as_str().expect("a ticket");
    let answer = server
        .get(&format!("/api/v1/jobs/a/status?ticket={ticket}"))
        .await
        .expect(reqwest::StatusCode::OK);
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(
        cookie.ends_with("; Path=/api/v1/jobs/a; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn many_streams_share_one_connection_and_all_hear_of_the_end() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "").await;
    server.create(json!({"job_id": "j"})).await;
    // The first request makes the connection that the others then find.
    let mut streams = vec![server.watch("j").await];
    streams.extend(join_all((1..MANY).map(|_| server.watch("j"))).await);
    for stream in &mut streams {
        stream.next_status().await;
    }
    assert_eq!(server.watchers("j").await, MANY);
    server.report("j", json!({"status": "completed"})).await;
    for stream in &mut streams {
        let last = stream
            .status_where(|job| job["status"] == "completed")
            .await;
        assert_eq!(last.retry, Some(3_600_000));
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn a_browser_opens_twenty_streams_of_one_origin_at_once() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "").await;
    server.create(json!({"job_id": "j"})).await;
    let url = format!("{}/api/v1/jobs/j/stream", server.url);
    let seen = open_in_one_page(&url, 20).await;
    assert_eq!(seen, json!({"open": 20, "statuses": 20}));
}

#[tokio::test]
async fn curl_trusts_the_certificate_and_follows_a_stream() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "").await;
    server.create(json!({"job_id": "j"})).await;
    server.report("j", json!({"status": "completed"})).await;
    for protocol in ["--http1.0", "--http1.1", "--http2"] {
        let curl = Command::new("curl")
            .args(["-sSN", protocol, "--cacert"])
            .arg(certificate.cert())
            .arg(format!("{}/api/v1/jobs/j/stream", server.url))
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output();
        let output = in_time("the end of curl", curl).await.expect("curl");
        assert_eq!(output.status.code(), Some(0), "{protocol}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.starts_with("event: status\ndata: {"), "{protocol}");
    }
}

#[tokio::test]
async fn a_drain_ends_streams_under_tls_with_a_word() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "[stream]\ndrain_seconds = 3600").await;
    server.create(json!({"job_id": "j"})).await;
    let http1 = certificate.client().http1_only().build().expect("a client");
    let url = format!("{}/api/v1/jobs/j/stream", server.url);
    let mut streams = [
        server.watch("j").await,
        SseStream::open(http1.get(url)).await,
    ];
    for stream in &mut streams {
        stream.next_status().await;
    }
    let (drained, ()) = tokio::join!(server.drain(), async {
        for stream in &mut streams {
            let last = stream.next().await;
            assert_eq!(last.json()["code"], "DRAINING");
            stream.expect_end().await;
        }
    });
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_to_new_connections_alone() {
    let certificate = &Certificate::new();
    let server = TestServer::secured(certificate, "").await;
    server.create(json!({"job_id": "j"})).await;
    let mut old = server.watch("j").await;
    old.next_status().await;
    certificate.renew();
    let config = Config::from_toml(&certificate.toml()).expect("valid");
    let reloaded = server.server().reload(&config);
    reloaded.expect("a configuration for this address");
    let new = certificate.client().build().expect("a client");
    let status = format!("{}/api/v1/jobs/j/status", server.url);
    let is_trusted = async |client: &reqwest::Client| {
        in_time("an answer", client.get(&status).send())
            .await
            .is_ok()
    };
    assert!(is_trusted(&new).await);
    // The client that trusts the old one alone goes on with the connection that it has.
    assert!(is_trusted(&server.client).await);
    server.report("j", json!({"processed_count": 1})).await;
    old.status_where(|job| job["processed_count"] == 1).await;
    // What cannot be served changes nothing.
    fs::write(certificate.cert(), "").expect("a file");
    let reloaded = server.server().reload(&config);
    reloaded.expect("a configuration for this address");
    assert!(is_trusted(&new).await);
    let another = new.get(&status).version(Version::HTTP_11).send();
    assert!(in_time("an answer", another).await.is_ok());
}

#[tokio::test]
async fn sighup_reads_the_certificate_again() {
    let certificate = &Certificate::new();
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(&file, certificate.toml()).expect("a writable file");
    let mut process = Process::configured_by(file.path()).await;
    assert!(process.url.starts_with("https://"), "{}", process.url);
    let health = format!("{}/healthz", process.url);
    let is_trusted = async || {
        let client = certificate.client().build().expect("a client");
        in_time("an answer", client.get(&health).send())
            .await
            .is_ok()
    };
    assert!(is_trusted().await);
    certificate.renew();
    assert!(!is_trusted().await);
    process.signal("HUP").await;
    process.logged("reloaded").await;
    assert!(is_trusted().await);
    fs::write(certificate.key(), "no key").expect("a file");
    process.signal("HUP").await;
    let line = process.logged("the certificate was not reloaded").await;
    assert!(line.contains("holds no private key"), "{line}");
    assert!(is_trusted().await);
    fs::write(&file, "").expect("a writable file");
    process.signal("HUP").await;
    process.logged("only a restart changes whether").await;
    assert!(is_trusted().await);
}

#[tokio::test]
async fn files_that_cannot_be_served_stop_the_start_with_a_sentence() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let refusal = async |toml: &str| {
        let mut config = Config::from_toml(toml).expect("valid as a configuration");
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.store.backend = StoreBackend::Memory;
        let refusal = Server::start(&config).await.expect_err("no such start");
        format!("{refusal:#}")
    };
    let (cert, key) = (certificate.cert(), certificate.key());
    let toml = |cert: &std::path::Path, key: &std::path::Path| {
        format!(
            "[server.tls]\ncert = '{}'\nkey = '{}'",
            cert.display(),
            key.display()
        )
    };
    let missing = certificate.cert().with_file_name("missing.pem");
    for (toml, begin, end) in [
        (
            toml(&missing, &key),
            "cannot read `server.tls.cert`, the file `",
            "No such file or directory (os error 2)",
        ),
        (
            toml(&cert, &missing),
            "cannot read `server.tls.key`, the file `",
            "No such file or directory (os error 2)",
        ),
        (
            toml(&key, &key),
            "the file `",
            "holds no certificate: it must have a PEM block `CERTIFICATE`",
        ),
        (
            toml(&cert, &cert),
            "the file `",
            "holds no private key: it must have a PEM block `PRIVATE KEY`, not encrypted",
        ),
        (
            toml(&cert, &other.key()),
            "the key in `",
            &format!("does not belong to the certificate in `{}`", cert.display()),
        ),
    ] {
        let refusal = refusal(&toml).await;
        assert!(
            refusal.starts_with(begin) && refusal.ends_with(end),
            "{refusal}"
        );
        assert!(!refusal.contains('\n'), "{refusal}");
    }
    fs::write(
        &cert,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("a file");
    let nonsense = refusal(&certificate.toml()).await;
    assert!(nonsense.contains("cannot be used: "), "{nonsense}");
    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("a file");
    let cut_off = refusal(&certificate.toml()).await;
    assert!(cut_off.ends_with("it is not valid PEM"), "{cut_off}");
}
