//! A live copy of some tables of one of SONiC's databases: reads, never writes.
//!
//! Emits through a `watch` what it has read. A key that changes is read again at once where Redis tells of it (keyspace
//! notifications, on a SONiC switch always on); everything is read again each interval, as on other servers they may be
//! off, and after each reconnect, as none of what happened meanwhile was told.
//!
//! ```text
//!            ┌────────────── 500 ms after the last attempt began ◀──────────────┐
//!            ▼                                                                  │ any failure: Down
//!   connect, subscribe ──▶ read everything: Up ──▶ changes, each interval, PING ─┘
//! ```
//!
//! Redis throws out a subscriber that follows slower than it tells (`client-output-buffer-limit pubsub`). Such a loss alone
//! takes nothing down: it subscribes again 500 ms later, and everything is read again.
//!
//! What to believe while a database is down, or empty after its restart, is the reader's decision, not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::Database;
use crate::defect::{Restarts, caught};
use crate::model::{Entry, ProbeSettings, Spec, Tables, text};
use crate::redis_link::{Failure, Link, PING_EVERY, RETRY, Reply, Subscription};

/// From the first change told to reading what has changed: a reload of a whole table is then a few reads, not one for
/// each of its rows, and what depends on it is worked out a few times a second at most.
const GATHER: Duration = Duration::from_millis(50);
/// Keys read in one go.
const CHUNK: usize = 256;

/// How it stands with a database.
#[derive(Debug, Clone, Default)]
pub enum Reading {
    /// Nothing has been tried yet.
    #[default]
    Waiting,
    /// It cannot be read, for people: why.
    Down(Arc<str>),
    /// This is in it.
    Up(Arc<Tables>),
}

