//! Where bytes from outside come in: each entry takes any bytes at all and checks what must hold of whatever became of
//! them. Property tests call them with made-up input, and so do the fuzz targets.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, sync::OnceLock};

use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use progressd::{
    auth::{Authenticator, KeyHash, bearer},
    config::{Config, Overrides, Sources},
    frame,
    job::{
        Bounds, Command, Defaults, Event, FieldError, Job, JobId, Json, NewJob, Report, Seq,
        Status, Timestamp, parse_events, step,
    },
    registry::Cursor,
};
use serde_json::Value;

/// A credential that holds, and a secret that stands in the configuration: neither may ever be shown.
pub(crate) const KEY: &str = "the-only-key-that-opens";
const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush";

/// `Last-Event-ID`, and its names in a query: whatever is no seq is malformed, and a seq is read as it is written.
pub(crate) fn cursor(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Cursor::At(seq) = Cursor::parse(&text) {
        assert!(seq <= Seq::MAX);
        let digits = text.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        assert_eq!(seq.to_string(), digits);
    }
}

/// A report's body, applied when it is one: the status stays JSON, and the percentage a percentage.
pub(crate) fn report(bytes: &[u8]) {
    let bounds = Bounds::default();
    let addressed = match Report::parse(bytes, &bounds) {
        Ok(addressed) => addressed,
        Err(error) => return expect_sentence(&error),
    };
    let command = Command::Report(Box::new(addressed.report));
    let job = job(b"{\"total_count\": 10, \"unit\": \"rows\"}").expect("a valid creation");
    let now = Timestamp::from_micros(1_795_287_601_000_000);
    if let Ok(change) = step(&job, &command, &bounds, now) {
        expect_status(&change.job);
        // The same once more is a matter of course for the rules, whatever it is.
        if let Ok(again) = step(&change.job, &command, &bounds, now) {
            expect_status(&again.job);
        }
    }
}

/// The body of a creation: a job comes of it, or a sentence.
pub(crate) fn creation(bytes: &[u8]) {
    match job(bytes) {
        Ok(job) => expect_status(&job),
        Err(error) => expect_sentence(&error),
    }
}

/// The body of events: each that is accepted goes out as a block of its own, which a client reads as it was meant.
pub(crate) fn events(bytes: &[u8]) {
    let events = match parse_events(bytes, &Bounds::default()) {
        Ok((events, _)) => events,
        Err(error) => return expect_sentence(&error),
    };
    for event in events {
        let event = Event {
            seq: Seq::MAX,
            name: event.name,
            data: event.data,
        };
        let heard = heard(&frame::event_block(&event));
        let expected = (
            event.name.as_str(),
            event.data.as_str(),
            Seq::MAX.to_string(),
        );
        assert_eq!(
            heard,
            [expected].map(|(name, data, id)| (name.to_owned(), data.to_owned(), id))
        );
    }
}

/// Any text as a value on a stream: it adds no block, no line and no id.
pub(crate) fn block(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let json = Json::of(&*text).expect("text serializes");
    let heard = heard(&frame::status_block(
        json.as_str(),
        Some(5_000),
        Some(Seq::MAX),
    ));
    let [(name, data, id)] = &heard[..] else {
        panic!("not one message: {heard:?}");
    };
    assert_eq!((name.as_str(), id), ("status", &Seq::MAX.to_string()));
    assert_eq!(serde_json::from_str::<String>(data).expect("JSON"), text);
}

/// The `Authorization` of a request: nobody comes in but by the one key.
pub(crate) fn credential(bytes: &[u8]) {
    static AUTHENTICATOR: OnceLock<Authenticator> = OnceLock::new();
    let authenticator = AUTHENTICATOR.get_or_init(|| {
        let hash = KeyHash::of(KEY.as_bytes());
        let keys = format!(
            "[[auth.api_keys]]\nname = 'k'\nsha256 = '{hash}'\nscopes = ['admin']\n\
             [[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n"
        );
        Authenticator::new(
            &Config::from_toml(&keys)
                .expect("a valid configuration")
                .auth,
        )
    });
    let authenticate = async |credential| authenticator.authenticate(credential).await.is_ok();
    let holds = bearer(bytes).is_some_and(|credential| {
        let answer = authenticate(credential).now_or_never();
        answer.expect("fixed keys need no waiting")
    });
    let text = String::from_utf8_lossy(bytes);
    let word = text
        .split_once([' ', '\t'])
        .map_or("", |(_, word)| word.trim());
    assert!(!holds || word == KEY, "{text:?} came in");
}

/// A configuration file: it is valid, or each mistake is a sentence, and none repeats a secret.
pub(crate) fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    expect_sentences(Config::from_toml(&text));
    let with_secret =
        format!("{text}\n[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n{text}");
    expect_sentences(Config::from_toml(&with_secret));
}

/// The environment: a name, a NUL, and a value that stands for a secret as well as for anything else.
pub(crate) fn environment(bytes: &[u8]) {
    let (name, value) = match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let mut long_name = b"PROGRESSD__".to_vec();
    long_name.extend(name);
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let environment = vec![
        (text(name), text(value)),
        (text(&long_name), text(value)),
        ("PROGRESSD__AUTH__JWT".into(), SECRET.into()),
    ];
    let sources = Sources {
        file: None,
        environment,
        overrides: Overrides::default(),
    };
    expect_sentences(Config::load(&sources));
}

fn job(creation: &[u8]) -> Result<Job, FieldError> {
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 60,
        abandon_after_seconds: 60,
    };
    let new_job = NewJob::parse(creation, &Bounds::default())?;
    let job_id = JobId::parse("job-1").expect("a name");
    let (owner, now) = (
        new_job.owner.clone(),
        Timestamp::from_micros(1_795_287_600_000_000),
    );
    Ok(new_job.into_job(job_id, owner, None, &defaults, uuid::Uuid::nil(), now))
}

fn expect_status(job: &Job) {
    let json = Status(job).to_json();
    assert!(!json.contains(['\n', '\r']), "{json}");
    let status: Value = serde_json::from_str(&json).expect("a status is JSON");
    let percentage = &status["progress_percentage"];
    let is_right = percentage
        .as_f64()
        .is_none_or(|value| (0.0..=100.0).contains(&value));
    assert!(is_right, "{percentage}");
}

fn expect_sentence(error: &FieldError) {
    let sentence = error.to_string();
    assert!(!sentence.is_empty());
    // It goes into JSON and into logs: long input must not make it long.
    assert!(sentence.len() < 4_096, "{} bytes", sentence.len());
}

fn expect_sentences(outcome: Result<Config, progressd::config::ConfigError>) {
    let told = match outcome {
        Ok(config) => format!("{config:?}{:?}", config.changes()),
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(error.problems().iter().all(|problem| !problem.is_empty()));
            error.to_string()
        }
    };
    assert!(!told.contains(SECRET), "{told}");
}

/// What another implementation of the standard makes of a stream: name, data and last id of each message.
fn heard(stream: &str) -> Vec<(String, String, String)> {
    let whole = stream::iter([Ok::<_, std::convert::Infallible>(
        stream.as_bytes().to_vec(),
    )]);
    let messages = whole.eventsource().map(|message| {
        let message = message.expect("a well-formed stream");
        (message.event, message.data, message.id)
    });
    messages
        .collect()
        .now_or_never()
        .expect("nothing to wait for")
}
