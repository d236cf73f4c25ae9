//! What has become of the telemetry that is sent as OpenTelemetry, for metrics.

words! {
    /// What became of a span, an event, or a set of metrics.
    OtlpResult {
        /// It has arrived.
        Ok = "ok",
        /// It has not arrived, or the collector has rejected it.
        Error = "error",
        /// It found the queue full, or it still waited at the stop.
        Dropped = "dropped",
    }
}

/// Counts of one signal, by `OtlpResult::index()`.
pub type OtlpCounts = [u64; OtlpResult::COUNT];

/// What has become of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtlpStatus {
    /// Spans; `None`: no traces are sent.
    pub spans: Option<OtlpCounts>,
    /// Sets of metrics; `None`: none are sent.
    pub metrics: Option<OtlpCounts>,
    /// Events; `None`: none are sent.
    pub logs: Option<OtlpCounts>,
    /// Whether everything arrives; `None`: nothing has been sent yet.
    pub up: Option<bool>,
}
