//! A live copy of some tables of one of SONiC's databases. It reads and never writes.
//!
//! It emits its content through a `watch`. A key that changes is read again at once when Redis sends a keyspace notification;
//! on a SONiC switch these are always enabled. On other servers they may be disabled, so all known keys are also read again
//! every interval. After each reconnect everything is read again, because changes in between were not notified. It stays
//! connected by `redis_link::driver`:
//!
//! ```text
//!   connected ──▶ subscribe ──▶ read everything: Up ──▶ what is due (`plan`), PING and a look for a flush each 2 s ──▶ any failure: Down
//! ```
//!
//! The rows of ports (`Rows::OfPorts`) have known keys. All rows of a table must be searched, which means going through the
//! whole database (SCAN), with all keys of other programs. That is done at the start, and whenever rows may have come or gone
//! without a notification: a value such as `CONFIG_DB_INITIALIZED` has changed, notifications were lost, or the server seems to
//! send none. It never takes more than a twentieth of Redis' time (`plan`).
//!
//! Redis disconnects a subscriber that reads too slowly (`client-output-buffer-limit pubsub`). Such a loss alone does not make
//! the database count as down: the mirror subscribes again 500 ms later, and everything is read again.
//!
//! The readers of the copy decide what to use while a database is down, or empty after its restart.
//!
//! Imports `model` and `config`; in `sonic` `redis_link`.
//!
//! | file | job |
//! |---|---|
//! | plan | what is read when (pure) |
//! | live_copy | what is read during one connection |
//! | reading | which keys exist, what they contain, and how much of it is kept |
//! | pattern | one SCAN for all tables (pure) |

mod live_copy;
mod pattern;
mod plan;
mod reading;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::{Database, RedisAddress};
use crate::model::component::MIRROR;
use crate::model::{Port, ProbeSettings, Rows, Spec, Tables, text};
use crate::sonic::redis_link::driver::{Connected, Work, keep_connected};
use crate::sonic::redis_link::{Changed, LastNotified, Link, RedisFailure, Subscription};
use live_copy::LiveCopy;
use plan::Action;

/// What is known of a database.
#[derive(Debug, Clone, Default)]
pub enum Mirrored {
    /// Nothing has been tried yet.
    #[default]
    Waiting,
    /// It cannot be read: why, for people.
    Down(Arc<str>),
    /// It has this content.
    Up(Arc<Tables>),
}

impl Mirrored {
    /// Its content, while that is known.
    pub fn tables(&self) -> Option<&Arc<Tables>> {
        match self {
            Self::Up(tables) => Some(tables),
            Self::Waiting | Self::Down(_) => None,
        }
    }
}

/// The ports whose rows are read.
pub type Ports = Arc<BTreeSet<Port>>;

/// What a mirror needs in addition to the database and the tables.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// A mirror uses the interval of the probes too.
    pub probe: watch::Receiver<ProbeSettings>,
    /// For `Rows::OfPorts`.
    pub ports: watch::Receiver<Ports>,
    /// When the server last sent a notification. All subscribers of the server share it.
    pub notified: LastNotified,
}

/// See the module's page.
#[derive(Debug)]
pub struct Mirror {
    database: Database,
    spec: Spec,
    around: Surroundings,
    out: watch::Sender<Mirrored>,
}

impl Mirror {
    /// A mirror that has not started, and its output.
    pub fn new(database: Database, spec: Spec, around: Surroundings) -> (Self, watch::Receiver<Mirrored>) {
        let (out, reading) = watch::channel(Mirrored::Waiting);
        let mirror = Self {
            database,
            spec,
            around,
            out,
        };
        (mirror, reading)
    }

    /// Runs until no one reads its output.
    pub async fn run(mut self) {
        let (database, out) = (self.database.clone(), self.out.clone());
        tokio::select! {
            () = keep_connected(&database.server, database.id, &mut self) => {}
            () = out.closed() => {}
        }
    }

    fn interval(&mut self) -> Duration {
        self.around.probe.borrow_and_update().interval
    }

