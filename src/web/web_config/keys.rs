//! Which keys the file has. What they mean is in the other files of this folder.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

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
    pub(super) _prefer_server_cipher_suites: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpKeys {
    pub(super) http2: bool,
    pub(super) headers: Option<BTreeMap<String, String>>,
}

impl Default for HttpKeys {
    fn default() -> Self {
        let headers = None;
        Self { http2: true, headers }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateKeys {
    pub(super) interval: GoDuration,
    pub(super) burst: u32,
}

/// A duration as Go writes it: `1s`, `1m30s`, `1.5h`; 0 needs no unit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct GoDuration(pub(super) Duration);

const EXPECTED: &str = "a duration of 0 or more, such as 1s, 100ms or 1m30s";

impl GoDuration {
    fn parse(text: &str) -> Option<Duration> {
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

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
                let duration = GoDuration::parse(text);
                duration
                    .map(GoDuration)
                    .ok_or_else(|| E::invalid_value(Unexpected::Other("another value"), &self))
            }
        }
        deserializer.deserialize_str(Reads)
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
                GoDuration::parse(text),
                millis.map(Duration::from_millis),
                "{text:?}"
            );
        }
        assert_eq!(GoDuration::parse(&format!("{}h", "9".repeat(400))), None);
    }
}
