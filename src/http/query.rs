//! The query of a URL, read by name.

use std::{convert::Infallible, fmt, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};

use super::ApiError;

/// Names and values in order, decoded (WHATWG URL, section 5.1). Unknown names are left alone:
/// proxies and pages add their own. Its `Debug` shows the names alone: a value may be a credential.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// That of a URL.
    pub(super) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default().as_bytes();
        Self(form_urlencoded::parse(query).into_owned().collect())
    }

    /// The first value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        let pairs = self.0.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    /// The value of `name` as a number from `least` to `most`.
    pub(super) fn number(
        &self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = u64::from_str(text)
            .ok()
            .filter(|number| (least..=most).contains(number));
        let rule = || {
            ApiError::invalid(
                name,
                format!("must be a whole number from {least} to {most}"),
            )
        };
        number.map(Some).ok_or_else(rule)
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_set().entries(names).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_output_shows_no_value() {
        let query = Query(vec![("token".to_owned(), "show me not".to_owned())]);
        assert_eq!(format!("{query:?}"), "{\"token\"}");
    }
}
