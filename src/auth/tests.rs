//! Every way in, and every refusal.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;

mod known;

const SECRET: &str = "a secret of at least thirty-two bytes";
const OTHER_SECRET: &str = "another secret of thirty-two bytes and more";

fn authenticator(extra: &str) -> Authenticator {
    let key = KeyHash::of(b"pgd_test");
    let toml = format!(
        "[[auth.api_keys]]\nname = 'ci'\nsha256 = '{key}'\nscopes = ['jobs:write']\nowner = 'ann'\n\
         [[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n{extra}\n"
    );
    Authenticator::new(
        &Config::from_toml(&toml)
            .expect("the configuration is valid")
            .auth,
    )
}

/// Claims that hold, with `changes` over them; null takes a claim away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": get_current_timestamp() + 600});
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims
                .as_object_mut()
                .expect("an object")
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("claims are JSON")
}

fn outcome(authenticator: &Authenticator, token: &str) -> Result<Principal, AuthError> {
    let answer = authenticator.authenticate(token.as_bytes()).now_or_never();
    answer.expect("a fixed key needs no waiting")
}

#[track_caller]
fn assert_invalid_token(authenticator: &Authenticator, token: &str) {
    let error = outcome(authenticator, token).expect_err("the token must be refused");
    assert_eq!(error.to_string(), "Invalid token");
}

#[test]
fn an_api_key_brings_its_name_scopes_and_owner() {
    let principal = outcome(&authenticator(""), "pgd_test").expect("the key is known");
    assert_eq!((principal.name(), principal.owner()), ("ci", Some("ann")));
    assert!(principal.may(Scope::JobsWrite) && !principal.may(Scope::JobsRead));
    assert_eq!(principal.expires_at(), None);
}

#[test]
fn a_bearer_is_one_word_after_its_scheme() {
    for header in ["Bearer pgd_test", "bearer pgd_test", "BEARER   pgd_test "] {
        assert_eq!(bearer(header.as_bytes()), Some(b"pgd_test".as_slice()));
    }
    let headers: [&[u8]; 9] = [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearerpgd_test",
        b"Bearer\tpgd_test",
        b"Basic pgd_test",
        b"pgd_test",
        b"Bearer pgd_test x",
        b"Bearer \xff\xfe",
    ];
    for header in headers {
        assert_eq!(bearer(header), None, "{header:?}");
    }
}

#[test]
fn what_is_no_api_key_is_an_invalid_api_key() {
    for credential in ["", "pgd_tes", "pgd_test1", "PGD_TEST", "a.b"] {
        let error = outcome(&authenticator(""), credential).expect_err("must be refused");
        assert_eq!(error.to_string(), "Invalid API key", "{credential}");
    }
}

#[test]
fn a_token_brings_its_owner_scopes_jobs_and_expiry() {
    let exp = get_current_timestamp() + 600;
    let token = sign(&claims(
        json!({"scope": "openid jobs:write jobs:cancel", "jobs": ["import-*"], "exp": exp}),
    ));
    let principal = outcome(&authenticator(""), &token).expect("the token is valid");
    assert_eq!(
        (principal.owner(), principal.expires_at()),
        (Some("ann"), Some(exp))
    );
    assert_eq!(principal.scopes().to_string(), "jobs:write jobs:cancel");
    assert!(
        principal.may_act_on("import-1", Some("bob"))
            && !principal.may_act_on("export-1", Some("bob"))
    );
}

#[test]
fn a_token_without_a_scope_claim_gets_the_default_scope_and_an_empty_one_gets_none() {
    let bare = sign(&claims(json!({})));
    let empty = sign(&claims(json!({"scope": ""})));
    let scopes = |authenticator: &Authenticator, token| {
        outcome(authenticator, token)
            .expect("the token is valid")
            .scopes()
            .to_string()
    };
    assert_eq!(scopes(&authenticator(""), &bare), "jobs:read");
    assert_eq!(scopes(&authenticator(""), &empty), "");
    assert_eq!(
        scopes(
            &authenticator("default_scope = 'jobs:read jobs:write'"),
            &bare
        ),
        "jobs:read jobs:write"
    );
}

#[test]
fn the_names_of_the_claims_follow_the_configuration() {
    let authenticator =
        authenticator("owner_claim = 'uid'\nscope_claim = 'scp'\njobs_claim = 'progress'");
    let token = sign(&claims(
        json!({"uid": "bob", "scp": "jobs:write", "progress": "x y-*"}),
    ));
    let principal = outcome(&authenticator, &token).expect("the token is valid");
    assert_eq!(
        (principal.owner(), principal.scopes().to_string().as_str()),
        (Some("bob"), "jobs:write")
    );
    assert!(principal.may_act_on("x", None) && principal.may_act_on("y-1", None));
}

