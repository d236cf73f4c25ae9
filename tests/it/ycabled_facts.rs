//! What ycabled has written for linkmgrd, beside what the SoC reports: in metrics, API and page, from a real redis-server.

use crate::harness::{Rack, Setup, wait_until};
use crate::http;
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const AGREES: &str = "dualtor_ycabled_agrees";
const CHANGE: &str = "dualtor_ycabled_change_duration_seconds";
const APPL_DB: i64 = 0;
const STATE_DB: i64 = 6;

fn write(rack: &Rack, db: i64, words: &[&str]) {
    let mut redis = rack.redis.connect(db).expect("a connection");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.exec(&mut redis).expect("done");
}

/// Waits until the metric has these values for both sides.
async fn agrees(rack: &Rack, own: Option<f64>, peer: Option<f64>) {
    rack.scraped(AGREES, |scrape| {
        let of = |side| scrape.value(AGREES, &[("port", PORT), ("side", side)]);
        (of("self"), of("peer")) == (own, peer)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ycabled_reports_to_linkmgrd_is_compared_with_the_soc() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let row = rack.row(PORT);
    let (own, peer) = (&*row["self_mux_direction"], &*row["peer_mux_direction"]);
    let other = |state: &str| if state == "active" { "standby" } else { "active" };
    let key = "FORWARDING_STATE_RESPONSE:Ethernet0";
    agrees(&rack, None, None).await;
    write(
        &rack,
        APPL_DB,
        &["HSET", key, "response", own, "response_peer", peer],
    );
    agrees(&rack, Some(1.0), Some(1.0)).await;
    // It lies.
    write(&rack, APPL_DB, &["HSET", key, "response", other(own)]);
    agrees(&rack, Some(0.0), Some(1.0)).await;
    // It does not reach the SoC, and we do.
    write(
        &rack,
        APPL_DB,
        &["HSET", key, "response", "failure", "response_peer", "unknown"],
    );
    agrees(&rack, Some(0.0), Some(0.0)).await;
    write(&rack, APPL_DB, &["HSET", key, "response", "nonsense"]);
    agrees(&rack, None, Some(0.0)).await;
    write(&rack, APPL_DB, &["DEL", key]);
    agrees(&rack, None, None).await;

    write(&rack, APPL_DB, &["HSET", key, "response", other(own)]);
    write(
        &rack,
        STATE_DB,
        &[
            "HSET",
            "HW_MUX_CABLE_TABLE|Ethernet0",
            "state",
            own,
            "read_side",
            "1",
        ],
    );
    write(
        &rack,
        STATE_DB,
        &["HSET", "HW_MUX_CABLE_TABLE_PEER|Ethernet0", "state", "unknown"],
    );
    write(
        &rack,
        STATE_DB,
        &[
            "HSET",
            "LINK_PROBE_STATS|Ethernet0",
            "pck_loss_count",
            "3",
            "pck_expected_count",
            "12000",
        ],
    );
    write(
        &rack,
        STATE_DB,
        &[
            "HSET",
            "MUX_METRICS_TABLE|Ethernet0",
            "grpc_switch_self_active_start",
            "2026-Nov-21 00:06:31.400000",
            "grpc_switch_self_active_end",
            "2026-Nov-21 00:06:31.650000",
        ],
    );
    let scrape = rack
        .scraped(CHANGE, |scrape| scrape.find(CHANGE, &[]).count() > 0)
        .await;
    let change = scrape.value(CHANGE, &[("port", PORT), ("side", "self")]);
    assert_eq!(change, Some(0.25));
    agrees(&rack, Some(0.0), None).await;

    let api = http::get(rack.web, "/api/v1/ports/Ethernet0").await;
    let api: serde_json::Value = serde_json::from_str(api.text()).expect("JSON");
    let expected = serde_json::json!({
        "self": {"answered": other(own), "agrees": false, "set": own,
                 "change": {"to": "active", "ended": "2026-11-21T00:06:31.650Z", "seconds": 0.25}},
        "peer": {"answered": null, "agrees": null, "set": "unknown", "change": null},
        "heartbeats": {"lost": 3, "expected": 12000},
    });
    assert_eq!(api["mux"]["ycabled"], expected);
    let page = http::get(rack.web, "/ports/Ethernet0").await;
    for text in [
        &*format!(
            "reported self {} (not what the SoC reports) to linkmgrd",
            other(own)
        ),
        "changed self to active in 250",
        "linkmgrd lost 3 of 12000 heartbeats",
    ] {
        assert!(page.text().contains(text), "{text}: {}", page.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_content_of_these_rows_costs_nothing_and_hides_nothing() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let long = "x".repeat(1_000_000);
    write(
        &rack,
        APPL_DB,
        &["HSET", "FORWARDING_STATE_RESPONSE:Ethernet0", "response", &long],
    );
    write(
        &rack,
        STATE_DB,
        &["RPUSH", "HW_MUX_CABLE_TABLE|Ethernet0", "a", "b"],
    );
    write(
        &rack,
        STATE_DB,
        &["SET", "HW_MUX_CABLE_TABLE_PEER|Ethernet0", "active"],
    );
    let fields: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let mut many = vec!["HSET", "MUX_METRICS_TABLE|Ethernet0"];
    many.extend(fields.iter().map(String::as_str));
    write(&rack, STATE_DB, &many);
    write(
        &rack,
        STATE_DB,
        &[
            "HSET",
            "LINK_PROBE_STATS|Ethernet0",
            "pck_loss_count",
            "-1",
            "pck_expected_count",
            &long,
        ],
    );
    // Everything has been read again.
    write(
        &rack,
        STATE_DB,
        &["HSET", "MUX_LINKMGR_TABLE|Ethernet0", "state", "healthy"],
    );
    write(
        &rack,
        APPL_DB,
        &["HSET", "MUX_CABLE_TABLE:Ethernet0", "state", "active"],
    );
    let facts = async || {
        let api = http::get(rack.web, "/api/v1/ports/Ethernet0").await;
        let api: serde_json::Value = serde_json::from_str(api.text()).expect("JSON");
        api["mux"].clone()
    };
    let mux = wait_until("the facts", async || {
        let mux = facts().await;
        match (mux["linkmgr"].as_str(), mux["intended"].as_str()) {
            (Some("healthy"), Some("active")) => Ok(mux),
            _ => Err(mux.to_string()),
        }
    })
    .await;
    let nothing = serde_json::json!({"answered": null, "agrees": null, "set": null, "change": null});
    let expected = serde_json::json!({"self": nothing, "peer": nothing, "heartbeats": null});
    assert_eq!(mux["ycabled"], expected);
}
