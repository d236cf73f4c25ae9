//! Rows that may no longer contain what we wrote: another process may have written or deleted them.
//!
//! Each is read as a whole and compared. A process that writes a single field leaves `time_post` as it is, and a notification
//! has the row but not the process; our own writes are notified too. A row that differs is written again, but the same row only
//! once per `REPAIR_EVERY`. So there is no fight with a process that writes all the time.

use std::borrow::Cow;
use std::ops::Bound;
use std::time::{Duration, Instant};

use redis::FromRedisValue;

use super::{Batch, BatchKind, Ledger, LedgerRow, Outcome, Reply, SMALL};
use crate::config::StateDbSettings;
use crate::model::Port;
use crate::sonic::rows;

/// The shortest time between two repairs of a row that another process writes.
const REPAIR_EVERY: Duration = Duration::from_secs(5);

impl Ledger {
    /// These rows may have changed. They are checked at `at`, or when their turn comes.
    pub(in super::super) fn doubt<'a>(&mut self, ports: impl IntoIterator<Item = &'a Port>, at: Instant) {
        for port in ports {
            let Some(row) = self.rows.get_mut(port) else {
                continue;
            };
            let repaired = row.repaired.map(|at| at + REPAIR_EVERY);
            let at = repaired.map_or(at, |again| again.max(at));
            if row.doubted.is_some_and(|before| before <= at) {
                continue;
            }
            if let Some(before) = row.doubted.replace(at) {
                self.doubts.remove(&(before, port.clone()));
            }
            self.doubts.insert((at, port.clone()));
        }
    }

    /// The row with this key has changed.
    pub(in super::super) fn doubt_key(&mut self, key: &str, at: Instant) {
        let prefix = rows::key_prefix(&self.settings);
        let name = key.strip_prefix(&*prefix);
        if let Some(port) = name.and_then(|name| Port::new(name).ok()) {
            self.doubt([&port], at);
        }
    }

    /// Any row may have changed.
    pub(in super::super) fn doubt_all(&mut self, at: Instant) {
        let ports: Vec<Port> = self.rows.keys().cloned().collect();
        self.doubt(&ports, at);
    }

    /// Checks the next `count` rows in turn.
    pub(in super::super) fn doubt_some(&mut self, count: usize, at: Instant) {
        let after = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.rows.range((after, Bound::Unbounded));
        // From the beginning again after the last row.
        let ports = rest.chain(self.rows.iter()).map(|(port, _)| port);
        let ports: Vec<Port> = ports.take(count.min(self.rows.len())).cloned().collect();
        self.turn = ports.last().cloned();
        self.doubt(&ports, at);
    }

    /// When the next row is checked.
    pub(in super::super) fn next_doubt(&self) -> Option<Instant> {
        self.doubts.first().map(|(at, _)| *at)
    }

    /// Reads the rows that are due. `None`: none is. Rows that wait to be written are not read: they will be right then.
    pub(in super::super) fn check_batch(&mut self, now: Instant) -> Option<Batch> {
        let mut batch = Batch::new(BatchKind::Check);
        while batch.ports.len() < SMALL
            && self.next_doubt().is_some_and(|at| at <= now)
            && let Some((_, port)) = self.doubts.pop_first()
        {
            let key = self.key(&port);
            let Some(row) = self.rows.get_mut(&port) else {
                continue;
            };
            row.doubted = None;
            if let Some(fields) = row.fields(&self.settings, "") {
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                let mut read = redis::cmd("HMGET");
                read.arg(key).arg(names);
                batch.add(port, [read]);
            }
        }
        (!batch.ports.is_empty()).then_some(batch)
    }

    pub(super) fn settle_check(&mut self, port: Port, found: Reply, now: Instant, outcome: &mut Outcome) {
        let Some(row) = self.rows.get_mut(&port) else {
            return;
        };
        let found = match found {
            Ok(found) => Vec::<Option<Vec<u8>>>::from_redis_value(found).unwrap_or_default(),
            Err(error) if error.code() == Some("WRONGTYPE") => {
                // Reported each time it is seen, but counted once.
                if row.expected.take().is_some() {
                    outcome.foreign.push(port.clone());
                }
                outcome.wrong_type = Some(port);
                return;
            }
            // Without the right to read, we cannot see another writer. The rows are still right.
            Err(error) if error.code() == Some("NOPERM") => return,
            Err(error) => {
                outcome.failure = Some(error);
                return;
            }
        };
        let expected = row.expected.clone();
        let ours = String::from_utf8_lossy(expected.as_deref().unwrap_or_default());
        // It has been queued since it was read: it will be written.
        let Some(fields) = row.fields(&self.settings, &ours) else {
            return;
        };
        let pairs = || fields.iter().zip(found.iter().map(Option::as_deref));
        let same = |((_, ours), found): (&(_, Cow<'_, str>), Option<&[u8]>)| found == Some(ours.as_bytes());
        if expected.is_some() && fields.len() == found.len() && pairs().all(same) {
            return;
        }
        // A missing field does not count as a write of another process.
        let theirs = |((_, ours), found): (&(_, Cow<'_, str>), Option<&[u8]>)| {
            found.is_some_and(|found| found != ours.as_bytes())
        };
        if expected.is_some() && pairs().any(theirs) {
            outcome.foreign.push(port.clone());
        }
        let gone = found.iter().all(Option::is_none);
        if expected.is_some() && gone {
            outcome.gone = Some(port.clone());
        }
        // It is counted now, and not again when it is written.
        row.expected = found.into_iter().next_back().flatten();
        row.repaired = Some(now);
        self.enqueue(port);
        if gone {
            // Perhaps all rows are gone: FLUSHDB sends no notification.
            self.doubt_all(now);
        }
    }
}

impl LedgerRow {
    /// What it contains in Redis if it is as we left it. `None`: it is held or queued, or we have never written it.
    fn fields(
        &self,
        settings: &StateDbSettings,
        time_post: &str,
    ) -> Option<Vec<(&'static str, Cow<'static, str>)>> {
        let status = self
            .status
            .as_ref()
            .filter(|_| !self.queued && self.held.is_none())?;
        let base = self.base?.plus(self.carried);
        let fields = rows::fields(status, settings.schema, base, time_post);
        let owned = fields
            .into_iter()
            .map(|(name, value)| (name, value.into_owned().into()));
        Some(owned.collect())
    }
}
