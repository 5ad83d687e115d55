//! The page in a real browser: it shows every call, and nothing comes from elsewhere.

use serde_json::Value;

use super::truth::document;
use crate::support::{client_program, server::TestServer};

/// Opens an address of the page in Chromium and waits for what it should show; the texts of that.
async fn open(server: &TestServer, address: &str, wait_for: &str) -> Vec<String> {
    let url = format!("{}{address}", server.url);
    let lines = client_program::run(vec!["page.mjs", "--url", &url, "--wait-for", wait_for]).await;
    let [seen] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert_eq!(seen["complaints"], serde_json::json!([]), "{seen:#}");
    let requests = seen["requests"].as_array().expect("requests");
    let is_ours = |request: &&Value| {
        request
            .as_str()
            .is_some_and(|to| to.starts_with(&server.url))
    };
    let foreign: Vec<_> = requests
        .iter()
        .filter(|request| !is_ours(request))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(
        requests
            .iter()
            .any(|to| to.as_str() == Some(&*format!("{}/openapi.json", server.url)))
    );
    let texts = seen["texts"].as_array().expect("texts").iter();
    texts
        .map(|text| text.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn the_page_shows_every_call_and_loads_nothing_from_elsewhere() {
    let server = TestServer::start().await;
    let mut shown = open(&server, "/docs", ".opblock-summary-path").await;
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let calls = paths.iter().flat_map(|(path, item)| {
        let calls = item.as_object().expect("calls").len();
        std::iter::repeat_n(path.clone(), calls)
    });
    let mut calls: Vec<_> = calls.collect();
    calls.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, calls);
}

#[tokio::test]
async fn the_page_opens_a_call_without_breaking_its_policy() {
    let server = TestServer::start().await;
    let shown = open(&server, "/docs#/watching/watchJob", ".responses-inner").await;
    let [answers] = &shown[..] else {
        panic!("{shown:#?}");
    };
    assert!(answers.contains("text/event-stream"), "{answers}");
    assert!(answers.contains("JOB_GONE"), "{answers}");
}
