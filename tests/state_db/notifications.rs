//! The publisher of notices: the content of APPL_DB, that nothing else is touched, and every way in which Redis can be away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dualtor_exporter::config::Database;
use dualtor_exporter::fleet::mailbox;
use dualtor_exporter::model::{Notice, NoticeType, Plane};
use dualtor_exporter::sonic::appl_db::Notifications;
use tokio::task::JoinHandle;

use crate::redis_server::{Redis, eventually};
use crate::rig::*;

/// A running publisher.
struct Publisher {
    sender: mailbox::Sender<Notice>,
    task: JoinHandle<()>,
}

impl Publisher {
    fn new(redis: &Redis) -> Self {
        let database = Database {
            server: redis.server(),
            id: 0,
            separator: ":".to_owned(),
        };
        let (sender, receiver) = mailbox::mailbox();
        let task = tokio::spawn(Notifications::new(database, receiver).run());
        Self { sender, task }
    }

    fn send(&self, name: &str, guid: &str) {
        self.sender.send(port(name), begin(guid));
    }

    /// Closes the mailbox and waits for the end; returns how long that took.
    async fn stop(self) -> Duration {
        let began = Instant::now();
        drop(self.sender);
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("an end").expect("no panic");
        began.elapsed()
    }
}

fn begin(guid: &str) -> Notice {
    Notice {
        kind: NoticeType::Begin,
        plane: Plane::Data,
        guid: guid.into(),
        period: 60,
    }
}

fn said(guid: &str) -> BTreeMap<String, String> {
    map(&[
        ("notify_type", "data"),
        ("msg_type", "begin"),
        ("guid", guid),
        ("service_time", "60"),
    ])
}

