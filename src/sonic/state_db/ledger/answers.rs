//! What Redis has answered, and what that means for the rows.

use std::time::Instant;

use redis::{FromRedisValue, RedisError, Value};

use super::{Batch, BatchKind, Ledger, LedgerRow, Outcome, Reply};
use crate::model::Port;
use crate::sonic::rows::Counters;

impl Ledger {
    /// Reads the answers to `batch`.
    pub(in super::super) fn settle(&mut self, batch: Batch, replies: Vec<Reply>, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
        let mut based = Vec::new();
        for port in batch.ports {
            match &batch.kind {
                BatchKind::Bases => match next() {
                    Ok(values) => based.push((port, values)),
                    Err(error) => self.refused_base(port, error, &mut outcome),
                },
                BatchKind::Check => self.settle_check(port, next(), now, &mut outcome),
                BatchKind::Put { time_post } => {
                    let (found, written) = (next(), next());
                    self.settle_put(port, time_post, found, written, &mut outcome);
                }
                BatchKind::Delete => match next() {
                    Ok(_) => {
                        outcome.ok += 1;
                        self.deleted(&port);
                    }
                    Err(error) => self.refused(port, error, &mut outcome),
                },
            }
        }
        // From the back, so that they keep their order at the head of the queue.
        for (port, values) in based.into_iter().rev() {
            self.settle_base(port, values);
        }
        outcome
    }

    /// Forgets a row that is deleted, unless the port has come back since then.
    fn deleted(&mut self, port: &Port) {
        let gone = |row: &LedgerRow| row.status.is_none() && !row.queued;
        if self.rows.get(port).is_some_and(gone) {
            self.rows.remove(port);
        }
    }

    fn settle_base(&mut self, port: Port, values: Value) {
        let Some(row) = self.rows.get_mut(&port) else {
            return;
        };
        let values = Vec::<Option<Vec<u8>>>::from_redis_value(values).unwrap_or_default();
        row.base = Some(Counters::from_row(&values));
        if !row.queued {
            row.queued = true;
            self.queue.push_front(port);
        }
    }

    fn settle_put(
        &mut self,
        port: Port,
        time_post: &str,
        found: Reply,
        written: Reply,
        outcome: &mut Outcome,
    ) {
        if let Some(row) = self.rows.get_mut(&port) {
            if let Ok(Value::BulkString(found)) = &found {
                if row.expected.as_ref().is_some_and(|ours| ours != found) {
                    outcome.foreign.push(port.clone());
                }
                // It is counted once, even if our own write is refused now.
                row.expected = Some(found.clone());
            }
            if written.is_ok() {
                row.expected = Some(time_post.into());
            }
        }
        match (written, found) {
            (Err(error), _) => self.refused(port, error, outcome),
            (Ok(_), found) => {
                outcome.ok += 1;
                // Without the right to read, we cannot see another writer. The row is still right.
                let failure = found.err().filter(|error| error.code() != Some("NOPERM"));
                outcome.failure = outcome.failure.take().or(failure);
            }
        }
    }

    /// A key that is not a hash has no counters.
    fn refused_base(&mut self, port: Port, error: RedisError, outcome: &mut Outcome) {
        if error.code() == Some("WRONGTYPE")
            && let Some(row) = self.rows.get_mut(&port)
        {
            row.base = Some(Counters::default());
        }
        self.refused(port, error, outcome);
    }

    fn refused(&mut self, port: Port, error: RedisError, outcome: &mut Outcome) {
        outcome.refused += 1;
        if error.code() == Some("WRONGTYPE") {
            outcome.wrong_type = Some(port);
        } else {
            outcome.failure = Some(error);
            self.enqueue(port);
        }
    }
}
