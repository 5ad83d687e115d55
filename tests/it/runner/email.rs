//! The e-mail job from its input to its rows, with a real DNS server.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use progressd::{
    config::{DnsSource, EmailRunnerConfig},
    job::{Command, Count, Job, State},
    runner::{EmailValidation, Runner, Runners},
    store::{Input, InputFormat},
};
use serde_json::{Value, json};

use crate::support::{
    dns::TestDns,
    jobs::{create, finished, input, memory, registry, result, rows, wait_until},
};

const KIND: &str = "email-validation";

/// Longer than any test runs: for names that have to stay unanswered.
const NEVER_MS: u64 = 600_000;

fn runners(dns: DnsSource, lookup_timeout_ms: u64) -> Runners {
    runners_with(dns, lookup_timeout_ms, 8)
}

fn runners_with(dns: DnsSource, lookup_timeout_ms: u64, max_concurrent_lookups: usize) -> Runners {
    let runner = EmailValidation::new(&EmailRunnerConfig {
        dns,
        max_emails: 100_000,
        max_concurrent_jobs: 4,
        max_concurrent_lookups,
        lookup_timeout_ms,
        max_per_second: 0,
    });
    Runners::of([Arc::new(runner) as Arc<dyn Runner>])
}

fn text(emails: impl IntoIterator<Item = String>) -> Option<Input> {
    let lines: String = emails.into_iter().map(|email| email + "\n").collect();
    input(InputFormat::Text, lines)
}

fn emails_of(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .filter_map(|row| row["email"].as_str())
        .collect()
}

#[tokio::test]
async fn list_in_any_format_is_checked_to_its_end() {
    let dns = TestDns::start().await;
    let registry = registry(memory());
    let runners = runners(DnsSource::Server(dns.addr), NEVER_MS);
    assert_eq!(runners.unit(KIND), Some("emails"));
    let list = ["ann@mx.test", "ann@nullmx.test", "ann@mx.test", "ann"];
    for input in [
        input(InputFormat::Text, list.join("\r\n")),
        input(
            InputFormat::Csv,
            format!("no,E-Mail\n1,{}", list.join("\n2,")),
        ),
        input(InputFormat::Json, json!(list).to_string()),
        input(InputFormat::Json, json!({"emails": list}).to_string()),
    ] {
        let format = input.as_ref().map(|input| input.format);
        let job = create(&registry, KIND, input).await;
        assert!(runners.start(job.clone()));
        let ended = finished(&job).await;
        assert_eq!(ended.face.state, State::Completed, "{format:?}: {ended:?}");
        assert_eq!(ended.face.progress.total(), Some(Count::saturating(4)));
        assert_eq!(ended.face.progress.processed(), Some(Count::saturating(4)));
        assert_eq!(ended.face.step.as_deref(), Some("Checking mail servers"));
        assert_eq!((&ended.face.message, ended.face.attempt), (&None, 1));
        assert_eq!(
            result(&ended),
            json!({
                "total": 4, "valid": 1, "invalid": 2, "risky": 1, "unknown": 0,
                "reasons": {"accepted": 1, "syntax_missing_at": 1, "null_mx": 1, "duplicate": 1}
            })
        );
        let rows = rows(&job).await;
        let told: Vec<_> = rows
            .iter()
            .map(|row| (&row["email"], &row["reason"]))
            .collect();
        assert_eq!(
            json!(told),
            json!([
                ["ann@mx.test", "accepted"],
                ["ann@nullmx.test", "null_mx"],
                ["ann@mx.test", "duplicate"],
                ["ann", "syntax_missing_at"],
            ]),
            "{format:?}"
        );
    }
}

