//! How samples of a family are written: prometheus-client's encoder, in the shapes that the catalogue needs.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet};

/// Writes samples of one family.
pub(super) struct Samples<'a> {
    pub(super) encoder: MetricEncoder<'a>,
    /// The rack of the SoC whose samples are written. If there is one, it is a label of each.
    pub(super) rack: Option<&'a str>,
}

/// Labels, after the rack if there is one.
struct WithRack<'a, L>(Option<&'a str>, &'a L);

impl<L: EncodeLabelSet> EncodeLabelSet for WithRack<'_, L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        if let Some(rack) = self.0 {
            ("rack", rack).encode(encoder.encode_label())?;
        }
        self.1.encode(encoder)
    }
}

fn unix_time(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}

pub(super) type Label<'a> = (&'static str, &'a str);

impl Samples<'_> {
    pub(super) fn counter(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        let labels = WithRack(self.rack, labels);
        let mut metric = self.encoder.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    pub(super) fn gauge(&mut self, labels: &impl EncodeLabelSet, value: f64) -> fmt::Result {
        let labels = WithRack(self.rack, labels);
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    pub(super) fn histogram(
        &mut self,
        labels: &impl EncodeLabelSet,
        sum: f64,
        count: u64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let labels = WithRack(self.rack, labels);
        let mut metric = self.encoder.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    /// A gauge of the whole exporter, without labels.
    pub(super) fn plain(&mut self, value: f64) -> fmt::Result {
        self.encoder.encode_gauge(&value)
    }

    /// A counter of the whole exporter.
    pub(super) fn plain_counter(&mut self, value: u64) -> fmt::Result {
        self.encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    pub(super) fn whole(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        let labels = WithRack(self.rack, labels);
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    /// A gauge of seconds, absent while there is no value.
    pub(super) fn seconds(&mut self, labels: &impl EncodeLabelSet, value: Option<Duration>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(labels, value.as_secs_f64()))
    }

    /// A gauge of Unix seconds, absent while there is no value.
    pub(super) fn timestamp(
        &mut self,
        labels: &impl EncodeLabelSet,
        value: Option<SystemTime>,
    ) -> fmt::Result {
        self.seconds(labels, value.and_then(unix_time))
    }

    /// A gauge of Unix seconds of the whole exporter, absent while there is no value.
    pub(super) fn plain_timestamp(&mut self, value: Option<SystemTime>) -> fmt::Result {
        let value = value.and_then(unix_time);
        value.map_or(Ok(()), |value| self.plain(value.as_secs_f64()))
    }

    /// One 0/1 gauge per state, exactly one of them 1.
    pub(super) fn states(
        &mut self,
        labels: &[Label<'_>],
        all: &[&'static str],
        current: &'static str,
    ) -> fmt::Result {
        for state in all {
            match labels {
                [] => self.whole(&[("state", *state)], u64::from(*state == current))?,
                [port] => self.whole(&[*port, ("state", *state)], u64::from(*state == current))?,
                [port, side, ..] => {
                    self.whole(&[*port, *side, ("state", *state)], u64::from(*state == current))?;
                }
            }
        }
        Ok(())
    }
}
