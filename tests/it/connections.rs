//! Each fault of a SoC's connections: channel state, row and metrics during it and afterwards.

use std::net::SocketAddr;

use dualtor_sim::{ConnectionFault, GoAway, H2Code, ReplyFault, Rpc};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::soc_view::Look;

pub(crate) const PORT: &str = "Ethernet0";
pub(crate) const TRANSITIONS: &str = "dualtor_channel_transitions_total";
pub(crate) const FAILURES: &str = "dualtor_channel_failures_total";
const DIALS: &str = "dualtor_channel_dials_total";
pub(crate) const INTERVAL: &str = "dualtor_keepalive_interval_seconds";
/// For silent peers: a dial ends after half a second.
const IMPATIENT: &str =
    "keepalive_time: 200ms, keepalive_timeout: 300ms, backoff: {initial: 100ms, max: 500ms}";

pub(crate) fn transitions(scrape: &Scrape, to: &str) -> u64 {
    scrape.count(TRANSITIONS, &[("port", PORT), ("to", to)])
}

pub(crate) fn failures(scrape: &Scrape, cause: &str) -> u64 {
    scrape.count(FAILURES, &[("port", PORT), ("cause", cause)])
}

pub(crate) fn keepalive_interval(scrape: &Scrape) -> f64 {
    scrape.value(INTERVAL, &[("port", PORT)]).expect("always there")
}

