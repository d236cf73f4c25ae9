//! Validated settings that belong to no target: what the publishers need.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::text;

/// Which table to write, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// `MUX_CABLE_INFO|<port>`.
    Own,
    /// `MUX_CABLE_INFO_SHADOW|<port>`. Nothing else is written.
    Shadow,
    /// No database at all.
    Off,
}

impl Publish {
    /// Its value in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

/// Which field names and values a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Those that SONiC's tools read.
    Sonic,
    /// Those of SONiC's design document, exactly.
    Hld,
}

/// A Redis server: where it listens, and the user to log in as.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisServer {
    /// Where it listens.
    pub at: RedisAddress,
    /// A second address of the same server, for readers who may not open the first. SONiC's own tools use it.
    pub or: Option<RedisAddress>,
    /// `None`: Redis' own user `default`, without a password.
    pub login: Option<RedisLogin>,
}

/// Where a Redis server listens.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP: name or address, and port.
    Tcp(String, u16),
}

/// The user to log in to Redis as.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisLogin {
    /// ACL user; `None`: `default`.
    pub username: Option<String>,
    /// Never shown.
    pub password: String,
}

impl RedisServer {
    /// At one address, without a password.
    pub fn at(at: RedisAddress) -> Self {
        Self {
            at,
            or: None,
            login: None,
        }
    }

    /// On a unix socket, without a password.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(RedisAddress::Unix(path.into()))
    }

    /// On TCP, without a password.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::at(RedisAddress::Tcp(host.into(), port))
    }
}

impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "redis+unix://{}", text::quote(path.display())),
            Self::Tcp(host, port) if host.contains(':') => {
                write!(f, "redis://[{}]:{port}", text::quote(host))
            }
            Self::Tcp(host, port) => write!(f, "redis://{}:{port}", text::quote(host)),
        }
    }
}

impl std::fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.at)
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.or {
            Some(or) => write!(f, "{} or {or}", self.at),
            None => write!(f, "{}", self.at),
        }
    }
}

impl std::fmt::Debug for RedisLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisLogin")
    }
}

/// One of SONiC's databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The server.
    pub server: RedisServer,
    /// Its number there.
    pub id: i64,
    /// Between table and key: `|` in STATE_DB and CONFIG_DB, `:` in APPL_DB.
    pub separator: String,
}

/// The databases of one network namespace. A switch with several ASICs has a set for each ASIC and one for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// "asic0"; empty: the switch itself.
    pub name: Arc<str>,
    /// How the switch is configured.
    pub config_db: Database,
    /// What its applications request.
    pub appl_db: Database,
    /// The present state.
    pub state_db: Database,
}

/// How to publish to STATE_DB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDbSettings {
    /// STATE_DB: number 6 on SONiC.
    pub database: Database,
    /// `Own` or `Shadow`.
    pub publish: Publish,
    /// Field names and values.
    pub schema: Schema,
}

/// Which local address to dial from, if the configuration decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRule {
    /// Loopback3's address if it is on this host, else the kernel chooses.
    Auto,
    /// Only Loopback3's address.
    Loopback3,
    /// The kernel chooses.
    None,
    /// Only this address.
    Ip(IpAddr),
}
