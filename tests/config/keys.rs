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
         [[auth.jwt]]\nalgorithm = 'RS512'\nsecret = 'show me not'\n\
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
    `auth.jwt[0].algorithm` must be "HS256", "RS256", "ES256" or "EdDSA", but `p.toml` says "RS512"
    `auth.jwt[0].secret` in `p.toml` must have at least 32 bytes
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
        "[[auth.jwt]]\nalgorithm = 'RS256'\npublic_key = 'show me not'",
        "[[auth.jwt]]\nalgorithm = 'RS256'\njwks = 'https://user:show me not@example.com/'",
        "[[auth.jwt]]\nalgorithm = 'RS256'\njwks = 'https:/user:show me not@example.com/'",
        "[[auth.api_keys]]\nname = 'ci'\nscopes = ['admin']\nsha256 = 'show me not'\npassword = 'show me not'",
        "cors.allowed_origins = ['https://user:show me not@example.com']",
        "server.hosts = ['user:show me not@example.com']",
    ] {
        let mistakes = mistakes(Some(file), &[]).join("\n");
        assert!(!mistakes.contains("show me not"), "{mistakes}");
    }
}

#[test]
fn what_a_file_holds_is_not_repeated_where_its_path_belongs() {
    let (_, private, _) = pem();
    let in_one_line = private.replace('\n', " ");
    let set = r#"{"keys":[{"kty":"oct","k":"c2hvdyBtZSBub3Q"}]}"#;
    let long = "c2hvdyBtZSBub3Q".repeat(300);
    for (beginning, key) in [
        ("", "server.tls.cert"),
        ("", "server.tls.key"),
        ("[[auth.jwt]]\nalgorithm = 'ES256'\n", "jwks"),
        (
            "[[auth.jwt]]\nalgorithm = 'ES256'\njwks = 'https://localhost/'\n",
            "jwks_ca",
        ),
    ] {
        for content in [
            &*private,
            &in_one_line,
            "c2hvdyBtZSBub3Q\nc2hvdyBtZSBub3Q",
            set,
            &long,
        ] {
            let name = match key.strip_prefix("jwks") {
                Some(_) => format!("auth.jwt[0].{key}"),
                None => key.to_owned(),
            };
            let file = format!("{beginning}{key} = '''{content}'''");
            assert_eq!(
                mistakes(Some(&file), &[]),
                [format!(
                    "`{name}` in `p.toml` must be the path of a file, not its content"
                )]
            );
        }
        let file = format!("{beginning}{key} = ['show me not']");
        let mistakes = mistakes(Some(&file), &[]).join("\n");
        assert!(mistakes.ends_with("must be a string"), "{mistakes}");
    }
    let variable = "PROGRESSD__SERVER__TLS__KEY";
    assert_eq!(
        mistakes(None, &[(variable, &private)]),
        [format!(
            "`server.tls.key` in the variable `{variable}` must be the path of a file, not its content"
        )]
    );
}

#[test]
fn the_query_of_a_url_is_not_shown() {
    let of = |jwks: &str| {
        let file = format!("[[auth.jwt]]\nalgorithm = 'RS256'\njwks = '{jwks}'\n");
        assert_valid(Some(&file), &[])
    };
    let shown = of("https://login.example.com/keys?code=show-me-not#nor-me");
    assert!(
        shown.contains("auth.jwt[0].jwks = \"https://login.example.com/keys?[redacted]\""),
        "{shown}"
    );
    assert!(
        !shown.contains("me-not") && !shown.contains("nor-me"),
        "{shown}"
    );
    let shown = of("/run/keys?.json");
    assert!(
        shown.contains("auth.jwt[0].jwks = \"/run/keys?.json\""),
        "{shown}"
    );
}

/// A P-256 key pair and its self-signed certificate, in PEM.
fn pem() -> (String, String, String) {
    let names = ["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (private, public) = (
        made.signing_key.serialize_pem(),
        made.signing_key.public_key_pem(),
    );
    (public, private, made.cert.pem())
}

/// What is wrong with an entry of these lines, beside its algorithm.
fn mistake_in(algorithm: &str, lines: &str) -> String {
    let text = format!("[[auth.jwt]]\nalgorithm = '{algorithm}'\n{lines}");
    let mistake = Config::from_toml(&text).expect_err(lines);
    let [mistake] = mistake.problems() else {
        panic!("{mistake}");
    };
    mistake.clone()
}