impl Reading {
    /// What is in it, while that is known.
    pub fn tables(&self) -> Option<&Arc<Tables>> {
        match self {
            Self::Up(tables) => Some(tables),
            Self::Waiting | Self::Down(_) => None,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Mirror {
    database: Database,
    spec: Spec,
    /// Its interval is ours too.
    probe: watch::Receiver<ProbeSettings>,
    out: watch::Sender<Reading>,
    told_up: Option<bool>,
}

impl Mirror {
    /// A mirror that has not begun, and what it will emit.
    pub fn new(
        database: Database,
        spec: Spec,
        probe: watch::Receiver<ProbeSettings>,
    ) -> (Self, watch::Receiver<Reading>) {
        let (out, reading) = watch::channel(Reading::Waiting);
        let mirror = Self {
            database,
            spec,
            probe,
            out,
            told_up: None,
        };
        (mirror, reading)
    }

    /// Runs until nobody reads any more. A defect is one more way to lose the database.
    pub async fn run(mut self) {
        let mut restarts = Restarts::default();
        loop {
            let began = Instant::now();
            let out = self.out.clone();
            let mut again = began + RETRY;
            tokio::select! {
                ended = caught(Box::pin(self.serve())) => {
                    let failure = ended.unwrap_or_else(|defect| {
                        again = Instant::now() + restarts.wait(began.elapsed());
                        error!(database = self.spec.name, %defect, "a database is not read because of a defect of this program: please report it");
                        defect.into()
                    });
                    self.down(&failure);
                }
                () = out.closed() => return,
            }
            tokio::select! {
                () = sleep_until(again) => {}
                () = out.closed() => return,
            }
        }
    }

    /// Works on one connection until it fails.
    async fn serve(&mut self) -> Failure {
        let mut link = match Link::open(&self.database.server, self.database.id).await {
            Ok(link) => link,
            Err(failure) => return failure,
        };
        match self.serve_over(&mut link).await {
            Err(failure) => failure,
            Ok(never) => match never {},
        }
    }

    async fn serve_over(&mut self, link: &mut Link) -> Result<std::convert::Infallible, Failure> {
        // Before the first reading: what changes from now on is told.
        let mut subscription = self.subscribe().await?;
        let mut tables = self.read_all(link).await?;
        self.up(&tables, subscription.is_some());
        let mut changed = BTreeSet::new();
        let mut read_changed_at = None;
        let mut subscribe_at = None;
        let mut read_all_at = Instant::now() + self.probe.borrow_and_update().interval;
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                more = told(&mut subscription, &mut changed) => {
                    if more {
                        read_changed_at.get_or_insert_with(|| Instant::now() + GATHER);
                    } else {
                        let database = self.spec.name;
                        debug!(database, "keyspace notifications lost: subscribing again");
                        subscription = None;
                        subscribe_at = Some(Instant::now() + RETRY);
                    }
                }
                () = sleep_until(subscribe_at.unwrap_or(read_all_at)), if subscribe_at.is_some() => {
                    subscribe_at = None;
                    subscription = self.subscribe().await?;
                    // What happened meanwhile was not told.
                    read_all_at = Instant::now();
                }
                () = sleep_until(read_changed_at.unwrap_or(read_all_at)), if read_changed_at.is_some() => {
                    read_changed_at = None;
                    self.catch_up(link, std::mem::take(&mut changed), &mut tables).await?;
                    self.show(&tables);
                }
                () = sleep_until(read_all_at) => {
                    tables = self.read_all(link).await?;
                    read_all_at = Instant::now() + self.probe.borrow().interval;
                    self.show(&tables);
                }
                Ok(()) = self.probe.changed() => {
                    read_all_at = Instant::now() + self.probe.borrow_and_update().interval;
                }
                _ = ping.tick() => {
                    link.ping().await?;
                    // A flush tells nobody.
                    if !self.spec.values.is_empty() {
                        self.catch_up(link, BTreeSet::new(), &mut tables).await?;
                        self.show(&tables);
                    }
                }
                failure = link.closed() => return Err(failure),
            }
        }
    }

    /// Reads what has changed; and everything, where a value has. Such a value says whether the database is whole
    /// (`CONFIG_DB_INITIALIZED`): around its change, a flush and a load for instance, no event was sent for the rows that are
    /// gone, and a copy that holds rows from before and from after is neither.
    async fn catch_up(
        &self,
        link: &mut Link,
        mut changed: BTreeSet<String>,
        tables: &mut Tables,
    ) -> Result<(), Failure> {
        let values = self.spec.values;
        let before: Vec<Option<String>> = values
            .iter()
            .map(|key| tables.value(key).map(str::to_owned))
            .collect();
        let told = values.iter().any(|&key| changed.contains(key));
        changed.extend(values.iter().map(|&key| key.to_owned()));
        read_keys(link, &self.spec, changed.into_iter().collect(), tables).await?;
        let same = values
            .iter()
            .zip(&before)
            .all(|(key, before)| tables.value(key) == before.as_deref());
        if told || !same {
            *tables = self.read_all(link).await?;
        }
        Ok(())
    }

    async fn read_all(&self, link: &mut Link) -> Result<Tables, Failure> {
        read_all(link, &self.database.separator, &self.spec).await
    }

    /// `None`: this user may not subscribe. The copy is then as old as the interval at most.
    async fn subscribe(&self) -> Result<Option<Subscription>, Failure> {
        let separator = &self.database.separator;
        let tables = self
            .spec
            .tables
            .iter()
            .map(|table| format!("{table}{separator}*"));
        let patterns: Vec<String> = tables
            .chain(self.spec.values.iter().map(|&key| key.to_owned()))
            .collect();
        match Subscription::open(&self.database.server, self.database.id, &patterns).await {
            Ok(subscription) => Ok(Some(subscription)),
            Err(Failure::Refused(error)) => {
                debug!(
                    database = self.spec.name,
                    error = text::quote(error),
                    "no keyspace notifications: read each interval"
                );
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn show(&self, tables: &Tables) {
        self.out.send_if_modified(|reading| {
            let same = reading.tables().is_some_and(|before| **before == *tables);
            if !same {
                *reading = Reading::Up(Arc::new(tables.clone()));
            }
            !same
        });
    }

    fn up(&mut self, tables: &Tables, subscribed: bool) {
        self.show(tables);
        if self.told_up != Some(true) {
            let server = &self.database.server;
            info!(database = self.spec.name, %server, db = self.database.id, subscribed, "database read");
            self.told_up = Some(true);
        }
    }

    fn down(&mut self, failure: &Failure) {
        let server = &self.database.server;
        if self.told_up != Some(false) {
            let hint = failure.hint();
            warn!(database = self.spec.name, %server, db = self.database.id, reason = %failure, hint, "database cannot be read");
            self.told_up = Some(false);
        } else {
            debug!(database = self.spec.name, %server, reason = %failure, "database still cannot be read");
        }
        self.out.send_replace(Reading::Down(failure.to_string().into()));
    }
}

/// As `Subscription::changed`; never where there is none.
async fn told(subscription: &mut Option<Subscription>, changed: &mut BTreeSet<String>) -> bool {
    match subscription {
        Some(subscription) => subscription.changed(changed).await,
        None => std::future::pending().await,
    }
}

/// Reads a database once: for commands that look and go.
pub async fn read_once(database: &Database, spec: &Spec) -> Result<Tables, Failure> {
    let mut link = Link::open(&database.server, database.id).await?;
    let tables = read_all(&mut link, &database.separator, spec).await;
    link.close().await;
    tables
}

async fn read_all(link: &mut Link, separator: &str, spec: &Spec) -> Result<Tables, Failure> {
    let mut keys: BTreeSet<String> = spec.values.iter().map(|&key| key.to_owned()).collect();
    for table in spec.tables {
        scan(link, &format!("{}{separator}*", escaped(table)), &mut keys).await?;
    }
    let mut tables = Tables::new(separator);
    read_keys(link, spec, keys.into_iter().collect(), &mut tables).await?;
    Ok(tables)
}

/// A table's name as a pattern that matches it alone.
fn escaped(table: &str) -> String {
    table.replace(['*', '?', '[', '\\'], "?")
}

/// All keys that match `pattern`; SCAN may name one twice.
async fn scan(link: &mut Link, pattern: &str, keys: &mut BTreeSet<String>) -> Result<(), Failure> {
    let mut cursor = 0;
    loop {
        let mut ask = redis::pipe();
        ask.cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(1000);
        let replies = link.ask(&mut ask).await?;
        let reply = replies.into_iter().next().unwrap_or(Ok(Value::Nil))?;
        let (next, found): (u64, Vec<Vec<u8>>) =
            FromRedisValue::from_redis_value(reply).map_err(|error| Failure::Refused(error.into()))?;
        keys.extend(found.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

async fn read_keys(
    link: &mut Link,
    spec: &Spec,
    keys: Vec<String>,
    tables: &mut Tables,
) -> Result<(), Failure> {
    for keys in keys.chunks(CHUNK) {
        let mut ask = redis::pipe();
        for key in keys {
            let command = if spec.values.contains(&key.as_str()) {
                "GET"
            } else {
                "HGETALL"
            };
            let mut read = Cmd::new();
            read.arg(command).arg(key);
            ask.add_command(read);
        }
        let replies = link.ask(&mut ask).await?;
        for (key, reply) in keys.iter().zip(replies) {
            tables.set(key.clone(), entry(reply)?);
        }
    }
    Ok(())
}

fn entry(reply: Reply) -> Result<Option<Entry>, Failure> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reply {
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some(Entry::Other)),
        Err(error) => Err(error.into()),
        Ok(Value::Nil) => Ok(None),
        Ok(Value::BulkString(bytes)) => Ok(Some(Entry::Value(text(&bytes)))),
        Ok(Value::Int(number)) => Ok(Some(Entry::Value(number.to_string()))),
        Ok(reply) => {
            let fields: BTreeMap<Vec<u8>, Vec<u8>> =
                FromRedisValue::from_redis_value(reply).map_err(|error| Failure::Refused(error.into()))?;
            let row = fields.iter().map(|(name, value)| (text(name), text(value)));
            // A hash without fields does not exist.
            Ok((!fields.is_empty()).then(|| Entry::Row(row.collect())))
        }
    }
}
