//! Maintenance that a SoC announces on its GracefulRestart stream: `soc_service`, its expected end, the count of notices, and the
//! notices in APPL_DB.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dualtor_proto::ToRSide;
use dualtor_sim::{Code, ConnectionFault, Notice, NoticeKind, Plane, ReplyFault, Rpc};

use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const NOTICES: &str = "dualtor_soc_notices_total";
const END: &str = "dualtor_soc_service_end_timestamp_seconds";

fn notice(kind: NoticeKind, guid: &str, period: i32) -> Notice {
    Notice {
        kind,
        plane: Plane::Both,
        guid: guid.to_owned(),
        period,
    }
}

fn announce(rack: &Rack, kind: NoticeKind, period: i32) {
    rack.soc(PORT).announce(&notice(kind, "g1", period));
}

fn begin(rack: &Rack, guid: &str, period: i32) {
    rack.soc(PORT).announce(&notice(NoticeKind::Begin, guid, period));
}

fn end(rack: &Rack, guid: &str) {
    rack.soc(PORT).announce(&notice(NoticeKind::End, guid, 0));
}

/// Waits until this many notices have been counted; returns that scrape.
async fn noticed(rack: &Rack, count: u64) -> Scrape {
    rack.scraped(NOTICES, |scrape| scrape.count(NOTICES, &[]) == count)
        .await
}

/// Waits until the service is shown to end in this many seconds, or without a known end.
async fn ends_in(rack: &Rack, secs: Option<f64>) -> Scrape {
    rack.scraped(END, |scrape| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let left = scrape.value(END, &[]).map(|end| end - now.as_secs_f64());
        match (left, secs) {
            // The delay of a scrape on a busy machine.
            (Some(left), Some(secs)) => (secs - 60.0..=secs).contains(&left),
            (left, secs) => left.is_none() && secs.is_none(),
        }
    })
    .await
}

/// Waits until a stream has been opened again after this many.
async fn opened_again(rack: &Rack, opened: u64) {
    wait_until("opened again", async || {
        let counters = rack.soc(PORT).counters();
        if counters.rpcs[&Rpc::Notices] > opened && counters.notice_streams == 1 {
            Ok(())
        } else {
            Err(format!("{counters:?}"))
        }
    })
    .await;
}

