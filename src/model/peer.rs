//! Whom a channel connects to, whatever is asked there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ChannelSettings, Target};

/// Where a gRPC server listens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address.
    Ip(SocketAddr),
    /// A DNS name and a port. It is resolved anew for each dial.
    Name(Arc<str>, u16),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => fmt::Display::fmt(address, f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value of request metadata. It may be a secret, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum MetadataValue {
    /// As it is sent.
    Text(String),
    /// The content of a file, read before each round.
    File(PathBuf),
}

impl fmt::Debug for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// What a channel needs to know of its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Where to connect to.
    pub endpoint: Endpoint,
    /// How to dial and keep the channel. Its `metadata` is not used.
    pub settings: Arc<ChannelSettings>,
    /// What is sent with each RPC.
    pub metadata: Vec<(String, MetadataValue)>,
}

impl From<&Target> for Peer {
    fn from(target: &Target) -> Self {
        let fill = |(name, value): &(String, String)| {
            let value = value
                .replace("${soc_ip}", &target.address.ip().to_string())
                .replace("${port}", target.id.port.as_str());
            (name.clone(), MetadataValue::Text(value))
        };
        Self {
            endpoint: Endpoint::Ip(target.address),
            settings: target.channel.clone(),
            metadata: target.channel.metadata.iter().map(fill).collect(),
        }
    }
}

impl From<Target> for Peer {
    fn from(target: Target) -> Self {
        Self::from(&target)
    }
}
