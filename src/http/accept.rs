//! Which of two answers a client would rather have (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};
use headers_accept::Accept;
use mediatype::{
    MediaType, Name,
    names::{APPLICATION, JSON, TEXT},
};

const STREAM: MediaType = MediaType::new(TEXT, Name::new_unchecked("event-stream"));

/// What there is, the usual first: clients that take anything get that.
const ANSWERS: [MediaType; 2] = [MediaType::new(APPLICATION, JSON), STREAM];

/// Whether the client prefers a stream to JSON: by its weights, then by what it names more exactly, then by the
/// order in which it names them. A header that cannot be read says nothing.
pub(super) fn prefers_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let texts: Option<Vec<_>> = values.map(|value| value.to_str().ok()).collect();
    let accept = texts.and_then(|texts| texts.join(",").parse::<Accept>().ok());
    accept.is_some_and(|accept| accept.negotiate(&ANSWERS) == Some(&STREAM))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn prefers(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        prefers_stream(&headers)
    }

    #[test]
    fn a_stream_is_preferred_by_name_weight_or_order() {
        for value in [
            "text/event-stream",
            "Text/Event-Stream",
            "text/event-stream;q=0.5",
            "text/event-stream, */*",
            "text/event-stream,,",
            "text/event-stream,application/json;q=0.9",
            "application/json; q=0.2, text/event-stream; q=0.3",
            "text/event-stream, application/json",
            "application/json;q=0, */*",
            "application/*;q=0.1, text/event-stream;q=0.2, image/png",
        ] {
            assert!(prefers(&[value]), "{value}");
        }
        assert!(prefers(&["application/json;q=0.5", "text/event-stream"]));
    }

    #[test]
    fn whoever_takes_anything_or_prefers_json_gets_json() {
        for value in [
            "",
            "*/*",
            "application/json",
            "application/json, text/event-stream",
            "text/event-stream;q=0.9, application/json",
            "text/event-stream;q=0",
            "text/event-stream;q=0, */*",
            "application/json, text/plain, */*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/html",
        ] {
            assert!(!prefers(&[value]), "{value}");
        }
        assert!(!prefers(&[]));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for value in [
            "text",
            "/",
            "text/",
            "text/event-stream;\"",
            "text/event-stream;=",
            "text/event-stream; q",
            ",",
            ";;;,",
            "+/+",
            "a/b+",
        ] {
            assert!(!prefers(&[value]), "{value}");
        }
        let mut headers = HeaderMap::new();
        let odd = HeaderValue::from_bytes(b"text/event-stream, \xff/x").expect("a header may");
        headers.insert(header::ACCEPT, odd);
        assert!(!prefers_stream(&headers));
    }
}
