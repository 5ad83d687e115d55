//! A TCP proxy that does to connections what networks do, and can be told at any time what.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use super::{ports::free_address, until};

/// What is done to the connections, those that are there and those that come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Nobody listens, and whoever was connected is cut: as when a server is down.
    Down,
    /// Every connection is reset, a new one as soon as it is there.
    Reset,
    /// Nothing passes, and nobody is told. What was sent meanwhile comes late, if the fault ends in time.
    BlackHole,
    /// Every piece takes so long.
    Delay(Duration),
    /// Pieces of so many bytes.
    Slice(usize),
    /// A request that has these bytes in it goes through, and its connection is cut when the answer comes.
    LoseAnswer(&'static [u8]),
    /// The same, but the connection is not cut before the fault is another.
    KeepAnswer(&'static [u8]),
    /// A request that has these bytes in it waits until it is let go, or the fault is another.
    KeepRequest(&'static [u8]),
}

impl Fault {
    /// By what it knows the requests that it is about.
    fn mark(&self) -> Option<&'static [u8]> {
        match self {
            Self::LoseAnswer(mark) | Self::KeepAnswer(mark) | Self::KeepRequest(mark) => Some(mark),
            _ => None,
        }
    }
}

/// What became of marked requests.
#[derive(Debug)]
struct Marked {
    /// How many answers were lost.
    lost: AtomicUsize,
    /// How many requests were kept waiting.
    kept: AtomicUsize,
    /// Those that may go on.
    passes: Semaphore,
}

/// A running proxy; it and its connections end when dropped.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    faults: watch::Sender<Fault>,
    marked: Arc<Marked>,
    serving: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `upstream`, with this fault from the beginning.
    pub(crate) async fn before(upstream: SocketAddr, fault: Fault) -> Self {
        let address = free_address();
        let faults = watch::Sender::new(fault.clone());
        let marked = Arc::new(Marked {
            lost: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            passes: Semaphore::new(0),
        });
        let serving = tokio::spawn(serve(
            address,
            upstream,
            faults.subscribe(),
            Arc::clone(&marked),
        ));
        let proxy = Self {
            address,
            faults,
            marked,
            serving,
        };
        proxy.set(fault).await;
        proxy
    }

    /// From now on this fault and no other.
    pub(crate) async fn set(&self, fault: Fault) {
        let is_down = fault == Fault::Down;
        self.faults.send_replace(fault);
        until("the fault", async || {
            TcpStream::connect(self.address).await.is_err() == is_down
        })
        .await;
    }

    /// How many answers were lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.marked.lost.load(Ordering::SeqCst)
    }

    /// How many requests were kept waiting so far.
    pub(crate) fn kept(&self) -> usize {
        self.marked.kept.load(Ordering::SeqCst)
    }

    /// Lets the request go on that has waited longest.
    pub(crate) fn let_one_go(&self) {
        self.marked.passes.add_permits(1);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    address: SocketAddr,
    upstream: SocketAddr,
    mut faults: watch::Receiver<Fault>,
    marked: Arc<Marked>,
) {
    loop {
        if until_down_is(false, &mut faults).await.is_none() {
            return;
        }
        let listener = TcpListener::bind(address).await;
        let listener = listener.expect("the port is still free");
        // Dropped with the listener, and with the proxy.
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let (client, _) = listener.accept().await.expect("a listener that accepts");
                let marked = Arc::clone(&marked);
                connections.spawn(connect(client, upstream, faults.clone(), marked));
            }
        };
        let mut watched = faults.clone();
        tokio::select! {
            () = accepting => {}
            down = until_down_is(true, &mut watched) => {
                if down.is_none() {
                    return;
                }
            }
        }
    }
}

/// Waits until the proxy is to be down, or up; `None` when it is dropped.
async fn until_down_is(is_down: bool, faults: &mut watch::Receiver<Fault>) -> Option<()> {
    let changed = faults.wait_for(|fault| (*fault == Fault::Down) == is_down);
    changed.await.ok().map(drop)
}

async fn connect(
    client: TcpStream,
    upstream: SocketAddr,
    mut faults: watch::Receiver<Fault>,
    marked: Arc<Marked>,
) {
    // A server that is not there closes the door as it would without a proxy.
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("a socket");
    }
    let is_doomed = AtomicBool::new(false);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut requests = Pump {
        faults: faults.clone(),
        is_doomed: &is_doomed,
        marked: &marked,
    };
    let mut answers = Pump {
        faults: faults.clone(),
        is_doomed: &is_doomed,
        marked: &marked,
    };
    // Whichever ends first takes the other, and both sockets, with it.
    let is_reset = tokio::select! {
        () = requests.pass_requests(&mut from_client, &mut to_server) => false,
        is_lost = answers.pass_answers(&mut from_server, &mut to_client) => is_lost,
        reset = faults.wait_for(|fault| *fault == Fault::Reset) => reset.is_ok(),
    };
    if is_reset {
        // What is closed while it has no time to linger is reset.
        for socket in [from_client.as_ref(), from_server.as_ref()] {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// One direction of a connection.
struct Pump<'a> {
    faults: watch::Receiver<Fault>,
    /// The next answer is lost.
    is_doomed: &'a AtomicBool,
    marked: &'a Marked,
}

impl Pump<'_> {
    async fn pass_requests(&mut self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        // The end of what was sent last, in case a request comes in pieces.
        let mut tail = Vec::new();
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let piece = &buffer[..read];
            let fault = self.passable().await;
            let Some(mark) = fault.mark() else {
                tail.clear();
                if self.pass(piece, to).await.is_err() {
                    return;
                }
                continue;
            };
            tail.extend_from_slice(piece);
            if tail.windows(mark.len()).any(|window| window == mark) {
                match fault {
                    Fault::KeepRequest(_) => self.keep_waiting().await,
                    _ => self.is_doomed.store(true, Ordering::SeqCst),
                }
            }
            tail.drain(..tail.len().saturating_sub(mark.len() - 1));
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    /// Passes answers on; whether one was lost.
    async fn pass_answers(&mut self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.passable().await;
            if self.is_doomed.load(Ordering::SeqCst) {
                self.marked.lost.fetch_add(1, Ordering::SeqCst);
                let is_over = |fault: &Fault| !matches!(fault, Fault::KeepAnswer(_));
                let _ = self.faults.wait_for(is_over).await;
                return true;
            }
            if self.pass(&buffer[..read], to).await.is_err() {
                break;
            }
        }
        false
    }

    /// Keeps a request waiting.
    async fn keep_waiting(&mut self) {
        self.marked.kept.fetch_add(1, Ordering::SeqCst);
        let is_over = |fault: &Fault| !matches!(fault, Fault::KeepRequest(_));
        tokio::select! {
            pass = self.marked.passes.acquire() => pass.expect("it is never closed").forget(),
            _ = self.faults.wait_for(is_over) => {}
        }
    }

    /// Waits while nothing passes; the fault after that.
    async fn passable(&mut self) -> Fault {
        let fault = self.faults.wait_for(|fault| *fault != Fault::BlackHole);
        // A proxy that is being dropped ends its connections itself.
        fault.await.map_or(Fault::None, |fault| fault.clone())
    }

    /// Passes a piece on as the present fault has it.
    async fn pass(&mut self, piece: &[u8], to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        match self.passable().await {
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                to.write_all(piece).await
            }
            Fault::Slice(bytes) => {
                for slice in piece.chunks(bytes) {
                    to.write_all(slice).await?;
                    // Each in a packet of its own, as a rule.
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            _ => to.write_all(piece).await,
        }
    }
}
