//! No secret that the suite uses ever stands in a log, of this process at its most talkative or of one that it
//! starts: whoever writes one ends the whole run.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// What sees requests says all that it can. Not so the tests' own client, which repeats the URLs that it asks for, and
/// shuttle, which notes every step of every interleaving.
const FILTER: &str =
    "debug,progressd=trace,hyper=trace,h2=trace,shuttle=off,reqwest=off,hyper_util::client=off";

/// How much of what was logged is looked through again when a secret becomes known: the server makes some of its own,
/// which the tests learn from its answer.
const REMEMBERED_BYTES: usize = 4 << 20;

/// Shorter words stand in logs by chance.
const SHORTEST: usize = 7;

static WATCH: Watch = Watch(Mutex::new(Watched::new()));
static START: Once = Once::new();

/// The secrets, the newest part of the log, and whether one is in the other.
struct Watch(Mutex<Watched>);

struct Watched {
    secrets: Vec<String>,
    newest: VecDeque<String>,
    newest_bytes: usize,
}

/// Where `tracing` writes to.
#[derive(Debug, Clone, Copy)]
struct Log;

/// From now on all that this process logs is looked through.
pub(crate) fn watch_the_log() {
    START.call_once(|| {
        let filter = EnvFilter::try_new(FILTER).expect("a filter");
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(Log)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody else logs here");
    });
}

/// From now on nobody may log `secret`, nor may it have been logged; of a token, not even its signature.
pub(crate) fn register(secret: &str) {
    WATCH.register(secret).unwrap_or_else(|leak| end(&leak));
}

/// Looks through what another process logs.
pub(crate) fn look_at(line: &str) {
    WATCH.look_at(line).unwrap_or_else(|leak| end(&leak));
}

/// A failed assertion could be that of a task that nobody waits for: this nobody can overlook.
fn end(leak: &str) -> ! {
    // Past the harness, which would keep it for the end of a test that does not come.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{leak}\n").as_bytes());
    std::process::abort();
}

impl Watch {
    fn register(&self, secret: &str) -> Result<(), String> {
        let mut watched = self.lock();
        let signature = secret.rsplit_once('.').map(|(_, signature)| signature);
        for secret in [Some(secret), signature].into_iter().flatten() {
            if secret.len() < SHORTEST || watched.secrets.iter().any(|known| known == secret) {
                continue;
            }
            watched.secrets.push(secret.to_owned());
            let line = watched.newest.iter().find(|line| line.contains(secret));
            if let Some(line) = line {
                return Err(leak(secret, line));
            }
        }
        Ok(())
    }

    fn look_at(&self, line: &str) -> Result<(), String> {
        let mut watched = self.lock();
        let secret = watched
            .secrets
            .iter()
            .find(|secret| line.contains(&***secret));
        if let Some(secret) = secret {
            return Err(leak(secret, line));
        }
        watched.newest_bytes += line.len();
        watched.newest.push_back(line.to_owned());
        while watched.newest_bytes > REMEMBERED_BYTES {
            let oldest = watched.newest.pop_front();
            watched.newest_bytes -= oldest.map_or(0, |line| line.len());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        // No section leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    const fn new() -> Self {
        Self {
            secrets: Vec::new(),
            newest: VecDeque::new(),
            newest_bytes: 0,
        }
    }
}

fn leak(secret: &str, line: &str) -> String {
    format!("A SECRET IS IN THE LOG: {secret:?} in {line:?}")
}

impl io::Write for Log {
    // One call for each line, which is how `tracing_subscriber` writes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        look_at(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[test]
fn a_secret_is_found_before_and_after_it_is_known_and_in_the_signature_alone() {
    let watch = Watch(Mutex::new(Watched::new()));
    watch
        .look_at("asked with early-secret")
        .expect("not known yet");
    watch.look_at("nothing").expect("nothing");
    assert!(watch.register("early-secret").is_err());
    watch.register("late-secret").expect("not there");
    assert!(watch.look_at("asked with late-secret").is_err());
    watch.register("head.claims.signature").expect("not there");
    assert!(watch.look_at("it ends in signature").is_err());
    watch.register("GET").expect("too short to be one");
    watch.look_at("GET /").expect("no secret");
}

#[test]
fn what_is_remembered_of_the_log_is_bounded() {
    let watch = Watch(Mutex::new(Watched::new()));
    for _ in 0..REMEMBERED_BYTES / 1_000 + 10 {
        watch.look_at(&"x".repeat(1_000)).expect("no secret");
    }
    let watched = watch.lock();
    let bytes: usize = watched.newest.iter().map(String::len).sum();
    assert!(bytes <= REMEMBERED_BYTES && bytes == watched.newest_bytes);
}

/// Run by the test below alone, in a process of its own.
#[test]
#[ignore = "it ends the process"]
fn somebody_logs_a_secret() {
    watch_the_log();
    register("a-secret-for-the-log");
    // In a thread whose panic nobody would hear of, and as talkative as the server is.
    let logging = std::thread::spawn(
        || tracing::trace!(target: "progressd", key = "a-secret-for-the-log", "used"),
    );
    let _ = logging.join();
}

#[test]
fn whoever_logs_a_secret_ends_the_run() {
    let name = "support::secrets::somebody_logs_a_secret";
    let run = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .expect("the tests run");
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("A SECRET IS IN THE LOG"), "{told}");
    assert_eq!(run.status.code(), None, "it is ended by a signal");
}
