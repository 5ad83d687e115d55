//! What each key may be: one row per key, and the check of a layer against the rows.

mod texts;

use std::collections::BTreeSet;

use ::config::{Value, ValueKind};

use super::{
    auth::{AuthSetting, JwtAlgorithm, is_url},
    layers::{Layer, Setting},
    origins::{Host, Origin},
    sections::{DnsSource, LogFormat, StreamDelivery},
    store::{Durability, StoreBackend},
};
use texts::{
    is_address, is_address_or_empty, is_filter, is_hash, is_network, is_path, is_path_or_empty,
    is_postgres_url, is_postgres_url_or_empty, is_prefix, is_redis_url, is_scope, is_scopes,
    long_enough, not_empty, parses,
};

/// What a value must be, in the words of a message: "must be …".
type Must = &'static str;

/// A year in seconds: no wait of ours makes sense beyond it, and no sum of a few such times overflows.
const YEAR: u64 = 365 * 86_400;
/// The upper end of sizes in memory: beyond it a typo is likelier than a wish.
const GIB: u64 = 1 << 30;
/// A rate beyond it is none: no machine of ours serves as much.
const MOST_PER_SECOND: u64 = 10_000_000;
/// How alike two names must be, from 0 to 1, for the one to be offered when the other was written; found by trying.
const LIKENESS: f64 = 0.6;

/// The kinds of values.
enum Rule {
    /// A whole number within bounds, both included.
    Number(u64, u64),
    /// True or false.
    Switch,
    /// A string that the function accepts.
    Text(fn(&str) -> Result<(), Must>),
    /// Like `Text`, and never shown.
    Secret(fn(&str) -> Result<(), Must>),
    /// The path of a file, or a URL, that the function accepts. Shown without the URL's query, and not at all when it
    /// is refused: then it is likely what the file should hold.
    Path(fn(&str) -> Result<(), Must>),
    /// A list of strings, each accepted by the function, with one at least.
    Words(fn(&str) -> Result<(), Must>),
    /// A list of strings, each accepted by the function; in the environment separated by commas.
    List(fn(&str) -> Result<(), Must>),
    /// A list of tables, whose fields have rows of their own.
    Tables,
}

use Rule::{List, Number, Path, Secret, Switch, Tables, Text, Words};