/// Waits until the last notice of `name` is the one with this guid.
async fn published(redis: &Redis, name: &str, guid: &str, limit: Duration) {
    eventually(guid, limit, || redis.notice(name) == said(guid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_has_the_documents_four_fields_and_nothing_else_is_touched() {
    let redis = Redis::start().await;
    let _: u64 = redis.ask_db(0, "HSET MUX_SERVICE_NOTIFICATION:Ethernet0 theirs 1");
    let _: u64 = redis.ask_db(0, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    let publisher = Publisher::new(&redis);
    publisher.send("Ethernet0", "a b");
    publisher.send("Ethernet4", "");
    published(&redis, "Ethernet4", "", LONG).await;
    let mut expected = said("a b");
    expected.insert("theirs".to_owned(), "1".to_owned());
    assert_eq!(redis.notice("Ethernet0"), expected, "a plain HSET");
    publisher.send("Ethernet4", "later");
    published(&redis, "Ethernet4", "later", LONG).await;
    publisher.stop().await;
    let mut keys: Vec<String> = redis.ask_db(0, "KEYS *");
    keys.sort();
    let expected = [
        "MUX_CABLE_TABLE:Ethernet0",
        "MUX_SERVICE_NOTIFICATION:Ethernet0",
        "MUX_SERVICE_NOTIFICATION:Ethernet4",
    ];
    assert_eq!(keys, expected);
    let keyspace: String = redis.ask("INFO keyspace");
    assert_eq!(keyspace.lines().filter(|line| line.starts_with("db")).count(), 1);
    assert_eq!(redis.calls("del"), 0, "nothing is ever deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notices_nothing_is_written() {
    let redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    eventually("a connection", LONG, || redis.calls("select") > 0).await;
    publisher.stop().await;
    assert_eq!(redis.calls("hset"), 0);
    let keys: Vec<String> = redis.ask_db(0, "KEYS *");
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_redis_is_away_is_written_when_it_is_back_and_what_was_written_is_not() {
    let mut redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    for name in ["Ethernet0", "Ethernet4"] {
        publisher.send(name, "first");
        published(&redis, name, "first", LONG).await;
    }
    for absence in [Duration::ZERO, Duration::from_millis(700)] {
        redis.kill();
        for _ in 0..1000 {
            publisher.send("Ethernet0", "old");
        }
        tokio::time::sleep(absence).await;
        publisher.send("Ethernet0", "new");
        redis.launch(&[]).await;
        published(&redis, "Ethernet0", "new", RECOVERY).await;
        // Redis came back empty. Confirmed notices are not written again.
        assert!(redis.notice("Ethernet4").is_empty());
        assert!(redis.calls("hset") <= 2, "the latest of each port");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_at_start_gets_the_latest_notice_of_each_port() {
    let mut redis = Redis::away();
    let publisher = Publisher::new(&redis);
    let names = names(1000);
    for guid in ["1", "2", "3"] {
        for name in &names {
            publisher.send(name, guid);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    redis.launch(&[]).await;
    eventually("all", RECOVERY, || redis.calls("hset") == 1000).await;
    for name in names.iter().step_by(100) {
        assert_eq!(redis.notice(name), said("3"), "{name}");
    }
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_redis_carries_out_late_undoes_nothing_newer() {
    let redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    let names = names(200);
    for name in &names {
        publisher.send(name, "1");
    }
    eventually("all", LONG, || redis.notice(&names[199]) == said("1")).await;
    redis.freeze();
    for name in &names {
        publisher.send(name, "2");
    }
    // After the moment when it closes the connection.
    tokio::time::sleep(NOTICED).await;
    for name in &names {
        publisher.send(name, "3");
    }
    redis.thaw();
    let all = || names.iter().all(|name| redis.notice(name) == said("3"));
    eventually("all", RECOVERY, all).await;
    eventually("only ours and this test's connections", LONG, || {
        let clients: String = redis.ask("CLIENT LIST");
        clients.lines().count() == 2
    })
    .await;
    assert!(all());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_has_not_confirmed_when_it_dies_is_written_to_the_next() {
    let mut redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    publisher.send("Ethernet0", "1");
    published(&redis, "Ethernet0", "1", LONG).await;
    redis.freeze();
    for name in names(200) {
        publisher.send(&name, "2");
    }
    // Everything has been sent, or waits.
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.kill();
    redis.launch(&[]).await;
    for name in names(200) {
        published(&redis, &name, "2", RECOVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_gets_what_it_refused_when_it_takes_it() {
    let redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    publisher.send("Ethernet0", "1");
    published(&redis, "Ethernet0", "1", LONG).await;
    let _: String = redis.ask("ACL SETUSER default -hset");
    for name in names(10) {
        publisher.send(&name, "2");
    }
    eventually("refusals", LONG, || {
        let stats: String = redis.ask("INFO errorstats");
        let count = stats
            .split_once("errorstat_NOPERM:count=")
            .map(|(_, rest)| rest.trim());
        count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count >= 20))
    })
    .await;
    let _: String = redis.ask("ACL SETUSER default +hset");
    for name in names(10) {
        published(&redis, &name, "2", RECOVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_hash_costs_its_own_notices_and_no_others() {
    let redis = Redis::start().await;
    let _: String = redis.ask_db(0, "SET MUX_SERVICE_NOTIFICATION:Ethernet0 7");
    let publisher = Publisher::new(&redis);
    publisher.send("Ethernet0", "1");
    publisher.send("Ethernet4", "1");
    published(&redis, "Ethernet4", "1", LONG).await;
    publisher.send("Ethernet4", "2");
    published(&redis, "Ethernet4", "2", LONG).await;
    let _: u64 = redis.ask_db(0, "DEL MUX_SERVICE_NOTIFICATION:Ethernet0");
    publisher.send("Ethernet0", "2");
    published(&redis, "Ethernet0", "2", LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_writes_what_is_left_and_waits_for_nobody() {
    let redis = Redis::start().await;
    let publisher = Publisher::new(&redis);
    publisher.send("Ethernet0", "last");
    publisher.stop().await;
    assert_eq!(redis.notice("Ethernet0"), said("last"));
    // It does not wait for a missing Redis either.
    let publisher = Publisher::new(&Redis::away());
    publisher.send("Ethernet0", "lost");
    let took = publisher.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}