#[test]
fn another_algorithm_than_the_configured_one_is_refused() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token =
            encode(&Header::new(algorithm), &claims(json!({})), &key).expect("claims are JSON");
        assert_invalid_token(&authenticator(""), &token);
    }
    // The two attacks of old: no signature at all, and a name that is only almost "none".
    let signed = sign(&claims(json!({})));
    let (payload, signature) = (
        signed.split('.').nth(1).expect("payload"),
        signed.split('.').nth(2).expect("signature"),
    );
    for name in ["none", "None", "NONE", "RS256", "ES256", "EdDSA", ""] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{name}","typ":"JWT"}}"#));
        assert_invalid_token(&authenticator(""), &format!("{header}.{payload}."));
        assert_invalid_token(
            &authenticator(""),
            &format!("{header}.{payload}.{signature}"),
        );
    }
}

#[test]
fn a_bad_signature_is_refused() {
    let key = EncodingKey::from_secret(OTHER_SECRET.as_bytes());
    let token =
        encode(&Header::new(Algorithm::HS256), &claims(json!({})), &key).expect("claims are JSON");
    assert_invalid_token(&authenticator(""), &token);

    let token = sign(&claims(json!({})));
    let (message, _) = token.rsplit_once('.').expect("a signature");
    assert_invalid_token(&authenticator(""), &format!("{message}."));
    let payload = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "root"})).to_string());
    let (header, signature) = (
        token.split('.').next().expect("header"),
        token.split('.').nth(2).expect("signature"),
    );
    assert_invalid_token(
        &authenticator(""),
        &format!("{header}.{payload}.{signature}"),
    );
}

#[test]
fn a_header_that_asks_for_an_extension_is_refused() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".into()]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    assert_invalid_token(
        &authenticator(""),
        &encode(&header, &claims(json!({})), &key).expect("claims are JSON"),
    );
}

#[test]
fn a_token_is_refused_before_and_after_its_time() {
    let now = get_current_timestamp();
    let authenticator = authenticator("leeway_seconds = 30");
    for (changes, is_valid) in [
        (json!({"exp": now - 15}), true),
        (json!({"exp": now - 60}), false),
        (json!({"exp": 0}), false),
        (json!({"nbf": now + 15}), true),
        (json!({"nbf": now + 60}), false),
        (json!({"nbf": u64::MAX}), false),
    ] {
        assert_eq!(
            outcome(&authenticator, &sign(&claims(changes.clone()))).is_ok(),
            is_valid,
            "{changes}"
        );
    }
}

#[test]
fn a_token_without_an_expiry_is_refused() {
    assert_invalid_token(&authenticator(""), &sign(&claims(json!({"exp": null}))));
}

#[test]
fn an_expiry_far_beyond_all_range_neither_panics_nor_wraps() {
    let expiry = |exp: Value| {
        outcome(&authenticator(""), &sign(&claims(json!({"exp": exp})))).map(|p| p.expires_at())
    };
    assert_eq!(expiry(json!(u64::MAX)).ok(), Some(Some(u64::MAX)));
    assert_eq!(
        expiry(json!(1e18)).ok(),
        Some(Some(1_000_000_000_000_000_000))
    );
    for exp in [
        json!(1e300),
        json!(-1),
        json!(i64::MIN),
        json!("2000000000"),
        json!([]),
        json!(true),
    ] {
        assert!(expiry(exp.clone()).is_err(), "{exp}");
    }
}

#[test]
fn issuer_and_audience_are_checked_when_they_are_configured() {
    let strict = authenticator("issuer = 'https://login.example.com'\naudience = 'progressd'");
    let good = json!({"iss": "https://login.example.com", "aud": "progressd"});
    assert!(outcome(&strict, &sign(&claims(good.clone()))).is_ok());
    assert!(outcome(&authenticator(""), &sign(&claims(good.clone()))).is_ok());
    let mut several = good.clone();
    several["aud"] = json!(["other", "progressd"]);
    assert!(outcome(&strict, &sign(&claims(several))).is_ok());
    for (name, value) in [
        ("iss", json!(null)),
        ("iss", json!("https://evil.example.com")),
        ("iss", json!(5)),
        ("aud", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!({"progressd": 1})),
    ] {
        let mut changed = good.clone();
        changed[name] = value;
        assert_invalid_token(&strict, &sign(&claims(changed)));
    }
}