/// Every key. `[]` stands for an entry of a list of tables.
const RULES: &[(&str, Rule)] = &[
    ("server.listen", Text(is_address)),
    ("server.hosts", List(parses::<Host>)),
    ("server.views", List(not_empty)),
    ("server.trusted_proxies", List(is_network)),
    ("server.admin_listen", Text(is_address_or_empty)),
    ("server.delivery", Text(parses::<StreamDelivery>)),
    ("server.delivery_tasks", Number(0, 1_024)),
    ("server.tls.cert", Path(is_path_or_empty)),
    ("server.tls.key", Path(is_path_or_empty)),
    ("store.backend", Text(parses::<StoreBackend>)),
    ("store.memory.max_finished_jobs", Number(1, 1_000_000_000)),
    ("store.memory.max_result_bytes", Number(1, 1_024 * GIB)),
    ("store.timeout_ms", Number(1, 60_000)),
    ("store.embedded.path", Path(is_path)),
    ("store.embedded.flush_ms", Number(1, 60_000)),
    ("store.embedded.durability", Text(parses::<Durability>)),
    // Less has no room for what a job may bring.
    ("store.embedded.max_bytes", Number(16 << 20, 1_024 * GIB)),
    ("store.embedded.cache_bytes", Number(1 << 20, 1_024 * GIB)),
    ("store.redis.url", Secret(is_redis_url)),
    ("store.redis.prefix", Text(is_prefix)),
    ("store.redis.ca", Path(is_path_or_empty)),
    ("store.redis.check_interval_seconds", Number(1, 3_600)),
    ("store.postgres.url", Secret(is_postgres_url)),
    (
        "store.postgres.listen_url",
        Secret(is_postgres_url_or_empty),
    ),
    ("store.postgres.poll_interval_seconds", Number(1, 3_600)),
    ("store.postgres.max_connections", Number(1, 10_000)),
    ("stream.update_interval_ms", Number(0, 60_000)),
    ("stream.retry_ms", Number(1, 3_600_000)),
    ("stream.heartbeat_seconds", Number(1, 3_600)),
    ("stream.max_duration_seconds", Number(1, YEAR)),
    ("stream.rewind_ms", Number(0, 3_600_000)),
    ("stream.drain_seconds", Number(0, 3_600)),
    ("events.max_count", Number(1, 1_000_000)),
    ("events.max_bytes", Number(1, GIB)),
    ("events.max_total_bytes", Number(1, 1_024 * GIB)),
    ("jobs.lease_seconds", Number(0, YEAR)),
    ("jobs.ttl_seconds", Number(1, YEAR)),
    ("jobs.abandon_after_seconds", Number(0, YEAR)),
    ("jobs.gone_seconds", Number(0, YEAR)),
    ("limits.max_jobs", Number(1, 1_000_000_000)),
    ("limits.json_body_bytes", Number(1, GIB)),
    ("limits.ndjson_line_bytes", Number(1, GIB)),
    ("limits.upload_bytes", Number(1, GIB)),
    ("limits.data_bytes", Number(1, GIB)),
    ("limits.result_bytes", Number(1, GIB)),
    ("limits.event_data_bytes", Number(1, GIB)),
    ("limits.message_chars", Number(1, 1_000_000)),
    ("limits.step_chars", Number(1, 1_000_000)),
    ("limits.kind_chars", Number(1, 1_000)),
    ("limits.unit_chars", Number(1, 1_000)),
    ("limits.tag_chars", Number(1, 1_000)),
    ("limits.tags", Number(0, 1_000)),
    ("limits.max_connections", Number(0, 10_000_000)),
    ("limits.header_timeout_seconds", Number(1, 3_600)),
    // hyper takes no smaller buffer than 8 KiB.
    ("limits.header_bytes", Number(8_192, 1 << 20)),
    ("limits.write_timeout_seconds", Number(1, 3_600)),
    ("limits.http2_max_streams", Number(1, 1_000_000)),
    ("limits.max_connections_per_address", Number(0, 10_000_000)),
    ("limits.send_buffer_bytes", Number(0, GIB)),
    ("limits.bodies_in_flight_bytes", Number(1, 1_024 * GIB)),
    ("limits.body_timeout_seconds", Number(1, 86_400)),
    ("limits.max_streams", Number(1, 10_000_000)),
    ("limits.max_streams_per_principal", Number(0, 10_000_000)),
    ("limits.max_streams_per_address", Number(0, 10_000_000)),
    ("limits.max_streams_per_job", Number(0, 10_000_000)),
    (
        "limits.requests_per_second_per_address",
        Number(0, MOST_PER_SECOND),
    ),
    (
        "limits.requests_per_second_per_principal",
        Number(0, MOST_PER_SECOND),
    ),
    (
        "limits.reports_per_second_per_principal",
        Number(0, MOST_PER_SECOND),
    ),
    ("cors.allowed_origins", List(parses::<Origin>)),
    ("runner.email.dns", Text(parses::<DnsSource>)),
    ("runner.email.max_emails", Number(1, 10_000_000)),
    ("runner.email.max_concurrent_jobs", Number(1, 10_000)),
    ("runner.email.max_concurrent_lookups", Number(1, 10_000)),
    ("runner.email.lookup_timeout_ms", Number(1, 60_000)),
    ("runner.email.max_per_second", Number(0, 1_000_000)),
    ("log.filter", Text(is_filter)),
    ("log.format", Text(parses::<LogFormat>)),
    ("auth.mode", Text(parses::<AuthSetting>)),
    ("auth.hide_foreign_jobs", Switch),
    ("auth.query_token_max_seconds", Number(1, YEAR)),
    ("auth.api_keys", Tables),
    ("auth.api_keys[].name", Text(not_empty)),
    // Not shown when it is wrong: then it is likely the key itself.
    ("auth.api_keys[].sha256", Secret(is_hash)),
    ("auth.api_keys[].scopes", Words(is_scope)),
    ("auth.api_keys[].owner", Text(not_empty)),
    ("auth.jwt", Tables),
    ("auth.jwt[].algorithm", Text(parses::<JwtAlgorithm>)),
    ("auth.jwt[].secret", Secret(long_enough)),
    // Not shown: by mistake it may be the private one.
    ("auth.jwt[].public_key", Secret(not_empty)),
    ("auth.jwt[].jwks", Path(is_path)),
    ("auth.jwt[].jwks_ca", Path(is_path)),
    ("auth.jwt[].issuer", Text(not_empty)),
    ("auth.jwt[].audience", Text(not_empty)),
    ("auth.jwt[].default_scope", Text(is_scopes)),
    ("auth.jwt[].owner_claim", Text(not_empty)),
    ("auth.jwt[].scope_claim", Text(not_empty)),
    ("auth.jwt[].jobs_claim", Text(not_empty)),
    ("auth.jwt[].leeway_seconds", Number(0, 30)),
];

