//! Which keys the file has. What they mean is in the other files of this folder.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Scalar, Value};

/// The section of TLS.
pub(super) const SECTION: &str = "tls_server_config";
/// Go's names of TLS' versions, oldest first.
pub(super) const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];
pub(super) const TLS12: usize = 2;
pub(super) const TLS13: usize = 3;

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToolkitFile {
    pub(super) tls_server_config: Option<TlsKeys>,
    pub(super) http_server_config: Option<HttpKeys>,
    pub(super) basic_auth_users: Option<BTreeMap<String, String>>,
    pub(super) rate_limit: Option<RateKeys>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsKeys {
    pub(super) cert: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) client_ca_file: Option<String>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) curve_preferences: Option<Vec<String>>,
    /// Without effect, as in the toolkit.
    #[serde(rename = "prefer_server_cipher_suites")]
    pub(super) _prefer_server_cipher_suites: Option<Value<bool>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpKeys {
    http2: Option<Value<bool>>,
    pub(super) headers: Option<BTreeMap<String, String>>,
}

impl HttpKeys {
    pub(super) fn http2(&self) -> bool {
        self.http2.as_ref().is_none_or(|http2| http2.0)
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateKeys {
    pub(super) interval: Option<Value<GoDuration>>,
    pub(super) burst: Option<Value<Burst>>,
}

/// How many requests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst(pub(super) u32);

impl Scalar for Burst {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A duration as Go writes it: `1s`, `1m30s`, `1.5h`; 0 needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GoDuration(pub(super) Duration);

impl Scalar for GoDuration {
    const EXPECTED: &'static str = "a duration of 0 or more, such as 1s, 100ms or 1m30s";

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).map(Self)
    }
}

impl GoDuration {
    fn read(text: &str) -> Option<Duration> {
        const UNITS: [(&str, f64); 7] = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        if text == "0" {
            return Some(Duration::ZERO);
        }
        let (mut rest, mut seconds) = (text, 0.0);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
            let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            seconds += number.parse::<f64>().ok()? * factor;
            rest = tail;
        }
        (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1s", Some(1000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("1s ", None),
        ] {
            assert_eq!(
                GoDuration::read(text),
                millis.map(Duration::from_millis),
                "{text:?}"
            );
        }
        assert_eq!(GoDuration::read(&format!("{}h", "9".repeat(400))), None);
    }
}
