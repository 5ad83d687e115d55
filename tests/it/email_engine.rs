//! The e-mail engine against a real DNS server, and without any.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use progressd::{
    config::DnsSource,
    runner::email::{AddressList, Checker, CheckerConfig, Reason, Row, Summary},
    store::InputFormat,
};
use proptest::prelude::*;

use crate::support::dns::TestDns;

/// Longer than any test runs: for names that have to stay unanswered.
const NEVER: Duration = Duration::from_secs(600);

fn list<S: AsRef<str>>(emails: &[S]) -> Arc<AddressList> {
    let text: String = emails
        .iter()
        .map(|email| format!("{}\n", email.as_ref()))
        .collect();
    Arc::new(
        AddressList::parse(text.as_bytes(), InputFormat::Text, usize::MAX, &|| false)
            .expect("a list"),
    )
}

fn checker(dns: &TestDns, concurrency: usize, timeout: Duration) -> Checker {
    Checker::new(CheckerConfig {
        dns: DnsSource::Server(dns.addr),
        concurrency: NonZeroUsize::new(concurrency).expect("not zero"),
        timeout,
        max_per_second: None,
    })
}

fn offline() -> Checker {
    offline_at(None)
}

fn offline_at(max_per_second: Option<NonZeroU32>) -> Checker {
    Checker::new(CheckerConfig {
        dns: DnsSource::Off,
        concurrency: NonZeroUsize::new(64).expect("not zero"),
        timeout: NEVER,
        max_per_second,
    })
}

async fn check<S: AsRef<str>>(checker: &Checker, emails: &[S]) -> Vec<Row> {
    checker.rows(list(emails), 0).collect().await
}

#[tokio::test]
async fn every_answer_of_dns_has_its_reason() {
    let dns = TestDns::start().await;
    let expected = [
        ("ann@mx.test", Reason::Accepted),
        ("ann@deep.below.mx.test", Reason::Accepted),
        ("ann@MÜLLER.de", Reason::Accepted),
        ("ann@a.test", Reason::AcceptedNoMx),
        ("ann@aaaa.test", Reason::AcceptedNoMx),
        ("ann@nullmx.test", Reason::NullMx),
        ("ann@empty.test", Reason::NoMailHost),
        ("ann@missing.test", Reason::DomainNotFound),
        ("ann@servfail.test", Reason::DnsError),
        ("ann@host.invalid", Reason::ReservedDomain),
        ("ann@[192.0.2.1]", Reason::AddressLiteral),
        ("ann@mx..test", Reason::SyntaxDomainDot),
    ];
    let rows = check(&checker(&dns, 8, NEVER), &expected.map(|(email, _)| email)).await;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.email.as_str(), row.reason))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(dns.queries("host.invalid"), 0);
}

#[tokio::test]
async fn name_that_never_answers_is_unknown_and_holds_up_no_other() {
    let dns = TestDns::start().await;
    let emails = ["ann@silent.test", "ann@mx.test", "bo@silent.test"];
    let rows = check(&checker(&dns, 8, Duration::from_millis(200)), &emails).await;
    let reasons: Vec<_> = rows.iter().map(|row| row.reason).collect();
    assert_eq!(
        reasons,
        [Reason::DnsTimeout, Reason::Accepted, Reason::DnsTimeout]
    );
    // Asked twice within the time, since a packet may be lost; and not again for the second
    // address.
    assert!(
        dns.queries("silent.test") <= 2,
        "{}",
        dns.queries("silent.test")
    );
}

#[tokio::test]
async fn unreachable_server_gives_unknown() {
    // The port was free a moment ago, and nobody listens there now.
    let dns = TestDns::start().await;
    let checker = checker(&dns, 8, Duration::from_millis(500));
    drop(dns);
    let rows = check(&checker, &["ann@mx.test", "info@mx.test"]).await;
    assert!(
        matches!(rows[0].reason, Reason::DnsTimeout | Reason::DnsError),
        "{:?}",
        rows[0]
    );
    assert_eq!(rows[1].reason, Reason::RoleAccount);
}

