//! Every way in which a credential can be wrong, as a client is told of it.

use jsonwebtoken::{Algorithm, get_current_timestamp};
use progressd::auth::KeyHash;
use reqwest::{Method, StatusCode, header::HeaderValue};
use serde_json::{Value, json};

use crate::support::{
    people::{self, SECRET, sign, token},
    server::{Answer, TestServer},
};

const JOBS: &str = "/api/v1/jobs";

async fn with_headers(server: &TestServer, values: &[&str]) -> Answer {
    let mut request = server.request(Method::GET, JOBS);
    for value in values {
        request = request.header(
            "authorization",
            HeaderValue::from_str(value).expect("a header"),
        );
    }
    Answer::of(request).await
}

#[track_caller]
fn assert_refused(answer: &Answer, message: &str, what: &str) {
    assert_eq!(answer.error(401, "UNAUTHORIZED"), message, "{what}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
}

/// A token without its signature's part, or with another one.
fn with_signature(token: &str, signature: &str) -> String {
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    format!("{signed}.{signature}")
}

/// `{"alg":"none","typ":"JWT"}` in base64url, in place of a token's header.
fn unsigned(token: &str) -> String {
    let (_, rest) = token.split_once('.').expect("three parts");
    let (claims, _) = rest.split_once('.').expect("three parts");
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_an_invalid_token() {
    let server = TestServer::with(&people::configuration()).await;
    let now = get_current_timestamp();
    let good = token(&json!({"sub": "ann"}));
    let other = "another secret of thirty-two bytes and more";
    let ann = json!({"sub": "ann"});
    let (_, signature) = good.rsplit_once('.').expect("three parts");
    let bob = with_signature(&token(&json!({"sub": "bob"})), signature);
    for (what, refused) in [
        ("expired", token(&json!({"exp": now - 60}))),
        ("expired long ago", token(&json!({"exp": 0}))),
        ("not yet valid", token(&json!({"nbf": now + 60}))),
        ("without exp", token(&json!({"exp": null}))),
        (
            "exp is a text",
            token(&json!({"exp": (now + 60).to_string()})),
        ),
        ("sub is a number", token(&json!({"sub": 5}))),
        ("sub is empty", token(&json!({"sub": ""}))),
        ("scope is a list", token(&json!({"scope": ["admin"]}))),
        ("jobs is an object", token(&json!({"jobs": {}}))),
        ("another secret", sign(Algorithm::HS256, other, &ann)),
        ("HS384", sign(Algorithm::HS384, SECRET, &ann)),
        ("HS512", sign(Algorithm::HS512, SECRET, &ann)),
        ("alg none", unsigned(&good)),
        (
            "alg none, signed",
            format!("{}{signature}", unsigned(&good)),
        ),
        ("no signature", with_signature(&good, "")),
        ("half a signature", with_signature(&good, &signature[..20])),
        ("another's claims", bob),
        ("garbage", "a.b.c".to_owned()),
        ("no JSON", "YQ.YQ.YQ".to_owned()),
    ] {
        let answer = server.as_bearer(&refused).get(JOBS).await;
        assert_refused(&answer, "Invalid token", what);
    }
    server
        .as_bearer(&good)
        .get(JOBS)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn clocks_may_differ_a_little() {
    let server = TestServer::with(&people::configuration()).await;
    let now = get_current_timestamp();
    for claims in [
        json!({"nbf": now + 3}),
        json!({"exp": now - 1}),
        json!({"iat": now + 900}),
    ] {
        let answer = server.as_bearer(&token(&claims)).get(JOBS).await;
        answer.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn whatever_else_is_presented_is_an_invalid_api_key() {
    let server = TestServer::with(&people::configuration()).await;
    let hash = format!("Bearer {}", KeyHash::of(b"key-admin"));
    for values in [
        vec![],
        vec![""],
        vec!["Bearer"],
        vec!["Bearer "],
        vec!["Bearer key-unknown"],
        vec!["Bearer KEY-ADMIN"],
        vec!["Bearer key-admin,key-read"],
        vec!["Bearer key-admin key-read"],
        vec!["Bearerkey-admin"],
        vec!["Bearer\tkey-admin"],
        vec!["key-admin"],
        vec!["Basic a2V5LWFkbWluOg=="],
        vec!["Token key-admin"],
        vec![hash.as_str()],
        vec!["Bearer a.b"],
        vec!["Bearer a.b.c.d"],
        vec!["Bearer a.b.c!"],
    ] {
        let answer = with_headers(&server, &values).await;
        assert_refused(&answer, "Invalid API key", &format!("{values:?}"));
    }
    for value in ["bearer key-admin", "BEARER key-admin", "Bearer   key-admin"] {
        with_headers(&server, &[value]).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_credential_in_another_header_or_under_another_name_does_not_count() {
    let server = TestServer::with(&people::configuration()).await;
    for query in ["access_token=key-admin", "Token=key-admin", "key=key-admin"] {
        let answer = server.get(&format!("{JOBS}?{query}")).await;
        assert_refused(&answer, "Invalid API key", query);
    }
    for header in ["x-api-key", "cookie", "proxy-authorization"] {
        let request = server
            .request(Method::GET, JOBS)
            .header(header, "Bearer key-admin");
        assert_refused(&Answer::of(request).await, "Invalid API key", header);
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_they_are_configured() {
    let extra = "issuer = 'https://login.example.com'\naudience = 'progressd'\n";
    let server = TestServer::with(&format!("{}{extra}", people::configuration())).await;
    let issuer = "https://login.example.com";
    for (claims, is_let_in) in [
        (json!({"iss": issuer, "aud": "progressd"}), true),
        (json!({"iss": issuer, "aud": ["other", "progressd"]}), true),
        (json!({"iss": issuer, "aud": "other"}), false),
        (json!({"iss": issuer, "aud": []}), false),
        (json!({"iss": issuer}), false),
        (
            json!({"iss": "https://evil.example.com", "aud": "progressd"}),
            false,
        ),
        (json!({"aud": "progressd"}), false),
        (json!({}), false),
    ] {
        let answer = server.as_bearer(&token(&claims)).get(JOBS).await;
        if is_let_in {
            answer.expect(StatusCode::OK);
        } else {
            assert_refused(&answer, "Invalid token", &claims.to_string());
        }
    }
}

#[tokio::test]
async fn claims_are_read_under_their_configured_names() {
    let extra = "default_scope = 'jobs:write'\nowner_claim = 'user'\nscope_claim = 'scp'\njobs_claim = 'may'\n";
    let server = TestServer::with(&format!("{}{extra}", people::configuration())).await;
    let create = async |claims: Value| {
        let person = server.as_bearer(&token(&claims));
        person.post(JOBS, json!({})).await
    };
    let job = create(json!({"user": "ann", "sub": 5, "scope": 5})).await;
    assert_eq!(job.expect(StatusCode::CREATED).json()["owner"], "ann");
    create(json!({"user": "ann", "scp": "jobs:read"}))
        .await
        .error(403, "FORBIDDEN");
    create(json!({"sub": "ann"})).await.error(403, "FORBIDDEN");
}
