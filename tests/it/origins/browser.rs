//! What pages of other origins can do in a real browser.

use std::{path::Path, process::Stdio};

use progressd::auth::KeyHash;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{in_time, pages::Pages, server::TestServer};

/// What a page at each of `pages` can do with job `secret` of the server: see `tests/clients/pages.mjs`.
async fn visit(server: &str, pages: &[String], options: &[&str]) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let pages = pages.iter().flat_map(|page| ["--page", page]);
    let running = Command::new("node")
        .args(["pages.mjs", "--server", server])
        .args(pages)
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = in_time("the end of the browser", running).await;
    let output = output.expect("`node` is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON lines"))
        .collect()
}

async fn jobs(server: &TestServer) -> usize {
    let list = server.get("/api/v1/jobs").await.json();
    list["jobs"].as_array().expect("a list").len()
}

#[tokio::test]
async fn a_foreign_page_can_neither_read_nor_write_nor_watch_an_open_server() {
    let server = TestServer::with("runner.email.dns = 'off'").await;
    server.create(json!({"job_id": "secret"})).await;
    let foreign = Pages::start().await;
    let port = server.url.rsplit(':').next().expect("a port");
    let pages = [
        // Another origin of the same site.
        foreign.url("127.0.0.1"),
        // Other sites.
        foreign.url("localhost"),
        foreign.url("evil.example"),
        // The server itself by a name of the attacker's, bound to 127.0.0.1 after the page was loaded.
        format!("http://evil.example:{port}/"),
        // A page without an origin.
        "data:text/html,page".to_owned(),
    ];
    let seen = visit(&server.url, &pages, &[]).await;
    assert_eq!(seen.len(), pages.len());
    for seen in seen {
        for means in ["read", "report", "watched"] {
            assert_eq!(seen[means], Value::Null, "{means}: {seen}");
        }
    }
    // The pages have posted jobs in every way that needs nobody's leave.
    assert_eq!(jobs(&server).await, 1);
    let secret = server.status("secret").await;
    assert_eq!(secret["processed_count"], Value::Null);
}

#[tokio::test]
async fn the_servers_own_pages_read_write_and_watch() {
    let server = TestServer::with("runner.email.dns = 'off'").await;
    server.create(json!({"job_id": "secret"})).await;
    let own = [format!("{}/healthz", server.url)];
    let seen = &visit(&server.url, &own, &[]).await[0];
    assert_eq!(seen["read"]["status"], 200, "{seen}");
    assert_eq!(seen["report"]["status"], 200, "{seen}");
    assert_eq!(seen["watched"]["job_id"], "secret", "{seen}");
    // What foreign pages try in vain does work: the form, the plain `fetch`es and the beacon.
    assert_eq!(jobs(&server).await, 5);
}

#[tokio::test]
async fn a_listed_page_reads_writes_and_watches_with_credentials_and_sees_the_headers() {
    let pages = Pages::start().await;
    let origins = ["127.0.0.1", "app.example"].map(|host| pages.url(host));
    let listed = origins.each_ref().map(|page| page.trim_end_matches('/'));
    let open = format!("cors.allowed_origins = {listed:?}\nrunner.email.dns = 'off'\n");
    let key = format!(
        "[[auth.api_keys]]\nname = 'k'\nsha256 = '{}'\nscopes = ['jobs:read', 'jobs:write']\n",
        KeyHash::of(b"key")
    );
    for (toml, options) in [
        (open.clone(), &[] as &[&str]),
        (format!("{open}{key}"), &["--token", "key"]),
    ] {
        let server = TestServer::with(&toml).await.with_token("key");
        server.create(json!({"job_id": "secret"})).await;
        for seen in visit(&server.url, &origins, options).await {
            assert_eq!(seen["read"]["status"], 200, "{seen}");
            assert_eq!(seen["report"]["status"], 200, "{seen}");
            for header in ["etag", "retry-after", "x-request-id"] {
                assert!(seen["read"]["headers"][header].is_string(), "{seen}");
            }
            // An `EventSource` cannot send the key.
            let watched = if options.is_empty() {
                json!("secret")
            } else {
                Value::Null
            };
            assert_eq!(seen["watched"]["job_id"], watched, "{seen}");
        }
    }
}
