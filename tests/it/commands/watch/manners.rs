//! Its credentials, its refusals, and what it does to those who read it.

use serde_json::{Value, json};

use super::{End, Watching, command, quick_server};
use crate::support::{
    people::{self, configuration},
    ports::free_address,
    server::TestServer,
};

async fn end_of(url: &str, arguments: &[&str]) -> End {
    Watching::start(url, arguments).end().await
}

/// Text that clears a screen, sets a title and turns the writing around.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\nforged: line";

fn is_tame(text: &str) -> bool {
    let harmful = |letter: char| letter.is_control() || letter == '\u{202e}';
    !text.contains(harmful)
}

#[tokio::test]
async fn what_cannot_be_watched_has_the_exit_code_3_and_a_reason() {
    let server = quick_server().await;
    let nobody = format!("http://{}", free_address());
    let no_server = format!("{}/docs/", server.url);
    for (url, arguments, reason) in [
        (
            &server.url,
            &["nope"][..],
            "nope: Job not found (JOB_NOT_FOUND)",
        ),
        (&server.url, &["no", "pe"], "no and 1 more: Job not found"),
        (&nobody, &["a"], "Connection refused"),
        (&server.url, &["im port"], "no name of a job"),
        (&server.url, &["/orders/7"], "no name of a job"),
        (
            &server.url,
            &["http://127.0.0.1:1/orders/7"],
            "doctor looks at any",
        ),
        (&server.url, &[&no_server], "ROUTE_NOT_FOUND"),
        (&server.url, &[], "<URL|ID>"),
        (&server.url, &["a", "--fly"], "--fly"),
        (&server.url, &["a", "--server", "x"], "x"),
    ] {
        let end = end_of(url, arguments).await;
        end.expect(3).expect_error(reason);
        assert!(
            end.lines.iter().all(|line| line.contains("removed")),
            "{end:?}"
        );
    }
    end_of(&server.url, &["--help"]).await.expect(0);
}

#[tokio::test]
async fn the_credential_comes_from_the_environment_or_the_address() {
    let server = TestServer::with(&configuration())
        .await
        .with_token("key-all");
    let created = server.create(json!({"job_id": "j"})).await;
    server.report("j", json!({"status": "completed"})).await;
    let ticket = created["watch_token"].as_str().expect("a watch token");
    let address = format!("{}/api/v1/jobs/j?token={ticket}", server.url);
    let token = people::token(&json!({"sub": "ann"}));
    for (argument, credential, expected) in [
        ("j", None, Err("(UNAUTHORIZED)")),
        ("j", Some("key-nobody"), Err("(UNAUTHORIZED)")),
        ("j", Some(&*token), Err("(FORBIDDEN)")),
        ("j", Some("key-read\n"), Ok(())),
        ("j", Some(ticket), Ok(())),
        (&address, None, Ok(())),
        // Two would be refused, and that of the address is meant.
        (&address, Some("key-read"), Ok(())),
    ] {
        let mut command = command(&server.url, &[argument]);
        if let Some(credential) = credential {
            command.env("PROGRESSD_TOKEN", credential);
        }
        let end = Watching::spawn(&mut command).end().await;
        match expected {
            Ok(()) => drop(end.expect(0)),
            Err(code) => drop(end.expect(3).expect_error(code)),
        }
        assert!(!end.errors.contains(ticket), "{end:?}");
    }
}

#[tokio::test]
async fn nothing_that_a_worker_says_reaches_a_terminal_as_an_order() {
    let server = quick_server().await;
    server.create(json!({"job_id": "j", "unit": HOSTILE})).await;
    let event = json!({"event": "log", "data": {HOSTILE: HOSTILE}});
    let mut plain = Watching::start(&server.url, &["j"]);
    let mut json = Watching::start(&server.url, &["--json", "j"]);
    plain.line().await;
    let mut lines = vec![json.line().await];
    let events = server.post("/api/v1/jobs/j/events", event).await;
    events.expect(reqwest::StatusCode::OK);
    server
        .report("j", json!({"step": HOSTILE, "message": HOSTILE}))
        .await;
    server
        .report("j", json!({"status": "failed", "error": HOSTILE}))
        .await;
    let end = plain.end().await;
    end.expect(1);
    assert!(end.lines.iter().all(|line| is_tame(line)), "{end:?}");
    assert!(
        !end.lines.iter().any(|line| line.starts_with("forged")),
        "{end:?}"
    );
    let end = json.end().await;
    end.expect(1);
    lines.extend(end.lines);
    assert!(lines.iter().all(|line| is_tame(line)), "{lines:?}");
    let last: Value = serde_json::from_str(&lines[lines.len() - 1]).expect("JSON");
    assert_eq!(last, server.status("j").await);
    let event = lines.iter().find(|line| line.contains("\"log\""));
    let event: Value = serde_json::from_str(event.expect("an event")).expect("JSON");
    assert_eq!(event["data"], json!({HOSTILE: HOSTILE}));
}

#[tokio::test]
async fn who_reads_no_further_ends_it_without_a_word() {
    let server = quick_server().await;
    server
        .create(json!({"job_id": "j", "total_count": 9}))
        .await;
    let mut watching = Watching::start(&server.url, &["j"]);
    watching.line().await;
    let Watching {
        mut child,
        lines,
        errors,
        reading,
    } = watching;
    drop(lines);
    server.report("j", json!({"processed_count": 1})).await;
    let status = crate::support::in_time("the end", child.wait()).await;
    reading.await.expect("no panic");
    let end = End {
        status: status.expect("a child"),
        lines: Vec::new(),
        errors: errors.lock().expect("no panic").clone(),
    };
    // SIGPIPE, as `yes | head -1` leaves it.
    end.expect_signal(13);
    assert_eq!(end.errors, "");
}
