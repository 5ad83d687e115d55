//! Blocks to the byte, and read back by a reader of its own that follows the specification.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::job::{EventName, Json};

/// A message as an `EventSource` dispatches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    event: String,
    data: String,
    last_id: String,
}

/// What a client makes of a stream: messages, the last `retry`, and how many lines it ignored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    messages: Vec<Message>,
    retry: Option<u64>,
    comments: usize,
}

/// WHATWG HTML, section 9.2.6, line by line; LF, CR and CRLF all end a line.
fn heard(stream: &str) -> Heard {
    let mut heard = Heard::default();
    let mut message = Message::default();
    let mut last_id = String::new();
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let Some((whole_lines, _unfinished)) = lines.rsplit_once('\n') else {
        return heard;
    };
    for line in whole_lines.split('\n') {
        if line.is_empty() {
            let done = std::mem::take(&mut message);
            // A block without data is no message.
            if !done.data.is_empty() {
                heard.messages.push(Message {
                    data: done
                        .data
                        .strip_suffix('\n')
                        .unwrap_or(&done.data)
                        .to_owned(),
                    last_id: last_id.clone(),
                    ..done
                });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => heard.comments += 1,
            "event" => value.clone_into(&mut message.event),
            "data" => {
                message.data.push_str(value);
                message.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut last_id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                heard.retry = value.parse().ok();
            }
            _ => {}
        }
    }
    heard
}

fn seq(value: u64) -> Seq {
    Seq::new(value).expect("below 2^53")
}

fn event(name: &str, data: &Value) -> Event {
    Event {
        seq: seq(7),
        name: EventName::parse(name).expect("a valid name"),
        data: Json::of(data).expect("JSON serializes"),
    }
}

#[test]
fn a_status_block_has_its_lines_in_order() {
    let id = Some(seq(1_795_287_600_123_456));
    assert_eq!(
        status_block(r#"{"a":1}"#, Some(5_000), id),
        "event: status\ndata: {\"a\":1}\nretry: 5000\nid: 1795287600123456\n\n"
    );
    assert_eq!(
        status_block("{}", None, id),
        "event: status\ndata: {}\nid: 1795287600123456\n\n"
    );
    assert_eq!(
        status_block("{}", None, None),
        "event: status\ndata: {}\n\n"
    );
}

#[test]
fn an_event_block_carries_the_bare_data_under_its_own_name() {
    assert_eq!(
        event_block(&event("recommendation", &json!({"id": [1, null]}))),
        "event: recommendation\ndata: {\"id\":[1,null]}\nid: 7\n\n"
    );
    assert_eq!(
        event_block(&event("error", &Value::Null)),
        "event: error\ndata: null\nid: 7\n\n"
    );
}

#[test]
fn the_last_block_tells_the_client_to_stay_away() {
    assert_eq!(
        terminal_block("{}", None, seq(9)),
        "event: status\ndata: {}\nretry: 3600000\nid: 9\n\n"
    );
}

#[test]
fn a_failure_comes_as_an_error_block_before_the_last_status() {
    let failure = Failure::new("DISK", "No space\non \"device\"");
    assert_eq!(
        terminal_block("{}", Some(&failure), seq(9)),
        concat!(
            "event: error\ndata: {\"message\":\"No space\\non \\\"device\\\"\",\"code\":\"DISK\"}\n\n",
            "event: status\ndata: {}\nretry: 3600000\nid: 9\n\n"
        )
    );
}

#[test]
fn an_error_block_never_moves_the_cursor() {
    assert_eq!(
        error_block("{\"code\":\"X\"}", None),
        "event: error\ndata: {\"code\":\"X\"}\n\n"
    );
    assert_eq!(
        error_block("{}", Some(10)),
        "event: error\ndata: {}\nretry: 10\n\n"
    );
}

#[test]
fn heartbeats_are_heard_by_those_alone_who_ask_for_them() {
    assert_eq!(&HEARTBEAT[..], b":\n");
    assert_eq!(&HEARTBEAT_EVENT[..], b"event: heartbeat\ndata: {}\n\n");
    let stream = format!(
        ":\n:\n{}:\n{}",
        status_block("{}", None, Some(seq(1))),
        event_block(&event("note", &json!(2)))
    );
    let heard = heard(&stream);
    assert_eq!(heard.comments, 3);
    assert_eq!(heard.messages.len(), 2, "no empty message between the two");
}

/// One block as the test means it.
#[derive(Debug, Clone)]
enum Block {
    Status(Value, Option<u64>, Option<u64>),
    Event(String, Value),
    Terminal(Value, Option<(String, String)>, u64),
    Error(Value, Option<u64>),
    Heartbeat,
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\n\r:\u{2028}\u{2029}\u{85}\u{0}\u{feff}a ]{0,20}",
        Just("\n\nevent: status\ndata: {}\nid: 9\n\n".to_owned()),
    ]
}

