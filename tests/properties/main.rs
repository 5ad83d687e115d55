//! Hostile input by chance: any bytes, and bytes that are nearly right, at every place where some come in.

mod entries;

use proptest::{collection::vec, prelude::*, sample::select};

/// Pieces of which nearly right input is made.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "9007199254740993",
    "1.5",
    "\\u0000",
    "\\ud800",
    "\\",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    " ",
    "\t",
    "\u{0}",
    "\u{2028}",
    "\u{feff}",
    "ä",
    "\"job_id\"",
    "\"status\"",
    "\"processing\"",
    "\"completed\"",
    "\"failed\"",
    "\"processed_count\"",
    "\"total_count\"",
    "\"processed_increment\"",
    "\"progress_percentage\"",
    "\"step\"",
    "\"message\"",
    "\"data\"",
    "\"result\"",
    "\"error\"",
    "\"attempt\"",
    "\"report_id\"",
    "\"event\"",
    "\"tags\"",
    "\"unit\"",
    "\"kind\"",
    "\"input\"",
    "id: 7",
    "data: x",
    "event: status",
    "retry: 1",
    ":",
    "..",
    "%00",
    "%zz",
];

/// Pieces of configuration files and variables.
const SETTINGS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "=",
    ".",
    "\n",
    "'",
    "\"",
    "\"\"\"",
    "#",
    "{",
    "}",
    ",",
    "0",
    "-1",
    "1e99",
    "true",
    "1979-05-27",
    "server",
    "listen",
    "stream",
    "retry_ms",
    "auth",
    "api_keys",
    "jwt",
    "secret",
    "algorithm",
    "sha256",
    "scopes",
    "name",
    "limits",
    "max_jobs",
    "store",
    "backend",
    "STREAM__RETRY_MS",
    "AUTH__MODE",
    "AUTH__JWT",
    "SERVER__LISTEN",
    "__",
    "\u{0}",
    "none",
    "memory",
    "HS256",
    "0.0.0.0:1",
    "99999999999999999999",
    "runner",
    "email",
    "dns",
    "log",
    "filter",
    " ",
];

/// Any bytes, or pieces in any order with a few changed bytes.
fn hostile(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let joined = vec(select(pieces), 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![vec(any::<u8>(), 0..200), joined.clone(), mutated(joined)]
}

/// The same with up to four changes: another byte, one more, one less.
fn mutated(right: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 0..4);
    (right, changes).prop_map(|(mut bytes, changes)| {
        for (place, change, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match change {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        bytes
    })
}

/// Right input with a few changed bytes.
fn nearly(right: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    mutated(select(right).prop_map(|text| text.as_bytes().to_vec()))
}

const REPORTS: &[&str] = &[
    r#"{"job_id":"j","report_id":"r","status":"processing","processed_count":5,"total_count":10,"step":"S","message":"M"}"#,
    r#"{"processed_increment":1,"progress_percentage":12.34,"data":{"k":{"l":[1,null]}},"attempt":2}"#,
    r#"{"status":"failed","error":{"code":"C","message":"M"},"result":{"a":[1.5e3,"\u00e4"]}}"#,
];

const CREATIONS: &[&str] = &[
    r#"{"job_id":"j","kind":"k","total_count":5,"unit":"emails","owner":"o","tags":["a","b"],"parent_id":"p"}"#,
    r#"{"data":{"a":1},"lease_seconds":0,"fail_stalled_after_seconds":5,"ttl_seconds":60,"input":{"x":[]}}"#,
];

const EVENTS: &[&str] = &[
    r#"{"event":"line","data":{"text":"a\nb\rc\u2028"},"report_id":"r"}"#,
    r#"[{"event":"a"},{"event":"error","data":"\r\nid: 1\n\n"}]"#,
];

const CREDENTIALS: &[&str] = &[
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjk5OTk5OTk5OTl9.c2lnbmF0dXJl",
    "Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTksInNjb3BlIjoiYWRtaW4ifQ.",
    "Bearer the-only-key-that-open",
    "Basic dGhlLW9ubHkta2V5LXRoYXQtb3BlbnM=",
];

const CONFIGURATIONS: &[&str] = &[
    "[stream]\nretry_ms = 5000\n[auth]\nmode = 'auto'\n[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = 's'\n",
    "server.listen = '127.0.0.1:1'\nlimits.max_jobs = 5\n[runner.email]\ndns = 'off'\n[log]\nfilter = 'info'\n",
];

proptest! {
    #[test]
    fn cursors(bytes in prop_oneof![hostile(PIECES), "[0-9]{0,25}".prop_map(String::into_bytes)]) {
        entries::cursor(&bytes);
    }

    #[test]
    fn reports(bytes in prop_oneof![hostile(PIECES), nearly(REPORTS)]) {
        entries::report(&bytes);
    }

    #[test]
    fn creations(bytes in prop_oneof![hostile(PIECES), nearly(CREATIONS)]) {
        entries::creation(&bytes);
    }

    #[test]
    fn events(bytes in prop_oneof![hostile(PIECES), nearly(EVENTS)]) {
        entries::events(&bytes);
    }

    #[test]
    fn blocks(bytes in hostile(PIECES)) {
        entries::block(&bytes);
    }

    #[test]
    fn credentials(bytes in prop_oneof![hostile(PIECES), nearly(CREDENTIALS)]) {
        entries::credential(&bytes);
    }

    #[test]
    fn configurations(bytes in prop_oneof![hostile(SETTINGS), nearly(CONFIGURATIONS)]) {
        entries::configuration(&bytes);
    }

    #[test]
    fn environments(bytes in hostile(SETTINGS)) {
        entries::environment(&bytes);
    }
}

#[test]
fn the_one_key_opens() {
    // Otherwise the property of credentials would hold of a lock without a keyhole.
    entries::credential(format!("Bearer {}", entries::KEY).as_bytes());
}