/// Until it is dropped, each connection to this SoC ends in good order right after its beginning.
pub(crate) fn leaves_at_once(soc: dualtor_sim::Soc) -> tokio_util::task::AbortOnDropHandle<()> {
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            soc.connection_fault(goaway(H2Code::NoError, ""));
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_leaves_in_good_order_over_and_over_is_said_to_flap_and_dialled_by_its_backoff() {
    let rack = Setup::rack(1).stage().await;
    let _leaves = leaves_at_once(rack.soc(PORT));
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let mut program =
        crate::child::Program::start(&["--config.file", config, "--web.listen-address", "127.0.0.1:0"]);
    let line = program.says("channel flaps", 1).await;
    for words in [
        "port=Ethernet0",
        "level=warn",
        "lost_in_a_row=3",
        "GOAWAY NO_ERROR",
        "in good order",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_leaves_right_after_ready_is_told_by_probe() {
    let rack = Setup::rack(1).stage().await;
    let _leaves = leaves_at_once(rack.soc(PORT));
    let address = rack.soc(PORT).address().to_string();
    wait_until("probe to see it leave", async || {
        let ended = crate::child::run(&["probe", &address]).await;
        let words = "in good order (GOAWAY NO_ERROR). If this happens each time, the channel flaps";
        match ended.stdout.contains(words) && ended.stdout.contains(" after READY: ") {
            true => Ok(()),
            false => Err(ended.stdout),
        }
    })
    .await;
}

/// A channel that was never READY and failed only for this cause.
fn assert_never_ready(scrape: &Scrape, cause: &str) {
    for (to, times) in [
        ("idle", 0),
        ("connecting", 1),
        ("ready", 0),
        ("transient_failure", 1),
        ("shutdown", 0),
    ] {
        assert_eq!(transitions(scrape, to), times, "transitions to {to}");
    }
    assert_eq!(
        scrape.count(FAILURES, &[("port", PORT)]),
        failures(scrape, cause),
        "only {cause}: {:?}",
        scrape.find(FAILURES, &[]).collect::<Vec<_>>()
    );
    let absent = [
        "dualtor_keepalive_rtt_seconds",
        "dualtor_probe_last_success_timestamp_seconds",
    ];
    for name in absent {
        assert_eq!(scrape.value(name, &[]), None, "{name}");
    }
    assert_eq!(
        scrape.count("dualtor_probe_duration_seconds_count", &[]),
        0,
        "nothing was sent"
    );
}

/// A SoC with this fault from the start: never READY, every round UNAVAILABLE; healthy when the fault ends.
async fn check_never_ready(fault: ConnectionFault, cause: &str) {
    let name = format!("{fault:?}");
    let rack = Setup::rack(1)
        .channel(IMPATIENT)
        .soc(PORT, |soc| soc.fault = fault)
        .start()
        .await;
    rack.counts(FAILURES, &[("cause", cause)], 2).await;
    let unavailable = [("query", "health"), ("result", "UNAVAILABLE")];
    rack.counts("dualtor_probes_total", &unavailable, 1).await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_never_ready(&scrape, cause);
    assert!(scrape.count(DIALS, &[]) >= 2, "{name}");
    assert_eq!(
        scrape.state("dualtor_soc_service", &[], "state"),
        "unknown",
        "{name}"
    );
    let counters = rack.soc(PORT).counters();
    assert!(counters.rpcs.values().all(|calls| *calls == 0), "{name}");
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_soc_is_never_ready_until_it_wakes_up() {
    check_never_ready(ConnectionFault::Hang, "keepalive_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_peer_is_never_ready() {
    check_never_ready(ConnectionFault::Mute, "keepalive_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_only_sends_pings_is_never_ready() {
    check_never_ready(ConnectionFault::PingsOnly, "keepalive_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_http_1_is_never_ready() {
    check_never_ready(ConnectionFault::Http1, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_http_1_and_stays_is_never_ready() {
    check_never_ready(ConnectionFault::Http1KeepOpen, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_back_what_it_gets_is_never_ready() {
    check_never_ready(ConnectionFault::Echo, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_garbage_is_never_ready() {
    check_never_ready(ConnectionFault::Garbage, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_listens_on_is_never_ready() {
    check_never_ready(ConnectionFault::Refuse, "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_resets_each_connection_is_never_ready() {
    check_never_ready(ConnectionFault::Reset, "reset").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_closes_each_connection_is_never_ready() {
    check_never_ready(ConnectionFault::Close, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_of_another_host_is_its_own_cause() {
    let rack = Setup::rack(1)
        .channel("source_address: 192.0.2.1, backoff: {initial: 100ms}")
        .start()
        .await;
    rack.counts(FAILURES, &[("cause", "source_address")], 2).await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_never_ready(&scrape, "source_address");
    assert_eq!(rack.soc(PORT).counters().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_whose_tcp_never_comes_up_is_a_connect_timeout() {
    let (address, _full) = full_backlog().await;
    let mut setup = Setup::rack(1).channel(IMPATIENT);
    setup.settings.targets = vec![("Ethernet100".to_owned(), address)];
    let rack = setup.start().await;
    let labels = [("port", "Ethernet100"), ("cause", "connect_timeout")];
    let scrape = rack.counts(FAILURES, &labels, 2).await;
    let of_port = [("port", "Ethernet100")];
    assert_eq!(
        scrape.count(FAILURES, &of_port),
        scrape.count(FAILURES, &labels),
        "no other cause"
    );
    rack.shows("Ethernet100", &Look::unknown("transient_failure"))
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
}

/// A listener with a full queue, so that the kernel does not answer further SYNs, and the sockets that fill it.
async fn full_backlog() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    let patience = std::time::Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        queued.push(stream.expect("queued"));
        assert!(queued.len() < 100, "the queue is never full");
    }
    (address, (listener, queued))
}

/// A READY channel to a SoC that then gets this fault; returns the rack and a scrape of TRANSIENT_FAILURE.
async fn check_lost(fault: ConnectionFault, channel: &str, loss: &str) -> (Rack, Scrape) {
    let rack = Setup::rack(1).channel(channel).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    rack.soc(PORT).connection_fault(fault);
    rack.counts(FAILURES, &[("cause", loss)], 1).await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_eq!(scrape.value("dualtor_keepalive_rtt_seconds", &[]), None);
    assert_eq!(transitions(&scrape, "connecting"), 1, "not again after a failure");
    (rack, scrape)
}

async fn check_recovery(rack: &Rack, before: &Scrape) {
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    let after = rack.shows(PORT, &Look::HEALTHY).await;
    assert!(transitions(&after, "ready") > transitions(before, "ready"));
    assert_eq!(transitions(&after, "connecting"), 1, "not again after a failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_hangs_leaves_ready_when_its_pings_stay_unanswered() {
    let (rack, lost) = check_lost(ConnectionFault::Hang, IMPATIENT, "keepalive_timeout").await;
    assert_eq!(failures(&lost, "closed") + failures(&lost, "reset"), 0);
    check_recovery(&rack, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_whose_server_is_gone_is_closed_and_then_refused() {
    let (rack, _) = check_lost(ConnectionFault::Refuse, IMPATIENT, "closed").await;
    let lost = rack.counts(FAILURES, &[("cause", "refused")], 2).await;
    assert_eq!(transitions(&lost, "transient_failure"), 1, "no flicker");
    check_recovery(&rack, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_resets_its_connections_leaves_ready() {
    let (rack, _) = check_lost(ConnectionFault::Reset, IMPATIENT, "reset").await;
    let lost = rack.counts(FAILURES, &[("cause", "reset")], 2).await;
    assert_eq!(transitions(&lost, "transient_failure"), 1, "no flicker");
    check_recovery(&rack, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_goes_mute_leaves_ready_and_does_not_come_back_until_it_speaks() {
    let (rack, _) = check_lost(ConnectionFault::Mute, IMPATIENT, "closed").await;
    let lost = rack.counts(FAILURES, &[("cause", "keepalive_timeout")], 1).await;
    assert_eq!(transitions(&lost, "ready"), 1);
    check_recovery(&rack, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_or_reset_once_is_ready_again_without_anybody_asking() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT).close_connections();
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 2)
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT).reset_connections();
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 3)
        .await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!((failures(&scrape, "closed"), failures(&scrape, "reset")), (1, 1));
    assert_eq!(scrape.count(FAILURES, &[]), 2);
    assert_eq!(transitions(&scrape, "transient_failure"), 2);
    // Each READY started a round, and nothing else did.
    let ok = [("query", "admin"), ("result", "OK")];
    assert_eq!(scrape.count("dualtor_probes_total", &ok), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_resets_each_connection_after_its_settings_is_ready_for_a_moment_each_time() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.fault = ConnectionFault::ResetAfterSettings)
        .start()
        .await;
    let scrape = rack.counts(TRANSITIONS, &[("to", "ready")], 3).await;
    assert!(failures(&scrape, "reset") >= 2);
    assert_eq!(failures(&scrape, "reset"), scrape.count(FAILURES, &[]));
    assert_eq!(
        scrape.value("dualtor_probe_last_success_timestamp_seconds", &[]),
        None
    );
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.shows(PORT, &Look::HEALTHY).await;
}

pub(crate) fn goaway(code: H2Code, debug: &str) -> ConnectionFault {
    ConnectionFault::Goaway(GoAway {
        code,
        debug: debug.to_owned(),
        grace: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_goaway_leads_over_connecting_to_ready_again() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT).connection_fault(goaway(H2Code::NoError, ""));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 2)
        .await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(transitions(&scrape, "connecting"), 2);
    assert_eq!(transitions(&scrape, "transient_failure"), 0);
    assert_eq!(scrape.count(FAILURES, &[]), 0, "that is no failure");
    assert_eq!(scrape.count(DIALS, &[]), 2);
    assert_eq!(keepalive_interval(&scrape), 0.2);
}

/// A shutdown like that of gRPC's servers: a GOAWAY with the highest possible stream id, then one with the last stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_goaway_in_several_frames_is_one_change_of_connection() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT)
        .connection_fault(goaway(H2Code::NoError, "max_age"));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 2)
        .await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(transitions(&scrape, "connecting"), 2);
    assert_eq!(scrape.count(FAILURES, &[]), 0);
    assert_eq!(scrape.count(DIALS, &[]), 2);
}

/// With a backoff of twenty seconds, the SoC is not dialled within a second after the second loss.
const PATIENT: &str =
    "keepalive_time: 200ms, keepalive_timeout: 2s, backoff: {initial: 20s, max: 20s, jitter: 0}";

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_lost_over_and_over_is_redialled_by_its_backoff() {
    let rack = Setup::rack(1)
        .channel(PATIENT)
        .soc(PORT, |soc| soc.fault = ConnectionFault::ResetAfterSettings)
        .start()
        .await;
    // The first loss is redialled at once.
    rack.counts(FAILURES, &[("cause", "reset")], 2).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let scrape = rack.shows(PORT, &Look::unknown("transient_failure")).await;
    assert_eq!((scrape.count(DIALS, &[]), transitions(&scrape, "ready")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_leaves_in_good_order_over_and_over_is_redialled_by_its_backoff() {
    let rack = Setup::rack(1).channel(PATIENT).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.soc(PORT).connection_fault(goaway(H2Code::NoError, ""));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 2)
        .await;
    rack.soc(PORT).connection_fault(goaway(H2Code::NoError, ""));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "connecting") == 3)
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let scrape = rack.shows(PORT, &Look::unknown("connecting")).await;
    assert_eq!((scrape.count(DIALS, &[]), scrape.count(FAILURES, &[])), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_in_flight_finish_after_a_graceful_goaway() {
    let slow = ReplyFault::Slow {
        delay: std::time::Duration::from_millis(400),
    };
    let rack = Setup::rack(1)
        .probe(ONLY_AT_READY)
        .soc(PORT, |soc| {
            soc.reply = slow;
            soc.only = vec![Rpc::Admin];
        })
        .start()
        .await;
    let soc = rack.soc(PORT);
    wait_until("the query is under way", async || {
        let calls = soc.counters().rpcs[&Rpc::Admin];
        if calls == 1 {
            Ok(())
        } else {
            Err(format!("{calls} calls"))
        }
    })
    .await;
    soc.connection_fault(goaway(H2Code::NoError, ""));
    let scrape = rack
        .counts("dualtor_probes_total", &[("query", "admin"), ("result", "OK")], 2)
        .await;
    assert_eq!(scrape.count("dualtor_probes_total", &[("result", "OK")]), 10);
    assert_eq!(scrape.count("dualtor_probes_total", &[]), 10, "none failed");
    assert_eq!(transitions(&scrape, "connecting"), 2);
    rack.shows(PORT, &Look::HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_with_an_error_is_a_failure_and_redialled() {
    let rack = Setup::rack(1).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let soc = rack.soc(PORT);
    soc.connection_fault(goaway(H2Code::InternalError, "out of memory"));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 2)
        .await;
    // ENHANCE_YOUR_CALM alone does not refer to PINGs.
    soc.connection_fault(goaway(H2Code::EnhanceYourCalm, "too_much_of_something"));
    rack.scraped(TRANSITIONS, |scrape| transitions(scrape, "ready") == 3)
        .await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(transitions(&scrape, "connecting"), 1);
    assert_eq!(transitions(&scrape, "transient_failure"), 2);
    assert_eq!((failures(&scrape, "goaway"), scrape.count(FAILURES, &[])), (2, 2));
    assert_eq!(keepalive_interval(&scrape), 0.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_channel_is_pinged_and_its_round_trip_shown() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let rtt = "dualtor_keepalive_rtt_seconds";
    let scrape = rack.scraped(rtt, |scrape| scrape.value(rtt, &[]).is_some()).await;
    let rtt = scrape.value(rtt, &[]).expect("just seen");
    assert!(rtt > 0.0 && rtt < 2.0, "{rtt}");
    let soc = rack.soc(PORT);
    wait_until("PINGs go on", async || {
        let pings = soc.counters().pings_seen;
        if pings >= 4 {
            Ok(())
        } else {
            Err(format!("{pings} PINGs"))
        }
    })
    .await;
    assert_eq!(soc.counters().connections, 1);
}
