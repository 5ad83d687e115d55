//! Pushpin with all its processes, and the backend that it asks about every watcher.

use std::{
    convert::Infallible,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    mark::{Mark, Template, scan},
    peer::{Dialect, Message, Server, request, stream_headers},
    process::{Process, free_address},
};

const CONFIGURATION: &str = include_str!("../../peers/pushpin.conf");
const ROUTES: &str = include_str!("../../peers/routes");

const START_PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn start(
    template: &Template,
    folder: TempDir,
    core: Option<usize>,
) -> anyhow::Result<Server> {
    let backend = serve_backend(block(template, Mark { number: 0, sent: 0 }))?;
    let (watch_address, publish_address) = (free_address()?, free_address()?);
    let place = folder.path().to_str().context("a path in UTF-8")?;
    let config = CONFIGURATION
        .replace("@folder@", place)
        .replace("@address@", &watch_address.to_string())
        .replace("@publish_port@", &publish_address.port().to_string())
        .replace("@push_port@", &free_address()?.port().to_string())
        .replace("@sub_port@", &free_address()?.port().to_string())
        .replace("@command_port@", &free_address()?.port().to_string());
    let file = folder.path().join("pushpin.conf");
    fs::write(&file, config)?;
    fs::write(
        folder.path().join("routes"),
        ROUTES.replace("@backend@", &backend.to_string()),
    )?;
    let argument = format!("--config={}", file.display());
    let mut process = Process::start("pushpin", &[&argument], core, None)?;
    process.wait_for(watch_address)?;
    process.wait_for(publish_address)?;
    let items = Items(template.clone());
    wait_until_it_asks(watch_address, &items.watch(0, None))?;
    Ok(Server {
        process,
        watch_address,
        publish_address,
        dialect: Box::new(items),
        token: None,
        _folder: Some(folder),
    })
}

/// Its processes find each other some time after they listen, and until then requests are lost
/// between them. So watchers try until one gets a block.
fn wait_until_it_asks(address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < START_PATIENCE {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.write_all(request)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = socket.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..read]);
            let mut marks = 0;
            scan(&answer, |_| marks += 1);
            if marks > 0 {
                return Ok(());
            }
        }
    }
    anyhow::bail!("Pushpin brings no stream")
}

/// Answers as an application behind Pushpin does: with the present state, and the order to hold the
/// connection and to add what is published. It is part of the load: its CPU time is not Pushpin's.
fn serve_backend(state: String) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // It ends with the program.
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (socket, _) = listener.accept().await?;
                let state = state.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let channel = request.uri().path().rsplit('/').next();
                    let response = Response::builder()
                        .header("Content-Type", "text/event-stream")
                        .header("Grip-Hold", "stream")
                        .header("Grip-Channel", channel.unwrap_or_default())
                        .body(Full::<bytes::Bytes>::from(state.clone()))
                        .expect("a channel is a number");
                    async { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
            #[expect(unreachable_code, reason = "it says what the block returns")]
            Ok::<_, std::io::Error>(())
        })
    });
    Ok(address)
}

/// A block as progressd writes it: here the publisher has to.
fn block(template: &Template, mark: Mark) -> String {
    let (status, number) = (template.fill(mark), mark.number);
    format!("event: status\ndata: {status}\nid: {number}\n\n")
}

struct Items(Template);

impl Dialect for Items {
    /// The backend has the first message.
    fn create(&self, _channel: u32) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn watch(&self, channel: u32, last_id: Option<&str>) -> Vec<u8> {
        let path = format!("/watch/{channel}");
        request("GET", &path, &stream_headers(last_id), "")
    }

    fn publish(&self, messages: &[Message]) -> Vec<u8> {
        let items = messages.iter().map(|message| {
            let content = block(&self.0, message.mark);
            json!({"channel": message.channel.to_string(), "formats": {"http-stream": {"content": content}}})
        });
        let body = json!({"items": items.collect::<Vec<_>>()}).to_string();
        request(
            "POST",
            "/publish/",
            "Content-Type: application/json\r\n",
            &body,
        )
    }

    /// Its control port closes every connection after the answer, so what waits goes together.
    fn most_at_once(&self) -> usize {
        64
    }

    fn keeps_connections(&self) -> bool {
        false
    }
}
