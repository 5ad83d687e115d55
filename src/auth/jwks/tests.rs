//! When the set is read and how often, on a clock of the test's own; and which keys of it count.

use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize,
};
use serde_json::{Value, json};
use simple_asn1::ASN1Block;

use super::*;

const ES256: JwtAlgorithm = JwtAlgorithm::Es256;

/// What an issuer does when it is asked.
#[derive(Clone)]
enum Answer {
    Set(Value),
    Bytes(&'static [u8]),
    Down,
    Silence,
}

/// An issuer whose answers a test changes.
#[derive(Clone)]
struct Issuer {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn new(answer: Answer) -> Self {
        Self {
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
        }
    }

    fn now_answers(&self, answer: Answer) {
        *self.answer.lock().expect("no section panics") = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn jwks(&self) -> Jwks {
        let issuer = self.clone();
        let fetch = move || -> BoxFuture<'static, Result<Vec<u8>, FetchError>> {
            issuer.asked.fetch_add(1, Ordering::SeqCst);
            let answer = issuer.answer.lock().expect("no section panics").clone();
            Box::pin(async move {
                match answer {
                    Answer::Set(set) => Ok(set.to_string().into_bytes()),
                    Answer::Bytes(bytes) => Ok(bytes.to_vec()),
                    Answer::Down => Err(FetchError::TooLarge),
                    Answer::Silence => pending().await,
                }
            })
        };
        Jwks::start_with(Box::new(fetch), "an issuer".to_owned(), ES256)
    }
}

fn p256(kid: &str) -> Value {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair");
    let point = pair.der_bytes();
    let (x, y) = (&point[1..33], &point[33..]);
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

fn set(kids: &[&str]) -> Answer {
    let keys: Vec<_> = kids.iter().map(|kid| p256(kid)).collect();
    Answer::Set(json!({ "keys": keys }))
}

fn knows(jwks: &Jwks, kid: &str) -> bool {
    jwks.keys().candidates(Some(kid)).next().is_some()
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_set_is_read_at_the_start_and_every_hour() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    assert!(knows(&jwks, "a"));
    pass(3_590).await;
    assert_eq!(issuer.asked(), 1);
    issuer.now_answers(set(&["b"]));
    pass(20).await;
    assert_eq!(issuer.asked(), 2);
    assert!(
        knows(&jwks, "b") && !knows(&jwks, "a"),
        "what was withdrawn has left"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_has_the_set_read_once_a_minute_at_most() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    issuer.now_answers(set(&["a", "b"]));
    // At once: the reading at the start was for nobody's sake.
    jwks.look_again().await;
    assert!(knows(&jwks, "b"));
    issuer.now_answers(set(&["c"]));
    for _ in 0..1_000 {
        jwks.look_again().await;
    }
    assert_eq!(issuer.asked(), 2);
    pass(59).await;
    jwks.look_again().await;
    assert_eq!(issuer.asked(), 2);
    pass(2).await;
    jwks.look_again().await;
    assert_eq!(issuer.asked(), 3);
    assert!(knows(&jwks, "c"));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_wait_for_one_reading() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = Arc::new(issuer.jwks());
    jwks.look_again().await;
    issuer.now_answers(set(&["b"]));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let jwks = Arc::clone(&jwks);
            tokio::spawn(async move {
                jwks.look_again().await;
                knows(&jwks, "b")
            })
        })
        .collect();
    for waiting in waiting {
        assert!(waiting.await.expect("a task that ends"));
    }
    assert_eq!(issuer.asked(), 2);
    pass(61).await;
    assert_eq!(issuer.asked(), 2, "no wish is left over");
}

#[tokio::test(start_paused = true)]
async fn a_reading_goes_on_when_whoever_asked_for_it_has_left() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    issuer.now_answers(set(&["b"]));
    assert!(
        tokio::time::timeout(Duration::ZERO, jwks.look_again())
            .await
            .is_err()
    );
    pass(1).await;
    assert!(knows(&jwks, "b"));
}

