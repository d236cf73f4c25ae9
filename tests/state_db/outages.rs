//! Every way in which Redis can be away. Every row must be correct again within 2 s of its return.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dualtor_exporter::config::RedisServer;

use crate::redis_server::{Redis, eventually};
use crate::rig::*;

// `up` means that every row is written and confirmed, and reading it costs nothing. So the tests wait for `up` and then read the rows
// once: reading a thousand rows repeatedly would take the CPU from the publisher.

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_emptied_redis_has_all_rows_again_within_two_seconds() {
    let mut redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(1000);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.up(LONG).await;
    eventually("all", LONG, || all_right(&redis, &names, 1)).await;
    for absence in [Duration::ZERO, Duration::from_millis(700)] {
        let before = rig.status();
        redis.kill();
        rig.down(Duration::from_millis(500)).await;
        tokio::time::sleep(absence).await;
        redis.launch(&[]).await;
        rig.up(RECOVERY).await;
        assert!(all_right(&redis, &names, 1));
        let after = rig.status();
        assert_eq!(after.writes_ok, before.writes_ok + 1000, "each row once");
        assert_eq!(after.foreign_writes, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_at_start_has_all_rows_within_two_seconds_of_its_coming() {
    let mut redis = Redis::away();
    let rig = Rig::new(&settings(&redis));
    let names = names(1000);
    for rounds in 1..=3 {
        for name in &names {
            rig.put(ready(name, rounds));
        }
        rig.down(LONG).await;
    }
    redis.launch(&[]).await;
    rig.up(RECOVERY).await;
    assert!(all_right(&redis, &names, 3));
    assert_eq!(rig.status().writes_ok, 1000, "the latest status only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_is_noticed_while_idle_and_is_right_again_when_it_wakes() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(100);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.up(LONG).await;
    redis.freeze();
    rig.down(NOTICED).await;
    for name in &names {
        rig.put(ready(name, 2));
    }
    redis.thaw();
    eventually("all", RECOVERY, || all_right(&redis, &names, 2)).await;
    rig.up(RECOVERY).await;
    assert_eq!(rig.status().foreign_writes, 0);
}

// One thread, so that the publisher finds all changes at once and sends as much as possible before Redis blocks it.
#[tokio::test]
async fn what_a_frozen_redis_carries_out_late_undoes_nothing_newer() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(1000);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.up(LONG).await;
    for rounds in [2, 4] {
        redis.freeze();
        for name in &names {
            rig.put(ready(name, rounds));
        }
        rig.down(NOTICED).await;
        for name in &names {
            rig.put(ready(name, rounds + 1));
        }
        redis.thaw();
        rig.up(RECOVERY).await;
        assert!(all_right(&redis, &names, rounds + 1));
        // Redis has processed the abandoned connections completely: rows that are correct now stay correct.
        eventually("only ours and this test's connections", LONG, || {
            let clients: String = redis.ask("CLIENT LIST TYPE normal");
            clients.lines().count() == 2
        })
        .await;
        assert!(all_right(&redis, &names, rounds + 1));
        assert_eq!(rig.status().foreign_writes, 0);
    }
}

/// The property of Redis that the size of a batch depends on. (With 32 KiB the last row was late every time.)
#[tokio::test(flavor = "multi_thread")]
async fn redis_has_done_sixteen_kib_of_a_dead_connection_before_it_answers_the_next() {
    let redis = Redis::start().await;
    let path = redis.socket();
    let mut batch = Vec::new();
    let mut last = String::new();
    for row in 0.. {
        let name = format!("row{row}");
        let mut write = redis::cmd("HSET");
        let write = write.arg(&name).arg("field").arg("x".repeat(800));
        let write = write.get_packed_command();
        if batch.len() + write.len() > 16 * 1024 {
            break;
        }
        batch.extend(write);
        last = name;
    }
    for _ in 0..10 {
        let _: String = redis.ask("FLUSHALL");
        let mut dying = UnixStream::connect(&path).expect("a connection");
        dying.write_all(b"PING\r\n").expect("sent");
        dying.read_exact(&mut [0; 7]).expect("PONG");
        redis.freeze();
        dying.write_all(&batch).expect("sent");
        drop(dying);
        let mut next = UnixStream::connect(&path).expect("a connection");
        next.write_all(b"PING\r\n").expect("sent");
        redis.thaw();
        next.read_exact(&mut [0; 7]).expect("PONG");
        next.write_all(format!("EXISTS {last}\r\n").as_bytes())
            .expect("sent");
        let mut exists = [0; 4];
        next.read_exact(&mut exists).expect("an answer");
        assert_eq!(&exists, b":1\r\n");
    }
}

/// Makes Redis refuse our writes, then heals it.
async fn check_refusal(refuse: &str, heal: &str) {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(100);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.up(LONG).await;
    // All earlier writes have been answered: from here on, only new ones are counted.
    eventually("all rows are written", LONG, || rig.status().writes_ok >= 100).await;
    let _: redis::Value = redis.ask(refuse);
    let before = rig.status();
    for name in &names {
        rig.put(ready(name, 2));
    }
    rig.down(NOTICED).await;
    let three_more = before.writes_error + 3;
    eventually("retries", LONG, || rig.status().writes_error >= three_more).await;
    assert!(!rig.status().up, "{refuse}");
    assert_eq!(rig.status().writes_ok, before.writes_ok, "{refuse}");
    let _: redis::Value = redis.ask(heal);
    eventually(heal, RECOVERY, || all_right(&redis, &names, 2)).await;
    rig.up(RECOVERY).await;
    assert_eq!(rig.status().foreign_writes, 0, "{refuse}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_writes_is_down_until_it_takes_them() {
    tokio::join!(
        check_refusal("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        check_refusal("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        check_refusal("ACL SETUSER default -hset", "ACL SETUSER default +hset"),
        check_refusal(
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_answers_pings_but_holds_writes_back_is_down() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(100);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.up(LONG).await;
    let _: String = redis.ask("CLIENT PAUSE 60000 WRITE");
    for name in &names {
        rig.put(ready(name, 2));
    }
    rig.down(NOTICED).await;
    let first = rig.status().writes_error;
    eventually("another attempt", LONG, || rig.status().writes_error > first).await;
    assert!(!rig.status().up);
    let _: String = redis.ask("CLIENT UNPAUSE");
    eventually("all", RECOVERY, || all_right(&redis, &names, 2)).await;
    rig.up(RECOVERY).await;
    assert_eq!(rig.status().foreign_writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loading_redis_is_down_until_it_has_loaded() {
    let mut redis = Redis::start().await;
    let _: String = redis.ask("DEBUG POPULATE 1000 filler 200");
    let _: String = redis.ask("SAVE");
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 1));
    rig.up(LONG).await;
    let no_ports = Rig::new(&settings(&redis));
    no_ports.up(LONG).await;
    redis.kill();
    rig.down(LONG).await;
    no_ports.down(LONG).await;
    redis
        .launch(&[
            "--key-load-delay",
            "3000",
            "--loading-process-events-interval-bytes",
            "1024",
        ])
        .await;
    let loading = |redis: &Redis| {
        let info: String = redis.ask("INFO persistence");
        info.contains("loading:1")
    };
    assert!(loading(&redis), "loads too fast to be seen");
    rig.put(ready("Ethernet0", 2));
    let mut looks = 0;
    eventually("loaded", LONG, || {
        looks += 1;
        let up = rig.status().up || no_ports.status().up;
        let loading = loading(&redis);
        assert!(!(up && loading), "up while it loads");
        !loading
    })
    .await;
    assert!(looks > 10);
    eventually("the row", RECOVERY, || count(&redis, "Ethernet0") == Some(2)).await;
    rig.up(RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_redis_is_never_up() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let server = RedisServer::tcp("127.0.0.1", listener.local_addr().expect("an address").port());
    let rig = Rig::new(&settings_at(server));
    rig.put(ready("Ethernet0", 1));
    let answers = [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b":1\r\n:2\r\n:3\r\n",
        b"+OK\r\n",
        b"\0\xff*9999999\r\n",
        b"",
    ];
    for answer in answers {
        let (mut stream, _) = tokio::time::timeout(LONG, listener.accept())
            .await
            .expect("another attempt")
            .expect("a connection");
        stream.write_all(answer).await.expect("written");
        drop(stream);
        assert!(!rig.status().up);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_busier_than_the_database_does_not_keep_it_from_being_up() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(1000);
    let busy = async {
        // Changes arrive faster than rows are written, so one is always waiting.
        for rounds in 1.. {
            for name in &names {
                rig.put(ready(name, rounds));
            }
            tokio::task::yield_now().await;
        }
    };
    let up = async {
        rig.up(LONG).await;
        rig.writes(2000).await;
    };
    tokio::select! {
        () = busy => {}
        () = up => {}
    }
    assert!(rig.status().up);
}