/// The fields that an entry of a list of tables cannot do without.
const REQUIRED: [(&str, &[&str]); 2] = [
    ("auth.api_keys[]", &["name", "sha256", "scopes"]),
    ("auth.jwt[]", &["algorithm"]),
];

/// Adds a sentence for every mistake in the layer.
pub(super) fn check(layer: &Layer, problems: &mut Vec<String>) {
    let settings = layer.settings();
    let keys: BTreeSet<&str> = settings
        .iter()
        .map(|setting| setting.key.as_str())
        .collect();
    for setting in &settings {
        if let Err(problem) = check_setting(setting) {
            problems.push(problem);
        }
        for field in required_fields(setting) {
            if !keys.contains(field.as_str()) {
                problems.push(format!("`{field}` is missing in {}", setting.origin));
            }
        }
    }
}

/// The value for a key as the environment spells it: a number or a switch where the key wants one and the text is one,
/// a list where the key wants one.
pub(super) fn kind_of_text(key: &str, text: &str) -> ValueKind {
    let kind = match rule_of(key) {
        Some(Number(..)) => text.trim().parse().map(ValueKind::I64).ok(),
        Some(Switch) => text.trim().parse().map(ValueKind::Boolean).ok(),
        Some(List(_)) => {
            let entries = text
                .split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty());
            Some(ValueKind::Array(entries.map(Value::from).collect()))
        }
        _ => None,
    };
    kind.unwrap_or_else(|| ValueKind::String(text.to_owned()))
}

/// The value in TOML, or `[redacted]`, also in place of a URL's query.
pub(super) fn show(setting: &Setting) -> String {
    match (rule_of(&setting.pattern), &setting.value.kind) {
        (Some(Secret(_)), _) => super::Secret::SHOWN.to_owned(),
        (Some(Path(_)), ValueKind::String(text)) => {
            show_kind(&ValueKind::String(without_query(text)))
        }
        (_, kind) => show_kind(kind),
    }
}

/// The keys that must stand beside an entry of a list; none for other settings.
fn required_fields(setting: &Setting) -> impl Iterator<Item = String> {
    let is_this = |entry: &&(&str, &[&str])| entry.0 == setting.pattern;
    let fields = REQUIRED
        .iter()
        .find(is_this)
        .map_or(&[] as &[&str], |entry| entry.1);
    fields
        .iter()
        .map(|field| format!("{}.{field}", setting.key))
}

fn check_setting(setting: &Setting) -> Result<(), String> {
    let Setting {
        key,
        pattern,
        value,
        origin,
    } = setting;
    let unshown = |must: &str| Err(format!("`{key}` in {origin} {must}"));
    let refuse = |must: &str| match show_kind(&value.kind) {
        // A URL with a user may have a password too.
        shown if shown.contains('@') => unshown(must),
        shown => Err(format!("`{key}` {must}, but {origin} says {shown}")),
    };
    let Some(rule) = rule_of(pattern) else {
        return check_section(setting);
    };
    match (rule, &value.kind) {
        (Number(least, most), ValueKind::I64(number))
            if u64::try_from(*number).is_ok_and(|number| (*least..=*most).contains(&number)) =>
        {
            Ok(())
        }
        (Number(least, most), _) => {
            refuse(&format!("must be a whole number from {least} to {most}"))
        }
        (Switch, ValueKind::Boolean(_)) => Ok(()),
        (Switch, _) => refuse("must be true or false"),
        (Text(check), ValueKind::String(text)) => check(text).or_else(refuse),
        (Text(_), _) => refuse("must be a string"),
        // What stands there may be most of the secret.
        (Secret(check) | Path(check), ValueKind::String(text)) => check(text).or_else(unshown),
        (Secret(_) | Path(_), _) => unshown("must be a string"),
        (Words(check), ValueKind::Array(words)) if !words.is_empty() => {
            check_words(*check, words).or_else(refuse)
        }
        (Words(_), _) => refuse("must be a list of strings, with one at least"),
        (List(check), ValueKind::Array(words)) => check_words(*check, words).or_else(refuse),
        (List(_), _) => refuse("must be a list of strings"),
        (Tables, ValueKind::Array(entries)) if entries.is_empty() => Ok(()),
        (Tables, _) => Err(list_of_tables(pattern, origin)),
    }
}

