//! Logs: to standard error, as text or JSON, at the levels of `[log]`.
//!
//! `RUST_LOG` is not read: the configuration has an environment layer of its own, and a second way to the same
//! setting would make `progressd check` wrong about it.

use std::{
    env,
    error::Error,
    io::{self, IsTerminal},
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::MakeWriter,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogConfig, LogFormat};

/// An error with all its causes: the outermost often says only that something failed.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is none; a checked configuration never gets here.
    #[error("read `log.filter`")]
    Filter(#[from] ParseError),
    /// The process has a logger already.
    #[error("start logging")]
    Init(#[from] TryInitError),
}

/// Sends the log of the whole process to standard error, in colours only where a terminal shows them.
///
/// # Errors
/// The filter is malformed, or the process logs already.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    // https://no-color.org: any value but the empty one means no colours.
    let colours_are_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let has_colours = io::stderr().is_terminal() && !colours_are_refused;
    subscriber(config, has_colours, io::stderr)?.try_init()?;
    Ok(())
}

/// What [`init`] installs, writing elsewhere.
fn subscriber<W>(
    config: &LogConfig,
    has_colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(has_colours);
    Ok(match config.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics while it holds the lock")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let config = LogConfig {
            filter: filter.into(),
            format,
        };
        let subscriber =
            subscriber(&config, false, move || writer.clone()).expect("the filter is valid");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(job.id = "a\nb\u{1b}[31m", "job created");
            tracing::debug!("hidden");
        });
        let bytes = memory
            .0
            .lock()
            .expect("no test panics while it holds the lock")
            .clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn a_text_line_is_one_line_without_control_characters() {
        let text = logged("info", LogFormat::Text);
        assert!(
            text.contains("job created") && !text.contains("hidden"),
            "{text}"
        );
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_json_line_is_an_object_with_the_fields_of_the_event() {
        let line: Value =
            serde_json::from_str(&logged("info", LogFormat::Json)).expect("one JSON object");
        assert_eq!(line["message"], "job created");
        assert_eq!(line["job.id"], "a\nb\u{1b}[31m");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        assert!(logged("debug", LogFormat::Text).contains("hidden"));
        assert_eq!(logged("off", LogFormat::Text), "");
    }
}
