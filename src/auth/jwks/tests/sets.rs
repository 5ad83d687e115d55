//! Which keys of a set count.

use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use simple_asn1::ASN1Block;

use super::*;

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
