//! Blocks that wait to be written, and which of them move the client's cursor.

use std::time::Instant;

use bytes::Bytes;

use super::block::Block;
use crate::{frame::RETRY_NEVER_MS, job::Seq, stream::Ready};

/// Bytes from which on a piece is sent before more is added to it.
const PIECE_BYTES: usize = 64 * 1024;

/// How many blocks go into one piece, nearly.
const PIECE_BLOCKS: usize = 1_000;

/// What waits.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Whether an id may stand for a time alone, when no block's own may be given.
    has_times: bool,
    blocks: Vec<Block>,
    /// How many bytes they are, nearly.
    weight: usize,
    /// When the oldest of them was made that came from a hub.
    made_at: Option<Instant>,
    /// The highest place of all blocks so far.
    newest: Seq,
    /// The highest id so far.
    cursor: Seq,
    /// The highest time that was given in the place of a block's own id.
    time: Seq,
}

/// How far the client's cursor may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing older waits than what is written.
    Everything,
    /// Everything up to here was told, or is written now; of what is later something may wait.
    UpTo(Seq),
    /// This is the end, and whatever there was has been told.
    ToTheEnd,
}

impl Outbox {
    /// Nothing yet.
    pub(super) fn new(has_times: bool) -> Self {
        Self {
            has_times,
            blocks: Vec::new(),
            weight: 0,
            made_at: None,
            newest: Seq::ZERO,
            cursor: Seq::ZERO,
            time: Seq::ZERO,
        }
    }

    /// Puts a block behind the others.
    pub(super) fn push(&mut self, block: Block) {
        self.weight += block.weight();
        self.newest = self.newest.max(block.place);
        self.blocks.push(block);
    }

    /// The same for one that came from a hub.
    pub(super) fn push_made(&mut self, block: Block, made_at: Instant) {
        self.made_at.get_or_insert(made_at);
        self.push(block);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether what waits should go out before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.weight >= PIECE_BYTES || self.blocks.len() >= PIECE_BLOCKS
    }

    /// Puts what waits in the order of time, so that the client's cursor is right wherever it is cut off.
    pub(super) fn sort(&mut self) {
        self.blocks.sort_by_key(|block| block.place);
    }

    /// What waits as one piece, with `retry_ms` in the first block.
    pub(super) fn write(&mut self, retry_ms: Option<u64>, told: Told) -> Ready {
        if let Some(first) = self.blocks.first_mut() {
            first.retry_ms = retry_ms;
        }
        self.give_ids(told);
        let mut out = Vec::with_capacity(self.weight);
        for block in &self.blocks {
            block.write(&mut out);
        }
        self.weight = 0;
        Ready {
            piece: Bytes::from(out).into(),
            blocks: std::mem::take(&mut self.blocks).len(),
            made_at: self.made_at.take(),
        }
    }

    fn give_ids(&mut self, told: Told) {
        let most = match told {
            Told::UpTo(told) => told,
            Told::Everything | Told::ToTheEnd => Seq::MAX,
        };
        for block in &mut self.blocks {
            // A change that came through late may be older than the time: ids rise within a job.
            block.id = block.id.filter(|id| *id <= most && *id > self.time);
        }
        let newest = self.blocks.iter().filter_map(|block| block.id).max();
        if let Some(last) = self.blocks.last_mut() {
            match told {
                Told::ToTheEnd => {
                    last.retry_ms = Some(RETRY_NEVER_MS);
                    last.id = Some(self.newest);
                }
                // Whoever always finds more waiting must not fall back ever farther.
                Told::UpTo(told) if self.has_times && newest.is_none() && told > self.cursor => {
                    last.id = Some(told);
                    (self.cursor, self.time) = (told, told);
                }
                Told::UpTo(_) | Told::Everything => {}
            }
        }
        self.cursor = self.cursor.max(newest.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;

    fn seq(number: u64) -> Seq {
        Seq::new(number).expect("a seq")
    }

    /// The ids of blocks with these seqs that are written together.
    fn ids(outbox: &mut Outbox, seqs: &[u64], told: Told) -> Vec<Option<u64>> {
        for number in seqs {
            outbox.push(Block::status(seq(*number), "{}".into(), true));
        }
        let piece = outbox.write(None, told).piece.joined();
        let text = String::from_utf8(piece.to_vec()).expect("UTF-8");
        let blocks = text.split_terminator("\n\n");
        let id_of = |block: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix("id: "));
            line.map(|id| id.parse().expect("a number"))
        };
        blocks.map(id_of).collect()
    }

    #[test]
    fn ids_stay_below_what_waits_and_the_last_block_says_so_where_none_has_its_own() {
        let mut outbox = Outbox::new(true);
        assert_eq!(
            ids(&mut outbox, &[5, 7], Told::Everything),
            [Some(5), Some(7)]
        );
        assert_eq!(
            ids(&mut outbox, &[8, 9], Told::UpTo(seq(8))),
            [Some(8), None]
        );
        assert_eq!(
            ids(&mut outbox, &[20, 21], Told::UpTo(seq(15))),
            [None, Some(15)]
        );
        assert_eq!(ids(&mut outbox, &[22], Told::UpTo(seq(15))), [None]);
        // One that came through late, after a time beyond it was given.
        assert_eq!(
            ids(&mut outbox, &[12, 23], Told::Everything),
            [None, Some(23)]
        );
    }

    #[test]
    fn where_jobs_are_named_no_time_stands_for_an_end() {
        let mut outbox = Outbox::new(false);
        assert_eq!(ids(&mut outbox, &[20], Told::UpTo(seq(15))), [None]);
        let job_id = JobId::parse("j").expect("a name");
        outbox.push(Block::status(seq(30), "{}".into(), false));
        outbox.push(Block::removed(job_id.as_str(), seq(25), None));
        assert_eq!(ids(&mut outbox, &[], Told::ToTheEnd), [None, Some(30)]);
    }
}
