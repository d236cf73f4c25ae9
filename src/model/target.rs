//! What to probe and how: made by the inventory from the configuration, consumed by the fleet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Side;

/// A SONiC port name ("Ethernet0"): the key of every row, series and log line about one SoC. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(Arc<str>);

/// A port name that cannot be a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a port name of 1 to 64 letters, digits, '_', '-', '.' or '/', such as Ethernet0")]
pub struct PortError;

impl Port {
    /// Checks that `name` can stand in a Redis key and a label: 1-64 characters of `[A-Za-z0-9_./-]`.
    pub fn new(name: &str) -> Result<Self, PortError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(PortError);
        }
        Ok(Self(name.into()))
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

/// The rack that a SoC stands in: empty with one switch, whose SoCs need no rack to be told apart. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rack(Option<Arc<str>>);

impl Rack {
    /// The rack of that name; the empty name is no rack.
    pub fn new(name: &str) -> Self {
        Self(Some(name).filter(|name| !name.is_empty()).map(Arc::from))
    }

    /// The name, or nothing.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Which SoC of all that one process probes: the key of the fleet's table. With one switch the port says it alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// Whose switch's ports these are; empty: this one's.
    pub rack: Rack,
    /// The ToR's port that the cable is plugged into.
    pub port: Port,
}

impl From<Port> for TargetId {
    /// A port of the one switch.
    fn from(port: Port) -> Self {
        let rack = Rack::default();
        Self { rack, port }
    }
}

/// One SoC to probe. Two equal targets need no redial; any difference does, but for those of `is_alike`.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which SoC it is.
    pub id: TargetId,
    /// The network namespace whose databases know the port; empty: the switch's own.
    pub namespace: Arc<str>,
    /// The SoC's gRPC endpoint.
    pub address: SocketAddr,
    /// Which ToR we are.
    pub side: Side,
    /// How to hold the channel; shared by all targets of one configuration.
    pub channel: Arc<ChannelSettings>,
}

impl Target {
    /// Whether a channel to the one is as good for the other: only the side differs, or the source address that is preferred,
    /// which concerns dials and no connection that is up.
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

/// How to dial and keep a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelSettings {
    /// A PING goes out this long after the last one was answered.
    pub keepalive_time: Duration,
    /// How long its answer may take.
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
        self.keepalive_time + self.keepalive_timeout
    }
}

impl Default for ChannelSettings {
    /// The contract's defaults; the keepalive's are those of the deployed client.
    fn default() -> Self {
        Self {
            keepalive_time: Duration::from_secs(4),
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
    /// This one, if it is on this host when the dial begins and of the target's family; else the kernel chooses.
    Prefer(IpAddr),
    /// This one and no other.
    Fixed(IpAddr),
    /// One was asked for that is not known (for people: which): each dial fails as `source_address`.
    Missing(Arc<str>),
}

/// How a channel is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Plain text.
    Plain,
    /// TLS.
    Tls(TlsSettings),
    /// TLS was asked for in a way that cannot be met (for people: why): each dial fails as `tls_config`.
    Unusable(Arc<str>),
}

/// TLS, by the paths of its files: what stands in them may change at any time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// PEM: the certificates that may sign the SoC's.
    pub ca: PathBuf,
    /// Our own certificate, where the SoC asks for one.
    pub client: Option<ClientIdentity>,
    /// The name that the SoC's certificate must be for; `None`: its IP address.
    pub server_name: Option<String>,
}

/// A client certificate, by the paths of its files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// PEM: our certificate, then those that signed it.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

impl Default for BackoffSettings {
    /// gRPC's own, but for the cap: 10 s instead of 120, because a rack-local dial is cheap.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(10),
        }
    }
}

/// Waits between dials, after gRPC's connection-backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffSettings {
    /// The first wait.
    pub initial: Duration,
    /// Each further wait is this many times the one before; at least 1.
    pub multiplier: f64,
    /// Each wait is drawn from ±this share of itself; 0 to 1.
    pub jitter: f64,
    /// No wait is longer, jitter included.
    pub max: Duration,
}

/// How often and how patiently to probe. A change of these needs no redial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSettings {
    /// From round to round of one SoC.
    pub interval: Duration,
    /// Each query's deadline.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_name_can_stand_in_a_key_and_a_label() {
        for good in ["Ethernet0", "Ethernet1_1", "et-0/0/1", "a"] {
            assert_eq!(Port::new(good).map(|p| p.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a|b", "a:b", "a\"b", "a\nb", "é", &"x".repeat(65)] {
            assert_eq!(Port::new(bad), Err(PortError), "{bad:?}");
        }
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