#[tokio::test(start_paused = true)]
async fn known_keys_stay_while_the_issuer_is_down_slow_or_talks_nonsense() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    for answer in [
        Answer::Down,
        Answer::Silence,
        Answer::Bytes(b"<html>"),
        Answer::Bytes(b"[]"),
        Answer::Bytes(b"{\"keys\":5}"),
        Answer::Bytes(b"{\"keys\":["),
        Answer::Bytes(b""),
    ] {
        let asked = issuer.asked();
        issuer.now_answers(answer);
        pass(61).await;
        jwks.look_again().await;
        assert!(issuer.asked() > asked);
        assert!(knows(&jwks, "a") && !knows(&jwks, "b"));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_issuer_longer_than_five_seconds() {
    let issuer = Issuer::new(Answer::Silence);
    let start = Instant::now();
    let jwks = issuer.jwks();
    jwks.look_again().await;
    assert_eq!(start.elapsed().as_secs(), 5);
    // Before the next try there is nothing to wait for.
    jwks.look_again().await;
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_kids_costs_an_issuer_that_is_down_one_request_a_minute() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    issuer.now_answers(Answer::Down);
    for _ in 0..600 {
        jwks.look_again().await;
        pass(1).await;
    }
    // Ten minutes of flood.
    assert!((10..=12).contains(&issuer.asked()), "{}", issuer.asked());
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_issuer_is_made_up_for_soon_and_by_itself() {
    let issuer = Issuer::new(Answer::Down);
    let jwks = issuer.jwks();
    pass(10).await;
    assert!((3..=5).contains(&issuer.asked()), "{}", issuer.asked());
    for _ in 0..1_000 {
        jwks.look_again().await;
    }
    assert!(issuer.asked() <= 5, "tokens do not hurry it");
    issuer.now_answers(set(&["a"]));
    pass(10).await;
    assert!(knows(&jwks, "a"));
    let asked = issuer.asked();
    pass(600).await;
    assert_eq!(issuer.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn the_operator_has_the_set_read_at_once() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    for kid in ["b", "c", "d"] {
        issuer.now_answers(set(&[kid]));
        jwks.reread();
        pass(1).await;
        assert!(knows(&jwks, kid));
    }
    assert_eq!(issuer.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_readings_end_with_who_began_them() {
    let issuer = Issuer::new(set(&["a"]));
    let jwks = issuer.jwks();
    jwks.look_again().await;
    drop(jwks);
    pass(10_000).await;
    assert_eq!(issuer.asked(), 1);
}

fn parse(algorithm: JwtAlgorithm, keys: &Value) -> KeySet {
    let set = json!({"keys": keys, "unknown": true}).to_string();
    KeySet::parse(set.as_bytes(), algorithm).expect("a JWK Set")
}

/// The key with some members changed; null takes one away.
fn with(mut key: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => key.as_object_mut().expect("an object").remove(name),
            value => key
                .as_object_mut()
                .expect("an object")
                .insert(name.clone(), value.clone()),
        };
    }
    key
}

fn rsa() -> Value {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key pair");
    let blocks = simple_asn1::from_der(pair.der_bytes()).expect("DER");
    let [ASN1Block::Sequence(_, numbers)] = blocks.as_slice() else {
        panic!("no sequence");
    };
    let number = |index: usize| match &numbers[index] {
        ASN1Block::Integer(_, number) => URL_SAFE_NO_PAD.encode(number.to_bytes_be().1),
        other => panic!("{other:?}"),
    };
    json!({"kty": "RSA", "kid": "r", "n": number(0), "e": number(1)})
}

fn ed25519() -> Value {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key pair");
    let x = URL_SAFE_NO_PAD.encode(pair.der_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": x})
}

#[test]
fn only_keys_that_fit_the_algorithm_count() {
    let secret = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key pair");
    let p384 = {
        let point = p384.der_bytes();
        let (x, y) = (&point[1..49], &point[49..]);
        json!({
            "kty": "EC", "crv": "P-384", "kid": "p384",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    };
    let keys = json!([p256("p"), rsa(), ed25519(), secret, p384, 5, {}, {"kty": "EC"}, null]);
    for (algorithm, kid) in [
        (JwtAlgorithm::Es256, Some("p")),
        (JwtAlgorithm::Rs256, Some("r")),
        (JwtAlgorithm::EdDsa, Some("e")),
        (JwtAlgorithm::Hs256, None),
    ] {
        let keys = parse(algorithm, &keys);
        assert_eq!(keys.len(), usize::from(kid.is_some()), "{algorithm}");
        assert_eq!(keys.candidates(kid).count(), keys.len(), "{algorithm}");
    }
}

#[test]
fn a_key_for_something_else_does_not_count() {
    let counts = |algorithm, key: &Value, changes: Value| {
        parse(algorithm, &json!([with(key.clone(), changes)])).len() == 1
    };
    let key = p256("p");
    for changes in [
        json!({}),
        json!({"use": "sig"}),
        json!({"alg": "ES256", "key_ops": ["sign", "verify"]}),
        json!({"kid": null}),
    ] {
        assert!(counts(ES256, &key, changes.clone()), "{changes}");
    }
    for changes in [
        json!({"use": "enc"}),
        json!({"alg": "ES384"}),
        json!({"alg": "none"}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": []}),
        json!({"key_ops": "verify"}),
        json!({"kid": 5}),
        json!({"crv": "P-384"}),
        json!({"crv": null}),
        json!({"kty": "RSA"}),
        json!({"kty": "ec"}),
        json!({"x": null}),
        json!({"x": "AA"}),
        json!({"x": "?"}),
        json!({"y": key["x"]}),
    ] {
        assert!(!counts(ES256, &key, changes.clone()), "{changes}");
    }
    let key = rsa();
    let modulus = key["n"].as_str().expect("a modulus");
    let bytes = URL_SAFE_NO_PAD.decode(modulus).expect("base64url");
    let with_sign_byte = URL_SAFE_NO_PAD.encode([&[0], &*bytes].concat());
    assert!(counts(
        JwtAlgorithm::Rs256,
        &key,
        json!({"n": with_sign_byte})
    ));
    for changes in [
        json!({"alg": "PS256"}),
        json!({"e": "AQ"}),
        json!({"e": "AA"}),
        json!({"n": URL_SAFE_NO_PAD.encode(&bytes[..128])}),
        json!({"n": URL_SAFE_NO_PAD.encode([0; 256])}),
        json!({"n": URL_SAFE_NO_PAD.encode([255; 1_025])}),
    ] {
        assert!(
            !counts(JwtAlgorithm::Rs256, &key, changes.clone()),
            "{changes}"
        );
    }
    let key = ed25519();
    for (changes, expected) in [
        (json!({"alg": "EdDSA"}), true),
        (json!({"alg": "Ed25519"}), true),
        (json!({"alg": "ES256"}), false),
        (json!({"crv": "X25519"}), false),
        (json!({"crv": "Ed448"}), false),
        (json!({"x": URL_SAFE_NO_PAD.encode([1; 31])}), false),
    ] {
        assert_eq!(
            counts(JwtAlgorithm::EdDsa, &key, changes.clone()),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn several_keys_of_one_name_all_count_and_without_a_name_only_a_single_key() {
    let keys = parse(ES256, &json!([p256("a"), p256("a"), p256("b")]));
    assert_eq!(keys.candidates(Some("a")).count(), 2);
    assert_eq!(keys.candidates(Some("b")).count(), 1);
    assert_eq!(keys.candidates(Some("")).count(), 0);
    assert_eq!(keys.candidates(None).count(), 0);
    let keys = parse(ES256, &json!([p256("a"), rsa()]));
    assert_eq!(keys.candidates(None).count(), 1);
    let keys = parse(ES256, &json!([with(p256("a"), json!({"kid": null}))]));
    assert_eq!(
        (
            keys.candidates(Some("a")).count(),
            keys.candidates(None).count()
        ),
        (0, 1)
    );
}

#[test]
fn the_number_of_keys_is_bounded() {
    let keys = vec![p256("a"); 1_000];
    assert_eq!(parse(ES256, &json!(keys)).len(), 100);
}
