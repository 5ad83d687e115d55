//! Keys that come from an issuer: over https, from a file, and what becomes of them in bad times.
//!
//! When exactly an issuer is asked is tested beside the code, on a clock that stands still.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    in_time,
    issuer::{Issuer, IssuerKey, Published, key_set},
    server::TestServer,
};

async fn status(server: &TestServer, token: &str) -> StatusCode {
    server.as_bearer(token).get("/api/v1/jobs").await.status
}

/// Waits until the token is let in: the server reads the keys while it answers.
async fn until_let_in(server: &TestServer, token: &str) {
    let waiting = async {
        while status(server, token).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    in_time("the issuer's key", waiting).await;
}

#[tokio::test]
async fn a_token_of_an_issuer_is_let_in_and_a_new_key_is_learned() {
    let (first, second, third) = (
        IssuerKey::new("1"),
        IssuerKey::new("2"),
        IssuerKey::new("3"),
    );
    let issuer = Issuer::start(key_set(&[&first])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    let known = first.token();
    assert_eq!(status(&server, &known).await, 200);
    assert_eq!(issuer.requests(), 1);

    issuer.publish(key_set(&[&first, &second]));
    assert_eq!(status(&server, &second.token()).await, 200);
    assert_eq!(status(&server, &first.token()).await, 200);
    assert_eq!(issuer.requests(), 2);

    // The minute in which it is not asked again.
    issuer.publish(key_set(&[&third]));
    for number in 0..50 {
        let flood = third.token_named(Some(&format!("invented-{number}")));
        assert_eq!(status(&server, &flood).await, 401);
    }
    assert_eq!(status(&server, &third.token()).await, 401);
    assert_eq!(issuer.requests(), 2);
    server.reload(&issuer.configuration());
    until_let_in(&server, &third.token()).await;
    for token in [&known, &first.token()] {
        assert_eq!(status(&server, token).await, 401, "withdrawn");
    }
}

#[tokio::test]
async fn a_name_is_no_key() {
    let (own, foreign) = (IssuerKey::new("1"), IssuerKey::new("1"));
    let issuer = Issuer::start(key_set(&[&own])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    assert_eq!(status(&server, &own.token()).await, 200);
    assert_eq!(status(&server, &own.token_named(None)).await, 200);
    assert_eq!(status(&server, &foreign.token()).await, 401);
    assert_eq!(status(&server, &foreign.token_named(None)).await, 401);
    assert_eq!(status(&server, &own.token_named(Some(""))).await, 401);
    assert_eq!(issuer.requests(), 2, "asked once for the empty name");
}

#[tokio::test]
async fn two_keys_of_one_name_both_count_and_none_without_a_name() {
    let (first, second) = (IssuerKey::new("1"), IssuerKey::new("1"));
    let issuer = Issuer::start(key_set(&[&first, &second])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    for key in [&first, &second] {
        assert_eq!(status(&server, &key.token()).await, 200);
        assert_eq!(status(&server, &key.token_named(None)).await, 401);
    }
}

#[tokio::test]
async fn a_secret_in_the_set_is_no_key() {
    let secret = "a secret of at least thirty-two bytes";
    let published = json!({"keys": [{"kty": "oct", "kid": "1", "k": "YSBzZWNyZXQgb2YgYXQgbGVhc3QgdGhpcnR5LXR3byBieXRlcw"}]});
    let issuer = Issuer::start(Published::Bytes(published.to_string().into_bytes())).await;
    let server = TestServer::with(&issuer.configuration()).await;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("1".to_owned());
    let claims = json!({"sub": "ann", "exp": get_current_timestamp() + 600});
    let token = encode(
        &header,
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    );
    assert_eq!(status(&server, &token.expect("a token")).await, 401);
    let key = IssuerKey::new("1");
    assert_eq!(status(&server, &key.token()).await, 401);
}

#[tokio::test]
async fn an_issuer_that_is_slow_keeps_nobody_from_the_new_key_of_another() {
    let (of_slow, old, new) = (
        IssuerKey::new("1"),
        IssuerKey::new("1"),
        IssuerKey::new("2"),
    );
    let slow = Issuer::start(key_set(&[&of_slow])).await;
    let quick = Issuer::start(key_set(&[&old])).await;
    let configuration = format!("{}{}", slow.configuration(), quick.configuration());
    let server = TestServer::with(&configuration).await;
    for key in [&of_slow, &old] {
        assert_eq!(status(&server, &key.token()).await, 200);
    }
    slow.publish(Published::Silence);
    quick.publish(key_set(&[&old, &new]));
    assert_eq!(status(&server, &new.token()).await, 200);
    // It had not given up on the slow one before, which is asked once a minute at most.
    slow.until_it_keeps_waiting().await;
}

#[tokio::test]
async fn a_token_that_names_its_issuer_has_no_other_one_asked() {
    let (of_other, old, new) = (
        IssuerKey::new("1"),
        IssuerKey::new("1"),
        IssuerKey::new("2"),
    );
    let other = Issuer::start(key_set(&[&of_other])).await;
    let own = Issuer::start(key_set(&[&old])).await;
    let server = TestServer::with(&format!(
        "{}issuer = 'other'\n{}issuer = 'own'\n",
        other.configuration(),
        own.configuration()
    ))
    .await;
    assert_eq!(
        status(&server, &of_other.token_by(json!("other"))).await,
        200
    );
    assert_eq!(status(&server, &old.token_by(json!("own"))).await, 200);
    own.publish(key_set(&[&new]));
    for issuer in [json!("own"), json!(["own"])] {
        assert_eq!(status(&server, &new.token_by(issuer)).await, 200);
    }
    for issuer in [json!("Own"), json!(""), json!(5), json!(null), json!([])] {
        let token = IssuerKey::new("3").token_by(issuer);
        assert_eq!(status(&server, &token).await, 401);
    }
    assert_eq!(status(&server, &IssuerKey::new("3").token()).await, 401);
    assert_eq!((other.requests(), own.requests()), (1, 2));
}

#[tokio::test]
async fn a_server_starts_without_its_issuer_and_finds_it_later_by_itself() {
    let key = IssuerKey::new("1");
    let issuer = Issuer::start(Published::Nothing).await;
    let server = TestServer::with(&issuer.configuration()).await;
    assert_eq!(status(&server, &key.token()).await, 401);
    issuer.publish(key_set(&[&key]));
    // Its second or third try, to which no token has to hurry it.
    until_let_in(&server, &key.token()).await;
}

#[tokio::test]
async fn an_issuer_that_is_down_stops_nobody_whom_it_let_in() {
    let (known, unknown) = (IssuerKey::new("1"), IssuerKey::new("2"));
    let issuer = Issuer::start(key_set(&[&known])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    assert_eq!(status(&server, &known.token()).await, 200);
    issuer.publish(Published::Nothing);
    assert_eq!(status(&server, &unknown.token()).await, 401);
    assert_eq!(issuer.requests(), 2);
    server.reload(&issuer.configuration());
    issuer.until_requests(3).await;
    assert_eq!(status(&server, &known.token()).await, 200);
}

#[tokio::test]
async fn what_is_no_set_of_keys_changes_nothing() {
    let (known, unknown) = (IssuerKey::new("1"), IssuerKey::new("2"));
    let set_of_both = key_set(&[&known, &unknown]);
    let elsewhere = Issuer::start(set_of_both.clone()).await;
    let Published::Bytes(good) = set_of_both else {
        panic!("no bytes");
    };
    let padded = |bytes: usize| {
        let mut padded = good.clone();
        padded.resize(bytes, b' ');
        Published::Bytes(padded)
    };
    let issuer = Issuer::start(key_set(&[&known])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    assert_eq!(status(&server, &known.token()).await, 200);
    for (number, published) in [
        Published::Redirect(elsewhere.url.clone()),
        padded((1 << 20) + 1),
        Published::Bytes(b"<html>".to_vec()),
        Published::Bytes(b"[]".to_vec()),
        Published::Bytes(good[..good.len() - 1].to_vec()),
        Published::Bytes(Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.publish(published);
        server.reload(&issuer.configuration());
        issuer.until_requests(2 + number).await;
        assert_eq!(status(&server, &unknown.token()).await, 401, "{number}");
        assert_eq!(status(&server, &known.token()).await, 200, "{number}");
    }
    assert_eq!(elsewhere.requests(), 0, "nobody is sent on");
    issuer.publish(padded(1 << 20));
    server.reload(&issuer.configuration());
    until_let_in(&server, &unknown.token()).await;
}

#[tokio::test]
async fn an_issuer_whose_certificate_is_not_trusted_is_not_believed() {
    let key = IssuerKey::new("1");
    let issuer = Issuer::start(key_set(&[&key])).await;
    let server = TestServer::with(&issuer.configuration_without_ca()).await;
    issuer.until_requests(1).await;
    assert_eq!(status(&server, &key.token()).await, 401);
}

#[tokio::test]
async fn keys_come_from_a_file_too_and_are_read_again() {
    let (first, second, third) = (
        IssuerKey::new("1"),
        IssuerKey::new("2"),
        IssuerKey::new("3"),
    );
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("keys.json");
    let write = |keys: &[&IssuerKey]| {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        std::fs::write(&file, json!({ "keys": keys }).to_string()).expect("a file");
    };
    write(&[&first]);
    let configuration = format!(
        "[[auth.jwt]]\nalgorithm = 'ES256'\njwks = '{}'\n",
        file.display()
    );
    let server = TestServer::with(&configuration).await;
    assert_eq!(status(&server, &first.token()).await, 200);
    write(&[&first, &second]);
    assert_eq!(status(&server, &second.token()).await, 200);
    write(&[&third]);
    server.reload(&configuration);
    until_let_in(&server, &third.token()).await;
    std::fs::remove_file(&file).expect("the file");
    server.reload(&configuration);
    assert_eq!(status(&server, &third.token()).await, 200);
}

#[tokio::test]
async fn a_stream_by_an_issuer_lives_through_a_reload_and_ends_with_the_entry() {
    let key = IssuerKey::new("1");
    let issuer = Issuer::start(key_set(&[&key])).await;
    let server = TestServer::with(&issuer.configuration()).await;
    let writer = server.as_bearer(&key.token());
    let created = writer.post("/api/v1/jobs", json!({})).await;
    created.error(403, "FORBIDDEN");
    let open = format!(
        "{}default_scope = 'jobs:read jobs:write'\n",
        issuer.configuration()
    );
    server.reload(&open);
    until_let_in(&server, &key.token()).await;
    writer.create(json!({"job_id": "a"})).await;
    let mut stream = writer.watch("a").await;
    stream.next_status().await;
    server.reload(&open);
    writer.report("a", json!({"step": "on"})).await;
    assert_eq!(stream.next_status().await["step"], "on");
    server.reload(&issuer.configuration());
    let blocks = stream.rest().await;
    let last = blocks.last().expect("a last block");
    assert_eq!(last.json()["code"], "TOKEN_EXPIRED");
}
