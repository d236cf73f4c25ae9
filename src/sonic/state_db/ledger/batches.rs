//! What is sent to Redis next: which rows, and how many at once.

use std::time::SystemTime;

use redis::Cmd;

use super::{BATCH_BYTES, Batch, BatchKind, Ledger, LedgerRow, SMALL, wire_size};
use crate::model::Port;
use crate::sonic::rows::{self, Counters};

impl Ledger {
    /// What to send next, with at most `max` rows. `None`: nothing waits.
    pub(in super::super) fn next_batch(&mut self, max: usize, now: SystemTime) -> Option<Batch> {
        let first = self.front()?;
        if first.status.is_none() {
            return Some(self.delete_batch(max));
        }
        if first.base.is_none() {
            return Some(self.bases_batch());
        }
        Some(self.put_batch(max, now))
    }

    /// Takes back a batch that was not answered: its rows wait again.
    pub(in super::super) fn put_back(&mut self, batch: Batch) {
        for port in batch.ports {
            self.enqueue(port);
        }
    }

    pub(super) fn key(&self, port: &Port) -> String {
        rows::row_key(&self.settings, port)
    }

    /// Takes the `wanted` rows at the head of the queue, at most `max`.
    fn take_while(&mut self, max: usize, wanted: fn(&LedgerRow) -> bool) -> Vec<Port> {
        let mut ports = Vec::new();
        while ports.len() < max
            && self.front().is_some_and(wanted)
            && let Some(port) = self.pop()
        {
            ports.push(port);
        }
        ports
    }

    fn bases_batch(&mut self) -> Batch {
        let mut batch = Batch::new(BatchKind::Bases);
        for port in self.take_while(SMALL, |row| row.status.is_some() && row.base.is_none()) {
            let mut read = redis::cmd("HMGET");
            read.arg(self.key(&port)).arg(&Counters::FIELDS);
            batch.add(port, [read]);
        }
        batch
    }

    fn delete_batch(&mut self, max: usize) -> Batch {
        let mut batch = Batch::new(BatchKind::Delete);
        for port in self.take_while(max.min(SMALL), |row| row.status.is_none()) {
            let mut delete = redis::cmd("DEL");
            delete.arg(self.key(&port));
            batch.add(port, [delete]);
        }
        batch
    }

    fn put_batch(&mut self, max: usize, now: SystemTime) -> Batch {
        let time_post = rows::time_post(now);
        let mut commands = Vec::new();
        let mut size = 0;
        for port in self.queue.iter().take(max) {
            let Some(pair) = self.put_commands(port, &time_post) else {
                break;
            };
            size += pair.iter().map(wire_size).sum::<usize>();
            if size > BATCH_BYTES && !commands.is_empty() {
                break;
            }
            commands.push(pair);
        }
        let mut batch = Batch::new(BatchKind::Put { time_post });
        for pair in commands {
            if let Some(port) = self.pop() {
                batch.add(port, pair);
            }
        }
        batch
    }

    /// No MULTI around the two: Redis runs commands that it has read together without a break, and one HSET is a whole row.
    fn put_commands(&self, port: &Port, time_post: &str) -> Option<[Cmd; 2]> {
        let row = self.rows.get(port)?;
        let (status, base) = (row.status.as_ref()?, row.base?);
        let key = self.key(port);
        let mut find = redis::cmd("HGET");
        find.arg(&key).arg(rows::TIME_POST);
        let mut write = redis::cmd("HSET");
        write.arg(&key);
        let base = base.plus(row.carried);
        for (name, value) in rows::fields(status, self.settings.schema, base, time_post) {
            write.arg(name).arg(value.as_ref());
        }
        Some([find, write])
    }
}
