//! What to probe and how. The inventory makes it from the configuration; the fleet uses it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Side, natural};

/// A SONiC port name ("Ethernet0"): the key of every row, series and log line about one SoC. Cheap to clone. Sorts as people
/// count.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Port(Arc<str>);

impl Ord for Port {
    fn cmp(&self, other: &Self) -> Ordering {
        natural::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A port name that cannot be a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "expected a port name of 1 to 64 letters, digits, '_', '-', '.' or '/', such as Ethernet0 (. and .. are none)"
)]
pub struct PortError;

/// Whether a name can be part of a Redis key, a label and a URL: 1-64 characters of `[A-Za-z0-9_./-]`.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    !name.is_empty() && name.len() <= 64 && name.chars().all(allowed)
}

impl Port {
    /// Checks that `name` can be part of a Redis key and a label: 1-64 characters of `[A-Za-z0-9_./-]`. Not `.` and `..`: as a
    /// part of a path, clients take them for a direction, so no page of such a port could be reached.
    pub fn new(name: &str) -> Result<Self, PortError> {
        let is_port = is_name(name) && !matches!(name, "." | "..");
        is_port.then(|| Self(name.into())).ok_or(PortError)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The rack of a SoC. Empty with one switch: there the port alone identifies the SoC. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rack(Option<Arc<str>>);

/// A rack's name that cannot be part of a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a rack name of at most 64 letters, digits, '_', '-', '.' or '/', such as r17")]
pub struct RackError;

impl Rack {
    /// The rack with that name: the characters of a port name. An empty name means no rack.
    pub fn new(name: &str) -> Result<Self, RackError> {
        match name {
            "" => Ok(Self(None)),
            name if is_name(name) => Ok(Self(Some(name.into()))),
            _ => Err(RackError),
        }
    }

    /// The name, or the empty string.
    pub fn as_str(&self) -> &str {
        self.name().unwrap_or("")
    }

    /// The name; `None` without one. Log lines and metrics then do not have the field.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Identifies one of the SoCs that this process probes: the key of the fleet's table. With one switch the port alone is enough.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// The rack of the switch that has the port; empty: this switch.
    pub rack: Rack,
    /// The ToR's port that the cable is plugged into.
    pub port: Port,
}

impl TargetId {
    /// What identifies the SoC for people, in the API and in paths: `r17|Ethernet0`, or `Ethernet0` without a rack.
    pub fn key(&self) -> Cow<'_, str> {
        match self.rack.name() {
            Some(_) => Cow::Owned(self.to_string()),
            None => Cow::Borrowed(self.port.as_str()),
        }
    }

    /// Reads what `Display` writes: `r17|Ethernet0`, or `Ethernet0`. `None`: no SoC can have this key.
    pub fn parse(key: &str) -> Option<Self> {
        let (rack, port) = key.split_once('|').unwrap_or(("", key));
        Some(Self {
            rack: Rack::new(rack).ok()?,
            port: Port::new(port).ok()?,
        })
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rack.name() {
            Some(rack) => write!(f, "{rack}|{}", self.port),
            None => fmt::Display::fmt(&self.port, f),
        }
    }
}

impl From<Port> for TargetId {
    /// A port of this switch.
    fn from(port: Port) -> Self {
        let rack = Rack::default();
        Self { rack, port }
    }
}

/// One SoC to probe. Equal targets need no redial. Any difference needs one, except those that `is_alike` allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which SoC it is.
    pub id: TargetId,
    /// The network namespace whose databases have the port; empty: the host's.
    pub namespace: Arc<str>,
    /// The SoC's gRPC endpoint.
    pub address: SocketAddr,
    /// Which ToR we are.
    pub side: Side,
    /// How to hold the channel; shared by all targets of one configuration.
    pub channel: Arc<ChannelSettings>,
}

impl Target {
    /// Whether a channel to this target also serves the other. True if they differ only in the side, or in the preferred source
    /// address: that one matters for the next dial, not for a connection that is up.
    pub fn is_alike(&self, other: &Self) -> bool {
        use SourceAddress::{Any, Prefer};
        let source = &other.channel.source_address;
        let kept = match (&self.channel.source_address, source) {
            (Any | Prefer(_), Any | Prefer(_)) => true,
            (own, source) => own == source,
        };
        let like_other = || Self {
            side: other.side,
            channel: Arc::new(ChannelSettings {
                source_address: source.clone(),
                ..(*self.channel).clone()
            }),
            ..self.clone()
        };
        kept && like_other() == *other
    }
}

/// The default time from PING to PING. With `rounds` it is also the part of a dial's time that is for TCP.
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(4);

/// When a PING is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepaliveRule {
    /// This long after the last one was answered.
    Every(Duration),
    /// With each round, and at no other time. gRPC's servers accept that, however they are configured.
    Rounds,
}

impl KeepaliveRule {
    /// The time between two PINGs outside rounds.
    pub fn between_rounds(self) -> Option<Duration> {
        match self {
            Self::Every(time) => Some(time),
            Self::Rounds => None,
        }
    }
}

/// How to dial and keep a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelSettings {
    /// When a PING is sent.
    pub keepalive: KeepaliveRule,
    /// How long the answer to a PING may take.
    pub keepalive_timeout: Duration,
    /// The waits between dials.
    pub backoff: BackoffSettings,
    /// The local address to dial from.
    pub source_address: SourceAddress,
    /// Plain text, or TLS.
    pub security: Security,
    /// Extra request metadata: (name, value with `${soc_ip}` and `${port}` not yet filled in).
    pub metadata: Vec<(String, String)>,
}

impl ChannelSettings {
    /// How long a dial may take until the peer is proven: 12 s by default.
    pub fn dial_timeout(&self) -> Duration {
        let tcp = self.keepalive.between_rounds().unwrap_or(KEEPALIVE_TIME);
        tcp + self.keepalive_timeout
    }
}

