//! A strict reader of SSE: every byte must be a whole block, or a heartbeat, as the contract writes them.

use bytes::BytesMut;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::in_time;

/// A block, line by line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: Option<String>,
    pub(crate) data: String,
    pub(crate) retry: Option<u64>,
    pub(crate) id: Option<String>,
}

/// What comes on a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Block(Block),
    /// A colon and LF.
    Heartbeat,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct SseStream {
    pub(crate) head: Head,
    body: Option<Response>,
    buffer: BytesMut,
}

/// Status and headers of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
}

impl Block {
    /// The data as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }

    /// The block's event name.
    pub(crate) fn name(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }

    /// The id as a number; zero when there is none.
    pub(crate) fn seq(&self) -> u64 {
        self.id
            .as_deref()
            .map_or(0, |id| id.parse().expect("an id is a seq"))
    }

    /// Reads the lines of one block, which must stand in the contract's order.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let mut block = Self {
            event: None,
            data: String::new(),
            retry: None,
            id: None,
        };
        let mut rank = 0;
        for line in text.lines() {
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("no field: {line:?}"));
            let next_rank = match name {
                "event" => 1,
                "data" => 2,
                "retry" => 3,
                "id" => 4,
                _ => panic!("unknown field: {line:?}"),
            };
            assert!(next_rank > rank, "lines out of order in {text:?}");
            rank = next_rank;
            match name {
                "event" => block.event = Some(value.to_owned()),
                "data" => block.data = value.to_owned(),
                "retry" => block.retry = Some(value.parse().expect("retry is a number")),
                _ => block.id = Some(value.to_owned()),
            }
        }
        assert!(!block.data.is_empty(), "a block without data: {text:?}");
        block
    }
}

impl SseStream {
    /// Sends the request and waits for the head.
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = in_time("a stream's head", request.send())
            .await
            .expect("a server that answers");
        let head = Head {
            status: response.status(),
            headers: response.headers().clone(),
        };
        Self {
            head,
            body: Some(response),
            buffer: BytesMut::new(),
        }
    }

    /// The next block or heartbeat; `None` at the end of the body.
    pub(crate) async fn next_item(&mut self) -> Option<Item> {
        loop {
            if self.buffer.starts_with(b":\n") {
                let _ = self.buffer.split_to(2);
                return Some(Item::Heartbeat);
            }
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                let text = std::str::from_utf8(&block).expect("blocks are UTF-8");
                return Some(Item::Block(Block::parse(text.trim_end_matches('\n'))));
            }
            let body = self.body.as_mut()?;
            match in_time("more of the stream", body.chunk())
                .await
                .expect("an unbroken stream")
            {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    assert!(
                        self.buffer.is_empty(),
                        "half a block at the end: {:?}",
                        self.buffer
                    );
                    return None;
                }
            }
        }
    }

    /// The next block; heartbeats are passed over.
    pub(crate) async fn next(&mut self) -> Block {
        self.next_or_end()
            .await
            .expect("a block and not the end of the stream")
    }

    /// The next block, or `None` at the end; heartbeats are passed over.
    pub(crate) async fn next_or_end(&mut self) -> Option<Block> {
        loop {
            match self.next_item().await? {
                Item::Block(block) => return Some(block),
                Item::Heartbeat => {}
            }
        }
    }

    /// The next block, which must be a status; its data.
    pub(crate) async fn next_status(&mut self) -> Value {
        let block = self.next().await;
        assert_eq!(block.name(), "status", "{block:?}");
        block.json()
    }

    /// Reads statuses until one fits; its block.
    pub(crate) async fn status_where(&mut self, fits: impl Fn(&Value) -> bool) -> Block {
        loop {
            let block = self.next().await;
            if block.name() == "status" && fits(&block.json()) {
                return block;
            }
        }
    }

    /// Every block to the end of the body.
    pub(crate) async fn rest(&mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        while let Some(block) = self.next_or_end().await {
            blocks.push(block);
        }
        blocks
    }

    /// Waits for the end of the body, before which nothing may come.
    pub(crate) async fn expect_end(&mut self) {
        let next = self.next_item().await;
        assert_eq!(next, None);
    }
}
