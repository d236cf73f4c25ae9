//! A live copy of some tables of one of SONiC's databases: reads, never writes.
//!
//! Emits through a `watch` what it has read. A key that changes is read again at once where Redis tells of it (keyspace
//! notifications, on a SONiC switch always on); what is known is read again each interval, as on other servers they may be
//! off, and everything after each reconnect, as none of what happened meanwhile was told.
//!
//! ```text
//!            ┌────── 500 ms after the last attempt began (`redis_link::Pause`) ◀┐
//!            ▼                                                                  │ any failure: Down
//!   connect, subscribe ──▶ read everything: Up ──▶ changes, each interval, PING ─┘
//! ```
//!
//! The rows of ports (`Rows::OfPorts`) have known keys. All rows of a table must be looked for, which means to walk through the
//! whole database (SCAN), whoever else's keys are in it. That is done at the start, and whenever rows may have come or gone
//! untold: a value such as `CONFIG_DB_INITIALIZED` has changed, notifications were lost, or the server does not seem to
//! tell any; and never so often that it takes more than a twentieth of Redis' time (`upkeep`).
//!
//! Redis throws out a subscriber that follows slower than it tells (`client-output-buffer-limit pubsub`). Such a loss alone
//! takes nothing down: it subscribes again 500 ms later, and everything is read again.
//!
//! What to believe while a database is down, or empty after its restart, is the reader's decision, not ours.
//!
//! | file | job |
//! |---|---|
//! | reading | which keys there are, what they hold, and how much of it is kept |
//! | pattern | one SCAN for all tables (pure) |
//! | upkeep | when to look for rows again (pure) |

mod pattern;
mod reading;
mod upkeep;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::{Database, RedisAddress};
use crate::model::component::MIRROR;
use crate::model::{Port, ProbeSettings, Rows, Spec, Tables, text};
use crate::runtime::defect::{Restarts, caught};
use crate::sonic::redis_link::{Changed, Failure, Link, PING_EVERY, Pause, RETRY, Subscription, Tells};
use upkeep::Upkeep;

/// From the first change told to reading what has changed: a reload of a whole table is then a few reads, not one for
/// each of its rows, and what depends on it is worked out a few times a second at most.
const GATHER: Duration = Duration::from_millis(50);
/// A server that has told nobody of anything for two intervals and this long may not tell at all.
const SILENCE: Duration = Duration::from_secs(5);

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

/// The ports whose rows are read.
pub type Ports = Arc<BTreeSet<Port>>;

/// What a mirror needs to know beside what it copies.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The interval of the probes is ours too.
    pub probe: watch::Receiver<ProbeSettings>,
    /// For `Rows::OfPorts`.
    pub ports: watch::Receiver<Ports>,
    /// Whether the server tells of changes, which all who subscribe there find out together.
    pub tells: Tells,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Mirror {
    database: Database,
    spec: Spec,
    around: Surroundings,
    out: watch::Sender<Reading>,
    told_up: Option<bool>,
}

impl Mirror {
    /// A mirror that has not begun, and what it will emit.
    pub fn new(database: Database, spec: Spec, around: Surroundings) -> (Self, watch::Receiver<Reading>) {
        let (out, reading) = watch::channel(Reading::Waiting);
        let mirror = Self {
            database,
            spec,
            around,
            out,
            told_up: None,
        };
        (mirror, reading)
    }

