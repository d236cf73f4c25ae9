//! Single values of the configuration file, parsed from any YAML scalar. So each error says what was expected and what was
//! found.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error, VariantAccess, Visitor};

use super::SourceRule;
use crate::model::{KeepaliveRule, text};

/// A value: how to parse it, and a text for what is expected.
pub(crate) trait Scalar: Sized {
    /// "a duration such as 500ms, 4s or 1m"
    const EXPECTED: &'static str;

    /// Whether the value is taken as it is written (`1.10`, `010`, `true`, `null`). Otherwise it is what YAML makes of it
    /// (`0x10` is 16).
    const AS_WRITTEN: bool = true;

    fn parse(text: &str) -> Option<Self>;
}

/// Makes a `Scalar` readable by serde.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value<T>(pub(crate) T);

/// Reads a `Scalar`. One type for all of them: the library writes what it is given a visitor for once for each type of visitor, some
/// kB each.
struct ScalarVisitor<'a> {
    expected: &'static str,
    as_written: bool,
    /// Takes the text; false: it is no such value.
    take: &'a mut dyn FnMut(&str) -> bool,
}

impl<'a> ScalarVisitor<'a> {
    fn of<T: Scalar>(take: &'a mut dyn FnMut(&str) -> bool) -> Self {
        Self {
            expected: T::EXPECTED,
            as_written: T::AS_WRITTEN,
            take,
        }
    }

    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let expected = self.expected;
        let read = match self.as_written {
            // Only this gives the text of each scalar, also of a null.
            true => deserializer.deserialize_enum("", &[], self),
            false => deserializer.deserialize_any(self),
        };
        read.map_err(|error| match error.to_string() {
            // A list, or a mapping without a key. The library's message is for programmers.
            words if words.contains("externally tagged enum") => {
                D::Error::custom(format!("expected {expected}, got a list or a mapping"))
            }
            _ => error,
        })
    }
}

/// What is made of a text, kept in `value`.
fn into<T: Scalar>(value: &mut Option<T>) -> impl FnMut(&str) -> bool {
    |text| {
        *value = T::parse(text);
        value.is_some()
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = None;
        ScalarVisitor::of::<T>(&mut into(&mut value)).read(deserializer)?;
        value.map(Self).ok_or_else(|| D::Error::custom(T::EXPECTED))
    }
}

/// For `deserialize_with`: a value that may be null, as serde reads an `Option`.
pub(super) fn optional<'de, T: Scalar, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value<T>>, D::Error> {
    let mut value = None;
    deserializer.deserialize_option(OptionalVisitor(ScalarVisitor::of::<T>(&mut into(&mut value))))?;
    Ok(value.map(Value))
}

struct OptionalVisitor<'a>(ScalarVisitor<'a>);

impl<'de> Visitor<'de> for OptionalVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expected)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.read(deserializer)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match (self.take)(text) {
            true => Ok(()),
            false => Err(E::custom(format!(
                "expected {}, got {:?}",
                self.expected,
                text::quote(text)
            ))),
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, scalar: A) -> Result<(), A::Error> {
        let (text, rest) = scalar.variant::<String>()?;
        // A mapping may have more than its first key.
        let expected = |_| A::Error::custom(format!("expected {}, got a mapping", self.expected));
        rest.unit_variant().map_err(expected)?;
        match &*text {
            // The value is a ~, or empty.
            "~" => Err(A::Error::custom(format!(
                "expected {}, got nothing",
                self.expected
            ))),
            text => self.visit_str(text),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }
}

/// The longest duration. Longer ones have no use and would overflow the arithmetic of clocks.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Scalar for Duration {
    const EXPECTED: &'static str = "a duration over 0 and up to 1y, such as 500ms, 4s or 1m30s";

    fn parse(text: &str) -> Option<Self> {
        duration(text).filter(|duration| !duration.is_zero() && *duration <= YEAR)
    }
}

