//! The STATE_DB publisher: the only task that talks to Redis, and the only one that ever waits for it.
//!
//! Receives the latest status of each port whose row must be written (a mailbox, so the fleet never waits and nothing
//! piles up), writes whole rows, and says through a `watch` how that goes. One connection at a time:
//!
//! ```text
//!            ┌────────────────── 500 ms after the last attempt began ◀─────────────────┐
//!            ▼                                                                         │ any failure: up = 0,
//!   connect, AUTH, SELECT, PING ──▶ rewrite all rows ──▶ up = 1 ──▶ changes, PING 2 s ─┘ every row is due again
//! ```
//!
//! The mailbox's closing is the stop: what is left is written, for 2 s at most.
//!
//! Cancel-safety: `Work::meanwhile` polls the mailbox beside each wait for Redis. `Receiver::ready` takes nothing, and a
//! wait for Redis is dropped only when the publisher gives up altogether.

mod batch;
mod hearing;
mod ledger;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::RedisError;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::{Publish, StateDbSettings};
use crate::fleet::mailbox::Receiver;
use crate::model::component::STATE_DB;
use crate::model::{Port, StateDbStatus};
use crate::runtime::defect::{Restarts, caught};
use crate::sonic::redis_link::{Changed, Failure, Link, PING_EVERY, Pause, RETRY, Tells};
use batch::{Batch, Outcome};
use hearing::Hearing;
use ledger::Ledger;

/// How long a stop waits for the last rows.
const GRACE: Duration = Duration::from_secs(2);

/// From the first change that is told of our rows to looking at them: our own writes are told too, a round's all at once.
const GATHER: Duration = Duration::from_millis(100);

/// Where changes are not told, and FLUSHDB never is: so often, so many rows are looked at in turn. Those of a switch with 64
/// cables are each seen twice a second, at a cost to Redis of some 0.3 ms.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AT: usize = 64;

/// From one line about keys of a wrong type, or rows that were deleted, to the next.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The shared place where the publisher's state can be read; `None` while no database is used.
pub type StatusSender = Arc<watch::Sender<Option<StateDbStatus>>>;

/// The publisher. Run one at a time over the same rows: start the next when `run` of the last has returned.
#[derive(Debug)]
pub struct StateDb {
    settings: Arc<StateDbSettings>,
    inbox: Receiver,
    ledger: Ledger,
    status: StatusSender,
    tells: Tells,
    /// What the log was told last.
    told_up: Option<bool>,
    warned_foreign: bool,
    warned_type: Option<Instant>,
    told_gone: Option<Instant>,
    /// Set once the mailbox has closed: when to give up.
    stop_at: Option<Instant>,
}

/// Why the work on a connection ended early.
#[derive(Debug)]
enum Interrupt {
    Failure(Failure),
    GraceIsOver,
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Waits until then; for ever where there is no such moment.
async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

impl StateDb {
    /// A publisher that reads `changes` and reports to `status`, whose counters it carries on.
    pub fn new(settings: StateDbSettings, changes: Receiver, status: StatusSender) -> Self {
        let settings = Arc::new(settings);
        Self {
            ledger: Ledger::new(settings.clone()),
            settings,
            inbox: changes,
            status,
            tells: Tells::default(),
            told_up: None,
            warned_foreign: false,
            warned_type: None,
            told_gone: None,
            stop_at: None,
        }
    }

    /// The same, with what others know of whether the server tells of changes.
    #[must_use]
    pub fn sharing(mut self, tells: Tells) -> Self {
        self.tells = tells;
        self
    }

    /// Publishes until the mailbox is closed and everything in it is written, or its grace is over.
    pub async fn run(mut self) {
        if self.settings.publish == Publish::Off {
            while self.inbox.ready().await {
                self.inbox.take();
            }
            return;
        }
        // Not up until proven, also where an earlier publisher was.
        self.report(|status| status.up = false);
        let (mut pause, mut restarts) = (Pause::default(), Restarts::default());
        loop {
            let began = Instant::now();
            let again;
            match caught(Box::pin(self.serve())).await {
                Ok(Ok(())) => return,
                Ok(Err(Interrupt::Failure(failure))) => {
                    again = pause.next(&failure, began, Instant::now());
                    self.down(&failure);
                }
                Ok(Err(Interrupt::GraceIsOver)) => return self.give_up(),
                // One more way to lose the database.
                Err(defect) => {
                    again = Instant::now() + restarts.wait(began.elapsed());
                    error!(target: STATE_DB, %defect, "no row is written because of a defect of this program: please report it");
                    self.down(&defect.into());
                }
            }
            if self.pause(again).await.is_err() {
                return self.give_up();
            }
            if self.stop_at.is_some() && self.ledger.is_empty() {
                return;
            }
        }
    }

