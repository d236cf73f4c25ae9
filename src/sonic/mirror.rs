//! A live copy of some tables of one of SONiC's databases: reads, never writes.
//!
//! Emits through a `watch` what it has read. A key that changes is read again at once where Redis tells of it (keyspace
//! notifications, on a SONiC switch always on); what is known is read again each interval, as on other servers they may be
//! off, and everything after each reconnect, as none of what happened meanwhile was told. It stays connected by `redis_link::driver`:
//!
//! ```text
//!   connected ──▶ subscribe ──▶ read everything: Up ──▶ what `plan` says, PING and a look for a flush each 2 s ──▶ any failure: Down
//! ```
//!
//! The rows of ports (`Rows::OfPorts`) have known keys. All rows of a table must be looked for, which means to walk through the
//! whole database (SCAN), whoever else's keys are in it. That is done at the start, and whenever rows may have come or gone
//! untold: a value such as `CONFIG_DB_INITIALIZED` has changed, notifications were lost, or the server does not seem to
//! tell any; and never so often that it takes more than a twentieth of Redis' time (`plan`).
//!
//! Redis throws out a subscriber that follows slower than it tells (`client-output-buffer-limit pubsub`). Such a loss alone
//! takes nothing down: it subscribes again 500 ms later, and everything is read again.
//!
//! What to believe while a database is down, or empty after its restart, is the reader's decision, not ours.
//!
//! | file | job |
//! |---|---|
//! | plan | when what is read (pure) |
//! | live_copy | what is read, during one connection |
//! | reading | which keys there are, what they hold, and how much of it is kept |
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
use crate::sonic::redis_link::{Changed, Link, RedisFailure, Subscription, Tells};
use live_copy::LiveCopy;
use plan::Action;

/// How it stands with a database.
#[derive(Debug, Clone, Default)]
pub enum Mirrored {
    /// Nothing has been tried yet.
    #[default]
    Waiting,
    /// It cannot be read, for people: why.
    Down(Arc<str>),
    /// This is in it.
    Up(Arc<Tables>),
}

impl Mirrored {
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
    out: watch::Sender<Mirrored>,
}

impl Mirror {
    /// A mirror that has not begun, and what it will emit.
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

    /// Runs until nobody reads any more.
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

    /// `None`: this user may not subscribe. The copy is then as old as the interval at most.
    async fn subscribe(&self) -> Result<Option<Subscription>, RedisFailure> {
        let separator = &self.database.separator;
        let tables = self.spec.tables.iter();
        let tables = tables.map(|table| format!("{}{separator}*", table.name));
        let values = self.spec.values.iter().map(|&key| key.to_owned());
        let patterns: Vec<String> = tables.chain(values).collect();
        let (server, tells) = (&self.database.server, self.around.tells.clone());
        match Subscription::open(server, self.database.id, &patterns, tells).await {
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
                let tells = |silence| feed.subscription.is_some() && self.around.tells.within(silence);
                copy.plan.known_read(tells);
            }
        }
        Ok(())
    }
}

impl Work for Mirror {
    async fn serve(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        // Before the first reading: what changes from now on is told.
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
            // Cancel-safe: a wait takes nothing but what is kept in `feed`, and Redis is asked after one of them has been chosen.
            tokio::select! {
                told = feed.told() => match told {
                    Ok(()) => copy.plan.told(now()),
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
                    // A flush tells nobody.
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

/// What is told of changes, until it is read.
struct ChangeFeed {
    /// `None`: it is lost, or this user may not subscribe.
    subscription: Option<Subscription>,
    changed: Changed,
}

impl ChangeFeed {
    /// Waits until a change is told. Cancel-safe.
    async fn told(&mut self) -> Result<(), RedisFailure> {
        match &mut self.subscription {
            Some(subscription) => subscription.changed(&mut self.changed).await,
            None => std::future::pending().await,
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Reads a database once, of the rows of ports those of `ports`: for commands that look and go. Also says at which address.
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
