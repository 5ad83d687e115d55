//! Names from outside: what is let in, and that nothing hostile is.

use proptest::prelude::*;

use crate::job::{EventName, JobId, ReportId};

const HOSTILE: [&str; 14] = [
    "",
    "a b",
    "a/b",
    "a\nb",
    "a\rb",
    "a\r\nid: 5",
    "ä",
    "\u{0}",
    "a?b",
    "a#b",
    "a%2fb",
    "\u{2028}",
    "<b>",
    "a\"b",
];

#[test]
fn job_ids_are_what_a_url_path_takes_as_it_is() {
    for text in [
        "a",
        "A-Z_a.z~0:9@x",
        "...",
        "-",
        "0197f3b2-5c1e-7c44-9f7e-0d6c2f4b8a11",
    ] {
        assert_eq!(JobId::parse(text).expect(text).as_str(), text);
    }
    JobId::parse(&"x".repeat(128)).expect("128 characters");
    JobId::parse(&"x".repeat(129)).expect_err("129 characters");
    for text in HOSTILE.iter().chain(&[".", ".."]) {
        assert!(JobId::parse(text).is_err(), "{text:?}");
        assert!(
            serde_json::from_value::<JobId>((*text).into()).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn event_names_cannot_break_a_line_or_pose_as_the_stream() {
    for text in ["a", "recommendation", "a.b_c-D9", "error", "Status"] {
        assert_eq!(EventName::parse(text).expect(text).as_str(), text);
    }
    EventName::parse(&"x".repeat(64)).expect("64 characters");
    EventName::parse(&"x".repeat(65)).expect_err("65 characters");
    let reserved = [
        "status",
        "message",
        "open",
        "heartbeat",
        "synced",
        "removed",
    ];
    for text in HOSTILE
        .iter()
        .chain(&reserved)
        .chain(&["a:b", "a~b", "a@b"])
    {
        assert!(EventName::parse(text).is_err(), "{text:?}");
        assert!(
            serde_json::from_value::<EventName>((*text).into()).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn report_ids_are_printable_ascii() {
    for text in ["a", "a b", "{\"x\"}", "~"] {
        assert_eq!(ReportId::parse(text).expect(text).as_str(), text);
    }
    ReportId::parse(&"x".repeat(255)).expect("255 characters");
    ReportId::parse(&"x".repeat(256)).expect_err("256 characters");
    for text in ["", "a\nb", "\u{7f}", "ä", "\t"] {
        assert!(ReportId::parse(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_let_in_is_harmless(text in any::<String>()) {
        if let Ok(id) = JobId::parse(&text) {
            prop_assert!(id.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#%\"\\<>".contains(&byte)));
            let json = serde_json::to_string(&id).expect("a string");
            prop_assert_eq!(serde_json::from_str::<JobId>(&json).expect("round trip"), id);
        }
        if let Ok(name) = EventName::parse(&text) {
            prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        }
        if let Ok(report_id) = ReportId::parse(&text) {
            prop_assert!(!report_id.as_str().contains(['\n', '\r', '\0']));
        }
    }

    #[test]
    fn every_allowed_job_id_is_let_in(text in "[A-Za-z0-9._~:@-]{1,128}") {
        prop_assert_eq!(JobId::parse(&text).is_ok(), text != "." && text != "..");
    }
}
