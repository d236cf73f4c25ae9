//! A running publisher, statuses to send to it, and the expected rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dualtor_exporter::config::{Database, Publish, RedisServer, Schema, StateDbSettings};
use dualtor_exporter::fleet::mailbox::{self, Change};
use dualtor_exporter::model::{
    ChannelSettings, ChannelState, Maintenance, MuxDirection, Observed, Port, PortState, Query, QueryResult,
    SelfPeer, Side, SocStatus, StateDbStatus, Target,
};
use dualtor_exporter::sonic::rows::{self, Counters};
use dualtor_exporter::sonic::state_db::{StateDb, StatusSender};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::redis_server::{Redis, eventually};

/// Limit for everything whose speed is not tested.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Every row is correct again within this time after Redis returns.
pub(crate) const RECOVERY: Duration = Duration::from_secs(2);
/// A PING every 2 s, 2 s for the answer, and some time for the scheduler.
pub(crate) const NOTICED: Duration = Duration::from_millis(4500);

/// A running publisher.
pub(crate) struct Rig {
    pub(crate) sender: mailbox::Sender,
    pub(crate) status: StatusSender,
    pub(crate) task: JoinHandle<()>,
}

impl Rig {
    pub(crate) fn new(settings: &StateDbSettings) -> Self {
        Self::with(settings, Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn with(settings: &StateDbSettings, status: StatusSender) -> Self {
        let (sender, receiver) = mailbox::mailbox();
        let publisher = StateDb::new(settings.clone(), receiver, status.clone());
        Self {
            sender,
            status,
            task: tokio::spawn(publisher.run()),
        }
    }

    pub(crate) fn put(&self, status: SocStatus) {
        let port = status.target.id.port.clone();
        self.sender.send(port, Change::Put(Arc::new(status)));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.sender.send(port(name), Change::Remove);
    }

    pub(crate) fn status(&self) -> StateDbStatus {
        self.status.borrow().unwrap_or_default()
    }

    pub(crate) async fn up(&self, limit: Duration) -> Duration {
        eventually("state_db is up", limit, || self.status().up).await
    }

    pub(crate) async fn down(&self, limit: Duration) -> Duration {
        let known_down = || (*self.status.borrow()).is_some_and(|status| !status.up);
        eventually("state_db is down", limit, known_down).await
    }

    pub(crate) async fn writes(&self, count: u64) {
        eventually("rows are written", LONG, || self.status().writes_ok >= count).await;
    }

    /// Closes the mailbox and waits for the end; returns how long that took.
    pub(crate) async fn stop(self) -> Duration {
        let began = Instant::now();
        drop(self.sender);
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("an end").expect("no panic");
        began.elapsed()
    }
}

pub(crate) fn settings(redis: &Redis) -> StateDbSettings {
    settings_at(redis.server())
}

pub(crate) fn settings_at(server: RedisServer) -> StateDbSettings {
    StateDbSettings {
        database: Database {
            server,
            id: 6,
            separator: "|".to_owned(),
        },
        publish: Publish::Own,
        schema: Schema::Sonic,
    }
}

pub(crate) fn port(name: &str) -> Port {
    Port::new(name).expect("a port name")
}

pub(crate) fn key(name: &str) -> String {
    format!("MUX_CABLE_INFO|{name}")
}

/// A port that has not been dialled.
pub(crate) fn idle(name: &str) -> SocStatus {
    SocStatus::new(Target {
        namespace: "".into(),
        id: port(name).into(),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    })
}

/// A healthy SoC after this many rounds.
pub(crate) fn ready(name: &str, rounds: u64) -> SocStatus {
    let mut status = idle(name);
    status.channel.state = ChannelState::Ready;
    status.maintenance = Maintenance::Noop;
    status.observed.direction = SelfPeer {
        own: MuxDirection::Active,
        peer: MuxDirection::Standby,
    };
    status.observed.oper = SelfPeer {
        own: PortState::Up,
        peer: PortState::Down,
    };
    status.observed.link = SelfPeer {
        own: PortState::Up,
        peer: PortState::Up,
    };
    status.observed.version = Some("1.0 x".into());
    for query in [Query::Admin, Query::Operation, Query::Link] {
        status.probes[query.index()][QueryResult::Ok.index()] = rounds;
    }
    status
}

/// The same SoC after its session was stopped.
pub(crate) fn shut(name: &str, rounds: u64) -> SocStatus {
    let mut status = ready(name, rounds);
    status.channel.state = ChannelState::Shutdown;
    status.observed = Observed::UNKNOWN;
    status
}

pub(crate) fn count(redis: &Redis, name: &str) -> Option<u64> {
    let row = redis.row(&key(name));
    let count = row.get("mux_direction_probe_count")?;
    count.parse().ok()
}

pub(crate) fn map(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(owned).collect()
}

/// Checks the form of `time_post` and removes it from the row.
pub(crate) fn without_time(mut row: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let time = row.remove("time_post").expect("time_post");
    let parsed = chrono::NaiveDateTime::parse_from_str(&time, "%Y-%b-%d %H:%M:%S%.f");
    let age = SystemTime::now().duration_since(parsed.expect(&time).and_utc().into());
    assert!(age.expect("in the past") < LONG, "{time}");
    assert_eq!(time.len(), "2026-Nov-21 00:06:31.406616".len());
    row
}

/// `count` ports of a rack.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("Ethernet{}", i * 4)).collect()
}

/// Whether each of these ports' rows is exactly that of `ready(name, rounds)`.
pub(crate) fn all_right(redis: &Redis, names: &[String], rounds: u64) -> bool {
    let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
    let found = redis.rows(&keys);
    names.iter().zip(found).all(|(name, mut row)| {
        let status = ready(name, rounds);
        row.remove(rows::TIME_POST);
        let expected = rows::fields(&status, Schema::Sonic, Counters::default(), "");
        let said = |(field, value): &(&str, Cow<'_, str>)| {
            *field == rows::TIME_POST || row.get(*field).is_some_and(|found| found == value)
        };
        row.len() + 1 == expected.len() && expected.iter().all(said)
    })
}
