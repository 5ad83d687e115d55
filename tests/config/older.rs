//! The variables of services that were there before, by which five keys can be set.

use super::assert_valid;

#[test]
fn the_older_variables_work_and_the_long_names_win_over_them() {
    let stdout = assert_valid(
        None,
        &[
            ("SSE_SOURCE", "memory"),
            ("SSE_MAX_DURATION", "10"),
            ("SSE_HEARTBEAT_SECONDS", "11"),
            ("SSE_RETRY_MS", "12"),
            ("PROGRESSD__STREAM__RETRY_MS", "13"),
        ],
    );
    let values: Vec<_> = stdout
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once("  #"))
        .map(|line| line.0)
        .collect();
    assert_eq!(
        values,
        [
            "store.backend = \"memory\"",
            "stream.heartbeat_seconds = 11",
            "stream.max_duration_seconds = 10",
            "stream.retry_ms = 13"
        ]
    );
}

#[test]
fn the_older_source_names_every_store_and_the_default_one_is_no_change() {
    for name in ["memory", "redis", "db", "postgres"] {
        let stdout = assert_valid(
            None,
            &[
                ("SSE_SOURCE", name),
                ("SSE_FALLBACK_DB_INTERVAL_SECONDS", "7"),
            ],
        );
        for setting in [
            format!("store.backend = \"{name}\""),
            "store.postgres.poll_interval_seconds = 7".to_owned(),
        ] {
            assert!(stdout.contains(&setting), "{stdout}");
        }
    }
    let default = assert_valid(None, &[("SSE_SOURCE", "embedded")]);
    assert!(!default.contains("store.backend"), "{default}");
}
