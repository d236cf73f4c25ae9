//! Shadow mode compared with what ycabled writes.

use redis::Value;

use crate::harness::{ONLY_AT_READY, Setup};
use crate::http::Scrape;
use crate::soc_view::Look;

const NAME: &str = "dualtor_shadow_differences";

/// The fields in which ports differ, as `self_mux_direction 1`.
fn differing(scrape: &Scrape) -> Vec<String> {
    let found = scrape.find(NAME, &[]).filter(|sample| sample.value != 0.0);
    found
        .map(|s| format!("{} {}", s.labels["field"], s.value))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_it_is_counted_where_ycabled_says_something_else() {
    let setup = Setup::rack(3).databases("publish: shadow");
    let mut rack = setup.stage().await;
    let ycabled = |port: &str, fields: &str| {
        let _: Value = rack.redis.ask(&format!("HSET MUX_CABLE_INFO|{port} {fields}"));
    };
    let agrees = "self_mux_direction active peer_mux_direction standby self_link_state up peer_link_state up \
                  self_oper_state up peer_oper_state up server_version 1.0.0 grpc_connection_status READY \
                  mux_direction N/A link_status_peer up mux_direction_probe_count 7 time_post then \
                  self_operation_state down soc_service inprogress";
    ycabled("Ethernet0", agrees);
    ycabled(
        "Ethernet4",
        "self_mux_direction standby grpc_connection_status READY",
    );
    rack.start_exporter().await;
    for port in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rack.shows(port, &Look::HEALTHY).await;
    }
    let shows = async |expected: &[&str]| {
        let scrape = rack.scraped(NAME, |scrape| {
            scrape.find(NAME, &[]).count() > 0 && differing(scrape) == expected
        });
        assert_eq!(scrape.await.find(NAME, &[]).count(), 8);
    };
    shows(&["self_mux_direction 1"]).await;
    // After ycabled's next cycle, and then for all ports.
    let ycabled = |port: &str, fields: &str| {
        let _: Value = rack.redis.ask(&format!("HSET MUX_CABLE_INFO|{port} {fields}"));
    };
    ycabled("Ethernet4", "self_mux_direction active");
    shows(&[]).await;
    ycabled("Ethernet8", "grpc_connection_status IDLE server_version N/A");
    ycabled("Ethernet0", "grpc_connection_status IDLE");
    shows(&["server_version 1", "grpc_connection_status 2"]).await;

    // Nothing can be compared: there must be no zeros, which would look like equal rows.
    rack.redis.freeze();
    rack.scraped(NAME, |scrape| scrape.find(NAME, &[]).count() == 0)
        .await;
    rack.redis.thaw();
    shows(&["server_version 1", "grpc_connection_status 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compared_where_our_rows_are_the_rows() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    assert_eq!(rack.scrape().await.find(NAME, &[]).count(), 0);
}
