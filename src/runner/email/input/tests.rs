//! Lists in every shape that people upload, and what they are told about unusable ones.

use std::cell::Cell;

use proptest::prelude::*;

use super::super::{Reason, syntax};
use super::{AddressList, InputError};
use crate::store::InputFormat;

fn parse(bytes: impl AsRef<[u8]>, format: InputFormat) -> Result<Vec<String>, String> {
    AddressList::parse(bytes.as_ref(), format, 5, &|| false)
        .map(|list| list.iter().map(str::to_owned).collect())
        .map_err(|error| error.to_string())
}

/// A file, and the addresses in it or the message that it earns.
type Case = (&'static [u8], Result<&'static [&'static str], &'static str>);

fn check(cases: &[Case], format: InputFormat) {
    for (bytes, expected) in cases {
        let expected = expected
            .map(|addresses| {
                addresses
                    .iter()
                    .map(|address| (*address).to_owned())
                    .collect::<Vec<_>>()
            })
            .map_err(str::to_owned);
        assert_eq!(
            parse(bytes, format),
            expected,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn text_is_one_address_per_line() {
    check(
        &[
            (b"a@b.de", Ok(&["a@b.de"])),
            (
                b"\xEF\xBB\xBF a@b.de \r\n\r\n\tc@d.de\n\n",
                Ok(&["a@b.de", "c@d.de"]),
            ),
            (b"a@b.de\rc@d.de\r", Ok(&["a@b.de", "c@d.de"])),
            (
                b"# not a comment\na@b.de",
                Ok(&["# not a comment", "a@b.de"]),
            ),
            (b"", Err("The list is empty")),
            (b"\xEF\xBB\xBF\r\n  \n", Err("The list is empty")),
            (b"a@b.de\n\nc\xFF@d.de\n", Err("Line 3 is not valid UTF-8")),
            (
                b"dear\n\nreader",
                Err("No e-mail addresses found: none of the 2 lines has an @"),
            ),
            (
                b"\xFF\xFEa\0@\0",
                Err("The list is UTF-16 text; save it as UTF-8"),
            ),
            (b"PK\x03\x04\0\0", Err("The list is not a text file")),
            (
                b"@\n@\n@\n@\n@\n@\n@",
                Err("The list has 7 addresses; at most 5 are allowed"),
            ),
        ],
        InputFormat::Text,
    );
}

#[test]
fn csv_column_is_found_by_its_header() {
    check(
        &[
            (b"email\na@b.de\n", Ok(&["a@b.de"])),
            (
                b"Name,E-Mail\r\nAnn,a@b.de\r\nBo,\r\nCy, c@d.de \r\n",
                Ok(&["a@b.de", "c@d.de"]),
            ),
            (
                b"\xEF\xBB\xBFid;Email Address;note\n1;a@b.de;x@y.z\n",
                Ok(&["a@b.de"]),
            ),
            (
                b"id\tcustomer_email\n1\tnonsense\n2\ta@b.de\n",
                Ok(&["nonsense", "a@b.de"]),
            ),
            (b"address,mail\nMain Street 1,a@b.de\n", Ok(&["a@b.de"])),
            (b"name,Address\nAnn,a@b.de\n", Ok(&["a@b.de"])),
            (
                b"email\n\"\"\"john doe\"\"@b.de\"\n\"x,y@b.de\"\n",
                Ok(&["\"john doe\"@b.de", "x,y@b.de"]),
            ),
            (b"name,email\nJ\xFCrgen,a@b.de\n", Ok(&["a@b.de"])),
            (b"email_verified,email\nyes,a@b.de\n", Ok(&["a@b.de"])),
            (
                b"email,phone\na@b.de\n\nc@d.de,1,2\n",
                Ok(&["a@b.de", "c@d.de"]),
            ),
        ],
        InputFormat::Csv,
    );
}

#[test]
fn csv_column_is_found_by_its_content() {
    check(
        &[
            (b"a@b.de\nc@d.de", Ok(&["a@b.de", "c@d.de"])),
            (b"1,Ann,a@b.de\n2,Bo,c@d.de\n", Ok(&["a@b.de", "c@d.de"])),
            (
                b"who,where\nAnn,a@b.de\nBo @ work,c@d.de\n",
                Ok(&["a@b.de", "c@d.de"]),
            ),
            (b"address,where\nMain Street,a@b.de\n", Ok(&["a@b.de"])),
            (
                b"1;\"a@b.de\";\"x, y, z\"\n2;\"c@d.de\";\"x, y, z\"\n",
                Ok(&["a@b.de", "c@d.de"]),
            ),
        ],
        InputFormat::Csv,
    );
}

#[test]
fn unusable_csv_says_what_is_wrong_where() {
    check(
        &[
            (b"", Err("The list is empty")),
            (b"\n\r\n", Err("The list is empty")),
            (b"email\n", Err("The list is empty")),
            (
                b"name,phone\nAnn,123\n",
                Err("No column with e-mail addresses found"),
            ),
            (
                b"id,name,email\n1,Ann,a@b.de\n\n2,Bo\n",
                Err(
                    "Invalid CSV: line 4: it has 2 fields, but the e-mail address is expected in field 3",
                ),
            ),
            (
                b"email,note\na@b.de,fine\n\nc@d.de,\"open\ne@f.de,lost\n",
                Err("Invalid CSV: line 4: a quoted field is never closed"),
            ),
            (
                b"email\na@b.de\nc\xFF@d.de\n",
                Err("Line 3 is not valid UTF-8"),
            ),
            (
                b"email\n1\n2\n3\n4\n5\n6\n",
                Err("The list has 6 addresses; at most 5 are allowed"),
            ),
        ],
        InputFormat::Csv,
    );
}

#[test]
fn csv_with_line_breaks_inside_quotes_is_read() {
    let text = b"note,email\n\"two\nlines\",a@b.de\n\"three\n\n\"\"lines\"\"\",c@d.de";
    check(&[(text, Ok(&["a@b.de", "c@d.de"]))], InputFormat::Csv);
}

#[test]
fn json_is_a_list_of_addresses_or_objects() {
    check(
        &[
            (
                br#"["a@b.de", "", "c\u0040d.de"]"#,
                Ok(&["a@b.de", "", "c@d.de"]),
            ),
            (
                br#" {"emails": ["a@b.de"], "source": {"id": [1]}} "#,
                Ok(&["a@b.de"]),
            ),
            (
                br#"[{"id": 1, "Email": "a@b.de"}, {"e-mail": null}, null, "c@d.de"]"#,
                Ok(&["a@b.de", "c@d.de"]),
            ),
            (
                br#"[{"email_address": "a@b.de", "mail": {"not": "this"}}]"#,
                Ok(&["a@b.de"]),
            ),
            (b"", Err("The list is empty")),
            (b"[]", Err("The list is empty")),
            (
                b"null",
                Err(
                    "Invalid JSON: invalid type: null, expected an array of e-mail addresses, or an object with one \
                     under \"emails\" at line 1 column 4",
                ),
            ),
            (
                br#"["a@b.de" "c@d.de"]"#,
                Err("Invalid JSON: expected `,` or `]` at line 1 column 11"),
            ),
            (
                br#"["a@b.de"] x"#,
                Err("Invalid JSON: trailing characters at line 1 column 12"),
            ),
            (
                br#""a@b.de""#,
                Err(
                    "Invalid JSON: invalid type: string \"a@b.de\", expected an array of e-mail addresses, or an \
                     object with one under \"emails\" at line 1 column 8",
                ),
            ),
            (
                b"[\"a@b.de\",\n5]",
                Err(
                    "Invalid JSON: invalid type: integer `5`, expected entry 2 to be an e-mail address or an object \
                     with one at line 2 column 1",
                ),
            ),
            (
                br#"[{"name": "Ann"}]"#,
                Err("Invalid JSON: entry 1 has no field \"email\" at line 1 column 16"),
            ),
            (
                br#"{"list": []}"#,
                Err("Invalid JSON: the object has no list under \"emails\" at line 1 column 12"),
            ),
            (b"[\"a@b.de\",\n\"\xFF\"]", Err("Line 2 is not valid UTF-8")),
        ],
        InputFormat::Json,
    );
}

#[test]
fn overlong_addresses_are_kept_cut_and_stay_invalid() {
    let line = format!("{}@gmail.com\nann@gmail.com", "ä".repeat(100_000));
    let list =
        AddressList::parse(line.as_bytes(), InputFormat::Text, 5, &|| false).expect("a list");
    let cut = list.get(0).expect("the first");
    assert!(cut.len() < 1_200 && cut.ends_with('…'), "{}", cut.len());
    assert_eq!(syntax::parse(cut), Err(Reason::SyntaxTooLong));
    assert_eq!(
        (list.len(), list.get(1), list.get(2)),
        (2, Some("ann@gmail.com"), None)
    );
}

#[test]
fn csv_row_has_no_more_fields_than_a_list_needs() {
    let wide = |commas: usize| format!("email\n\na@b.de{}\n", ",".repeat(commas));
    assert_eq!(
        parse(wide(1_023), InputFormat::Csv),
        Ok(vec!["a@b.de".to_owned()])
    );
    for (commas, problem) in [
        (1_024, "it has 1025 fields; at most 1024 are allowed"),
        (999_999, "it has 1000000 fields; at most 1024 are allowed"),
        (
            2_000_000,
            "it has over 1000000 delimiters; at most 1024 fields are allowed",
        ),
    ] {
        let expected = Err(format!("Invalid CSV: line 3: {problem}"));
        assert_eq!(parse(wide(commas), InputFormat::Csv), expected);
        // Rows after it that are short must not be as costly as the widest.
        let rows = format!("{}\n{}x@y.z\n", ",".repeat(commas), "a\n".repeat(998));
        let expected = Err(format!("Invalid CSV: line 1: {problem}"));
        assert_eq!(parse(rows, InputFormat::Csv), expected);
    }
}

#[test]
fn csv_delimiters_are_bounded_by_row_and_not_by_file_or_field() {
    let rows = format!("{}\n", ",".repeat(1_000)).repeat(1_100);
    let note = "\"Ann, Bo,\n\"\"and\"\" Cy,\n\",,a@b.de\n".repeat(3);
    let long_note = format!("\"{}\",,c@d.de\n", "well, \n".repeat(100_000));
    let list = parse(format!("{note}{rows}{long_note}"), InputFormat::Csv);
    let list = list.expect("a list");
    assert_eq!(list, ["a@b.de", "a@b.de", "a@b.de", "c@d.de"]);

    let open = format!("note,email\n\"open,a@b.de\n{}", "a,b\n".repeat(1_100_000));
    assert_eq!(
        parse(open, InputFormat::Csv),
        Err("Invalid CSV: line 2: a quoted field is never closed".to_owned())
    );
}

#[test]
fn list_that_is_far_too_long_is_not_counted_to_its_end() {
    let lists = |count: usize, rest: &str| {
        let list = vec!["a@b.de"; count];
        [
            (list.join("\n") + "\n" + rest, InputFormat::Text),
            (list.join("\n") + "\n" + rest, InputFormat::Csv),
            (
                format!("[\"{}\" {rest}]", list.join("\",\"")),
                InputFormat::Json,
            ),
        ]
    };
    for (list, format) in lists(50, "") {
        assert_eq!(
            parse(list, format),
            Err("The list has 50 addresses; at most 5 are allowed".to_owned())
        );
    }
    for (list, format) in lists(51, "\"never read") {
        assert_eq!(
            parse(list, format),
            Err("The list has over 50 addresses; at most 5 are allowed".to_owned())
        );
    }
}

#[test]
fn reading_of_any_format_ends_soon_after_it_was_stopped() {
    const COUNT: usize = 200_000;
    for (bytes, format) in [
        ("a@b.de\n".repeat(COUNT), InputFormat::Text),
        ("\n".repeat(COUNT), InputFormat::Text),
        ("no address\n".repeat(COUNT), InputFormat::Text),
        ("Ann,a@b.de\n".repeat(COUNT), InputFormat::Csv),
        ("\n".repeat(COUNT), InputFormat::Csv),
        (
            format!("[{}\"a@b.de\"]", "\"a@b.de\",".repeat(COUNT)),
            InputFormat::Json,
        ),
        (
            format!("{{{}\"emails\":[]}}", "\"a\":0,".repeat(COUNT)),
            InputFormat::Json,
        ),
        (
            format!("[{{{}\"email\":\"\"}}]", "\"a\":0,".repeat(COUNT)),
            InputFormat::Json,
        ),
    ] {
        for most_looks in [1, 5, 20] {
            let looks = Cell::new(0);
            let is_stopped = || {
                looks.set(looks.get() + 1);
                looks.get() >= most_looks
            };
            let stopped = AddressList::parse(bytes.as_bytes(), format, usize::MAX, &is_stopped);
            assert_eq!(
                stopped,
                Err(InputError::Stopped),
                "{:.20} {format:?}",
                bytes
            );
            // It asks once more why it ended, and the search for the delimiter begins three times.
            assert!(looks.get() <= most_looks + 8, "{} looks", looks.get());
        }
    }
}

#[test]
fn json_text_in_a_wrong_place_is_quoted_cut() {
    let text = "\u{7f}".repeat(100_000);
    for json in [format!("\"{text}\""), format!("{{\"emails\": \"{text}\"}}")] {
        let message = parse(json, InputFormat::Json).expect_err("no list");
        assert!(message.starts_with("Invalid JSON: invalid type: string \"\\u{7f}"));
        assert!(message.len() < 10_000, "{} bytes", message.len());
    }
}

#[test]
fn json_is_skipped_however_deep() {
    let depth = 1_000_000;
    let deep = "[".repeat(depth) + &"]".repeat(depth);
    let json =
        format!("{{\"other\": {deep}, \"emails\": [{{\"x\": {deep}, \"email\": \"a@b.de\"}}]}}");
    assert_eq!(
        parse(json, InputFormat::Json),
        Ok(vec!["a@b.de".to_owned()])
    );
    let message = parse(deep, InputFormat::Json).expect_err("no list");
    assert!(
        message.contains("expected entry 1 to be an e-mail address"),
        "{message}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused_within_bounds(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            "[a-z@,;\t\"\\\\ \n\r{}\\[\\]:é]{0,60}".prop_map(String::into_bytes),
        ],
        format in prop_oneof![Just(InputFormat::Text), Just(InputFormat::Csv), Just(InputFormat::Json)],
    ) {
        if let Ok(list) = AddressList::parse(&bytes, format, 5, &|| false) {
            prop_assert!((1..=5).contains(&list.len()));
            prop_assert_eq!(list.iter().count(), list.len());
        }
    }

    #[test]
    fn addresses_survive_every_format(emails in prop::collection::vec("[a-z]{1,8}@[a-z]{1,8}\\.(com|de)", 1..5)) {
        let csv = format!("id,email\n{}", emails.iter().map(|email| format!("1,\"{email}\"\n")).collect::<String>());
        let json = serde_json::to_string(&emails).expect("strings are JSON");
        prop_assert_eq!(parse(emails.join("\n"), InputFormat::Text), Ok(emails.clone()));
        prop_assert_eq!(parse(csv, InputFormat::Csv), Ok(emails.clone()));
        prop_assert_eq!(parse(json, InputFormat::Json), Ok(emails));
    }
}