#[test]
fn a_claim_of_another_type_is_refused() {
    let authenticator = authenticator("");
    for changes in [
        json!({"sub": 5}),
        json!({"sub": ""}),
        json!({"sub": ["ann"]}),
        json!({"scope": ["admin"]}),
        json!({"scope": true}),
        json!({"jobs": 7}),
        json!({"jobs": ["a", 7]}),
        json!({"nbf": "soon"}),
    ] {
        let error =
            outcome(&authenticator, &sign(&claims(changes.clone()))).expect_err("must be refused");
        assert_eq!(error.to_string(), "Invalid token", "{changes}");
    }
}

#[test]
fn garbage_in_the_shape_of_a_token_is_an_invalid_token() {
    let object = URL_SAFE_NO_PAD.encode("{}");
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(100_000));
    for token in [
        "a.b.c".into(),
        format!("{object}.{object}.x"),
        format!("{header}.{deep}.x"),
        format!("{deep}.{deep}.x"),
    ] {
        assert_invalid_token(&authenticator(""), &token);
    }
    for text in ["..", "a..c", "a.b.c.d", "a.b=.c", "a.b"] {
        let error = outcome(&authenticator(""), text).expect_err("must be refused");
        assert_eq!(error.to_string(), "Invalid API key", "{text}");
    }
}

#[test]
fn a_token_on_a_server_that_has_only_api_keys_is_an_invalid_token() {
    let toml = format!(
        "[[auth.api_keys]]\nname = 'ci'\nsha256 = '{}'\nscopes = ['admin']",
        KeyHash::of(b"x")
    );
    let authenticator = Authenticator::new(&Config::from_toml(&toml).expect("valid").auth);
    assert_invalid_token(&authenticator, &sign(&claims(json!({}))));
}

#[test]
fn any_of_several_secrets_verifies() {
    let second = format!(
        "[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{OTHER_SECRET}'\nowner_claim = 'uid'"
    );
    let authenticator = authenticator(&second);
    let key = EncodingKey::from_secret(OTHER_SECRET.as_bytes());
    let token =
        encode(&Header::default(), &claims(json!({"uid": "bob"})), &key).expect("claims are JSON");
    assert_eq!(
        outcome(&authenticator, &token).expect("valid").owner(),
        Some("bob")
    );
    assert_eq!(
        outcome(&authenticator, &sign(&claims(json!({}))))
            .expect("valid")
            .owner(),
        Some("ann")
    );
}

#[test]
fn nothing_of_a_secret_is_in_the_debug_output_or_in_a_refusal() {
    let authenticator = authenticator("");
    assert!(!format!("{authenticator:?}").contains(SECRET));
    let token = sign(&claims(json!({"sub": 5})));
    let error = outcome(&authenticator, &token).expect_err("must be refused");
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!format!("{error:?}").contains(signature));
}

#[tokio::test]
async fn certificates_of_an_issuer_that_are_gone_again_after_the_check_are_no_panic() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    std::fs::write(&ca, made.expect("a certificate").cert.pem()).expect("a file");
    // Nobody listens there.
    let toml = format!(
        "[[auth.jwt]]\nalgorithm = 'ES256'\njwks = 'https://localhost:1/'\njwks_ca = '{}'\n",
        ca.display()
    );
    let config = Config::from_toml(&toml).expect("the configuration is valid");
    std::fs::write(&ca, "-----BEGIN CERT").expect("a file");
    let authenticator = Authenticator::new(&config.auth);
    std::fs::remove_file(&ca).expect("the file");
    let again = authenticator.renewed(&config.auth);
    assert_eq!(again.mode(), AuthMode::Keys);
    Authenticator::new(&config.auth);
}

#[test]
fn a_refusal_quotes_nothing_of_a_token() {
    let authenticator = authenticator("");
    let header = |text: &str| format!("{}.e30.x", URL_SAFE_NO_PAD.encode(text));
    for (token, expected) in [
        (header(r#"{"alg":"show-me-not"}"#), "its JSON is malformed"),
        (header("show-me-not"), "its JSON is malformed"),
        (
            "show-me-not-a.e30.x".to_owned(),
            "its base64url is malformed",
        ),
        (sign(&json!(["show-me-not"])), "its JSON is malformed"),
        (
            sign(&claims(json!({"nbf": "show-me-not"}))),
            "Invalid format for claim: nbf",
        ),
    ] {
        let Err(AuthError::InvalidToken(refusal)) = outcome(&authenticator, &token) else {
            panic!("{token} must be refused as a token");
        };
        assert_eq!(refusal.to_string(), expected);
    }
}