fn check_words(check: fn(&str) -> Result<(), Must>, words: &[Value]) -> Result<(), Must> {
    words.iter().try_for_each(|word| match &word.kind {
        ValueKind::String(text) => check(text),
        _ => Err("must be a list of strings"),
    })
}

/// A key without a row: a section, an entry of a list, or a mistake.
fn check_section(setting: &Setting) -> Result<(), String> {
    let Setting {
        key,
        pattern,
        value,
        origin,
    } = setting;
    let is_section = RULES.iter().any(|(known, _)| {
        known
            .strip_prefix(pattern)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    match &value.kind {
        ValueKind::Table(_) if is_section => return Ok(()),
        // The members of an unknown table are reported one by one.
        ValueKind::Table(members) if !members.is_empty() => return Ok(()),
        _ => {}
    }
    if let Some((list, _)) = RULES
        .iter()
        .find(|(list, rule)| matches!(rule, Tables) && is_below(list, pattern))
    {
        return Err(list_of_tables(list, origin));
    }
    if is_section {
        return Err(format!(
            "`{key}` in {origin} must be a section: write `[{key}]`"
        ));
    }
    Err(match nearest_key(pattern) {
        Some(known) => format!("unknown key `{key}` in {origin}: did you mean `{known}`?"),
        None => format!("unknown key `{key}` in {origin}"),
    })
}

/// The key that was likely meant: a similar name in the same section, or the same name in another section.
fn nearest_key(pattern: &str) -> Option<&'static str> {
    let split = |key: &'_ str| key.rfind('.').map_or(0, |dot| dot + 1);
    let (section, name) = pattern.split_at(split(pattern));
    let likeness = |known: &str| {
        let (known_section, known_name) = known.split_at(split(known));
        match known_section == section {
            true => strsim::normalized_damerau_levenshtein(known_name, name),
            // What is missing in an entry of a list stands nowhere else.
            false => f64::from(u8::from(known_name == name && !section.contains("[]"))),
        }
    };
    RULES
        .iter()
        .map(|(known, _)| (*known, likeness(known)))
        .filter(|(_, likeness)| *likeness > LIKENESS)
        .max_by(|(_, left), (_, right)| left.total_cmp(right))
        .map(|(known, _)| known)
}

/// Says it without the value, which may well be a credential in the wrong place.
fn list_of_tables(list: &str, origin: &str) -> String {
    format!(
        "`{list}` in {origin} must be a list of tables, which only a file can hold: write `[[{list}]]`"
    )
}

/// Whether a key without a rule was meant for the list: `auth.jwt.0.secret`, or `auth.jwt[]` that is no table.
fn is_below(list: &str, pattern: &str) -> bool {
    pattern
        .strip_prefix(list)
        .is_some_and(|rest| rest.starts_with('.') || rest == "[]")
}

fn rule_of(pattern: &str) -> Option<&'static Rule> {
    RULES
        .iter()
        .find(|(known, _)| *known == pattern)
        .map(|(_, rule)| rule)
}

/// A path as it is; of a URL what stands before its query, which may hold a key.
fn without_query(text: &str) -> String {
    match text.split_once(['?', '#']) {
        Some((place, _)) if is_url(text) => format!("{place}?{}", super::Secret::SHOWN),
        _ => text.to_owned(),
    }
}

fn show_kind(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => toml::Value::String(text.clone()).to_string(),
        ValueKind::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| show_kind(&entry.kind)).collect();
            format!("[{}]", entries.join(", "))
        }
        ValueKind::Table(_) => "a table".to_owned(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests;
