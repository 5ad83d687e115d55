//! Who asks: API keys and tokens of every sort, and the configuration that knows them.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use progressd::auth::KeyHash;
use serde_json::{Value, json};

use super::secrets;

/// Signs the tokens that hold.
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

/// Every scope but `admin`.
pub(crate) const ALL_SCOPES: &str = "jobs:read jobs:write jobs:cancel";

/// Keys, whose names are what follows `key-`: one for each scope, without an owner; one for each owner with every scope.
const KEYS: [(&str, &str, Option<&str>); 7] = [
    ("key-read", "jobs:read", None),
    ("key-write", "jobs:write", None),
    ("key-cancel", "jobs:cancel", None),
    ("key-admin", "admin", None),
    ("key-all", ALL_SCOPES, None),
    ("key-ann", ALL_SCOPES, Some("ann")),
    ("key-bob", ALL_SCOPES, Some("bob")),
];

/// A configuration with all of them, and a key for tokens.
pub(crate) fn configuration() -> String {
    configuration_without("")
}

/// The same without one API key.
pub(crate) fn configuration_without(missing: &str) -> String {
    secrets::register(SECRET);
    let key = |(key, scopes, owner): (&str, &str, Option<&str>)| {
        secrets::register(key);
        // A name may be logged, and no secret is part of it.
        let name = key.trim_start_matches("key-");
        let scopes: Vec<_> = scopes.split_whitespace().collect();
        let owner = owner.map_or_else(String::new, |owner| format!("owner = '{owner}'\n"));
        format!(
            "[[auth.api_keys]]\nname = '{name}'\nsha256 = '{}'\nscopes = {scopes:?}\n{owner}",
            KeyHash::of(key.as_bytes())
        )
    };
    let keys: Vec<_> = KEYS
        .into_iter()
        .filter(|(name, ..)| *name != missing)
        .map(key)
        .collect();
    let jwt = format!("[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n");
    format!("{}{jwt}", keys.concat())
}

/// A token with these claims; `exp` is in ten minutes unless they say otherwise.
pub(crate) fn token(claims: &Value) -> String {
    sign(Algorithm::HS256, SECRET, claims)
}

/// The same with another algorithm or another secret.
pub(crate) fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let mut all = json!({"exp": get_current_timestamp() + 600});
    for (name, value) in claims.as_object().expect("claims are an object") {
        all[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = encode(&Header::new(algorithm), &all, &key).expect("claims are JSON");
    secrets::register(secret);
    secrets::register(&token);
    token
}
