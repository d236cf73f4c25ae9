//! Keyspace notifications: which keys have changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::frame::{Breach, Budget};
use super::resp::Wire;
use super::{RedisFailure, patiently};
use crate::config::RedisServer;

/// Notifications in one second: a switch never has more. With a subscription to `__keyspace@*`, the counters of all ports are
/// included.
const MOST_IN_A_SECOND: u32 = 100_000;
/// Changed keys that may wait to be read: more than the rows of the largest switch.
const MOST_GATHERED: usize = 16_384;
/// The longest key that is read, in bytes. Rows of our tables have shorter keys.
pub const LONGEST_KEY: usize = 256;

/// When a server last sent a notification to any subscription of ours; all of them share this. Whether it sends any cannot
/// always be asked (CONFIG is often denied), but it can be observed.
#[derive(Debug, Clone, Default)]
pub struct LastNotified(Arc<Mutex<Option<Instant>>>);

impl LastNotified {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it has sent one within this time.
    pub fn within(&self, time: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| at.elapsed() <= time)
    }
}

/// What all connections to a Redis server learn about it.
#[derive(Debug, Default)]
pub struct Servers(Vec<(RedisServer, LastNotified)>);

impl Servers {
    /// When this server last sent a notification.
    pub fn last_notified(&mut self, server: &RedisServer) -> LastNotified {
        if let Some((_, notified)) = self.0.iter().find(|(known, _)| known == server) {
            return notified.clone();
        }
        let notified = LastNotified::default();
        self.0.push((server.clone(), notified.clone()));
        notified
    }
}

/// Keys that have changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// The keys.
    pub keys: BTreeSet<String>,
    /// There were too many to name them all.
    pub more: bool,
}

impl Changed {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.more
    }
}

/// A connection on which the server sends which keys have changed.
#[derive(Debug)]
pub struct Subscription {
    wire: Wire,
    /// The part of a channel's name before the key.
    prefix: String,
    patterns: Vec<String>,
    notified: LastNotified,
    /// For the notification that is arriving.
    budget: Budget,
    /// Since when `count` notifications have arrived; it starts again every second.
    since: Instant,
    count: u32,
}

impl Subscription {
    /// Subscribes to keyspace events of keys of database `db`: those in `patterns`, or beginning with a pattern that ends in
    /// `*`. An error that is not about the connection means that this user may not subscribe.
    ///
    /// Redis compares the pattern of a subscription with the patterns of the user's ACL letter by letter: `&__keyspace@*`
    /// permits `__keyspace@*` and nothing narrower. So if our patterns are refused, `__keyspace@*` is used, and its
    /// notifications are filtered here.
    pub async fn open(
        server: &RedisServer,
        db: i64,
        patterns: &[String],
        notified: LastNotified,
    ) -> Result<Self, RedisFailure> {
        let connecting = async {
            let mut wire = Wire::open(server).await?;
            wire.log_in(server.login.as_ref()).await?;
            let prefix = format!("__keyspace@{db}__:");
            let channels: Vec<String> = patterns.iter().map(|p| format!("{prefix}{p}")).collect();
            match subscribe(&mut wire, &channels).await {
                Err(RedisFailure::Refused(error)) if error.code() == Some("NOPERM") => {
                    subscribe(&mut wire, &["__keyspace@*".to_owned()]).await?;
                }
                subscribed => subscribed?,
            }
            Ok(Self {
                wire,
                prefix,
                patterns: patterns.to_vec(),
                notified,
                budget: Budget::NOTIFICATION,
                since: Instant::now(),
                count: 0,
            })
        };
        patiently(connecting).await
    }

    /// Waits for a notification, and adds its keys to `changed` if we follow them. It fails at the end of the connection.
    /// Cancel-safe: what it takes is in `changed` at once.
    pub async fn changed(&mut self, changed: &mut Changed) -> Result<(), RedisFailure> {
        let mut some = false;
        while !some {
            self.wire.read().await?;
            while let Some(message) = self.wire.next(&mut self.budget)? {
                self.budget = Budget::NOTIFICATION;
                self.counted()?;
                some |= self.take(message?, changed);
            }
        }
        Ok(())
    }

    /// Whether it concerns us.
    fn take(&self, message: Value, changed: &mut Changed) -> bool {
        let Some(channel) = channel(&message) else {
            return false;
        };
        self.notified.now();
        let key = channel.strip_prefix(&self.prefix);
        let is_ours = |key: &&str| key.len() <= LONGEST_KEY && self.patterns.iter().any(|p| is_one(p, key));
        let Some(key) = key.filter(is_ours) else {
            return false;
        };
        if changed.keys.len() < MOST_GATHERED {
            changed.keys.insert(key.to_owned());
        } else {
            changed.more = true;
        }
        true
    }

    /// Counts one more.
    fn counted(&mut self) -> Result<(), Breach> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count > MOST_IN_A_SECOND {
            return Err(Breach::Flood(MOST_IN_A_SECOND));
        }
        Ok(())
    }
}

async fn subscribe(wire: &mut Wire, patterns: &[String]) -> Result<(), RedisFailure> {
    let mut command = redis::cmd("PSUBSCRIBE");
    command.arg(patterns);
    wire.send(&command.get_packed_command()).await?;
    let mut budget = Budget::REPLIES;
    let mut left = patterns.len();
    while left > 0 {
        let reply = wire.reply(&mut budget).await?.map_err(RedisFailure::Refused)?;
        // A notification for the first pattern may come before the last one is confirmed. It can be ignored: everything is read
        // after this.
        left -= usize::from(kind(&reply) == Some(b"psubscribe"));
    }
    Ok(())
}

fn kind(message: &Value) -> Option<&[u8]> {
    match message {
        Value::Array(parts) => match parts.first() {
            Some(Value::BulkString(kind)) => Some(kind),
            _ => None,
        },
        _ => None,
    }
}

/// The channel of a notification. One whose name is not UTF-8 does not concern us.
fn channel(message: &Value) -> Option<&str> {
    match message {
        Value::Array(parts) if kind(message) == Some(b"pmessage") => match parts.get(2) {
            Some(Value::BulkString(channel)) => std::str::from_utf8(channel).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether `pattern` is the key or, if it ends in `*`, the beginning of the key.
fn is_one(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn a_pattern_is_a_key_or_what_keys_begin_with() {
        let check = |pattern: &str, key: &str, expected| assert_eq!(is_one(pattern, key), expected, "{key}");
        check("MUX_CABLE|*", "MUX_CABLE|Ethernet0", true);
        check("MUX_CABLE|*", "MUX_CABLE_INFO|Ethernet0", false);
        check("MUX_CABLE|*", "MUX_CABLE", false);
        check("CONFIG_DB_INITIALIZED", "CONFIG_DB_INITIALIZED", true);
        check("CONFIG_DB_INITIALIZED", "CONFIG_DB_INITIALIZED_2", false);
    }
}
