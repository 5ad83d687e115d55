//! What single texts must be: the functions that the rules name. Each error completes "the key …".

use std::{net::SocketAddr, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{
    super::{auth::MIN_SECRET_BYTES, proxies},
    Must,
};
use crate::auth::{KeyHash, Scope, Scopes};

/// The longest path that Linux takes (PATH_MAX); no URL of ours is longer.
const MOST_PATH_BYTES: usize = 4_096;

pub(super) fn parses<T: FromStr<Err = Must>>(text: &str) -> Result<(), Must> {
    text.parse::<T>().map(drop)
}

pub(super) fn is_address(text: &str) -> Result<(), Must> {
    let address = text.parse::<SocketAddr>().map(drop);
    address.map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:8080\"")
}

pub(super) fn is_network(text: &str) -> Result<(), Must> {
    proxies::parse_network(text).map(drop)
}

pub(super) fn is_address_or_empty(text: &str) -> Result<(), Must> {
    if text.is_empty() {
        return Ok(());
    }
    is_address(text)
        .map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:9090\", or empty")
}

/// Refuses what a file holds in place of where it is: a key in PEM, or a set of keys in JSON. What the file itself
/// holds is looked at when it is read.
pub(super) fn is_path(text: &str) -> Result<(), Must> {
    let is_content = text.len() > MOST_PATH_BYTES
        || text.contains(['\0', '\n', '\r'])
        || text.contains("-----BEGIN")
        || text.trim_start().starts_with('{');
    if is_content {
        Err("must be the path of a file, not its content")
    } else {
        not_empty(text)
    }
}

/// Empty stands for none.
pub(super) fn is_path_or_empty(text: &str) -> Result<(), Must> {
    if text.is_empty() {
        return Ok(());
    }
    is_path(text)
}

pub(super) fn is_hash(text: &str) -> Result<(), Must> {
    let hash = text.parse::<KeyHash>().map(drop);
    hash.map_err(|_| "must be the SHA-256 of the key as 64 hexadecimal digits")
}

pub(super) fn is_scope(text: &str) -> Result<(), Must> {
    let scope = text.parse::<Scope>().map(drop);
    scope.map_err(|_| "must list jobs:read, jobs:write, jobs:cancel or admin")
}

pub(super) fn is_scopes(text: &str) -> Result<(), Must> {
    let scopes = text.parse::<Scopes>().map(drop);
    scopes.map_err(|_| "must name jobs:read, jobs:write, jobs:cancel or admin, separated by spaces")
}

pub(super) fn not_empty(text: &str) -> Result<(), Must> {
    if text.trim().is_empty() {
        Err("must not be empty")
    } else {
        Ok(())
    }
}

/// Stricter than the library, to which a mistyped level is the name of a module: the log would just stay empty.
pub(super) fn is_filter(text: &str) -> Result<(), Must> {
    let is_clear = |directive: &str| {
        directive.contains(['=', '[']) || directive.trim().parse::<LevelFilter>().is_ok()
    };
    if text.split(',').all(is_clear) && EnvFilter::try_new(text).is_ok() {
        Ok(())
    } else {
        Err("must be levels, also by module, such as \"info\" or \"info,progressd=debug\"")
    }
}

pub(super) fn long_enough(secret: &str) -> Result<(), Must> {
    if secret.len() < MIN_SECRET_BYTES {
        Err("must have at least 32 bytes")
    } else {
        Ok(())
    }
}

pub(super) fn is_redis_url(text: &str) -> Result<(), Must> {
    match has_scheme(text, &["redis", "rediss"]) {
        true => Ok(()),
        false => Err("must be a URL such as \"redis://127.0.0.1:6379/0\", or \"rediss\" for TLS"),
    }
}

pub(super) fn is_postgres_url(text: &str) -> Result<(), Must> {
    match has_scheme(text, &["postgres", "postgresql"]) {
        true => Ok(()),
        false => Err("must be a URL such as \"postgres://user@127.0.0.1:5432/progressd\""),
    }
}

/// Empty stands for the other URL.
pub(super) fn is_postgres_url_or_empty(text: &str) -> Result<(), Must> {
    match text.is_empty() {
        true => Ok(()),
        false => is_postgres_url(text),
    }
}

fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    let url = url::Url::parse(text);
    url.is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

/// Braces would say which part of a key decides where a cluster keeps it.
pub(super) fn is_prefix(text: &str) -> Result<(), Must> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'*');
    match text.len() <= 64 && text.bytes().all(is_plain) {
        true => Ok(()),
        false => Err("must be at most 64 printable ASCII characters without spaces, braces and *"),
    }
}
