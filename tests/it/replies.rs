//! Each fault of a SoC's replies: results of queries, row and metrics during it and afterwards.

use std::time::Duration;

use dualtor_sim::{Code, H2Code, Health, ReplyFault, Rpc};

use crate::harness::{Rack, Setup};
use crate::http::Scrape;
use crate::soc_view::Look;

const PROBES: &str = "dualtor_probes_total";
const QUERIES: [&str; 5] = ["admin", "operation", "link", "version", "health"];
/// READY, but nothing was reported.
const SILENT: Look = Look::unknown("ready");

/// A fault, the result of each query (in the order of `QUERIES`), and the state that is shown of the SoC.
struct Case {
    fault: ReplyFault,
    results: [&'static str; 5],
    look: Look,
}

const fn case(fault: ReplyFault, results: [&'static str; 5], look: Look) -> Case {
    Case { fault, results, look }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All queries have had this result. Only two others may occur, which a stalled machine adds: DEADLINE_EXCEEDED, and UNAVAILABLE
/// in a round before the first READY.
fn has_results(scrape: &Scrape, port: &str, results: [&str; 5], rounds: u64) -> Result<(), String> {
    for (query, result) in QUERIES.iter().zip(results) {
        let of_query = [("port", port), ("query", *query)];
        for sample in scrape.find(PROBES, &of_query) {
            let (other, count) = (sample.labels["result"].as_str(), sample.value);
            let stalled = other == "DEADLINE_EXCEEDED" || (other == "UNAVAILABLE" && count <= 1.0);
            assert!(
                count == 0.0 || other == result || stalled,
                "{port}: {query} is {other}, expected {result}"
            );
        }
        let count = scrape.count(PROBES, &[("port", port), ("query", query), ("result", result)]);
        if count < rounds {
            return Err(format!("{port}: {query} was {result} {count} times"));
        }
    }
    Ok(())
}

/// One SoC per case, all probed at once; then all faults end.
async fn check(cases: &[Case]) -> Rack {
    // No PING is late because the processor is busy.
    let calm = "keepalive_time: 1s, keepalive_timeout: 60s, backoff: {initial: 100ms, max: 500ms}";
    let mut setup = Setup::rack(cases.len()).channel(calm);
    let ports: Vec<String> = (0..cases.len()).map(|n| format!("Ethernet{}", n * 4)).collect();
    for (port, case) in ports.iter().zip(cases) {
        setup = setup.soc(port, |soc| soc.reply = case.fault.clone());
    }
    let rack = setup.start().await;
    for (port, case) in ports.iter().zip(cases) {
        let what = format!("{:?}", case.fault);
        crate::harness::wait_until(&what, async || {
            has_results(&rack.scrape().await, port, case.results, 2)
        })
        .await;
        let scrape = rack.shows(port, &case.look).await;
        let of_port = [("port", port.as_str())];
        let failures = scrape.count("dualtor_channel_failures_total", &of_port);
        assert_eq!(failures, 0, "{what}: a reply is no fault of the channel");
        let success = scrape.value("dualtor_probe_last_success_timestamp_seconds", &of_port);
        assert_eq!(success.is_some(), case.results[0] == "OK", "{what}");
    }
    for port in &ports {
        rack.soc(port).reply_fault(ReplyFault::None);
    }
    for port in &ports {
        rack.shows(port, &Look::HEALTHY).await;
    }
    rack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_late_or_never_ends_is_deadline_exceeded() {
    const LATE: [&str; 5] = ["DEADLINE_EXCEEDED"; 5];
    check(&[
        case(ReplyFault::Slow { delay: ms(50) }, ["OK"; 5], Look::HEALTHY),
        case(ReplyFault::Slow { delay: ms(3000) }, LATE, SILENT),
        case(ReplyFault::Stall, LATE, SILENT),
        case(ReplyFault::HalfClosed, LATE, SILENT),
        // The peer ends the query at the deadline that we sent, and its answer arrives first.
        case(ReplyFault::Cancel { after: ms(480) }, LATE, SILENT),
        case(ReplyFault::Cancel { after: ms(10) }, ["CANCELLED"; 5], SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_read_by_its_portids_or_invalid() {
    const INVALID: [&str; 5] = ["INVALID_REPLY", "INVALID_REPLY", "INVALID_REPLY", "OK", "OK"];
    const NO_STATES: Look = Look {
        own: SILENT.own,
        peer: SILENT.peer,
        ..Look::HEALTHY
    };
    check(&[
        case(ReplyFault::None, ["OK"; 5], Look::HEALTHY),
        case(ReplyFault::Swapped, ["OK"; 5], Look::HEALTHY),
        case(ReplyFault::WrongPortids, INVALID, NO_STATES),
        case(ReplyFault::DuplicatePortids, INVALID, NO_STATES),
        case(ReplyFault::Short, INVALID, NO_STATES),
        case(ReplyFault::LengthsDiffer, INVALID, NO_STATES),
        case(ReplyFault::Extra, INVALID, NO_STATES),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_reply_is_unknown_and_no_failure() {
    const EMPTY: [&str; 5] = ["EMPTY_REPLY", "EMPTY_REPLY", "EMPTY_REPLY", "EMPTY_REPLY", "OK"];
    check(&[case(ReplyFault::Empty, EMPTY, SILENT)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_cannot_be_taken_is_refused_whatever_it_is() {
    const TOO_LONG: [&str; 5] = ["RESOURCE_EXHAUSTED"; 5];
    const BROKEN: [&str; 5] = ["INTERNAL"; 5];
    const fn message(bytes: usize, head: bool, piece: usize) -> ReplyFault {
        ReplyFault::LongMessage { bytes, head, piece }
    }
    check(&[
        case(message(70_000, false, usize::MAX), TOO_LONG, SILENT),
        case(message(70_000, true, usize::MAX), TOO_LONG, SILENT),
        case(message(70_000, false, 300), TOO_LONG, SILENT),
        case(message(70_000, true, 1000), TOO_LONG, SILENT),
        // Below the limit, in pieces of one byte.
        case(message(100, false, 1), BROKEN, SILENT),
        case(message(16_000, true, usize::MAX), BROKEN, SILENT),
        case(
            ReplyFault::Oversized { bytes: 60 * 1024 },
            ["OK"; 5],
            Look::HEALTHY,
        ),
        case(ReplyFault::Oversized { bytes: 100 * 1024 }, TOO_LONG, SILENT),
        case(ReplyFault::Oversized { bytes: 1 << 20 }, TOO_LONG, SILENT),
        case(ReplyFault::HugeAnnounced, TOO_LONG, SILENT),
        case(ReplyFault::NoTrailers, BROKEN, SILENT),
        case(ReplyFault::GarbageMessage, BROKEN, SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn details_of_a_status_are_never_looked_at() {
    let details = |value: &str, head| ReplyFault::DetailsBin {
        value: value.to_owned(),
        head,
    };
    check(&[
        case(details("!!!", false), ["OK"; 5], Look::HEALTHY),
        case(details("CAU=,CAU=", false), ["OK"; 5], Look::HEALTHY),
        case(details("!!!", true), ["INTERNAL"; 5], SILENT),
        case(details("CAU=,CAU=", true), ["INTERNAL"; 5], SILENT),
        case(details("CAU=", true), ["INTERNAL"; 5], SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_informational_heads_are_passed_over_and_more_are_not() {
    let heads = |count| ReplyFault::Informational { count: Some(count) };
    check(&[
        case(heads(1), ["OK"; 5], Look::HEALTHY),
        case(heads(8), ["OK"; 5], Look::HEALTHY),
        case(heads(9), ["INTERNAL"; 5], SILENT),
        case(heads(200), ["INTERNAL"; 5], SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_reply_is_read_and_one_that_nobody_can_read_is_internal() {
    const BROKEN: [&str; 5] = ["INTERNAL"; 5];
    use dualtor_sim::Compression::{Bomb, Deflate, Gzip, HeaderOnly, RawDeflate, Unannounced, Unknown};
    let compressed = ReplyFault::Compressed;
    let rack = check(&[
        case(compressed(Gzip), ["OK"; 5], Look::HEALTHY),
        case(compressed(Deflate), ["OK"; 5], Look::HEALTHY),
        case(compressed(RawDeflate), ["OK"; 5], Look::HEALTHY),
        case(compressed(HeaderOnly), ["OK"; 5], Look::HEALTHY),
        // The code is ours: health stays unknown, it is not `unimplemented`.
        case(compressed(Unknown), BROKEN, SILENT),
        case(compressed(Unannounced), BROKEN, SILENT),
    ])
    .await;
    let sent = rack.soc("Ethernet0").counters().last_metadata;
    assert_eq!(sent["grpc-accept-encoding"], "identity, deflate, gzip");
    rack.soc("Ethernet0")
        .reply_fault_only(compressed(Bomb), &[Rpc::Admin]);
    let bombed = [("port", "Ethernet0"), ("result", "RESOURCE_EXHAUSTED")];
    rack.counts(PROBES, &bombed, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_is_told_as_what_it_is() {
    let page = |status, kind: Option<&str>| ReplyFault::WebPage {
        status,
        content_type: kind.map(str::to_owned),
    };
    let rack = check(&[
        case(page(200, Some("text/html")), ["UNKNOWN"; 5], SILENT),
        case(page(200, None), ["UNKNOWN"; 5], SILENT),
        case(page(200, Some("application/grpc-web")), ["UNKNOWN"; 5], SILENT),
        case(page(404, Some("text/html")), ["UNIMPLEMENTED"; 5], SILENT),
        case(page(503, Some("text/plain")), ["UNAVAILABLE"; 5], SILENT),
    ])
    .await;
    drop(rack);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_grpc_is_the_code_that_grpc_gives_its_http_status() {
    const fn http(status: u16) -> ReplyFault {
        ReplyFault::HttpStatus { status }
    }
    check(&[
        case(http(400), ["INTERNAL"; 5], SILENT),
        case(http(401), ["UNAUTHENTICATED"; 5], SILENT),
        case(http(403), ["PERMISSION_DENIED"; 5], SILENT),
        // By gRPC's table of HTTP codes. A web server's answer does not mean that there is no health service.
        case(http(404), ["UNIMPLEMENTED"; 5], SILENT),
        case(http(418), ["UNKNOWN"; 5], SILENT),
        case(http(429), ["UNAVAILABLE"; 5], SILENT),
        case(http(503), ["UNAVAILABLE"; 5], SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset_is_the_code_that_grpc_gives_its_reason() {
    const fn reset(code: H2Code) -> ReplyFault {
        ReplyFault::ResetStream { code }
    }
    check(&[
        case(reset(H2Code::Cancel), ["CANCELLED"; 5], SILENT),
        case(reset(H2Code::RefusedStream), ["UNAVAILABLE"; 5], SILENT),
        case(reset(H2Code::EnhanceYourCalm), ["RESOURCE_EXHAUSTED"; 5], SILENT),
        case(
            reset(H2Code::InadequateSecurity),
            ["PERMISSION_DENIED"; 5],
            SILENT,
        ),
        case(reset(H2Code::InternalError), ["INTERNAL"; 5], SILENT),
        case(reset(H2Code::ProtocolError), ["INTERNAL"; 5], SILENT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_grpc_code_is_counted_by_its_own_name() {
    const NAMES: [&str; 16] = [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let cases: Vec<Case> = Code::ALL
        .into_iter()
        .zip(NAMES)
        .map(|(code, name)| {
            let health = match code {
                Code::Unimplemented => "unimplemented",
                Code::NotFound => "service_unknown",
                _ => "unknown",
            };
            let message = "it\n\u{7f}is \u{1f525} %s".to_owned();
            case(
                ReplyFault::Code { code, message },
                [name; 5],
                Look { health, ..SILENT },
            )
        })
        .collect();
    check(&cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_makes_its_own_fields_unknown_and_no_others() {
    fn without_direction(look: &mut Look) {
        (look.own[0], look.peer[0]) = ("unknown", "unknown");
    }
    fn without_link(look: &mut Look) {
        (look.own[1], look.peer[1]) = ("unknown", "unknown");
    }
    fn without_operation(look: &mut Look) {
        (look.own[2], look.peer[2]) = ("unknown", "unknown");
    }
    type Change = fn(&mut Look);
    let table: [(Rpc, Change); 5] = [
        (Rpc::Admin, without_direction),
        (Rpc::Operation, without_operation),
        (Rpc::Link, without_link),
        (Rpc::Version, |look| look.version = ""),
        (Rpc::Health, |look| look.health = "unknown"),
    ];
    let fault = ReplyFault::Code {
        code: Code::Unavailable,
        message: "no cable".to_owned(),
    };
    let mut setup = Setup::rack(table.len());
    for (n, (rpc, _)) in table.iter().enumerate() {
        setup = setup.soc(&format!("Ethernet{}", n * 4), |soc| {
            soc.reply = fault.clone();
            soc.only = vec![*rpc];
        });
    }
    let rack = setup.start().await;
    for (n, (query, (_, change))) in QUERIES.iter().zip(table).enumerate() {
        let port = format!("Ethernet{}", n * 4);
        let mut look = Look::HEALTHY;
        change(&mut look);
        let scrape = rack.shows(&port, &look).await;
        let of_port = [("port", port.as_str()), ("result", "UNAVAILABLE")];
        let of_query = [&of_port[..], &[("query", query)]].concat();
        assert!(scrape.count(PROBES, &of_query) >= 1, "{query}");
        rack.soc(&port).reply_fault(ReplyFault::None);
        rack.shows(&port, &Look::HEALTHY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_health_service_says_is_shown_and_having_none_is_no_failure() {
    let table = [
        (Health::Serving, "OK", "serving"),
        (Health::NotServing, "OK", "not_serving"),
        (Health::ServiceUnknown, "OK", "service_unknown"),
        (Health::Unknown, "OK", "unknown"),
        (Health::NotFound, "NOT_FOUND", "service_unknown"),
        (Health::None, "UNIMPLEMENTED", "unimplemented"),
    ];
    let mut setup = Setup::rack(table.len());
    for (n, (health, _, _)) in table.into_iter().enumerate() {
        setup = setup.soc(&format!("Ethernet{}", n * 4), |soc| soc.health = Some(health));
    }
    let rack = setup.start().await;
    for (n, (_, result, health)) in table.into_iter().enumerate() {
        let port = format!("Ethernet{}", n * 4);
        let look = Look {
            health,
            ..Look::HEALTHY
        };
        let scrape = rack.shows(&port, &look).await;
        has_results(&scrape, &port, ["OK", "OK", "OK", "OK", result], 1).expect("its result");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_soc_says_reaches_rows_and_labels_cut_and_clean() {
    let version = format!("1.0\n\u{1b}[31m\t{}", "x".repeat(20_000));
    let rack = Setup::rack(1)
        .soc("Ethernet0", |soc| soc.version = Some(version))
        .start()
        .await;
    let clean = format!("1.0\u{fffd}\u{fffd}[31m\u{fffd}{}", "x".repeat(118));
    let shown = crate::harness::wait_until("the version", async || {
        let row = rack.row("Ethernet0");
        match row.get("server_version") {
            Some(version) if version != "N/A" => Ok(version.clone()),
            _ => Err(format!("{row:?}")),
        }
    })
    .await;
    assert_eq!(shown, clean);
    let scrape = rack.scrape().await;
    let info: Vec<_> = scrape.find("dualtor_soc_info", &[]).collect();
    assert_eq!(info[0].labels["version"], clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_metadata_goes_with_each_query_and_the_notice_stream() {
    let ip = "127.0.0.1".to_owned();
    let required = [
        ("grpc_server".to_owned(), ip),
        ("x-port".to_owned(), "Ethernet0".to_owned()),
    ];
    let rack = Setup::rack(1)
        .soc("Ethernet0", |soc| {
            soc.require_metadata = Some(required.into_iter().collect());
        })
        .channel("metadata: {grpc_server: \"${soc_ip}\", x-port: \"${port}\"}")
        .start()
        .await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    // The GracefulRestart stream has the metadata too: otherwise the SoC would have refused it.
    rack.service("Ethernet0", "noop").await;
    let sent = rack.soc("Ethernet0").counters().last_metadata;
    assert!(sent["user-agent"].starts_with("dualtor-exporter/"), "{sent:?}");
    assert_eq!(sent["te"], "trailers");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_metadata_that_it_wants_a_soc_refuses() {
    let rack = Setup::rack(1)
        .soc("Ethernet0", |soc| {
            let required = [("grpc_server".to_owned(), "127.0.0.1".to_owned())];
            soc.require_metadata = Some(required.into_iter().collect());
        })
        .start()
        .await;
    rack.counts(PROBES, &[("result", "FAILED_PRECONDITION")], 5).await;
    rack.shows("Ethernet0", &SILENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_allows_few_streams_is_probed_all_the_same() {
    let mut setup = Setup::rack(3);
    for (n, max) in [1, 2, 5].into_iter().enumerate() {
        setup = setup.soc(&format!("Ethernet{}", n * 4), |soc| {
            soc.max_concurrent_streams = Some(max);
        });
    }
    let rack = setup.start().await;
    for port in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rack.shows(port, &Look::HEALTHY).await;
        // The only stream must be left to the queries.
        assert_eq!(rack.soc(port).counters().notice_streams, 0, "{port}");
    }
}