    /// `None`: this user may not subscribe. The copy is then one interval old at most.
    async fn subscribe(&self) -> Result<Option<Subscription>, RedisFailure> {
        let separator = &self.database.separator;
        let tables = self.spec.tables.iter();
        let tables = tables.map(|table| format!("{}{separator}*", table.name));
        let values = self.spec.values.iter().map(|&key| key.to_owned());
        let patterns: Vec<String> = tables.chain(values).collect();
        let (server, notified) = (&self.database.server, self.around.notified.clone());
        match Subscription::open(server, self.database.id, &patterns, notified).await {
            Ok(subscription) => Ok(Some(subscription)),
            Err(RedisFailure::Refused(error)) => {
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

    /// Does what is due.
    async fn act(
        &mut self,
        action: Action,
        redis: &mut Connected<'_>,
        copy: &mut LiveCopy,
        feed: &mut ChangeFeed,
    ) -> Result<(), RedisFailure> {
        copy.plan.begin(action, now());
        match action {
            Action::Subscribe => {
                feed.subscription = self.subscribe().await?;
                copy.plan.subscribed(now());
            }
            Action::CatchUp => copy.catch_up(redis, std::mem::take(&mut feed.changed)).await?,
            Action::Search => copy.search(redis).await?,
            Action::ReadKnown => {
                copy.read_known(redis).await?;
                let notified = |silence| feed.subscription.is_some() && self.around.notified.within(silence);
                copy.plan.known_read(notified);
            }
        }
        Ok(())
    }
}

impl Work for Mirror {
    async fn serve(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        // Before the first read, so that every change from now on is notified.
        let subscription = self.subscribe().await?;
        let (interval, ports) = (self.interval(), self.around.ports.clone());
        let what = (&self.spec, &*self.database.separator);
        let mut copy = LiveCopy::read_first(redis, what, ports, interval, self.out.clone()).await?;
        if redis.is_up() {
            let (server, subscribed) = (redis.link.at(), subscription.is_some());
            info!(target: MIRROR, database = self.spec.name, %server, db = self.database.id, subscribed, "database read");
        }
        let mut feed = ChangeFeed {
            subscription,
            changed: Changed::default(),
        };
        loop {
            let (at, action) = copy.plan.next();
            // Cancel-safe: what a wait takes is kept in `feed`, and Redis is asked after one of them has been chosen.
            tokio::select! {
                notified = feed.notified() => match notified {
                    Ok(()) => copy.plan.notified(now()),
                    Err(reason) => {
                        let database = self.spec.name;
                        debug!(target: MIRROR, database, %reason, "keyspace notifications lost: subscribing again");
                        feed.subscription = None;
                        copy.plan.lost(&reason, now());
                    }
                },
                () = sleep_until(at.into()) => self.act(action, redis, &mut copy, &mut feed).await?,
                Ok(()) = copy.ports.changed(), if self.spec.rows == Rows::OfPorts => copy.search(redis).await?,
                Ok(()) = self.around.probe.changed() => copy.plan.set_interval(self.interval(), now()),
                due = redis.ping_due() => {
                    due?;
                    redis.link.ping().await?;
                    // A flush sends no notification.
                    copy.look_for_flush(redis).await?;
                }
            }
        }
    }

    fn down(&mut self, failure: &RedisFailure, news: bool) {
        if let RedisFailure::Defect(defect) = failure {
            error!(target: MIRROR, database = self.spec.name, %defect, "a database is not read because of a defect of this program: please report it");
        }
        let server = &self.database.server;
        if news {
            let hint = failure.hint();
            warn!(target: MIRROR, database = self.spec.name, %server, db = self.database.id, reason = %failure, hint, "database cannot be read");
        } else {
            debug!(target: MIRROR, database = self.spec.name, %server, reason = %failure, "database still cannot be read");
        }
        self.out.send_replace(Mirrored::Down(failure.to_string().into()));
    }

    async fn pause(&mut self, until: Instant) -> bool {
        sleep_until(until).await;
        true
    }
}

/// The notified changes, until they are read.
struct ChangeFeed {
    /// `None`: it is lost, or this user may not subscribe.
    subscription: Option<Subscription>,
    changed: Changed,
}

impl ChangeFeed {
    /// Waits until a change is notified. Cancel-safe.
    async fn notified(&mut self) -> Result<(), RedisFailure> {
        match &mut self.subscription {
            Some(subscription) => subscription.changed(&mut self.changed).await,
            None => std::future::pending().await,
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Reads a database once, for commands that check once. Of rows of ports it reads those of `ports`. Also returns the address
/// that was used.
pub async fn read_once(
    database: &Database,
    spec: &Spec,
    ports: &Ports,
) -> Result<(Tables, RedisAddress), RedisFailure> {
    let mut link = Link::open(&database.server, database.id).await?;
    let nothing = Tables::new(&database.separator);
    let (tables, _) = reading::read_all(&mut link, spec, ports, &nothing).await?;
    Ok((tables, link.at().clone()))
}