    /// Waits for the next attempt. A stop comes first: what waits has its chance at once, and then as often as ever.
    async fn pause(&mut self, until: Instant) -> Result<(), Interrupt> {
        let (closing, stopping) = (self.inbox.closing(), self.stop_at.is_some());
        let until = match stopping {
            true => until.min(Instant::now() + RETRY),
            false => until,
        };
        let pause = async {
            tokio::select! {
                () = sleep_until(until) => {}
                () = closing.cancelled(), if !stopping => {}
            }
        };
        self.meanwhile(pause).await?;
        // Known from now on, also where the next attempt fails before anything can be taken in.
        if self.inbox.is_closed() {
            self.take_in();
        }
        Ok(())
    }

    /// Works on one connection. `Ok`: the mailbox is closed and everything is written.
    async fn serve(&mut self) -> Result<(), Interrupt> {
        let settings = self.settings.clone();
        let mut link = self
            .meanwhile(Link::open(&settings.server, settings.db))
            .await??;
        let ended = self.serve_over(&mut link).await;
        link.close();
        ended
    }

    async fn serve_over(&mut self, link: &mut Link) -> Result<(), Interrupt> {
        self.ledger.rewrite_all();
        self.write_waiting(link).await?;
        self.up(link);
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hearing = Hearing::new(self.settings.clone(), self.tells.clone());
        let mut changed = Changed::default();
        loop {
            self.flush(link).await?;
            if self.stop_at.is_some() {
                return Ok(());
            }
            let now = Instant::now();
            let look_at = self.ledger.next_doubt().map(Instant::from_std);
            let release = self.ledger.next_release();
            tokio::select! {
                _ = self.inbox.ready() => self.take_in(),
                // `flush` writes what need not be held any longer.
                () = until(release) => {}
                _ = ping.tick() => self.meanwhile(link.ping()).await??,
                _ = look.tick() => self.ledger.doubt_some(LOOK_AT, now.into_std()),
                () = hearing.heard(&mut changed) => self.doubt(std::mem::take(&mut changed)),
                () = sleep_until(look_at.unwrap_or(now)), if look_at.is_some() => self.look(link).await?,
                failure = link.closed() => return Err(failure.into()),
            }
        }
    }

    /// These rows have changed, for all we know.
    fn doubt(&mut self, changed: Changed) {
        let at = (Instant::now() + GATHER).into_std();
        if changed.more {
            self.ledger.doubt_all(at);
        }
        for key in &changed.keys {
            self.ledger.doubt_key(key, at);
        }
    }

    /// Looks at the rows that are due.
    async fn look(&mut self, link: &mut Link) -> Result<(), Interrupt> {
        let Some(batch) = self.ledger.check_batch(Instant::now().into_std()) else {
            return Ok(());
        };
        let replies = self.meanwhile(link.ask(&batch.commands)).await??;
        let outcome = self.ledger.settle(batch, replies, Instant::now().into_std());
        match self.account(outcome) {
            Some(error) => Err(Failure::Refused(error).into()),
            None => Ok(()),
        }
    }

    /// Writes what waits now, not what comes in meanwhile: with a slow database and a busy rack that has no end.
    async fn write_waiting(&mut self, link: &mut Link) -> Result<(), Interrupt> {
        let mut waiting = self.ledger.waiting();
        // One row alone first: a database that refuses costs one refused row per attempt, not a batch of them.
        let mut max = 1;
        while waiting > 0
            && let Some(rows) = self.write(link, max).await?
        {
            waiting = waiting.saturating_sub(rows);
            max = usize::MAX;
        }
        Ok(())
    }

    /// Writes until nothing waits.
    async fn flush(&mut self, link: &mut Link) -> Result<(), Interrupt> {
        while self.write(link, usize::MAX).await?.is_some() {}
        Ok(())
    }

