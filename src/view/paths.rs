//! Where a view is found, and how the id of its job is made up: texts with names in braces.

use std::fmt;

/// What a segment consists of when it is no name: nothing that a client would write in another way.
const PLAIN: &[u8] = b"-._~:@";

/// What views cannot have: the server's own places, by how their paths begin.
const RESERVED: [&[&str]; 11] = [
    &["api", "v1", "jobs"],
    &["api", "v1", "reports"],
    &["api", "v1", "stream"],
    &["assets"],
    &["client.js"],
    &["docs"],
    &["favicon.ico"],
    &["healthz"],
    &["metrics"],
    &["openapi.json"],
    &["readyz"],
];

/// A path with names for some of its segments: `/api/v1/audits/{id}/status`.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// An id with names in it: `rec-{userId}`.
#[derive(Clone, PartialEq, Eq)]
pub struct IdTemplate(Vec<Part>);

/// In a path a whole segment, in an id any piece of it. Fixed before named is the order in which paths are tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Fixed(String),
    Named(String),
}

impl Template {
    /// Reads a path; the error completes a sentence that begins with the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix('/')
            .ok_or("must be a path that begins with \"/\"")?;
        let parts: Result<Vec<Part>, String> = rest.split('/').map(parse_segment).collect();
        let parts = parts?;
        if matches!(parts.first(), Some(Part::Named(_))) {
            return Err("must begin with a fixed part, such as \"/v1\"".to_owned());
        }
        let begins_with = |reserved: &&&[&str]| {
            let mut pairs = reserved.iter().zip(&parts);
            parts.len() >= reserved.len()
                && pairs.all(|(word, part)| match part {
                    Part::Fixed(fixed) => fixed == word,
                    Part::Named(_) => true,
                })
        };
        if let Some(reserved) = RESERVED.iter().find(begins_with) {
            return Err(format!(
                "must be a path of its own: /{} is the server's",
                reserved.join("/")
            ));
        }
        let mut names: Vec<_> = named(&parts).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("must not have the same name twice".to_owned());
        }
        let text = text.to_owned();
        Ok(Self { text, parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        named(&self.parts)
    }

    /// Whether a request's path is one of these.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else {
            return false;
        };
        let mut segments = rest.split('/');
        let all_fit = self.parts.iter().all(|part| match segments.next() {
            Some(segment) => match part {
                Part::Fixed(fixed) => fixed == segment,
                Part::Named(_) => !segment.is_empty(),
            },
            None => false,
        });
        all_fit && segments.next().is_none()
    }

    /// Whether it is the same path as another one, whatever the names are.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.parts.iter().zip(&other.parts);
        self.parts.len() == other.parts.len()
            && pairs.all(|pair| match pair {
                (Part::Fixed(one), Part::Fixed(other)) => one == other,
                (Part::Named(_), Part::Named(_)) => true,
                _ => false,
            })
    }

    /// By which templates are tried in order: the more fixed one first.
    pub(super) fn rank(&self) -> Vec<(bool, &str)> {
        let rank = self.parts.iter().map(|part| match part {
            Part::Fixed(fixed) => (false, fixed.as_str()),
            Part::Named(_) => (true, ""),
        });
        rank.collect()
    }
}

impl IdTemplate {
    /// Reads an id; the error completes a sentence that begins with the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "must be an id of A-Z a-z 0-9 . _ ~ : @ - with names in braces, such as \"rec-{userId}\"";
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (fixed, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if !fixed.is_empty() {
                let is_plain = fixed.bytes().all(is_plain);
                let part = is_plain.then(|| Part::Fixed(fixed.to_owned()));
                parts.push(part.ok_or(RULE)?);
            }
            rest = after;
            if let Some(inner) = after.strip_prefix('{') {
                let (name, after) = inner.split_once('}').ok_or(RULE)?;
                parts.push(Part::Named(parse_name(name).ok_or(RULE)?));
                rest = after;
            }
        }
        if parts.is_empty() {
            return Err(RULE.to_owned());
        }
        Ok(Self(parts))
    }

    /// One name and nothing else.
    pub(super) fn of_name(name: &str) -> Self {
        Self(vec![Part::Named(name.to_owned())])
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        named(&self.0)
    }

    /// The id itself, when it has no names.
    pub(super) fn as_fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Fixed(fixed)] => Some(fixed),
            _ => None,
        }
    }

    /// The id with values in the place of names.
    ///
    /// # Errors
    /// The name that has no value.
    pub fn fill<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> Result<String, &str> {
        let mut id = String::new();
        for part in &self.0 {
            match part {
                Part::Fixed(fixed) => id.push_str(fixed),
                Part::Named(name) => id.push_str(value_of(name).ok_or(name.as_str())?),
            }
        }
        Ok(id)
    }
}