#[tokio::test]
async fn findings_come_in_the_documented_order() {
    let dns = TestDns::start().await;
    let rows = check(
        &checker(&dns, 8, NEVER),
        &[
            "Ann.Lee@gmail.com",
            "ann.lee@GMAIL.com",
            "ann@gmial.com",
            "info@gmial.com",
            "ann@mailinator.com",
            "info@mx.test",
            "info@mx.test",
            "info@missing.test",
            "info@missing.test",
        ],
    )
    .await;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.reason, row.suggestion.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (Reason::Accepted, None),
            (Reason::Duplicate, None),
            (Reason::NullMx, Some("ann@gmail.com")),
            (Reason::NullMx, Some("info@gmail.com")),
            (Reason::Disposable, None),
            (Reason::RoleAccount, None),
            (Reason::Duplicate, None),
            (Reason::DomainNotFound, None),
            (Reason::DomainNotFound, None),
        ]
    );
}

#[tokio::test]
async fn each_domain_is_asked_for_once() {
    let dns = TestDns::start().await;
    let emails: Vec<String> = (0..2_000)
        .map(|n| format!("user{n}@{}", ["mx.test", "MX.test", "missing.test"][n % 3]))
        .collect();
    let rows = check(&checker(&dns, 64, NEVER), &emails).await;
    assert_eq!(rows.len(), 2_000);
    assert_eq!(dns.queries("mx.test"), 1);
    assert_eq!(dns.queries("missing.test"), 1);
}

#[tokio::test]
async fn no_more_questions_wait_than_allowed() {
    let dns = TestDns::start().await;
    let emails: Vec<String> = (0..100).map(|n| format!("ann@n{n}.silent.test")).collect();
    let checker = checker(&dns, 3, NEVER);
    let rows = checker.rows(list(&emails), 0);
    let reading = tokio::spawn(async move { rows.count().await });
    dns.wait_for_names_under("silent.test", 3).await;
    // A whole check by another client gives a fourth question every chance to arrive.
    check(&self::checker(&dns, 1, NEVER), &["ann@mx.test"]).await;
    assert_eq!(dns.names_under("silent.test"), 3);
    reading.abort();
}

#[tokio::test]
async fn dropped_stream_asks_no_more() {
    let dns = TestDns::start().await;
    let emails: Vec<String> = (0..5_000).map(|n| format!("ann@n{n}.bulk.test")).collect();
    let checker = checker(&dns, 4, NEVER);
    let first: Vec<Row> = checker.rows(list(&emails), 0).take(10).collect().await;
    assert_eq!(first.len(), 10);
    check(&checker, &["ann@mx.test"]).await;
    let asked = dns.names_under("bulk.test");
    assert!(asked <= 10 + 4 * 4, "{asked} names for 10 rows");
    check(&checker, &["bo@a.test"]).await;
    assert_eq!(dns.names_under("bulk.test"), asked);
}

#[tokio::test]
async fn rows_keep_the_order_of_the_list() {
    let dns = TestDns::start().await;
    let emails: Vec<String> = (0..500)
        .map(|n| match n % 4 {
            0 => format!("user{n}@silent.test"),
            1 => format!("user{n}@n{n}.bulk.test"),
            2 => format!("not an address {n}"),
            _ => format!("user{n}@n{n}.missing.test"),
        })
        .collect();
    let rows = check(&checker(&dns, 16, Duration::from_millis(200)), &emails).await;
    assert!(rows.iter().map(|row| &row.email).eq(&emails));
}

#[tokio::test]
async fn resumed_rows_are_those_of_an_uninterrupted_run() {
    let emails: Vec<String> = (0..300)
        .map(|n| match n % 5 {
            0 => format!("User{}@gmail.com", n % 7),
            1 => "info@gmail.com".to_owned(),
            2 => format!("broken{n}"),
            3 => format!("ann{n}@gmial.com"),
            _ => format!("bo{n}@mailinator.com"),
        })
        .collect();
    let (checker, list) = (offline(), list(&emails));
    let whole: Vec<Row> = checker.rows(Arc::clone(&list), 0).collect().await;
    for from in (0..=emails.len() + 1).step_by(7) {
        let rest: Vec<Row> = checker.rows(Arc::clone(&list), from).collect().await;
        assert_eq!(rest, whole.get(from..).unwrap_or_default(), "from {from}");
    }
}

