//! Whom the server knows without another verification, and until when.

use super::*;

/// The same server after a reload, with another secret or the same.
fn reloaded(authenticator: &Authenticator, secret: &str) -> Authenticator {
    let toml = format!("[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{secret}'\n");
    let config = Config::from_toml(&toml).expect("the configuration is valid");
    authenticator.renewed(&config.auth)
}

#[test]
fn a_token_is_known_once_it_was_verified_and_lets_in_the_same() {
    let authenticator = authenticator("");
    let token = sign(&claims(json!({"scope": "jobs:write", "jobs": ["a*"]})));
    assert_eq!(
        authenticator.recognize(&KeyHash::of(token.as_bytes())),
        None
    );
    let verified = outcome(&authenticator, &token).expect("the token is valid");
    let known = authenticator.recognize(&KeyHash::of(token.as_bytes()));
    assert_eq!(known.as_ref(), Some(&verified));
}

#[test]
fn what_was_refused_is_not_known() {
    let authenticator = authenticator("");
    let mut forged = sign(&claims(json!({})));
    outcome(&authenticator, &forged).expect("the token is valid");
    let last = forged.pop().expect("a signature");
    // Another of the characters whose spare bits are zero, so that only the signature differs.
    forged.push(if last == 'A' { 'E' } else { 'A' });
    for _ in 0..2 {
        assert_invalid_token(&authenticator, &forged);
        assert_eq!(
            authenticator.recognize(&KeyHash::of(forged.as_bytes())),
            None
        );
    }
}

#[test]
fn an_api_key_is_known_without_having_been_used() {
    let known = authenticator("").recognize(&KeyHash::of(b"pgd_test"));
    assert_eq!(known.expect("the key is configured").name(), "ci");
}

#[test]
fn a_token_that_lives_by_the_leeway_alone_is_verified_each_time() {
    let authenticator = authenticator("leeway_seconds = 30");
    let token = sign(&claims(json!({"exp": get_current_timestamp() - 5})));
    outcome(&authenticator, &token).expect("the token is within the leeway");
    assert_eq!(
        authenticator.recognize(&KeyHash::of(token.as_bytes())),
        None
    );
}

#[test]
fn with_another_secret_a_known_token_is_a_stranger_at_once() {
    let older = authenticator("");
    let token = sign(&claims(json!({})));
    outcome(&older, &token).expect("the token is valid");
    let newer = reloaded(&older, OTHER_SECRET);
    assert_eq!(newer.recognize(&KeyHash::of(token.as_bytes())), None);
    assert_invalid_token(&newer, &token);
    // The entry that stands there unchanged knows whom it knew.
    let same = reloaded(&older, SECRET);
    assert!(same.recognize(&KeyHash::of(token.as_bytes())).is_some());
}

/// Entries with these scopes for tokens that claim none, in order; each with a line of its own.
fn entries(entries: &[(&str, &str)]) -> Config {
    let entry = |(scope, line): &(&str, &str)| {
        format!("[[auth.jwt]]\nalgorithm = 'HS256'\ndefault_scope = '{scope}'\n{line}\n")
    };
    let toml: String = entries.iter().map(entry).collect();
    Config::from_toml(&toml).expect("the configuration is valid")
}

#[test]
fn a_token_is_known_by_the_first_entry_that_accepts_it_and_by_no_other_that_did_before() {
    let secret = format!("secret = '{SECRET}'");
    let other = format!("secret = '{OTHER_SECRET}'");
    let strict = format!("{secret}\naudience = 'a'");
    let lenient = format!("{secret}\nleeway_seconds = 30");
    let later = claims(json!({"nbf": get_current_timestamp() + 20}));
    for (first, claims, is_known) in [
        // Another key's signature it will never have.
        (&other, claims(json!({})), true),
        // What else an entry refuses for is not looked into.
        (&strict, claims(json!({"aud": "b"})), false),
        // The first will accept it in a while.
        (&secret, later, false),
    ] {
        let config = entries(&[("jobs:read", first), ("jobs:write", &lenient)]);
        let authenticator = Authenticator::new(&config.auth);
        let token = sign(&claims);
        let verified = outcome(&authenticator, &token).expect("the token is valid");
        assert!(verified.may(Scope::JobsWrite));
        let known = authenticator.recognize(&KeyHash::of(token.as_bytes()));
        assert_eq!(known, is_known.then_some(verified), "{first}");
    }
}

#[test]
fn a_reload_that_puts_another_entry_first_lets_it_decide() {
    let plain = format!("secret = '{SECRET}'");
    let lenient = format!("{plain}\nleeway_seconds = 30");
    let (first, second) = (("jobs:read", &*plain), ("jobs:write", &*lenient));
    let older = Authenticator::new(&entries(&[second]).auth);
    let token = sign(&claims(json!({})));
    let before = outcome(&older, &token).expect("the token is valid");
    assert!(before.may(Scope::JobsWrite));
    let newer = older.renewed(&entries(&[first, second]).auth);
    let after = outcome(&newer, &token).expect("the token is valid");
    assert!(after.may(Scope::JobsRead) && !after.may(Scope::JobsWrite));
}
