//! What passes say, and that none is taken for another.

use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes and more";
const NOW: u64 = 1_795_287_600;

fn bond() -> Bond {
    Bond {
        job_id: "import-7".to_owned(),
        incarnation: Uuid::from_u128(7),
    }
}

fn mint() -> PassMint {
    PassMint::new(SECRET)
}

fn ticket(expires_at: Option<u64>) -> (String, u64) {
    let admission = Admission::of_everybody();
    mint().ticket(
        &bond(),
        &admission,
        None,
        expires_at,
        Uuid::from_u128(1),
        NOW,
    )
}

fn header(token: &str) -> Value {
    let part = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

#[test]
fn a_watch_token_names_its_very_job_and_says_what_it_is() {
    let token = mint().watch_token(&bond(), NOW);
    assert_eq!(
        header(&token),
        json!({"typ": "progressd-watch+jwt", "alg": "HS256"})
    );
    assert!(PassMint::claims_to_be_watch_token(token.as_bytes()));
    assert_eq!(mint().read_watch_token(token.as_bytes()), Some(bond()));
    assert_ne!(
        token,
        mint().watch_token(&bond(), NOW + 1),
        "a fresh one each time"
    );
}

#[test]
fn a_ticket_holds_for_thirty_seconds_or_as_long_as_what_bought_it() {
    let read = |text: &str, now| mint().read_ticket(text.as_bytes(), now);
    let (text, seconds) = ticket(None);
    assert_eq!(seconds, 30);
    let found = read(&text, NOW + 29).expect("in time");
    assert_eq!(
        (found.id, found.pass.expires_at),
        (Uuid::from_u128(1), None)
    );
    assert_eq!(found.pass.bond, bond());
    assert_eq!(read(&text, NOW + 30), None);

    let (text, seconds) = ticket(Some(NOW + 10));
    assert_eq!(seconds, 10);
    assert!(read(&text, NOW + 9).is_some());
    assert_eq!(read(&text, NOW + 10), None);
    let (text, seconds) = ticket(Some(NOW + 3_600));
    assert_eq!(seconds, 30);
    let found = read(&text, NOW).expect("in time");
    assert_eq!(found.pass.expires_at, Some(NOW + 3_600));
}

#[test]
fn a_cookie_holds_as_long_as_what_bought_it() {
    let cookie = |expires_at| {
        let (text, _) = ticket(expires_at);
        let ticket = mint().read_ticket(text.as_bytes(), NOW).expect("in time");
        (mint().cookie(&ticket.pass), ticket.pass)
    };
    let (text, pass) = cookie(Some(NOW + 100));
    let read = |text: &str, now| mint().read_cookie(text.as_bytes(), now);
    assert_eq!(read(&text, NOW + 99), Some(pass));
    assert_eq!(read(&text, NOW + 100), None);
    let (text, pass) = cookie(None);
    assert_eq!(read(&text, u64::MAX), Some(pass));
}

#[test]
fn a_pass_belongs_to_the_entry_that_bought_it() {
    let (text, _) = ticket(None);
    let pass = mint()
        .read_ticket(text.as_bytes(), NOW)
        .expect("in time")
        .pass;
    assert!(mint().was_bought_by(&pass, &Admission::of_everybody()));
    let config = crate::config::JwtConfig::without_key(crate::config::JwtAlgorithm::EdDsa);
    assert!(!mint().was_bought_by(&pass, &Admission::of_jwt(&config)));
}

#[test]
fn nothing_of_the_entry_can_be_read_from_a_pass() {
    let admission = Admission::of_everybody();
    let (text, _) = ticket(None);
    let claims = text.split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims = String::from_utf8(claims).expect("UTF-8");
    for digest in [
        hex::encode(admission.digest()),
        URL_SAFE_NO_PAD.encode(admission.digest()),
    ] {
        assert!(!claims.contains(&digest[..20]), "{claims}");
    }
}

#[test]
fn no_pass_is_taken_for_another_sort_or_from_another_secret() {
    let watch_token = mint().watch_token(&bond(), NOW);
    let (ticket, _) = ticket(None);
    let pass = mint()
        .read_ticket(ticket.as_bytes(), NOW)
        .expect("in time")
        .pass;
    let cookie = mint().cookie(&pass);
    let other = PassMint::new(b"another secret of thirty-two bytes");
    for (text, reads) in [
        (&watch_token, [true, false, false]),
        (&ticket, [false, true, false]),
        (&cookie, [false, false, true]),
    ] {
        let text = text.as_bytes();
        let found = |mint: &PassMint| {
            [
                mint.read_watch_token(text).is_some(),
                mint.read_ticket(text, NOW).is_some(),
                mint.read_cookie(text, NOW).is_some(),
            ]
        };
        assert_eq!(found(&mint()), reads);
        assert_eq!(found(&other), [false; 3]);
    }
}

#[test]
fn another_type_or_another_algorithm_under_the_right_key_is_refused() {
    let mint = mint();
    let claims = Claims::of(&bond());
    for (kind, algorithm) in [
        (Some("JWT"), Algorithm::HS256),
        (Some("progressd-ticket+jwt"), Algorithm::HS256),
        (None, Algorithm::HS256),
        (Some(WATCH_TOKEN_TYPE), Algorithm::HS512),
    ] {
        let mut header = Header::new(algorithm);
        header.typ = kind.map(str::to_owned);
        let token = encode(&header, &claims, &mint.watch_token.encoding).expect("claims are JSON");
        assert_eq!(mint.read_watch_token(token.as_bytes()), None, "{kind:?}");
    }
}

#[test]
fn garbage_is_no_pass() {
    let token = mint().watch_token(&bond(), NOW);
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        &format!("{signed}."),
        &format!("{token}x"),
        &format!("{token}."),
    ] {
        assert_eq!(mint().read_watch_token(text.as_bytes()), None, "{text}");
        assert_eq!(mint().read_ticket(text.as_bytes(), NOW), None, "{text}");
        assert_eq!(mint().read_cookie(text.as_bytes(), NOW), None, "{text}");
    }
}

#[test]
fn the_debug_output_shows_nothing_of_the_secret() {
    assert_eq!(format!("{:?}", mint()), "PassMint([redacted])");
}
