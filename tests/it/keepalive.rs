//! Servers that refuse our PINGs as too many, as gRPC's own do by default.

use std::time::{Duration, Instant};

use dualtor_sim::{ConnectionFault, H2Code, PingPolicy};

use crate::child::Program;
use crate::connections::{
    FAILURES, INTERVAL, PORT, TRANSITIONS, failures, goaway, keepalive_interval, transitions,
};
use crate::harness::{LONG, Rack, Setup, wait_until};
use crate::soc_view::Look;

/// A PING every 100 ms, until it is refused; rounds are a second apart.
const BUSY: &str = "keepalive_time: 100ms, keepalive_timeout: 500ms, backoff: {initial: 100ms, max: 500ms}";
const EACH_SECOND: &str = "interval: 1s, timeout: 500ms";
const OK: [(&str, &str); 2] = [("query", "admin"), ("result", "OK")];

/// A SoC whose server limits PINGs, and a channel that sends more than it allows.
fn minding(policy: PingPolicy) -> Setup {
    Setup::rack(1)
        .probe(EACH_SECOND)
        .channel(BUSY)
        .soc(PORT, |soc| soc.pings = Some(policy))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_server_refuses_our_pings_once_and_then_never_again() {
    let rack = minding(PingPolicy::default()).start().await;
    rack.counts(FAILURES, &[("cause", "goaway")], 1).await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let (before, pings) = (rack.scrape().await, rack.soc(PORT).counters().pings_seen);
    let rounds = before.count("dualtor_probes_total", &OK);
    let scrape = rack.counts("dualtor_probes_total", &OK, rounds + 6).await;
    assert_eq!((failures(&scrape, "goaway"), scrape.count(FAILURES, &[])), (1, 1));
    assert_eq!(transitions(&scrape, "ready"), 2);
    assert_eq!(keepalive_interval(&scrape), 1.0);
    let (rounds, pings) = (
        scrape.count("dualtor_probes_total", &OK) - rounds,
        rack.soc(PORT).counters().pings_seen - pings,
    );
    assert!(pings.abs_diff(rounds) <= 1, "{pings} PINGs in {rounds} rounds");
    assert!(scrape.value("dualtor_keepalive_rtt_seconds", &[]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_hangs_after_it_has_refused_our_pings_still_leaves_ready() {
    let rack = minding(PingPolicy::default()).start().await;
    rack.counts(FAILURES, &[("cause", "goaway")], 1).await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let hung = Instant::now();
    rack.soc(PORT).connection_fault(ConnectionFault::Hang);
    rack.counts(FAILURES, &[("cause", "keepalive_timeout")], 1).await;
    // An interval, a tenth of it and the time for the answer are 1.6 s.
    assert!(hung.elapsed() < Duration::from_secs(16), "{:?}", hung.elapsed());
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(keepalive_interval(&scrape), 1.0, "not lost with the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_minds_even_the_rounds_pings_gets_half_as_many_each_time() {
    let rack = minding(PingPolicy {
        forgiving: false,
        ..PingPolicy::default()
    })
    .probe("interval: 300ms, timeout: 200ms")
    .start()
    .await;
    for (refusals, expected) in [(1, 0.3), (2, 0.6), (3, 1.2)] {
        let scrape = rack.counts(FAILURES, &[("cause", "goaway")], refusals).await;
        let interval = keepalive_interval(&scrape);
        assert!(
            (interval - expected).abs() < 1e-9,
            "{interval}, expected {expected}"
        );
    }
    rack.shows(PORT, &Look::HEALTHY).await;
}

async fn refuse(rack: &Rack, debug: &str) {
    let ready = transitions(&rack.scrape().await, "ready") + 1;
    rack.soc(PORT)
        .connection_fault(goaway(H2Code::EnhanceYourCalm, debug));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == ready)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keepalive_that_was_refused_goes_with_the_rounds_until_the_configuration_changes() {
    let mut rack = Setup::rack(2).probe("interval: 2s").start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    refuse(&rack, "too_many_pings").await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(keepalive_interval(&scrape), 2.0);
    assert_eq!(
        (
            failures(&scrape, "goaway"),
            transitions(&scrape, "transient_failure")
        ),
        (1, 1)
    );
    let other = [("port", "Ethernet4")];
    assert_eq!(scrape.value(INTERVAL, &other), Some(0.2), "this target's alone");
    // A new connection keeps this mode, and so does a reload that changes nothing for this channel. The mode follows the
    // interval.
    rack.soc(PORT).close_connections();
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 3)
        .await;
    assert_eq!(keepalive_interval(&rack.scrape().await), 2.0);
    rack.settings.probe = "interval: 3s".to_owned();
    rack.settings.side = "lower".to_owned();
    rack.reload().await;
    rack.scraped(INTERVAL, |scrape| keepalive_interval(scrape) == 3.0)
        .await;
    assert_eq!(rack.scrape().await.value(INTERVAL, &other), Some(0.2));
    rack.settings.channel = rack.settings.channel.replace("200ms", "300ms");
    rack.reload().await;
    rack.scraped(INTERVAL, |scrape| keepalive_interval(scrape) == 0.3)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_pings_is_understood_among_other_words_and_other_words_are_not() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    refuse(&rack, "too_much_of_something").await;
    refuse(&rack, "").await;
    assert_eq!(keepalive_interval(&rack.scrape().await), 0.2);
    refuse(&rack, "Server: Too_Many_Pings (3 strikes)").await;
    assert_eq!(keepalive_interval(&rack.scrape().await), 0.6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_too_many_pings_on_each_connection_gets_no_fewer_but_for_pings_that_were_sent_on_it() {
    let rack = Setup::rack(1).probe("interval: 100s").start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let pings = || rack.soc(PORT).counters().pings_seen;
    refuse(&rack, "too_many_pings").await;
    assert_eq!(keepalive_interval(&rack.scrape().await), 100.0);
    // One goes out with the first round of each connection.
    let before = pings();
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.scraped("dualtor_keepalive_rtt_seconds", |scrape| {
        scrape.value("dualtor_keepalive_rtt_seconds", &[]).is_some()
    })
    .await;
    refuse(&rack, "too_many_pings").await;
    assert_eq!(keepalive_interval(&rack.scrape().await), 200.0);
    assert!(pings() >= before);
    // No PING goes with the first round any more.
    let before = pings();
    for _ in 0..5 {
        rack.shows(PORT, &Look::HEALTHY).await;
        refuse(&rack, "too_many_pings").await;
    }
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(keepalive_interval(&scrape), 200.0);
    assert_eq!(pings(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_our_pings_are_refused_is_said_once_and_in_words() {
    let rack = minding(PingPolicy::default()).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program = Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let line = program.says("too_many_pings", 1).await;
    let line = match line.contains("sent only with rounds of queries") {
        true => line,
        false => program.says("sent only with rounds of queries", 1).await,
    };
    assert!(
        line.contains("port=Ethernet0") && line.contains("level=warn"),
        "{line}"
    );
    let soc = rack.soc(PORT);
    let calls = || soc.counters().rpcs[&dualtor_sim::Rpc::Admin];
    let before = calls();
    wait_until("some rounds", async || match calls() {
        calls if calls >= before + 4 => Ok(()),
        calls => Err(format!("{calls} calls")),
    })
    .await;
    let log = program.stderr();
    assert_eq!(
        log.matches("sent only with rounds of queries").count(),
        1,
        "{log}"
    );
    program.signal("TERM");
    tokio::time::timeout(LONG, program.ended()).await.expect("an end");
}
