//! The STATE_DB publisher: the only task that writes to STATE_DB.
//!
//! It receives the latest status of each port whose row must be written (from a mailbox, so the fleet never waits and nothing
//! piles up), writes whole rows, and reports through a `watch` how that goes. It stays connected by `redis_link::driver`:
//!
//! ```text
//!   connected ──▶ rewrite all rows ──▶ up = 1 ──▶ changes, PING 2 s, look at our rows ──▶ any failure: up = 0,
//!                                                                                       every row is due again
//! ```
//!
//! When the mailbox closes, the publisher stops: it writes what is left, for 2 s at most.
//!
//! | file | job |
//! |---|---|
//! | ledger | what to write next (no I/O) |
//! | batch | commands for Redis, and the result of its answers |
//! | hearing | which of our rows change, by any process |
//! | complaints | what is logged about other processes that change our rows |
//!
//! Cancel-safety: the select in `serve` only has waits that take nothing, and Redis is asked after one of them has been chosen.
//! Only `run` may drop a question that is not answered, when the time for a stop is over; the connection is then dropped too.
//!
//! Imports `model`, `runtime`, `config` and `fleet`; in `sonic` `redis_link` and `rows`.

mod batch;
mod complaints;
mod hearing;
mod ledger;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::{Publish, StateDbSettings};
use crate::fleet::kept_queue::KeptSender;
use crate::fleet::mailbox::Receiver;
use crate::model::component::STATE_DB;
use crate::model::{KeptEvent, StateDbStatus};
use crate::sonic::redis_link::driver::{Connected, Work, keep_connected};
use crate::sonic::redis_link::{Changed, LastNotified, RETRY, RedisFailure};
use batch::{Batch, Outcome};
use complaints::Complaints;
use hearing::Hearing;
use ledger::Ledger;

/// How long a stop waits for the last rows: app.rs waits for 2.5 s.
const GRACE: Duration = Duration::from_secs(2);

/// The time from the first notification about our rows to checking them. Our own writes are notified too, those of a round
/// together.
const GATHER: Duration = Duration::from_millis(100);

/// The time between two checks of our rows, for changes that are not notified: FLUSHDB never is. The 64 rows of a switch are each
/// checked twice a second, which costs Redis about 0.3 ms per check.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Rows per check: those of a switch with 64 cables. More rows take turns.
const LOOK_AT: usize = 64;

/// Where the publisher's state can be read. `None` while no database is used.
pub type StatusSender = Arc<watch::Sender<Option<StateDbStatus>>>;

/// The publisher. Only one may run over the same rows: start the next one when `run` of the previous one has returned.
#[derive(Debug)]
pub struct StateDb {
    settings: Arc<StateDbSettings>,
    inbox: Receiver,
    ledger: Ledger,
    status: StatusSender,
    notified: LastNotified,
    complaints: Complaints,
    /// The last batch that was sent, until Redis has answered it.
    unanswered: Option<Batch>,
    /// The mailbox has closed: what is in the ledger is the last.
    stopping: bool,
}

/// Waits until `at`; without a moment, never returns.
async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

impl StateDb {
    /// A publisher that reads `changes` and reports to `status`. It continues the counters in `status`.
    pub fn new(settings: StateDbSettings, changes: Receiver, status: StatusSender) -> Self {
        let settings = Arc::new(settings);
        Self {
            ledger: Ledger::new(settings.clone()),
            settings,
            inbox: changes,
            status,
            notified: LastNotified::default(),
            complaints: Complaints::default(),
            unanswered: None,
            stopping: false,
        }
    }

    /// The same, with what other tasks know of the server's notifications.
    #[must_use]
    pub fn sharing(mut self, notified: LastNotified) -> Self {
        self.notified = notified;
        self
    }

    /// The same; what other processes write to our rows is kept as events.
    #[must_use]
    pub fn keeping(mut self, events: Option<KeptSender<KeptEvent>>) -> Self {
        self.complaints.keep(events);
        self
    }

    /// Publishes until the mailbox is closed and everything in it is written, or until `GRACE` is over.
    pub async fn run(mut self) {
        if self.settings.publish == Publish::Off {
            while self.inbox.ready().await {
                self.inbox.take();
            }
            return;
        }
        // Not up until that is proven, even if an earlier publisher was up.
        self.report(|status| status.up = false);
        let (settings, closing) = (self.settings.clone(), self.inbox.closing());
        let grace = async {
            closing.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            () = keep_connected(&settings.database.server, settings.database.id, &mut self) => {}
            () = grace => self.give_up(),
        }
    }

    /// These rows may have changed.
    fn doubt(&mut self, changed: Changed) {
        let at = (Instant::now() + GATHER).into_std();
        if changed.more {
            self.ledger.doubt_all(at);
        }
        for key in &changed.keys {
            self.ledger.doubt_key(key, at);
        }
    }

    /// Checks the rows that are due.
    async fn look(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        let Some(batch) = self.ledger.check_batch(Instant::now().into_std()) else {
            return Ok(());
        };
        let replies = redis.link.ask(&batch.commands).await?;
        let outcome = self.ledger.settle(batch, replies, Instant::now().into_std());
        self.account(outcome)
    }

    /// Writes what waits now, but not what arrives in the meantime: with a slow database and a busy rack that would never end.
    async fn write_waiting(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        let mut waiting = self.ledger.waiting();
        // One row alone first: a database that refuses writes then costs one refused row per attempt, not a batch.
        let mut max = 1;
        while waiting > 0
            && let Some(rows) = self.write(redis, max).await?
        {
            waiting = waiting.saturating_sub(rows);
            max = usize::MAX;
        }
        Ok(())
    }

