//! Redis away: probing and scrapes continue, metrics report it, and every row is correct again when Redis is back.

use crate::harness::{Rack, Setup, wait_until};
use crate::redis_server::Redis;
use crate::soc_view::Look;

const PORTS: [&str; 3] = ["Ethernet0", "Ethernet4", "Ethernet8"];
const UP: &str = "dualtor_state_db_up";

async fn up(rack: &Rack, up: bool) {
    let value = f64::from(u8::from(up));
    rack.scraped(UP, |scrape| scrape.value(UP, &[]) == Some(value))
        .await;
}

/// Rounds continue, whatever Redis does.
async fn probing_goes_on(rack: &Rack) {
    let ok = [("query", "admin"), ("result", "OK")];
    let before = rack.scrape().await.count("dualtor_probes_total", &ok);
    let scrape = rack.counts("dualtor_probes_total", &ok, before + 6).await;
    for port in PORTS {
        let seen = crate::soc_view::of_scrape(&scrape, port);
        assert_eq!(seen, Look::HEALTHY.metrics(), "{port}");
    }
}

/// Metrics and rows agree, counters included.
async fn rows_are_right(rack: &Rack) {
    for port in PORTS {
        rack.shows(port, &Look::HEALTHY).await;
        wait_until("the row's counters are the metrics'", async || {
            let labels = [("port", port), ("query", "admin")];
            let expected = rack.scrape().await.count("dualtor_probes_total", &labels);
            let row = rack.row(port);
            match row.get("mux_direction_probe_count") {
                Some(count) if *count == expected.to_string() => Ok(()),
                count => Err(format!("{count:?}, expected {expected}")),
            }
        })
        .await;
    }
    let foreign = rack
        .scrape()
        .await
        .value("dualtor_state_db_foreign_writes_total", &[]);
    assert_eq!(foreign, Some(0.0));
}

async fn healthy() -> Rack {
    let rack = Setup::rack(3).start().await;
    up(&rack, true).await;
    rows_are_right(&rack).await;
    rack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_and_comes_back_empty_has_all_rows_again() {
    let mut rack = healthy().await;
    let written = rack
        .scrape()
        .await
        .count("dualtor_state_db_writes_total", &[("result", "ok")]);
    assert!(written >= 3);
    rack.redis.kill();
    up(&rack, false).await;
    probing_goes_on(&rack).await;
    rack.redis.launch(&[]).await;
    up(&rack, true).await;
    rows_are_right(&rack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_down_and_has_all_rows_again_when_it_wakes() {
    let rack = healthy().await;
    rack.redis.freeze();
    up(&rack, false).await;
    probing_goes_on(&rack).await;
    // What changes meanwhile is not lost.
    rack.soc("Ethernet4")
        .set(|state| state.version = "2.0".to_owned());
    rack.scraped("dualtor_soc_info", |scrape| {
        scrape.find("dualtor_soc_info", &[("version", "2.0")]).count() == 1
    })
    .await;
    rack.redis.thaw();
    up(&rack, true).await;
    rack.shows(
        "Ethernet4",
        &Look {
            version: "2.0",
            ..Look::HEALTHY
        },
    )
    .await;
    rack.soc("Ethernet4")
        .set(|state| state.version = "1.0.0".to_owned());
    rows_are_right(&rack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_at_start_gets_all_rows_when_it_comes() {
    let mut setup = Setup::rack(3);
    setup.redis = Some(Redis::away());
    let mut rack = setup.start().await;
    up(&rack, false).await;
    probing_goes_on(&rack).await;
    let last = "dualtor_state_db_last_write_timestamp_seconds";
    assert_eq!(rack.scrape().await.value(last, &[]), None, "nothing was written");
    rack.redis.launch(&[]).await;
    up(&rack, true).await;
    rows_are_right(&rack).await;
    assert!(rack.scrape().await.value(last, &[]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_writes_is_down_until_it_takes_them() {
    let rack = healthy().await;
    let refused = [("result", "error")];
    let before = rack
        .scrape()
        .await
        .count("dualtor_state_db_writes_total", &refused);
    let _: String = rack.redis.ask("REPLICAOF 127.0.0.1 1");
    up(&rack, false).await;
    probing_goes_on(&rack).await;
    rack.counts("dualtor_state_db_writes_total", &refused, before + 1)
        .await;
    let _: String = rack.redis.ask("REPLICAOF NO ONE");
    up(&rack, true).await;
    rows_are_right(&rack).await;
}
