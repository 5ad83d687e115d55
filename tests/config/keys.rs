//! Who may: open mode, API keys and JWT keys.

use super::*;

#[test]
fn without_a_key_only_loopback_addresses_are_listened_on() {
    for address in [
        "127.0.0.1:0",
        "127.8.8.8:1",
        "[::1]:0",
        "[::ffff:127.0.0.1]:0",
    ] {
        assert_valid(None, &[("PROGRESSD__SERVER__LISTEN", address)]);
    }
    for address in [
        "0.0.0.0:8080",
        "[::]:8080",
        "192.168.1.5:80",
        "[::ffff:10.0.0.1]:0",
    ] {
        let mistakes = mistakes(None, &[("PROGRESSD__SERVER__LISTEN", address)]);
        assert_eq!(mistakes.len(), 1);
        assert!(
            mistakes[0].starts_with("`server.listen` is ")
                && mistakes[0].contains("auth.mode = \"none\"")
        );
        assert_valid(
            None,
            &[
                ("PROGRESSD__SERVER__LISTEN", address),
                ("PROGRESSD__AUTH__MODE", "none"),
            ],
        );
        assert_valid(
            Some(&api_key("ci", "x")),
            &[("PROGRESSD__SERVER__LISTEN", address)],
        );
    }
}

#[test]
fn keys_close_the_server_and_contradict_the_mode_none() {
    let config = Config::from_toml(&api_key("ci", "x")).expect("the key is valid");
    assert_eq!(config.auth.resolved(), AuthMode::Keys);
    let mistakes = mistakes(
        Some(&api_key("ci", "x")),
        &[("PROGRESSD__AUTH__MODE", "none")],
    );
    assert!(
        mistakes[0].starts_with("`auth.mode` is \"none\", but keys are configured"),
        "{mistakes:?}"
    );
}

#[test]
fn mistakes_in_keys_name_the_entry_and_the_field() {
    let file = format!(
        "{}[[auth.api_keys]]\nname = ''\nsha256 = 'abc'\nscopes = ['jobs:write', 'jobs:delete']\n\
         [[auth.api_keys]]\nscopes = []\nkey = 'pgd_show_me_not'\n\
         [[auth.jwt]]\nalgorithm = 'RS256'\nsecret = 'show me not'\n\
         [[auth.jwt]]\nalgorithm = 'HS256'\nleeway_seconds = 31\ndefault_scope = 'openid'\n",
        api_key("ci", "x")
    );
    insta::assert_snapshot!(mistakes(Some(&file), &[]).join("\n"), @r#"
    `auth.api_keys[1].name` must not be empty, but `p.toml` says ""
    `auth.api_keys[1].scopes` must list jobs:read, jobs:write, jobs:cancel or admin, but `p.toml` says ["jobs:write", "jobs:delete"]
    `auth.api_keys[1].sha256` in `p.toml` must be the SHA-256 of the key as 64 hexadecimal digits
    `auth.api_keys[2].name` is missing in `p.toml`
    `auth.api_keys[2].sha256` is missing in `p.toml`
    unknown key `auth.api_keys[2].key` in `p.toml`
    `auth.api_keys[2].scopes` must be a list of strings, with one at least, but `p.toml` says []
    `auth.jwt[0].algorithm` must be "HS256", the only algorithm of this version, but `p.toml` says "RS256"
    `auth.jwt[0].secret` in `p.toml` must have at least 32 bytes
    `auth.jwt[1].secret` is missing in `p.toml`
    `auth.jwt[1].default_scope` must name jobs:read, jobs:write, jobs:cancel or admin, separated by spaces, but `p.toml` says "openid"
    `auth.jwt[1].leeway_seconds` must be a whole number from 0 to 30, but `p.toml` says 31
    "#);
}

#[test]
fn two_keys_share_neither_name_nor_hash() {
    let file = format!(
        "{}{}{}",
        api_key("ci", "x"),
        api_key("ci", "y"),
        api_key("web", "x")
    );
    insta::assert_snapshot!(mistakes(Some(&file), &[]).join("\n"), @r#"
    `auth.api_keys[1].name` is that of `auth.api_keys[0]` too: a name in the log must mean one key
    `auth.api_keys[2]` is the same key as `auth.api_keys[0]`
    "#);
}

#[test]
fn a_credential_in_a_wrong_place_is_not_repeated() {
    for file in [
        "auth.jwt = 'show me not'",
        "auth.api_keys = ['show me not']",
        "[auth.jwt]\nalgorithm = 'HS256'\nsecret = 'show me not'",
        "[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = ['show me not']",
        "[[auth.api_keys]]\nname = 'ci'\nscopes = ['admin']\nsha256 = 'show me not'\npassword = 'show me not'",
    ] {
        let mistakes = mistakes(Some(file), &[]).join("\n");
        assert!(!mistakes.contains("show me not"), "{mistakes}");
    }
}
