//! What counts reports that come straight through the store.

use strum::{IntoStaticStr, VariantArray};

use super::{Counter, Counters, Meter};

/// How a report was pushed into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PushedWay {
    /// As an entry of the stream.
    Stream,
    /// As a message.
    Publish,
}

/// What became of a report that was pushed into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PushedOutcome {
    /// It was applied, or had been before.
    Accepted,
    /// It was not, and is kept where it can be looked at.
    Refused,
    /// A message that nobody applied.
    Lost,
    /// It could not be applied this time: an entry that is tried again.
    Failed,
}

/// What counts reports that were pushed into the store.
#[derive(Debug)]
pub struct PushedMetrics {
    stream: Counters<PushedOutcome>,
    publish: Counters<PushedOutcome>,
    breaks: Counter,
}

impl PushedMetrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Self {
        let of = |way: PushedWay| {
            meter.counters_beside(
                "pushed_reports_total",
                "Reports that were pushed straight into Redis and came to this node, by the way they took and what became of them.",
                ("way", way.into()),
                "outcome",
            )
        };
        Self {
            stream: of(PushedWay::Stream),
            publish: of(PushedWay::Publish),
            breaks: meter.counter(
                "pushed_subscription_breaks_total",
                "Times that this node's subscription to reports which are published in Redis broke: how many nobody heard until the next one is not known.",
            ),
        }
    }

    /// The subscription has ended, and nobody wanted that.
    pub fn subscription_broke(&self) {
        self.breaks.increment(1);
    }

    /// So many came to this.
    pub fn pushed(&self, way: PushedWay, outcome: PushedOutcome, count: u64) {
        let counters = match way {
            PushedWay::Stream => &self.stream,
            PushedWay::Publish => &self.publish,
        };
        counters.of(outcome).increment(count);
    }
}
