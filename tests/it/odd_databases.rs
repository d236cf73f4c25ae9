//! Databases with odd rows, too many rows, many foreign keys, and at other addresses: the cost, and which ports are affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;

use crate::child::run;
use crate::config_db::{TELLS, switch, switch_on};
use crate::fake_redis::{FakeRedis, FakeReply, bulk};
use crate::harness::{Rack, wait_until};
use crate::http::Scrape;
use crate::redis_server::Redis;

const CONFIG_DB: i64 = 4;
const APPL_DB: i64 = 0;

/// A script of Redis' own in database `db`.
fn script(rack: &Rack, db: i64, text: &str) {
    let mut connection = rack.redis.connect(db).expect("a connection");
    let _: Value = redis::cmd("EVAL")
        .arg(text)
        .arg(0)
        .query(&mut connection)
        .expect("done");
}

fn problems(scrape: &Scrape, reason: &str) -> Option<f64> {
    scrape.value("dualtor_inventory_problems", &[("reason", reason)])
}

fn dials(scrape: &Scrape, port: &str) -> u64 {
    scrape.count("dualtor_channel_dials_total", &[("port", port)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_in_one_row_concerns_that_row_alone() {
    let mut rack = switch(2, &TELLS).await;
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet4");
    script(
        &rack,
        CONFIG_DB,
        "redis.call('SADD', 'MUX_CABLE|Ethernet8', 'x')
         redis.call('LPUSH', 'LOOPBACK_INTERFACE|Loopback0', 'x')
         redis.call('HSET', 'MUX_CABLE|Ethernet12', 'cable_type', 'active-active', 'soc_ipv4', string.rep('1', 5000000))
         redis.call('HSET', 'MUX_CABLE|Ethernet16', 'cable_type', '\\255\\254', 'soc_ipv4', '\\255')
         redis.call('HSET', 'MUX_CABLE|Ethernet 20', 'cable_type', 'active-active', 'soc_ipv4', '10.0.0.1')
         redis.call('HSET', 'MUX_CABLE|Ethernet0', 'others', string.rep('x', 50000000))",
    );
    script(
        &rack,
        APPL_DB,
        "redis.call('LPUSH', 'MUX_CABLE_TABLE:Ethernet0', 'x')
         redis.call('HSET', 'MUX_CABLE_TABLE:Ethernet4', 'state', 'active')",
    );
    // Keys that are not hashes, also in our own table.
    let _: Value = rack.redis.ask("LPUSH MUX_CABLE_INFO|Ethernet4 x");
    rack.start_exporter().await;
    let scrape = rack.probes(&["Ethernet0", "Ethernet4"]).await;
    assert_eq!(problems(&scrape, "not_a_row"), Some(1.0));
    assert_eq!(problems(&scrape, "bad_address"), Some(1.0));
    assert_eq!(problems(&scrape, "bad_cable_type"), Some(1.0));
    assert_eq!(problems(&scrape, "bad_port_name"), Some(1.0));
    assert_eq!(scrape.value("dualtor_state_db_up", &[]), Some(1.0));
    rack.scraped("dualtor_intended_mux_state", |scrape| {
        let intended = |port| scrape.state("dualtor_intended_mux_state", &[("port", port)], "state");
        intended("Ethernet0") == "unknown" && intended("Ethernet4") == "active"
    })
    .await;
    wait_until("the other row is written", async || {
        match rack
            .row("Ethernet0")
            .get("grpc_connection_status")
            .map(String::as_str)
        {
            Some("READY") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_rows_ten_thousand_are_kept_and_nobody_who_is_watched_is_left() {
    let mut rack = switch(2, &TELLS).await;
    rack.polls_never();
    rack.boots_with(&["Ethernet4"]).await;
    // Other ports' names are shorter.
    let fill =
        "for n = 1, 100000 do redis.call('HSET', 'MUX_CABLE|E' .. n, 'cable_type', 'active-standby') end";
    script(&rack, CONFIG_DB, fill);
    rack.scraped("dualtor_inventory_problems", |scrape| {
        problems(scrape, "too_many_rows") == Some(1.0)
    })
    .await;
    let scrape = rack.probes(&["Ethernet4"]).await;
    assert_eq!(dials(&scrape, "Ethernet4"), 1);
    assert_eq!(scrape.value("dualtor_state_db_up", &[]), Some(1.0));
    script(
        &rack,
        CONFIG_DB,
        "for n = 1, 100000 do redis.call('DEL', 'MUX_CABLE|E' .. n) end",
    );
    rack.scraped("dualtor_inventory_problems", |scrape| {
        problems(scrape, "too_many_rows") == Some(0.0)
    })
    .await;
    rack.cable("Ethernet0");
    let scrape = rack.probes(&["Ethernet0", "Ethernet4"]).await;
    assert_eq!(dials(&scrape, "Ethernet4"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_others_are_walked_through_once_and_not_each_interval() {
    let mut rack = switch(2, &TELLS).await;
    rack.settings.probe = "interval: 300ms, timeout: 200ms".to_owned();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack.boots();
    rack.cable("Ethernet0");
    for db in [APPL_DB, CONFIG_DB, 6] {
        let _: Value = rack.redis.ask_db(db, "DEBUG POPULATE 20000 SOMEBODYS");
    }
    rack.start_exporter().await;
    rack.probes(&["Ethernet0"]).await;
    // After one interval it is known that this Redis sends notifications.
    wait_until("rounds", async || match rack.redis.calls("hset") {
        5.. => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    let _: Value = rack.redis.ask("CONFIG RESETSTAT");
    wait_until("more rounds", async || match rack.redis.calls("hset") {
        10.. => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    assert_eq!(rack.redis.calls("scan"), 0);
    rack.cable("Ethernet4");
    rack.probes(&["Ethernet0", "Ethernet4"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_databases_of_facts_is_noticed_though_nobody_tells_of_it() {
    let mut rack = switch(1, &TELLS).await;
    rack.polls_never();
    rack.boots();
    rack.cable("Ethernet0");
    let _: Value = rack.redis.ask("HSET MUX_LINKMGR_TABLE|Ethernet0 state healthy");
    rack.start_exporter().await;
    let health = async |expected: &str| {
        rack.scraped("dualtor_linkmgr_health", |scrape| {
            let ports = scrape.value("dualtor_inventory_ports", &[]);
            ports == Some(1.0)
                && scrape.state("dualtor_linkmgr_health", &[("port", "Ethernet0")], "state") == expected
        })
        .await
    };
    health("healthy").await;
    let _: Value = rack.redis.ask("FLUSHDB");
    health("unknown").await;
}

/// SONiC's database_config.json, with this socket and port.
fn database_config(socket: &str, port: u16) -> String {
    let database = |name: &str, id: i64, separator: &str| {
        format!(r#""{name}": {{"id": {id}, "separator": "{separator}", "instance": "redis"}}"#)
    };
    format!(
        r#"{{"INSTANCES": {{"redis": {{"hostname": "127.0.0.1", "port": {port}, "unix_socket_path": "{socket}"}}}},
            "DATABASES": {{{}, {}, {}}}}}"#,
        database("APPL_DB", 0, ":"),
        database("CONFIG_DB", 4, "|"),
        database("STATE_DB", 6, "|"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_socket_is_missing_the_port_of_database_config_json_is_used_and_told() {
    let redis = Redis::start_tcp(&TELLS).await;
    let port: u16 = redis
        .server()
        .to_string()
        .rsplit(':')
        .next()
        .and_then(|p| p.parse().ok())
        .expect("a port");
    let mut rack = switch_on(redis, 1).await;
    let socket = rack.redis.socket().with_file_name("later.sock");
    let file = rack.config_path().with_file_name("database_config.json");
    std::fs::write(&file, database_config(socket.to_str().expect("UTF-8"), port)).expect("written");
    let url = format!("url: \"{}\"", rack.redis.server());
    let config = format!("config: \"{}\"", file.display());
    rack.write_config(&rack.settings.yaml(&rack.redis).replace(&url, &config));
    rack.boots_with(&["Ethernet0"]).await;
    let path = rack.config_path();
    let args = [
        "doctor",
        "--config.file",
        path.to_str().expect("UTF-8"),
        "--timeout",
        "10s",
    ];
    let ended = run(&args).await;
    let used = format!("redis://127.0.0.1:{port} (its socket");
    assert!(ended.stdout.contains(&used), "{}", ended.stdout);

    // The socket is there now: the next connections are made to it.
    std::os::unix::fs::symlink(rack.redis.socket(), &socket).expect("a link");
    for kind in ["normal", "pubsub"] {
        let _: Value = rack.redis.ask(&format!("CLIENT KILL TYPE {kind}"));
    }
    wait_until("all on the socket", async || {
        let clients: String = rack.redis.ask("CLIENT LIST");
        let tcp = clients
            .lines()
            .filter(|line| line.contains("addr=127.0.0.1"))
            .count();
        match (tcp, clients.lines().count()) {
            (0, 6..) => Ok(()),
            _ => Err(clients),
        }
    })
    .await;
    rack.probes(&["Ethernet0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_takes_user_and_password_too() {
    let mut redis = Redis::away();
    redis
        .launch(&["--requirepass", "", "--notify-keyspace-events", "AKE"])
        .await;
    let _: Value = redis.ask("ACL SETUSER dualtor on >open/sesame ~* &* +@all");
    let mut rack = switch_on(redis, 1).await;
    let yaml = rack.settings.yaml(&rack.redis);
    rack.write_config(&yaml.replace("redis+unix://", "redis+unix://dualtor:open%2Fsesame@"));
    rack.boots_with(&["Ethernet0"]).await;
    let clients: String = rack.redis.ask("CLIENT LIST");
    assert!(
        clients
            .lines()
            .filter(|line| line.contains("user=dualtor"))
            .count()
            >= 5,
        "{clients}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_tells_nothing_is_searched_for_a_twentieth_of_its_time_at_most() {
    // A search of 400 SCANs, with an interval of 100 ms.
    let searches = Arc::new(AtomicU64::new(0));
    let counted = searches.clone();
    let redis = FakeRedis::start(Box::new(move |command| {
        if command[0] != "SCAN" {
            return None;
        }
        let next = match command[1].parse::<u64>().expect("a cursor") {
            0 => {
                counted.fetch_add(1, Ordering::Relaxed);
                1
            }
            399 => 0,
            cursor => cursor + 1,
        };
        std::thread::sleep(Duration::from_micros(500));
        Some(FakeReply::Say(
            format!("*2\r\n{}*0\r\n", bulk(&next.to_string())).into_bytes(),
        ))
    }));
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.yml");
    let text = format!(
        "probe: {{interval: 100ms, timeout: 50ms}}\nside: upper\ndatabases: {{url: \"redis://127.0.0.1:{}\"}}\n",
        redis.port
    );
    std::fs::write(&config, text).expect("written");
    let args = [
        "--config.file",
        config.to_str().expect("UTF-8"),
        "--web.listen-address",
        "127.0.0.1:0",
    ];
    let _exporter = crate::child::Program::start(&args);
    let count = || searches.load(Ordering::Relaxed);
    wait_until("the first search", async || match count() {
        1.. => Ok(()),
        _ => Err("none".to_owned()),
    })
    .await;
    // 200 ms of Redis' time: not before 4 s have passed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(count() <= 2, "{}", count());
    wait_until("another search", async || match count() {
        2.. => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failed_change_of_a_mux_is_logged_and_so_is_the_server_that_is_used() {
    let redis = Redis::start_tcp(&TELLS).await;
    let server = redis.server().to_string();
    let port = server.rsplit(':').next().and_then(|port| port.parse().ok());
    let rack = switch_on(redis, 2).await;
    let file = rack.config_path().with_file_name("database_config.json");
    let socket = rack.redis.socket().with_file_name("missing.sock");
    let json = database_config(socket.to_str().expect("UTF-8"), port.expect("a port"));
    std::fs::write(&file, json).expect("written");
    let (url, config) = (
        format!("url: \"{server}\""),
        format!("config: \"{}\"", file.display()),
    );
    rack.write_config(&rack.settings.yaml(&rack.redis).replace(&url, &config));
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet4");
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8");
    let args = ["--config.file", path, "--web.listen-address", "127.0.0.1:0"];
    let mut program = crate::child::Program::start(&args);
    let line = program.says("state_db is up", 1).await;
    assert!(line.contains(&server), "{line}");
    let _: Value = rack.redis.ask_db(6, "HSET MUX_CABLE_TABLE|Ethernet0 state error");
    let failed = "mux change failed";
    assert!(program.says(failed, 1).await.contains("ports=Ethernet0"));
    // Too soon after the last line to be logged at once; no other change would cause a new check.
    let _: Value = rack.redis.ask_db(0, "HSET MUX_CABLE_TABLE:Ethernet4 state Error");
    assert!(program.says(failed, 2).await.contains("ports=Ethernet4"));
}
