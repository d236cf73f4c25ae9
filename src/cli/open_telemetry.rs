//! What file and environment say about OpenTelemetry. The exporter, `doctor` and the demo read the environment here.

use std::path::Path;

use tracing::warn;

use crate::config::{Config, ConfigError, OtelFile, OtelSettings};
use crate::model::component::OTLP;

/// What is sent; `None`: nothing. Also what is wrong with the environment.
pub fn otel_settings(
    config: &Config,
    file: Option<&Path>,
) -> Result<(Option<OtelSettings>, Vec<String>), ConfigError> {
    let file = file.unwrap_or(Path::new("(no configuration file)"));
    if !cfg!(feature = "otel") && config.otel != OtelFile::default() {
        let message = "expected no such key: this program was built without OpenTelemetry (feature otel)";
        return Err(ConfigError::new(
            file,
            None,
            Some("otel".to_owned()),
            message.to_owned(),
        ));
    }
    let read = |name: &str| std::env::var_os(name);
    let (mut settings, mut warnings) = config.otel.with_environment(file, &read)?;
    if !cfg!(feature = "otel") && settings.is_some() {
        warnings =
            vec!["this program was built without OpenTelemetry (feature otel): nothing is sent".to_owned()];
        settings = None;
    }
    // In central mode a host may have several processes. What is configured comes after it and wins.
    let pod = std::env::var("POD_NAME").ok();
    let pod = pod.filter(|pod| config.is_central() && !pod.is_empty());
    if let (Some(settings), Some(pod)) = (&mut settings, pod) {
        settings
            .resource
            .insert(0, ("service.instance.id".to_owned(), pod));
    }
    Ok((settings, warnings))
}

/// The same at a start: warnings go to the log.
pub fn otel_settings_at_start(
    config: &Config,
    file: Option<&Path>,
) -> Result<Option<OtelSettings>, ConfigError> {
    let (settings, warnings) = otel_settings(config, file)?;
    for warning in warnings {
        warn!(target: OTLP, warning, "a variable of OpenTelemetry cannot be used");
    }
    Ok(settings)
}

/// For people: what is sent where. Without headers.
pub fn otel_summary(settings: &OtelSettings) -> String {
    let traces = settings.traces.as_ref().map(|(_, target)| ("traces", target));
    let metrics = settings.metrics.as_ref().map(|(_, target)| ("metrics", target));
    let logs = settings.logs.as_ref().map(|target| ("logs", target));
    let all = [traces, metrics, logs].into_iter().flatten();
    let all = all.map(|(signal, target)| {
        let url = crate::model::text::quote(target.url.to_string());
        format!("{signal} to {url} ({})", target.protocol.label())
    });
    format!("OpenTelemetry: {}", all.collect::<Vec<_>>().join(", "))
}
