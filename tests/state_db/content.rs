//! The content of rows, keys that are not touched, and how often rows are written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dualtor_exporter::config::{Publish, Schema, StateDbSettings};
use tokio::sync::watch;

use crate::redis_server::{Redis, eventually};
use crate::rig::*;
use dualtor_exporter::sonic::state_db::StatusSender;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_the_nineteen_fields_of_schema_sonic_and_leaves_others_alone() {
    let redis = Redis::start().await;
    let _: u64 = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 link_status_peer up hw_mux_cable 7");
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 3));
    rig.writes(1).await;
    let expected = map(&[
        ("self_mux_direction", "active"),
        ("mux_direction", "active"),
        ("peer_mux_direction", "standby"),
        ("self_oper_state", "up"),
        ("self_operation_state", "up"),
        ("peer_oper_state", "down"),
        ("peer_operation_state", "down"),
        ("self_link_state", "up"),
        ("peer_link_state", "up"),
        ("server_version", "1.0 x"),
        ("grpc_connection_status", "READY"),
        ("mux_direction_probe_count", "3"),
        ("peer_mux_direction_probe_count", "3"),
        ("link_state_probe_count", "3"),
        ("peer_link_state_probe_count", "3"),
        ("operation_state_probe_count", "3"),
        ("peer_operation_state_probe_count", "3"),
        ("soc_service", "noop"),
        ("link_status_peer", "up"),
        ("hw_mux_cable", "7"),
    ]);
    assert_eq!(without_time(redis.row(&key("Ethernet0"))), expected);
    let status = rig.status();
    assert!(status.up && status.last_write.is_some());
    assert_eq!((status.writes_error, status.foreign_writes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_hld_has_the_documents_own_names() {
    let redis = Redis::start().await;
    let rig = Rig::new(&StateDbSettings {
        schema: Schema::Hld,
        ..settings(&redis)
    });
    rig.put(ready("Ethernet0", 3));
    rig.writes(1).await;
    let expected = map(&[
        ("mux_direction", "active"),
        ("Peer_mux_direction", "standby"),
        ("grpc server version", "1.0 x"),
        ("self_operation_state", "Up"),
        ("peer_operation_state", "Down"),
        ("self_link_state", "Up"),
        ("peer_Link_state", "Up"),
        ("grpc_connection_status", "READY"),
        ("mux_direction_probe_count", "3"),
        ("peer_mux_direction_probe_count", "3"),
        ("link_state_probe_count", "3"),
        ("peer_link_state_probe_count", "3"),
        ("operation_state_probe_count", "3"),
        ("peer_operation_state_probe_count", "3"),
        ("soc_service", "noop"),
    ]);
    assert_eq!(without_time(redis.row(&key("Ethernet0"))), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_and_off_touch_nothing_else() {
    let redis = Redis::start().await;
    let rig = Rig::new(&StateDbSettings {
        publish: Publish::Shadow,
        ..settings(&redis)
    });
    rig.put(ready("Ethernet0", 3));
    rig.put(ready("Ethernet4", 3));
    rig.remove("Ethernet8");
    rig.writes(3).await;
    rig.remove("Ethernet4");
    rig.writes(4).await;
    let keys: Vec<String> = redis.ask("KEYS *");
    assert_eq!(keys, ["MUX_CABLE_INFO_SHADOW|Ethernet0"]);
    assert_eq!(redis.row("MUX_CABLE_INFO_SHADOW|Ethernet0").len(), 19);
    let keyspace: String = redis.ask("INFO keyspace");
    assert_eq!(keyspace.lines().filter(|line| line.starts_with("db")).count(), 1);
    rig.stop().await;

    let _: String = redis.ask("CONFIG RESETSTAT");
    let rig = Rig::new(&StateDbSettings {
        publish: Publish::Off,
        ..settings(&redis)
    });
    rig.put(ready("Ethernet0", 4));
    let status = rig.status.clone();
    rig.stop().await;
    let stats: String = redis.ask("INFO stats");
    let only_this_one = "total_connections_received:1\r\n";
    assert!(stats.contains(only_this_one), "{stats}");
    assert_eq!(*status.borrow(), None, "no database is used: nothing to say");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_with_user_and_password_works_and_a_wrong_password_is_a_database_that_is_down() {
    let redis = Redis::start_tcp(&[]).await;
    let allowed = "+ping +select +hget +hmget +hset +del";
    let user = format!("ACL SETUSER exporter on >secret ~MUX_CABLE_INFO|* -@all {allowed}");
    let _: String = redis.ask(&user);
    let with = |secret: &str| settings_at(redis.server_for("exporter", secret));
    let wrong = Rig::new(&with("wrong"));
    wrong.put(ready("Ethernet0", 1));
    wrong.down(LONG).await;
    assert_eq!(redis.row(&key("Ethernet0")), BTreeMap::new());
    drop(wrong);
    let right = Rig::new(&with("secret"));
    right.put(ready("Ethernet0", 2));
    right.put(ready("Ethernet4", 2));
    right.remove("Ethernet4");
    right.up(LONG).await;
    eventually("the row", LONG, || count(&redis, "Ethernet0") == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_is_one_write() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(200);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.writes(200).await;
    rig.up(LONG).await;
    let _: String = redis.ask("CONFIG RESETSTAT");
    for (i, name) in names.iter().enumerate() {
        rig.put(ready(name, 2));
        rig.writes(201 + i as u64).await;
    }
    // Two PINGs later nothing else has been written.
    eventually("PINGs", LONG, || redis.calls("ping") >= 2).await;
    assert_eq!(redis.calls("hset"), 200);
    assert_eq!(rig.status().writes_ok, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_after_a_restart_of_the_exporter_and_after_an_emptied_database() {
    let redis = Redis::start().await;
    let settings = settings(&redis);
    let status: StatusSender = Arc::new(watch::Sender::new(None));
    let rig = Rig::with(&settings, status.clone());
    rig.put(ready("Ethernet0", 5));
    rig.writes(1).await;
    rig.put(shut("Ethernet0", 6));
    rig.stop().await;
    assert_eq!(count(&redis, "Ethernet0"), Some(6));

    let rig = Rig::with(&settings, status.clone());
    rig.put(idle("Ethernet0"));
    rig.writes(3).await;
    assert_eq!(count(&redis, "Ethernet0"), Some(6), "before the first round");
    assert_eq!(
        rig.status().writes_ok,
        3,
        "the publisher's own counters go on too"
    );
    rig.put(ready("Ethernet0", 1));
    rig.writes(4).await;
    assert_eq!(count(&redis, "Ethernet0"), Some(7));

    let _: String = redis.ask("FLUSHALL");
    rig.put(ready("Ethernet0", 2));
    rig.writes(5).await;
    assert_eq!(count(&redis, "Ethernet0"), Some(8));
    assert_eq!(redis.row(&key("Ethernet0")).len(), 19);
    assert_eq!(rig.status().foreign_writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_read_when_redis_was_away_at_start_and_nonsense_in_it_counts_as_zero() {
    let mut redis = Redis::start().await;
    let _: u64 = redis.ask(
        "HSET MUX_CABLE_INFO|Ethernet0 mux_direction_probe_count 100 link_state_probe_count x time_post theirs",
    );
    let _: String = redis.ask("SAVE");
    redis.kill();
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 5));
    rig.down(LONG).await;
    redis.launch(&[]).await;
    eventually("the row", RECOVERY, || count(&redis, "Ethernet0") == Some(105)).await;
    assert_eq!(redis.row(&key("Ethernet0"))["link_state_probe_count"], "5");
    assert_eq!(
        rig.status().foreign_writes,
        0,
        "what was found at start is the baseline"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gone_ports_row_is_deleted_even_if_redis_was_away_when_it_went() {
    let mut redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    for name in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rig.put(ready(name, 9));
    }
    rig.writes(3).await;
    rig.remove("Ethernet0");
    eventually("gone", LONG, || redis.row(&key("Ethernet0")).is_empty()).await;
    let _: String = redis.ask("SAVE");
    redis.kill();
    rig.down(LONG).await;
    rig.remove("Ethernet4");
    rig.remove("Ethernet8");
    rig.put(ready("Ethernet8", 1));
    redis.launch(&[]).await;
    eventually("gone", RECOVERY, || redis.row(&key("Ethernet4")).is_empty()).await;
    rig.up(RECOVERY).await;
    let keys: Vec<String> = redis.ask("KEYS *");
    assert_eq!(keys, [key("Ethernet8")]);
    rig.put(ready("Ethernet0", 2));
    eventually("back", LONG, || count(&redis, "Ethernet0") == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_the_rows_say_shutdown() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    let names = names(300);
    for name in &names {
        rig.put(ready(name, 7));
    }
    rig.writes(300).await;
    for name in &names {
        rig.put(shut(name, 7));
    }
    assert!(rig.stop().await < Duration::from_secs(1));
    for name in &names {
        let row = redis.row(&key(name));
        assert_eq!(row["grpc_connection_status"], "SHUTDOWN");
        assert_eq!(row["self_mux_direction"], "unknown");
        assert_eq!(row["server_version"], "N/A");
        assert_eq!(row["mux_direction_probe_count"], "7");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_two_seconds_for_a_database_that_is_away_and_not_at_all_for_nothing() {
    let within = Duration::from_millis(1900)..Duration::from_millis(2500);
    let mut redis = Redis::away();
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 1));
    rig.down(LONG).await;
    let took = rig.stop().await;
    assert!(within.contains(&took), "away: {took:?}");

    let rig = Rig::new(&settings(&redis));
    rig.down(LONG).await;
    let took = rig.stop().await;
    assert!(took < Duration::from_secs(1), "nothing to write: {took:?}");

    redis.launch(&[]).await;
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 1));
    rig.up(LONG).await;
    redis.freeze();
    rig.put(shut("Ethernet0", 1));
    let took = rig.stop().await;
    assert!(within.contains(&took), "hanging: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_an_absence_still_writes_if_redis_is_back_in_time() {
    let mut redis = Redis::away();
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 1));
    rig.down(LONG).await;
    rig.put(shut("Ethernet0", 2));
    let stop = tokio::spawn(rig.stop());
    redis.launch(&[]).await;
    assert!(stop.await.expect("no panic") < RECOVERY);
    let row = redis.row(&key("Ethernet0"));
    assert_eq!(row["grpc_connection_status"], "SHUTDOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_counted_and_our_own_writes_are_not() {
    let redis = Redis::start().await;
    let _: u64 = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 time_post 2020-Jan-01");
    let rig = Rig::new(&settings(&redis));
    let mut rounds = 0;
    let mut round = || {
        rounds += 1;
        rig.put(ready("Ethernet0", rounds));
        rounds
    };
    for _ in 0..5 {
        let written = round();
        rig.writes(written).await;
    }
    assert_eq!(rig.status().foreign_writes, 0);
    for foreign in 1..4 {
        let _: u64 = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 time_post 2020-Jan-02");
        for _ in 0..2 {
            let written = round();
            rig.writes(written).await;
        }
        eventually("it is counted", LONG, || rig.status().foreign_writes == foreign).await;
    }
    let _: u64 = redis.ask("HDEL MUX_CABLE_INFO|Ethernet0 time_post");
    let written = round();
    rig.writes(written).await;
    assert_eq!(
        rig.status().foreign_writes,
        3,
        "a missing row is not a write of another process"
    );
    assert_eq!(redis.row(&key("Ethernet0")).len(), 19, "we go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_a_hash_does_not_stop_the_others() {
    let redis = Redis::start().await;
    let _: String = redis.ask("SET MUX_CABLE_INFO|Ethernet4 x");
    let rig = Rig::new(&settings(&redis));
    let names = names(3);
    for name in &names {
        rig.put(ready(name, 1));
    }
    rig.writes(2).await;
    rig.up(LONG).await;
    assert_eq!(rig.status().writes_error, 1);
    for name in &names {
        rig.put(ready(name, 2));
    }
    rig.writes(4).await;
    assert!(rig.status().up);
    let _: u64 = redis.ask("DEL MUX_CABLE_INFO|Ethernet4");
    for name in &names {
        rig.put(ready(name, 3));
    }
    eventually("all", LONG, || all_right(&redis, &names, 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_flaps_is_written_no_more_than_twice_a_second_in_the_long_run() {
    let redis = Redis::start().await;
    let rig = Rig::new(&settings(&redis));
    rig.put(ready("Ethernet0", 0));
    rig.writes(1).await;
    let began = std::time::Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(3) {
        rounds += 1;
        rig.put(ready("Ethernet0", rounds));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eventually("the last is written", LONG, || {
        count(&redis, "Ethernet0") == Some(rounds)
    })
    .await;
    let most = 1 + 10 + 2 * began.elapsed().as_secs() + 2;
    let writes = rig.status().writes_ok;
    assert!(
        (11..=most).contains(&writes),
        "{writes} writes of {rounds} changes"
    );
    // Another port is not held back, and a stop writes rows that are.
    rig.put(ready("Ethernet4", 1));
    eventually("its row", LONG, || count(&redis, "Ethernet4") == Some(1)).await;
    rig.put(ready("Ethernet0", rounds + 1));
    rig.put(shut("Ethernet0", rounds + 2));
    rig.stop().await;
    assert_eq!(redis.row(&key("Ethernet0"))["grpc_connection_status"], "SHUTDOWN");
}
