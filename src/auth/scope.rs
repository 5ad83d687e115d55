//! What a principal may do, independent of whose job it is.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// One permission, written `jobs:read`, `jobs:write`, `jobs:cancel` or `admin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read statuses, streams and results.
    JobsRead,
    /// Create jobs and report on them.
    JobsWrite,
    /// Ask for a job's cancellation.
    JobsCancel,
    /// Everything, on everybody's jobs; includes the other scopes.
    Admin,
}

/// A set of scopes; as text separated by spaces (RFC 6749, section 3.3), in a configuration file a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Scopes(u8);

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope `{0}`: it is one of jobs:read, jobs:write, jobs:cancel, admin")]
pub struct UnknownScope(String);

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [
        Self::JobsRead,
        Self::JobsWrite,
        Self::JobsCancel,
        Self::Admin,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::JobsCancel => "jobs:cancel",
            Self::Admin => "admin",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    /// Whether the set holds the scope, or `admin`, which includes it.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// Reads a token's claim: words that are no scopes of ours belong to other services and are passed over.
    pub fn from_claim(text: &str) -> Self {
        text.split_ascii_whitespace()
            .filter_map(|word| word.parse::<Scope>().ok())
            .collect()
    }

    /// The scopes that were named, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope.bit())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_ascii_whitespace()
            .map(str::parse::<Scope>)
            .collect()
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = UnknownScope;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        words.iter().map(|word| word.parse::<Scope>()).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        formatter.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_every_scope_and_no_other_scope_does() {
        for held in Scope::ALL {
            for asked in Scope::ALL {
                assert_eq!(
                    Scopes::from(held).contains(asked),
                    held == asked || held == Scope::Admin,
                    "{held} {asked}"
                );
            }
        }
    }

    #[test]
    fn scopes_come_back_from_their_text() {
        let scopes: Scopes = "admin  jobs:cancel".parse().expect("both are scopes");
        assert_eq!(scopes.to_string(), "jobs:cancel admin");
        assert_eq!(scopes.to_string().parse(), Ok(scopes));
    }

    #[test]
    fn an_unknown_word_is_refused_in_settings_and_passed_over_in_claims() {
        assert_eq!(
            "jobs:read openid".parse::<Scopes>(),
            Err(UnknownScope("openid".into()))
        );
        assert_eq!(
            Scopes::from_claim("openid jobs:read"),
            Scopes::from(Scope::JobsRead)
        );
        assert_eq!(Scopes::from_claim("Admin jobs"), Scopes::default());
    }
}
