//! Whether what is sent as OpenTelemetry would arrive.

use super::{Area, Finding};
use crate::cli::doctor::collected::TelemetrySeen;

/// Nothing where nothing is sent.
pub(super) fn check(seen: Option<&TelemetrySeen>) -> Vec<Finding> {
    let Some(seen) = seen else { return Vec::new() };
    let mut findings = Vec::new();
    for (subject, outcome) in &seen.trials {
        findings.push(match outcome {
            Ok(()) => Finding::ok(Area::Telemetry, subject, "takes an empty message"),
            Err(reason) => Finding::problem(
                Area::Telemetry,
                subject,
                format!("takes nothing: {reason}"),
                "start the collector, or correct otel in the configuration or the variable OTEL_EXPORTER_OTLP_ENDPOINT; 4318 is \
                 usually the port of http/protobuf, 4317 that of grpc",
            ),
        });
    }
    for warning in &seen.warnings {
        let remedy = "correct the variable where the exporter is started (docs/opentelemetry.md)".to_owned();
        findings.push(Finding::note(Area::Telemetry, "environment", warning, remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::findings::Level;

    #[test]
    fn an_endpoint_that_takes_nothing_is_a_problem_and_a_bad_variable_a_note() {
        let seen = TelemetrySeen {
            trials: vec![
                ("traces to http://c:4318/v1/traces".to_owned(), Ok(())),
                (
                    "metrics to http://c:4318/v1/metrics".to_owned(),
                    Err("no reply".to_owned()),
                ),
            ],
            warnings: vec!["OTEL_BSP_MAX_QUEUE_SIZE: expected a whole number".to_owned()],
        };
        let levels: Vec<Level> = check(Some(&seen)).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Problem, Level::Note]);
        assert!(check(None).is_empty());
    }
}
