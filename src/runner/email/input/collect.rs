//! Gathers addresses into a list and keeps its bounds.

use super::super::syntax::MAX_INPUT_BYTES;
use super::{AddressList, InputError};

/// How many times the allowed number is still counted. Beyond that the exact number helps nobody.
const COUNTED_TIMES: usize = 10;

/// How many steps are taken between two looks at whether to stop: a millisecond's worth, beside
/// which the look costs nothing.
const STEPS_PER_LOOK: usize = 4_096;

/// A list in the making. Addresses beyond the limit are counted, so that the message can name their
/// number, but not kept.
pub(super) struct Collector<'a> {
    list: AddressList,
    found: usize,
    max: usize,
    steps: usize,
    is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(max: usize, is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self {
            list: AddressList::default(),
            found: 0,
            max,
            steps: 0,
            is_stopped,
        }
    }

    /// What says whether to stop, for a reader with steps of its own.
    pub(super) fn is_stopped(&self) -> &'a dyn Fn() -> bool {
        self.is_stopped
    }

    /// To be called for every line, entry or key, with an address or without.
    pub(super) fn step(&mut self) -> Result<(), InputError> {
        let is_time_to_look = self.steps.is_multiple_of(STEPS_PER_LOOK);
        self.steps = self.steps.wrapping_add(1);
        if is_time_to_look && (self.is_stopped)() {
            return Err(InputError::Stopped);
        }
        Ok(())
    }

    /// Takes an address; an error when reading on would be in vain.
    pub(super) fn push(&mut self, address: &str) -> Result<(), InputError> {
        self.found = self.found.saturating_add(1);
        if self.found > self.max {
            return self.far_too_many().map_or(Ok(()), Err);
        }
        let address = address.trim();
        if address.len() <= MAX_INPUT_BYTES {
            self.list.text.push_str(address);
        } else {
            // With its ellipsis the rest is still over the limit, and thus still refused as too
            // long.
            self.list
                .text
                .push_str(&address[..address.ceil_char_boundary(MAX_INPUT_BYTES)]);
            self.list.text.push('…');
        }
        self.list.ends.push(self.list.text.len());
        Ok(())
    }

    /// Why [`Collector::step`] or [`Collector::push`] refused to go on, for a parser that does not
    /// pass their errors through.
    pub(super) fn refusal(&self) -> Option<InputError> {
        if (self.is_stopped)() {
            return Some(InputError::Stopped);
        }
        self.far_too_many()
    }

    pub(super) fn finish(self) -> Result<AddressList, InputError> {
        match self.found {
            0 => Err(InputError::Empty),
            found if found > self.max => Err(InputError::TooMany {
                found,
                max: self.max,
            }),
            _ => Ok(self.list),
        }
    }

    fn far_too_many(&self) -> Option<InputError> {
        let counted = self.max.saturating_mul(COUNTED_TIMES);
        (self.found > counted).then_some(InputError::FarTooMany {
            counted,
            max: self.max,
        })
    }
}
