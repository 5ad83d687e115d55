//! Real proxies with settings that harm streams: each is found, and the setting named.

use std::time::Duration;

use serde_json::json;

use super::{Finding, SOON, Visit, guarded, jobs};
use crate::support::{
    cut_proxy::CutProxy,
    fault_proxy::{Fault, FaultProxy},
    nginx::{Nginx, SHIPPED, STOCK},
    ports::free_address,
    server::TestServer,
};

/// What passes on to progressd in nginx's configuration.
const PASS: &str = "proxy_pass http://127.0.0.1:8080;";

/// nginx's configuration with these lines beside what passes on.
fn nginx_with(lines: &str) -> String {
    STOCK.replace(PASS, &format!("{PASS}\n{lines}"))
}

/// nginx's configuration with this in place of what passes on.
fn nginx_without_pass(lines: &str) -> String {
    STOCK.replace(PASS, &format!("{lines} # not to 127.0.0.1:8080\n"))
}

/// What the doctor sees through nginx with a configuration; nothing is left of it on the server.
async fn seen_through(configuration: &str, toml: &str, seconds: &str) -> Visit {
    let server = guarded(toml).await;
    let nginx = Nginx::start(configuration, server.address()).await;
    let arguments = [&*nginx.url, "--json", "--seconds", seconds];
    let visit = Visit::with("key-all", &arguments).await;
    assert_eq!(jobs(&server).await, 0);
    visit
}

/// nginx signs its answers, so that the advice is for it alone.
#[track_caller]
fn assert_for_nginx(finding: &Finding, setting: &str) {
    let mut lines = finding.change.lines();
    let of_nginx = lines.find(|line| line.starts_with("nginx: "));
    let is_named = of_nginx.is_some_and(|line| line.contains(setting));
    assert!(is_named, "{finding:?}");
    assert!(!finding.change.contains("HAProxy"), "{finding:?}");
}

#[tokio::test]
async fn the_shipped_configuration_and_the_stock_one_do_well() {
    for configuration in [SHIPPED, STOCK] {
        let visit = seen_through(configuration, SOON, "2").await;
        assert_eq!(visit.code, Some(0), "{visit:?}");
        for verdict in ["problem", "warning"] {
            assert!(visit.checks(verdict).is_empty(), "{:#}", visit.object());
        }
        assert_eq!(visit.checks("not_looked_at"), ["origin"]);
    }
}

#[tokio::test]
async fn a_proxy_that_buffers_is_found() {
    let configuration = nginx_with("proxy_ignore_headers X-Accel-Buffering;");
    let visit = seen_through(&configuration, "", "0").await;
    assert_eq!(visit.code, Some(1), "{visit:?}");
    let finding = visit.finding("delivery");
    assert_eq!(finding.verdict, "problem", "{finding:?}");
    assert!(finding.seen.contains("held on the way"), "{finding:?}");
    assert_for_nginx(&finding, "proxy_buffering off;");
    assert_for_nginx(&finding, "proxy_ignore_headers X-Accel-Buffering");
    // Whatever is held comes with the end, and coming back needs no speed.
    for check in ["resume", "204", "caching", "methods"] {
        assert_eq!(visit.finding(check).verdict, "ok", "{visit:?}");
    }
}

#[tokio::test]
async fn a_way_that_is_slow_without_holding_anything_is_fine() {
    let server = guarded(SOON).await;
    let slow = Fault::Delay(Duration::from_millis(100));
    let proxy = FaultProxy::before(server.address(), slow).await;
    let url = format!("http://{}", proxy.address);
    let visit = Visit::with("key-all", &[&url, "--json", "--seconds", "2"]).await;
    assert!(visit.checks("problem").is_empty(), "{:#}", visit.object());
    assert_eq!(visit.code, Some(0));
}

#[tokio::test]
async fn a_proxy_that_compresses_is_found_and_the_rest_looked_at_all_the_same() {
    let configuration = nginx_with(
        "proxy_http_version 1.1; gzip on; gzip_types text/event-stream; gzip_min_length 0;",
    );
    let visit = seen_through(&configuration, SOON, "2").await;
    let finding = visit.only_problem("compression");
    assert!(finding.seen.contains("gzip"), "{finding:?}");
    assert_for_nginx(&finding, "gzip_types");
}

