//! `progressd health`, the image's health check.

use std::process::Output;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use crate::support::{certificate::Certificate, in_time, ports::free_address, server::TestServer};

async fn health(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
    command
        .arg("health")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .kill_on_drop(true);
    in_time("the end of the command", command.output())
        .await
        .expect("the binary starts")
}

#[tokio::test]
async fn a_server_that_answers_is_healthy() {
    let server = TestServer::start().await;
    for output in [
        health(&[&server.url], &[]).await,
        health(&[], &[("PROGRESSD_URL", &server.url)]).await,
    ] {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout, b"{\"status\":\"ok\"}\n");
    }
}

#[tokio::test]
async fn nobody_and_a_wrong_answer_are_not_healthy() {
    let nobody = format!("http://{}", free_address());
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let wrong = format!("http://{}", listener.local_addr().expect("a bound socket"));
    let serving = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await?;
        client
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            .await?;
        // Until the client has gone: to close first could destroy what it has not read.
        client.read_to_end(&mut Vec::new()).await
    });
    for url in [nobody, wrong] {
        let output = health(&[&url], &[]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.starts_with("error: ask the server"), "{told}");
    }
    let served = in_time("the client's end", serving).await;
    served.expect("no panic").expect("a whole exchange");
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_name_is_asked_on_its_own_machine() {
    let server = TestServer::secured(&Certificate::new(), "").await;
    let output = health(&[&server.url], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
