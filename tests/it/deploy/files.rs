//! The other files that are shipped: each is read by the program that it is for, or at least by a strict parser.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use progressd::config::{Config, StoreBackend};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{in_time, nginx::SHIPPED};

const UNIT: &str = include_str!("../../../config/deploy/systemd/progressd.service");
const COMPOSE: &str = include_str!("../../../config/deploy/compose.yaml");
const DOCKERFILE: &str = include_str!("../../../Dockerfile");

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Runs a program that must succeed; what it printed.
async fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = in_time(program, command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; is it installed?"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program}: {stdout}{stderr}");
    stdout + &stderr
}

/// The values of a key of the unit file.
fn unit(key: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter_map(|(name, value)| (name == key).then_some(value));
    values.collect()
}

#[tokio::test]
async fn the_example_configuration_is_valid_and_closed() {
    let path = at("config/deploy/progressd.toml");
    let path = path.to_str().expect("UTF-8");
    let arguments = ["check", "--config", path];
    let printed = output(env!("CARGO_BIN_EXE_progressd"), &arguments).await;
    assert!(printed.starts_with("configuration is valid\n"), "{printed}");
    assert!(printed.contains("access: by 1 API key"), "{printed}");
}

#[tokio::test]
async fn systemd_reads_the_unit_and_finds_it_hardened() {
    // systemd looks whether the programs are there.
    let unit = UNIT.replace("/usr/local/bin/progressd", env!("CARGO_BIN_EXE_progressd"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("progressd.service");
    fs::write(&path, unit).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let complaints = output("systemd-analyze", &["verify", path]).await;
    let about_ours: Vec<_> = complaints
        .lines()
        .filter(|line| line.contains("progressd"))
        .collect();
    assert_eq!(about_ours, [""; 0]);
    // The scale goes from 0 to 10, and in this option to 100; what listens on the network has 1.0 by that.
    let options = ["security", "--offline=true", "--threshold=15", "--no-pager"];
    output("systemd-analyze", &[&options[..], &[path]].concat()).await;
}

#[test]
fn jobs_are_kept_where_the_service_may_write_and_the_container_has_a_volume() {
    let config = Config::from_toml(include_str!("../../../config/deploy/progressd.toml"));
    let store = config.expect("a valid example").store;
    assert_eq!(store.backend, StoreBackend::Embedded);
    let folder = store.embedded.path.parent().expect("a folder");
    // systemd keeps state directories under /var/lib (systemd.exec, StateDirectory).
    let [state] = unit("StateDirectory")[..] else {
        panic!("one StateDirectory");
    };
    assert_eq!(folder, Path::new("/var/lib").join(state));
    assert_eq!(unit("WorkingDirectory"), [format!("%S/{state}")]);
    let compose = yaml(COMPOSE);
    let volume = format!("data:{}", folder.display());
    assert_eq!(compose["services"]["progressd"]["volumes"][0], *volume);
    let line = format!(
        "COPY --from=build --chown=65532:65532 /data {}",
        folder.display()
    );
    assert!(
        DOCKERFILE.lines().any(|has| has == line),
        "the volume begins as a writable folder"
    );
}

#[test]
fn a_drain_is_over_before_whoever_manages_the_service_loses_patience() {
    let config = Config::from_toml(include_str!("../../../config/deploy/progressd.toml"));
    let drain = config.expect("a valid example").stream.drain().as_secs();
    let [stop] = unit("TimeoutStopSec")[..] else {
        panic!("one TimeoutStopSec");
    };
    let stop: u64 = stop.parse().expect("seconds");
    assert!(drain < stop);
    let grace = format!("{stop}s");
    let compose = yaml(COMPOSE);
    assert_eq!(
        compose["services"]["progressd"]["stop_grace_period"],
        *grace
    );
}

#[tokio::test]
async fn the_compose_file_names_what_exists_and_changes_the_proxys_configuration_in_two_places() {
    let compose = yaml(COMPOSE);
    let services = compose["services"].as_object().expect("services");
    assert_eq!(services.keys().collect::<Vec<_>>(), ["progressd", "nginx"]);
    let folder = at("config/deploy");
    assert!(folder.join("../../Dockerfile").is_file());
    assert_eq!(compose["services"]["progressd"]["build"], "../..");
    let secret = compose["secrets"]["progressd.toml"]["file"].as_str();
    assert_eq!(secret, Some("${PROGRESSD_CONFIG:-./progressd.toml}"));
    let mount = compose["services"]["nginx"]["volumes"][0].as_str();
    let mount = mount.and_then(|mount| mount.strip_suffix(":/progressd.conf:ro"));
    assert!(folder.join(mount.expect("a mount")).is_file());

    let command = compose["services"]["nginx"]["command"][2].as_str();
    let (sed, _) = command
        .expect("a command")
        .split_once(" > ")
        .expect("sed and what follows");
    let source = at("config/deploy/nginx/progressd.conf");
    let source = source.to_str().expect("UTF-8");
    let changed = output("sh", &["-c", &sed.replace("/progressd.conf", source)]).await;
    let expected = SHIPPED
        .replace("127.0.0.1:8080", "progressd:8080")
        .replace("/var/log/nginx/progressd.log", "/dev/stdout");
    assert_eq!(changed, expected);
    assert_eq!(changed.matches("progressd:8080").count(), 2);
}

#[test]
fn the_image_is_built_from_files_that_exist_with_the_toolchain_of_the_package() {
    let manifest = include_str!("../../../Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let version = manifest["package"]["rust-version"].as_str();
    let base = format!("FROM rust:{}-slim-bookworm", version.expect("a version"));
    assert!(DOCKERFILE.contains(&base), "not {base}");
    let copied = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words[..words.len() - 1].to_vec()
        });
    let copied: BTreeSet<_> = copied.collect();
    let ignored = include_str!("../../../.dockerignore");
    let kept = ignored.lines().filter_map(|line| line.strip_prefix('!'));
    assert_eq!(copied, kept.collect());
    for path in &copied {
        assert!(at(path).exists(), "{path}");
    }
    // Without it the package would still build, until something misses what it makes.
    assert!(copied.contains("build.rs"));
}

#[test]
fn the_workflows_are_yaml_with_no_more_rights_than_they_need() {
    for name in ["ci", "release"] {
        let text = fs::read_to_string(at(&format!(".github/workflows/{name}.yml")));
        let workflow = yaml(&text.expect("a workflow"));
        let rights = &workflow["permissions"];
        assert_eq!(*rights, serde_json::json!({"contents": "read"}), "{name}");
    }
}