#[tokio::test]
async fn a_read_timeout_below_the_heartbeats_is_found_with_its_length() {
    let configuration = nginx_with("proxy_read_timeout 2s;");
    let visit = seen_through(&configuration, "", "10").await;
    let finding = visit.only_problem("duration");
    let seconds = finding.seen.strip_prefix("cut after ");
    let seconds = seconds.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let is_like_the_timeout = seconds.is_some_and(|seconds| (1.0..6.0).contains(&seconds));
    assert!(is_like_the_timeout, "{finding:?}");
    assert_for_nginx(&finding, "proxy_read_timeout");
    let own = "stream.heartbeat_seconds";
    assert!(finding.change.contains(own), "{finding:?}");
    // What came before the cut came in time.
    assert_eq!(visit.finding("delivery").verdict, "ok");
    assert_eq!(visit.finding("end").verdict, "not_looked_at");
    // With heartbeats below it, the same proxy does no harm.
    let visit = seen_through(&configuration, SOON, "4").await;
    assert_eq!(visit.code, Some(0), "{visit:?}");
}

#[tokio::test]
async fn a_stream_that_is_cut_while_it_is_in_use_is_told_from_silence() {
    let server = guarded("").await;
    // The doctor's stream has more blocks than this.
    let proxy = CutProxy::start(&server.url, 4).await;
    let arguments = [&*proxy.url, "--json", "--seconds", "0"];
    let visit = Visit::with("key-all", &arguments).await;
    let finding = visit.finding("duration");
    assert_eq!(finding.verdict, "problem", "{visit:?}");
    assert!(finding.seen.contains("though it was in use"), "{finding:?}");
    let own = "stream.max_duration_seconds";
    assert!(finding.change.contains(own), "{finding:?}");
}

#[tokio::test]
async fn a_stripped_last_event_id_is_found() {
    let configuration = nginx_with("proxy_set_header Last-Event-ID \"\";");
    let visit = seen_through(&configuration, SOON, "2").await;
    let finding = visit.only_problem("resume");
    let seen = "Last-Event-ID does not reach";
    assert!(finding.seen.contains(seen), "{finding:?}");
    assert_for_nginx(&finding, "proxy_set_header Last-Event-ID");
    assert_eq!(visit.finding("204").verdict, "not_looked_at");
}

#[tokio::test]
async fn a_stripped_authorization_is_told_from_a_wrong_credential() {
    let configuration = nginx_with("proxy_set_header Authorization \"\";");
    let visit = seen_through(&configuration, "", "0").await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("credential");
    let seen = "Authorization does not reach progressd";
    assert!(finding.seen.contains(seen), "{finding:?}");
    assert_for_nginx(&finding, "proxy_set_header Authorization");
}

#[tokio::test]
async fn a_query_that_is_lost_is_found_by_its_token() {
    let configuration = STOCK.replace("127.0.0.1:8080;", "127.0.0.1:8080$uri;");
    let visit = seen_through(&configuration, SOON, "2").await;
    let finding = visit.only_problem("query token");
    assert_for_nginx(&finding, "$is_args$args");
}

#[tokio::test]
async fn a_redirect_is_named_with_its_place_and_without_what_is_secret_in_it() {
    let redirect = nginx_without_pass("return 301 https://progress.example$request_uri;");
    let nginx = Nginx::start(&redirect, free_address()).await;
    let visit = Visit::with("key-all", &[&nginx.url, "--json"]).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("address");
    let place = "301: everything is redirected, this to https://progress.example/api/v1/";
    assert!(finding.seen.starts_with(place), "{finding:?}");
    let stream = format!("{}/orders/7/events?token=not-for-the-screen", nginx.url);
    let visit = Visit::with("", &[&stream, "--json"]).await;
    let finding = visit.finding("head");
    let place = "https://progress.example/orders/7/events?token=hidden";
    assert!(finding.seen.contains(place), "{finding:?}");
    assert!(!visit.stdout.contains("not-for-the-screen"), "{visit:?}");
}

