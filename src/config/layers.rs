//! One layer of the configuration: a TOML text, the environment, or the flags.

use std::{ffi::OsString, fmt, path::Path};

use ::config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::{Overrides, rules};

/// What an environment variable begins with when it names a key; `__` also stands between the key's parts.
const PREFIX: &str = "PROGRESSD__";

/// Variables from services of this kind that came before, and the keys that they stand for.
///
/// The long name of the same key wins over them, since whoever wrote it meant progressd.
const OLDER_NAMES: [(&str, &str); 5] = [
    ("SSE_SOURCE", "store.backend"),
    (
        "SSE_FALLBACK_DB_INTERVAL_SECONDS",
        "store.postgres.poll_interval_seconds",
    ),
    ("SSE_MAX_DURATION", "stream.max_duration_seconds"),
    ("SSE_HEARTBEAT_SECONDS", "stream.heartbeat_seconds"),
    ("SSE_RETRY_MS", "stream.retry_ms"),
];

/// The section that is read apart from the others.
const VIEWS: &str = "views";

/// Values that came from one place, by key; tables are nested for a file, and flat for the other layers.
#[derive(Clone)]
pub(super) struct Layer {
    values: Map<String, Value>,
    /// What stands under `views`, in its order, and where it came from.
    views: Option<(toml::Value, String)>,
}

/// One value of a layer, under its whole key.
pub(super) struct Setting {
    /// For example `stream.retry_ms` or `auth.api_keys[1].name`.
    pub(super) key: String,
    /// The key without the numbers of list entries, `auth.api_keys[].name`: what the rules know.
    pub(super) pattern: String,
    /// A plain value, a list of plain values, or a table; a table comes before its members.
    pub(super) value: Value,
    /// Where the value came from, as a noun of a sentence.
    pub(super) origin: String,
}

impl Layer {
    /// Reads a file. The error is a sentence.
    pub(super) fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!(
                "cannot read the configuration file `{}`: {error}",
                path.display()
            )
        })?;
        Self::from_toml(&text, &format!("`{}`", path.display()))
    }

    /// Reads a TOML text that came from `origin`. The error is a sentence.
    pub(super) fn from_toml(text: &str, origin: &str) -> Result<Self, String> {
        // Parsed once beforehand for the sake of the message: the one that `config` passes on quotes the
        // offending line, which may hold a secret.
        let mut table = toml::from_str::<toml::Table>(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            format!(
                "{origin} is not valid TOML at line {line}: {}",
                error.message()
            )
        })?;
        let mut values = File::from_str(text, FileFormat::Toml)
            .collect()
            .map_err(|_| format!("{origin} is not valid TOML"))?;
        values.remove(VIEWS);
        for value in values.values_mut() {
            set_origin(value, origin);
        }
        let views = table.remove(VIEWS).map(|views| (views, origin.to_owned()));
        Ok(Self { values, views })
    }

    /// Picks the variables that name keys. Values become numbers where the key wants one.
    pub(super) fn from_environment(
        environment: &[(OsString, OsString)],
        problems: &mut Vec<String>,
    ) -> Self {
        let mut values = Map::new();
        for older in [true, false] {
            for (name, value) in environment {
                let Some((key, name)) = name
                    .to_str()
                    .and_then(|name| Some((key_of_variable(name, older)?, name)))
                else {
                    continue;
                };
                let origin = format!("the variable `{name}`");
                let Some(value) = value.to_str() else {
                    problems.push(format!("{origin} is not valid UTF-8"));
                    continue;
                };
                // Compose files and unit files pass `NAME=` for what nobody set.
                if !value.is_empty() {
                    let kind = rules::kind_of_text(&key, value);
                    values.insert(key, Value::new(Some(&origin), kind));
                }
            }
        }
        let views = None;
        Self { values, views }
    }

    /// The flags as a layer.
    pub(super) fn from_overrides(overrides: &Overrides) -> Self {
        let mut values = Map::new();
        if let Some(listen) = &overrides.listen {
            values.insert(
                "server.listen".into(),
                Value::new(Some(&"`--listen`".into()), listen.as_str()),
            );
        }
        let views = None;
        Self { values, views }
    }

    /// What stands under `views`, and where that is; only a file can hold it.
    pub(super) fn views(&self) -> Option<(&toml::Value, &str)> {
        let (views, origin) = self.views.as_ref()?;
        Some((views, origin))
    }

    /// All values of the layer, sorted by key.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (key, value) in &self.values {
            flatten(key.clone(), key.clone(), value, &mut settings);
        }
        settings.sort_by(|left, right| left.key.cmp(&right.key));
        settings
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.values.clone())
    }
}

/// The keys alone: among the values are secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.values.keys()).finish()
    }
}

/// The key that a variable names, if it is one of ours; `older` asks for the names of [`OLDER_NAMES`].
fn key_of_variable(name: &str, older: bool) -> Option<String> {
    if older {
        return OLDER_NAMES
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, key)| (*key).to_owned());
    }
    Some(
        name.strip_prefix(PREFIX)?
            .to_ascii_lowercase()
            .replace("__", "."),
    )
}

/// Notes on every value where it came from; parsing a text leaves that open.
fn set_origin(value: &mut Value, origin: &str) {
    match &mut value.kind {
        ValueKind::Table(table) => table
            .values_mut()
            .for_each(|member| set_origin(member, origin)),
        ValueKind::Array(entries) => entries
            .iter_mut()
            .for_each(|entry| set_origin(entry, origin)),
        _ => {}
    }
    *value = Value::new(Some(&origin.to_owned()), std::mem::take(&mut value.kind));
}

/// Walks down tables, and into lists of tables.
fn flatten(key: String, pattern: String, value: &Value, settings: &mut Vec<Setting>) {
    let origin = value.origin().unwrap_or("the configuration").to_owned();
    let setting = |value: &Value| Setting {
        key: key.clone(),
        pattern: pattern.clone(),
        value: value.clone(),
        origin: origin.clone(),
    };
    match &value.kind {
        ValueKind::Table(table) => {
            settings.push(setting(value));
            for (name, member) in table {
                flatten(
                    format!("{key}.{name}"),
                    format!("{pattern}.{name}"),
                    member,
                    settings,
                );
            }
        }
        ValueKind::Array(entries)
            if entries
                .iter()
                .any(|entry| matches!(entry.kind, ValueKind::Table(_))) =>
        {
            for (index, entry) in entries.iter().enumerate() {
                flatten(
                    format!("{key}[{index}]"),
                    format!("{pattern}[]"),
                    entry,
                    settings,
                );
            }
        }
        _ => settings.push(setting(value)),
    }
}
