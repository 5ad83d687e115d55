//! Programs whose bars people know. Each run ends with a code of its own, so that only the bar can have said how far
//! the work was.

use std::{fs, path::Path};

use serde_json::Value;

use super::{end_of, run};
use crate::support::server::TestServer;

/// Runs a script as a job in a folder with some files, and gives the job's status.
async fn status_after(script: &str) -> Value {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("from")).expect("a folder");
    for name in ["a", "b"] {
        fs::write(folder.path().join("from").join(name), vec![b'x'; 300_000]).expect("a file");
    }
    let script = format!("{script} || exit; exit 9");
    let mut command = run(&server.url, &["--id", "a", "--", "sh", "-c", &script]);
    let output = end_of(command.current_dir(folder.path()).env("NO_PROXY", "*")).await;
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    server.status("a").await
}

#[tokio::test]
async fn tqdm_is_understood() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/python/bin/python");
    let program = "from tqdm import tqdm\nfor i in tqdm(range(30)):\n  for j in tqdm(range(50), leave=False): pass";
    let status = status_after(&format!("{} -c '{program}'", python.display())).await;
    assert_eq!(status["processed_count"], 30);
    assert_eq!(status["total_count"], 30);
}

#[tokio::test]
async fn pv_is_understood() {
    for options in ["-n", "-f"] {
        let status = status_after(&format!("pv {options} -i 0.1 -L 1M from/a > to")).await;
        assert_eq!(status["progress_percentage"], 100, "{options}: {status}");
    }
}

#[tokio::test]
async fn rsync_is_understood() {
    let status = status_after("rsync -a --info=progress2 from/ to/").await;
    assert_eq!(status["progress_percentage"], 100, "{status}");
}

#[tokio::test]
async fn wget_is_understood() {
    for style in ["dot", "bar:force"] {
        let script = format!("wget --progress={style} -O to $PROGRESSD_URL/client.js");
        let status = status_after(&script).await;
        assert_eq!(status["progress_percentage"], 100, "{style}: {status}");
    }
}
