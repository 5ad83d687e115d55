//! JSON: reads addresses while it parses, so that no second copy of the list is ever in memory.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Collector, InputError};

pub(super) fn collect(text: &str, collector: &mut Collector) -> Result<(), InputError> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_any(List(collector))
        .and_then(|()| deserializer.end())
        .map_err(|error| InputError::Json(error.to_string()))
}

/// The whole input: an array, or an object with one.
struct List<'a>(&'a mut Collector);

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of e-mail addresses, or an object with one under \"emails\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        Array(self.0).visit_seq(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut has_list = false;
        while let Some(key) = object.next_key::<String>()? {
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
struct Array<'a>(&'a mut Collector);

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of e-mail addresses")
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
            number += 1;
        }
        Ok(())
    }
}

/// One entry: an address, or an object that has one. `null`, alone or as the address, is skipped
/// like an empty CSV cell; an empty string is an entry of its own.
struct Entry<'a> {
    collector: &'a mut Collector,
    /// Counted from 1.
    number: usize,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "entry {} to be an e-mail address or an object with one",
            self.number
        )
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<(), E> {
        self.collector.push(address);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut has_address = false;
        while let Some(key) = object.next_key::<String>()? {
            if !has_address && is_email_key(&key) {
                if let Some(address) = object.next_value::<Option<String>>()? {
                    self.collector.push(&address);
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
