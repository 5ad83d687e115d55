//! When the set is read and how often, on a clock of the test's own.

mod sets;

use std::{
    future::pending,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

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

/// Asks in the very moment in which something has changed.
struct Hasty {
    jwks: Jwks,
    was_turned_away: AtomicBool,
}

impl Wake for Hasty {
    fn wake(self: Arc<Self>) {
        let is_ready = self.jwks.look_again().now_or_never().is_some();
        self.was_turned_away.fetch_or(is_ready, Ordering::SeqCst);
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
async fn who_asks_while_a_reading_begins_waits_for_it() {
    let issuer = Issuer::new(set(&["a"]));
    let hasty = Arc::new(Hasty {
        jwks: issuer.jwks(),
        was_turned_away: AtomicBool::new(false),
    });
    hasty.jwks.look_again().await;
    let mut state = hasty.jwks.state.clone();
    state.borrow_and_update();
    let mut change = pin!(state.changed());
    let waker = Waker::from(Arc::clone(&hasty));
    assert!(
        change
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    hasty.jwks.look_again().await;
    assert_eq!(issuer.asked(), 2);
    assert!(
        change.as_mut().now_or_never().is_some(),
        "there was a change"
    );
    assert!(!hasty.was_turned_away.load(Ordering::SeqCst));
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
