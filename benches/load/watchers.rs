//! The clients: raw SSE connections that count what they get.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
};

/// The longest wait for one round; a server that needs more is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections opened at a time: below 128, the backlog of the bare loop's listener.
const OPENED_AT_A_TIME: usize = 100;

/// How the line with a block's id begins.
const ID_LINE: &[u8] = b"\nid: ";

/// So much of every read is looked at again with the next, which may bring the rest of an
/// [`ID_LINE`]; too little to count one twice.
const CARRIED: usize = ID_LINE.len() - 1;

/// Raw SSE connections that count what they get. Dropping it closes them.
pub(crate) struct Watchers {
    counts: Arc<Counts>,
    connections: usize,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    blocks: AtomicUsize,
    last_frame_bytes: AtomicUsize,
    /// Told at every block that could complete a round.
    changed: Notify,
    /// The number of blocks that is waited for.
    awaited: AtomicUsize,
}

impl Watchers {
    /// Connects `count` times and asks for `url`.
    pub(crate) async fn open(address: &str, url: &str, count: usize) -> anyhow::Result<Self> {
        let request = format!("GET {url} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        let mut opened = 0;
        while opened < count {
            let batch = OPENED_AT_A_TIME.min(count - opened);
            let connects = (0..batch).map(|_| TcpStream::connect(address));
            for socket in futures_util::future::join_all(connects).await {
                let mut socket = socket.context("connect")?;
                socket.write_all(request.as_bytes()).await?;
                tasks.spawn(read_blocks(socket, Arc::clone(&counts)));
            }
            opened += batch;
        }
        Ok(Self {
            counts,
            connections: count,
            _tasks: tasks,
        })
    }

    /// Waits until every connection has had `blocks` blocks on average.
    pub(crate) async fn wait_for(&self, blocks: usize) -> anyhow::Result<()> {
        let awaited = blocks * self.connections;
        self.counts.awaited.store(awaited, Ordering::SeqCst);
        let all = async {
            loop {
                let changed = self.counts.changed.notified();
                if self.counts.blocks.load(Ordering::SeqCst) >= awaited {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .context("not every watcher was served")
    }

    /// The size of the last block that anybody got, chunk framing included.
    pub(crate) fn last_frame_bytes(&self) -> usize {
        self.counts.last_frame_bytes.load(Ordering::SeqCst)
    }
}

/// Counts blocks by their last line, the id: it ends every status of an unfinished job.
async fn read_blocks(mut socket: TcpStream, counts: Arc<Counts>) {
    let mut buffer = vec![0; CARRIED + 4 * 1024];
    while let Ok(read @ 1..) = socket.read(&mut buffer[CARRIED..]).await {
        let blocks = buffer[..CARRIED + read]
            .windows(ID_LINE.len())
            .filter(|window| *window == ID_LINE)
            .count();
        buffer.copy_within(read..CARRIED + read, 0);
        let Some(frame_bytes) = read.checked_div(blocks) else {
            continue;
        };
        counts
            .last_frame_bytes
            .store(frame_bytes, Ordering::Relaxed);
        let seen = counts.blocks.fetch_add(blocks, Ordering::SeqCst) + blocks;
        if seen >= counts.awaited.load(Ordering::SeqCst) {
            counts.changed.notify_one();
        }
    }
}
