//! The metrics as a Prometheus parser reads them.

use prometheus_parse::{Sample, Scrape as Parsed, Value};

use super::server::TestServer;

/// One reading of all series.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    parsed: Parsed,
}

impl Scrape {
    /// What a server serves on its main address, to whoever may read it.
    pub(crate) async fn of(server: &TestServer) -> Self {
        let answer = server.get("/metrics").await;
        Self::read(answer.expect(reqwest::StatusCode::OK).text)
    }

    /// What a text says; it must be whole.
    pub(crate) fn read(text: String) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let parsed = Parsed::parse(lines).expect("text in memory is readable");
        Self { text, parsed }
    }

    /// Every sample.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.parsed.samples
    }

    /// The value of a series with these labels and no others.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |sample: &&Sample| {
            sample.metric == name
                && sample.labels.len() == labels.len()
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(label) == Some(*value))
        };
        let mut found = self.samples().iter().filter(is_it);
        let sample = found.next();
        let sample = sample.unwrap_or_else(|| panic!("no {name} {labels:?} in {}", self.text));
        assert!(found.next().is_none(), "{name} {labels:?} stands twice");
        number(sample)
    }

    /// The sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let samples = self.samples().iter();
        samples
            .filter(|sample| sample.metric == name)
            .map(number)
            .sum()
    }
}

fn number(sample: &Sample) -> f64 {
    match &sample.value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => *number,
        Value::Histogram(buckets) => buckets.last().map_or(0.0, |bucket| bucket.count),
        Value::Summary(_) => panic!("{} is a summary", sample.metric),
    }
}
