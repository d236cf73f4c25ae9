//! The scenario: which SoCs there are, what happens to them, and when. Read from YAML, or made in Rust by tests.
//!
//! Plain data. `resolve` checks everything that depends on more than one key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::SimError;
use super::duration;
use super::fault::{ConnectionFault, ReplyFault};
use super::method::Rpc;
use super::notice::Notice;
use super::pings::PingPolicy;
use super::quote::{quote, shorten};
use super::server_tls::Tls;
use super::state::{Direction, Health, Link, SidesPatch, StatePatch};
use crate::file;

/// The largest scenario file, in MiB: enough for more SoCs than a process may have sockets for.
const MAX_MIB: u64 = 16;
/// The port where SoCs serve gRPC by default.
pub(super) const DEFAULT_PORT: u16 = 50075;
/// Why the simulator listens nowhere else: the protocol has no authentication, and no one who finds a simulator may mistake it
/// for a SoC.
pub(super) const NOT_LOOPBACK: &str = "expected a loopback address (127.0.0.0/8 or ::1), because a simulated SoC must not be \
                            reachable from outside";

/// SoCs and what happens to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Many similar SoCs: Ethernet0, Ethernet4, Ethernet8 and so on.
    pub rack: Option<Rack>,
    /// What all SoCs have in common. Their own keys replace it.
    pub defaults: StatePatch,
    /// Single SoCs: a port of the rack, or another one.
    pub socs: Vec<SocSpec>,
    /// The timeline starts again after this time. What it has changed stays changed.
    #[serde(rename = "loop", deserialize_with = "duration::optional")]
    pub repeat: Option<Duration>,
    /// What happens. The order does not matter.
    pub timeline: Vec<Step>,
}

/// Many similar SoCs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rack {
    /// How many.
    pub count: usize,
    /// The first SoC's address, in 127.0.0.0/8.
    #[serde(default = "localhost")]
    pub first_address: Ipv4Addr,
    /// The port of all SoCs, or of the first one. 0: the kernel chooses a port for each, all on the first address.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Whether addresses or ports count up from SoC to SoC.
    #[serde(default)]
    pub spread: Spread,
}

/// How the SoCs of a rack share addresses and ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Each has its own address.
    #[default]
    Addresses,
    /// Each has its own port, all have the same address.
    Ports,
}

/// One SoC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // After `address`: see SocState and Step.
pub struct SocSpec {
    /// Its name, for example Ethernet0.
    pub port: String,
    /// Loopback address, with or without a port. Required unless the SoC is one of the rack.
    #[serde(deserialize_with = "address")]
    pub address: Option<SocketAddr>,
    pub directions: Option<SidesPatch<Direction>>,
    pub links: Option<SidesPatch<Link>>,
    pub oper: Option<SidesPatch<Link>>,
    pub version: Option<String>,
    pub health: Option<Health>,
    pub health_watch: Option<bool>,
    pub graceful_restart: Option<bool>,
    pub headers_early: Option<bool>,
    pub require_metadata: Option<BTreeMap<String, String>>,
    pub max_concurrent_streams: Option<u32>,
    pub pings: Option<PingPolicy>,
    pub tls: Option<Tls>,
    pub fault: ConnectionFault,
    pub reply: ReplyFault,
    pub only: Vec<Rpc>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The time, counted from the start of the timeline.
    #[serde(deserialize_with = "duration::deserialize")]
    pub at: Duration,
    /// Which SoCs it affects.
    pub soc: Targets,
    /// A change of their answers.
    pub set: Option<StatePatch>,
    /// A fault of their connections.
    pub fault: Option<ConnectionFault>,
    /// A fault of their replies.
    pub reply: Option<ReplyFault>,
    /// Limits `reply` to these RPCs.
    #[serde(default)]
    pub only: Vec<Rpc>,
    /// A notice on their GracefulRestart streams.
    pub notice: Option<Notice>,
}

/// The SoCs of a step: `all`, a name or a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// All of them.
    All,
    /// These.
    Named(Vec<String>),
}

impl Scenario {
    /// Reads YAML. The error names the line, the key and what was expected there.
    pub fn from_yaml(yaml: &str) -> Result<Self, SimError> {
        let mut key = String::new();
        let read = serde_saphyr::with_deserializer_from_str(yaml, |from| {
            serde_path_to_error::deserialize(from).map_err(|error| {
                key = error.path().to_string();
                error.into_inner()
            })
        });
        let scenario: Self = read.map_err(|error| {
            let message = shorten(&error.without_snippet().to_string());
            SimError::Syntax(match key.as_str() {
                "" | "." | "?" => message,
                key => format!("{}: {message}", quote(key)),
            })
        })?;
        scenario.resolve()?;
        Ok(scenario)
    }

    /// Reads a YAML file.
    pub fn from_file(path: &Path) -> Result<Self, SimError> {
        let in_file = |source| SimError::File {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let yaml = file::read_text(path, MAX_MIB).map_err(|source| in_file(SimError::Read(source)))?;
        Self::from_yaml(&yaml).map_err(in_file)
    }

    /// `count` healthy SoCs on 127.0.0.1, each on a port that the kernel chooses: for tests.
    pub fn uniform(count: usize) -> Self {
        Self::uniform_at(count, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
    }

    /// `count` healthy SoCs: the first at this address, each next one at the next address and the same port.
    pub fn uniform_at(count: usize, first: SocketAddrV4) -> Self {
        Self {
            rack: Some(Rack {
                count,
                first_address: *first.ip(),
                port: first.port(),
                spread: Spread::Addresses,
            }),
            ..Self::default()
        }
    }
}

fn localhost() -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

fn default_port() -> u16 {
    DEFAULT_PORT
}

/// An address with or without a port.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT)))
        .map_err(|_| {
            D::Error::custom(format!(
                "expected an address like 127.9.0.1:{DEFAULT_PORT}, found \"{}\"",
                quote(&text)
            ))
        })?;
    if !address.ip().is_loopback() {
        return Err(D::Error::custom(format!("{}: {NOT_LOOPBACK}", quote(&text))));
    }
    Ok(Some(address))
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, the name of a SoC or a list of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<Targets, E> {
                Ok(match name {
                    "all" => Targets::All,
                    name => Targets::Named(vec![name.to_owned()]),
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Targets, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Targets::Named(names))
            }
        }
        from.deserialize_any(Names)
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}
