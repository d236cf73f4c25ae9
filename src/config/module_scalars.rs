//! Single values of `modules` in the configuration file, and lists of them.

use std::net::IpAddr;

use super::scalar::Scalar;
use super::tls_files::is_server_name;
use super::{KeyError, at};
use crate::model::{Endpoint, Health, InfoDialect, text};

/// A health service's name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServiceName(pub(super) String);

impl Scalar for ServiceName {
    const EXPECTED: &'static str =
        "the name of a health service of at most 128 printable ASCII characters; \"\" is the whole server";

    fn parse(text: &str) -> Option<Self> {
        let is_name = text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic());
        is_name.then(|| Self(text.to_owned()))
    }
}

/// A health status that may be a success.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HealthyStatus(pub(super) Health);

impl Scalar for HealthyStatus {
    const EXPECTED: &'static str = "serving, not_serving, service_unknown or unimplemented";

    fn parse(text: &str) -> Option<Self> {
        let all = Health::ALL
            .iter()
            .copied()
            .filter(|health| *health != Health::Unknown);
        let mut alike = all.filter(|health| health.label() == text);
        alike.next().map(Self)
    }
}

/// `none`, or an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SourceIp(pub(super) Option<IpAddr>);

impl Scalar for SourceIp {
    const EXPECTED: &'static str = "none or an IP address";

    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self(None));
        }
        let ip: IpAddr = text.parse().ok()?;
        let is_usable = !ip.is_unspecified() && !ip.is_multicast();
        is_usable.then_some(Self(Some(ip)))
    }
}

/// `host:port`, as written and understood.
#[derive(Debug, Clone, PartialEq)]
pub struct HostPort {
    /// As written.
    pub text: String,
    /// Where that is.
    pub endpoint: Endpoint,
}

impl HostPort {
    /// Reads what a target's `address` may be. `Err` says what was expected.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        <Self as Scalar>::parse(text).ok_or(Self::EXPECTED)
    }
}

impl Scalar for HostPort {
    const EXPECTED: &'static str = "host:port, with an IP address, an IPv6 address in brackets or a DNS name, \
                                    such as 10.1.0.5:5000, \"[fc02::1]:5000\" or db.example:5000";

    fn parse(text: &str) -> Option<Self> {
        let endpoint = match text.parse() {
            Ok(address) => Endpoint::Ip(address),
            Err(_) => {
                let (name, port) = text.rsplit_once(':')?;
                // A number at the end is a bad IP address, and no name.
                let last = name.trim_end_matches('.').rsplit('.').next()?;
                let is_number = last.chars().all(|c| c.is_ascii_digit());
                // Without brackets, no one can say where an IPv6 address ends.
                let is_ipv6 = name.contains(':');
                if is_number || is_ipv6 || name.len() > 253 || !is_server_name(name) {
                    return None;
                }
                Endpoint::Name(name.into(), port.parse().ok()?)
            }
        };
        let is_usable = match &endpoint {
            Endpoint::Ip(address) => {
                let ip = address.ip();
                address.port() > 0 && !ip.is_unspecified() && !ip.is_multicast()
            }
            Endpoint::Name(_, port) => *port > 0,
        };
        let text = text.to_owned();
        is_usable.then_some(Self { text, endpoint })
    }
}

/// A target's name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TargetName(pub(super) String);

impl Scalar for TargetName {
    const EXPECTED: &'static str =
        "a name of at most 64 letters, digits, '.', '_', ':' and '-' that begins with a letter or digit";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        (begins && text.len() <= 64 && text.chars().all(allowed)).then(|| Self(text.to_owned()))
    }
}

/// A label's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LabelText(pub(super) String);

impl Scalar for LabelText {
    const EXPECTED: &'static str = "a label's value of at most 64 characters without control characters";

    fn parse(value: &str) -> Option<Self> {
        let is_value = value.chars().count() <= 64 && text::clean(value, 64) == value;
        is_value.then(|| Self(value.to_owned()))
    }
}

/// A network instance's name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstanceName(pub(super) String);

impl Scalar for InstanceName {
    const EXPECTED: &'static str = "the name of a network instance of at most 64 characters";

    fn parse(text: &str) -> Option<Self> {
        LabelText::parse(text)
            .filter(|name| !name.0.is_empty())
            .map(|name| Self(name.0))
    }
}

/// The version of an interface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ApiVersion(pub(super) u32);

impl Scalar for ApiVersion {
    const EXPECTED: &'static str = "the version of the interface that the clients speak, such as 3";
    const AS_WRITTEN: bool = false;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Scalar for InfoDialect {
    const EXPECTED: &'static str = "auto, server or info";

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.label() == text)
    }
}

/// One to `most` values, each once.
pub(super) fn unique<T: PartialEq>(
    values: impl Iterator<Item = T>,
    most: usize,
    key: &str,
) -> Result<Vec<T>, KeyError> {
    let values: Vec<T> = values.collect();
    if values.is_empty() || values.len() > most {
        return at(key, format!("expected 1 to {most}, got {}", values.len()));
    }
    for (n, value) in values.iter().enumerate() {
        if let Some(before) = values[..n].iter().position(|other| other == value) {
            return at(
                &format!("{key}[{n}]"),
                format!("expected each once, it is already {key}[{before}]"),
            );
        }
    }
    Ok(values)
}
