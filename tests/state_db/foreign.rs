//! Other processes that write or delete our rows: ycabled at its start and at each inserted cable, people, a flush. The rows are
//! corrected at once, but without an endless fight.

use std::time::{Duration, Instant};

use redis::Value;

use crate::redis_server::{Redis, eventually};
use crate::rig::{LONG, Rig, all_right, key, names, ready, settings};

/// SONiC's setting of keyspace notifications; Redis' default is none.
const TELLS: [&str; 2] = ["--notify-keyspace-events", "AKE"];
/// The promised time with keyspace notifications. Measured: 0.1 s.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Without notifications, and after a flush: rows are checked twice a second.
const SOON: Duration = Duration::from_secs(5);

/// What ycabled writes for a port at its start: values of active-standby cables, all unknown.
const YCABLED: &str = "self_mux_direction unknown peer_mux_direction unknown mux_direction unknown \
    link_status_self unknown link_status_peer down server_version N/A grpc_connection_status N/A \
    time_post 2026-Nov-21_00:06:31.406616";

/// A publisher whose three rows are written.
async fn three_rows(redis: &Redis) -> Rig {
    let rig = Rig::new(&settings(redis));
    for name in names(3) {
        rig.put(ready(&name, 1));
    }
    eventually("the rows", LONG, || all_right(redis, &names(3), 1)).await;
    rig.up(LONG).await;
    rig
}

/// Whether all rows are correct, ignoring fields that others have added.
fn ours_again(redis: &Redis) -> bool {
    let ours = |name: &String| {
        let row = redis.row(&key(name));
        let says = |field: &str, value: &str| row.get(field).is_some_and(|found| found == value);
        says("self_mux_direction", "active")
            && says("grpc_connection_status", "READY")
            && says("server_version", "1.0 x")
            && row.contains_key("time_post")
            && !says("time_post", "2026-Nov-21_00:06:31.406616")
    };
    names(3).iter().all(ours)
}

/// Waits until Redis has our subscription. Changes before that are found only by checking.
async fn subscribed(redis: &Redis) {
    eventually("a subscription", LONG, || {
        let clients: String = redis.ask("CLIENT LIST TYPE pubsub");
        clients.contains("psub=1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_writes_into_our_rows_is_undone_at_once() {
    let mut redis = Redis::away();
    redis.launch(&TELLS).await;
    let rig = three_rows(&redis).await;
    subscribed(&redis).await;
    let foreign = [
        format!("HSET MUX_CABLE_INFO|Ethernet0 {YCABLED}"),
        "HSET MUX_CABLE_INFO|Ethernet4 self_mux_direction standby".to_owned(),
        "DEL MUX_CABLE_INFO|Ethernet8".to_owned(),
    ];
    for command in foreign {
        let _: Value = redis.ask(&command);
        eventually(&command, AT_ONCE, || ours_again(&redis)).await;
    }
    let counted = || rig.status().foreign_writes;
    assert_eq!(counted(), 2, "a deletion is not a write of another process");
    let row = redis.row(&key("Ethernet0"));
    assert_eq!(row["link_status_peer"], "down", "what is not ours stays");
    assert_eq!(row["link_status_self"], "unknown");
    assert!(rig.status().up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_deleted_and_written_by_another_is_undone_at_once() {
    let mut redis = Redis::away();
    redis.launch(&TELLS).await;
    let rig = three_rows(&redis).await;
    subscribed(&redis).await;
    let mut pipe = redis::pipe();
    pipe.cmd("DEL").arg(key("Ethernet0")).ignore();
    let mut write = redis::cmd("HSET");
    write
        .arg(key("Ethernet0"))
        .arg(YCABLED.split_whitespace().collect::<Vec<_>>());
    pipe.add_command(write).ignore();
    let mut connection = redis.connect(6).expect("a connection");
    pipe.exec(&mut connection).expect("written");
    eventually("our values", AT_ONCE, || ours_again(&redis)).await;
    assert_eq!(rig.status().foreign_writes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_redis_tells_nothing_it_is_undone_soon_and_a_flush_is_too() {
    for args in [&TELLS[..], &[]] {
        let mut redis = Redis::away();
        redis.launch(args).await;
        let rig = three_rows(&redis).await;
        let _: Value = redis.ask("FLUSHDB");
        eventually("the rows after a flush", SOON, || all_right(&redis, &names(3), 1)).await;
        assert_eq!(rig.status().foreign_writes, 0);
        if args.is_empty() {
            let _: Value = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 self_mux_direction standby");
            // Repaired a moment ago.
            eventually("our values", SOON * 2, || ours_again(&redis)).await;
            assert_eq!(rig.status().foreign_writes, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_who_never_stops_it_is_no_duel() {
    let mut redis = Redis::away();
    redis.launch(&TELLS).await;
    let rig = three_rows(&redis).await;
    subscribed(&redis).await;
    let before = rig.status().writes_ok;
    let began = Instant::now();
    let mut writes = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let write =
            format!("HSET MUX_CABLE_INFO|Ethernet0 self_mux_direction standby time_post theirs-{writes}");
        let _: Value = redis.ask(&write);
        writes += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ours = rig.status().writes_ok - before;
    assert!(
        writes > 20 && (1..=2).contains(&ours),
        "{writes} of theirs, {ours} of ours"
    );
    // Once it has stopped, the row is ours.
    eventually("our values", LONG, || ours_again(&redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_key_was_no_hash_is_written_once_that_is_gone() {
    let redis = Redis::start().await;
    let rig = three_rows(&redis).await;
    for command in ["DEL MUX_CABLE_INFO|Ethernet0", "LPUSH MUX_CABLE_INFO|Ethernet0 x"] {
        let _: Value = redis.ask(command);
    }
    // The row is checked, and the others are still written.
    rig.put(ready("Ethernet4", 2));
    eventually("the other row", LONG, || all_right(&redis, &names(2)[1..], 2)).await;
    let looks = redis.calls("hmget");
    eventually("a look", LONG, || redis.calls("hmget") > looks + 3).await;
    assert!(rig.status().up);
    let _: Value = redis.ask("DEL MUX_CABLE_INFO|Ethernet0");
    eventually("the row", SOON * 2, || all_right(&redis, &names(1), 1)).await;
}