#[tokio::test]
async fn unusable_input_fails_with_a_sentence_that_says_why() {
    let registry = registry(memory());
    let runners = runners(DnsSource::Off, NEVER_MS);
    let many = text((0..100_001).map(|n| format!("a{n}@gmail.com")));
    for (input, message) in [
        (
            None,
            "The job has no input; it needs a list of e-mail addresses",
        ),
        (input(InputFormat::Text, "\n"), "The list is empty"),
        (
            input(InputFormat::Text, "a\nb"),
            "No e-mail addresses found: none of the 2 lines has an @",
        ),
        (
            input(InputFormat::Csv, "name,city\nAnn,Oslo"),
            "No column with e-mail addresses found",
        ),
        (
            input(InputFormat::Json, "{}"),
            "Invalid JSON: the object has no list under \"emails\"",
        ),
        (
            input(InputFormat::Text, b"\xFF\xFE".to_vec()),
            "The list is UTF-16 text; save it as UTF-8",
        ),
        (
            many,
            "The list has 100001 addresses; at most 100000 are allowed",
        ),
    ] {
        let job = create(&registry, KIND, input).await;
        assert!(runners.start(job.clone()));
        let ended = finished(&job).await;
        let failure = ended.failure().expect("it failed");
        assert_eq!(failure.code, "INVALID_INPUT");
        assert!(failure.message.starts_with(message), "{}", failure.message);
        assert_eq!(rows(&job).await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn message_that_quotes_a_huge_input_is_cut() {
    let registry = registry(memory());
    let quoted = json!("x".repeat(1_000_000)).to_string();
    let job = create(&registry, KIND, input(InputFormat::Json, quoted)).await;
    assert!(runners(DnsSource::Off, NEVER_MS).start(job.clone()));
    let ended = finished(&job).await;
    let failure = ended.failure().expect("it failed");
    assert_eq!(failure.message.chars().count(), 1_000);
}

#[test]
fn reading_that_waits_for_a_thread_stops_with_its_job_or_the_server() {
    // The one thread for readings is taken, so that they cannot end before they are stopped.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    let (release, released) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let busy = tokio::task::spawn_blocking(move || released.recv());
        let registry = registry(memory());
        let runners = runners(DnsSource::Off, NEVER_MS);
        let is_reading = |job: &Job| job.face.step.as_deref() == Some("Reading the list");
        let list = || text(["ann@gmail.com".to_owned()]);

        let job = create(&registry, KIND, list()).await;
        assert!(runners.start(job.clone()));
        wait_until(&job, is_reading).await;
        job.apply(Command::Cancel, None).await.expect("it runs");
        let ended = finished(&job).await;
        assert_eq!(ended.face.state, State::Cancelled);
        assert_eq!(ended.face.progress.total(), None);

        let job = create(&registry, KIND, list()).await;
        assert!(runners.start(job.clone()));
        wait_until(&job, is_reading).await;
        runners.drain(Duration::from_secs(10)).await;
        assert_eq!(runners.jobs(), 0);
        assert_eq!(job.job().face.state, State::Processing);

        release.send(()).expect("the thread waits");
        let released = busy.await.expect("the thread ends");
        assert_eq!(released, Ok(()));
    });
}

#[tokio::test]
async fn cancelled_check_keeps_rows_that_were_still_waiting_for_their_commit() {
    let dns = TestDns::start().await;
    let registry = registry(memory());
    // One question at a time: the last is asked when the rows before it are known.
    let runners = runners_with(DnsSource::Server(dns.addr), NEVER_MS, 1);
    let list = ["ann@mx.test", "bo@mx.test", "ann@silent.test"];
    let job = create(&registry, KIND, text(list.map(str::to_owned))).await;
    assert!(runners.start(job.clone()));
    dns.wait_for_names_under("silent.test", 1).await;
    job.apply(Command::Cancel, None).await.expect("it runs");
    let ended = finished(&job).await;
    assert_eq!(ended.face.state, State::Cancelled);
    assert_eq!(ended.face.message.as_deref(), Some("mx.test"));
    assert_eq!(emails_of(&rows(&job).await), list[..2]);
}

#[tokio::test]
async fn cancelled_check_keeps_its_rows_and_asks_no_more() {
    let dns = TestDns::start().await;
    let registry = registry(memory());
    let runners = runners(DnsSource::Server(dns.addr), NEVER_MS);
    let list: Vec<_> = (0..50_000).map(|n| format!("ann@n{n}.bulk.test")).collect();
    let job = create(&registry, KIND, text(list.clone())).await;
    assert!(runners.start(job.clone()));
    wait_until(&job, |job| {
        job.face.progress.processed() > Some(Count::saturating(0))
    })
    .await;
    let answer = job.apply(Command::Cancel, None).await;
    assert_eq!(answer.expect("it runs").status, State::Processing);
    let ended = finished(&job).await;
    assert_eq!(ended.face.state, State::Cancelled);
    let processed = ended.face.progress.processed().expect("counted").get();
    let rows = rows(&job).await;
    assert_eq!(rows.len() as u64, processed);
    assert!((1..50_000).contains(&rows.len()), "{}", rows.len());
    assert!(emails_of(&rows).iter().eq(&list[..rows.len()]));

    // Whole checks through the same runner give what was asked before, and any further question,
    // the time to arrive.
    let mut asked = BTreeSet::new();
    for name in ["ann@mx.test", "ann@a.test", "ann@aaaa.test"] {
        let job = create(&registry, KIND, text([name.to_owned()])).await;
        assert!(runners.start(job.clone()));
        finished(&job).await;
        asked.insert(dns.names_under("bulk.test"));
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked.iter().all(|names| *names < 50_000), "{asked:?}");
}

#[tokio::test]
async fn check_that_was_cut_off_goes_on_and_no_row_is_there_twice() {
    let dns = TestDns::start().await;
    let registry = registry(memory());
    // One name that is never answered holds the first attempt up at a known place.
    let list: Vec<_> = (0..2_000)
        .map(|n| match n {
            1_200 => "ann@silent.test".to_owned(),
            n => format!("ann{}@mx.test", n % 1_500),
        })
        .collect();
    let job = create(&registry, KIND, text(list.clone())).await;
    let first = runners(DnsSource::Server(dns.addr), NEVER_MS);
    assert!(first.start(job.clone()));
    let at_silence = Some(Count::saturating(1_200));
    wait_until(&job, |job| job.face.progress.processed() == at_silence).await;
    first.drain(Duration::from_secs(10)).await;
    assert_eq!(first.jobs(), 0);
    let left = job.job();
    assert_eq!((left.face.state, left.face.attempt), (State::Processing, 1));
    assert_eq!(rows(&job).await.len(), 1_200);

    let second = runners(DnsSource::Server(dns.addr), 200);
    assert!(second.start(job.clone()));
    let ended = finished(&job).await;
    assert_eq!(
        (ended.face.state, ended.face.attempt),
        (State::Completed, 2)
    );
    assert_eq!(
        ended.face.progress.processed(),
        Some(Count::saturating(2_000))
    );
    assert!(emails_of(&rows(&job).await).iter().eq(&list));
    assert_eq!(
        result(&ended)["reasons"],
        json!({"accepted": 1_499, "duplicate": 500, "dns_timeout": 1})
    );
}

#[tokio::test]
async fn hundred_thousand_addresses_pass_in_order() {
    let registry = registry(memory());
    let list: Vec<_> = (0..100_000)
        .map(|n| match n % 4 {
            0 => format!("User.{}@host{}.com", n % 50_000, n % 50_000),
            1 => format!("info@host{n}.com"),
            2 => format!("broken{n}"),
            _ => format!("ann{n}@gmial.com"),
        })
        .collect();
    let job = create(&registry, KIND, text(list.clone())).await;
    let runners = runners(DnsSource::Off, NEVER_MS);
    assert!(runners.start(job.clone()));
    let ended = finished(&job).await;
    assert_eq!(
        ended.face.progress.processed(),
        Some(Count::saturating(100_000))
    );
    assert_eq!(ended.face.step.as_deref(), Some("Checking addresses"));
    assert_eq!(
        result(&ended),
        json!({
            "total": 100_000, "valid": 0, "invalid": 25_000, "risky": 62_500, "unknown": 12_500,
            "reasons": {
                "syntax_missing_at": 25_000, "duplicate": 12_500, "typo": 25_000,
                "role_account": 25_000, "dns_not_checked": 12_500
            }
        })
    );
    let rows = rows(&job).await;
    assert!(emails_of(&rows).iter().eq(&list));
}
