//! A TCP proxy that cuts a stream once, as a restarted proxy or a train tunnel does: between two blocks, or within one.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

/// What ends a block.
const BLOCK_END: &[u8] = b"\n\n";

/// How much is left of a block that is cut within its last line: the last digits of its id, and the blank line.
const LAST_DIGITS: usize = 6;

/// What ends a request, none of which has a body here.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A running proxy; it and its connections end when dropped.
#[derive(Debug)]
pub(crate) struct CutProxy {
    pub(crate) url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

/// What has passed through.
#[derive(Debug, Default)]
struct Seen {
    /// The cursor of each request for a stream, in order.
    cursors: Vec<Option<String>>,
    has_cut: bool,
}

/// Where the first stream is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// How many blocks pass whole.
    blocks: usize,
    /// Whether the next one passes too, all but the end of its last line.
    is_within: bool,
}

impl CutProxy {
    /// A proxy in front of `upstream`, which cuts the first stream after `blocks` blocks.
    pub(crate) async fn start(upstream: &str, blocks: usize) -> Self {
        let is_within = false;
        Self::cutting(upstream, Cut { blocks, is_within }).await
    }

    /// The same, but the cut is in the last line of the block after those: its data has passed, its id has not.
    pub(crate) async fn start_within(upstream: &str, blocks: usize) -> Self {
        let is_within = true;
        Self::cutting(upstream, Cut { blocks, is_within }).await
    }

    async fn cutting(upstream: &str, cut: Cut) -> Self {
        let upstream = upstream
            .strip_prefix("http://")
            .expect("a plain URL")
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let serving = tokio::spawn(serve(listener, upstream, cut, Arc::clone(&seen)));
        Self {
            url: format!("http://{address}"),
            seen,
            serving,
        }
    }

    /// The `Last-Event-ID` of each request for a stream so far.
    pub(crate) fn cursors(&self) -> Vec<Option<String>> {
        self.lock().cursors.clone()
    }

    /// Whether the cut has been made.
    pub(crate) fn has_cut(&self) -> bool {
        self.lock().has_cut
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no section panics")
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, upstream: String, cut: Cut, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a listener that accepts");
        let server = TcpStream::connect(&upstream).await.expect("the server");
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            // Whichever ends first takes the other, and both sockets, with it.
            tokio::select! {
                () = pass_requests(from_client, to_server, &seen) => {}
                () = pass_answers(from_server, to_client, cut, &seen) => {}
            }
        });
    }
}

async fn pass_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: &Mutex<Seen>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..read]);
        while let Some(end) = find(&head, HEAD_END) {
            let rest = head.split_off(end);
            let request = String::from_utf8_lossy(&std::mem::replace(&mut head, rest)).into_owned();
            if request
                .lines()
                .next()
                .is_some_and(|line| line.contains("/stream"))
            {
                let cursor = request.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("last-event-id")
                        .then(|| value.to_owned())
                });
                seen.lock().expect("no section panics").cursors.push(cursor);
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Passes bytes on until there have been as many blocks as the first stream may have.
async fn pass_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut: Cut,
    seen: &Mutex<Seen>,
) {
    let mut waiting = Vec::new();
    while let Ok(1..) = from.read_buf(&mut waiting).await {
        let is_first_stream = {
            let seen = seen.lock().expect("no section panics");
            seen.cursors.len() == 1 && !seen.has_cut
        };
        // What does not end a block goes with the one that it begins: the cut may fall nowhere else.
        while is_first_stream && let Some(end) = find(&waiting, BLOCK_END) {
            let is_last = cut.blocks == usize::from(!cut.is_within);
            let end = match is_last && cut.is_within {
                true => end - LAST_DIGITS,
                // With the end of its chunk, when that is there.
                false if waiting[end..].starts_with(b"\r\n") => end + 2,
                false => end,
            };
            let rest = waiting.split_off(end);
            let block = std::mem::replace(&mut waiting, rest);
            if to.write_all(&block).await.is_err() {
                return;
            }
            cut.blocks = cut.blocks.saturating_sub(1);
            if is_last {
                seen.lock().expect("no section panics").has_cut = true;
                return;
            }
        }
        // A block that is to be cut must be there whole. What ends the chunk of the block before is none of it.
        let is_to_be_cut = is_first_stream && cut.is_within && cut.blocks == 0;
        if is_to_be_cut && waiting != b"\r\n" {
            continue;
        }
        if to.write_all(&std::mem::take(&mut waiting)).await.is_err() {
            return;
        }
    }
}

/// Where the first `end` in `bytes` is over.
fn find(bytes: &[u8], end: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(end.len());
    windows
        .position(|window| window == end)
        .map(|position| position + end.len())
}
