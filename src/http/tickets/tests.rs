//! The cookie's header, to the letter.

use axum::http::Request;
use uuid::Uuid;

use super::*;
use crate::auth::Admission;

const NOW: u64 = 1_795_287_600;

/// The cookie without its value, which stands first.
fn attributes(expires_at: Option<u64>, routed: &str, is_https: bool) -> String {
    let mint = PassMint::new(b"a secret of thirty-two bytes and more");
    let bond = Bond {
        job_id: "a".to_owned(),
        incarnation: Uuid::from_u128(7),
    };
    let admission = Admission::of_everybody();
    let (ticket, _) = mint.ticket(&bond, &admission, None, expires_at, Uuid::from_u128(1), NOW);
    let ticket = mint.read_ticket(ticket.as_bytes(), NOW).expect("in time");
    let request = Request::get(routed).body(()).expect("a request");
    let (mut parts, ()) = request.into_parts();
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    parts.extensions.insert(Client { address, is_https });
    let cookie = set_cookie(&mint, &ticket.pass, &parts, NOW);
    let cookie = cookie.to_str().expect("ASCII");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    let (name, value) = pair.split_once('=').expect("a pair");
    assert_eq!(name, "progressd_ticket");
    assert!(mint.read_cookie(value.as_bytes(), NOW).is_some());
    attributes.to_owned()
}

#[test]
fn the_cookie_is_for_the_path_of_its_job_and_for_no_script() {
    assert_eq!(
        attributes(None, "/api/v1/jobs/a/stream", false),
        "Path=/api/v1/jobs/a; HttpOnly; SameSite=Strict"
    );
    assert_eq!(
        attributes(Some(NOW + 90), "/api/v1/jobs/a", false),
        "Path=/api/v1/jobs/a; HttpOnly; SameSite=Strict; Max-Age=90"
    );
}

#[test]
fn under_https_the_cookie_is_secure() {
    assert_eq!(
        attributes(None, "/api/v1/jobs/a/status", true),
        "Path=/api/v1/jobs/a; HttpOnly; SameSite=Strict; Secure"
    );
}

#[test]
fn the_path_is_written_as_the_browser_wrote_it() {
    assert_eq!(
        attributes(None, "/api/v1/jobs/%61%3A/stream?x=/y/z", false),
        "Path=/api/v1/jobs/%61%3A; HttpOnly; SameSite=Strict"
    );
}

#[test]
fn cookies_are_found_among_others() {
    let mut headers = HeaderMap::new();
    for value in [
        "a=b; progressd_ticket=1;c=d",
        "progressd_ticket=2",
        "xprogressd_ticket=3; ;=",
    ] {
        headers.append(header::COOKIE, HeaderValue::from_static(value));
    }
    assert_eq!(cookies(&headers).collect::<Vec<_>>(), ["1", "2"]);
}
