//! The small commands, by running the binary: `token`, `key`, `check`, and the manners of all.

use std::fs;
use std::process::Command;

use futures_util::FutureExt as _;
use progressd::auth::{Authenticator, Principal, Scope};
use progressd::config::Config;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Exit code, standard output, standard error.
type Outcome = (Option<i32>, String, String);

/// A folder with files in which the binary is run.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file in the temporary folder");
        }
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_progressd"))
            .args(arguments)
            .current_dir(&self.0)
            .env_clear()
            .output()
            .expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Runs what must succeed, and gives its standard output.
    #[track_caller]
    fn output(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        stdout
    }

    /// Runs what must fail, and gives its standard error.
    #[track_caller]
    fn refusal(&self, arguments: &[&str], expected: i32) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(expected), ""),
            "{arguments:?}"
        );
        stderr
    }
}

fn jwt_entry(extra: &str) -> String {
    format!("[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n{extra}\n")
}

fn principal_of(configuration: &str, credential: &str) -> Principal {
    let config = Config::from_toml(configuration).expect("the configuration is valid");
    let authenticator = Authenticator::new(&config.auth);
    let answer = authenticator.authenticate(credential.trim_end().as_bytes());
    let answer = answer.now_or_never().expect("a fixed key needs no waiting");
    answer.expect("the server accepts the credential")
}

#[test]
fn a_new_key_is_accepted_by_a_server_that_has_its_block() {
    let place = Place::new(&[]);
    let output = place.output(&[
        "key",
        "--name",
        "the \"ci\" key",
        "--scope",
        "jobs:write jobs:read",
        "--owner",
        "ann",
    ]);
    let (key, block) = output
        .split_once("\n\n")
        .expect("an empty line ends the key");
    let principal = principal_of(block, key);
    assert_eq!(
        (principal.name(), principal.owner()),
        ("the \"ci\" key", Some("ann"))
    );
    assert_eq!(principal.scopes().to_string(), "jobs:read jobs:write");
    assert!(!block.contains(key));
}

#[test]
fn a_key_needs_no_arguments_and_is_another_one_each_time() {
    let place = Place::new(&[]);
    let outputs = [place.output(&["key"]), place.output(&["key"])];
    assert_ne!(outputs[0], outputs[1]);
    let blocks = outputs.each_ref().map(|output| {
        output
            .split_once("\n\n")
            .expect("an empty line ends the key")
    });
    let both = format!("{}{}", blocks[0].1, blocks[1].1);
    for (key, _) in blocks {
        let principal = principal_of(&both, key);
        assert_eq!(
            principal.scopes().to_string(),
            "jobs:read jobs:write jobs:cancel"
        );
        assert!(principal.may_act_on_all() && !principal.may(Scope::Admin));
    }
}

#[test]
fn a_token_from_the_configuration_fits_its_issuer_audience_and_claim_names() {
    let file = jwt_entry(
        "issuer = 'me'\naudience = 'you'\nowner_claim = 'uid'\nscope_claim = 'scp'\njobs_claim = 'may'",
    );
    let place = Place::new(&[("p.toml", &file)]);
    let token = place.output(&[
        "token",
        "--config",
        "p.toml",
        "--sub",
        "ann",
        "--scope",
        "jobs:write",
        "--scope",
        "jobs:cancel",
        "--jobs",
        "a b-*",
    ]);
    let principal = principal_of(&file, &token);
    assert_eq!(
        (principal.owner(), principal.scopes().to_string().as_str()),
        (Some("ann"), "jobs:write jobs:cancel")
    );
    assert!(
        principal.may_act_on("a", None)
            && principal.may_act_on("b-1", None)
            && !principal.may_act_on("c", None)
    );
}

#[test]
fn a_token_from_a_secret_file_gets_the_default_scope_and_an_hour() {
    let place = Place::new(&[("secret", &format!("{SECRET}\n"))]);
    let before = jsonwebtoken::get_current_timestamp();
    let token = place.output(&["token", "--secret-file", "secret", "--sub", "ann"]);
    let after = jsonwebtoken::get_current_timestamp();
    let principal = principal_of(&jwt_entry(""), &token);
    assert_eq!(principal.scopes().to_string(), "jobs:read");
    let expires_at = principal.expires_at().expect("a token expires");
    assert!((before + 3600..=after + 3600).contains(&expires_at));
}

#[test]
fn the_entry_that_accepts_the_issuer_signs() {
    let other = "[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = 'quite another secret of more than 32 bytes'\nissuer = 'second'\n";
    let file = format!("{}{other}", jwt_entry("issuer = 'first'"));
    let place = Place::new(&[("p.toml", &file)]);
    let arguments = |issuer| {
        [
            "token", "--config", "p.toml", "--sub", "ann", "--issuer", issuer,
        ]
    };
    assert_eq!(
        principal_of(other, &place.output(&arguments("second"))).owner(),
        Some("ann")
    );
    let refusal = place.refusal(&arguments("third"), 1);
    assert_eq!(
        refusal,
        "error: no [[auth.jwt]] entry accepts that issuer and audience\n"
    );
}

