//! Rows in STATE_DB: their fields, their counters, when they are written and when they are deleted.

use std::collections::BTreeMap;

use dualtor_sim::ConnectionFault;

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::soc_view::{FIELDS, Look, Row};

const PORT: &str = "Ethernet0";
const KEY: &str = "MUX_CABLE_INFO|Ethernet0";

/// What changes from run to run, masked.
fn masked(mut row: Row) -> String {
    let time = row
        .insert("time_post".to_owned(), "[time]".to_owned())
        .expect("time_post");
    let parsed = chrono::NaiveDateTime::parse_from_str(&time, "%Y-%b-%d %H:%M:%S%.6f");
    parsed.unwrap_or_else(|error| panic!("{time}: {error}"));
    let lines: Vec<String> = row
        .iter()
        .map(|(field, value)| format!("{field}: {value}"))
        .collect();
    lines.join("\n")
}

/// A healthy SoC after its one round, its stream open.
async fn settled(rack: &Rack, key: &str) -> Row {
    wait_until(&format!("{key} is settled"), async || {
        let row = rack.redis.row(key);
        let is = |field: &str, value: &str| row.get(field).is_some_and(|found| found == value);
        if is("soc_service", "noop") && is("mux_direction_probe_count", "1") {
            Ok(row)
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await
}

fn keys(rack: &Rack) -> Vec<String> {
    let mut keys: Vec<String> = rack.redis.ask("KEYS *");
    keys.sort();
    keys
}

fn counters(row: &Row) -> BTreeMap<&str, u64> {
    let counters = row.iter().filter(|(field, _)| field.ends_with("_probe_count"));
    let counters: BTreeMap<&str, u64> = counters
        .map(|(field, count)| (field.as_str(), count.parse().expect("a count")))
        .collect();
    assert_eq!(counters.len(), 6);
    counters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_its_19_fields_and_nothing_else_is_written() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    let row = settled(&rack, KEY).await;
    assert!(row.keys().eq(FIELDS), "{row:?}");
    insta::assert_snapshot!("row", masked(row));
    assert_eq!(keys(&rack), [KEY]);
    for db in [0, 4] {
        let mut connection = rack.redis.connect(db).expect("a connection");
        let size: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a size");
        assert_eq!(size, 0, "database {db}");
    }
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_hld_has_the_documents_own_names_and_words() {
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .databases("schema: hld")
        .start()
        .await;
    insta::assert_snapshot!("row_hld", masked(settled(&rack, KEY).await));
    rack.soc(PORT).connection_fault(ConnectionFault::Refuse);
    let row = wait_until("the loss", async || {
        let row = rack.redis.row(KEY);
        if row["grpc_connection_status"] == "TRANSIENT_FAILURE" {
            Ok(row)
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
    insta::assert_snapshot!("row_hld_lost", masked(row));
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_writes_the_same_row_elsewhere_and_touches_nothing_else() {
    let setup = Setup::rack(1).probe(ONLY_AT_READY).databases("publish: shadow");
    let mut rack = setup.stage().await;
    let _: i64 = rack.redis.ask(&format!(
        "HSET {KEY} self_mux_direction standby link_status_peer up"
    ));
    rack.start_exporter().await;
    let shadow = "MUX_CABLE_INFO_SHADOW|Ethernet0";
    let row = settled(&rack, shadow).await;
    assert!(row.keys().eq(FIELDS), "{row:?}");
    assert_eq!(row["self_mux_direction"], "active");
    assert_eq!(keys(&rack), [shadow, KEY]);
    rack.settings.targets.clear();
    rack.settings
        .targets
        .push(("Ethernet4".to_owned(), rack.soc(PORT).address()));
    rack.reload().await;
    wait_until("the shadow moves", async || {
        let keys = keys(&rack);
        if keys == ["MUX_CABLE_INFO_SHADOW|Ethernet4", KEY] {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await;
    let untouched = rack.redis.row(KEY);
    assert_eq!(untouched.len(), 2, "{untouched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_off_uses_no_database_and_shows_no_metric_of_one() {
    let rack = Setup::rack(1).databases("publish: off").start().await;
    rack.counts("dualtor_probes_total", &[("result", "OK")], 10).await;
    let scrape = rack.scrape().await;
    let of_db = scrape
        .samples
        .iter()
        .find(|s| s.name.starts_with("dualtor_state_db"));
    assert_eq!(of_db, None);
    assert_eq!(keys(&rack), Vec::<String>::new());
    // The test's own connections set no client name and select database 6: there was no other connection.
    let clients: String = rack.redis.ask("CLIENT LIST");
    assert_eq!(clients.lines().count(), 1, "{clients}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_others_wrote_into_the_row_stay() {
    let mut rack = Setup::rack(1).probe(ONLY_AT_READY).stage().await;
    let _: i64 = rack.redis.ask(&format!(
        "HSET {KEY} link_status_peer up mux_direction_probe_count 41"
    ));
    rack.start_exporter().await;
    let row = wait_until("the row after its round", async || {
        let row = rack.redis.row(KEY);
        match row.get("mux_direction_probe_count").map(String::as_str) {
            Some("42") => Ok(row),
            _ => Err(format!("{row:?}")),
        }
    })
    .await;
    assert_eq!(row.len(), 20);
    assert_eq!(row["link_status_peer"], "up");
    assert_eq!(row["peer_mux_direction_probe_count"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_counted() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    let foreign = "dualtor_state_db_foreign_writes_total";
    assert_eq!(rack.scrape().await.value(foreign, &[]), Some(0.0));
    for count in [1, 2] {
        let write = format!("HSET {KEY} time_post now-{count} self_mux_direction unknown");
        let _: i64 = rack.redis.ask(&write);
        rack.counts(foreign, &[], count).await;
        rack.shows(PORT, &Look::HEALTHY).await;
    }
    assert_eq!(rack.scrape().await.value(foreign, &[]), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_one_write() {
    let rack = Setup::rack(2).start().await;
    for port in [PORT, "Ethernet4"] {
        rack.shows(port, &Look::HEALTHY).await;
        rack.service(port, "noop").await;
    }
    let writes = || rack.redis.calls("hset");
    let rounds = async || {
        let scrape = rack.scrape().await;
        let written = scrape.count("dualtor_state_db_writes_total", &[("result", "ok")]);
        (
            scrape.count("dualtor_probes_total", &[("query", "admin")]),
            written,
        )
    };
    // A moment at which all counters have been written.
    let still = async || {
        wait_until("what is counted is written", async || {
            let (before, written) = rounds().await;
            let hsets = writes();
            if rounds().await == (before, written) && hsets == written {
                Ok((before, hsets))
            } else {
                Err(format!("{hsets} HSETs, {written} confirmed"))
            }
        })
        .await
    };
    let (rounds_before, hsets_before) = still().await;
    let admin = [("query", "admin")];
    rack.counts("dualtor_probes_total", &admin, rounds_before + 6)
        .await;
    wait_until("one HSET per round", async || {
        let (rounds, hsets) = still().await;
        let (rounds, hsets) = (rounds - rounds_before, hsets - hsets_before);
        if rounds == hsets {
            Ok(())
        } else {
            Err(format!("{rounds} rounds, {hsets} HSETs"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_leaves_takes_its_row_and_its_series_along() {
    let mut rack = Setup::rack(2).start().await;
    for port in [PORT, "Ethernet4"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    let both = rack.settings.targets.clone();
    rack.settings.targets.retain(|(port, _)| port == PORT);
    rack.reload().await;
    wait_until("its row is gone", async || {
        let keys = keys(&rack);
        if keys == [KEY] {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await;
    let scrape = rack.scrape().await;
    let left = scrape
        .samples
        .iter()
        .filter(|s| s.labels.get("port").is_some_and(|p| p == "Ethernet4"));
    assert_eq!(left.count(), 0);
    assert_eq!(scrape.value("dualtor_inventory_ports", &[]), Some(1.0));
    let dials = scrape.value("dualtor_channel_dials_total", &[("port", PORT)]);
    assert_eq!(dials, Some(1.0), "the other one was not touched");
    // Its connection is closed, too.
    wait_until("it is disconnected", async || {
        match rack.soc("Ethernet4").counters().open_connections {
            0 => Ok(()),
            open => Err(format!("{open} connections")),
        }
    })
    .await;
    // The port comes back, and its counters start at zero.
    rack.settings.targets = both;
    rack.reload().await;
    let scrape = rack.shows("Ethernet4", &Look::HEALTHY).await;
    let dials = scrape.value("dualtor_channel_dials_total", &[("port", "Ethernet4")]);
    assert_eq!(dials, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_shutdown_and_the_counters_which_go_on_after_a_restart() {
    let mut rack = Setup::rack(2)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    let admin_ok = [("query", "admin"), ("result", "OK")];
    rack.counts("dualtor_probes_total", &admin_ok, 2).await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    rack.stop_exporter().await;
    let mut stopped = BTreeMap::new();
    for port in [PORT, "Ethernet4"] {
        let row = rack.row(port);
        assert_eq!(
            crate::soc_view::of_row(&row),
            Look::unknown("shutdown").row(),
            "{port}"
        );
        stopped.insert(port, row);
    }
    assert!(counters(&stopped[PORT]).values().all(|count| *count >= 2));

    rack.start_exporter().await;
    // Before the first round the counters have the row's values; after n rounds they are n higher.
    wait_until("the counters go on", async || {
        let scrape = rack.scrape().await;
        let row = rack.row(PORT);
        let now = counters(&row);
        let own = |query| scrape.count("dualtor_probes_total", &[("port", PORT), ("query", query)]);
        let base = counters(&stopped[PORT]);
        let right = [
            ("mux_direction", "admin"),
            ("link_state", "link"),
            ("operation_state", "operation"),
        ]
        .into_iter()
        .all(|(field, query)| {
            [
                format!("{field}_probe_count"),
                format!("peer_{field}_probe_count"),
            ]
            .iter()
            .all(|field| now[&**field] == base[&**field] + own(query))
        });
        assert!(now.iter().all(|(field, count)| *count >= base[field]), "{now:?}");
        if right && own("admin") >= 2 {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let foreign = rack
        .scrape()
        .await
        .value("dualtor_state_db_foreign_writes_total", &[]);
    assert_eq!(foreign, Some(0.0), "what we find at start is the baseline");
}
