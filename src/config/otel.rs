//! OpenTelemetry: what the file's key `otel` says, and what it means together with the environment, which wins key by key.
//!
//! Off without an endpoint. What the file says is checked when it is loaded. A variable that cannot be used counts as unset, with a
//! warning: that is the specification's rule.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::http_login::Secret;
use super::otel_environment::Variables;
use super::raw_otel::{Batches, OtlpProtocol, OtlpSignal, RawOtel, TraceChoice, header_name};
use super::raw_shared::TextOrFile;
use super::{ConfigError, KeyError, at, tls_files};
use crate::model::{ClientIdentity, TlsSettings, TraceRule};

/// How often metrics are sent, unless configured otherwise. The specification's default.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);

/// The key `otel` of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct OtelFile {
    endpoint: Option<Uri>,
    protocol: OtlpProtocol,
    traces: TraceChoice,
    metrics: bool,
    metrics_interval: Duration,
    logs: bool,
    headers: Vec<(HeaderName, Secret)>,
    tls: Option<TlsSettings>,
    resource: Vec<(String, String)>,
    propagate: bool,
}

/// Nothing is sent: there is no endpoint.
impl Default for OtelFile {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::Http,
            traces: TraceChoice::Failed,
            metrics: false,
            metrics_interval: METRICS_INTERVAL,
            logs: false,
            headers: Vec::new(),
            tls: None,
            resource: Vec::new(),
            propagate: false,
        }
    }
}

/// What is sent, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct OtelSettings {
    /// Which traces are sent, and where; `None`: none.
    pub traces: Option<(TraceRule, OtlpTarget)>,
    /// Where metrics are sent, and how often.
    pub metrics: Option<(Duration, OtlpTarget)>,
    /// Where events are sent.
    pub logs: Option<OtlpTarget>,
    /// How spans wait to be sent.
    pub batches: Batches,
    /// What describes this process, besides what it knows itself. Later ones win.
    pub resource: Vec<(String, String)>,
    /// Whether the SoCs are told the traces of the rounds that are sampled.
    pub propagate: bool,
}

/// Where one signal is sent, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpTarget {
    /// http or https. With `Http` it has the path of the signal.
    pub url: Uri,
    /// How it is sent.
    pub protocol: OtlpProtocol,
    /// Sent with each request.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The certificates; only with https.
    pub tls: Option<TlsSettings>,
    /// Whether requests are packed with gzip.
    pub gzip: bool,
    /// The deadline of one request.
    pub timeout: Duration,
}

/// The meaning of the key. Relative paths start at `base`.
pub(super) fn of_file(raw: RawOtel, base: &Path) -> Result<OtelFile, KeyError> {
    let endpoint = raw.endpoint.map(|url| url.0.0);
    let tls = raw
        .tls
        .map(|tls| tls_files::settings(tls, base, "otel.tls"))
        .transpose()?;
    if tls.is_some()
        && endpoint
            .as_ref()
            .is_some_and(|url| url.scheme_str() == Some("http"))
    {
        return at(
            "otel.tls",
            "expected no tls with the scheme http in otel.endpoint",
        );
    }
    let default = OtelFile::default();
    let traces = raw.traces.map_or(default.traces, |traces| traces.0);
    let headers = raw
        .headers
        .into_iter()
        .map(|(name, value)| header(&name, value, base));
    Ok(OtelFile {
        endpoint,
        protocol: raw.protocol.map_or(default.protocol, |protocol| protocol.0),
        traces,
        metrics: raw.metrics.is_some_and(|metrics| metrics.0.0),
        metrics_interval: raw
            .metrics_interval
            .map_or(default.metrics_interval, |interval| interval.0),
        logs: raw.logs.is_some_and(|logs| logs.0.0),
        headers: headers.collect::<Result<_, _>>()?,
        tls,
        resource: raw.resource.into_iter().collect(),
        propagate: raw.propagate.is_some_and(|propagate| propagate.0),
    })
}

fn header(name: &str, value: TextOrFile, base: &Path) -> Result<(HeaderName, Secret), KeyError> {
    let key = format!("otel.headers.{name}");
    let Some(parsed) = header_name(name) else {
        return at(
            &key,
            "expected a header's name that HTTP and gRPC do not use themselves",
        );
    };
    let value = match value {
        TextOrFile::File(file) => Secret::File(base.join(file)),
        TextOrFile::Text(text) if HeaderValue::from_str(&text).is_ok() => Secret::Text(text),
        TextOrFile::Text(_) => return at(&key, "expected a value of printable characters"),
    };
    Ok((parsed, value))
}

impl OtelFile {
    /// What file and environment say together; `None`: nothing is sent. Also the warnings about the environment. `variable` gives
    /// the value of a variable.
    pub fn with_environment(
        &self,
        path: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Option<OtelSettings>, Vec<String>), ConfigError> {
        let mut variables = Variables::new(variable);
        let settings = self.joined(&mut variables);
        let settings = settings.map_err(|(key, message)| ConfigError::new(path, None, Some(key), message))?;
        Ok((settings, variables.into_warnings()))
    }