#[tokio::test]
async fn a_method_that_is_refused_on_the_way_is_named() {
    let configuration = nginx_with("limit_except GET POST DELETE { deny all; }");
    let visit = seen_through(&configuration, "", "0").await;
    assert_eq!(visit.code, Some(1), "{visit:?}");
    let finding = visit.finding("methods");
    assert!(
        finding.seen.starts_with("PATCH is answered 403"),
        "{finding:?}"
    );
    assert_for_nginx(&finding, "limit_except");
}

#[tokio::test]
async fn a_cache_is_found_by_a_status_that_does_not_change() {
    let cache = "proxy_cache_path cache keys_zone=z:1m;\n";
    // Streams and lists are left alone: what is kept of them would never end.
    let lines = "proxy_cache z; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;\n\
                 set $not_kept 1; if ($uri ~ /status$) { set $not_kept 0; }\n\
                 proxy_cache_bypass $not_kept; proxy_no_cache $not_kept;";
    let visit = seen_through(&format!("{cache}{}", nginx_with(lines)), SOON, "2").await;
    let finding = visit.only_problem("caching");
    assert!(finding.seen.contains("processing"), "{finding:?}");
    assert_for_nginx(&finding, "proxy_cache");
}

#[tokio::test]
async fn headers_for_pages_that_a_proxy_adds_once_more_are_counted() {
    let configuration =
        nginx_with("add_header Access-Control-Allow-Origin https://app.example always;");
    let server = guarded("cors.allowed_origins = ['https://app.example']\n").await;
    let nginx = Nginx::start(&configuration, server.address()).await;
    let arguments = [
        &*nginx.url,
        "--json",
        "--seconds",
        "0",
        "--origin",
        "https://app.example",
    ];
    let visit = Visit::with("key-all", &arguments).await;
    let finding = visit.finding("answers");
    assert!(finding.seen.contains("2 times"), "{:#}", visit.object());
    assert!(finding.change.contains("add_header"), "{finding:?}");
}

#[tokio::test]
async fn an_open_server_behind_a_proxy_says_why_it_refuses() {
    let server = TestServer::start().await;
    let configuration = nginx_with("proxy_set_header X-Forwarded-For $remote_addr;");
    let nginx = Nginx::start(&configuration, server.address()).await;
    let visit = Visit::with("", &[&nginx.url, "--json"]).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("credential");
    assert!(finding.seen.contains("An open server"), "{finding:?}");
    assert!(finding.seen.contains("[auth]"), "{finding:?}");
}

#[tokio::test]
async fn a_server_that_is_away_behind_its_proxy_is_told_from_a_stranger() {
    for configuration in [SHIPPED, STOCK] {
        let nginx = Nginx::start(configuration, free_address()).await;
        let visit = Visit::with("", &[&nginx.url, "--json"]).await;
        let finding = visit.finding("address");
        assert!(finding.seen.contains("a proxy answers 502"), "{finding:?}");
        assert_eq!(visit.code, Some(3));
    }
    let stranger = nginx_without_pass("return 200 \"<h1>It works!</h1>\";");
    let nginx = Nginx::start(&stranger, free_address()).await;
    let visit = Visit::with("", &[&nginx.url, "--json"]).await;
    let finding = visit.finding("address");
    let seen = "something else than progressd";
    assert!(finding.seen.starts_with(seen), "{finding:?}");
    assert_eq!(visit.code, Some(3));
}

#[tokio::test]
async fn what_a_stranger_sends_does_nothing_to_the_terminal() {
    let error = r#"{"error": {"code": "\u001b[2J", "message": "\u0007\u202egone"}}"#;
    let error: serde_json::Value = serde_json::from_str(error).expect("JSON");
    // As JSON has it: escaped.
    let escaped = json!(error).to_string().replace('\\', "\\\\");
    let stranger = nginx_without_pass(&format!("return 404 '{escaped}';"));
    let nginx = Nginx::start(&stranger, free_address()).await;
    let visit = Visit::with("", &[&nginx.url]).await;
    assert!(visit.stdout.contains("gone"), "{visit:?}");
    let is_plain = |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
    assert!(visit.stdout.chars().all(is_plain), "{visit:?}");
}
