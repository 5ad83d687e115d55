//! Files that cannot be used end the start with a sentence.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::{folder, started};
use crate::support::in_time;

/// What the server says that does not start.
async fn refusal(command: &mut Command, folder: &Path) -> String {
    command.current_dir(folder).env_clear().kill_on_drop(true);
    let output = in_time("the end of the start", command.output()).await;
    let output = output.expect("the binary starts");
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let mut sentences = stderr.lines().filter(|line| line.starts_with("error: "));
    let sentence = sentences
        .next()
        .unwrap_or_else(|| panic!("no sentence: {stderr}"));
    assert_eq!(sentences.next(), None, "{stderr}");
    sentence.to_owned()
}

fn serve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command
}

#[tokio::test]
async fn a_second_server_on_the_same_file_ends_with_a_sentence() {
    let folder = folder("");
    let (_process, server) = started(&folder).await;
    assert_eq!(
        refusal(&mut serve(), folder.path()).await,
        "error: the store's file ./progressd.redb is in use by another process"
    );
    assert!(server.get("/readyz").await.status.is_success());
}

#[tokio::test]
async fn a_file_that_is_none_ends_the_start_with_a_sentence() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("progressd.redb"), "my notes\n").expect("written");
    assert_eq!(
        refusal(&mut serve(), folder.path()).await,
        "error: the store's file ./progressd.redb is damaged, or no file of progressd's: it does not begin as one"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_ends_the_start_with_a_sentence() {
    let folder = TempDir::new().expect("a folder");
    let permissions = fs::Permissions::from_mode(0o555);
    fs::set_permissions(folder.path(), permissions).expect("set");
    // The superuser may write everywhere.
    let is_superuser = fs::write(folder.path().join("probe"), "").is_ok();
    let mut command = serve();
    if is_superuser {
        command.uid(65_534).gid(65_534);
    }
    assert_eq!(
        refusal(&mut command, folder.path()).await,
        "error: the store's file ./progressd.redb cannot be created: Permission denied (os error 13)"
    );
}

#[tokio::test]
async fn a_disk_without_room_for_a_new_file_ends_the_start_with_a_sentence() {
    let folder = TempDir::new().expect("a folder");
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" serve --listen 127.0.0.1:0";
    command.args(["-c", script, env!("CARGO_BIN_EXE_progressd")]);
    assert_eq!(
        refusal(&mut command, folder.path()).await,
        "error: the store's file ./progressd.redb cannot be created: File too large (os error 27)"
    );
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "nothing is left"
    );
}
