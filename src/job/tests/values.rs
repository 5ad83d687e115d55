//! Seqs, times, and JSON that is kept as its text.

use proptest::prelude::*;
use serde_json::Value;

use crate::job::{Json, Seq, Timestamp};

fn seq(value: u64) -> Seq {
    Seq::new(value).expect("below 2^53")
}

#[test]
fn a_seq_is_read_as_it_is_written_and_nothing_else_is() {
    for value in [0, 1, 1_795_287_600_123_456, Seq::MAX.get()] {
        assert_eq!(seq(value).to_string().parse(), Ok(seq(value)));
    }
    for text in [
        "",
        " 1",
        "1 ",
        "+1",
        "-1",
        "1.0",
        "1e3",
        "0x10",
        "١",
        "9007199254740992",
        "99999999999999999",
        "abc",
        "18446744073709551616",
        "1\n",
    ] {
        assert_eq!(text.parse::<Seq>(), Err(()), "{text:?}");
    }
    assert_eq!(Seq::new(Seq::MAX.get() + 1), None);
}

#[test]
fn the_next_seq_is_the_clock_or_one_more_and_stays_below_2_to_the_53() {
    let now = Timestamp::from_micros(1_000);
    assert_eq!(Seq::ZERO.next(now), seq(1_000));
    assert_eq!(seq(999).next(now), seq(1_000));
    assert_eq!(seq(1_000).next(now), seq(1_001));
    assert_eq!(
        seq(5_000).next(now),
        seq(5_001),
        "a clock that stepped back"
    );
    assert_eq!(Seq::MAX.next(now), Seq::MAX);
    assert_eq!(Seq::ZERO.next(Timestamp::from_micros(u64::MAX)), Seq::MAX);
    assert_eq!(seq(5).plus(3), seq(8));
    assert_eq!(Seq::MAX.plus(u64::MAX), Seq::MAX);
}

#[test]
fn times_are_shown_with_milliseconds_in_utc() {
    for (micros, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_287_600_000_000, "2026-11-21T19:00:00.000Z"),
        (1_795_287_600_123_999, "2026-11-21T19:00:00.123Z"),
        (u64::MAX, "9999-12-30T22:00:00.000Z"),
    ] {
        assert_eq!(Timestamp::from_micros(micros).to_string(), expected);
    }
    let last = Timestamp::from_micros(u64::MAX);
    assert_eq!(last.plus_seconds(u64::MAX), last);
}

#[test]
fn json_keeps_numbers_and_strings_as_they_were_written() {
    for (written, kept) in [
        ("1.50", "1.50"),
        ("1e300", "1e300"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("-0", "-0"),
        (" [ 1 ,\n\t2 ] ", "[1,2]"),
        (r#"{ "a b" : "c  d" }"#, r#"{"a b":"c  d"}"#),
        (r#"[ "\" , \\" , " \\\" " ]"#, r#"["\" , \\"," \\\" "]"#),
        (
            "[ \"\u{2028}\u{2029}\u{85}\" ]",
            "[\"\u{2028}\u{2029}\u{85}\"]",
        ),
        (r#"[ "\n\r" ]"#, r#"["\n\r"]"#),
        (r#"{ "b": 1, "a": 2, "b": 3 }"#, r#"{"b":1,"a":2,"b":3}"#),
    ] {
        let json: Json = serde_json::from_str(written).expect(written);
        assert_eq!(json.as_str(), kept, "{written}");
    }
}

#[test]
fn json_that_common_parsers_choke_on_is_refused() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for written in ["1e400", r#"["\ud800"]"#, deep.as_str()] {
        let refused = serde_json::from_str::<Json>(written).expect_err(written);
        assert!(refused.to_string().contains("common parsers"), "{refused}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            3 => any::<String>(),
            2 => "[ \\\\\"\n\r\t{}\\[\\]:,\u{2028}\u{0}a]{0,12}",
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has finite numbers only", |number| number.is_finite())
            .prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// The value with white space wherever JSON allows it, chosen by `noise`.
fn spaced(value: &Value, noise: &mut impl Iterator<Item = u8>, out: &mut String) {
    fn space(noise: &mut impl Iterator<Item = u8>, out: &mut String) {
        let byte = noise.next().unwrap_or_default();
        out.push_str(["", " ", "\n", "\r\n", "\t", "  \n "][usize::from(byte) % 6]);
    }
    space(noise, out);
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                spaced(item, noise, out);
            }
            space(noise, out);
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                spaced(&Value::from(key.as_str()), noise, out);
                out.push(':');
                spaced(item, noise, out);
            }
            space(noise, out);
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
    space(noise, out);
}

proptest! {
    #[test]
    fn compact_json_means_the_same_on_one_line(value in any_json(), noise in prop::collection::vec(any::<u8>(), 200)) {
        let mut text = String::new();
        spaced(&value, &mut noise.into_iter().cycle(), &mut text);
        let json: Json = serde_json::from_str(&text).expect("white space is allowed there");
        // The shortest form of the same tokens is what serde_json writes itself.
        prop_assert_eq!(json.as_str(), value.to_string());
        prop_assert!(!json.as_str().contains(['\n', '\r']));
        let again: Json = serde_json::from_str(json.as_str()).expect("JSON");
        prop_assert_eq!(again, json);
    }

    #[test]
    fn seqs_of_one_job_strictly_rise_whatever_the_clock_does(times in prop::collection::vec(any::<u32>(), 1..50)) {
        let mut last = Seq::ZERO;
        for micros in times {
            let next = last.next(Timestamp::from_micros(u64::from(micros)));
            prop_assert!(next > last && next.get() >= u64::from(micros));
            last = next;
        }
    }
}
