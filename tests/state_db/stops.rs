//! A stop that comes while a publisher waits before its next attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dualtor_exporter::config::{Database, RedisServer};
use dualtor_exporter::fleet::mailbox;
use dualtor_exporter::model::{Notice, NoticeType, Plane};
use dualtor_exporter::sonic::appl_db::Notifications;

use crate::fake_redis::{FakeRedis, FakeReply};
use crate::redis_server::eventually;
use crate::rig::*;

/// A server that violates the protocol five times, so that the next attempt is eight seconds away. After that it works normally
/// and counts the rows that are written to it.
async fn broken_five_times(start: impl FnOnce(RedisServer)) -> (Arc<AtomicU64>, FakeRedis) {
    let (pings, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = pings.clone();
    let fake = FakeRedis::start(Box::new(move |command| match command[0].as_str() {
        "PING" => {
            count.fetch_add(1, Ordering::Relaxed);
            Some(FakeReply::Say(b"no Redis says this\r\n".to_vec()))
        }
        _ => None,
    }));
    start(RedisServer::tcp("127.0.0.1", fake.port));
    eventually("five attempts", LONG, || pings.load(Ordering::Relaxed) >= 5).await;
    let count = written.clone();
    fake.says(Box::new(move |command| {
        count.fetch_add(u64::from(command[0] == "HSET"), Ordering::Relaxed);
        None
    }));
    (written, fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_pause_of_the_publisher_of_notices_and_what_waits_is_written() {
    let (sender, receiver) = mailbox::mailbox();
    let mut task = None;
    let (written, _fake) = broken_five_times(|server| {
        let database = Database {
            server,
            id: 0,
            separator: ":".to_owned(),
        };
        task = Some(tokio::spawn(Notifications::new(database, receiver).run()));
    })
    .await;
    let notice = Notice {
        kind: NoticeType::Begin,
        plane: Plane::Data,
        guid: "a".into(),
        period: 60,
    };
    sender.send(port("Ethernet0"), notice);
    let began = Instant::now();
    drop(sender);
    let ended = tokio::time::timeout(LONG, task.expect("started")).await;
    ended.expect("an end").expect("no panic");
    assert_eq!(written.load(Ordering::Relaxed), 1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_pause_of_the_publisher_of_rows_and_what_waits_is_written() {
    let mut rig = None;
    let (written, _fake) = broken_five_times(|server| {
        rig = Some(Rig::new(&settings_at(server)));
    })
    .await;
    let rig = rig.expect("started");
    rig.put(shut("Ethernet0", 1));
    let took = rig.stop().await;
    assert_eq!(written.load(Ordering::Relaxed), 1);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_where_each_attempt_fails_at_once() {
    let rig = Rig::new(&settings_at(RedisServer::unix("/nowhere/redis.sock")));
    rig.put(shut("Ethernet0", 1));
    // Between two attempts.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let took = rig.stop().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
}
