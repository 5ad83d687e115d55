//! Every sort of text that people take for a public key.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize, SignatureAlgorithm,
};

use super::*;

/// A public key of 1024 bits; nobody makes one any more.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDHdZdlGF0GoM++zh/DgdLUat2q
4RlKPS52Avw+HJuJxqerEhaDHyWQPfYEyADHrKouhNtvljNkVpE2i0hNEpqmPOxe
W0mjh1AvqYauQTyx1s+y9QA0praD95/R/uEsxujx11Xop6P6x2E7mvllxpqdnVCv
NDb8R1kYeyAkxukSQwIDAQAB
-----END PUBLIC KEY-----
";

fn pair(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key pair")
}

fn rsa_pair() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key pair")
}

fn mistake(algorithm: JwtAlgorithm, text: &str) -> String {
    let mistake = read_public_key(algorithm, text).expect_err("the key must be refused");
    mistake.to_string()
}

#[test]
fn a_key_fits_its_own_algorithm_and_no_other() {
    let rsa = rsa_pair().public_key_pem();
    let p256 = pair(&PKCS_ECDSA_P256_SHA256).public_key_pem();
    let ed25519 = pair(&PKCS_ED25519).public_key_pem();
    let algorithms = [
        JwtAlgorithm::Rs256,
        JwtAlgorithm::Es256,
        JwtAlgorithm::EdDsa,
    ];
    for (fitting, text) in algorithms.iter().zip([&rsa, &p256, &ed25519]) {
        for algorithm in algorithms {
            let read = read_public_key(algorithm, text);
            if algorithm == *fitting {
                assert!(read.is_ok(), "{algorithm}");
            } else {
                assert!(
                    matches!(read, Err(KeyMistake::OtherKind(..))),
                    "{fitting} {algorithm}"
                );
            }
        }
    }
    assert_eq!(
        mistake(JwtAlgorithm::Es256, &ed25519),
        "is an Ed25519 key, but ES256 needs a key on the curve P-256"
    );
}

#[test]
fn an_rsa_key_may_also_be_written_as_pkcs1() {
    let pair = rsa_pair();
    // The `ring`-like name of PKCS #1: the bare modulus and exponent.
    let text = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", pair.der_bytes()));
    assert!(read_public_key(JwtAlgorithm::Rs256, &text).is_ok());
    assert_eq!(
        mistake(JwtAlgorithm::EdDsa, &text),
        "is an RSA key, but EdDSA needs an Ed25519 key"
    );
}

#[test]
fn another_curve_is_refused() {
    let p384 = pair(&PKCS_ECDSA_P384_SHA384).public_key_pem();
    assert_eq!(
        mistake(JwtAlgorithm::Es256, &p384),
        "is a key on another curve, but ES256 needs a key on the curve P-256"
    );
}

#[test]
fn a_short_rsa_key_is_refused() {
    assert_eq!(
        mistake(JwtAlgorithm::Rs256, SHORT_RSA),
        "is an RSA key of 1024 bits: it must have 2048 to 8192"
    );
}

#[test]
fn a_private_key_is_told_from_garbage() {
    let pair = pair(&PKCS_ECDSA_P256_SHA256);
    let (private, public) = (pair.serialize_pem(), pair.public_key_pem());
    for text in [
        private.clone(),
        format!("{public}{private}"),
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n".to_owned(),
    ] {
        let read = read_public_key(JwtAlgorithm::Es256, &text);
        assert_eq!(read.err(), Some(KeyMistake::Private));
    }
}

#[test]
fn a_certificate_is_told_from_garbage() {
    let certificate =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let read = read_public_key(JwtAlgorithm::Es256, &certificate.cert.pem());
    assert_eq!(read.err(), Some(KeyMistake::Certificate));
}

#[test]
fn garbage_is_refused() {
    let public = pair(&PKCS_ECDSA_P256_SHA256).public_key_pem();
    let off_the_curve = {
        let block = pem::parse(&public).expect("PEM");
        let mut der = block.into_contents();
        let last = der.last_mut().expect("a byte");
        *last ^= 1;
        pem::encode(&pem::Pem::new("PUBLIC KEY", der))
    };
    for text in [
        "",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----\n",
        "-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n",
        "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n",
        &format!("{public}{public}"),
        &public[..public.len() / 2],
        &off_the_curve,
    ] {
        let read = read_public_key(JwtAlgorithm::Es256, text);
        assert_eq!(read.err(), Some(KeyMistake::Unreadable), "{text}");
    }
}

#[test]
fn the_debug_output_of_a_key_shows_nothing_of_it() {
    let text = rsa_pair().public_key_pem();
    let key = read_public_key(JwtAlgorithm::Rs256, &text).expect("a key");
    assert!(format!("{key:?}").contains("redacted"));
}
