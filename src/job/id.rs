//! The name of a job.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

/// A job's name: 1 to 128 of `A-Za-z0-9._~:@-`, and neither `.` nor `..`.
///
/// All of those stand in a URL path as they are (RFC 3986, section 3.3), so that a link built
/// by concatenation works; the two dots alone would be eaten by path normalisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JobId(Arc<str>);

impl JobId {
    /// Checks a name that came from outside; the error is the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:@-".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            Err("must be 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -")
        } else if text == "." || text == ".." {
            Err("must not be . or ..")
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<uuid::Uuid> for JobId {
    /// A UUID in its hyphenated form is a valid name.
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid.to_string().into())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