    /// Sends one batch of at most `max` rows and reads its answers: how many rows it wrote; `None`: nothing waits.
    async fn write(&mut self, link: &mut Link, max: usize) -> Result<Option<usize>, Interrupt> {
        self.ledger.release(Instant::now().into_std());
        let Some(batch) = self.ledger.next_batch(max, SystemTime::now()) else {
            return Ok(None);
        };
        let rows = batch.writes();
        let replies = match self.meanwhile(link.ask(&batch.commands)).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(failure)) => {
                self.unconfirmed(batch);
                return Err(failure.into());
            }
            Err(interrupt) => {
                self.unconfirmed(batch);
                return Err(interrupt);
            }
        };
        let outcome = self.ledger.settle(batch, replies, Instant::now().into_std());
        match self.account(outcome) {
            Some(error) => Err(Failure::Refused(error).into()),
            None => Ok(Some(rows)),
        }
    }

    fn unconfirmed(&mut self, batch: Batch) {
        let rows = batch.writes() as u64;
        self.report(|status| status.writes_error += rows);
        self.ledger.put_back(batch);
    }

    fn account(&mut self, outcome: Outcome) -> Option<RedisError> {
        self.report(|status| {
            status.writes_ok += outcome.ok;
            status.writes_error += outcome.refused;
            status.foreign_writes += outcome.foreign.len() as u64;
            if outcome.ok > 0 {
                status.last_write = Some(SystemTime::now());
            }
        });
        if let Some(port) = outcome.foreign.first() {
            self.warn_foreign(port);
        }
        if let Some(port) = &outcome.gone {
            self.tell_gone(port);
        }
        if let Some(port) = &outcome.wrong_type {
            self.warn_type(port);
        }
        outcome.failure
    }

    /// Waits for `work`, taking in what the fleet sends meanwhile, unless the grace of a stop runs out first.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        tokio::pin!(work);
        loop {
            let stop_at = self.stop_at;
            let grace_is_over = async move {
                match stop_at {
                    Some(stop_at) => sleep_until(stop_at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                _ = self.inbox.ready(), if stop_at.is_none() => {
                    self.take_in();
                    // Changes may come without end: the connection's driver must get its turn.
                    yield_now().await;
                }
                () = grace_is_over => return Err(Interrupt::GraceIsOver),
            }
        }
    }

    fn take_in(&mut self) {
        // Asked before taking: what was sent before the close is then surely among what is taken.
        let closed = self.inbox.is_closed();
        self.ledger.absorb(self.inbox.take(), Instant::now().into_std());
        if closed && self.stop_at.is_none() {
            self.stop_at = Some(Instant::now() + GRACE);
            self.ledger.release_all();
        }
    }

    fn report(&self, change: impl FnOnce(&mut StateDbStatus)) {
        self.status
            .send_modify(|status| change(status.get_or_insert_default()));
    }

    fn up(&mut self, link: &Link) {
        self.report(|status| status.up = true);
        if self.told_up != Some(true) {
            // Where the socket is missing or closed to us it is another than `settings` name first.
            let server = link.at();
            info!(target: STATE_DB, %server, db = self.settings.db, "state_db is up: all rows are written");
            self.told_up = Some(true);
        }
    }

    fn down(&mut self, failure: &Failure) {
        self.report(|status| status.up = false);
        // Nothing that was confirmed can be relied on any more: a restarted Redis may be empty.
        self.ledger.rewrite_all();
        let server = &self.settings.server;
        if self.told_up != Some(false) {
            let hint = failure.hint();
            info!(target: STATE_DB, %server, db = self.settings.db, reason = %failure, hint, "state_db is down: rows wait, and it is tried again");
            self.told_up = Some(false);
        } else {
            debug!(target: STATE_DB, %server, reason = %failure, "state_db is still down");
        }
    }

    fn give_up(&self) {
        let server = &self.settings.server;
        let rows = self.ledger.waiting();
        warn!(target: STATE_DB, %server, rows, "stopped without state_db: these rows keep what they last said");
    }

    fn warn_foreign(&mut self, port: &Port) {
        if !self.warned_foreign {
            self.warned_foreign = true;
            let hint = "on SONiC: `sudo config muxcable telemetry disable` (its price: docs/sonic.md), or publish: shadow";
            warn!(target: STATE_DB, %port, hint, "another process writes our rows; logged once, counted from now on");
        }
    }

    fn tell_gone(&mut self, port: &Port) {
        if self.told_gone.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.told_gone = Some(Instant::now());
            info!(target: STATE_DB, %port, "another process has deleted a row of ours, or flushed the database: written anew");
        }
    }

    fn warn_type(&mut self, port: &Port) {
        let due = self.warned_type.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if due {
            self.warned_type = Some(Instant::now());
            let hint = "delete the key: the row is then written";
            warn!(target: STATE_DB, %port, hint, "the row's key is not a hash");
        }
    }
}