/// A rack with an open stream, which is probed only when a channel becomes READY.
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
    // Once more on the same stream, and an END without a BEGIN.
    announce(&rack, NoticeKind::Begin, 0);
    rack.service(PORT, "inprogress").await;
    announce(&rack, NoticeKind::End, 0);
    announce(&rack, NoticeKind::End, 0);
    rack.service(PORT, "noop").await;
    // Announced maintenance is not a failure of the channel.
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
async fn services_that_overlap_are_over_with_the_last_of_them() {
    let rack = open_stream().await;
    begin(&rack, "a", 3600);
    begin(&rack, "b", 0);
    end(&rack, "a");
    noticed(&rack, 3).await;
    rack.service(PORT, "inprogress").await;
    end(&rack, "b");
    rack.service(PORT, "noop").await;
    // A service whose period is over leaves the other in progress; its late END does not end the other.
    begin(&rack, "long", 3600);
    begin(&rack, "short", 1);
    noticed(&rack, 6).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    end(&rack, "short");
    noticed(&rack, 7).await;
    rack.service(PORT, "inprogress").await;
    end(&rack, "long");
    rack.service(PORT, "noop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_comes_unpaired_ends_all() {
    let rack = open_stream().await;
    begin(&rack, "a", 3600);
    begin(&rack, "b", 0);
    rack.service(PORT, "inprogress").await;
    end(&rack, "c");
    rack.service(PORT, "noop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_due_end_is_shown_and_its_changes_write_no_row() {
    let rack = open_stream().await;
    ends_in(&rack, None).await;
    begin(&rack, "a", 3600);
    ends_in(&rack, Some(3600.0)).await;
    rack.service(PORT, "inprogress").await;
    let written = rack.row(PORT);
    begin(&rack, "b", 7200);
    ends_in(&rack, Some(7200.0)).await;
    begin(&rack, "b", 600);
    ends_in(&rack, Some(3600.0)).await;
    begin(&rack, "c", 0);
    ends_in(&rack, None).await;
    end(&rack, "c");
    end(&rack, "a");
    ends_in(&rack, Some(600.0)).await;
    assert_eq!(rack.row(PORT), written, "time_post moves with each write");
    end(&rack, "b");
    ends_in(&rack, None).await;
    rack.service(PORT, "noop").await;
    assert_ne!(rack.row(PORT), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_dies_in_mid_service_ends_nothing() {
    let rack = open_stream().await;
    begin(&rack, "a", 3600);
    rack.service(PORT, "inprogress").await;
    let opened = rack.soc(PORT).counters().rpcs[&Rpc::Notices];
    rack.soc(PORT).end_notice_streams(Some(Code::Internal));
    opened_again(&rack, opened).await;
    rack.service(PORT, "inprogress").await;
    ends_in(&rack, Some(3600.0)).await;
    // And its END is understood on the new one.
    end(&rack, "a");
    rack.service(PORT, "noop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_counted_by_type_and_plane() {
    let rack = open_stream().await;
    assert_eq!(
        rack.scrape().await.find(NOTICES, &[]).count(),
        0,
        "each appears with its first"
    );
    for (plane, times) in [(Plane::Control, 3), (Plane::Data, 2), (Plane::Both, 1)] {
        for n in 0..times {
            let notice = |kind| Notice {
                plane,
                ..notice(kind, "g", 60)
            };
            rack.soc(PORT).announce(&notice(NoticeKind::Begin));
            if n == 0 {
                rack.soc(PORT).announce(&notice(NoticeKind::End));
            }
        }
    }
    let scrape = noticed(&rack, 9).await;
    for (plane, begins) in [("control_plane", 3), ("data_plane", 2), ("both", 1)] {
        let of = |kind| scrape.count(NOTICES, &[("type", kind), ("plane", plane)]);
        assert_eq!((of("begin"), of("end")), (begins, 1), "{plane}");
    }
    assert_eq!(scrape.find(NOTICES, &[]).count(), 6);
    // The services continue over a new connection.
    rack.soc(PORT).close_connections();
    let ready = [("to", "ready")];
    rack.counts("dualtor_channel_transitions_total", &ready, 2).await;
    noticed(&rack, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_notices_is_counted_to_the_last_and_harms_nothing() {
    let rack = open_stream().await;
    let writes = "dualtor_state_db_writes_total";
    let before = rack.scrape().await.count(writes, &[]);
    // As close together as a test can send them.
    for n in 0..2000 {
        begin(&rack, &format!("{n:032}"), 3600);
        end(&rack, &format!("{n:032}"));
    }
    rack.scraped(NOTICES, |scrape| {
        let failures = "dualtor_channel_failures_total";
        let failures: Vec<_> = scrape.find(failures, &[]).filter(|s| s.value > 0.0).collect();
        assert!(failures.is_empty(), "{failures:?}");
        scrape.count(NOTICES, &[]) == 4000
    })
    .await;
    rack.service(PORT, "noop").await;
    let scrape = rack.shows(PORT, &Look::HEALTHY).await;
    assert_eq!(rack.soc(PORT).counters().connections, 1);
    let written = scrape.count(writes, &[]) - before;
    assert!(written < 200, "{written} rows");
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
    // Longer than the time after which a silent stream becomes noop.
    let rounds = [("port", "Ethernet4"), ("query", "admin"), ("result", "OK")];
    rack.counts("dualtor_probes_total", &rounds, 3).await;
    rack.service("Ethernet4", "unknown").await;
    rack.shows("Ethernet4", &Look::HEALTHY).await;
    assert_eq!(
        rack.soc("Ethernet4").counters().rpcs[&Rpc::Notices],
        1,
        "asked once"
    );
    // The other SoC is updated to software without this service.
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
        opened_again(&rack, opened).await;
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
    // The names in the interface are not those of the portids; the numbers are what the deployed daemon sends.
    for (side, tor) in [("upper", ToRSide::LowerTor), ("lower", ToRSide::UpperTor)] {
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

/// What APPL_DB should hold for a notice: notify_type, msg_type, guid, service_time.
async fn published(rack: &Rack, port: &str, expected: [&str; 4]) {
    let fields = ["notify_type", "msg_type", "guid", "service_time"];
    let owned = fields.iter().zip(expected);
    let expected = owned
        .map(|(field, value)| ((*field).to_owned(), value.to_owned()))
        .collect();
    wait_until("the notice in APPL_DB", async || {
        let notice = rack.redis.notice(port);
        if notice == expected {
            Ok(())
        } else {
            Err(format!("{notice:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_published_in_appl_db_where_that_is_asked_for() {
    let rack = Setup::rack(2)
        .databases("publish_notifications: true")
        .start()
        .await;
    rack.service(PORT, "noop").await;
    rack.service("Ethernet4", "noop").await;
    let keys = || -> Vec<String> { rack.redis.ask_db(0, "KEYS *") };
    assert_eq!(keys(), Vec::<String>::new(), "no notice, no key");
    let guid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    rack.soc(PORT).announce(&Notice {
        plane: Plane::Control,
        ..notice(NoticeKind::Begin, guid, 60)
    });
    published(&rack, PORT, ["control", "begin", guid, "60"]).await;
    rack.soc(PORT).announce(&Notice {
        plane: Plane::Data,
        ..notice(NoticeKind::End, guid, 0)
    });
    published(&rack, PORT, ["data", "end", guid, "0"]).await;
    assert_eq!(keys(), ["MUX_SERVICE_NOTIFICATION:Ethernet0"]);
    begin(&rack, "second\r\n", -7);
    published(&rack, PORT, ["both", "begin", "second\u{fffd}\u{fffd}", "0"]).await;
    rack.service(PORT, "inprogress").await;
    assert_eq!(keys(), ["MUX_SERVICE_NOTIFICATION:Ethernet0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_asked_for_nothing_is_published_in_appl_db() {
    let rack = open_stream().await;
    begin(&rack, "a", 60);
    rack.service(PORT, "inprogress").await;
    end(&rack, "a");
    rack.service(PORT, "noop").await;
    let keyspace: String = rack.redis.ask("INFO keyspace");
    assert!(
        keyspace.contains("db6:") && !keyspace.contains("db0:"),
        "{keyspace}"
    );
}
