//! Gathers addresses into a list and keeps its bounds.

use super::super::syntax::MAX_INPUT_BYTES;
use super::{AddressList, InputError};

/// A list in the making. Addresses beyond the limit are counted, so that the message can name their
/// number, but not kept.
pub(super) struct Collector {
    list: AddressList,
    found: usize,
    max: usize,
}

impl Collector {
    pub(super) fn new(max: usize) -> Self {
        Self {
            list: AddressList::default(),
            found: 0,
            max,
        }
    }

    pub(super) fn push(&mut self, address: &str) {
        self.found += 1;
        if self.found > self.max {
            return;
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
}
