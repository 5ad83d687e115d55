//! The configuration as an operator meets it: files, variables, and what the binary says about them.
//!
//! A binary of its own that starts processes of its own: environment variables belong to a whole process.

mod keys;
mod lists;
mod older;
mod server;
mod views;

use std::{
    ffi::OsString,
    net::Ipv6Addr,
    path::PathBuf,
    process::{Command, Output},
};

use progressd::{
    auth::KeyHash,
    config::{AuthMode, Config, DEFAULT_TOML, DnsSource, Overrides, Sources},
    job::Bounds,
};
use tempfile::TempDir;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// What `progressd check` answers to a file and variables.
struct Verdict {
    is_valid: bool,
    stdout: String,
    stderr: String,
}

fn check(file: Option<&str>, variables: &[(&str, &str)]) -> Verdict {
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
    command
        .current_dir(&folder)
        .arg("check")
        .env_clear()
        .envs(variables.iter().copied());
    if let Some(text) = file {
        std::fs::write(folder.path().join("p.toml"), text).expect("a file in the temporary folder");
        command.args(["--config", "p.toml"]);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    Verdict {
        is_valid: status.success(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// The sentences of a refusal, without the word before them.
#[track_caller]
fn mistakes(file: Option<&str>, variables: &[(&str, &str)]) -> Vec<String> {
    let verdict = check(file, variables);
    assert!(!verdict.is_valid, "accepted: {}", verdict.stdout);
    assert_eq!(verdict.stdout, "");
    let sentence = |line: &str| {
        line.strip_prefix("error: ")
            .expect("every line is a mistake")
            .to_owned()
    };
    verdict.stderr.lines().map(sentence).collect()
}

#[track_caller]
fn assert_valid(file: Option<&str>, variables: &[(&str, &str)]) -> String {
    let verdict = check(file, variables);
    assert!(verdict.is_valid, "{}", verdict.stderr);
    verdict.stdout
}

fn api_key(name: &str, key: &str) -> String {
    let hash = KeyHash::of(key.as_bytes());
    format!("[[auth.api_keys]]\nname = '{name}'\nsha256 = '{hash}'\nscopes = ['jobs:read']\n")
}

#[test]
fn the_effective_defaults() {
    let config = Config::load(&Sources::default()).expect("the defaults are valid");
    insta::assert_debug_snapshot!(config);
}

#[test]
fn without_anything_the_defaults_are_valid_and_nothing_is_changed() {
    assert_eq!(
        assert_valid(None, &[]),
        "configuration is valid\naccess: open, no credential is asked for\n"
    );
    assert_eq!(assert_valid(Some(""), &[]), assert_valid(None, &[]));
}

#[test]
fn the_default_file_is_a_valid_file_and_changes_nothing() {
    assert_eq!(
        assert_valid(Some(DEFAULT_TOML), &[]),
        assert_valid(None, &[])
    );
}

#[test]
fn the_examples_in_the_default_file_are_valid_once_the_placeholders_are_replaced() {
    let is_example = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let examples: String = DEFAULT_TOML
        .lines()
        .filter(is_example)
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    // Whoever copies them as they are must not get a server with a secret that everybody knows.
    assert_eq!(mistakes(Some(&examples), &[]).len(), 2);
    let replaced = examples
        .replace(
            "the line that `progressd key` printed",
            &KeyHash::of(b"pgd_test").to_string(),
        )
        .replace("replace this", SECRET);
    let config = Config::from_toml(&replaced).expect("the examples are valid");
    assert_eq!((config.auth.api_keys.len(), config.auth.jwt.len()), (1, 1));
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("p.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = '127.0.0.1:1'\n[stream]\nretry_ms = 1\nheartbeat_seconds = 1\n",
    )
    .expect("a file in the temporary folder");
    let variable = |name: &str, value: &str| (name.into(), value.into());
    let sources = Sources {
        file: Some(file),
        environment: vec![
            variable("PROGRESSD__STREAM__RETRY_MS", "2"),
            variable("PROGRESSD__SERVER__LISTEN", "127.0.0.1:2"),
        ],
        overrides: Overrides {
            listen: Some("[::1]:0".into()),
        },
    };
    let config = Config::load(&sources).expect("the configuration is valid");
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!(
        (config.stream.retry_ms, config.stream.heartbeat_seconds),
        (2, 1)
    );
    assert_eq!(config.stream.max_duration_seconds, 3600);
}

#[test]
fn changed_settings_are_shown_with_their_origin_and_secrets_are_not() {
    let file = format!(
        "[stream]\nretry_ms = 5000\nheartbeat_seconds = 7\n[log]\nfilter = 'debug'\n\
         [[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n"
    );
    let stdout = assert_valid(
        Some(&file),
        &[
            ("SSE_MAX_DURATION", "60"),
            ("PROGRESSD__LOG__FILTER", "warn"),
        ],
    );
    insta::assert_snapshot!(stdout, @r#"
    configuration is valid
    access: by 0 API keys and 1 JWT key
    auth.jwt[0].algorithm = "HS256"  # `p.toml`
    auth.jwt[0].secret = [redacted]  # `p.toml`
    log.filter = "warn"  # the variable `PROGRESSD__LOG__FILTER`
    stream.heartbeat_seconds = 7  # `p.toml`
    stream.max_duration_seconds = 60  # the variable `SSE_MAX_DURATION`
    "#);
}

#[test]
fn variables_that_are_not_ours_and_empty_ones_are_passed_over() {
    let variables = [
        ("PROGRESSD_URL", "x"),
        ("PROGRESSD_PORT", "tcp://x"),
        ("SSE_OTHER", "x"),
        ("PROGRESSD__STREAM__RETRY_MS", ""),
    ];
    assert_eq!(assert_valid(None, &variables), assert_valid(None, &[]));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let file = "color = 1\n[server]\nlisten = 'localhost'\nbacklog = 5\n[stream]\nhartbeat_seconds = 5\nretry_ms = 0\n\
                [limits]\nheader_bytes = 100\ntags = '3'\n[extra]\n[log]\nfilter = 'inf'\nformat = 'xml'\n";
    let variables = [
        ("PROGRESSD__STREAM__UPDATE_INTERVAL", "5"),
        ("PROGRESSD__EVENTS__MAX_COUNT", "many"),
        ("PROGRESSD__AUTH__JWT__0__SECRET", SECRET),
        ("SSE_SOURCE", "disk"),
    ];
    insta::assert_snapshot!(mistakes(Some(file), &variables).join("\n"), @r#"
    unknown key `color` in `p.toml`
    unknown key `extra` in `p.toml`
    `limits.header_bytes` must be a whole number from 8192 to 1048576, but `p.toml` says 100
    `limits.tags` must be a whole number from 0 to 1000, but `p.toml` says "3"
    `log.filter` must be levels, also by module, such as "info" or "info,progressd=debug", but `p.toml` says "inf"
    `log.format` must be "text" or "json", but `p.toml` says "xml"
    unknown key `server.backlog` in `p.toml`
    `server.listen` must be an IP address and a port, such as "127.0.0.1:8080", but `p.toml` says "localhost"
    unknown key `stream.hartbeat_seconds` in `p.toml`: did you mean `stream.heartbeat_seconds`?
    `stream.retry_ms` must be a whole number from 1 to 3600000, but `p.toml` says 0
    `auth.jwt` in the variable `PROGRESSD__AUTH__JWT__0__SECRET` must be a list of tables, which only a file can hold: write `[[auth.jwt]]`
    `events.max_count` must be a whole number from 1 to 1000000, but the variable `PROGRESSD__EVENTS__MAX_COUNT` says "many"
    `store.backend` must be "memory", "embedded", "redis" or "db" (PostgreSQL), but the variable `SSE_SOURCE` says "disk"
    unknown key `stream.update_interval` in the variable `PROGRESSD__STREAM__UPDATE_INTERVAL`: did you mean `stream.update_interval_ms`?
    "#);
}

#[test]
fn values_out_of_range_or_of_a_wrong_kind_name_the_key() {
    for (file, key) in [
        ("stream.retry_ms = -1", "stream.retry_ms"),
        ("stream.retry_ms = 1.5", "stream.retry_ms"),
        ("stream.retry_ms = true", "stream.retry_ms"),
        ("stream.retry_ms = 9223372036854775807", "stream.retry_ms"),
        ("stream.retry_ms = [1]", "stream.retry_ms"),
        ("stream = 1", "stream"),
        ("server.listen = 8080", "server.listen"),
        ("server.listen = '127.0.0.1'", "server.listen"),
        ("server.listen = '127.0.0.1:65536'", "server.listen"),
        ("store.backend = 'sqlite'", "store.backend"),
        ("runner.email.dns = '8.8.8.8'", "runner.email.dns"),
        ("log.filter = 'info,['", "log.filter"),
        ("auth.mode = 'off'", "auth.mode"),
        (
            "limits.http2_max_streams = 4294967296",
            "limits.http2_max_streams",
        ),
    ] {
        let mistakes = mistakes(Some(file), &[]);
        assert_eq!(mistakes.len(), 1, "{file}: {mistakes:?}");
        assert!(
            mistakes[0].starts_with(&format!("`{key}` ")),
            "{file}: {mistakes:?}"
        );
    }
}

#[test]
fn every_bound_itself_is_allowed() {
    assert_valid(
        Some("stream = { update_interval_ms = 0, retry_ms = 1, heartbeat_seconds = 3600 }"),
        &[],
    );
    assert_valid(
        Some("jobs = { lease_seconds = 0, abandon_after_seconds = 0, gone_seconds = 0 }"),
        &[],
    );
}

#[test]
fn dns_is_that_of_the_machine_or_none_or_a_named_server() {
    for (text, dns) in [
        ("system", DnsSource::System),
        ("off", DnsSource::Off),
        (
            "127.0.0.1:5353",
            DnsSource::Server(([127, 0, 0, 1], 5353).into()),
        ),
        (
            "[::1]:53",
            DnsSource::Server((Ipv6Addr::LOCALHOST, 53).into()),
        ),
    ] {
        let config = Config::from_toml(&format!("runner.email.dns = '{text}'")).expect("valid");
        assert_eq!(config.runner.email.dns, dns, "{text}");
    }
    for text in ["", "System", "127.0.0.1", "localhost:53", "on"] {
        let refused = Config::from_toml(&format!("runner.email.dns = '{text}'"));
        let error = refused.expect_err(text).to_string();
        assert!(error.starts_with("`runner.email.dns` must be"), "{error}");
    }
}

#[test]
fn zero_connections_leave_their_number_to_the_limit_of_descriptors() {
    let config =
        |number| Config::from_toml(&format!("limits.max_connections = {number}")).expect("valid");
    assert_eq!(config(0).limits.max_connections(), None);
    assert_eq!(config(7).limits.max_connections(), Some(7));
}

#[test]
fn the_bounds_on_requests_are_those_of_the_settings() {
    let limits = |text| Config::from_toml(text).expect("valid").limits;
    assert_eq!(limits("").bounds(), Bounds::default());
    let text = "[limits]\nmessage_chars = 1\nstep_chars = 2\nkind_chars = 3\nunit_chars = 4\n\
                tag_chars = 5\ntags = 6\ndata_bytes = 7\nresult_bytes = 8\nevent_data_bytes = 9";
    let expected = Bounds {
        message_chars: 1,
        step_chars: 2,
        kind_chars: 3,
        unit_chars: 4,
        tag_chars: 5,
        tags: 6,
        data_bytes: 7,
        result_bytes: 8,
        event_data_bytes: 9,
    };
    assert_eq!(limits(text).bounds(), expected);
}

#[test]
fn an_unreadable_or_malformed_file_is_one_mistake_that_quotes_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_progressd"))
        .args(["check", "--config", "missing.toml"])
        .env_clear()
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8(output.stderr).expect("the output is UTF-8");
    assert!(
        stderr.starts_with("error: cannot read the configuration file `missing.toml`: "),
        "{stderr}"
    );

    let mistakes = mistakes(
        Some("[log]\n\n[[auth.jwt]]\nsecret = \"do not show me\n"),
        &[],
    );
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("`p.toml` is not valid TOML at line 4: "),
        "{mistakes:?}"
    );
    assert!(!mistakes[0].contains("show me"), "{mistakes:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let file = "[events]\nmax_bytes = 1000\nmax_total_bytes = 999\n";
    insta::assert_snapshot!(mistakes(Some(file), &[]).join("\n"), @"
    `events.max_bytes` must not be above `events.max_total_bytes`: one job may not keep more than all
    ");
    let file = "[limits]\njson_body_bytes = 11\nupload_bytes = 12\nndjson_line_bytes = 12\n\
                bodies_in_flight_bytes = 11\n";
    insta::assert_snapshot!(mistakes(Some(file), &[]).join("\n"), @"
    `limits.upload_bytes` must not be above `limits.bodies_in_flight_bytes`: one body may not be larger than all
    `limits.ndjson_line_bytes` must not be above `limits.bodies_in_flight_bytes`: one body may not be larger than all
    ");
}

#[test]
fn a_path_that_is_a_folder_is_no_configuration_file() {
    let sources = Sources {
        file: Some(PathBuf::from("/")),
        ..Sources::default()
    };
    let error = Config::load(&sources).expect_err("a folder is no file");
    assert_eq!(error.problems().len(), 1);
}

#[test]
fn a_name_close_to_a_known_one_or_in_another_section_is_offered() {
    for (file, offered) in [
        ("stream.retry = 1", "stream.retry_ms"),
        ("limits.max_count = 1", "events.max_count"),
        ("sever.listen = 'x'", "server.listen"),
        ("retry_ms = 1", "stream.retry_ms"),
    ] {
        let mistakes = mistakes(Some(file), &[]).join("\n");
        assert!(
            mistakes.ends_with(&format!(": did you mean `{offered}`?")),
            "{mistakes}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_variable_of_ours_that_is_not_utf8_is_a_mistake_and_others_may_be_anything() {
    use std::os::unix::ffi::OsStringExt;

    let load = |name: &str| {
        let environment = vec![(name.into(), OsString::from_vec(vec![0xff]))];
        Config::load(&Sources {
            environment,
            ..Sources::default()
        })
    };
    assert!(load("OTHER").is_ok());
    let error = load("PROGRESSD__LOG__FILTER").expect_err("the value is no text");
    assert_eq!(
        error.problems(),
        ["the variable `PROGRESSD__LOG__FILTER` is not valid UTF-8"]
    );
}
