//! Whom limits count somebody as.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// An API key, or an owner, as limits count them; the same on every node, so that a ticket can name
/// who bought it. 128 bits of SHA-256: nobody finds a name that counts as another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Account([u8; 16]);

impl Account {
    /// That of the API key of this name.
    pub fn of_api_key(name: &str) -> Self {
        Self::of("key", name)
    }

    /// That of everybody whose token names this owner.
    pub fn of_owner(owner: &str) -> Self {
        Self::of("owner", owner)
    }

    /// A key and an owner of one name are two.
    fn of(kind: &str, name: &str) -> Self {
        let hash = digest(&SHA256, format!("{kind}\n{name}").as_bytes());
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash.as_ref()[..16]);
        Self(tag)
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        URL_SAFE_NO_PAD.encode(account.0)
    }
}

impl TryFrom<String> for Account {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let tag = bytes.and_then(|bytes| bytes.try_into().ok());
        tag.map(Self).ok_or("not an account")
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Account({})", String::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_an_owner_and_another_owner_have_accounts_of_their_own() {
        let ann = Account::of_owner("ann");
        assert_eq!(ann, Account::of_owner("ann"));
        assert_ne!(ann, Account::of_owner("bob"));
        assert_ne!(ann, Account::of_api_key("ann"));
    }

    #[test]
    fn an_account_comes_back_from_its_text_and_nothing_else_does() {
        let ann = Account::of_owner("ann");
        assert_eq!(String::from(ann).try_into(), Ok(ann));
        for text in ["", "AAAA", "%"] {
            assert!(Account::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
