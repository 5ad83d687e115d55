//! How large the parts of a request may be.

/// Bounds on what one request may bring; the defaults are those of `config/default.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Characters of `message`.
    pub message_chars: usize,
    /// Characters of `step`.
    pub step_chars: usize,
    /// Characters of `kind`.
    pub kind_chars: usize,
    /// Characters of `unit`.
    pub unit_chars: usize,
    /// Characters of one tag.
    pub tag_chars: usize,
    /// How many tags a job may have.
    pub tags: usize,
    /// Bytes of `data` as JSON, also after a merge.
    pub data_bytes: usize,
    /// Bytes of `result` as JSON.
    pub result_bytes: usize,
    /// Bytes of one event's `data` as JSON.
    pub event_data_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message_chars: 1_000,
            step_chars: 200,
            kind_chars: 64,
            unit_chars: 64,
            tag_chars: 64,
            tags: 20,
            data_bytes: 64 * 1024,
            result_bytes: 64 * 1024,
            event_data_bytes: 64 * 1024,
        }
    }
}