fn any_data() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_text().prop_map(Value::from),
        (any_text(), any_text()).prop_map(|(key, text)| json!({key: [text, 1, null]})),
    ]
}

fn any_block() -> impl Strategy<Value = Block> {
    let id = || 1..=Seq::MAX.get();
    prop_oneof![
        (
            any_data(),
            prop::option::of(0..100_000_u64),
            prop::option::of(id())
        )
            .prop_map(|(data, retry, id)| Block::Status(data, retry, id)),
        ("[a-z][A-Za-z0-9_.-]{0,20}x", any_data())
            .prop_map(|(name, data)| Block::Event(name, data)),
        (any_data(), prop::option::of((any_text(), any_text())), id())
            .prop_map(|(data, failure, id)| Block::Terminal(data, failure, id)),
        (any_data(), prop::option::of(0..100_000_u64))
            .prop_map(|(data, retry)| Block::Error(data, retry)),
        Just(Block::Heartbeat),
    ]
}

impl Block {
    fn encoded(&self) -> String {
        match self {
            Self::Status(data, retry, id) => status_block(&data.to_string(), *retry, id.map(seq)),
            Self::Event(name, data) => event_block(&event(name, data)),
            Self::Terminal(data, failure, id) => {
                let failure = failure
                    .as_ref()
                    .map(|(code, message)| Failure::new(code, message));
                terminal_block(&data.to_string(), failure.as_ref(), seq(*id))
            }
            Self::Error(data, retry) => error_block(&data.to_string(), *retry),
            Self::Heartbeat => String::from_utf8(HEARTBEAT.to_vec()).expect("ASCII"),
        }
    }

    /// Adds what a client should hear of the block.
    fn expect(&self, heard: &mut Heard) {
        let mut say = |event: &str, data: String, id: Option<u64>, retry: Option<u64>| {
            let before = heard.messages.last().map(|message| message.last_id.clone());
            heard.messages.push(Message {
                event: event.to_owned(),
                data,
                last_id: id.map(|id| id.to_string()).or(before).unwrap_or_default(),
            });
            heard.retry = retry.or(heard.retry);
        };
        match self {
            Self::Status(data, retry, id) => say("status", data.to_string(), *id, *retry),
            Self::Event(name, data) => say(name, data.to_string(), Some(7), None),
            Self::Terminal(data, failure, id) => {
                if let Some((code, message)) = failure {
                    let data = json!({"message": message, "code": code}).to_string();
                    say("error", data, None, None);
                }
                say("status", data.to_string(), Some(*id), Some(RETRY_NEVER_MS));
            }
            Self::Error(data, retry) => say("error", data.to_string(), None, *retry),
            Self::Heartbeat => heard.comments += 1,
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_what_a_client_hears(blocks in prop::collection::vec(any_block(), 0..12)) {
        let stream: String = blocks.iter().map(Block::encoded).collect();
        let mut expected = Heard::default();
        for block in &blocks {
            block.expect(&mut expected);
        }
        prop_assert_eq!(heard(&stream), expected);
    }

    /// `retry` and `id` stand in blocks with data only, and no block spans another's end.
    #[test]
    fn every_block_is_whole(block in any_block()) {
        let text = block.encoded();
        if !matches!(block, Block::Heartbeat) {
            prop_assert!(text.ends_with("\n\n"));
            for part in text.trim_end_matches('\n').split("\n\n") {
                let names: Vec<_> = part.lines().map(|line| line.split(':').next().unwrap_or("")).collect();
                let order = ["event", "data", "retry", "id"];
                let places: Vec<_> = names.iter().map(|name| order.iter().position(|known| known == name)).collect();
                prop_assert!(places.is_sorted() && !places.contains(&None), "{names:?}");
                prop_assert_eq!(&names[..2], ["event", "data"]);
            }
        }
    }
}
