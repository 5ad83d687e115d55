//! Hostile input by chance through the whole server: lines, names, queries and request ids.

use bytes::Bytes;
use form_urlencoded::byte_serialize;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestCaseError, TestRunner},
};
use reqwest::StatusCode;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::{
    in_time,
    ndjson::{Reporter, refusal},
    raw_client::RawClient,
    server::{Answer, TestServer},
};

/// Each case is a request or more to a real server.
const CASES: u32 = 64;

/// Holds `property` against inputs by chance; a failure comes with the smallest that fails.
fn hold<S: Strategy>(
    strategy: S,
    property: impl AsyncFn(&TestServer, S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: std::fmt::Debug,
{
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::with("runner.email.dns = 'off'"));
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        runtime.block_on(property(&server, value))
    });
    // Dropping it is no work for a thread that waits for nothing.
    runtime.block_on(async { drop(server) });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// The bytes of a body in pieces, cut anywhere.
fn cut(bytes: &[u8], places: &[Index]) -> Vec<Bytes> {
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pieces = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
    pieces
        .filter(|piece| !piece.is_empty())
        .map(Bytes::copy_from_slice)
        .collect()
}

#[test]
fn every_line_of_any_body_in_any_pieces_is_accepted_or_refused_by_its_number() {
    let parts = select(vec![
        &b"{\"job_id\":\"j\"}"[..],
        b"{\"job_id\":\"j\",\"step\":\"a\\nb\"}",
        b"{\"job_id\":\"nobody\"}",
        b"{",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" \t",
        b"\xff",
        b"\0",
        b"null",
        "\u{2028}".as_bytes(),
        "\u{85}".as_bytes(),
    ]);
    let body = vec(parts, 0..30).prop_map(|parts| parts.concat());
    hold(
        (body, vec(any::<Index>(), 0..6)),
        async |server, (body, places)| {
            // The first case makes the job, the others find it.
            server.post("/api/v1/jobs", json!({"job_id": "j"})).await;
            let mut reporter = Reporter::open(server).await;
            for piece in cut(&body, &places) {
                reporter.send(piece);
            }
            reporter.finish();
            let answer = reporter.rest().await;
            // A line ends with LF and with nothing else (the NDJSON specification, section 3.1).
            let is_blank =
                |line: &[u8]| std::str::from_utf8(line).is_ok_and(|line| line.trim().is_empty());
            let lines = body.split(|byte| *byte == b'\n').zip(1_u64..);
            let told: Vec<_> = lines.filter(|(line, _)| !is_blank(line)).collect();
            let (last, refused) = answer.split_last().expect("a last line");
            let counts = |name: &str| last[name].as_u64().expect("a count");
            prop_assert_eq!(counts("accepted") + counts("refused"), told.len() as u64);
            prop_assert_eq!(counts("refused"), refused.len() as u64);
            for line in refused {
                let (number, _, _) = refusal(line);
                prop_assert!(told.iter().any(|(_, told)| *told == number), "{line}");
            }
            Ok(())
        },
    );
}

#[test]
fn a_job_has_any_name_that_follows_the_rule_and_no_other() {
    let name = prop_oneof![
        "[A-Za-z0-9._~:@-]{1,12}",
        any::<String>(),
        "[a%/.\\\\?# \u{e4}]{1,6}"
    ];
    hold(name, async |server, name| {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._~:@-".contains(letter);
        let follows = (1..=128).contains(&name.len())
            && name.chars().all(allowed)
            && !matches!(&*name, "." | "..");
        let created = server.post("/api/v1/jobs", json!({"job_id": name})).await;
        // In a path a space is no plus sign.
        let encoded: String = byte_serialize(name.as_bytes()).collect();
        let path = format!("/api/v1/jobs/{}/status", encoded.replace('+', "%20"));
        if follows {
            prop_assert!(created.status.is_success(), "{}", created.text);
            let status = server.get(&path).await;
            prop_assert_eq!(&status.json()["job_id"], &json!(name));
        } else {
            created.error(400, "INVALID_REQUEST");
            // Clients drop the segments of one and two dots before they send anything.
            if !matches!(&*name, "." | "..") {
                prop_assert_eq!(server.get(&path).await.status, StatusCode::NOT_FOUND);
            }
        }
        Ok(())
    });
}

