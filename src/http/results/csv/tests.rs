//! What a spreadsheet, or a strict reader, finds in a file.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn rows(rows: &[Value]) -> Vec<Json> {
    let row = |row| Json::of(row).expect("a JSON value serializes");
    rows.iter().map(row).collect()
}

/// The whole file of rows, written in one go.
fn file_of(rows: &[Json]) -> String {
    let mut columns = Columns::default();
    columns.take(rows);
    String::from_utf8(columns.write(rows, true)).expect("the file is UTF-8")
}

fn file(values: &[Value]) -> String {
    file_of(&rows(values))
}

fn raw(text: &str) -> Json {
    serde_json::from_str(text).expect("the text is JSON")
}

#[test]
fn columns_are_the_union_of_keys_in_order_of_appearance() {
    let values = [
        json!({"b": 1, "a": "x"}),
        json!({"a": "y", "c": null}),
        json!({"c": true, "b": 2.5}),
    ];
    assert_eq!(file(&values), "b,a,c\r\n1,x,\r\n,y,\r\n2.5,,true\r\n");
}

#[test]
fn a_slice_that_is_not_the_first_has_no_line_of_names() {
    let rows = rows(&[json!({"a": 1})]);
    let mut columns = Columns::default();
    columns.take(&rows);
    assert_eq!(columns.write(&rows, false), b"1\r\n");
}

#[test]
fn no_rows_and_rows_without_keys_are_an_empty_file() {
    assert_eq!(file(&[]), "");
    assert_eq!(file(&[json!({}), json!({})]), "");
}

#[test]
fn a_row_without_any_of_the_columns_still_is_a_line() {
    assert_eq!(
        file(&[json!({"a": 1}), json!({})]),
        "a\r\n1\r\n\"\"\r\n",
        "quoted, since readers skip an empty line"
    );
}

#[test]
fn what_a_spreadsheet_would_run_gets_an_apostrophe() {
    for (text, shown) in [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "\"'\rx\""),
        ("   =1", "'   =1"),
        (" \t=1", "' \t=1"),
        ("'=1", "'=1"),
        ("a=1", "a=1"),
        ("", "\"\""),
        ("   ", "   "),
    ] {
        let expected = format!("a\r\n{shown}\r\n");
        assert_eq!(file(&[json!({"a": text})]), expected, "{text:?}");
    }
}

#[test]
fn names_of_columns_are_made_harmless_too() {
    assert_eq!(file(&[json!({"=cmd|x": 1})]), "'=cmd|x\r\n1\r\n");
}

#[test]
fn numbers_are_no_formulas_and_stay_as_they_were_written() {
    let row = raw(r#"{"a":-1,"b":1e300,"c":123456789012345678901234567890,"d":1.50}"#);
    assert_eq!(
        file_of(&[row]),
        "a,b,c,d\r\n-1,1e300,123456789012345678901234567890,1.50\r\n"
    );
}

#[test]
fn quotes_commas_and_line_breaks_are_quoted_in_values_and_names() {
    let values = [json!({"a,\"b\"\nc": "1,\"2\"\r\n3"})];
    assert_eq!(
        file(&values),
        "\"a,\"\"b\"\"\nc\"\r\n\"1,\"\"2\"\"\r\n3\"\r\n"
    );
}

#[test]
fn what_is_no_single_value_stands_there_as_json() {
    let values = [json!({"a": [1, "=2"], "b": {"c": null}})];
    assert_eq!(
        file(&values),
        "a,b\r\n\"[1,\"\"=2\"\"]\",\"{\"\"c\"\":null}\"\r\n"
    );
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_counts() {
    assert_eq!(file_of(&[raw(r#"{"a":1,"b":2,"a":3}"#)]), "a,b\r\n3,2\r\n");
}

#[test]
fn keys_beyond_the_256th_are_left_out() {
    let row = |from: usize| {
        let cells = (from..from + 200).map(|index| (format!("k{index}"), json!(index)));
        Value::Object(cells.collect())
    };
    let file = file(&[row(0), row(150)]);
    let mut lines = file.lines();
    let names: Vec<_> = lines.next().expect("names").split(',').collect();
    assert_eq!(names.len(), 256);
    assert_eq!((names[0], names[255]), ("k0", "k255"));
    for line in lines {
        assert_eq!(line.split(',').count(), 256, "{line}");
    }
}

proptest! {
    #[test]
    fn a_reader_gets_back_every_text_or_the_text_behind_an_apostrophe(
        texts in prop::collection::vec("\\PC*|[ \t\r\n\"',;=+@-]{0,6}", 1..5)
    ) {
        let cells = texts.iter().enumerate();
        let row = Value::Object(cells.map(|(index, text)| (format!("k{index}"), json!(text))).collect());
        let file = file(&[row]);
        let mut reader = ::csv::Reader::from_reader(file.as_bytes());
        let record = reader.records().next().expect("a row").expect("valid CSV");
        prop_assert_eq!(record.len(), texts.len());
        for (read, text) in record.iter().zip(&texts) {
            let has_formula = text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r']);
            let expected = if has_formula { format!("'{text}") } else { text.clone() };
            prop_assert_eq!(read, expected);
        }
    }
}
