//! Renders a scrape, piece by piece, in the format that the scraper asked for.
//!
//! prometheus-client writes OpenMetrics only. In the old text format (0.0.4) a counter's HELP and TYPE carry its full name with
//! `_total`, and there is no `# EOF`. So this module writes the header lines for that format itself.
//! It also adds exemplars to OpenMetrics.
//! A piece is one family over a few SoCs, so that the text for ten thousand SoCs is never in memory at once.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalogue::{CATALOGUE, Family, MetricKind};
use super::text_sink::TextSink;
use crate::model::{Exemplar, View};

/// SoCs per piece: about 75 kB of text for the largest family, rendered in a third of a millisecond. Between two pieces other
/// work can run.
const SOCS_PER_PIECE: usize = 64;

/// The histogram whose buckets have exemplars.
macro_rules! query_durations {
    () => {
        "dualtor_probe_duration_seconds"
    };
}
const QUERY_DURATIONS: &str = query_durations!();

/// The supported formats of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// The answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The pieces of one scrape, rendered as they are asked for.
#[derive(Debug)]
pub struct Pieces {
    view: Arc<View>,
    format: TextFormat,
    family: usize,
    next_soc: usize,
    header_shown: bool,
    ended: bool,
}

impl Pieces {
    /// The pieces of the whole `view`, in `format`.
    pub fn new(view: View, format: TextFormat) -> Self {
        Self {
            view: view.into(),
            format,
            family: 0,
            next_soc: 0,
            header_shown: false,
            ended: false,
        }
    }

    /// The SoCs of the next piece, and whether they are the family's last.
    fn next_range(&mut self, family: &Family) -> (Range<usize>, bool) {
        let total = if family.is_per_soc() {
            self.view.socs.len()
        } else {
            0
        };
        let range = self.next_soc..total.min(self.next_soc + SOCS_PER_PIECE);
        let last = range.end == total;
        self.next_soc = if last { 0 } else { range.end };
        self.family += usize::from(last);
        (range, last)
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while let Some(family) = CATALOGUE.get(self.family) {
            let (range, last) = self.next_range(family);
            let piece = render(self.view.clone(), family, range.clone());
            let piece = piece.map(|piece| match self.format {
                TextFormat::OpenMetrics => with_exemplars(piece, &self.view, family, range),
                TextFormat::Text => piece,
            });
            let header = !self.header_shown;
            self.header_shown = !last && (self.header_shown || piece.is_some());
            if let Some(piece) = piece {
                return Some(with_header(&piece, family, self.format, header));
            }
        }
        if self.format == TextFormat::OpenMetrics && !std::mem::replace(&mut self.ended, true) {
            return Some("# EOF\n".to_owned());
        }
        None
    }
}

/// One family over some SoCs, as prometheus-client writes it; `None` if there are no samples.
fn render(view: Arc<View>, family: &'static Family, socs: Range<usize>) -> Option<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Piece { view, family, socs }));
    let mut text = String::new();
    // Writing into a String cannot fail.
    text::encode_registry(&mut text, &registry).ok()?;
    let has_samples = text.lines().any(|line| !line.starts_with('#'));
    has_samples.then_some(text)
}

/// Adds exemplars to the buckets of query durations. prometheus-client could write them, but has no way to make one that was not
/// observed by itself.
fn with_exemplars(piece: String, view: &View, family: &Family, socs: Range<usize>) -> String {
    let Some(table) = view.exemplars.as_ref().filter(|_| family.name == QUERY_DURATIONS) else {
        return piece;
    };
    let mut socs = view.socs[socs].iter();
    let (mut text, mut exemplars, mut bucket) = (String::with_capacity(piece.len()), Vec::new(), 0);
    for line in piece.lines() {
        text.push_str(line);
        // Each SoC has one histogram, in the order of the SoCs, and each histogram begins with its sum.
        if line.starts_with(concat!(query_durations!(), "_sum")) {
            exemplars = socs
                .next()
                .map(|soc| table.of(&soc.status.target.id))
                .unwrap_or_default();
            bucket = 0;
        } else if line.starts_with(concat!(query_durations!(), "_bucket")) {
            if let Some(exemplar) = exemplars.iter().find(|exemplar| exemplar.bucket() == bucket) {
                let at = exemplar
                    .at
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs_f64();
                let Exemplar {
                    trace, span, seconds, ..
                } = exemplar;
                // Writing into a String cannot fail.
                let _ = write!(
                    text,
                    " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {seconds:?} {at:.3}"
                );
            }
            bucket += 1;
        }
        text.push('\n');
    }
    text
}

fn with_header(piece: &str, family: &Family, format: TextFormat, header: bool) -> String {
    let samples = piece
        .match_indices('\n')
        .map(|(at, _)| &piece[at + 1..])
        .find(|rest| !rest.starts_with('#'))
        .unwrap_or_default();
    if !header {
        return samples.to_owned();
    }
    match format {
        TextFormat::OpenMetrics => piece.to_owned(),
        TextFormat::Text => {
            let (name, kind, help) = (family.name, family.kind.label(), family.help);
            format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n{samples}")
        }
    }
}

#[derive(Debug)]
struct Piece {
    view: Arc<View>,
    family: &'static Family,
    socs: Range<usize>,
}

impl Collector for Piece {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Family { name, kind, help, .. } = self.family;
        let (name, metric_type) = match kind {
            // prometheus-client adds the suffix again.
            MetricKind::Counter => (name.trim_end_matches("_total"), MetricType::Counter),
            MetricKind::Gauge => (*name, MetricType::Gauge),
            MetricKind::Histogram => (*name, MetricType::Histogram),
        };
        let help = format!("{help}.");
        let encoder = encoder.encode_descriptor(name, &help, None, metric_type)?;
        let socs = self.socs.clone();
        self.family.write(&self.view, socs, &mut TextSink(encoder))
    }
}
