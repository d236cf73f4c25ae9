//! The log on stderr. Libraries format it; each line is cleaned and bounded; the number of lines is limited (`quiet`); a separate
//! thread writes them (`spool`).
//!
//! Lines at `debug` are limited only by the queue, because the operator has asked for them.
//!
//! Imports `model` and `runtime`.

mod quiet;
pub mod spool;

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::model::{component, text};
use quiet::Key;
use spool::Spool;

/// The longest line, bytes. A usual line has 200. Quoted input has been cut before.
const MAX_LINE: usize = 4096;

thread_local! {
    /// The port of the event that is being formatted. `make_writer_for` gets no fields, so the formatter leaves the port here.
    static ABOUT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs)] // Shown by --help: plain words.
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs)]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// Logs to stderr from now on.
pub fn init(level: LogLevel, format: LogFormat) -> Spool {
    let level = match level {
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    };
    // Only our own lines: a hostile SoC can make libraries log (h2 warns for each unexpected PONG).
    let filter = Targets::new().with_target(component::ALL, level);
    let registry = tracing_subscriber::registry().with(filter);
    let spool = Spool::start(&io::stderr());
    let lines = Lines(spool.clone());
    // It fails only if a log is set up already (in a test).
    let _ = match format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_span_name(false).layer();
            let layer = layer.map_event_format(About).with_writer(lines);
            registry.with(layer.log_internal_errors(false)).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
            let layer = layer.map_event_format(About).with_writer(lines);
            registry.with(layer.log_internal_errors(false)).try_init()
        }
    };
    spool
}

/// A formatter that also stores the event's port.
struct About<F>(F);

impl<S, N, F> FormatEvent<S, N> for About<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut port = PortField(None);
        event.record(&mut port);
        ABOUT.set(port.0);
        self.0.format_event(context, writer, event)
    }
}

struct PortField(Option<Arc<str>>);

impl Visit for PortField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "port" {
            self.0 = Some(text::quote(value).into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "port" {
            self.0 = Some(text::quote(format_args!("{value:?}")).into());
        }
    }
}

#[derive(Debug)]
struct Lines(Spool);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            spool: &self.0,
            key: None,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        let about = ABOUT.take();
        let limited = *metadata.level() <= tracing::Level::INFO;
        let key = limited.then(|| match about {
            Some(port) => Key::Port(port),
            // The name contains file and line.
            None => Key::Place(metadata.name()),
        });
        Line { spool: &self.0, key }
    }
}

/// Receives a whole line from the formatter in one write.
#[derive(Debug)]
struct Line<'a> {
    spool: &'a Spool,
    key: Option<Key>,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = tidied(&String::from_utf8_lossy(line)).into_owned();
        match self.key.take() {
            Some(key) => self.spool.push_quietly(key, text),
            None => self.spool.push(text),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes sure that the result is one readable line, whatever a field holds. Other code has cleaned its input before; this is the
/// last check.
pub(super) fn tidied(line: &str) -> Cow<'_, str> {
    if line.len() <= MAX_LINE {
        return text::clean_lines(line);
    }
    if let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) {
        let short = |(name, value)| match value {
            Value::String(text) => (name, Value::String(text::quote(text))),
            value => (name, value),
        };
        let fields: Map<_, _> = fields.into_iter().map(short).collect();
        return format!("{}\n", Value::Object(fields)).into();
    }
    let end = (0..=MAX_LINE).rev().find(|at| line.is_char_boundary(*at));
    let cut = &line[..end.unwrap_or(0)];
    let mut in_quotes = false;
    let mut escaped = false;
    for c in cut.chars() {
        match c {
            '"' if !escaped => in_quotes = !in_quotes,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    let cut = if escaped { &cut[..cut.len() - 1] } else { cut };
    let quote = if in_quotes { "\"" } else { "" };
    format!("{}…{quote} cut=true\n", text::clean_lines(cut)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_text_that_can_be_read() {
        assert_eq!(tidied("version=1.0\u{202e}gnp\n"), "version=1.0\u{fffd}gnp\n");
        assert_eq!(tidied("{\"a\":\"\u{9b}\"}\n"), "{\"a\":\"\u{fffd}\"}\n");
    }

    #[test]
    fn a_long_line_is_cut_and_can_be_parsed_still() {
        let text = "é\\\" ".repeat(2_000_000);
        let logfmt = tidied(&format!("level=info text=\"{text}\"\n")).into_owned();
        assert!(
            logfmt.len() < MAX_LINE + 30 && logfmt.ends_with("…\" cut=true\n"),
            "{}",
            logfmt.len()
        );
        let json = tidied(&format!("{{\"level\":\"INFO\",\"text\":\"{text}\"}}\n")).into_owned();
        let fields: Map<String, Value> = serde_json::from_str(&json).expect("JSON");
        assert_eq!(fields["level"], "INFO");
        assert!(json.len() < 1000, "{}", json.len());
    }
}
