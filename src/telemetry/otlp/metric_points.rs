//! The sink of OTLP: the catalogue's families as they are, under their own names. What Prometheus → OTLP says: counters are
//! cumulative sums since the start of the process, gauges gauges, histograms histograms.

use std::fmt;
use std::ops::Range;
use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as OtlpHistogram, HistogramDataPoint, Metric, NumberDataPoint,
    Sum, number_data_point::Value,
};

use super::attributes::{nanos, text};
use crate::model::View;
use crate::telemetry::catalogue::{CATALOGUE, Family, MetricKind};
use crate::telemetry::samples::{Histogram, LabelSet, SampleValue, Sink};

/// SoCs at a time. Between two such pieces other work can run.
const SOCS_PER_PIECE: usize = 64;
/// Data points in one message: about 1 MiB, far from the 4 MiB that gRPC servers accept.
pub(super) const MOST_POINTS: usize = 5_000;

/// The messages of one view, made as they are asked for.
#[derive(Debug)]
pub(super) struct MetricMessages<'a> {
    view: &'a View,
    family: usize,
    next_soc: usize,
}

impl<'a> MetricMessages<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        let (family, next_soc) = (0, 0);
        Self {
            view,
            family,
            next_soc,
        }
    }

    /// The SoCs of the next piece.
    fn next_range(&mut self, family: &Family) -> Range<usize> {
        let total = if family.is_per_soc() {
            self.view.socs.len()
        } else {
            0
        };
        let range = self.next_soc..total.min(self.next_soc + SOCS_PER_PIECE);
        let is_last = range.end == total;
        self.next_soc = if is_last { 0 } else { range.end };
        self.family += usize::from(is_last);
        range
    }
}

/// The metrics of one message.
impl Iterator for MetricMessages<'_> {
    type Item = Vec<Metric>;

    fn next(&mut self) -> Option<Vec<Metric>> {
        let (mut metrics, mut points) = (Vec::<Metric>::new(), 0);
        while points < MOST_POINTS
            && let Some(family) = CATALOGUE.get(self.family)
        {
            let range = self.next_range(family);
            let mut sink = OtlpSink::new(self.view);
            // Writing to memory cannot fail.
            let _ = family.write(self.view, range, &mut sink);
            let (data, more) = sink.into_data(family.kind);
            if more == 0 {
                continue;
            }
            points += more;
            match metrics.last_mut() {
                Some(last) if last.name == family.name => extend(last, data),
                _ => metrics.push(metric(family, data)),
            }
        }
        (!metrics.is_empty()).then_some(metrics)
    }
}

fn metric(family: &Family, data: Data) -> Metric {
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit(family.name).to_owned(),
        metadata: vec![text("prometheus.type", family.kind.label())],
        data: Some(data),
    }
}

/// More points of the same family.
fn extend(metric: &mut Metric, more: Data) {
    match (&mut metric.data, more) {
        (Some(Data::Gauge(all)), Data::Gauge(more)) => all.data_points.extend(more.data_points),
        (Some(Data::Sum(all)), Data::Sum(more)) => all.data_points.extend(more.data_points),
        (Some(Data::Histogram(all)), Data::Histogram(more)) => all.data_points.extend(more.data_points),
        // A family has one kind.
        _ => {}
    }
}

/// In the notation of UCUM, from the name.
fn unit(name: &str) -> &'static str {
    match name.strip_suffix("_total").unwrap_or(name) {
        name if name.ends_with("_seconds") => "s",
        name if name.ends_with("_bytes") => "By",
        _ => "",
    }
}

struct OtlpSink {
    start: u64,
    at: u64,
    numbers: Vec<NumberDataPoint>,
    histograms: Vec<HistogramDataPoint>,
}

impl OtlpSink {
    fn new(view: &View) -> Self {
        let start: SystemTime = view.exporter.started;
        Self {
            start: nanos(start),
            at: nanos(view.at),
            numbers: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// All points, and how many they are.
    fn into_data(self, kind: MetricKind) -> (Data, usize) {
        let points = self.numbers.len() + self.histograms.len();
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match kind {
            MetricKind::Counter => Data::Sum(Sum {
                data_points: self.numbers,
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            MetricKind::Gauge => Data::Gauge(Gauge {
                data_points: self.numbers,
            }),
            MetricKind::Histogram => Data::Histogram(OtlpHistogram {
                data_points: self.histograms,
                aggregation_temporality: cumulative,
            }),
        };
        (data, points)
    }

    fn number(&mut self, labels: LabelSet<'_>, start: u64, value: SampleValue) {
        self.numbers.push(NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: start,
            time_unix_nano: self.at,
            value: Some(match value {
                SampleValue::Whole(value) => Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
                SampleValue::Real(value) => Value::AsDouble(value),
            }),
            ..NumberDataPoint::default()
        });
    }
}

fn attributes(labels: LabelSet<'_>) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text(name, value)).collect()
}

impl Sink for OtlpSink {
    fn counter(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result {
        self.number(labels, self.start, value);
        Ok(())
    }

    fn gauge(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result {
        self.number(labels, 0, value);
        Ok(())
    }

    fn histogram(&mut self, labels: LabelSet<'_>, value: Histogram<'_>) -> fmt::Result {
        let bounds = value.buckets.iter().map(|(bound, _)| *bound);
        self.histograms.push(HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.start,
            time_unix_nano: self.at,
            count: value.count(),
            sum: Some(value.sum),
            // The last bucket has no bound.
            explicit_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
            bucket_counts: value.buckets.iter().map(|(_, count)| *count).collect(),
            ..HistogramDataPoint::default()
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
