//! `[limits]`: what one client may send, and what all of them may hold.

use std::time::Duration;

use serde::Deserialize;

use crate::job::Bounds;

/// `[limits]`; everything that a client can make grow stops at one of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Unfinished jobs; 429 beyond. Default 1000000.
    pub max_jobs: usize,
    /// Bytes of a JSON body; 413 beyond. Default 1 MiB.
    pub json_body_bytes: usize,
    /// Bytes of one NDJSON line. Default 256 KiB.
    pub ndjson_line_bytes: usize,
    /// Bytes of a body that is a job's input; 413 beyond. Default 32 MiB.
    pub upload_bytes: usize,
    /// Bytes of a job's `data` as JSON; 400 beyond. Default 64 KiB.
    pub data_bytes: usize,
    /// Bytes of a job's `result` as JSON; 400 beyond. Default 64 KiB.
    pub result_bytes: usize,
    /// Bytes of one event's `data` as JSON; 400 beyond. Default 64 KiB.
    pub event_data_bytes: usize,
    /// Characters of `message`. Default 1000.
    pub message_chars: usize,
    /// Characters of `step`. Default 200.
    pub step_chars: usize,
    /// Characters of `kind`. Default 64.
    pub kind_chars: usize,
    /// Characters of `unit`. Default 64.
    pub unit_chars: usize,
    /// Characters of one tag. Default 64.
    pub tag_chars: usize,
    /// Tags of a job. Default 20.
    pub tags: usize,
    /// Open connections; 0, the default, derives the number from the limit of file descriptors.
    pub max_connections: usize,
    /// Seconds within which a request's header must have come, also the next one of an idle connection. Default 30.
    pub header_timeout_seconds: u64,
    /// Bytes of a request's header block; 431 beyond. Default 16 KiB.
    pub header_bytes: usize,
    /// Seconds after which a connection that takes no bytes is cut. Default 30.
    pub write_timeout_seconds: u64,
    /// Requests open at a time on one HTTP/2 connection. Default 4096.
    pub http2_max_streams: u32,
    /// Open connections of one address, trusted proxies aside; further ones are closed at once. 0, the default, is no limit.
    pub max_connections_per_address: usize,
    /// Bytes of the kernel's send buffer of one connection; 0 leaves it to the kernel. Default 256 KiB.
    pub send_buffer_bytes: usize,
    /// Bytes of all request bodies that are held; 429 beyond. Default 256 MiB.
    pub bodies_in_flight_bytes: usize,
    /// Seconds within which a request's body must have come, `/reports` aside. Default 300.
    pub body_timeout_seconds: u64,
    /// Open streams and waiting polls; 429 beyond. Default 100000.
    pub max_streams: usize,
    /// Those of one credential's holder; 0, the default, is no limit.
    pub max_streams_per_principal: usize,
    /// Those of one address; 0, the default, is no limit.
    pub max_streams_per_address: usize,
    /// Those on one job; 0, the default, is no limit.
    pub max_streams_per_job: usize,
    /// Requests of one address, twice as many at once; 429 beyond. 0, the default, is no limit.
    pub requests_per_second_per_address: u32,
    /// Requests of one credential's holder, twice as many at once; 429 beyond. 0, the default, is no limit.
    pub requests_per_second_per_principal: u32,
    /// Reports and events of one credential's holder, twice as many at once; 429 beyond, while
    /// `/reports` is read more slowly. 0, the default, is no limit.
    pub reports_per_second_per_principal: u32,
}

impl LimitsConfig {
    /// The settings that bound what one request may bring, as the domain takes them.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            message_chars: self.message_chars,
            step_chars: self.step_chars,
            kind_chars: self.kind_chars,
            unit_chars: self.unit_chars,
            tag_chars: self.tag_chars,
            tags: self.tags,
            data_bytes: self.data_bytes,
            result_bytes: self.result_bytes,
            event_data_bytes: self.event_data_bytes,
        }
    }

    /// `max_connections`; `None` leaves it to the limit of file descriptors.
    pub fn max_connections(&self) -> Option<usize> {
        (self.max_connections > 0).then_some(self.max_connections)
    }

    /// `header_timeout_seconds`
    pub fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds)
    }

    /// `write_timeout_seconds`
    pub fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_seconds)
    }

    /// `send_buffer_bytes`; `None` leaves it to the kernel.
    pub fn send_buffer_bytes(&self) -> Option<usize> {
        (self.send_buffer_bytes > 0).then_some(self.send_buffer_bytes)
    }

    /// `body_timeout_seconds`
    pub fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds)
    }
}
