//! What the process says of itself: one line per event, on standard error.
//!
//! Both formats go to standard error, because commands print their results on standard output: a
//! script that reads `billd … --json` must not find log lines in it. Whatever runs daemons collects
//! both alike.

mod lines;

use std::io::{self, IsTerminal, Write, stderr};
use std::panic;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::telemetry::lines::Lines;

pub use lines::{finish, lost};

words! {
    /// For whom the lines are.
    pub enum Format {
        /// For people: one compact line per event, coloured on a terminal.
        Pretty = "pretty",
        /// For machines: one JSON object per line.
        Json = "json",
    }
}

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be understood.
    #[error("the log filter can't be understood")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("logging has been started before")]
    Started(#[source] tracing_subscriber::util::TryInitError),
    /// The system gives no thread.
    #[error("there is no thread for the log")]
    Thread(#[source] io::Error),
}

/// Starts logging for the whole process, once. A panic is one line of it from now on.
pub fn init(format: Format, filter: &str, may_color: bool) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(TelemetryError::Filter)?;
    let is_colored = may_color && format == Format::Pretty && stderr().is_terminal();
    let lines = Lines::start(stderr()).map_err(TelemetryError::Thread)?;
    subscriber(format, filter, is_colored, lines.clone())
        .try_init()
        .map_err(TelemetryError::Started)?;
    lines.install();
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Only what stands in the program is told of it: what was put together may quote a row.
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let at = at.unwrap_or_default();
    let said = panic.payload().downcast_ref::<&'static str>().copied();
    let said = said.unwrap_or_default();
    tracing::error!(event = "panicked", at, "a bug: panicked at {at}: {said}");
}

/// The timestamps of both formats are UTC with microseconds, the subscriber's own default.
fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    is_colored: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // It would go to standard error, past what counts lost lines.
        .log_internal_errors(false);
    match format {
        Format::Pretty => {
            let builder = builder.map_writer(OneLine);
            Box::new(builder.with_ansi(is_colored).compact().finish())
        }
        Format::Json => Box::new(
            builder
                .with_ansi(false)
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
    }
}

/// Writes each event as one line, however many it holds: what a gateway or a database said must not look like
/// a line of ours. JSON is so by itself.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Takes a whole event, which is how they come.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.trim_end_matches('\n');
        if line.contains(breaks_a_line) {
            let escape = |c: char| match c {
                c if breaks_a_line(c) => c.escape_default().to_string(),
                c => c.to_string(),
            };
            let mut escaped: String = line.chars().map(escape).collect();
            escaped.push('\n');
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Colours are the formatter's own, which escapes those of others.
fn breaks_a_line(c: char) -> bool {
    (c.is_control() && c != '\u{1b}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, filter: &str) -> String {
        written_by(format, filter, || {
            tracing::info!(merchant_uid = "abc1", duration_ms = 12, "charged abc1");
            tracing::debug!("not at this level");
        })
    }

    fn written_by(format: Format, filter: &str, write: impl FnOnce()) -> String {
        let paper = Paper::default();
        let writer = paper.clone();
        let filter = EnvFilter::builder().parse(filter).unwrap();
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, write);
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_flat_object_a_line_with_utc_microseconds() {
        let text = written(Format::Json, "info");
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "charged abc1");
        assert_eq!(line["merchant_uid"], "abc1");
        assert_eq!(line["duration_ms"], 12);
        assert_eq!(line["level"], "INFO");
        let at = line["timestamp"].as_str().unwrap();
        assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
        assert_eq!(at.len(), "2026-01-31T00:00:00.000000Z".len());
    }

    /// Hazard: a refusal with a line break in it puts a line of the sender's choice into the log.
    #[test]
    fn an_event_is_one_line_whatever_was_said() {
        for format in Format::ALL {
            let said = "no\n2026-01-31T00:00:00Z  INFO paid\r\u{2028}\0\u{1b}[31m";
            let text = written_by(format, "info", || {
                tracing::info!(said, "declined: {said}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(
                !text.trim_end().contains(breaks_a_line) || format == Format::Json,
                "{text:?}"
            );
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn pretty_is_one_plain_line_off_a_terminal() {
        let text = written(Format::Pretty, "info");
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("charged abc1"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_second_start_is_refused_without_a_panic() {
        // Whether the first succeeds depends on what else this process has started.
        drop(init(Format::Pretty, "off", true));
        assert!(matches!(
            init(Format::Json, "off", true),
            Err(TelemetryError::Started(_))
        ));
        assert!(matches!(
            init(Format::Json, "billd=loud", true),
            Err(TelemetryError::Filter(_))
        ));
    }
}
