//! The sink of the text formats: prometheus-client's encoder.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet};

use super::samples::{Histogram, LabelSet, SampleValue, Sink};

/// Writes the samples of one family as text.
pub(super) struct TextSink<'a>(pub(super) MetricEncoder<'a>);

impl EncodeLabelSet for LabelSet<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        if let Some(rack) = self.rack {
            ("rack", rack).encode(encoder.encode_label())?;
        }
        self.own.encode(encoder)
    }
}

impl TextSink<'_> {
    /// A sample without labels has no braces.
    fn labelled(
        &mut self,
        labels: LabelSet<'_>,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() {
            write(&mut self.0)
        } else {
            write(&mut self.0.encode_family(&labels)?)
        }
    }
}

impl Sink for TextSink<'_> {
    fn counter(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result {
        self.labelled(labels, |metric| match value {
            SampleValue::Whole(value) => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
            SampleValue::Real(value) => metric.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        })
    }

    fn gauge(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result {
        self.labelled(labels, |metric| match value {
            SampleValue::Whole(value) => metric.encode_gauge(&value),
            SampleValue::Real(value) => metric.encode_gauge(&value),
        })
    }

    fn histogram(&mut self, labels: LabelSet<'_>, value: Histogram<'_>) -> fmt::Result {
        self.labelled(labels, |metric| {
            metric.encode_histogram::<NoLabelSet>(value.sum, value.count(), value.buckets, None)
        })
    }
}