    fn joined(&self, variables: &mut Variables<'_>) -> Result<Option<OtelSettings>, KeyError> {
        if variables.boolean("OTEL_SDK_DISABLED") == Some(true) {
            return Ok(None);
        }
        let sampler = variables.sampler();
        let rule = match (sampler, self.traces) {
            (Some(rule), _) => Some(rule),
            (None, TraceChoice::Off) => None,
            (None, TraceChoice::Failed) => Some(TraceRule::Failed),
            (None, TraceChoice::All) => Some(TraceRule::Share(1.0)),
        };
        let rule = match variables.exporter(OtlpSignal::Traces) {
            Some(true) => rule.or(Some(TraceRule::Failed)),
            Some(false) => None,
            None => rule,
        };
        let metrics = self.is_wanted(OtlpSignal::Metrics, self.metrics, variables);
        let logs = self.is_wanted(OtlpSignal::Logs, self.logs, variables);
        let traces = match rule {
            Some(rule) => self
                .target(OtlpSignal::Traces, variables)?
                .map(|target| (rule, target)),
            None => None,
        };
        let metrics = if metrics {
            self.target(OtlpSignal::Metrics, variables)?
        } else {
            None
        };
        let logs = if logs {
            self.target(OtlpSignal::Logs, variables)?
        } else {
            None
        };
        if self.propagate && matches!(traces, Some((TraceRule::Failed, _))) {
            let message = "expected traces: all (or OTEL_TRACES_SAMPLER) with propagate: true: what `failed` keeps is known only \
                           after the round, and a SoC is told before";
            return at("otel.propagate", message);
        }
        let interval = variables.millis("OTEL_METRIC_EXPORT_INTERVAL");
        let interval = interval.unwrap_or(self.metrics_interval);
        let mut resource = self.resource.clone();
        resource.extend(variables.resource());
        if traces.is_none() && metrics.is_none() && logs.is_none() {
            return Ok(None);
        }
        Ok(Some(OtelSettings {
            traces,
            metrics: metrics.map(|target| (interval, target)),
            logs,
            batches: variables.batches(),
            resource,
            propagate: self.propagate,
        }))
    }

    /// Whether metrics or events are sent: a variable for the exporter, an endpoint of their own, or the file says so.
    fn is_wanted(&self, signal: OtlpSignal, file: bool, variables: &mut Variables<'_>) -> bool {
        let protocol = variables.protocol(signal).unwrap_or(self.protocol);
        let has_own = variables.own_endpoint(signal, protocol).is_some();
        variables.exporter(signal).unwrap_or(has_own || file)
    }

    /// `None`: there is no endpoint for it, or it cannot be used.
    fn target(
        &self,
        signal: OtlpSignal,
        variables: &mut Variables<'_>,
    ) -> Result<Option<OtlpTarget>, KeyError> {
        let protocol = variables.protocol(signal).unwrap_or(self.protocol);
        let (url, from_file) = match (variables.endpoint(signal, protocol), &self.endpoint) {
            (Some((url, true)), _) => (url, false),
            (Some((url, false)), _) => (with_path(&url, signal, protocol), false),
            (None, Some(url)) => (with_path(url, signal, protocol), true),
            (None, None) => return Ok(None),
        };
        let tls = self.tls_of(signal, variables);
        let tls = match (url.scheme_str(), tls) {
            (Some("https"), None) if from_file => {
                let message =
                    "expected tls: {ca: FILE} with https: the system's own CA certificates are not used";
                return at("otel.tls", message);
            }
            (Some("https"), None) => {
                let variable = "OTEL_EXPORTER_OTLP_CERTIFICATE";
                variables.warn(variable, "expected the file of a CA certificate with an https endpoint: the system's own are not used; an endpoint of grpc without a scheme is https, unless OTEL_EXPORTER_OTLP_INSECURE is true");
                return Ok(None);
            }
            (Some("https"), Some(tls)) => Some(tls),
            _ => None,
        };
        let mut headers = self.headers.clone();
        for (name, value) in variables.headers(signal) {
            headers.retain(|(other, _)| *other != name);
            headers.push((name, Secret::Text(value)));
        }
        Ok(Some(OtlpTarget {
            url,
            protocol,
            headers,
            tls,
            gzip: variables.gzip(signal).unwrap_or(false),
            timeout: variables.timeout(signal).unwrap_or(Duration::from_secs(10)),
        }))
    }

    fn tls_of(&self, signal: OtlpSignal, variables: &mut Variables<'_>) -> Option<TlsSettings> {
        let ca = variables.file(signal, "CERTIFICATE");
        let ca = ca.or_else(|| self.tls.as_ref().map(|tls| tls.ca.clone()))?;
        let own = (
            variables.file(signal, "CLIENT_CERTIFICATE"),
            variables.file(signal, "CLIENT_KEY"),
        );
        let client = match own {
            (Some(cert), Some(key)) => Some(ClientIdentity { cert, key }),
            (None, None) => self.tls.as_ref().and_then(|tls| tls.client.clone()),
            _ => {
                variables.warn(
                    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                    "expected certificate and key together",
                );
                None
            }
        };
        let server_name = self.tls.as_ref().and_then(|tls| tls.server_name.clone());
        Some(TlsSettings {
            ca,
            client,
            server_name,
        })
    }
}

/// Where the signal is sent below the endpoint of all signals.
fn with_path(url: &Uri, signal: OtlpSignal, protocol: OtlpProtocol) -> Uri {
    if protocol == OtlpProtocol::Grpc {
        return url.clone();
    }
    let mut parts = url.clone().into_parts();
    let path = format!("{}{}", url.path().trim_end_matches('/'), signal.path());
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

#[cfg(test)]
mod tests;
