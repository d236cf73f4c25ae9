//! The copy of one database during one connection: how it is made, kept and shown.

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::plan::Plan;
use super::{Mirrored, Ports, reading};
use crate::model::{Port, Rows, Spec, Tables};
use crate::sonic::redis_link::driver::Connected;
use crate::sonic::redis_link::{Changed, RedisFailure};

/// What is known of the database, and what is read again when.
#[derive(Debug)]
pub(super) struct LiveCopy {
    spec: Spec,
    tables: Tables,
    out: watch::Sender<Mirrored>,
    /// For `Rows::OfPorts`.
    pub(super) ports: watch::Receiver<Ports>,
    pub(super) plan: Plan,
}

impl LiveCopy {
    /// Reads everything for the first time, and shows it.
    pub(super) async fn read_first(
        redis: &mut Connected<'_>,
        (spec, separator): (&Spec, &str),
        mut ports: watch::Receiver<Ports>,
        interval: Duration,
        out: watch::Sender<Mirrored>,
    ) -> Result<Self, RedisFailure> {
        let began = Instant::now().into_std();
        let of_ports = ports.borrow_and_update().clone();
        let (tables, took) =
            reading::read_all(&mut redis.link, spec, &of_ports, &Tables::new(separator)).await?;
        let copy = Self {
            plan: Plan::new(spec.rows, interval, (began, took), Instant::now().into_std()),
            spec: spec.clone(),
            tables,
            out,
            ports,
        };
        copy.show();
        Ok(copy)
    }

    /// Reads everything again.
    pub(super) async fn search(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        let ports = self.ports.borrow_and_update().clone();
        let began = Instant::now().into_std();
        let (tables, took) = reading::read_all(&mut redis.link, &self.spec, &ports, &self.tables).await?;
        self.tables = tables;
        self.plan.searched(began, took);
        self.show();
        Ok(())
    }

    /// Reads all known keys again, and those that may exist.
    pub(super) async fn read_known(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        let keys = match self.spec.rows {
            Rows::All => self.tables.keys().map(str::to_owned).collect(),
            Rows::OfPorts => reading::of_ports(&self.spec, &self.ports(), self.tables.separator()).keys,
        };
        self.read(redis, keys).await
    }

    /// Reads what has changed.
    pub(super) async fn catch_up(
        &mut self,
        redis: &mut Connected<'_>,
        changed: Changed,
    ) -> Result<(), RedisFailure> {
        if changed.more {
            self.plan.want_search();
        }
        if self.spec.values.iter().any(|&key| changed.keys.contains(key)) {
            self.plan.tear();
        }
        let ports = self.ports();
        let new = changed.keys.iter().filter(|key| !self.tables.has(key)).count();
        let is_too_much = self.tables.keys().count() + new > Tables::MOST_ROWS;
        let mut keys = Vec::with_capacity(changed.keys.len());
        for key in changed.keys {
            match self.spec.rows {
                Rows::OfPorts if !self.is_of_port(&key, &ports) => {}
                Rows::All if reading::table_of(&self.spec, self.tables.separator(), &key).is_none() => {}
                // If there are too many rows, the search decides which are kept.
                Rows::All if is_too_much && !self.tables.has(&key) => self.plan.want_search(),
                Rows::OfPorts | Rows::All => keys.push(key),
            }
        }
        self.read(redis, keys).await
    }

    /// Whether it is the key of one of these ports' rows.
    fn is_of_port(&self, key: &str, ports: &Ports) -> bool {
        let separator = self.tables.separator();
        let table = reading::table_of(&self.spec, separator, key);
        let port = table.and_then(|table| key.get(table.name.len() + separator.len()..));
        port.is_some_and(|port| Port::new(port).is_ok_and(|port| ports.contains(&port)))
    }

    /// Reads these keys and the values. If a value has changed, everything is read again. Such a value shows whether the
    /// database is complete (`CONFIG_DB_INITIALIZED`). Around its change, for example a flush and a load, no event is sent for
    /// the rows that are gone, and a copy with some rows from before and some from after would be wrong.
    async fn read(&mut self, redis: &mut Connected<'_>, mut keys: Vec<String>) -> Result<(), RedisFailure> {
        let before = self.values();
        keys.retain(|key| !self.spec.values.contains(&key.as_str()));
        keys.extend(self.spec.values.iter().map(|&key| key.to_owned()));
        reading::read_keys(&mut redis.link, &self.spec, &keys, &mut self.tables).await?;
        if self.values() != before {
            self.plan.tear();
        }
        match self.plan.search_at() {
            // Searching the database of a switch takes a millisecond: it is done at once.
            Some(at) if at <= Instant::now().into_std() => self.search(redis).await,
            _ => {
                self.show();
                Ok(())
            }
        }
    }

    fn values(&self) -> Vec<Option<String>> {
        let found = self.spec.values.iter().map(|key| self.tables.value(key));
        found.map(|value| value.map(str::to_owned)).collect()
    }

    /// FLUSHDB, and a Redis that loads another file, send no event. A value shows it, or one row if there is no value.
    pub(super) async fn look_for_flush(&mut self, redis: &mut Connected<'_>) -> Result<(), RedisFailure> {
        if !self.spec.values.is_empty() {
            return self.read(redis, Vec::new()).await;
        }
        let Some(one) = self.tables.keys().next().map(str::to_owned) else {
            return Ok(());
        };
        self.read(redis, vec![one.clone()]).await?;
        if !self.tables.has(&one) {
            self.read_known(redis).await?;
        }
        Ok(())
    }

    fn ports(&self) -> Ports {
        self.ports.borrow().clone()
    }

    fn show(&self) {
        if !self.plan.is_whole() {
            return;
        }
        self.out.send_if_modified(|mirrored| {
            let same = mirrored.tables().is_some_and(|before| **before == self.tables);
            if !same {
                *mirrored = Mirrored::Up(self.tables.clone().into());
            }
            !same
        });
    }
}