#[test]
fn any_query_is_answered_or_refused() {
    let names = select(vec![
        "status", "kind", "tag", "limit", "cursor", "owner", "x", "",
    ]);
    let values = prop_oneof!["[0-9]{0,25}", any::<String>(), Just("%ff%zz%".to_owned())];
    let pairs = vec((names, values, any::<bool>()), 0..6);
    hold(pairs, async |server, pairs| {
        let pairs = pairs.into_iter().map(|(name, value, is_encoded)| {
            let raw = |text: &str| {
                text.replace(
                    |letter: char| !letter.is_ascii_graphic() || "#".contains(letter),
                    "&",
                )
            };
            let encoded: String = byte_serialize(value.as_bytes()).collect();
            format!("{name}={}", if is_encoded { encoded } else { raw(&value) })
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        let request = format!(
            "GET /api/v1/jobs?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = RawClient::exchange(&server.url, request).await;
        let is_right = ["HTTP/1.1 200 ", "HTTP/1.1 400 "]
            .iter()
            .any(|line| answer.starts_with(line));
        prop_assert!(is_right, "{answer}");
        Ok(())
    });
}

#[test]
fn a_request_id_is_taken_over_when_it_is_a_plain_word_and_replaced_otherwise() {
    let ids = prop_oneof![
        "[A-Za-z0-9_.:/=+-]{1,140}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
    ];
    hold(ids, async |server, id| {
        let id: Vec<u8> = id
            .into_iter()
            .filter(|byte| !b"\r\n\0".contains(byte))
            .collect();
        let head =
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: ";
        let request = [&head[..], &id, b"\r\n\r\n"].concat();
        let answer = RawClient::exchange(&server.url, request).await;
        if answer.starts_with("HTTP/1.1 400 ") {
            // No header at all: what is neither text nor opaque (RFC 9110, section 5.5).
            prop_assert!(id.iter().any(|byte| byte.is_ascii_control()), "{answer}");
            return Ok(());
        }
        let taken = answer
            .lines()
            .find_map(|line| line.strip_prefix("x-request-id: "));
        let taken = taken.expect("an id");
        let is_new = uuid::Uuid::parse_str(taken).is_ok();
        let sent = id.trim_ascii();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(byte);
        let is_plain = (1..=128).contains(&sent.len()) && sent.iter().all(plain);
        prop_assert!(
            if is_plain {
                taken.as_bytes() == sent
            } else {
                is_new
            },
            "{answer}"
        );
        Ok(())
    });
}

#[test]
fn any_list_becomes_rows_that_a_strict_reader_of_csv_gets_back() {
    let list = prop_oneof![
        vec("[ -~]{0,20}", 1..6).prop_map(|lines| lines.join("\n")),
        "[=+@,;\"'\\\\\t\r\n a.-]{1,40}",
        any::<String>(),
    ];
    hold(list, async |server, list| {
        let path = "/api/v1/jobs?kind=email-validation";
        let request = server.request(reqwest::Method::POST, path).body(list);
        let created = Answer::of(request.header("content-type", "text/plain")).await;
        prop_assert!(created.status.is_success(), "{}", created.text);
        let job = created.json();
        let job_id = job["job_id"].as_str().expect("a name");
        // Asked for rather than watched: a stream closes its connection, which the client may use once more before it
        // notices.
        let mut seq = job["seq"].as_u64().expect("a seq");
        let waiting = async {
            loop {
                let path = format!("/api/v1/jobs/{job_id}/status?wait=20&after={seq}");
                let status = server.get(&path).await.json();
                if !status["finished_at"].is_null() {
                    break;
                }
                seq = status["seq"].as_u64().expect("a seq");
            }
        };
        in_time("the end of the job", waiting).await;
        let rows = server
            .get(&format!("/api/v1/jobs/{job_id}/results?per_page=1000"))
            .await;
        let rows = rows.json()["results"].as_array().expect("rows").clone();
        let file = server.get(&format!("/api/v1/jobs/{job_id}/download")).await;
        let mut reader = csv::Reader::from_reader(file.text.as_bytes());
        let names = reader.headers().expect("names").clone();
        let records = reader
            .records()
            .collect::<Result<Vec<_>, _>>()
            .expect("valid CSV");
        prop_assert_eq!(records.len(), rows.len());
        for (record, row) in records.iter().zip(&rows) {
            for (name, cell) in names.iter().zip(record) {
                let text = row[name].as_str().unwrap_or_default();
                prop_assert!(
                    cell == text || cell == format!("'{text}"),
                    "{cell:?} of {row}"
                );
                prop_assert!(
                    !cell
                        .trim_start_matches(' ')
                        .starts_with(['=', '+', '-', '@', '\t', '\r'])
                );
            }
        }
        Ok(())
    });
}
