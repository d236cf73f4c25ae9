//! What can go wrong at a Redis, and what an operator can do about it.

use std::io;

use redis::RedisError;

use super::{Breach, PATIENCE};
use crate::model::text;
use crate::runtime::defect::Defect;

/// Why the database is down.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// A connection, but no answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The server closed the connection, or is gone.
    #[error("connection closed")]
    Closed,
    /// Another user or password is needed.
    // Without the server's own text: a server that does not know AUTH repeats its arguments.
    #[error("{}: user or password refused", text::quote(.0))]
    Auth(String),
    /// The server's own error.
    #[error("{}", text::quote(.0))]
    Refused(RedisError),
    /// It sends what no Redis would send, or more than we keep.
    #[error("{0}")]
    Breach(#[from] Breach),
    /// The peer is something else.
    #[error("not what Redis answers to a PING")]
    NotRedis,
    /// The work on the connection ended by a defect of this program.
    #[error("a defect of this program, please report it: {0}")]
    Defect(#[from] Defect),
}

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        Self::Refused(error)
    }
}

impl RedisFailure {
    /// What an operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let this process use the socket: on SONiC it belongs to the group redis"
            }
            Self::Connect(_) | Self::Closed => {
                "check that redis-server runs and listens at this address (databases.url or config_db.url, else database_config.json)"
            }
            Self::Timeout => "redis-server hangs or is overloaded: check its process and its log",
            Self::NotRedis => {
                "check that this address (databases.url or config_db.url, else database_config.json) is that of a redis-server"
            }
            Self::Breach(Breach::Keys(_) | Breach::Size(_)) => {
                "far more than a switch has: find what writes these tables, and delete what does not belong there"
            }
            Self::Breach(_) => {
                "not a working redis-server: check the address, and which process writes these tables"
            }
            Self::Auth(_) => "check user and password in databases.url or config_db.url",
            Self::Defect(_) => "what is in the database may be why: see the log, and report it",
            Self::Refused(error) => match error.code() {
                Some("LOADING") => "redis-server is reading its data: wait",
                Some("BUSY") => "redis-server runs a script that does not end: see its log",
                Some("READONLY" | "MASTERDOWN") => {
                    "this is a replica: point databases.url or config_db.url at the master"
                }
                Some("OOM") => "redis-server is at its maxmemory: raise it, or free memory",
                Some("MISCONF") => "redis-server cannot save to disk: see its log",
                Some("NOAUTH") => {
                    "give user and password in databases.url or config_db.url: redis://user:password@host, or redis+unix://user:password@/path/to/redis.sock"
                }
                Some("NOPERM") => {
                    "allow this user SELECT, PING, HGET, HMGET, HSET and DEL on our table, and SCAN, GET, HMGET and HGETALL (docs/sonic.md)"
                }
                _ => "see redis-server's log",
            },
        }
    }
}
