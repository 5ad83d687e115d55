//! The architecture's own rules, and that the README tells the truth.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Longest source file: more is a sign of two nouns.
const MOST_LINES: usize = 450;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files
}

/// The words between back quotes in the first column of the README's tables whose header is `header`.
fn first_column(header: &str) -> BTreeSet<String> {
    let readme = read("README.md");
    let table = readme
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_domain_neither_awaits_nor_reads_clocks_nor_knows_the_outside() {
    let foreign = [
        "tokio",
        "axum",
        "hyper",
        ".await",
        "async ",
        "Instant",
        "SystemTime",
        "std::net",
        "std::fs",
        "crate::http",
        "crate::store",
        "crate::registry",
        "crate::hub",
        "crate::stream",
        "crate::runner",
        "crate::config",
        "crate::auth",
    ];
    let mut files = rust_files("src/job");
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/job.rs"));
    for file in files {
        let text = read(&file);
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            let found = foreign.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn registry_hub_and_store_have_never_heard_of_http() {
    for folder in ["src/registry", "src/hub", "src/store", "src/runner"] {
        for file in rust_files(folder) {
            let text = read(&file);
            for word in ["axum", "hyper", "crate::http", "crate::stream"] {
                assert!(!text.contains(word), "{} names {word}", file.display());
            }
        }
    }
}

#[test]
fn every_file_opens_with_its_purpose_and_is_read_in_one_sitting() {
    for folder in ["src", "tests", "benches"] {
        for file in rust_files(folder) {
            let text = read(&file);
            assert!(
                text.starts_with("//! "),
                "{} does not say what it is for",
                file.display()
            );
            let lines = text.lines().count();
            assert!(lines <= MOST_LINES, "{} has {lines} lines", file.display());
        }
    }
}

#[test]
fn the_readme_names_exactly_the_configuration_keys() {
    let mut keys = BTreeSet::new();
    let defaults: toml::Table = read("config/default.toml").parse().expect("TOML");
    collect_keys("", &defaults, &mut keys);
    assert_eq!(first_column("| key | default |"), keys);
}

fn collect_keys(prefix: &str, table: &toml::Table, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value.as_table() {
            Some(table) => collect_keys(&format!("{key}."), table, keys),
            None => {
                keys.insert(key);
            }
        }
    }
}

#[test]
fn the_readme_names_exactly_the_error_codes() {
    let source = read("src/http/error.rs");
    let is_code = |word: &&str| {
        word.contains(|letter: char| letter.is_ascii_uppercase())
            && word
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    // The words on the wire are the only string literals in capitals there.
    let codes: BTreeSet<_> = source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_code)
        .map(str::to_owned)
        .collect();
    let readme = read("README.md");
    let table = readme
        .lines()
        .skip_while(|line| !line.starts_with("| status | code |"))
        .skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let told: BTreeSet<_> = rows
        .filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, codes);
}

#[test]
fn the_readme_names_exactly_the_routes() {
    let source: String = read("src/http.rs").split_whitespace().collect();
    let mut routes = BTreeSet::new();
    let mut nested = "";
    for call in source.split(".route(\"").skip(1) {
        let (path, handlers) = call.split_once('"').expect("a path in quotes");
        if path == "/jobs" {
            nested = "/api/v1";
        } else if path == "/healthz" {
            nested = "";
        }
        let handlers = handlers.split(".nest(").next().unwrap_or_default();
        for method in ["get", "post", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                routes.insert(format!("{} {nested}{path}", method.to_uppercase()));
            }
        }
    }
    assert!(routes.len() > 10, "{routes:?}");
    assert_eq!(first_column("| call | does |"), routes);
}
