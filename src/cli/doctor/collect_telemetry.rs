//! What the collectors of OpenTelemetry answer, for `doctor`.

use super::collected::TelemetrySeen;
use crate::config::OtelSettings;

/// `None`: nothing is sent.
pub(super) async fn telemetry(
    settings: Option<OtelSettings>,
    warnings: Vec<String>,
) -> Option<TelemetrySeen> {
    let trials = match &settings {
        Some(settings) => trials(settings).await,
        None if warnings.is_empty() => return None,
        None => Vec::new(),
    };
    Some(TelemetrySeen { trials, warnings })
}

#[cfg(feature = "otel")]
async fn trials(settings: &OtelSettings) -> Vec<(String, Result<(), String>)> {
    let trials = crate::telemetry::otlp::try_endpoints(settings).await.into_iter();
    trials
        .map(|trial| {
            (
                format!("{} to {}", trial.signal.label(), trial.url),
                trial.outcome,
            )
        })
        .collect()
}

#[cfg(not(feature = "otel"))]
async fn trials(_: &OtelSettings) -> Vec<(String, Result<(), String>)> {
    Vec::new()
}
