//! Every way in which a token can be wrong (RFC 8725 and RFC 7519), under each algorithm.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::server::TestServer;

const JOBS: &str = "/api/v1/jobs";

/// A key of an issuer.
struct Signer {
    algorithm: Algorithm,
    pair: KeyPair,
}

impl Signer {
    fn all() -> [Self; 3] {
        let made = |pair: Result<KeyPair, _>| pair.expect("a key pair");
        [
            Self {
                algorithm: Algorithm::RS256,
                pair: made(KeyPair::generate_rsa_for(
                    &PKCS_RSA_SHA256,
                    RsaKeySize::_2048,
                )),
            },
            Self {
                algorithm: Algorithm::ES256,
                pair: made(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)),
            },
            Self {
                algorithm: Algorithm::EdDSA,
                pair: made(KeyPair::generate_for(&PKCS_ED25519)),
            },
        ]
    }

    async fn server(&self) -> TestServer {
        let public = self.pair.public_key_pem();
        let (algorithm, issuer) = (self.algorithm, "issuer = 'https://login.example.com'");
        TestServer::with(&format!(
            "[[auth.jwt]]\nalgorithm = '{algorithm:?}'\npublic_key = '''{public}'''\n{issuer}\naudience = 'progressd'\n"
        ))
        .await
    }

    fn key(&self) -> EncodingKey {
        let text = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(text.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(text.as_bytes()),
            _ => EncodingKey::from_ed_pem(text.as_bytes()),
        };
        key.expect("a key")
    }

    /// Signs these very texts.
    fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key(), self.algorithm);
        format!("{signed}.{}", signature.expect("a signature"))
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT"})
    }
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// An object with some members changed; null takes one away.
fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.as_object().expect("an object").clone();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
    Value::Object(object)
}

fn claims() -> Value {
    json!({
        "sub": "ann", "iss": "https://login.example.com", "aud": "progressd",
        "exp": get_current_timestamp() + 600,
    })
}

async fn assert_refused(server: &TestServer, token: &str, what: &str) {
    let answer = server.as_bearer(token).get(JOBS).await;
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token", "{what}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    if token.len() > 20 {
        assert!(!answer.text.contains(&token[..20]), "the token is repeated");
    }
}

async fn assert_let_in(server: &TestServer, token: &str, what: &str) {
    let answer = server.as_bearer(token).get(JOBS).await;
    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text);
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let now = get_current_timestamp();
    for signer in Signer::all() {
        let server = signer.server().await;
        let sign =
            |changes: &Value| signer.sign(&signer.header(), &with(&claims(), changes.clone()));
        for changes in [
            json!({}),
            json!({"aud": ["other", "progressd"]}),
            json!({"exp": now + 600, "nbf": now, "iat": now, "jti": "x"}),
            json!({"exp": u64::MAX}),
            json!({"exp": now as f64 + 600.5}),
            json!({"nbf": now + 2}),
            json!({"sub": null, "jobs": ["a"]}),
        ] {
            assert_let_in(&server, &sign(&changes), &changes.to_string()).await;
        }
        for changes in [
            json!({"exp": null}),
            json!({"exp": 0}),
            json!({"exp": now - 60}),
            json!({"exp": -1}),
            json!({"exp": i64::MIN}),
            json!({"exp": 1e300}),
            json!({"exp": (now + 600).to_string()}),
            json!({"exp": [now + 600]}),
            json!({"exp": true}),
            json!({"nbf": now + 60}),
            json!({"nbf": u64::MAX}),
            json!({"nbf": "soon"}),
            json!({"iss": null}),
            json!({"iss": "https://evil.example.com"}),
            json!({"iss": "https://login.example.com/"}),
            json!({"iss": 5}),
            json!({"aud": null}),
            json!({"aud": "other"}),
            json!({"aud": []}),
            json!({"aud": ["other"]}),
            json!({"aud": {"progressd": true}}),
            json!({"aud": 5}),
            json!({"sub": 5}),
            json!({"sub": ""}),
            json!({"sub": ["ann"]}),
            json!({"scope": ["admin"]}),
            json!({"scope": {"admin": true}}),
            json!({"jobs": 5}),
            json!({"jobs": [5]}),
        ] {
            assert_refused(&server, &sign(&changes), &changes.to_string()).await;
        }
    }
}

