//! What each layer below HTTP counts with.

use std::{
    cell::Cell,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use strum::{IntoStaticStr, VariantArray};

use super::{Counter, Counters, Gauge, Histogram, Histograms, Meter};

/// Of so many deliveries on a thread one is timed.
const TIMED_OF: u32 = 16;

thread_local! {
    /// Deliveries on this thread until the next one that is timed.
    static UNTIMED: Cell<u32> = const { Cell::new(0) };
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum StreamReason {
    /// With its job.
    Finished,
    /// Its job was removed.
    Removed,
    /// It had lasted as long as a stream may.
    Timeout,
    /// The server shut down.
    Draining,
    /// The watcher's token had expired.
    TokenExpired,
    /// A fault of the server.
    Internal,
    /// The client left, or was cut, before the end.
    ClientGone,
    /// It was a refusal, told inside a stream.
    Refused,
}

/// How a watcher joined a job's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Join {
    /// Without a cursor.
    Fresh,
    /// With one that is a place in the job's history.
    Resumed,
    /// With one that is no place there.
    Malformed,
    /// After the end, which it had seen: 204.
    Over,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It was done, or had been done before.
    Accepted,
    /// It was not.
    Refused,
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Handshake {
    /// With a session.
    Completed,
    /// Without.
    Failed,
    /// It took too long, or the server shut down.
    CutOff,
}

/// Why a connection ended before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ConnectionRefusal {
    /// Its address had too many.
    AddressLimit,
    /// The header block did not come in time.
    HeaderTimeout,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "each is a method of the store's trait")]
pub enum StoreOperation {
    Commit,
    Load,
    EventsAfter,
    Create,
    Reserve,
    Input,
    List,
    Rows,
    Remove,
    Expire,
    Ping,
    Counts,
    PutIfAbsent,
    Unfinished,
    Now,
    Follow,
    Seqs,
    Due,
    Claim,
    Release,
    Answers,
    Restore,
}

/// What a built-in worker's job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WorkState {
    /// It waits for its turn.
    Queued,
    /// It is worked on.
    Running,
}

/// What streams count.
#[derive(Debug)]
pub struct StreamMetrics {
    open: Gauge,
    ends: Counters<StreamReason>,
    joins: Counters<Join>,
    frames: Counter,
    lagged: Counter,
    lag: Histogram,
}

/// One stream, counted as open until it is dropped.
#[derive(Debug)]
pub struct OpenStream {
    metrics: Arc<StreamMetrics>,
    reason: StreamReason,
}

/// What the registry counts.
#[derive(Debug)]
pub struct RegistryMetrics {
    reports: Counters<Outcome>,
    events: Counter,
    followed: Gauge,
    store_up: Gauge,
}

/// What stands around a store.
#[derive(Debug)]
pub struct StoreMetrics {
    seconds: Histograms<StoreOperation>,
    errors: Counters<StoreOperation>,
}

/// What a listener counts.
pub struct ConnectionMetrics {
    /// Open connections.
    pub open: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// How many may be open.
    pub limit: Gauge,
    /// Connections that ended before their first request.
    pub refused: Counters<ConnectionRefusal>,
    /// Connections that were cut since their peer took nothing.
    pub write_timeouts: Counter,
    /// HTTP/2 streams that were cut since their reader took nothing.
    pub stream_write_timeouts: Counter,
    /// TLS handshakes.
    pub handshakes: Counters<Handshake>,
    /// Bytes read from sockets.
    pub received_bytes: Counter,
    /// Bytes written to sockets.
    pub sent_bytes: Counter,
}

impl StreamMetrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Arc<Self> {
        Arc::new(Self {
            open: meter.gauge("streams_open", "Streams that are open."),
            ends: meter.counters(
                "stream_ends_total",
                "Streams that have ended, by how.",
                "reason",
            ),
            joins: meter.counters(
                "joins_total",
                "Watchers that joined a job's stream, by the cursor that they brought; over is answered with 204.",
                "cursor",
            ),
            frames: meter.counter(
                "frames_total",
                "Blocks handed to watchers' connections, without heartbeats: one for each watcher.",
            ),
            lagged: meter.counter(
                "lagged_total",
                "Times that a watcher fell behind and went on from the present state.",
            ),
            lag: meter.histogram(
                "delivery_lag_seconds",
                "From the moment a block was made for all watchers until a watcher's connection took it; one in 16 is timed.",
            ),
        })
    }

    /// A watcher joins.
    pub fn joined(&self, join: Join) {
        self.joins.of(join).increment(1);
    }

    /// A client was refused inside a stream, which that was the whole of.
    pub fn refused(self: &Arc<Self>) {
        let mut stream = self.open();
        stream.ends_by(StreamReason::Refused);
        stream.delivered(1, None);
    }

    /// A stream begins.
    pub fn open(self: &Arc<Self>) -> OpenStream {
        self.open.increment(1);
        OpenStream {
            metrics: Arc::clone(self),
            reason: StreamReason::ClientGone,
        }
    }
}

