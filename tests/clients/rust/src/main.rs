//! Follows a stream with one of Rust's SSE clients, and prints what it saw, a JSON object a line (`../recorder.mjs`).
//!
//!     progressd-test-clients --client reqwest-eventsource|eventsource-client --url URL

use std::time::Duration;

use eventsource_client::{Client as _, ClientBuilder, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;
use reqwest_eventsource::{Error, Event, EventSource};
use serde_json::{Value, json};

/// Above the 30 seconds after which the server sends a heartbeat.
const SILENCE: Duration = Duration::from_secs(45);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--client", "reqwest-eventsource", "--url", url] => with_reqwest_eventsource(url).await,
        ["--client", "eventsource-client", "--url", url] => with_eventsource_client(url).await,
        _ => panic!("--client NAME --url URL"),
    }
    println!("{}", json!({"type": "closed"}));
}

/// Comes back by itself, until an answer is none of a stream.
async fn with_reqwest_eventsource(url: &str) {
    let mut source = EventSource::get(url);
    while let Some(item) = source.next().await {
        match item {
            Ok(Event::Open) => println!("{}", json!({"type": "open"})),
            Ok(Event::Message(message)) => print_event(&message.event, &message.data, &message.id),
            Err(Error::InvalidStatusCode(status, _)) => print_trouble(status.as_u16().into(), 2),
            Err(error) => print_trouble(error.to_string().into(), 0),
        }
    }
}

/// Comes back by itself, whatever the answer is.
async fn with_eventsource_client(url: &str) {
    let transport = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(SILENCE)
        .build_http()
        .expect("a transport");
    let client = ClientBuilder::for_url(url).expect("a URL");
    let mut stream = client.build_with_transport(transport).stream();
    let mut last_id = String::new();
    // An error is not the end: it goes on when it is polled.
    while let Some(item) = stream.next().await {
        match item {
            Ok(SSE::Connected(_)) => println!("{}", json!({"type": "open"})),
            Ok(SSE::Event(event)) => {
                last_id = event.id.unwrap_or(last_id);
                print_event(&event.event_type, &event.data, &last_id);
            }
            Ok(SSE::Comment(_)) => {}
            Err(error) => print_trouble(error.to_string().into(), 0),
        }
    }
}

fn print_event(name: &str, data: &str, id: &str) {
    let line = match serde_json::from_str::<Value>(data) {
        Ok(data) => json!({"type": name, "data": data, "id": id}),
        Err(_) => json!({"type": name, "raw": data, "id": id}),
    };
    println!("{line}");
}

/// `cause` is a status code or a message; `ready_state` as in `EventSource`.
fn print_trouble(cause: Value, ready_state: u8) {
    let key = if cause.is_u64() { "status" } else { "message" };
    let line = json!({"type": "error", "source": "client", key: cause, "readyState": ready_state});
    println!("{line}");
}