impl Default for ChannelSettings {
    /// The documented defaults. The keepalive values are those of SONiC's deployed client.
    fn default() -> Self {
        Self {
            keepalive: KeepaliveRule::Every(KEEPALIVE_TIME),
            keepalive_timeout: Duration::from_secs(8),
            backoff: BackoffSettings::default(),
            source_address: SourceAddress::Any,
            security: Security::Plain,
            metadata: Vec::new(),
        }
    }
}

/// Which local address to dial from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceAddress {
    /// The kernel chooses.
    Any,
    /// This address, if this host has it when the dial begins and it is of the target's family; else the kernel chooses.
    Prefer(IpAddr),
    /// This address and no other.
    Fixed(IpAddr),
    /// The configured address is not known (the text names it, for people): each dial fails as `source_address`.
    Missing(Arc<str>),
}

/// How a channel is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Plain text.
    Plain,
    /// TLS.
    Tls(TlsSettings),
    /// The configured TLS cannot be used (the text says why, for people): each dial fails as `tls_config`.
    Unusable(Arc<str>),
}

impl Security {
    /// The TLS settings, if the channel uses TLS.
    pub fn tls(&self) -> Option<&TlsSettings> {
        match self {
            Self::Tls(settings) => Some(settings),
            Self::Plain | Self::Unusable(_) => None,
        }
    }
}

/// TLS settings. They hold paths, because the files may change at any time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// PEM file: the CA certificates to check the SoC's certificate against.
    pub ca: PathBuf,
    /// Our own certificate, for SoCs that require one.
    pub client: Option<ClientIdentity>,
    /// The name that the SoC's certificate must carry; `None`: its IP address.
    pub server_name: Option<String>,
}

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// PEM file: our certificate, then its chain.
    pub cert: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
}

impl Default for BackoffSettings {
    /// gRPC's defaults, except the maximum: 10 s instead of 120 s, because a dial within the rack is cheap.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(10),
        }
    }
}

/// Waits between dials, as in gRPC's connection-backoff document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffSettings {
    /// The first wait.
    pub initial: Duration,
    /// Each further wait is the previous one times this; at least 1.
    pub multiplier: f64,
    /// Each wait is randomly changed by up to ± this share of itself; 0 to 1.
    pub jitter: f64,
    /// The longest wait, jitter included.
    pub max: Duration,
}

/// How often to probe and how long to wait. A change needs no redial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Time from round to round of one SoC.
    pub interval: Duration,
    /// Each query's deadline.
    pub timeout: Duration,
}

/// The defaults of `probe`. ycabled asks once a minute too; a SoC answers within some milliseconds.
impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_name_can_stand_in_a_key_and_a_label() {
        for good in ["Ethernet0", "Ethernet1_1", "et-0/0/1", "a"] {
            assert_eq!(Port::new(good).map(|p| p.to_string()), Ok(good.to_owned()));
        }
        for good in ["...", ".a", "a.", "..a"] {
            assert!(Port::new(good).is_ok(), "{good}");
        }
        // A browser would ask for the page over that of the port.
        for bad in [
            ".",
            "..",
            "",
            "a b",
            "a|b",
            "a:b",
            "a\"b",
            "a\nb",
            "é",
            &"x".repeat(65),
        ] {
            assert_eq!(Port::new(bad), Err(PortError), "{bad:?}");
        }
    }

    #[test]
    fn a_rack_and_a_port_make_a_key_that_is_read_back() {
        for (key, rack, port) in [
            ("Ethernet0", "", "Ethernet0"),
            ("r17|Ethernet0", "r17", "Ethernet0"),
            ("dc1/r3|et-0/0/1", "dc1/r3", "et-0/0/1"),
        ] {
            let id = TargetId::parse(key).expect(key);
            assert_eq!((id.rack.as_str(), id.port.as_str()), (rack, port));
            assert_eq!(id.to_string(), key);
        }
        for bad in ["", "|", "r17|", "r 1|Ethernet0", "r1|r2|Ethernet0"] {
            assert_eq!(TargetId::parse(bad), None, "{bad:?}");
        }
        let same = TargetId::parse("|Ethernet0");
        assert_eq!(same, TargetId::parse("Ethernet0"), "an empty rack is none");
        assert_eq!(Rack::new("a|b"), Err(RackError));
    }

    #[test]
    fn a_channel_serves_targets_that_differ_in_side_and_preferred_source_only() {
        let target = |source: SourceAddress, port: u16| Target {
            id: Port::new("Ethernet0").expect("a port").into(),
            namespace: "".into(),
            address: ([192, 168, 0, 2], port).into(),
            side: Side::Upper,
            channel: Arc::new(ChannelSettings {
                source_address: source,
                ..ChannelSettings::default()
            }),
        };
        let ip = |last: u8| [10, 1, 0, last].into();
        let (any, prefer, fixed) = (
            target(SourceAddress::Any, 1),
            target(SourceAddress::Prefer(ip(38)), 1),
            target(SourceAddress::Fixed(ip(38)), 1),
        );
        let lower = Target {
            side: Side::Lower,
            ..prefer.clone()
        };
        assert!(
            any.is_alike(&prefer) && prefer.is_alike(&any) && any.is_alike(&lower) && fixed.is_alike(&fixed)
        );
        assert!(prefer.is_alike(&target(SourceAddress::Prefer(ip(39)), 1)));
        assert!(!fixed.is_alike(&target(SourceAddress::Fixed(ip(39)), 1)));
        assert!(!prefer.is_alike(&fixed) && !fixed.is_alike(&any));
        assert!(!any.is_alike(&target(SourceAddress::Any, 2)));
    }
}