#[test]
fn a_key_for_tokens_has_one_source_that_fits_its_algorithm() {
    let (public, private, certificate) = pem();
    let secret = format!("secret = '{SECRET}'");
    let key = |text: &str| format!("public_key = '''{text}'''");
    let jwks = "jwks = 'keys.json'";
    let mistakes = [
        mistake_in("HS256", ""),
        mistake_in("ES256", &format!("{secret}\n{jwks}")),
        mistake_in("ES256", &format!("{}\n{jwks}", key(&public))),
        mistake_in("RS256", &secret),
        mistake_in("HS256", &key(&public)),
        mistake_in("HS256", jwks),
        mistake_in("ES256", &key("rubbish")),
        mistake_in("ES256", &key(&private)),
        mistake_in("ES256", &key(&certificate)),
        mistake_in("RS256", &key(&public)),
        mistake_in("EdDSA", &key(&public)),
    ];
    insta::assert_snapshot!(mistakes.join("\n"), @r#"
    `auth.jwt[0]` needs one of `secret`, `public_key` and `jwks`
    `auth.jwt[0]` has both `secret` and `jwks`: it must have one source of keys
    `auth.jwt[0]` has both `public_key` and `jwks`: it must have one source of keys
    `auth.jwt[0].secret` does not go with `algorithm = "RS256"`: use `public_key` or `jwks`
    `auth.jwt[0].public_key` does not go with `algorithm = "HS256"`: use `secret`
    `auth.jwt[0].jwks` does not go with `algorithm = "HS256"`: use `secret`
    `auth.jwt[0].public_key` is not one PEM block that begins with -----BEGIN PUBLIC KEY-----
    `auth.jwt[0].public_key` is a private key: the server needs the public one alone, and this one should be replaced if others could read the file
    `auth.jwt[0].public_key` is a certificate: write the key in it (`openssl x509 -pubkey -noout`)
    `auth.jwt[0].public_key` is a key on the curve P-256, but RS256 needs an RSA key
    `auth.jwt[0].public_key` is a key on the curve P-256, but EdDSA needs an Ed25519 key
    "#);
    for (algorithm, lines) in [
        ("HS256", &*secret),
        ("ES256", &key(&public)),
        ("RS256", jwks),
        ("EdDSA", "jwks = 'https://login.example.com/keys?x=y'"),
    ] {
        let text = format!("[[auth.jwt]]\nalgorithm = '{algorithm}'\n{lines}");
        Config::from_toml(&text).expect(lines);
    }
}

#[test]
fn a_jwk_set_is_a_path_or_an_https_url_and_plain_http_stays_on_this_machine() {
    for url in [
        "http://localhost:5556/keys",
        "http://127.0.0.1/keys",
        "http://127.9.9.9:1/keys",
        "http://[::1]:80/keys",
        "HTTPS://login.example.com/keys",
        "/run/keys.json",
        "keys.json",
    ] {
        let text = format!("[[auth.jwt]]\nalgorithm = 'RS256'\njwks = '{url}'");
        Config::from_toml(&text).expect(url);
    }
    let wrong_scheme = "`auth.jwt[0].jwks` must be the path of a file or an https URL; plain http is for loopback addresses alone";
    for url in [
        "http://login.example.com/keys",
        "http://localhost.example.com/keys",
        "http://10.0.0.1/keys",
        "http://[::2]/keys",
        "ftp://localhost/keys",
        "file:///run/keys.json",
    ] {
        assert_eq!(
            mistake_in("RS256", &format!("jwks = '{url}'")),
            wrong_scheme,
            "{url}"
        );
    }
    assert_eq!(
        mistake_in("RS256", "jwks = 'https://:x'"),
        "`auth.jwt[0].jwks` is no valid URL"
    );
    let mistake = mistake_in("RS256", "jwks = 'https://user:show-me-not@example.com/'");
    assert_eq!(
        mistake,
        "`auth.jwt[0].jwks` must have no user and no password: the keys in it are public"
    );
}

#[test]
fn certificates_go_with_an_https_url_and_are_looked_at() {
    let folder = TempDir::new().expect("a temporary folder");
    let (public, _, certificate) = pem();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file in the temporary folder");
        format!("jwks_ca = '{}'", path.display())
    };
    let (good, bad) = (file("good.pem", &certificate), file("bad.pem", &public));
    let url = "jwks = 'https://localhost:1/keys'";
    let text = format!("[[auth.jwt]]\nalgorithm = 'RS256'\n{url}\n{good}");
    Config::from_toml(&text).expect("a certificate");
    for (lines, expected) in [
        (format!("{url}\n{bad}"), "holds no certificate in PEM"),
        (
            format!("{url}\njwks_ca = '/nowhere/ca.pem'"),
            "cannot be read: ",
        ),
        (
            format!("jwks = 'keys.json'\n{good}"),
            "goes with an https URL alone",
        ),
        (
            format!("jwks = 'http://localhost/'\n{good}"),
            "goes with an https URL alone",
        ),
        (
            format!("public_key = '''{public}'''\n{good}"),
            "goes with `jwks` alone",
        ),
    ] {
        let mistake = mistake_in("ES256", &lines);
        assert!(
            mistake.starts_with("`auth.jwt[0].jwks_ca` ") && mistake.contains(expected),
            "{mistake}"
        );
    }
}

#[test]
fn a_key_in_the_list_of_changes_is_not_shown() {
    let (public, ..) = pem();
    let file = format!("[[auth.jwt]]\nalgorithm = 'ES256'\npublic_key = '''{public}'''\n");
    let shown = assert_valid(Some(&file), &[]);
    assert!(
        shown.contains("auth.jwt[0].public_key = [redacted]"),
        "{shown}"
    );
}

#[test]
fn a_switch_is_true_or_false_also_in_the_environment() {
    let variable = "PROGRESSD__AUTH__HIDE_FOREIGN_JOBS";
    let shown = assert_valid(None, &[(variable, "true")]);
    assert!(shown.contains("auth.hide_foreign_jobs = true"), "{shown}");
    let mistakes = mistakes(None, &[(variable, "yes")]);
    assert_eq!(
        mistakes,
        [
            "`auth.hide_foreign_jobs` must be true or false, but the variable `PROGRESSD__AUTH__HIDE_FOREIGN_JOBS` says \"yes\""
        ]
    );
}
