//! The validated settings that are not a target's own: what the publishers need.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::text;

/// Which table to write, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// `MUX_CABLE_INFO|<port>`.
    Own,
    /// `MUX_CABLE_INFO_SHADOW|<port>`, nothing else touched.
    Shadow,
    /// No database at all.
    Off,
}

/// Whose field names and values a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// What SONiC's tools read.
    Sonic,
    /// SONiC's design document, to the letter.
    Hld,
}

/// Where the Redis server listens.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisServer {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP, with the credentials of the URL.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// ACL user, if any.
        username: Option<String>,
        /// Never shown.
        password: Option<String>,
    },
}

impl std::fmt::Display for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "redis+unix://{}", text::quote(path.display())),
            Self::Tcp { host, port, .. } => write!(f, "redis://{}:{port}", text::quote(host)),
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// One of SONiC's databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The server.
    pub server: RedisServer,
    /// Its number there.
    pub id: i64,
    /// Between table and key.
    pub separator: String,
}

/// The databases of one network namespace: a switch with several ASICs has a set for each and one for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// "asic0"; empty: the switch itself.
    pub name: Arc<str>,
    /// What the switch shall do.
    pub config_db: Database,
    /// What its applications want.
    pub appl_db: Database,
    /// What is.
    pub state_db: Database,
}

/// How to publish to STATE_DB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDbSettings {
    /// The server.
    pub server: RedisServer,
    /// STATE_DB's number there: 6 on SONiC.
    pub db: i64,
    /// Between table and key: `|` on SONiC.
    pub separator: String,
    /// `Own` or `Shadow`.
    pub publish: Publish,
    /// Field names and values.
    pub schema: Schema,
}

/// Which local address to dial from, as far as the configuration can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRule {
    /// Loopback3's if it is on this host, else what the kernel chooses.
    Auto,
    /// Loopback3's and no other.
    Loopback3,
    /// What the kernel chooses.
    None,
    /// This one and no other.
    Ip(IpAddr),
}
