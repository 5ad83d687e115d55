//! Result rows as they come from outside: JSON objects, kept as they were written.

use super::{FieldError, Json, field::parse_json};

/// Reads one row.
///
/// # Errors
/// What it is instead of a JSON object.
pub fn parse_row(text: &str) -> Result<Json, FieldError> {
    let row: Json = parse_json(text.as_bytes())?;
    check(&row).map(|()| row)
}

/// Reads an array of rows.
///
/// # Errors
/// What the body is instead; a row that is no JSON object is named by its place.
pub fn parse_rows(body: &[u8]) -> Result<Vec<Json>, FieldError> {
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array && !body.is_empty() {
        return Err(FieldError::new("", "must be an array of JSON objects"));
    }
    let rows: Vec<Json> = parse_json(body)?;
    for (index, row) in rows.iter().enumerate() {
        check(row).map_err(|error| error.within(&format!("[{index}]")))?;
    }
    Ok(rows)
}

fn check(row: &Json) -> Result<(), FieldError> {
    match row.as_str().starts_with('{') {
        true => Ok(()),
        false => Err(FieldError::new("", "must be a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (String, String) {
        let error = parse_rows(body.as_bytes()).expect_err("no rows");
        (error.field, error.rule)
    }

    #[test]
    fn rows_stay_as_they_were_written() {
        let rows = parse_rows(br#" [ {"b": 1.50, "a": "x y"}, {} ] "#).expect("rows");
        let texts: Vec<_> = rows.iter().map(Json::as_str).collect();
        assert_eq!(texts, [r#"{"b":1.50,"a":"x y"}"#, "{}"]);
        assert_eq!(parse_rows(b"[]").expect("no rows"), []);
    }

    #[test]
    fn what_is_no_row_is_named_by_its_place() {
        let object = "must be a JSON object".to_owned();
        assert_eq!(refusal("[{}, 7]"), ("[1]".to_owned(), object.clone()));
        assert_eq!(refusal("[[]]"), ("[0]".to_owned(), object));
        let array = "must be an array of JSON objects".to_owned();
        assert_eq!(refusal("{}"), (String::new(), array));
        let (field, rule) = refusal("[{},");
        assert_eq!(field, "");
        assert!(rule.starts_with("malformed JSON"), "{rule}");
        parse_row("{").expect_err("half a row");
        parse_row("[]").expect_err("no object");
        parse_row(r#"{"a": 1e999}"#).expect_err("no double");
    }
}
