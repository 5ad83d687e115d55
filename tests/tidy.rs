//! The architecture's own rules, and that the README tells the truth.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Longest source file: more is a sign of two nouns.
const MOST_LINES: usize = 450;

/// What only the layers on top may name.
const SERVERS: &[&str] = &["axum", "hyper"];

/// The layers below HTTP: each module, the others that it may know, and crates that it may not name.
///
/// `metrics` is a leaf: handles, and nothing of who counts with them.
const NEIGHBOURS: [(&str, &[&str], &[&str]); 11] = [
    ("metrics", &[], &["axum", "hyper", "tokio"]),
    ("job", &[], &["axum", "hyper", "tokio"]),
    ("frame", &["job"], &["axum", "hyper", "tokio"]),
    ("view", &["frame", "job"], &["axum", "hyper", "tokio"]),
    ("hub", &["frame", "job", "view"], SERVERS),
    ("store", &["job", "metrics"], SERVERS),
    (
        "registry",
        &["frame", "hub", "job", "metrics", "store", "view"],
        SERVERS,
    ),
    ("intake", &["job", "metrics", "registry", "store"], SERVERS),
    // Its words say who asks for its pieces: hyper, where it writes a body.
    (
        "stream",
        &[
            "frame", "hub", "job", "metrics", "registry", "store", "view",
        ],
        &["axum"],
    ),
    // Its words say where its sockets come from: hyper.
    ("delivery", &["metrics", "stream"], &["axum"]),
    ("runner", &["config", "job", "registry", "store"], SERVERS),
];

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

/// A module's own file and those of its folder, when it has one.
fn module_files(module: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = match source.join(module).is_dir() {
        true => rust_files(&format!("src/{module}")),
        false => Vec::new(),
    };
    files.push(source.join(module).with_extension("rs"));
    files
}

/// The crate's modules that a source text names, in paths and in groups of imports.
fn known_modules(text: &str) -> BTreeSet<String> {
    let text: String = text.split_whitespace().collect();
    let mut known = BTreeSet::new();
    for path in text.split("crate::").skip(1) {
        let is_group = path.starts_with('{');
        let mut depth = 0;
        for part in path.split_inclusive(['{', '}', ',']) {
            let is_name = |letter: &char| letter.is_alphanumeric() || *letter == '_';
            let name: String = part.chars().take_while(is_name).collect();
            // Deeper in a group are the names of what the modules hold.
            if depth <= 1 && !name.is_empty() {
                known.insert(name);
            }
            depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            if !is_group || depth == 0 {
                break;
            }
        }
    }
    known
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
fn the_domain_neither_awaits_nor_reads_clocks_nor_touches_the_outside() {
    let foreign = [
        ".await",
        "async ",
        "Instant",
        "SystemTime",
        "std::net",
        "std::fs",
    ];
    for file in module_files("job") {
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
fn every_module_knows_its_neighbours_alone() {
    for (module, may_know, foreign_crates) in NEIGHBOURS {
        for file in module_files(module) {
            let text = read(&file);
            for known in known_modules(&text) {
                let is_neighbour = known == module || may_know.contains(&&*known);
                assert!(is_neighbour, "{} names crate::{known}", file.display());
            }
            for foreign in foreign_crates {
                assert!(
                    !text.contains(foreign),
                    "{} names {foreign}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn modules_are_known_by_a_path_or_in_a_group() {
    let text =
        "use crate::{\n    job::{Json, Seq},\n    hub::Hub,\n};\nfn f() { crate::store::g() }";
    let known: Vec<_> = known_modules(text).into_iter().collect();
    assert_eq!(known, ["hub", "job", "store"]);
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

#[test]
fn every_configuration_key_has_its_meaning_directly_above_it() {
    let defaults = read("config/default.toml");
    let mut before = "";
    let mut keys = 0;
    for line in defaults.lines() {
        // Examples of keys in lists of tables stand behind a number sign without a space.
        let example = line.strip_prefix('#').unwrap_or(line);
        let is_key = example.starts_with(|first: char| first.is_ascii_lowercase());
        if is_key && example.contains(" = ") {
            assert!(before.starts_with("# "), "{line:?} comes after {before:?}");
            keys += 1;
        }
        before = line;
    }
    let mut known = BTreeSet::new();
    collect_keys("", &defaults.parse().expect("TOML"), &mut known);
    assert!(keys > known.len(), "{keys} with the examples");
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

/// The words on the wire.
fn error_codes() -> BTreeSet<String> {
    let source = read("src/http/error.rs");
    let is_code = |word: &&str| {
        word.contains(|letter: char| letter.is_ascii_uppercase())
            && word
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    // They are the only string literals in capitals there.
    let literals = source.split('"').skip(1).step_by(2);
    literals.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn the_readme_names_exactly_the_error_codes() {
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
    assert_eq!(told, error_codes());
}

/// The API document, which knows every route since none can be added without its description.
fn document() -> serde_json::Value {
    serde_json::from_str(progressd::http::openapi::document()).expect("the document is JSON")
}

/// Every route as `GET /path`.
fn routes() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let routes = paths.iter().flat_map(|(path, calls)| {
        let methods = calls.as_object().expect("calls").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    routes.collect()
}

#[test]
fn the_readme_names_exactly_the_routes() {
    assert_eq!(first_column("| call | does |"), routes());
}

#[test]
fn the_paths_beside_the_route_table_are_those_of_the_routes() {
    let source = read("src/http.rs");
    let lines = source
        .lines()
        .filter(|line| line.contains(".routes(routes!("));
    let mut told: Vec<_> = lines
        .map(|line| {
            let (_, path) = line.split_once("// ").expect("a path beside the route");
            path.to_owned()
        })
        .collect();
    told.sort_unstable();
    let paths = routes().into_iter();
    let paths: BTreeSet<_> = paths
        .filter_map(|route| route.split_once(' ').map(|(_, path)| path.to_owned()))
        .collect();
    assert_eq!(told, Vec::from_iter(paths));
}

#[test]
fn the_document_names_exactly_the_error_codes() {
    let document = document();
    let codes = &document["components"]["schemas"]["ErrorCode"]["enum"];
    let codes = codes.as_array().expect("words").iter();
    let codes: BTreeSet<_> = codes
        .filter_map(|code| code.as_str())
        .map(str::to_owned)
        .collect();
    assert_eq!(codes, error_codes());
}

#[test]
fn only_the_api_knows_how_it_is_described() {
    for file in rust_files("src") {
        let is_api = file.components().any(|part| part.as_os_str() == "http")
            || file.ends_with("src/http.rs");
        let names_it = read(&file).contains("utoipa");
        assert!(is_api || !names_it, "{} names utoipa", file.display());
    }
}