/// A duration in Prometheus' notation: whole numbers with the units y, w, d, h, m, s, ms, largest first, each once.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 24 * 3600 * 1000),
        ("w", 7 * 24 * 3600 * 1000),
        ("d", 24 * 3600 * 1000),
        ("h", 3600 * 1000),
        ("m", 60 * 1000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

impl Scalar for KeepaliveRule {
    const EXPECTED: &'static str = "rounds, or a duration over 0 and up to 1y, such as 500ms, 4s or 1m30s";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "rounds" => Some(Self::Rounds),
            text => <Duration as Scalar>::parse(text).map(Self::Every),
        }
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A TCP port.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TcpPort(pub(super) u16);

impl Scalar for TcpPort {
    const EXPECTED: &'static str = "a TCP port from 1 to 65535";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|port| *port > 0).map(Self)
    }
}

/// A number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl Scalar for Share {
    const EXPECTED: &'static str = "a number from 0 to 1";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (0.0..=1.0).contains(n)).map(Self)
    }
}

/// A number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Multiplier(pub(super) f64);

impl Scalar for Multiplier {
    const EXPECTED: &'static str = "a number of at least 1";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .filter(|n| (1.0..f64::INFINITY).contains(n))
            .map(Self)
    }
}

impl Scalar for crate::model::Port {
    const EXPECTED: &'static str =
        "a port name of 1 to 64 letters, digits, '_', '-', '.' or '/', such as Ethernet0 (. and .. are none)";

    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl Scalar for crate::model::Rack {
    const EXPECTED: &'static str =
        "a rack name of at most 64 letters, digits, '_', '-', '.' or '/', such as r17";

    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

/// A SoC's address, with or without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    port: Option<u16>,
}

impl Address {
    /// Reads an address as the key `targets` has it. `Err` says what was expected.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        <Self as Scalar>::parse(text).ok_or(Self::EXPECTED)
    }

    /// The address; with this TCP port if it has none of its own.
    pub fn with_default_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }
}

impl Scalar for Address {
    const EXPECTED: &'static str =
        "an IP address, or one with a port, such as 192.168.0.1, 192.168.0.1:50075 or [fc02::1]:50075";

    fn parse(text: &str) -> Option<Self> {
        let address = match SocketAddr::from_str(text) {
            Ok(address) if address.port() == 0 => return None,
            Ok(address) => Self {
                ip: address.ip(),
                port: Some(address.port()),
            },
            Err(_) => Self {
                ip: text.parse().ok()?,
                port: None,
            },
        };
        Some(address).filter(|address| !address.ip.is_unspecified() && !address.ip.is_multicast())
    }
}

impl Scalar for SourceRule {
    const EXPECTED: &'static str = "auto, loopback3, none or an IP address";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "loopback3" => Self::Loopback3,
            "none" => Self::None,
            ip => Self::Ip(
                ip.parse()
                    .ok()
                    .filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast())?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        };
        check("500ms", Some(500));
        check("4s", Some(4_000));
        check("1m", Some(60_000));
        check("1h30m", Some(5_400_000));
        check("1m30s", Some(90_000));
        check("1s500ms", Some(1_500));
        check("1d", Some(86_400_000));
        check("0s", Some(0));
        for bad in [
            "",
            "4",
            "s",
            "4 s",
            "1.5s",
            "-1s",
            "30s1m",
            "1s1s",
            "1sec",
            "99999999999999999999s",
            "1s ",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn an_address_may_have_a_port_of_its_own() {
        let check = |text: &str, expected: Option<&str>| {
            let got = Address::parse(text).map(|a| a.with_default_port(50075).to_string());
            assert_eq!(got.as_deref(), expected, "{text:?}");
        };
        check("127.9.0.1", Some("127.9.0.1:50075"));
        check("127.9.0.2:50076", Some("127.9.0.2:50076"));
        check("fc02::1", Some("[fc02::1]:50075"));
        check("[fc02::1]:1", Some("[fc02::1]:1"));
        for bad in [
            "",
            "soc1",
            "127.9.0.1:0",
            "127.9.0.1:70000",
            "127.9.0",
            "127.9.0.1/32",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_at_all_is_read_or_refused(text in ".{0,30}") {
            let _ = duration(&text);
            let _ = Address::parse(&text);
            let _ = SourceRule::parse(&text);
        }
    }
}