#[tokio::test]
async fn hundred_thousand_addresses_pass_without_dns() {
    let emails: Vec<String> = (0..100_000)
        .map(|n| format!("user{}@host{}.com", n % 90_000, n % 90_000))
        .collect();
    let mut rows = Box::pin(offline().rows(list(&emails), 0));
    let mut summary = Summary::default();
    while let Some(row) = rows.next().await {
        summary.add(&row);
    }
    assert_eq!(
        (summary.total, summary.reasons.get(&Reason::Duplicate)),
        (100_000, Some(&10_000))
    );
    assert_eq!(summary.unknown, 90_000, "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn list_is_checked_no_faster_than_it_may_be() {
    let checker = offline_at(NonZeroU32::new(20));
    let emails: Vec<String> = (0..101).map(|n| format!("user{n}@gmail.com")).collect();
    let start = tokio::time::Instant::now();
    let mut rows = Box::pin(checker.rows(list(&emails), 0));
    let mut seconds = Vec::new();
    while rows.next().await.is_some() {
        seconds.push(start.elapsed().as_secs());
    }
    // The clock is paused and moves only when everybody waits for it.
    let counts: Vec<_> = (0..=5)
        .map(|second| seconds.iter().filter(|at| **at == second).count())
        .collect();
    assert_eq!(counts, [20, 20, 20, 20, 20, 1]);
}

#[tokio::test]
async fn long_run_without_lookups_leaves_other_tasks_their_turn() {
    let emails: Vec<String> = (0..20_000).map(|n| format!("user{n}@gmail.com")).collect();
    // One thread, shared by both tasks: the second can only run when the first lets go.
    let rows = offline().rows(list(&emails), 10_000);
    let reading = tokio::spawn(async move { rows.count().await });
    let mut turns = 0;
    while !reading.is_finished() {
        turns += 1;
        tokio::task::yield_now().await;
    }
    assert!(turns > 20, "{turns} turns");
    assert_eq!(reading.await.expect("it ran to its end"), 10_000);
}

#[tokio::test]
async fn row_has_the_documented_json() {
    let rows = check(&offline(), &["Ann@GMIAL.com", "ann at home@"]).await;
    let json: Vec<String> = rows
        .iter()
        .map(|row| serde_json::to_string(row).expect("plain JSON"))
        .collect();
    assert_eq!(
        json,
        [
            r#"{"email":"Ann@GMIAL.com","normalized":"Ann@gmial.com","verdict":"risky","reason":"typo","suggestion":"Ann@gmail.com"}"#,
            r#"{"email":"ann at home@","normalized":null,"verdict":"invalid","reason":"syntax_local_character","suggestion":null}"#,
        ]
    );
}

/// The list that is bundled for the demonstration; its last column has the reason that each address
/// gets without DNS.
#[tokio::test]
async fn bundled_list_shows_every_class_without_any_network() {
    let csv = include_bytes!("../../assets/demo-emails.csv");
    let list = Arc::new(
        AddressList::parse(csv, InputFormat::Csv, 1_000, &|| false)
            .expect("the bundled list is a list"),
    );
    assert!((300..=400).contains(&list.len()), "{}", list.len());
    let rows: Vec<Row> = offline().rows(list, 0).collect().await;
    let text = str::from_utf8(csv).expect("the bundled list is UTF-8");
    let expected: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.rsplit_once(','))
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(expected.len(), rows.len());
    let mut summary = Summary::default();
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(serde_json::json!(row.reason), expected, "{}", row.email);
        summary.add(row);
    }
    // All but the empty address, which no CSV row has, and what only DNS can say.
    assert_eq!(summary.reasons.len(), 24, "{:?}", summary.reasons);
    assert_eq!(
        (
            summary.valid,
            summary.invalid > 0,
            summary.risky > 0,
            summary.unknown > 0
        ),
        (0, true, true, true)
    );
}

proptest! {
    #[test]
    fn any_texts_get_one_consistent_row_each(
        emails in prop::collection::vec(
            prop_oneof![any::<String>(), "[a-z\"\\\\. +é]{0,6}@[a-z.-]{0,6}(gmail|mailinator|test)\\.?(com|con|co)?"],
            1..20,
        )
    ) {
        let input = serde_json::to_vec(&emails).expect("strings are JSON");
        let list = AddressList::parse(&input, InputFormat::Json, 20, &|| false).expect("strings are a list");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let rows: Vec<Row> = runtime.block_on(offline().rows(Arc::new(list), 0).collect());
        prop_assert_eq!(rows.len(), emails.len());
        for (row, email) in rows.iter().zip(&emails) {
            prop_assert_eq!(row.verdict, row.reason.verdict());
            prop_assert!(row.email.len() > 1_000 || row.email == email.trim());
            prop_assert_ne!(&row.suggestion, &row.normalized.clone().or(Some(String::new())));
        }
    }
}