#[tokio::test]
async fn headers_that_do_not_hold_are_refused() {
    for signer in Signer::all() {
        let server = signer.server().await;
        let sign =
            |changes: &Value| signer.sign(&with(&signer.header(), changes.clone()), &claims());
        // What a header says of keys is not looked at: the key is the configured one.
        for changes in [
            json!({"typ": null}),
            json!({"typ": "at+jwt"}),
            json!({"kid": "whatever"}),
            json!({"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert"}),
        ] {
            assert_let_in(&server, &sign(&changes), &changes.to_string()).await;
        }
        for changes in [
            json!({"alg": null}),
            json!({"alg": "none"}),
            json!({"alg": "None"}),
            json!({"alg": "HS256"}),
            json!({"alg": "RS512"}),
            json!({"alg": "PS256"}),
            json!({"alg": "ES384"}),
            json!({"alg": ["RS256"]}),
            json!({"alg": 5}),
            json!({"crit": ["b64"], "b64": false}),
            json!({"crit": ["exp"]}),
            json!({"crit": []}),
            json!({"typ": "progressd-watch+jwt"}),
            json!({"typ": "progressd-ticket+jwt"}),
            json!({"typ": "Progressd-Cookie+JWT"}),
        ] {
            assert_refused(&server, &sign(&changes), &changes.to_string()).await;
        }
    }
}

