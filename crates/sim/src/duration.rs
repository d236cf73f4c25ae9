//! Durations in Prometheus' notation (`500ms`, `4s`, `1m30s`), for scenario files.
//!
//! The exporter reads its configuration with another parser on purpose: the simulator shares no logic with it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::quote::quote;

/// Units and their milliseconds, from large to small. A duration has them in this order, each at most once.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1m30s`. `None` for anything else, also for a number without a unit (except `0`).
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut millis, mut units) = (text, 0_u64, UNITS.as_slice());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        rest = &rest[unit.len()..];
        let at = units.iter().position(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// Writes a duration in the notation that [`parse`] reads. Parts below a millisecond are lost.
pub(super) fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, millis) in UNITS {
        if left >= millis {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", left / millis);
            left %= millis;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "expected a duration like 500ms, 4s or 1m30s, found \"{}\"",
            quote(text)
        ))
    })
}

/// The same for an optional key.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_prometheus_writes_them() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        };
        check("500ms", Some(500));
        check("4s", Some(4_000));
        check("1m30s", Some(90_000));
        check("2h", Some(7_200_000));
        check("1d", Some(86_400_000));
        check("1s500ms", Some(1_500));
        check("0", Some(0));
        for wrong in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1s1m",
            "1s2s",
            "5 s",
            "1x",
            "99999999999999999999s",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for text in ["500ms", "4s", "1m30s", "2h", "1d1h", "1s1ms"] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
        assert_eq!(format(Duration::ZERO), "0s");
    }
}
