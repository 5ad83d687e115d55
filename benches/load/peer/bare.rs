//! The yardstick: a loop that does nothing but `send` to every socket.
//!
//! It runs as a process of its own, in another run of this program. It checks nothing and is in
//! trouble with the first watcher that does not read; no real server can be cheaper.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Context as _;

use crate::{
    mark::Template,
    peer::{Dialect, Message, Server, request, stream_headers},
    process::Process,
};

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub(super) fn start(template: &Template, core: Option<usize>) -> anyhow::Result<Server> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let process = Process::start(program, &["bare"], core, Some("listening on "))?;
    let address = process.ready_line().rsplit(' ').next();
    let address = address.context("its address")?.trim().parse()?;
    Ok(Server {
        process,
        watch_address: address,
        publish_address: address,
        dialect: Box::new(Paths(template.clone())),
        token: None,
        _folder: None,
    })
}

struct Paths(Template);

impl Dialect for Paths {
    fn watch(&self, channel: u32, last_id: Option<&str>) -> Vec<u8> {
        request("GET", &format!("/{channel}"), &stream_headers(last_id), "")
    }

    fn publish(&self, messages: &[Message]) -> Vec<u8> {
        let requests = messages.iter().flat_map(|message| {
            let path = format!("/{}", message.channel);
            let block = format!("data: {}\n\n", self.0.fill(message.mark));
            request("POST", &path, "", &block)
        });
        requests.collect()
    }
}

/// Each path's newest block and its watchers.
type Channels = Mutex<HashMap<String, (Vec<u8>, Vec<TcpStream>)>>;

/// Serves until it is ended: a thread for the watchers, one for each publisher.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let channels = Arc::<Channels>::default();
    loop {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut input = Vec::new();
        // Whoever connects and says nothing holds up the others; nobody here does.
        let Some((head, body_begin)) = read_head(&mut socket, &mut input)? else {
            continue;
        };
        if head.is_stream {
            let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
            let (block, watchers) = channels.entry(head.path).or_default();
            let answer = [STREAM_HEAD.as_bytes(), block].concat();
            // A watcher that has left already is noticed by the next block.
            if socket.write_all(&answer).is_ok() {
                watchers.push(socket);
            }
        } else {
            let channels = Arc::clone(&channels);
            thread::spawn(move || publish(socket, input, head, body_begin, &channels));
        }
    }
}

/// Passes on one message after the other.
fn publish(
    mut socket: TcpStream,
    mut input: Vec<u8>,
    mut head: Head,
    mut body_begin: usize,
    channels: &Channels,
) -> anyhow::Result<()> {
    loop {
        let end = body_begin + head.length;
        while input.len() < end {
            if read_more(&mut socket, &mut input)? == 0 {
                return Ok(());
            }
        }
        let body = &input[body_begin..end];
        let mut locked = channels.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, watchers) = locked.entry(head.path).or_default();
        block.clear();
        block.extend_from_slice(body);
        watchers.retain_mut(|watcher| watcher.write_all(block).is_ok());
        drop(locked);
        socket.write_all(ANSWER.as_bytes())?;
        input.drain(..end);
        match read_head(&mut socket, &mut input)? {
            Some(next) => (head, body_begin) = next,
            None => return Ok(()),
        }
    }
}

struct Head {
    is_stream: bool,
    path: String,
    length: usize,
}

/// The next request's head and where its body begins; none when the client has left.
fn read_head(socket: &mut TcpStream, input: &mut Vec<u8>) -> anyhow::Result<Option<(Head, usize)>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(begin) = head.parse(input)? {
            let length = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.map_or(Ok("0"), |header| std::str::from_utf8(header.value))?;
            let head = Head {
                is_stream: head.method == Some("GET"),
                path: head.path.unwrap_or_default().to_owned(),
                length: length.parse()?,
            };
            return Ok(Some((head, begin)));
        }
        if read_more(socket, input)? == 0 {
            return Ok(None);
        }
    }
}

fn read_more(socket: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let read = socket.read(&mut buffer)?;
    input.extend_from_slice(&buffer[..read]);
    Ok(read)
}
