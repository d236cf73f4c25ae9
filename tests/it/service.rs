//! `soc_service`: what a SoC announces on its GracefulRestart stream.

use dualtor_exporter::proto::ToRSide;
use dualtor_exporter::sim::{Code, ConnectionFault, Notice, NoticeKind, Plane, ReplyFault, Rpc};

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::look::Look;

const PORT: &str = "Ethernet0";

fn notice(kind: NoticeKind, period: i32) -> Notice {
    Notice {
        kind,
        plane: Plane::Both,
        guid: "g1".to_owned(),
        period,
    }
}

fn announce(rack: &Rack, kind: NoticeKind, period: i32) {
    rack.soc(PORT).announce(&notice(kind, period));
}

/// A rack whose stream is open, and which is probed only when a channel becomes READY.
async fn open_stream() -> Rack {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    assert_eq!(rack.soc(PORT).counters().notice_streams, 1);
    rack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_word_is_noop_after_a_second_and_unknown_before() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    // Not from the first moment: the stream has to stay open for a second.
    let since = "dualtor_channel_last_transition_timestamp_seconds";
    let ready_at = scrape.value(since, &[]).expect("it is READY");
    rack.service(PORT, "noop").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let after = now.expect("after 1970").as_secs_f64() - ready_at;
    assert!(after > 0.9, "noop {after} s after READY");
    // The response headers come only with the first notice: the simulator has not sent them yet.
    assert_eq!(rack.soc(PORT).counters().notice_streams, 1);
    assert!(!rack.soc(PORT).state().headers_early);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_is_inprogress_and_an_end_is_noop() {
    let rack = open_stream().await;
    announce(&rack, NoticeKind::Begin, 3600);
    rack.service(PORT, "inprogress").await;
    announce(&rack, NoticeKind::End, 0);
    rack.service(PORT, "noop").await;
    // Once more on the same stream, and an END that comes unpaired.
    announce(&rack, NoticeKind::Begin, 0);
    rack.service(PORT, "inprogress").await;
    announce(&rack, NoticeKind::End, 0);
    announce(&rack, NoticeKind::End, 0);
    rack.service(PORT, "noop").await;
    // What a SoC announces is no fault of its channel.
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(scrape.count("dualtor_channel_failures_total", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_come_before_the_first_notice_make_no_difference() {
    let rack = Setup::rack(1)
        .soc(PORT, |soc| soc.headers_early = Some(true))
        .start()
        .await;
    rack.service(PORT, "noop").await;
    announce(&rack, NoticeKind::Begin, 3600);
    rack.service(PORT, "inprogress").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_service_is_over_when_its_period_has_run_out() {
    let rack = open_stream().await;
    announce(&rack, NoticeKind::Begin, 1);
    rack.service(PORT, "inprogress").await;
    rack.service(PORT, "noop").await;
    assert_eq!(rack.soc(PORT).counters().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_channel_alone_ends_no_service_but_being_ready_again_does() {
    let rack = open_stream().await;
    announce(&rack, NoticeKind::Begin, 3600);
    rack.service(PORT, "inprogress").await;
    rack.soc(PORT).connection_fault(ConnectionFault::Refuse);
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
    let refused = [("cause", "refused")];
    rack.counts("dualtor_channel_failures_total", &refused, 2).await;
    rack.service(PORT, "inprogress").await;
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "noop").await;
    wait_until("a stream on the new connection", async || {
        match rack.soc(PORT).counters().notice_streams {
            1 => Ok(()),
            open => Err(format!("{open} streams")),
        }
    })
    .await;
    announce(&rack, NoticeKind::Begin, 3600);
    rack.service(PORT, "inprogress").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_without_the_service_is_unknown_also_if_it_had_it_before() {
    let rack = Setup::rack(2)
        .soc("Ethernet4", |soc| soc.graceful_restart = Some(false))
        .start()
        .await;
    rack.service(PORT, "noop").await;
    // As long again as a silent stream takes to be noop, and more.
    let rounds = [("port", "Ethernet4"), ("query", "admin"), ("result", "OK")];
    rack.counts("dualtor_probes_total", &rounds, 3).await;
    rack.service("Ethernet4", "unknown").await;
    rack.shows("Ethernet4", &Look::HEALTHY).await;
    assert_eq!(
        rack.soc("Ethernet4").counters().rpcs[&Rpc::Notices],
        1,
        "asked once"
    );
    // The other one is updated to software that has it no more.
    rack.soc(PORT).set(|state| state.graceful_restart = false);
    rack.soc(PORT).close_connections();
    rack.service(PORT, "unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_opened_again() {
    let rack = open_stream().await;
    for code in [None, Some(Code::Unavailable)] {
        let opened = rack.soc(PORT).counters().rpcs[&Rpc::Notices];
        rack.soc(PORT).end_notice_streams(code);
        wait_until("opened again", async || {
            let counters = rack.soc(PORT).counters();
            if counters.rpcs[&Rpc::Notices] > opened && counters.notice_streams == 1 {
                Ok(())
            } else {
                Err(format!("{counters:?}"))
            }
        })
        .await;
        rack.service(PORT, "noop").await;
    }
    announce(&rack, NoticeKind::Begin, 3600);
    rack.service(PORT, "inprogress").await;
    assert_eq!(rack.soc(PORT).counters().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_refused_leaves_the_queries_alone() {
    let fault = ReplyFault::Code {
        code: Code::Internal,
        message: String::new(),
    };
    let rack = Setup::rack(1)
        .soc(PORT, |soc| {
            soc.reply = fault;
            soc.only = vec![Rpc::Notices];
        })
        .start()
        .await;
    rack.counts("dualtor_probes_total", &[("query", "admin"), ("result", "OK")], 3)
        .await;
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.service(PORT, "unknown").await;
    rack.soc(PORT).reply_fault(ReplyFault::None);
    rack.service(PORT, "noop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_names_our_side() {
    for (side, tor) in [("upper", ToRSide::UpperTor), ("lower", ToRSide::LowerTor)] {
        let rack = Setup::rack(1).side(side).start().await;
        let last_tor = async || {
            rack.soc(PORT)
                .counters()
                .last_tor
                .ok_or_else(|| "none".to_owned())
        };
        assert_eq!(wait_until("the stream", last_tor).await, tor, "{side}");
        rack.service(PORT, "noop").await;
    }
}
