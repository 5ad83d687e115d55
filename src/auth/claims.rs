//! The claims of a token: a JSON object in which no name stands twice.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// All claims by name. A repeated name is refused: of two readers each might believe another one
/// (RFC 7519, section 4, and RFC 8725, section 2.4).
pub(super) struct Claims(pub(super) Map<String, Value>);

struct ClaimsVisitor;

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Claims, A::Error> {
        let mut claims = Map::new();
        while let Some((name, value)) = object.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(de::Error::custom("a claim stands twice"));
            }
        }
        Ok(Claims(claims))
    }
}