#[test]
fn a_token_that_could_not_work_is_not_made() {
    let place = Place::new(&[("short", "short"), ("good", SECRET), ("open.toml", "")]);
    for (arguments, expected) in [
        (
            vec!["--secret-file", "good"],
            "give it --sub, --jobs or --scope admin",
        ),
        (
            vec!["--secret-file", "short", "--sub", "ann"],
            "a secret must have at least 32 bytes",
        ),
        (
            vec!["--secret-file", "none", "--sub", "ann"],
            "read the secret file `none`: No such file",
        ),
        (
            vec!["--config", "open.toml", "--sub", "ann"],
            "has no [[auth.jwt]] entry",
        ),
        (
            vec!["--config", "none.toml", "--sub", "ann"],
            "cannot read the configuration file `none.toml`",
        ),
    ] {
        let stderr = place.refusal(&[&["token"], arguments.as_slice()].concat(), 1);
        assert!(
            stderr.starts_with("error: ") && stderr.contains(expected),
            "{arguments:?}: {stderr}"
        );
    }
    assert!(
        place
            .run(&["token", "--secret-file", "good", "--scope", "admin"])
            .1
            .starts_with("eyJ")
    );
}

#[test]
fn wrong_usage_has_the_exit_code_2() {
    let place = Place::new(&[("good", SECRET)]);
    for arguments in [
        &["fly"] as &[&str],
        &["key", "--scope", "jobs:delete"],
        &["key", "--name", ""],
        &["token", "--sub", "ann"],
        &[
            "token",
            "--secret-file",
            "good",
            "--config",
            "good",
            "--sub",
            "ann",
        ],
        &[
            "token",
            "--secret-file",
            "good",
            "--sub",
            "ann",
            "--ttl",
            "0",
        ],
        &[
            "token",
            "--secret-file",
            "good",
            "--sub",
            "ann",
            "--ttl",
            "18446744073709551615",
        ],
        &["check", "--listen", "x"],
        &[],
    ] {
        assert_ne!(place.refusal(arguments, 2), "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::new(&[]);
    assert!(place.output(&["--version"]).starts_with("progressd "));
    let help = place.output(&["--help"]);
    for command in [
        "serve", "demo", "watch", "run", "doctor", "token", "key", "check", "openapi", "health",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        assert!(
            place
                .output(&[command, "--help"])
                .contains("Usage: progressd")
        );
    }
}

#[test]
fn the_demo_runs_its_list_to_the_end_without_a_network_and_ends_by_itself() {
    let output = Place::new(&[]).output(&["demo", "--speed", "0"]);
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("listening on http://127.0.0.1:"),
        "{output}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("dashboard  http://127.0.0.1:") && line.ends_with('/')),
        "{output}"
    );
    assert!(
        output.contains("completed   100.00 %  370/370 emails"),
        "the last status shows all of it: {output}"
    );
    let completed = lines
        .iter()
        .find_map(|line| line.strip_prefix("completed: "));
    let summary: serde_json::Value =
        serde_json::from_str(completed.expect("an outcome")).expect("JSON");
    assert_eq!(summary["total"], 370);
    assert!(summary["invalid"].as_u64() > Some(0), "{summary}");
}

#[test]
fn serving_on_an_address_that_is_taken_is_one_clear_mistake() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("its address").to_string();
    let (code, stdout, stderr) = Place::new(&[]).run(&["serve", "--listen", &taken]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let mistake = format!("error: listen on {taken}: ");
    assert!(
        stderr.lines().any(|line| line.starts_with(&mistake)),
        "{stderr}"
    );
}

#[test]
fn a_token_by_a_private_key_fits_its_public_one() {
    for (algorithm, pair) in [
        (
            "RS256",
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        ),
        ("ES256", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)),
        ("EdDSA", KeyPair::generate_for(&PKCS_ED25519)),
    ] {
        let pair = pair.expect("a key pair");
        let public = pair.public_key_pem();
        let entry = format!(
            "[[auth.jwt]]\nalgorithm = '{algorithm}'\npublic_key = '''{public}'''\nowner_claim = 'user'\n"
        );
        // The first entry is of another sort, and passed over.
        let file = format!("{}{entry}", jwt_entry(""));
        let place = Place::new(&[("key.pem", &pair.serialize_pem()), ("p.toml", &file)]);
        let arguments = ["token", "--private-key", "key.pem", "--sub", "ann"];
        let with_config = [&arguments[..], &["--config", "p.toml"]].concat();
        let principal = principal_of(&file, &place.output(&with_config));
        assert_eq!(principal.owner(), Some("ann"));
        let named = [&arguments[..], &["--kid", "2026"]].concat();
        let token = place.output(&named);
        let header = jsonwebtoken::decode_header(token.trim_end()).expect("a token");
        assert_eq!(header.kid.as_deref(), Some("2026"));
        assert_eq!(format!("{:?}", header.alg), algorithm);
    }
}

#[test]
fn what_is_no_private_key_signs_nothing() {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key pair");
    let public = pair.public_key_pem();
    let files = [
        ("public.pem", &*public),
        ("empty.pem", ""),
        ("private.pem", &pair.serialize_pem()),
        ("p.toml", &jwt_entry("")),
    ];
    let place = Place::new(&files);
    for name in ["public.pem", "empty.pem", "missing.pem"] {
        let stderr = place.refusal(&["token", "--private-key", name, "--sub", "ann"], 1);
        assert!(stderr.contains(name), "{stderr}");
    }
    let arguments = [
        "token",
        "--private-key",
        "private.pem",
        "--config",
        "p.toml",
        "--sub",
        "ann",
    ];
    let stderr = place.refusal(&arguments, 1);
    assert!(
        stderr.contains("no [[auth.jwt]] entry goes with the key"),
        "{stderr}"
    );
}
