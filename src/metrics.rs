//! Measurements: handles that the layers are given, and the text that Prometheus reads.
//!
//! A leaf: it knows no other module, and the layers know of it only the handles that they count
//! with. Each is registered once, at the start, and then kept, so that counting is an atomic
//! addition without a look-up, every series is there from the start with 0, and none can be made
//! by a client: labels come from closed sets, and never hold an id, an owner or a name that
//! somebody chose. Every server has a recorder of its own, so that two can live in one process.

mod handles;
mod pushed;

use std::{fmt, marker::PhantomData, sync::Arc};

use metrics::{Key, Label as KeyLabel, Level, Metadata, Recorder as _, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;
use strum::VariantArray;

pub use handles::{
    ConnectionMetrics, ConnectionRefusal, Handshake, Join, OpenStream, Outcome, RegistryMetrics,
    StoreMetrics, StoreOperation, StreamMetrics, StreamReason, WorkState,
};
pub use metrics::{Counter, Gauge, Histogram};
pub use pushed::{PushedMetrics, PushedOutcome, PushedWay};

/// The media type of the text format.
///
/// Source: Prometheus documentation, exposition formats, text-based format 0.0.4.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// Upper bounds of every histogram's buckets, in seconds: from an answer out of memory to one
/// that nobody waits for. The same for all, so that one can be laid over the other.
const BUCKETS: [f64; 15] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What every name of ours begins with.
const PREFIX: &str = "progressd_";

/// A word of a closed set, as the value of a label.
pub trait Label: Copy + PartialEq + Into<&'static str> + VariantArray + 'static {}

impl<L: Copy + PartialEq + Into<&'static str> + VariantArray + 'static> Label for L {}

/// A recorder, and the place where its series are made. Cheap to clone.
#[derive(Clone)]
pub struct Meter {
    recorder: Arc<PrometheusRecorder>,
    process: Collector,
}

/// A series of counters for each word of a closed set.
#[derive(Clone)]
pub struct Counters<L> {
    each: Box<[Counter]>,
    labels: PhantomData<L>,
}

/// A series of histograms for each word of a closed set.
#[derive(Clone)]
pub struct Histograms<L> {
    each: Box<[Histogram]>,
    labels: PhantomData<L>,
}

impl Meter {
    /// A recorder without any series but those of the process.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .expect("there are buckets")
            .build_recorder();
        let process = Collector::new(PREFIX);
        with_local_recorder(&recorder, || process.describe());
        Self {
            recorder: Arc::new(recorder),
            process,
        }
    }

    /// Registers a counter; `name` without its prefix.
    pub fn counter(&self, name: &str, help: &'static str) -> Counter {
        self.counter_with(name, help, &[])
    }

    /// Registers a counter for each word that the label `label` can have.
    pub fn counters<L: Label>(
        &self,
        name: &str,
        help: &'static str,
        label: &'static str,
    ) -> Counters<L> {
        let each = |word: &L| self.counter_with(name, help, &[(label, (*word).into())]);
        Counters {
            each: L::VARIANTS.iter().map(each).collect(),
            labels: PhantomData,
        }
    }

    /// The same beside another label and its value.
    pub fn counters_beside<L: Label>(
        &self,
        name: &str,
        help: &'static str,
        other: (&'static str, &'static str),
        label: &'static str,
    ) -> Counters<L> {
        let each = |word: &L| self.counter_with(name, help, &[other, (label, (*word).into())]);
        Counters {
            each: L::VARIANTS.iter().map(each).collect(),
            labels: PhantomData,
        }
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &'static str) -> Gauge {
        self.gauge_with(name, help, &[])
    }

    /// Registers a gauge with labels.
    pub fn gauge_with(&self, name: &str, help: &'static str, labels: Labels<'_>) -> Gauge {
        let key = key(name, labels);
        self.recorder
            .describe_gauge(key.name_shared(), None, help.into());
        self.recorder.register_gauge(&key, &METADATA)
    }

    /// Registers a histogram of seconds.
    pub fn histogram(&self, name: &str, help: &'static str) -> Histogram {
        self.histogram_with(name, help, &[])
    }

    /// Registers a histogram of seconds for each word that the label `label` can have.
    pub fn histograms<L: Label>(
        &self,
        name: &str,
        help: &'static str,
        label: &'static str,
    ) -> Histograms<L> {
        let each = |word: &L| self.histogram_with(name, help, &[(label, (*word).into())]);
        Histograms {
            each: L::VARIANTS.iter().map(each).collect(),
            labels: PhantomData,
        }
    }

    /// All series in the text format 0.0.4.
    pub fn render(&self) -> String {
        with_local_recorder(&*self.recorder, || self.process.collect());
        self.recorder.handle().render()
    }

    /// Takes what histograms were told into their buckets; to be called every few seconds, since
    /// until then each value waits on its own.
    pub fn run_upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    fn counter_with(&self, name: &str, help: &'static str, labels: Labels<'_>) -> Counter {
        let key = key(name, labels);
        self.recorder
            .describe_counter(key.name_shared(), None, help.into());
        self.recorder.register_counter(&key, &METADATA)
    }

    fn histogram_with(&self, name: &str, help: &'static str, labels: Labels<'_>) -> Histogram {
        let key = key(name, labels);
        self.recorder
            .describe_histogram(key.name_shared(), None, help.into());
        self.recorder.register_histogram(&key, &METADATA)
    }
}

/// A series' labels: names and words, none of which came from outside.
type Labels<'a> = &'a [(&'static str, &'static str)];

fn key(name: &str, labels: Labels<'_>) -> Key {
    let labels: Vec<KeyLabel> = labels
        .iter()
        .map(|(name, word)| KeyLabel::new(*name, *word))
        .collect();
    Key::from_parts(format!("{PREFIX}{name}"), labels)
}

/// Where a series comes from; the exporter does not ask.
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Label> Counters<L> {
    /// The counter of a word.
    pub fn of(&self, word: L) -> &Counter {
        &self.each[index_of(word)]
    }
}

impl<L: Label> Histograms<L> {
    /// The histogram of a word.
    pub fn of(&self, word: L) -> &Histogram {
        &self.each[index_of(word)]
    }
}

/// Where a word stands in its set: a comparison or two, and no hashing.
fn index_of<L: Label>(word: L) -> usize {
    let position = L::VARIANTS.iter().position(|variant| *variant == word);
    position.expect("a word is one of its set")
}

impl fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl<L> fmt::Debug for Counters<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl<L> fmt::Debug for Histograms<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Histograms").finish_non_exhaustive()
    }
}