    /// Runs until nobody reads any more. A defect is one more way to lose the database.
    pub async fn run(mut self) {
        let (mut pause, mut restarts) = (Pause::default(), Restarts::default());
        loop {
            let began = Instant::now();
            let out = self.out.clone();
            let again;
            tokio::select! {
                ended = caught(Box::pin(self.serve())) => {
                    let failure = ended.unwrap_or_else(|defect| {
                        error!(target: MIRROR, database = self.spec.name, %defect, "a database is not read because of a defect of this program: please report it");
                        defect.into()
                    });
                    again = match failure {
                        Failure::Defect(_) => Instant::now() + restarts.wait(began.elapsed()),
                        _ => pause.next(&failure, began, Instant::now()),
                    };
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
        match self.serve_over().await {
            Err(failure) => failure,
            Ok(never) => match never {},
        }
    }

    async fn serve_over(&mut self) -> Result<Infallible, Failure> {
        let mut link = Link::open(&self.database.server, self.database.id).await?;
        // Before the first reading: what changes from now on is told.
        let subscription = self.subscribe().await?;
        self.around.probe.mark_unchanged();
        let began = Instant::now();
        let nothing = Tables::new(&self.database.separator);
        let (tables, searched) = reading::read_all(&mut link, &self.spec, &self.ports(), &nothing).await?;
        self.up(&link, &tables, subscription.is_some());
        let mut copy = Copy {
            upkeep: Upkeep::after(began.into_std(), searched),
            tables,
            link,
        };
        self.keep(&mut copy, subscription).await
    }

    async fn keep(
        &mut self,
        copy: &mut Copy,
        mut subscription: Option<Subscription>,
    ) -> Result<Infallible, Failure> {
        let (mut changed, mut lost) = (Changed::default(), Pause::default());
        let mut subscribed_at = Instant::now();
        let mut read_changed_at = None;
        let mut subscribe_at = None;
        let mut read_at = Instant::now() + self.interval();
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let search_at = copy.upkeep.due().map(Instant::from_std);
            tokio::select! {
                more = told(&mut subscription, &mut changed) => match more {
                    Ok(()) => _ = read_changed_at.get_or_insert_with(|| Instant::now() + GATHER),
                    Err(reason) => {
                        let database = self.spec.name;
                        debug!(target: MIRROR, database, %reason, "keyspace notifications lost: subscribing again");
                        subscription = None;
                        let now = Instant::now();
                        subscribe_at = Some(lost.next(&reason, subscribed_at, now).max(now + RETRY));
                    }
                },
                () = sleep_until(subscribe_at.unwrap_or(read_at)), if subscribe_at.is_some() => {
                    subscribe_at = None;
                    subscribed_at = Instant::now();
                    subscription = self.subscribe().await?;
                    // What happened meanwhile was not told.
                    read_at = Instant::now();
                    copy.upkeep.want();
                }
                () = sleep_until(read_changed_at.unwrap_or(read_at)), if read_changed_at.is_some() => {
                    read_changed_at = None;
                    self.catch_up(copy, std::mem::take(&mut changed)).await?;
                }
                () = sleep_until(search_at.unwrap_or(read_at)), if search_at.is_some() => self.search(copy).await?,
                () = sleep_until(read_at) => {
                    read_at = Instant::now() + self.interval();
                    self.read_known(copy).await?;
                    let silence = self.interval().saturating_mul(2).saturating_add(SILENCE);
                    let tells = subscription.is_some() && self.around.tells.within(silence);
                    if self.spec.rows == Rows::All && !tells {
                        copy.upkeep.want();
                    }
                }
                Ok(()) = self.around.ports.changed(), if self.spec.rows == Rows::OfPorts => {
                    self.search(copy).await?;
                }
                Ok(()) = self.around.probe.changed() => read_at = Instant::now() + self.interval(),
                _ = ping.tick() => {
                    copy.link.ping().await?;
                    // A flush tells nobody.
                    self.look_for_flush(copy).await?;
                }
                failure = copy.link.closed() => return Err(failure),
            }
        }
    }

    /// Reads everything anew.
    async fn search(&mut self, copy: &mut Copy) -> Result<(), Failure> {
        let ports = self.around.ports.borrow_and_update().clone();
        let began = Instant::now();
        let read = reading::read_all(&mut copy.link, &self.spec, &ports, &copy.tables).await?;
        copy.tables = read.0;
        copy.upkeep = Upkeep::after(began.into_std(), read.1);
        self.show(copy);
        Ok(())
    }

    /// Reads again what was there, or may be.
    async fn read_known(&mut self, copy: &mut Copy) -> Result<(), Failure> {
        let keys = match self.spec.rows {
            Rows::All => copy.tables.keys().map(str::to_owned).collect(),
            Rows::OfPorts => {
                let separator = copy.tables.separator();
                reading::of_ports(&self.spec, &self.ports(), separator).keys
            }
        };
        self.read(copy, keys).await
    }

    /// Reads what has changed.
    async fn catch_up(&mut self, copy: &mut Copy, changed: Changed) -> Result<(), Failure> {
        let separator = copy.tables.separator().to_owned();
        let told = self.spec.values.iter().any(|&key| changed.keys.contains(key));
        if changed.more {
            copy.upkeep.want();
        }
        let ports = self.ports();
        let new = changed.keys.iter().filter(|key| !copy.tables.has(key)).count();
        let is_too_much = copy.tables.keys().count() + new > Tables::MOST_ROWS;
        let mut keys = Vec::with_capacity(changed.keys.len());
        for key in changed.keys {
            let Some(table) = reading::table_of(&self.spec, &separator, &key) else {
                continue;
            };
            match self.spec.rows {
                Rows::OfPorts => {
                    let port = key.get(table.name.len() + separator.len()..);
                    if port.is_some_and(|port| Port::new(port).is_ok_and(|port| ports.contains(&port))) {
                        keys.push(key);
                    }
                }
                // Which rows are kept where there are too many is the search's business.
                Rows::All if is_too_much && !copy.tables.has(&key) => copy.upkeep.want(),
                Rows::All => keys.push(key),
            }
        }
        if told {
            copy.upkeep.is_torn();
        }
        self.read(copy, keys).await
    }

    /// Reads these keys, and the values; and everything, where one of those has changed. Such a value says whether the
    /// database is whole (`CONFIG_DB_INITIALIZED`): around its change, a flush and a load for instance, no event was sent
    /// for the rows that are gone, and a copy that holds rows from before and from after is neither.
    async fn read(&mut self, copy: &mut Copy, mut keys: Vec<String>) -> Result<(), Failure> {
        let values = self.spec.values;
        let of = |tables: &Tables| -> Vec<Option<String>> {
            let found = values.iter().map(|key| tables.value(key));
            found.map(|value| value.map(str::to_owned)).collect()
        };
        let before = of(&copy.tables);
        keys.retain(|key| !values.contains(&key.as_str()));
        keys.extend(values.iter().map(|&key| key.to_owned()));
        reading::read_keys(&mut copy.link, &self.spec, &keys, &mut copy.tables).await?;
        if of(&copy.tables) != before {
            copy.upkeep.is_torn();
        }
        match copy.upkeep.due() {
            // A database of a switch is walked through in a millisecond: at once.
            Some(at) if at <= Instant::now().into_std() => self.search(copy).await,
            _ => {
                self.show(copy);
                Ok(())
            }
        }
    }

    /// FLUSHDB, and a Redis that loads another file, send no event. A value or, where there is none, one row tells it.
    async fn look_for_flush(&mut self, copy: &mut Copy) -> Result<(), Failure> {
        let one = match self.spec.values {
            [] => copy.tables.keys().next().map(str::to_owned),
            _ => None,
        };
        if self.spec.values.is_empty() && one.is_none() {
            return Ok(());
        }
        let keys: Vec<String> = one.clone().into_iter().collect();
        self.read(copy, keys).await?;
        if one.is_some_and(|key| !copy.tables.has(&key)) {
            self.read_known(copy).await?;
        }
        Ok(())
    }

    fn ports(&self) -> Ports {
        self.around.ports.borrow().clone()
    }

    fn interval(&mut self) -> Duration {
        self.around.probe.borrow_and_update().interval
    }

    /// `None`: this user may not subscribe. The copy is then as old as the interval at most.
    async fn subscribe(&self) -> Result<Option<Subscription>, Failure> {
        let separator = &self.database.separator;
        let tables = self.spec.tables.iter();
        let tables = tables.map(|table| format!("{}{separator}*", table.name));
        let values = self.spec.values.iter().map(|&key| key.to_owned());
        let patterns: Vec<String> = tables.chain(values).collect();
        let (server, tells) = (&self.database.server, self.around.tells.clone());
        match Subscription::open(server, self.database.id, &patterns, tells).await {
            Ok(subscription) => Ok(Some(subscription)),
            Err(Failure::Refused(error)) => {
                debug!(target: MIRROR,
                    database = self.spec.name,
                    error = text::quote(error),
                    "no keyspace notifications: read each interval"
                );
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn show(&self, copy: &Copy) {
        if copy.upkeep.is_whole() {
            self.show_tables(&copy.tables);
        }
    }

    fn show_tables(&self, tables: &Tables) {
        self.out.send_if_modified(|reading| {
            let same = reading.tables().is_some_and(|before| **before == *tables);
            if !same {
                *reading = Reading::Up(Arc::new(tables.clone()));
            }
            !same
        });
    }

    fn up(&mut self, link: &Link, tables: &Tables, subscribed: bool) {
        self.show_tables(tables);
        if self.told_up != Some(true) {
            let server = link.at();
            info!(target: MIRROR, database = self.spec.name, %server, db = self.database.id, subscribed, "database read");
            self.told_up = Some(true);
        }
    }

    fn down(&mut self, failure: &Failure) {
        let server = &self.database.server;
        if self.told_up != Some(false) {
            let hint = failure.hint();
            warn!(target: MIRROR, database = self.spec.name, %server, db = self.database.id, reason = %failure, hint, "database cannot be read");
            self.told_up = Some(false);
        } else {
            debug!(target: MIRROR, database = self.spec.name, %server, reason = %failure, "database still cannot be read");
        }
        self.out.send_replace(Reading::Down(failure.to_string().into()));
    }
}

/// What a connection has read, and what it needs to go on.
#[derive(Debug)]
struct Copy {
    link: Link,
    tables: Tables,
    upkeep: Upkeep,
}

/// As `Subscription::changed`; never where there is none.
async fn told(subscription: &mut Option<Subscription>, changed: &mut Changed) -> Result<(), Failure> {
    match subscription {
        Some(subscription) => subscription.changed(changed).await,
        None => std::future::pending().await,
    }
}

/// Reads a database once, of the rows of ports those of `ports`: for commands that look and go. Also says at which address.
pub async fn read_once(
    database: &Database,
    spec: &Spec,
    ports: &Ports,
) -> Result<(Tables, RedisAddress), Failure> {
    let mut link = Link::open(&database.server, database.id).await?;
    let nothing = Tables::new(&database.separator);
    let (tables, _) = reading::read_all(&mut link, spec, ports, &nothing).await?;
    Ok((tables, link.at().clone()))
}