/// A name as it may stand in braces, or name a parameter of the query.
pub(super) fn parse_name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
    is_name.then(|| text.to_owned())
}

fn parse_segment(segment: &str) -> Result<Part, String> {
    const RULE: &str = "must consist of segments of A-Z a-z 0-9 - . _ ~ : @, or of a name in braces, such as \"{id}\"";
    if let Some(inner) = segment.strip_prefix('{') {
        let name = inner.strip_suffix('}').and_then(parse_name);
        return name.map(Part::Named).ok_or_else(|| RULE.to_owned());
    }
    let is_fixed = !segment.is_empty() && ![".", ".."].contains(&segment);
    if is_fixed && segment.bytes().all(is_plain) {
        Ok(Part::Fixed(segment.to_owned()))
    } else {
        Err(RULE.to_owned())
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || PLAIN.contains(&byte)
}

fn named(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| match part {
        Part::Named(name) => Some(name.as_str()),
        Part::Fixed(_) => None,
    })
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

impl fmt::Debug for IdTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for part in &self.0 {
            match part {
                Part::Fixed(fixed) => formatter.write_str(fixed)?,
                Part::Named(name) => write!(formatter, "{{{name}}}")?,
            }
        }
        formatter.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).expect(text)
    }

    #[test]
    fn a_path_matches_segment_by_segment() {
        let path = template("/v1/audits/{id}/status");
        for (other, expected) in [
            ("/v1/audits/123/status", true),
            ("/v1/audits/a%2Fb/status", true),
            ("/v1/audits//status", false),
            ("/v1/audits/123/status/", false),
            ("/v1/audits/123", false),
            ("v1/audits/123/status", false),
            ("/v1/audits/1/2/status", false),
        ] {
            assert_eq!(path.matches(other), expected, "{other}");
        }
    }

    #[test]
    fn what_is_no_path_of_a_view_is_refused() {
        for text in [
            "",
            "/",
            "v1",
            "/{id}",
            "/v1/",
            "/v1//x",
            "/v1/a b",
            "/v1/{}",
            "/v1/{a",
            "/v1/x{a}",
            "/v1/{a}/{a}",
            "/v1/..",
            "/v1/é",
            "/v1/*",
            "/healthz",
            "/metrics/x",
            "/docs/{file}",
            "/client.js",
            "/api/v1/jobs/{id}/mine",
            "/api/v1/stream",
            "/api/{v}/jobs",
            "/api/{v}/{what}/x",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        for text in [
            "/v1",
            "/api/v1/audits",
            "/api",
            "/streams/{job_id}",
            "/api/v1",
        ] {
            assert!(Template::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_id_takes_its_names_from_whoever_knows_them() {
        let id = IdTemplate::parse("rec-{userId}:{n}").expect("an id");
        assert_eq!(id.names().collect::<Vec<_>>(), ["userId", "n"]);
        let values = |name: &str| (name == "userId").then_some("user-456");
        assert_eq!(id.fill(values), Err("n"));
        assert_eq!(id.fill(|_| Some("1")), Ok("rec-1:1".to_owned()));
        for text in ["", "{", "{}", "a b", "rec-{user id}", "rec-{userId", "ü"] {
            assert!(IdTemplate::parse(text).is_err(), "{text}");
        }
    }
}
