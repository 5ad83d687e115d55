//! JSON: reads addresses while it parses, so that no second copy of the list is ever in memory.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

use super::super::syntax::MAX_INPUT_BYTES;
use super::{Collector, InputError};

// What is skipped, be it deep or long, is skipped in one go: that takes no memory to speak of, and
// for the largest upload a fraction of a second.
pub(super) fn collect(text: &str, collector: &mut Collector<'_>) -> Result<(), InputError> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_any(List(collector))
        .and_then(|()| deserializer.end())
        .map_err(|error| {
            let refusal = collector.refusal();
            refusal.unwrap_or_else(|| InputError::Json(error.to_string()))
        })
}

/// The whole input: an array, or an object with one.
struct List<'a, 'b>(&'a mut Collector<'b>);

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of e-mail addresses, or an object with one under \"emails\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        Err(E::invalid_type(quoted(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        Array(self.0).visit_seq(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut has_list = false;
        while let Some(key) = object.next_key::<String>()? {
            self.0.step().map_err(A::Error::custom)?;
            if key == "emails" {
                object.next_value_seed(Array(self.0))?;
                has_list = true;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        if has_list {
            Ok(())
        } else {
            Err(A::Error::custom("the object has no list under \"emails\""))
        }
    }
}

/// An array of entries.
struct Array<'a, 'b>(&'a mut Collector<'b>);

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Asked for a sequence, the parser itself would quote a text in its place, and as a whole.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of e-mail addresses")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        Err(E::invalid_type(quoted(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let mut number = 1;
        while array
            .next_element_seed(Entry {
                collector: self.0,
                number,
            })?
            .is_some()
        {
            self.0.step().map_err(A::Error::custom)?;
            number += 1;
        }
        Ok(())
    }
}

/// One entry: an address, or an object that has one. `null`, alone or as the address, is skipped
/// like an empty CSV cell; an empty string is an entry of its own.
struct Entry<'a, 'b> {
    collector: &'a mut Collector<'b>,
    /// Counted from 1.
    number: usize,
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "entry {} to be an e-mail address or an object with one",
            self.number
        )
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<(), E> {
        self.collector.push(address).map_err(E::custom)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut has_address = false;
        while let Some(key) = object.next_key::<String>()? {
            self.collector.step().map_err(A::Error::custom)?;
            if !has_address && is_email_key(&key) {
                if let Some(address) = object.next_value::<Option<String>>()? {
                    self.collector.push(&address).map_err(A::Error::custom)?;
                }
                has_address = true;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        if has_address {
            Ok(())
        } else {
            Err(A::Error::custom(format_args!(
                "entry {} has no field \"email\"",
                self.number
            )))
        }
    }
}

/// Whether a key of an entry means its address: `email`, `e-mail`, `mail`, `emailAddress`,
/// `email_address`, `address`.
fn is_email_key(key: &str) -> bool {
    let name: String = key.chars().filter(char::is_ascii_alphabetic).collect();
    ["email", "mail", "emailaddress", "mailaddress", "address"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// A text where none is expected, for the message. Escaped as a whole it could take several times
/// the memory of the file.
fn quoted(text: &str) -> Unexpected<'_> {
    Unexpected::Str(&text[..text.floor_char_boundary(MAX_INPUT_BYTES)])
}
