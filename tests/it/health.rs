//! grpc.health.v1: a status from Watch is shown at once. Without Watch, Check is called every interval.

use std::time::{Duration, Instant};

use dualtor_sim::{Code, ConnectionFault, Health, ReplyFault, Rpc};

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const PROBES: &str = "dualtor_probes_total";

fn say(rack: &Rack, health: Health) {
    rack.soc(PORT).set(|state| state.health = health);
}

/// Waits until health has this value.
async fn shows(rack: &Rack, health: &str) -> Scrape {
    let name = "dualtor_health_status";
    rack.scraped(name, |scrape| {
        scrape.state(name, &[("port", PORT)], "status") == health
    })
    .await
}

/// Waits until Watch has been called this often; returns whether a stream is open.
async fn watches(rack: &Rack, calls: u64) -> u64 {
    wait_until("calls of Watch", async || {
        let counters = rack.soc(PORT).counters();
        match counters.rpcs[&Rpc::Watch] {
            seen if seen >= calls => Ok(counters.health_streams),
            seen => Err(format!("{seen}")),
        }
    })
    .await
}

/// A healthy SoC that serves Watch, and is probed only when its channel becomes READY.
async fn watched() -> Rack {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    assert_eq!(watches(&rack, 1).await, 1);
    rack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_shown_at_once_and_writes_no_row() {
    let rack = watched().await;
    let row = rack.row(PORT);
    for (health, shown) in [
        (Health::NotServing, "not_serving"),
        // The stream stays open, as the protocol requires.
        (Health::ServiceUnknown, "service_unknown"),
        (Health::Unknown, "unknown"),
        (Health::NotFound, "service_unknown"),
        (Health::Serving, "serving"),
    ] {
        say(&rack, health);
        let scrape = shows(&rack, shown).await;
        // No Check has reported it.
        assert_eq!(scrape.count(PROBES, &[("query", "health")]), 1);
    }
    assert_eq!(rack.row(PORT), row, "time_post moves with each write");
    let counters = rack.soc(PORT).counters();
    assert_eq!((counters.rpcs[&Rpc::Watch], counters.health_streams), (1, 1));
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_outlives_the_deadlines_of_queries() {
    let rack = Setup::rack(1)
        .probe("interval: 300ms, timeout: 100ms")
        .start()
        .await;
    rack.counts(PROBES, &[("query", "health"), ("result", "OK")], 5)
        .await;
    let counters = rack.soc(PORT).counters();
    assert_eq!((counters.rpcs[&Rpc::Watch], counters.health_streams), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_watch_each_check_tells_and_it_is_asked_for_once_per_connection() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.health_watch = Some(false))
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    for (health, shown) in [(Health::NotServing, "not_serving"), (Health::Serving, "serving")] {
        say(&rack, health);
        shows(&rack, shown).await;
    }
    // Longer than the first wait of the backoff.
    let rounds = rack
        .scrape()
        .await
        .count(PROBES, &[("query", "health"), ("result", "OK")]);
    rack.counts(PROBES, &[("query", "health"), ("result", "OK")], rounds + 4)
        .await;
    assert_eq!(rack.soc(PORT).counters().rpcs[&Rpc::Watch], 1);
    // The SoC is updated.
    rack.soc(PORT).set(|state| state.health_watch = true);
    rack.soc(PORT).close_connections();
    watches(&rack, 2).await;
    wait_until("a stream", async || {
        match rack.soc(PORT).counters().health_streams {
            1 => Ok(()),
            open => Err(format!("{open} streams")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_health_service_nothing_is_asked_again_but_check() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.health = Some(Health::None))
        .start()
        .await;
    let look = Look {
        health: "unimplemented",
        ..Look::HEALTHY
    };
    rack.shows(PORT, &look).await;
    rack.counts(PROBES, &[("query", "health"), ("result", "UNIMPLEMENTED")], 4)
        .await;
    assert_eq!(rack.soc(PORT).counters().rpcs[&Rpc::Watch], 1);
    let scrape = rack.shows(PORT, &look).await;
    assert_eq!(scrape.count("dualtor_channel_failures_total", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_opened_again_however_it_ended() {
    let rack = watched().await;
    for (calls, code) in [(2, None), (3, Some(Code::Unavailable)), (4, Some(Code::NotFound))] {
        rack.soc(PORT).end_health_streams(code);
        watches(&rack, calls).await;
        // A new stream sends the status again. Without a stream the last status is kept.
        say(&rack, Health::NotServing);
        shows(&rack, "not_serving").await;
        say(&rack, Health::Serving);
        shows(&rack, "serving").await;
    }
    assert_eq!(rack.soc(PORT).counters().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_fails_is_asked_for_ever_less_often() {
    let began = Instant::now();
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .soc(PORT, |soc| {
            let message = String::new();
            soc.reply = ReplyFault::Code {
                code: Code::Unavailable,
                message,
            };
            soc.only = vec![Rpc::Watch];
        })
        .start()
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    // At once, after 1 s, after 2 more.
    watches(&rack, 3).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2900), "three calls in {took:?}");
    assert_eq!(rack.soc(PORT).counters().rpcs[&Rpc::Health], 1);
    // A new connection begins with the first wait.
    rack.soc(PORT).reply_fault(ReplyFault::None);
    rack.soc(PORT).close_connections();
    watches(&rack, 4).await;
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_unknown_until_somebody_knows_better() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let message = String::new();
    let fault = ReplyFault::Code {
        code: Code::Internal,
        message,
    };
    rack.soc(PORT).reply_fault_only(fault, &[Rpc::Health]);
    shows(&rack, "unknown").await;
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
    shows(&rack, "unknown").await;
    rack.soc(PORT).reply_fault(ReplyFault::None);
    shows(&rack, "not_serving").await;
    assert_eq!(
        rack.soc(PORT).counters().rpcs[&Rpc::Watch],
        1,
        "the stream was well all the time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_was_answered_before_a_change_does_not_hide_it() {
    // The round ends with its slowest query, 2 s after the Check was answered.
    let rack = Setup::rack(1)
        .probe("interval: 300d, timeout: 2s")
        .soc(PORT, |soc| {
            soc.reply = ReplyFault::Stall;
            soc.only = vec![Rpc::Admin];
        })
        .start()
        .await;
    wait_until("the Check is answered", async || {
        let counters = rack.soc(PORT).counters();
        match (counters.rpcs[&Rpc::Health], counters.health_streams) {
            (1, 1) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    shows(&rack, "serving").await;
    say(&rack, Health::NotServing);
    let scrape = shows(&rack, "not_serving").await;
    assert_eq!(
        scrape.count(PROBES, &[("query", "health")]),
        0,
        "the round goes on"
    );
    let scrape = rack
        .counts(PROBES, &[("query", "health"), ("result", "OK")], 1)
        .await;
    assert_eq!(
        scrape.state("dualtor_health_status", &[("port", PORT)], "status"),
        "not_serving"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_on_a_connection_that_is_gone_means_nothing() {
    let rack = watched().await;
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
    rack.soc(PORT).connection_fault(ConnectionFault::Refuse);
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
    say(&rack, Health::Serving);
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.shows(PORT, &Look::HEALTHY).await;
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_statuses_harms_nothing() {
    let rack = watched().await;
    let row = rack.row(PORT);
    rack.soc(PORT).flood_health(20_000);
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
    say(&rack, Health::Serving);
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(scrape.count("dualtor_channel_failures_total", &[]), 0);
    assert_eq!(rack.soc(PORT).counters().connections, 1);
    assert_eq!(rack.row(PORT), row);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_allows_few_streams_keeps_them_for_queries_and_notices() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.max_concurrent_streams = Some(6))
        .start()
        .await;
    rack.service(PORT, "noop").await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let counters = rack.soc(PORT).counters();
    assert_eq!((counters.notice_streams, counters.rpcs[&Rpc::Watch]), (1, 0));
    say(&rack, Health::NotServing);
    shows(&rack, "not_serving").await;
}
