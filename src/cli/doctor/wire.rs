//! The bytes of a stream as watchers read them: blocks, and the heartbeats that other readers skip.

use serde::Deserialize;

/// The longest block that is read; a status with everything in it is far below.
const MOST_BLOCK_BYTES: usize = 1024 * 1024;

/// How much is kept of a name or an id, which are shorter.
const MOST_KEPT_CHARS: usize = 128;

/// The `retry` of a last block: nobody is to come back.
const LAST_RETRY: u64 = 3_600_000;

/// One thing on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A comment.
    Heartbeat,
    /// A block with data.
    Block(Block),
}

/// What the doctor wants to know of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// The event's name.
    pub(super) event: String,
    /// Its id.
    pub(super) id: Option<String>,
    /// Whether it tells watchers not to come back.
    pub(super) is_last: bool,
    /// What its data says, as far as it is JSON.
    pub(super) told: Told,
}

/// Known fields of the data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// Of an error.
    pub(super) code: Option<String>,
    /// Of an error.
    pub(super) message: Option<String>,
    /// Of the doctor's own events.
    pub(super) number: Option<usize>,
}

/// The stream holds a block that is longer than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes a stream apart as it comes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    is_after_return: bool,
    data: Vec<u8>,
    block: Block,
}

impl Reader {
    /// Reads on, and says what was completed.
    ///
    /// # Errors
    /// A block is longer than any that progressd sends.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, TooLong> {
        let mut pieces = Vec::new();
        for byte in bytes {
            let is_second_half = *byte == b'\n' && self.is_after_return;
            self.is_after_return = *byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => pieces.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > MOST_BLOCK_BYTES {
                return Err(TooLong);
            }
        }
        Ok(pieces)
    }

    fn end_line(&mut self) -> Option<Piece> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let mut block = std::mem::take(&mut self.block);
            if data.is_empty() {
                return None;
            }
            block.told = serde_json::from_slice(&data).unwrap_or_default();
            return Some(Piece::Block(block));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || {
            let text = String::from_utf8_lossy(value);
            text.chars().take(MOST_KEPT_CHARS).collect::<String>()
        };
        match field {
            b"" => return Some(Piece::Heartbeat),
            b"event" => self.block.event = text(),
            b"id" => self.block.id = Some(text()),
            b"retry" => self.block.is_last = text().parse() == Ok(LAST_RETRY),
            b"data" => self.data.extend_from_slice(value),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ":\nevent: status\ndata: {\"job_id\":\"j\",\"message\":null}\nretry: 5000\nid: 7\n\n\
                          event: doctor\ndata: {\"number\":2}\nid: 8\n\n\
                          event: error\ndata: {\"message\":\"m\",\"code\":\"C\"}\nretry: 3600000\n\n\
                          data: no JSON\n\nevent: nothing\n\n";

    #[test]
    fn a_stream_is_read_wherever_its_pieces_begin() {
        let named = |event: &str, id: Option<&str>| Block {
            event: event.to_owned(),
            id: id.map(str::to_owned),
            ..Block::default()
        };
        let mut doctor = named("doctor", Some("8"));
        doctor.told.number = Some(2);
        let mut error = named("error", None);
        error.is_last = true;
        error.told.message = Some("m".to_owned());
        error.told.code = Some("C".to_owned());
        let expected = [
            Piece::Heartbeat,
            Piece::Block(named("status", Some("7"))),
            Piece::Block(doctor),
            Piece::Block(error),
            Piece::Block(Block::default()),
        ];
        for ends in ["\n", "\r\n", "\r"] {
            let stream = STREAM.replace('\n', ends);
            for size in 1..stream.len() {
                let mut reader = Reader::default();
                let pieces = stream.as_bytes().chunks(size);
                let pieces: Vec<_> = pieces
                    .flat_map(|bytes| reader.read(bytes).expect("short blocks"))
                    .collect();
                assert_eq!(pieces, expected, "{ends:?}, {size}");
            }
        }
    }

    #[test]
    fn a_block_without_an_end_is_not_kept() {
        let mut reader = Reader::default();
        let line = format!("data: {}\n", "x".repeat(1000));
        let lines = std::iter::repeat_n(line, 2000);
        let read = lines.map(|line| reader.read(line.as_bytes()));
        assert!(read.into_iter().any(|read| read == Err(TooLong)));
    }
}
