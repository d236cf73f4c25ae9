//! The exporter as a Redis user who may write our rows and nothing else: exactly the user in docs/sonic.md.

use std::collections::{BTreeMap, BTreeSet};

use dualtor_sim::{Direction, Notice, NoticeKind, Plane};
use redis::Value;

use crate::child::Program;
use crate::config_db::{NEVER_POLLED, TELLS, switch_on};
use crate::harness::{Rack, wait_until};
use crate::redis_server::Redis;

/// redis-server's default number of databases.
const DATABASES: std::ops::Range<i64> = 0..16;
const PASSWORD: &str = "open-sesame";

/// The user in docs/sonic.md: the arguments of its `ACL SETUSER`.
fn documented() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sonic.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("docs/sonic.md: {error}"));
    let (_, command) = text.split_once("redis-cli ACL SETUSER ").expect("the command");
    let mut words = Vec::new();
    for line in command.lines() {
        let part = line.trim_end_matches('\\');
        words.extend(part.split_whitespace().map(|word| word.replace('\'', "")));
        if part == line {
            break;
        }
    }
    assert!(words.contains(&"%R~*".to_owned()), "{words:?}");
    words
        .iter_mut()
        .for_each(|word| *word = word.replace("PASSWORD", PASSWORD));
    words
}

/// The user's arguments that begin with this character, without it.
fn words(begin: char) -> BTreeSet<String> {
    let words = documented().into_iter();
    words
        .filter_map(|word| word.strip_prefix(begin).map(str::to_owned))
        .collect()
}

/// The documented user, with the arguments that `begins` picks replaced by others.
fn with(begins: &str, words: &[&str]) -> Vec<String> {
    let kept = documented().into_iter().filter(|word| !word.starts_with(begins));
    kept.chain(words.iter().map(|&word| word.to_owned())).collect()
}

/// Everything in Redis: type and content by database and key.
type Dump = BTreeMap<(i64, String), (String, Vec<u8>)>;

fn dump(redis: &Redis) -> Dump {
    let mut all = Dump::new();
    for db in DATABASES {
        let mut connection = redis.connect(db).expect("a connection");
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("keys");
        for key in keys {
            let ask = |command| redis::cmd(command).arg(&key).clone();
            let kind: String = ask("TYPE").query(&mut connection).expect("a type");
            let content: Vec<u8> = ask("DUMP").query(&mut connection).expect("its content");
            all.insert((db, key), (kind, content));
        }
    }
    all
}

/// The keys that differ between two dumps, as `6 MUX_CABLE_INFO|Ethernet0`.
fn differences(before: &Dump, after: &Dump) -> BTreeSet<String> {
    let keys = before.keys().chain(after.keys());
    let differ = keys.filter(|key| before.get(key) != after.get(key));
    differ.map(|(db, key)| format!("{db} {key}")).collect()
}

