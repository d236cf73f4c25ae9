//! OpenTelemetry's standard variables. One that is empty counts as unset. So does one that cannot be read, with a warning. Warnings
//! never have values of headers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::raw_otel::{Batches, OtlpProtocol, OtlpSignal, OtlpUrl, header_name};
use super::scalar::Scalar as _;
use crate::model::{TraceRule, text};

/// The longest queue of spans: more would be memory without bound.
const MOST_SPANS: u64 = 100_000;
/// The longest duration, an hour. A longer one would hide that nothing arrives.
const MOST_MILLIS: u64 = 3_600_000;

/// See the module's documentation.
pub(super) struct Variables<'a> {
    read: &'a dyn Fn(&str) -> Option<OsString>,
    /// A set: some variables are read once per signal.
    warnings: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(read: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self {
            read,
            warnings: BTreeSet::new(),
        }
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings.into_iter().collect()
    }

    pub(super) fn warn(&mut self, variable: &str, message: &str) {
        self.warnings.insert(format!("{variable}: {message}"));
    }

    fn get(&mut self, variable: &str) -> Option<String> {
        let Ok(value) = (self.read)(variable)?.into_string() else {
            self.warn(variable, "expected text in UTF-8; it is ignored");
            return None;
        };
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value as `parse` reads it.
    fn read<T>(
        &mut self,
        variable: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(variable)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            let message = format!(
                "expected {expected}, got {:?}; it is ignored",
                text::quote(&value)
            );
            self.warn(variable, &message);
        }
        parsed
    }

    /// The same of `OTEL_EXPORTER_OTLP_<signal>_<end>`, else of `OTEL_EXPORTER_OTLP_<end>`.
    fn of_signal<T>(
        &mut self,
        signal: OtlpSignal,
        end: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{end}", signal.variable());
        let own = self.read(&own, expected, &parse);
        own.or_else(|| self.read(&format!("OTEL_EXPORTER_OTLP_{end}"), expected, &parse))
    }

    pub(super) fn boolean(&mut self, variable: &str) -> Option<bool> {
        self.read(variable, BOOLEAN, boolean)
    }

    /// `OTEL_<signal>_EXPORTER`: whether the signal is sent.
    pub(super) fn exporter(&mut self, signal: OtlpSignal) -> Option<bool> {
        let variable = format!("OTEL_{}_EXPORTER", signal.variable());
        self.read(&variable, "otlp or none", |value| match value {
            "otlp" => Some(true),
            "none" => Some(false),
            _ => None,
        })
    }

    pub(super) fn sampler(&mut self) -> Option<TraceRule> {
        const EXPECTED: &str = "always_on, always_off, traceidratio or one of these after parentbased_";
        let sampler = self.read("OTEL_TRACES_SAMPLER", EXPECTED, |value| {
            // Our rounds have no parent, so the root's sampler decides.
            match value.strip_prefix("parentbased_").unwrap_or(value) {
                "always_on" => Some(Some(1.0)),
                "always_off" => Some(Some(0.0)),
                "traceidratio" => Some(None),
                _ => None,
            }
        })?;
        let share = sampler.unwrap_or_else(|| {
            let share = self.read("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1", |value| {
                let share = value.parse::<f64>().ok()?;
                (0.0..=1.0).contains(&share).then_some(share)
            });
            share.unwrap_or(1.0)
        });
        Some(TraceRule::Share(share))
    }

    fn whole(&mut self, variable: &str, least: u64, most: u64) -> Option<u64> {
        let expected = format!("a whole number from {least} to {most}");
        self.read(variable, &expected, |value| whole(value, least, most))
    }

    pub(super) fn millis(&mut self, variable: &str) -> Option<Duration> {
        self.whole(variable, 1, MOST_MILLIS).map(Duration::from_millis)
    }

    pub(super) fn batches(&mut self) -> Batches {
        let default = Batches::default();
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let queue = self.whole("OTEL_BSP_MAX_QUEUE_SIZE", 16, MOST_SPANS);
        let queue = queue.map_or(default.queue, size);
        let batch = self.whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, MOST_SPANS);
        Batches {
            queue,
            batch: batch.map_or(default.batch, size).min(queue),
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY").unwrap_or(default.delay),
            timeout: self.millis("OTEL_BSP_EXPORT_TIMEOUT").unwrap_or(default.timeout),
        }
    }

    /// The endpoint, and whether it is the signal's own, which is used as it is.
    pub(super) fn endpoint(&mut self, signal: OtlpSignal, protocol: OtlpProtocol) -> Option<(Uri, bool)> {
        if let Some(own) = self.own_endpoint(signal, protocol) {
            return Some((own, true));
        }
        let all = self.url("OTEL_EXPORTER_OTLP_ENDPOINT", signal, protocol)?;
        Some((all, false))
    }

    /// The endpoint of this signal alone.
    pub(super) fn own_endpoint(&mut self, signal: OtlpSignal, protocol: OtlpProtocol) -> Option<Uri> {
        let variable = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.variable());
        self.url(&variable, signal, protocol)
    }

    fn url(&mut self, variable: &str, signal: OtlpSignal, protocol: OtlpProtocol) -> Option<Uri> {
        let value = self.get(variable)?;
        let url = match self.scheme(signal, protocol) {
            // gRPC's endpoints may be HOST:PORT.
            Some(scheme) if !value.contains("://") => OtlpUrl::parse(&format!("{scheme}://{value}")),
            _ => OtlpUrl::parse(&value),
        };
        if url.is_none() {
            // A login is a secret.
            let got = match value.contains('@') {
                true => String::new(),
                false => format!(", got {:?}", text::quote(&value)),
            };
            self.warn(
                variable,
                &format!("expected {}{got}; it is ignored", OtlpUrl::EXPECTED),
            );
        }
        url.map(|url| url.0)
    }

    /// Of an endpoint without one. Only gRPC's may be like that.
    fn scheme(&mut self, signal: OtlpSignal, protocol: OtlpProtocol) -> Option<&'static str> {
        let insecure = self.of_signal(signal, "INSECURE", BOOLEAN, boolean);
        let scheme = if insecure == Some(true) { "http" } else { "https" };
        (protocol == OtlpProtocol::Grpc).then_some(scheme)
    }

    pub(super) fn protocol(&mut self, signal: OtlpSignal) -> Option<OtlpProtocol> {
        self.of_signal(signal, "PROTOCOL", OtlpProtocol::EXPECTED, OtlpProtocol::parse)
    }

    pub(super) fn gzip(&mut self, signal: OtlpSignal) -> Option<bool> {
        self.of_signal(signal, "COMPRESSION", "gzip or none", |value| match value {
            "gzip" => Some(true),
            "none" => Some(false),
            _ => None,
        })
    }

    pub(super) fn timeout(&mut self, signal: OtlpSignal) -> Option<Duration> {
        let expected = format!("a whole number of milliseconds from 1 to {MOST_MILLIS}");
        self.of_signal(signal, "TIMEOUT", &expected, |value| {
            whole(value, 1, MOST_MILLIS).map(Duration::from_millis)
        })
    }

    pub(super) fn file(&mut self, signal: OtlpSignal, end: &str) -> Option<PathBuf> {
        self.of_signal(signal, end, "a path", |value| Some(PathBuf::from(value)))
    }

    /// Those of the signal, else those of all. A bad one makes all of them useless: a login without its tenant may go astray.
    pub(super) fn headers(&mut self, signal: OtlpSignal) -> Vec<(HeaderName, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_HEADERS", signal.variable());
        for variable in [&own[..], "OTEL_EXPORTER_OTLP_HEADERS"] {
            let Some(value) = self.get(variable) else { continue };
            let headers = pairs(&value).and_then(|pairs| pairs.into_iter().map(header).collect());
            match headers {
                Some(headers) => return headers,
                // Not with its value: that may be a secret.
                None => self.warn(variable, "expected name=value,name=value; it is ignored"),
            }
        }
        Vec::new()
    }

    /// `OTEL_RESOURCE_ATTRIBUTES`, then the service's name, which wins.
    pub(super) fn resource(&mut self) -> Vec<(String, String)> {
        let attributes = self.read("OTEL_RESOURCE_ATTRIBUTES", "key=value,key=value", pairs);
        let mut attributes = attributes.unwrap_or_default();
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.push(("service.name".to_owned(), name));
        }
        attributes
    }
}

const BOOLEAN: &str = "true or false";

fn boolean(value: &str) -> Option<bool> {
    value.to_ascii_lowercase().parse().ok()
}

fn whole(value: &str, least: u64, most: u64) -> Option<u64> {
    let value = value.parse().ok()?;
    (least..=most).contains(&value).then_some(value)
}

fn header((name, value): (String, String)) -> Option<(HeaderName, String)> {
    let name = header_name(&name)?;
    HeaderValue::from_str(&value).is_ok().then_some((name, value))
}

/// `key=value,key=value`, the values with %-escapes.
fn pairs(value: &str) -> Option<Vec<(String, String)>> {
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let decoded = |text: &str| {
                let text = percent_decode_str(text.trim()).decode_utf8().ok()?;
                Some(text.into_owned())
            };
            let (key, value) = (decoded(key)?, decoded(value)?);
            (!key.is_empty()).then_some((key, value))
        })
        .collect()
}