    /// Writes until nothing waits.
    async fn flush(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        while self.write(redis, usize::MAX).await?.is_some() {}
        Ok(())
    }

    /// Sends one batch of at most `max` rows and reads the answers. Returns how many rows it wrote. `None`: nothing waits.
    async fn write(&mut self, redis: &mut Connected<'_>, max: usize) -> Result<Option<usize>, RedisFailure> {
        // Takes what has changed since the last batch, so that the rows of this one are as new as possible.
        self.take_in();
        self.ledger.release(Instant::now().into_std());
        let Some(mut batch) = self.ledger.next_batch(max, SystemTime::now()) else {
            return Ok(None);
        };
        let (rows, commands) = (batch.writes(), std::mem::take(&mut batch.commands));
        self.unanswered = Some(batch);
        let replies = redis.link.ask(&commands).await?;
        if let Some(batch) = self.unanswered.take() {
            let outcome = self.ledger.settle(batch, replies, Instant::now().into_std());
            self.account(outcome)?;
        }
        Ok(Some(rows))
    }

    /// Redis may or may not have done what it has not answered. It counts as not written.
    fn unconfirmed(&mut self) {
        if let Some(batch) = self.unanswered.take() {
            let rows = batch.writes() as u64;
            self.report(|status| status.writes_error += rows);
            self.ledger.put_back(batch);
        }
    }

    fn account(&mut self, outcome: Outcome) -> Result<(), RedisFailure> {
        self.report(|status| {
            status.writes_ok += outcome.ok;
            status.writes_error += outcome.refused;
            status.foreign_writes += outcome.foreign.len() as u64;
            if outcome.ok > 0 {
                status.last_write = Some(SystemTime::now());
            }
        });
        self.complaints.log(&outcome);
        match outcome.failure {
            Some(error) => Err(RedisFailure::Refused(error)),
            None => Ok(()),
        }
    }

    fn take_in(&mut self) {
        // Asked before taking: then everything that was sent before the close is taken.
        let closed = self.inbox.is_closed();
        self.ledger.absorb(self.inbox.take(), Instant::now().into_std());
        self.report(|_| {});
        if closed && !self.stopping {
            self.stopping = true;
            self.ledger.release_all();
        }
    }

    fn report(&self, change: impl FnOnce(&mut StateDbStatus)) {
        self.status.send_modify(|status| {
            let status = status.get_or_insert_default();
            status.rows_waiting = self.ledger.waiting() as u64;
            change(status);
        });
    }

    fn up(&self, redis: &mut Connected<'_>) {
        self.report(|status| status.up = true);
        if redis.is_up() {
            // If the socket is missing or may not be opened, this is not the first address in `settings`.
            let server = redis.link.at();
            info!(target: STATE_DB, %server, db = self.settings.database.id, "state_db is up: all rows are written");
        }
    }

    fn give_up(&mut self) {
        self.take_in();
        self.unconfirmed();
        let server = &self.settings.database.server;
        let rows = self.ledger.waiting();
        warn!(target: STATE_DB, %server, rows, "stopped without state_db: these rows keep their last content");
    }
}

impl Work for StateDb {
    async fn serve(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        self.take_in();
        self.ledger.rewrite_all();
        self.write_waiting(redis).await?;
        self.up(redis);
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hearing = Hearing::new(self.settings.clone(), self.notified.clone());
        let mut changed = Changed::default();
        loop {
            self.flush(redis).await?;
            if self.stopping {
                return Ok(());
            }
            let (look_at, release) = (self.ledger.next_doubt(), self.ledger.next_release());
            // In any order: each only marks what is due, and `flush` then writes it.
            tokio::select! {
                _ = self.inbox.ready() => {}
                // A row that was held may be written now.
                () = until(release) => {}
                due = redis.ping_due() => {
                    due?;
                    redis.link.ping().await?;
                }
                _ = look.tick() => self.ledger.doubt_some(LOOK_AT, Instant::now().into_std()),
                () = hearing.heard(&mut changed) => self.doubt(std::mem::take(&mut changed)),
                () = until(look_at) => self.look(redis).await?,
            }
        }
    }

    fn down(&mut self, failure: &RedisFailure, news: bool) {
        if let RedisFailure::Defect(defect) = failure {
            error!(target: STATE_DB, %defect, "no row is written because of a defect of this program: please report it");
        }
        self.unconfirmed();
        self.report(|status| status.up = false);
        // What was confirmed is no longer certain: a restarted Redis may be empty.
        self.ledger.rewrite_all();
        let server = &self.settings.database.server;
        if news {
            let hint = failure.hint();
            info!(target: STATE_DB, %server, db = self.settings.database.id, reason = %failure, hint, "state_db is down: rows wait, and it is tried again");
        } else {
            debug!(target: STATE_DB, %server, reason = %failure, "state_db is still down");
        }
    }

    /// A stop ends the pause: what waits is tried at once, and then every `RETRY`.
    async fn pause(&mut self, until: Instant) -> bool {
        let closing = self.inbox.closing();
        if closing.is_cancelled() {
            sleep_until(until.min(Instant::now() + RETRY)).await;
        } else {
            tokio::select! {
                () = sleep_until(until) => {}
                () = closing.cancelled() => {}
            }
        }
        self.take_in();
        !(self.stopping && self.ledger.is_empty())
    }
}
