//! Whether each endpoint takes what we send: one empty message to each, once. It has no other effect on a collector.

use super::collector::Collector;
use super::sendable::{LOGS_METHOD, METRICS_METHOD, TRACE_METHOD};
use crate::config::{OtelSettings, OtlpSignal, OtlpTarget};

/// What one endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What would be sent there.
    pub signal: OtlpSignal,
    /// Where it is, for people.
    pub url: String,
    /// Why it takes nothing, for people.
    pub outcome: Result<(), String>,
}

/// Tries all endpoints at the same time. It takes as long as the time-out of a request and of a connection at most.
pub async fn try_endpoints(settings: &OtelSettings) -> Vec<Trial> {
    let traces = settings.traces.as_ref().map(|(_, target)| target);
    let metrics = settings.metrics.as_ref().map(|(_, target)| target);
    let trials = tokio::join!(
        try_one(OtlpSignal::Traces, traces, TRACE_METHOD),
        try_one(OtlpSignal::Metrics, metrics, METRICS_METHOD),
        try_one(OtlpSignal::Logs, settings.logs.as_ref(), LOGS_METHOD),
    );
    [trials.0, trials.1, trials.2].into_iter().flatten().collect()
}

async fn try_one(signal: OtlpSignal, target: Option<&OtlpTarget>, method: &'static str) -> Option<Trial> {
    let mut collector = Collector::new(target?.clone(), method);
    // An empty message of any kind has no bytes.
    let outcome = Box::pin(collector.send(&[])).await;
    Some(Trial {
        signal,
        url: collector.url(),
        outcome: outcome.map(drop).map_err(|error| error.text),
    })
}
