//! The shape of `otel` in the configuration file, and its values, which the environment has too. `otel` says what they mean.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Uri};

use super::http_url::is_http_url;
use super::raw_shared::TextOrFile;
use super::scalar::{Scalar, Value, optional};
use super::tls_files::RawTls;

/// Its shape in the configuration file. All keys are optional: the environment may have them.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOtel {
    #[serde(deserialize_with = "optional")]
    pub(super) endpoint: Option<Value<OtlpUrl>>,
    #[serde(deserialize_with = "optional")]
    pub(super) protocol: Option<Value<OtlpProtocol>>,
    #[serde(deserialize_with = "optional")]
    pub(super) traces: Option<Value<TraceChoice>>,
    #[serde(deserialize_with = "optional")]
    pub(super) metrics: Option<Value<OnOff>>,
    #[serde(deserialize_with = "optional")]
    pub(super) metrics_interval: Option<Value<Duration>>,
    #[serde(deserialize_with = "optional")]
    pub(super) logs: Option<Value<OnOff>>,
    pub(super) headers: BTreeMap<String, TextOrFile>,
    pub(super) tls: Option<RawTls>,
    pub(super) resource: BTreeMap<String, String>,
    #[serde(deserialize_with = "optional")]
    pub(super) propagate: Option<Value<bool>>,
}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OtlpUrl(pub(super) Uri);

impl Scalar for OtlpUrl {
    const EXPECTED: &'static str = "a URL with the scheme http or https, and without a login (headers is a key), such as http://127.0.0.1:4318";

    fn parse(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        (is_http_url(&url) && url.query().is_none()).then_some(Self(url))
    }
}

/// How OTLP is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// POST requests with protobuf, usually to port 4318.
    Http,
    /// gRPC, usually to port 4317.
    Grpc,
}

impl OtlpProtocol {
    /// Its value in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

impl Scalar for OtlpProtocol {
    const EXPECTED: &'static str = "http/protobuf or grpc";

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Grpc]
            .into_iter()
            .find(|protocol| protocol.label() == text)
    }
}

/// Which traces are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TraceChoice {
    Off,
    Failed,
    All,
}

impl Scalar for TraceChoice {
    const EXPECTED: &'static str = "off, failed or all";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "failed" => Some(Self::Failed),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnOff(pub(super) bool);

impl Scalar for OnOff {
    const EXPECTED: &'static str = "on or off";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "on" => Some(Self(true)),
            "off" => Some(Self(false)),
            _ => None,
        }
    }
}

/// How spans wait to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// The most spans that wait.
    pub queue: usize,
    /// The most spans in one request.
    pub batch: usize,
    /// How long the first one waits for others.
    pub delay: Duration,
    /// The deadline of one batch with all attempts.
    pub timeout: Duration,
}

/// The specification's defaults.
impl Default for Batches {
    fn default() -> Self {
        Self {
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}

/// The kinds of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpSignal {
    /// Of rounds and dials.
    Traces,
    /// Those of /metrics.
    Metrics,
    /// Events.
    Logs,
}

impl OtlpSignal {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// Its name in the log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Its part of variables' names.
    pub(super) const fn variable(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }

    /// Its path below an endpoint.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// A header that may be added to requests.
pub(super) fn header_name(name: &str) -> Option<HeaderName> {
    const OURS: [&str; 9] = [
        "host",
        "te",
        "connection",
        "transfer-encoding",
        "content-type",
        "content-length",
        "content-encoding",
        "user-agent",
        "upgrade",
    ];
    let name: HeaderName = name.to_ascii_lowercase().parse().ok()?;
    let is_ours = OURS.contains(&name.as_str()) || name.as_str().starts_with("grpc-");
    (!is_ours).then_some(name)
}