#[tokio::test]
async fn a_key_is_for_its_algorithm_and_no_other() {
    let signers = Signer::all();
    for signer in &signers {
        let server = signer.server().await;
        for other in Signer::all().iter().chain(&signers) {
            if std::ptr::eq(other, signer) {
                continue;
            }
            // Another key, and the right one's name for it.
            let token = other.sign(&other.header(), &claims());
            assert_refused(&server, &token, "another key").await;
            let token = other.sign(&signer.header(), &claims());
            assert_refused(&server, &token, "another key under the right name").await;
        }
        // The public key, which everybody has, as the secret of an HMAC.
        let public = signer.pair.public_key_pem();
        let block = pem::parse(&public).expect("PEM");
        let raw = rcgen::PublicKeyData::der_bytes(&signer.pair).to_vec();
        for secret in [
            public.clone().into_bytes(),
            public.trim_end().as_bytes().to_vec(),
            block.contents().to_vec(),
            raw,
        ] {
            let key = EncodingKey::from_secret(&secret);
            let token = encode(&Header::new(Algorithm::HS256), &claims(), &key);
            assert_refused(
                &server,
                &token.expect("a token"),
                "the public key as a secret",
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_is_no_key() {
    let signer = &Signer::all()[1];
    let server = signer.server().await;
    let mallory = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair");
    let point = rcgen::PublicKeyData::der_bytes(&mallory).to_vec();
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    let mallory = Signer {
        algorithm: Algorithm::ES256,
        pair: mallory,
    };
    let header = with(&mallory.header(), json!({ "jwk": jwk }));
    assert_refused(
        &server,
        &mallory.sign(&header, &claims()),
        "mallory's own key",
    )
    .await;
    let header = with(&signer.header(), json!({ "jwk": jwk }));
    assert_let_in(
        &server,
        &signer.sign(&header, &claims()),
        "mallory's key beside it",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_three_whole_parts_is_refused() {
    let signer = &Signer::all()[2];
    let server = signer.server().await;
    let good = signer.sign(&signer.header(), &claims());
    assert_let_in(&server, &good, "the token itself").await;
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("{good}");
    };
    let none = part(r#"{"alg":"none"}"#);
    for (what, text) in [
        ("no signature", format!("{header}.{payload}.")),
        (
            "half a signature",
            format!("{header}.{payload}.{}", &signature[..40]),
        ),
        (
            "a longer signature",
            format!("{header}.{payload}.{signature}AA"),
        ),
        ("alg none", format!("{none}.{payload}.")),
        (
            "alg none with a signature",
            format!("{none}.{payload}.{signature}"),
        ),
        (
            "other claims",
            format!(
                "{header}.{}.{signature}",
                part(&with(&claims(), json!({"sub": "bob"})).to_string())
            ),
        ),
        (
            "an array of claims",
            signer.sign_texts(&signer.header().to_string(), "[]"),
        ),
        (
            "no JSON",
            signer.sign_texts(&signer.header().to_string(), "{"),
        ),
        (
            "more than JSON",
            signer.sign_texts(&signer.header().to_string(), &format!("{}x", claims())),
        ),
        (
            "a token in a token",
            signer.sign_texts(r#"{"alg":"EdDSA","cty":"JWT"}"#, &good),
        ),
        ("a trailing bit", {
            // The last letter holds four bits that belong to no byte; with one of them set it is another text.
            let mut text = good.clone();
            let last = text.pop().expect("a letter");
            let next = if last == 'A' {
                'B'
            } else {
                char::from(last as u8 + 1)
            };
            format!("{text}{next}")
        }),
    ] {
        assert_refused(&server, &text, what).await;
    }
    let bare = claims().to_string();
    let bare = &bare[1..bare.len() - 1];
    for twice in [
        "\"sub\":\"bob\"",
        "\"exp\":9999999999",
        "\"scope\":\"admin\",\"scope\":\"admin\"",
        "\"x\":1,\"x\":1",
    ] {
        let text = signer.sign_texts(&signer.header().to_string(), &format!("{{{bare},{twice}}}"));
        assert_refused(&server, &text, twice).await;
    }
    let twice = signer.sign_texts(r#"{"alg":"EdDSA","alg":"EdDSA"}"#, &claims().to_string());
    assert_refused(&server, &twice, "alg twice").await;
    // Not in the shape of a token at all, among them an encrypted one of five parts (RFC 7516).
    for text in [
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}.{payload}.{signature}.{header}.{payload}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{good}="),
        format!("{good}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{}+", &signature[1..]),
        "..".to_owned(),
    ] {
        let answer = server.as_bearer(&text).get(JOBS).await;
        assert_eq!(
            answer.error(401, "UNAUTHORIZED"),
            "Invalid API key",
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_huge_token_is_refused() {
    let signer = &Signer::all()[2];
    let public = signer.pair.public_key_pem();
    let server = TestServer::with(&format!(
        "[limits]\nheader_bytes = 1048576\n[[auth.jwt]]\nalgorithm = 'EdDSA'\npublic_key = '''{public}'''\n"
    ))
    .await;
    let claims = |letters: usize| with(&claims(), json!({"x": "x".repeat(letters)}));
    let token = signer.sign(&signer.header(), &claims(8_000));
    assert_let_in(&server, &token, "a large token").await;
    let token = signer.sign(&signer.header(), &claims(20_000));
    assert_refused(&server, &token, "a huge token").await;
}

#[tokio::test]
async fn clocks_may_differ_by_thirty_seconds_at_most() {
    let signer = &Signer::all()[2];
    let public = signer.pair.public_key_pem();
    let server = TestServer::with(&format!(
        "[[auth.jwt]]\nalgorithm = 'EdDSA'\nleeway_seconds = 30\npublic_key = '''{public}'''\n"
    ))
    .await;
    let now = get_current_timestamp();
    let sign = |changes: Value| signer.sign(&signer.header(), &with(&claims(), changes));
    for changes in [json!({"exp": now - 10}), json!({"nbf": now + 25})] {
        assert_let_in(&server, &sign(changes.clone()), &changes.to_string()).await;
    }
    for changes in [json!({"exp": now - 31}), json!({"nbf": now + 90})] {
        assert_refused(&server, &sign(changes.clone()), &changes.to_string()).await;
    }
}
