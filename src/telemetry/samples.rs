//! How samples of a family are written: the shapes that the catalogue needs, over a `Sink`. Each format in which metrics leave the
//! exporter is one sink, so the catalogue is the only list of metrics.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) type Label<'a> = (&'a str, &'a str);

/// The labels of one sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabelSet<'a> {
    /// The rack of the SoC. If there is one, it is the first label.
    pub(super) rack: Option<&'a str>,
    pub(super) own: &'a [Label<'a>],
}

impl<'a> LabelSet<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.rack.is_none() && self.own.is_empty()
    }

    /// All labels, the rack first.
    #[cfg(any(test, feature = "otel"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = Label<'a>> {
        let rack = self.rack.map(|rack| ("rack", rack));
        rack.into_iter().chain(self.own.iter().copied())
    }
}

/// The value of a counter or gauge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SampleValue {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
}

/// The value of a histogram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Histogram<'a> {
    pub(super) sum: f64,
    /// Upper bound and count of each bucket, not cumulative. The last bound is infinite.
    pub(super) buckets: &'a [(f64, u64)],
}

impl Histogram<'_> {
    /// All observations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// Where the samples of one family go.
pub(super) trait Sink {
    fn counter(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result;
    fn gauge(&mut self, labels: LabelSet<'_>, value: SampleValue) -> fmt::Result;
    fn histogram(&mut self, labels: LabelSet<'_>, value: Histogram<'_>) -> fmt::Result;
}

/// Writes samples of one family.
pub(super) struct Samples<'a> {
    pub(super) sink: &'a mut dyn Sink,
    /// The rack of the SoC whose samples are written. If there is one, it is a label of each.
    pub(super) rack: Option<&'a str>,
}

fn unix_time(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}

impl Samples<'_> {
    pub(super) fn counter(&mut self, own: &[Label<'_>], value: u64) -> fmt::Result {
        let rack = self.rack;
        self.sink
            .counter(LabelSet { rack, own }, SampleValue::Whole(value))
    }

    pub(super) fn gauge(&mut self, own: &[Label<'_>], value: f64) -> fmt::Result {
        let rack = self.rack;
        self.sink.gauge(LabelSet { rack, own }, SampleValue::Real(value))
    }

    pub(super) fn whole(&mut self, own: &[Label<'_>], value: u64) -> fmt::Result {
        let rack = self.rack;
        self.sink.gauge(LabelSet { rack, own }, SampleValue::Whole(value))
    }

    /// `buckets`: upper bound and count of each, not cumulative; the last bound is infinite.
    pub(super) fn histogram(&mut self, own: &[Label<'_>], sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let rack = self.rack;
        self.sink
            .histogram(LabelSet { rack, own }, Histogram { sum, buckets })
    }

    /// A gauge of the whole exporter, without labels.
    pub(super) fn plain(&mut self, value: f64) -> fmt::Result {
        self.gauge(&[], value)
    }

    /// A counter of the whole exporter.
    pub(super) fn plain_counter(&mut self, value: u64) -> fmt::Result {
        self.counter(&[], value)
    }

    /// A counter of the whole exporter that also counts parts.
    pub(super) fn plain_sum(&mut self, value: f64) -> fmt::Result {
        let (rack, own) = (None, &[][..]);
        self.sink
            .counter(LabelSet { rack, own }, SampleValue::Real(value))
    }

    /// A gauge of seconds, absent while there is no value.
    pub(super) fn seconds(&mut self, labels: &[Label<'_>], value: Option<Duration>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(labels, value.as_secs_f64()))
    }

    /// A gauge of Unix seconds, absent while there is no value.
    pub(super) fn timestamp(&mut self, labels: &[Label<'_>], value: Option<SystemTime>) -> fmt::Result {
        self.seconds(labels, value.and_then(unix_time))
    }

    /// A gauge of Unix seconds of the whole exporter, absent while there is no value.
    pub(super) fn plain_timestamp(&mut self, value: Option<SystemTime>) -> fmt::Result {
        self.timestamp(&[], value)
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
