//! The validated settings that are not a target's own: what the publishers need.

use std::path::PathBuf;

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
            Self::Unix(path) => write!(f, "redis+unix://{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "redis://{host}:{port}"),
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Where to write the SoCs' notices: APPL_DB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationSettings {
    /// The server.
    pub server: RedisServer,
    /// APPL_DB's number there: 0 on SONiC.
    pub db: i64,
    /// Between table and key: `:` on SONiC.
    pub separator: String,
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