/// A switch with Ethernet0 and Ethernet4, something of each type in every database, and an exporter that is this user.
async fn switch_of(user: &[String], databases: &str) -> Rack {
    let redis = Redis::start_tcp(&TELLS).await;
    for db in DATABASES {
        for command in [
            "HSET MUX_CABLE_INFO|Ethernet100 self_mux_direction active",
            "HSET MUX_CABLE_INFO:Ethernet0 state active",
            "HSET SOMEBODYS|row field value",
            "SET SOMEBODYS_VALUE 1",
            "RPUSH SOMEBODYS_LIST a b",
            "SADD SOMEBODYS_SET a b",
            "ZADD SOMEBODYS_ORDER 1 a",
        ] {
            let _: Value = redis.ask_db(db, command);
        }
    }
    let _: Value = redis.ask("HSET MUX_CABLE_INFO|Ethernet0 link_status_peer up self_mux_direction standby");
    let _: Value = redis.ask("HSET MUX_CABLE_INFO|Ethernet4 link_status_peer up");
    let _: Value = redis.ask("HSET MUX_LINKMGR_TABLE|Ethernet0 state healthy");
    let _: Value = redis.ask_db(0, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    let _: Value = redis.ask_db(0, &format!("ACL SETUSER {}", user.join(" ")));
    let server = redis.server().to_string();
    let mut rack = switch_on(redis, 3).await;
    rack.settings.probe = NEVER_POLLED.to_owned();
    rack.settings.databases = databases.to_owned();
    rack.boots();
    rack.cable("Ethernet0");
    rack.cable("Ethernet4");
    let ours = server.replace("redis://", &format!("redis://dualtor:{PASSWORD}@"));
    rack.write_config(&rack.settings.yaml(&rack.redis).replace(&server, &ours));
    rack
}

/// Waits until a field of a row has this value.
async fn says(rack: &Rack, key: &str, field: &str, value: &str) {
    wait_until(&format!("{key} {field} {value}"), async || {
        let row = rack.redis.row(key);
        if row.get(field).is_some_and(|found| found == value) {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
}

/// Start, SoCs that change, a port that is added, one that is removed, a stop: the keys that differ afterwards.
async fn what_a_life_changes(rack: &mut Rack, table: &str) -> BTreeSet<String> {
    let before = dump(&rack.redis);
    rack.start_exporter().await;
    let row = |port: &str| format!("{table}|{port}");
    says(rack, &row("Ethernet0"), "self_mux_direction", "active").await;
    says(rack, &row("Ethernet4"), "self_mux_direction", "active").await;

    rack.soc("Ethernet4")
        .set(|state| state.directions.upper = Direction::Standby);
    rack.soc("Ethernet4").reset_connections();
    says(rack, &row("Ethernet4"), "self_mux_direction", "standby").await;
    // Nothing is read a second time during the test: a change takes effect only through a notification.
    rack.cable("Ethernet8");
    says(rack, &row("Ethernet8"), "self_mux_direction", "active").await;
    rack.config_db("DEL MUX_CABLE|Ethernet4");
    wait_until("the row of Ethernet4 is gone", async || {
        let row = rack.redis.row(&row("Ethernet4"));
        if row.is_empty() {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
    let scrape = rack.probes(&["Ethernet0", "Ethernet8"]).await;
    assert_eq!(scrape.value("dualtor_state_db_up", &[]), Some(1.0));
    assert_eq!(
        scrape.count("dualtor_state_db_writes_total", &[("result", "error")]),
        0
    );
    let port = [("port", "Ethernet0")];
    assert_eq!(
        scrape.state("dualtor_intended_mux_state", &port, "state"),
        "active"
    );
    assert_eq!(scrape.state("dualtor_linkmgr_health", &port, "state"), "healthy");
    rack.stop_exporter().await;
    says(rack, &row("Ethernet0"), "grpc_connection_status", "SHUTDOWN").await;

    // What this test has changed itself.
    rack.cable("Ethernet4");
    rack.config_db("DEL MUX_CABLE|Ethernet8");
    differences(&before, &dump(&rack.redis))
}

/// What Redis has denied this user.
fn refused(rack: &Rack) -> Vec<BTreeMap<String, Value>> {
    rack.redis.ask("ACL LOG")
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_rows_of_our_ports_is_ever_written() {
    let mut rack = switch_of(&documented(), "publish: own").await;
    let changed = what_a_life_changes(&mut rack, "MUX_CABLE_INFO").await;
    let ours = [
        "6 MUX_CABLE_INFO|Ethernet0",
        "6 MUX_CABLE_INFO|Ethernet4",
        "6 MUX_CABLE_INFO|Ethernet8",
    ];
    assert_eq!(changed, set(&ours));
    assert_eq!(
        rack.redis.row("MUX_CABLE_INFO|Ethernet0")["link_status_peer"],
        "up"
    );
    assert_eq!(refused(&rack), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_notices_published_those_of_our_ports_are_written_too() {
    let user = with("~", &["~MUX_CABLE_INFO*", "~MUX_SERVICE_NOTIFICATION:*"]);
    let mut rack = switch_of(&user, "publish: own, publish_notifications: true").await;
    let before = dump(&rack.redis);
    rack.start_exporter().await;
    rack.service("Ethernet0", "noop").await;
    rack.soc("Ethernet0").announce(&Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Both,
        guid: "g1".to_owned(),
        period: 0,
    });
    wait_until("the notice", async || {
        let notice: BTreeMap<String, String> =
            rack.redis.ask_db(0, "HGETALL MUX_SERVICE_NOTIFICATION:Ethernet0");
        if notice.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    rack.stop_exporter().await;
    let ours = [
        "0 MUX_SERVICE_NOTIFICATION:Ethernet0",
        "6 MUX_CABLE_INFO|Ethernet0",
        "6 MUX_CABLE_INFO|Ethernet4",
    ];
    assert_eq!(differences(&before, &dump(&rack.redis)), set(&ours));
    assert_eq!(refused(&rack), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_nothing_but_the_shadow_rows_is_ever_written() {
    let mut rack = switch_of(&documented(), "publish: shadow").await;
    let changed = what_a_life_changes(&mut rack, "MUX_CABLE_INFO_SHADOW").await;
    let ours = [
        "6 MUX_CABLE_INFO_SHADOW|Ethernet0",
        "6 MUX_CABLE_INFO_SHADOW|Ethernet8",
    ];
    assert_eq!(changed, set(&ours));
    assert_eq!(refused(&rack), []);
}

/// What a Redis user must be able to read.
const NEEDED: [&str; 7] = [
    "%R~DEVICE_METADATA|*",
    "%R~MUX_CABLE*",
    "%R~LOOPBACK_INTERFACE|*",
    "%R~GRPC*",
    "%R~CONFIG_DB_INITIALIZED",
    "%R~PORT_TABLE:*",
    "%R~MUX_LINKMGR_TABLE|*",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_read_our_tables_alone_is_enough() {
    let more = [
        "%R~DUALTOR_EXPORTER|config",
        "%R~FORWARDING_STATE_RESPONSE:*",
        "%R~HW_MUX_CABLE_TABLE*",
        "%R~MUX_METRICS_TABLE|*",
        "%R~LINK_PROBE_STATS|*",
    ];
    let tables = [&NEEDED[..], &more].concat();
    let mut rack = switch_of(&with("%R~", &tables), "publish: own").await;
    what_a_life_changes(&mut rack, "MUX_CABLE_INFO").await;
    // The settings in CONFIG_DB, which `--config.database` waits for.
    rack.config_db("HSET DUALTOR_EXPORTER|config listen_address 127.0.0.1:0");
    let config = rack.config_path().to_str().expect("UTF-8").to_owned();
    let mut program = Program::start(&["--config.database", "--config.file", &config]);
    program.address().await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code, Some(0));
    assert_eq!(refused(&rack), []);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sonic.md");
    let text = std::fs::read_to_string(path).expect("docs/sonic.md");
    for table in tables {
        assert!(text.contains(table), "docs/sonic.md does not say {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_read_what_ycabled_has_written_reads_everything_else() {
    let mut rack = switch_of(&with("%R~", &NEEDED), "publish: own").await;
    what_a_life_changes(&mut rack, "MUX_CABLE_INFO").await;
    let refused = refused(&rack);
    let of_ycabled = |entry: &BTreeMap<String, Value>| {
        let object = format!("{:?}", entry["object"]);
        [
            "FORWARDING_STATE_RESPONSE:",
            "HW_MUX_CABLE_TABLE",
            "MUX_METRICS_TABLE|",
            "LINK_PROBE_STATS|",
        ]
        .iter()
        .any(|table| object.contains(table))
    };
    assert!(
        !refused.is_empty() && refused.iter().all(of_ycabled),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_subscribe_to_all_keyspace_channels_only_is_told_too() {
    let mut rack = switch_of(&with("&", &["&__keyspace@*"]), "publish: own").await;
    what_a_life_changes(&mut rack, "MUX_CABLE_INFO").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_user_who_may_not_subscribe_changes_are_found_within_an_interval() {
    let mut rack = switch_of(&with("&", &[]), "publish: own").await;
    let config = std::fs::read_to_string(rack.config_path()).expect("the configuration");
    rack.write_config(&config.replace(NEVER_POLLED, "interval: 600ms"));
    what_a_life_changes(&mut rack, "MUX_CABLE_INFO").await;
}

/// Each key that the exporter follows, and no other.
#[test]
fn the_documented_channels_are_those_that_are_subscribed_to() {
    use dualtor_exporter::sonic::{intent as facts, inventory};
    let mut channels = BTreeSet::new();
    for (id, separator, spec) in [
        (4, "|", inventory::CONFIG_DB),
        (0, ":", facts::APPL_DB),
        (6, "|", facts::STATE_DB),
        (6, "|", facts::STATE_DB_SHADOWED),
    ] {
        let tables = spec
            .tables
            .iter()
            .map(|table| format!("{}{separator}*", table.name));
        let values = spec.values.iter().map(|&key| key.to_owned());
        channels.extend(tables.chain(values).map(|key| format!("__keyspace@{id}__:{key}")));
    }
    // Our own rows, in either mode, to notice others' writes.
    for table in ["MUX_CABLE_INFO", "MUX_CABLE_INFO_SHADOW"] {
        channels.insert(format!("__keyspace@6__:{table}|*"));
    }
    assert_eq!(words('&'), channels);
}

/// Each Redis command in the source, except in the code of `probe` and `doctor`, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_commands_are_those_that_the_source_issues() {
    let redis = Redis::start_tcp(&[]).await;
    let known: Vec<String> = redis.ask("COMMAND LIST");
    let known: BTreeSet<String> = known.into_iter().collect();
    let mut issued = BTreeSet::new();
    for (file, code) in crate::architecture::files() {
        let at_redis =
            code.contains("redis::cmd") || code.contains("redis::pipe") || code.contains("Cmd::new");
        if !at_redis || file.starts_with("cli") {
            continue;
        }
        // After a split at quotes, every second piece is a literal.
        let literals = code.split('"').skip(1).step_by(2);
        let commands =
            literals.filter(|text| !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase()));
        issued.extend(
            commands
                .map(str::to_lowercase)
                .filter(|word| known.contains(word)),
        );
    }
    // AUTH is always permitted; the other is the code of an error.
    for word in ["auth", "readonly"] {
        issued.remove(word);
    }
    assert_eq!(words('+'), issued);
}

/// The `HDEL` lines in docs/sonic.md name exactly the fields that the exporter writes and ycabled does not.
#[test]
fn handing_back_to_ycabled_removes_what_only_we_write() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sonic.md");
    let text = std::fs::read_to_string(path).expect("docs/sonic.md");
    let (_, command) = text
        .split_once("redis-cli -n 6 hdel \"$key\" ")
        .expect("the command");
    let removed: BTreeSet<&str> = command
        .lines()
        .next()
        .expect("a line")
        .split_whitespace()
        .collect();
    // `post_port_mux_info_to_db` of SONiC's ycabled, for active-active ports.
    let of_ycabled = [
        "self_link_state",
        "peer_link_state",
        "self_oper_state",
        "peer_oper_state",
        "server_version",
        "time_post",
        "self_mux_direction",
        "peer_mux_direction",
        "peer_mux_direction_probe_count",
        "mux_direction_probe_count",
        "link_state_probe_count",
        "peer_link_state_probe_count",
        "operation_state_probe_count",
        "peer_operation_state_probe_count",
        "grpc_connection_status",
    ];
    let ours = crate::soc_view::FIELDS.into_iter();
    let extra: BTreeSet<&str> = ours.filter(|field| !of_ycabled.contains(field)).collect();
    assert_eq!((removed.len(), &removed), (4, &extra));
}

/// The JSON in docs/sonic.md has the form that `config load` expects: tables, rows, fields.
#[test]
fn the_documented_json_is_json() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sonic.md");
    let text = std::fs::read_to_string(path).expect("docs/sonic.md");
    let blocks: Vec<serde_json::Value> = text
        .split("```json\n")
        .skip(1)
        .map(|block| {
            let (json, _) = block.split_once("```").expect("an end");
            serde_json::from_str(json).expect("JSON")
        })
        .collect();
    let [acl, secrets] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    let table = &acl["ACL_TABLE"]["DUALTOR_METRICS"];
    assert_eq!(
        (&table["type"], &table["services"]),
        (&"CTRLPLANE".into(), &serde_json::json!(["EXTERNAL_CLIENT"]))
    );
    let rule = &acl["ACL_RULE"]["DUALTOR_METRICS|PROMETHEUS"];
    assert_eq!(
        (&rule["L4_DST_PORT"], &rule["PACKET_ACTION"]),
        (&"9075".into(), &"ACCEPT".into())
    );
    assert!(rule["PRIORITY"].is_string() && rule["SRC_IP"].is_string());
    assert_eq!(secrets["GRPCCLIENT"]["config"]["type"], "secure");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_user_may_do_nothing_else() {
    let redis = Redis::start_tcp(&[]).await;
    let _: Value = redis.ask(&format!("ACL SETUSER {}", documented().join(" ")));
    for command in [
        "CONFIG GET maxmemory",
        "INFO server",
        "HSET MUX_CABLE|Ethernet0 state active",
        "HSET MUX_CABLE_TABLE|Ethernet0 state active",
        "HSET MUX_SERVICE_NOTIFICATION:Ethernet0 guid x",
        "DEL MUX_CABLE|Ethernet0",
        "SET CONFIG_DB_INITIALIZED 0",
        "FLUSHALL",
        "KEYS *",
        "EVAL return 0",
        "PUBLISH channel message",
        "PSUBSCRIBE __keyspace@4__:TACPLUS*",
        "ACL SETUSER dualtor +@all",
    ] {
        let said: String = redis.ask(&format!("ACL DRYRUN dualtor {command}"));
        assert!(said.contains("has no permissions"), "{command}: {said}");
    }
    let said: String = redis.ask("ACL DRYRUN dualtor HSET MUX_CABLE_INFO|Ethernet0 a b");
    assert_eq!(said, "OK");
}
