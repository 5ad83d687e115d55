//! The five states of a job.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// `pending` → `processing` → `completed` | `failed` | `cancelled`; `pending` may end directly.
///
/// The last three are terminal: nothing follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Created, and no worker has reported yet.
    Pending,
    /// A worker has reported.
    Processing,
    /// The work is done.
    Completed,
    /// The work was given up; the status says why.
    Failed,
    /// Somebody asked for the end, and it came.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Processing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state of that name; the error is the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("must be pending, processing, completed, failed or cancelled")
    }

    /// Whether nothing follows this state.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived one calls null malformed JSON, and so loses the field's name.
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