impl OpenStream {
    /// Its last block is handed over: what comes after that is no loss.
    pub fn ends_by(&mut self, reason: StreamReason) {
        self.reason = reason;
    }

    /// So many blocks are handed over, the oldest made at `oldest` when it came from the job's hub.
    pub fn delivered(&self, blocks: usize, oldest: Option<Instant>) {
        self.metrics.frames.increment(blocks as u64);
        if let Some(oldest) = oldest
            && is_timed()
        {
            self.metrics.lag.record(oldest.elapsed());
        }
    }

    /// It fell behind.
    pub fn lagged(&self) {
        self.metrics.lagged.increment(1);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.open.decrement(1);
        self.metrics.ends.of(self.reason).increment(1);
    }
}

/// Whether it is this delivery's turn. A stream of its own could bring a pattern of its own; a
/// thread's deliveries come from many.
fn is_timed() -> bool {
    let untimed = UNTIMED.get();
    UNTIMED.set(untimed.checked_sub(1).unwrap_or(TIMED_OF - 1));
    untimed == 0
}

impl RegistryMetrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Self {
        Self {
            reports: meter.counters(
                "reports_total",
                "Reports that reached a job, over HTTP or from a built-in worker, by whether it took them.",
                "outcome",
            ),
            events: meter.counter("events_total", "Events that jobs took."),
            followed: meter.gauge(
                "jobs_followed",
                "Jobs that this node has the store tell of: one subscription each.",
            ),
            store_up: meter.gauge("store_up", "1 while the store answers, else 0."),
        }
    }

    /// So many jobs are followed.
    pub fn follows(&self, jobs: usize) {
        self.followed.set(jobs as f64);
    }

    /// Whether the store answers.
    pub fn store_answers(&self, is_up: bool) {
        self.store_up.set(f64::from(u8::from(is_up)));
    }

    /// A report was answered.
    pub fn reported(&self, outcome: Outcome) {
        self.reports.of(outcome).increment(1);
    }

    /// So many events were taken.
    pub fn took_events(&self, events: usize) {
        self.events.increment(events as u64);
    }
}

impl StoreMetrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Self {
        Self {
            seconds: meter.histograms(
                "store_seconds",
                "How long the store took, by operation.",
                "operation",
            ),
            errors: meter.counters(
                "store_errors_total",
                "Operations that the store failed.",
                "operation",
            ),
        }
    }

    /// An operation took so long, and failed or not.
    pub fn took(&self, operation: StoreOperation, time: Duration, has_failed: bool) {
        self.seconds.of(operation).record(time);
        if has_failed {
            self.errors.of(operation).increment(1);
        }
    }
}

impl ConnectionMetrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Arc<Self> {
        Arc::new(Self {
            open: meter.gauge("connections_open", "Connections that are open."),
            accepted: meter.counter("connections_total", "Connections that were accepted."),
            limit: meter.gauge(
                "connections_limit",
                "Connections that may be open at a time.",
            ),
            refused: meter.counters(
                "connections_refused_total",
                "Connections closed before their first request, by why.",
                "reason",
            ),
            write_timeouts: meter.counter(
                "connections_cut_total",
                "Connections cut since pending output made no progress.",
            ),
            stream_write_timeouts: meter.counter(
                "http2_streams_cut_total",
                "HTTP/2 streams reset since pending output made no progress.",
            ),
            handshakes: meter.counters(
                "tls_handshakes_total",
                "TLS handshakes, by how they ended.",
                "outcome",
            ),
            received_bytes: meter.counter("received_bytes_total", "Bytes read from sockets."),
            sent_bytes: meter.counter("sent_bytes_total", "Bytes written to sockets."),
        })
    }
}

impl fmt::Debug for ConnectionMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectionMetrics")
            .finish_non_exhaustive()
    }
}
