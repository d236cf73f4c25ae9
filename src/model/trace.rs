//! Ids of traces and spans, and which traces are kept. Random numbers are arguments.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Query;

/// The id of one trace: never zero. The ids of its spans follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The id of one span: never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// The number of the span that has no parent.
pub const ROOT_SPAN: u64 = 0;

/// The number of a query's span in the trace of its round.
pub const fn query_span(query: Query) -> u64 {
    ROOT_SPAN + 1 + query.index() as u64
}

impl TraceId {
    /// From a random number.
    pub fn new(random: u128) -> Self {
        Self(random.max(1))
    }

    /// The id of the trace's span with this number.
    pub fn span(self, number: u64) -> SpanId {
        let half = (self.0 >> 64) as u64 ^ (self.0 as u64).rotate_left(32);
        SpanId(mixed(half.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).max(1))
    }

    /// As OTLP has it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The header `traceparent` (W3C Trace Context) that names this span of the trace. The trace is kept.
    pub fn parent(self, span: SpanId) -> String {
        format!("00-{self}-{span}-01")
    }
}

impl SpanId {
    /// As OTLP has it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// MurmurHash3's finalizer: each bit of the input changes half of the output.
fn mixed(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TraceRule {
    /// Rounds and dials that failed, were slow or changed something. It is decided when they are over.
    Failed,
    /// A share of all, from 0 to 1, decided by the trace's id alone.
    Share(f64),
}

impl TraceRule {
    /// Whether the trace is kept. `is_notable`: it failed, was slow or changed something.
    pub fn keeps(self, trace: TraceId, is_notable: bool) -> bool {
        match self {
            Self::Failed => is_notable,
            Self::Share(_) => self.samples(trace),
        }
    }

    /// A new trace, from a random number, if it is certain beforehand that it will be kept.
    pub fn sampled(self, random: u128) -> Option<TraceId> {
        Some(TraceId::new(random)).filter(|trace| self.samples(*trace))
    }

    /// Whether the id alone lets it be kept.
    fn samples(self, trace: TraceId) -> bool {
        match self {
            Self::Failed => false,
            Self::Share(share) if share >= 1.0 => true,
            // The comparison of OpenTelemetry's SDKs: they keep the same traces.
            Self::Share(share) => ((trace.0 as u64) >> 1) < (share * (1u64 << 63) as f64) as u64,
        }
    }
}

words! {
    /// Why a round began.
    RoundReason {
        /// The channel became READY.
        Ready = "ready",
        /// It was due.
        Interval = "interval",
        /// It has become known on which side of the rack this ToR is.
        Side = "side",
    }
}

/// When a round was, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTiming {
    /// Why it began.
    pub reason: RoundReason,
    /// Its trace, if the SoC was told (`otel.propagate`). Otherwise it gets one afterwards, if it is kept.
    pub trace: Option<TraceId>,
    /// When it began. It may have waited then for its turn.
    pub began: SystemTime,
    /// From its beginning until its queries were sent.
    pub sent: Duration,
    /// From its beginning to its end.
    pub took: Duration,
}

/// A round of no length in 1970.
impl Default for RoundTiming {
    fn default() -> Self {
        Self {
            reason: RoundReason::Interval,
            trace: None,
            began: UNIX_EPOCH,
            sent: Duration::ZERO,
            took: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_shown_as_w3c_wants_them_and_are_never_zero() {
        let trace = TraceId::new(0);
        assert_eq!(trace.to_string(), "00000000000000000000000000000001");
        assert_eq!(trace.to_bytes()[15], 1);
        let span = TraceId::new(7).span(ROOT_SPAN);
        assert_eq!(span.to_string().len(), 16);
        assert_eq!(u64::from_be_bytes(span.to_bytes()), span.0);
    }

    #[test]
    fn a_share_keeps_about_that_many_and_always_the_same() {
        let kept = |share: f64| {
            let rule = TraceRule::Share(share);
            let ids = (0..10_000u64).map(|n| TraceId::new(u128::from(mixed(n + 1))));
            ids.filter(|trace| rule.keeps(*trace, false)).count()
        };
        assert_eq!((kept(0.0), kept(1.0)), (0, 10_000));
        assert!((2300..2700).contains(&kept(0.25)), "{}", kept(0.25));
        let (one, more) = (TraceRule::Share(0.1), TraceRule::Share(0.5));
        let ids = (0..1000u64).map(|n| TraceId::new(u128::from(mixed(n + 1))));
        assert!(
            ids.filter(|trace| one.samples(*trace))
                .all(|trace| more.samples(trace))
        );
    }

    #[test]
    fn failed_is_decided_when_it_is_over() {
        let trace = TraceId::new(5);
        assert!(!TraceRule::Failed.samples(trace));
        assert!(TraceRule::Failed.keeps(trace, true) && !TraceRule::Failed.keeps(trace, false));
    }

    proptest! {
        #[test]
        fn no_two_spans_of_a_trace_have_the_same_id(random: u128) {
            let trace = TraceId::new(random);
            let ids: HashSet<_> = (0..100).map(|number| trace.span(number)).collect();
            prop_assert_eq!(ids.len(), 100);
        }
    }
}
