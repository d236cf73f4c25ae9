//! When a SoC is probed, and how that is counted.

use std::time::{Duration, Instant};

use dualtor_sim::{ConnectionFault, Direction, Link, ReplyFault, Rpc};

use crate::harness::{ONLY_AT_READY, Setup, wait_until};
use crate::http::Scrape;
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const PROBES: &str = "dualtor_probes_total";
const DURATIONS: &str = "dualtor_probe_duration_seconds_count";
const SWITCHES: &str = "dualtor_mux_direction_transitions_total";
const QUERIES: [(&str, Rpc); 5] = [
    ("admin", Rpc::Admin),
    ("operation", Rpc::Operation),
    ("link", Rpc::Link),
    ("version", Rpc::Version),
    ("health", Rpc::Health),
];

fn attempts(scrape: &Scrape, query: &str) -> u64 {
    scrape.count(PROBES, &[("query", query)])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ready_starts_a_round_at_once_that_counts_each_query_once() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    for rounds in 1..=3 {
        let scrape = rack
            .scraped(PROBES, |scrape| attempts(scrape, "admin") == rounds)
            .await;
        let sent = rack.soc(PORT).counters().rpcs;
        for (query, rpc) in QUERIES {
            assert_eq!(attempts(&scrape, query), rounds, "{query}");
            assert_eq!(sent[&rpc], rounds, "{query}");
        }
        assert_eq!(scrape.count(DURATIONS, &[]), 5 * rounds);
        let scrape = rack.shows(PORT, &Look::HEALTHY).await;
        let ready = [("to", "ready")];
        assert_eq!(scrape.count("dualtor_channel_transitions_total", &ready), rounds);
        for field in ["mux_direction", "link_state", "operation_state"] {
            let row = rack.row(PORT);
            assert_eq!(row[&format!("{field}_probe_count")], rounds.to_string());
            assert_eq!(row[&format!("peer_{field}_probe_count")], rounds.to_string());
        }
        rack.soc(PORT).close_connections();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_comes_each_interval() {
    let began = Instant::now();
    let rack = Setup::rack(1).probe("interval: 1s").start().await;
    let scrape = rack
        .counts(PROBES, &[("query", "admin"), ("result", "OK")], 4)
        .await;
    // One round at READY, then the grid of the interval. A grid point just after READY is skipped.
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(2),
        "4 rounds in {took:?} of an interval of 1 s"
    );
    rack.shows(PORT, &Look::HEALTHY).await;
    let at = "dualtor_probe_last_success_timestamp_seconds";
    let first = scrape.value(at, &[]).expect("a success");
    rack.scraped(at, |scrape| scrape.value(at, &[]).is_some_and(|at| at > first))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_on_a_channel_that_is_not_ready_counts_unavailable_and_sends_nothing() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.fault = ConnectionFault::Refuse)
        .start()
        .await;
    let unavailable = [("query", "health"), ("result", "UNAVAILABLE")];
    rack.counts(PROBES, &unavailable, 2).await;
    let count = wait_until("metrics and row count alike", async || {
        let scrape = rack.scrape().await;
        let count = attempts(&scrape, "admin");
        for (query, _) in QUERIES {
            let unavailable = [("query", query), ("result", "UNAVAILABLE")];
            assert_eq!(scrape.count(PROBES, &unavailable), count, "{query}");
            assert_eq!(attempts(&scrape, query), count, "{query}");
        }
        assert_eq!(scrape.count(DURATIONS, &[]), 0, "nothing was sent");
        let row = rack.row(PORT);
        let counted = row.get("mux_direction_probe_count").cloned().unwrap_or_default();
        if counted == count.to_string() && row["grpc_connection_status"] == "TRANSIENT_FAILURE" {
            Ok(count)
        } else {
            Err(format!("metrics {count}, row {row:?}"))
        }
    })
    .await;
    rack.counts(PROBES, &unavailable, count + 1).await;
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_a_connection_that_is_lost_are_unavailable_and_believed_no_more() {
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .soc(PORT, |soc| soc.reply = ReplyFault::Stall)
        .start()
        .await;
    let soc = rack.soc(PORT);
    wait_until("the queries are under way", async || {
        let rpcs = soc.counters().rpcs;
        if QUERIES.iter().all(|(_, rpc)| rpcs[rpc] == 1) {
            Ok(())
        } else {
            Err(format!("{rpcs:?}"))
        }
    })
    .await;
    soc.reply_fault(ReplyFault::None);
    soc.reset_connections();
    let scrape = rack.counts(PROBES, &[("result", "OK")], 5).await;
    assert_eq!(scrape.count(PROBES, &[("result", "UNAVAILABLE")]), 5);
    assert_eq!(scrape.count(PROBES, &[]), 10);
    assert_eq!(scrape.count(DURATIONS, &[]), 5, "those that were answered");
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lower_tor_sees_the_same_soc_from_the_other_end() {
    let rack = Setup::rack(1).side("lower").start().await;
    let soc = rack.soc(PORT);
    soc.set(|state| {
        state.links.upper = Link::Down;
        state.oper.lower = Link::Down;
    });
    let look = Look {
        own: ["standby", "up", "down"],
        peer: ["active", "down", "up"],
        ..Look::HEALTHY
    };
    let scrape = rack.shows(PORT, &look).await;
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "lower");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_known_side_every_direction_is_unknown() {
    let rack = Setup::rack(1).side("auto").start().await;
    let look = Look {
        own: ["unknown"; 3],
        peer: ["unknown"; 3],
        ..Look::HEALTHY
    };
    let scrape = rack.shows(PORT, &look).await;
    assert_eq!(scrape.state("dualtor_side", &[], "side"), "unknown");
    rack.counts(PROBES, &[("query", "admin"), ("result", "OK")], 2)
        .await;
    assert_eq!(
        rack.soc(PORT).counters().last_tor,
        None,
        "the side is unknown: nothing to ask for"
    );
    rack.shows(PORT, &look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_is_counted_for_each_side_and_an_unknown_in_between_is_not() {
    let rack = Setup::rack(1).start().await;
    let soc = rack.soc(PORT);
    rack.shows(PORT, &Look::HEALTHY).await;
    // Through an unknown and back to the same: no change.
    soc.reply_fault_only(ReplyFault::Short, &[Rpc::Admin]);
    let mut look = Look::HEALTHY;
    (look.own[0], look.peer[0]) = ("unknown", "unknown");
    rack.shows(PORT, &look).await;
    soc.reply_fault(ReplyFault::None);
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(scrape.count(SWITCHES, &[]), 0);
    assert_eq!(
        scrape.find(SWITCHES, &[]).count(),
        2,
        "both sides are there from the start"
    );
    // Both sides active: only the peer's direction has changed.
    soc.set(|state| state.directions.lower = Direction::Active);
    look = Look {
        peer: ["active", "up", "up"],
        ..Look::HEALTHY
    };
    let scrape = rack.shows(PORT, &look).await;
    assert_eq!(scrape.count(SWITCHES, &[("side", "peer")]), 1);
    assert_eq!(scrape.count(SWITCHES, &[("side", "self")]), 0);
    // Through a loss of the channel, to the other direction: one change.
    soc.set(|state| state.directions.upper = Direction::Standby);
    soc.reset_connections();
    look.own[0] = "standby";
    let scrape = rack.shows(PORT, &look).await;
    assert_eq!(scrape.count(SWITCHES, &[("side", "peer")]), 1);
    assert_eq!(scrape.count(SWITCHES, &[("side", "self")]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hung_soc_leaves_its_neighbours_alone() {
    let rack = Setup::rack(8)
        .soc("Ethernet12", |soc| soc.fault = ConnectionFault::Hang)
        .start()
        .await;
    for port in ["Ethernet0", "Ethernet8", "Ethernet16", "Ethernet28"] {
        let scrape = rack.shows(port, &Look::HEALTHY).await;
        let dials = scrape.count("dualtor_channel_dials_total", &[("port", port)]);
        assert_eq!(dials, 1, "{port}");
    }
    let labels = [("port", "Ethernet12"), ("cause", "keepalive_timeout")];
    let scrape = rack.counts("dualtor_channel_failures_total", &labels, 1).await;
    let all = scrape.count("dualtor_channel_failures_total", &[]);
    assert_eq!(all, scrape.count("dualtor_channel_failures_total", &labels));
}
