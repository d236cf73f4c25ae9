//! What the exporter sends as OpenTelemetry, to a receiver of our own: one that takes everything, and those that a real collector
//! cannot be made to be. tests/otel has a real collector.

use std::time::{Duration, Instant};

use dualtor_sim::{Code, ConnectionFault, ReplyFault, Rpc};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::child::Program;
use crate::endless::{Endless, serve};
use crate::harness::{ONLY_AT_READY, Rack, Setup, wait_until};
use crate::otlp_receiver::{Behaviour, OtlpReceiver, attribute, spans_counted};

const PORT: &str = "Ethernet0";
const SPANS: &str = "dualtor_otlp_spans_total";

/// A rack that sends to the receiver, soon.
fn sends_to(receiver: &OtlpReceiver, socs: usize, keys: &str) -> Setup {
    Setup::rack(socs)
        .databases("publish: off")
        .otel(&format!("endpoint: \"http://{}\", {keys}", receiver.address))
        .variable("OTEL_BSP_SCHEDULE_DELAY", "20")
}

async fn spans(receiver: &OtlpReceiver, what: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
    wait_until(what, async || {
        receiver.received(|received| match enough(&received.spans) {
            true => Ok(received.spans.clone()),
            false => Err(format!("{} spans", received.spans.len())),
        })
    })
    .await
}

fn named<'a>(spans: &'a [Span], name: &'a str) -> impl Iterator<Item = &'a Span> {
    spans.iter().filter(move |span| span.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_arrives_as_a_span_with_its_queries_inside_over_both_protocols() {
    for (grpc, protocol) in [(false, "http/protobuf"), (true, "grpc")] {
        let receiver = OtlpReceiver::start(grpc).await;
        let keys =
            format!("protocol: {protocol}, traces: all, resource: {{k: v}}, headers: {{x-tenant: lab}}");
        let rack = sends_to(&receiver, 2, &keys)
            .probe(ONLY_AT_READY)
            .variable("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
            .start()
            .await;
        // Of each SoC: a dial, a round, five queries.
        let spans = spans(&receiver, "14 spans", |spans| spans.len() == 14).await;
        for port in ["Ethernet0", "Ethernet4"] {
            let is_port = |span: &&Span| attribute(&span.attributes, "network.interface.name") == port;
            let round = named(&spans, "dualtor.round").find(is_port).expect("a round");
            assert_eq!(attribute(&round.attributes, "dualtor.round.reason"), "ready");
            assert!(round.status.is_none() && round.parent_span_id.is_empty());
            let is_child = |span: &&Span| span.parent_span_id == round.span_id;
            let children: Vec<&Span> = spans.iter().filter(is_child).collect();
            assert_eq!(children.len(), 5);
            for child in &children {
                assert_eq!(child.trace_id, round.trace_id);
                let (began, ended) = (child.start_time_unix_nano, child.end_time_unix_nano);
                assert!(round.start_time_unix_nano <= began && began <= ended);
                assert!(ended <= round.end_time_unix_nano);
                assert_eq!(attribute(&child.attributes, "rpc.status_code"), "OK");
                let address = rack.soc(port).address();
                assert_eq!(
                    attribute(&child.attributes, "server.address"),
                    address.ip().to_string()
                );
                assert_eq!(
                    attribute(&child.attributes, "network.peer.port"),
                    address.port().to_string()
                );
            }
            let dial = named(&spans, "dualtor.channel.dial")
                .find(is_port)
                .expect("a dial");
            assert_eq!(dial.events.len(), 2, "{dial:?}");
        }
        receiver.received(|received| {
            let of = |key: &str| attribute(&received.resources[0].attributes, key);
            assert_eq!(
                (of("service.name"), of("k")),
                ("dualtor-exporter".to_owned(), "v".to_owned())
            );
            assert_eq!(of("dualtor.side"), "upper");
            assert_eq!(received.headers["x-tenant"], "lab");
        });
        assert_eq!(spans_counted(&rack).await, [14, 0, 0], "{protocol}");
        let scrape = rack.scrape().await;
        assert_eq!(scrape.value("dualtor_otlp_up", &[]), Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_rack_sends_no_trace_by_default_and_a_failed_query_is_one() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = sends_to(&receiver, 1, "traces: failed").start().await;
    rack.counts("dualtor_probes_total", &[("query", "link"), ("result", "OK")], 3)
        .await;
    let (code, message) = (Code::Internal, String::new());
    rack.soc(PORT)
        .reply_fault_only(ReplyFault::Code { code, message }, &[Rpc::Link]);
    let spans = spans(&receiver, "a failed round", |spans| !spans.is_empty()).await;
    let round = named(&spans, "dualtor.round").next().expect("a round");
    assert_eq!(round.status.as_ref().map(|status| status.code), Some(2));
    let link = named(&spans, "DualToRActive/QueryLinkState")
        .next()
        .expect("a query");
    assert_eq!(attribute(&link.attributes, "error.type"), "INTERNAL");
    assert_eq!(attribute(&link.attributes, "rpc.status_code"), "INTERNAL");
    let admin = named(&spans, "DualToRActive/QueryAdminForwardingPortState").next();
    assert!(admin.expect("a query").status.is_none());
    // Nothing of the good rounds before it.
    assert_eq!(spans.len() % 6, 0, "{}", spans.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_that_dies_and_comes_back_is_traced_by_its_dials() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = sends_to(&receiver, 1, "traces: failed, logs: on")
        .probe(ONLY_AT_READY)
        .start()
        .await;
    rack.counts("dualtor_probes_total", &[("result", "OK")], 5).await;
    rack.soc(PORT).connection_fault(ConnectionFault::Refuse);
    let is_dial = |cause: &'static str| {
        move |spans: &[Span]| {
            let causes = named(spans, "dualtor.channel.dial");
            causes
                .filter(|span| attribute(&span.attributes, "dualtor.channel.cause") == cause)
                .count()
                > 1
        }
    };
    spans(&receiver, "dials that were refused", is_dial("refused")).await;
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    let succeeded = |spans: &[Span]| {
        let mut dials = named(spans, "dualtor.channel.dial");
        dials.any(|span| attribute(&span.attributes, "dualtor.channel.state") == "ready")
    };
    let spans = spans(&receiver, "a dial that succeeded", succeeded).await;
    let trace_of = |to: &str| {
        let events = spans
            .iter()
            .flat_map(|span| span.events.iter().map(move |event| (span, event)));
        let mut found = events.filter(|(_, event)| attribute(&event.attributes, "dualtor.to") == to);
        found.next().map(|(span, _)| span.trace_id.clone())
    };
    let lost = trace_of("transient_failure").expect("the loss");
    // The same as an event: cause, detail, and the trace of the dial.
    wait_until("the loss as an event", async || {
        receiver.received(|received| {
            let mut logs = received.logs.iter();
            let found = logs.find(|log| attribute(&log.attributes, "dualtor.to") == "transient_failure");
            match found {
                Some(log) => {
                    assert_eq!(log.trace_id, lost);
                    assert_eq!(log.event_name, "dualtor.channel.transition");
                    assert!(!attribute(&log.attributes, "dualtor.channel.cause").is_empty());
                    assert!(!attribute(&log.attributes, "dualtor.detail").is_empty());
                    Ok(())
                }
                None => Err(format!("{} records", received.logs.len())),
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_arrive_with_the_values_of_a_scrape() {
    let receiver = OtlpReceiver::start(true).await;
    let keys = "protocol: grpc, traces: off, metrics: on, metrics_interval: 100ms";
    let rack = sends_to(&receiver, 2, keys).probe(ONLY_AT_READY).start().await;
    rack.counts("dualtor_probes_total", &[("result", "OK")], 10).await;
    wait_until("the probes as a metric", async || {
        receiver.received(|received| {
            let mut all = received.metrics.iter().rev();
            let last = all.find(|metric| metric.name == "dualtor_probes_total");
            let points = last.and_then(|metric| match metric.data.as_ref()? {
                opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum) => Some(&sum.data_points),
                _ => None,
            });
            let values = points.into_iter().flatten().map(|point| match point.value {
                Some(opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsInt(n)) => n,
                _ => -1,
            });
            match values.sum::<i64>() {
                10 => Ok(()),
                other => Err(format!("{other} probes")),
            }
        })
    })
    .await;
    // It is counted when the answer has come, a moment later.
    let scrape = rack
        .counts("dualtor_otlp_metric_exports_total", &[("result", "ok")], 1)
        .await;
    assert_eq!(
        scrape.value(SPANS, &[("result", "ok")]),
        None,
        "no traces are sent"
    );
}

/// How many spans there must be with `traces: all`, by counters that know nothing of spans.
async fn spans_made(rack: &Rack) -> u64 {
    let scrape = rack.scrape().await;
    let probes = |labels: &[(&str, &str)]| scrape.count("dualtor_probes_total", labels);
    let sent = probes(&[]) - probes(&[("result", "UNAVAILABLE")]);
    scrape.count("dualtor_channel_dials_total", &[]) + probes(&[("query", "admin")]) + sent
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_is_counted_once_whatever_the_collector_does() {
    // A dial and a round of six spans for each SoC.
    const MADE: u64 = 40 * 7;
    for (behaviour, queue, arrived, lost) in [
        (Behaviour::Accept, "2048", true, false),
        (Behaviour::Reject(3), "2048", true, true),
        (Behaviour::Fail(503), "100", false, true),
        (Behaviour::Fail(400), "100", false, true),
        (Behaviour::Slow(Duration::from_millis(300)), "40", true, true),
        (Behaviour::Mute, "100", false, true),
    ] {
        // Only a mute one must be given up soon; a busy machine answers late.
        let timeout = if behaviour == Behaviour::Mute {
            "50"
        } else {
            "30000"
        };
        let receiver = OtlpReceiver::start(false).await;
        receiver.behave(behaviour);
        let rack = sends_to(&receiver, 40, "traces: all")
            .probe(ONLY_AT_READY)
            .variable("OTEL_BSP_MAX_QUEUE_SIZE", queue)
            .variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")
            .variable("OTEL_EXPORTER_OTLP_TIMEOUT", timeout)
            .start()
            .await;
        let [ok, error, dropped] = wait_until(&format!("{behaviour:?}: all are counted"), async || {
            // On a busy machine a SoC may be dialled twice.
            let (counts, made) = (spans_counted(&rack).await, spans_made(&rack).await);
            match made >= MADE && counts.iter().sum::<u64>() == made {
                true => Ok(counts),
                false => Err(format!("{counts:?} of {made}")),
            }
        })
        .await;
        assert_eq!(ok > 0, arrived, "{behaviour:?}: {ok} {error} {dropped}");
        assert_eq!(error + dropped > 0, lost, "{behaviour:?}: {ok} {error} {dropped}");
        if matches!(behaviour, Behaviour::Accept | Behaviour::Slow(_)) {
            assert_eq!(receiver.spans() as u64, ok, "{behaviour:?}");
        }
        // Probing does not notice.
        let scrape = rack.scrape().await;
        assert_eq!(scrape.count("dualtor_probes_total", &[("result", "OK")]), 200);
    }
}

/// How often a message is sent whose answers are this status.
async fn attempts(grpc: bool, status: u16) -> (bool, u16, bool) {
    let receiver = OtlpReceiver::start(grpc).await;
    receiver.behave(Behaviour::Fail(status));
    let protocol = if grpc { "grpc" } else { "http/protobuf" };
    let rack = sends_to(&receiver, 1, &format!("protocol: {protocol}, traces: all"))
        .probe(ONLY_AT_READY)
        // One message for the dial and the round, as a rule.
        .variable("OTEL_BSP_SCHEDULE_DELAY", "1000")
        .start()
        .await;
    wait_until("all are counted", async || match spans_counted(&rack).await {
        [0, 7, 0] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // The first message is an empty one.
    match receiver.received(|received| received.requests.len()) {
        2..=3 => (grpc, status, false),
        8 | 12 => (grpc, status, true),
        odd => panic!("gRPC {grpc}, {status}: {odd} requests"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_again_only_after_the_statuses_that_allow_it() {
    let expected = [
        (false, 400, false),
        (false, 401, false),
        (false, 429, true),
        (false, 500, false),
        (false, 502, true),
        (false, 503, true),
        (false, 504, true),
        // INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE, DATA_LOSS.
        (true, 3, false),
        (true, 8, false),
        (true, 12, false),
        (true, 14, true),
        (true, 15, true),
    ];
    let seen = expected.map(|(grpc, status, _)| attempts(grpc, status));
    assert_eq!(futures_util::future::join_all(seen).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_answer_is_counted_for_what_it_is_and_ends_nothing() {
    for (behaviour, is_good) in [
        (
            Behaviour::Odd(200, ("content-type", "text/html; charset=utf-8")),
            false,
        ),
        (Behaviour::Odd(204, ("server", "one that takes it")), true),
        (Behaviour::Odd(202, ("server", "one that takes it later")), true),
        // Everything.
        (Behaviour::Reject(i64::MAX), false),
    ] {
        let receiver = OtlpReceiver::start(false).await;
        receiver.behave(behaviour);
        let rack = sends_to(&receiver, 1, "traces: all")
            .probe("interval: 100ms, timeout: 80ms")
            .start()
            .await;
        wait_until(&format!("{behaviour:?}: counted"), async || {
            let (counts, up) = (
                spans_counted(&rack).await,
                rack.scrape().await.value("dualtor_otlp_up", &[]),
            );
            match (counts, up) {
                ([(8..), 0, 0], Some(1.0)) if is_good => Ok(()),
                ([0, (8..), 0], Some(0.0)) if !is_good => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        receiver.behave(Behaviour::Accept);
        let before = receiver.spans();
        spans(&receiver, "more spans", |spans| spans.len() > before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_login_in_its_file_is_used_before_anything_is_lost() {
    let receiver = OtlpReceiver::start(false).await;
    receiver.behave(Behaviour::Login("Bearer old"));
    let directory = tempfile::TempDir::new().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "Bearer old").expect("written");
    let keys = format!(
        "traces: all, headers: {{authorization: {{file: \"{}\"}}}}",
        token.display()
    );
    let rack = sends_to(&receiver, 1, &keys)
        .probe("interval: 100ms, timeout: 80ms")
        .start()
        .await;
    spans(&receiver, "spans with the old login", |spans| spans.len() > 8).await;
    std::fs::write(&token, "Bearer new").expect("written");
    receiver.behave(Behaviour::Login("Bearer new"));
    let before = receiver.spans();
    spans(&receiver, "spans with the new login", |spans| {
        spans.len() > before + 8
    })
    .await;
    let [_, error, dropped] = spans_counted(&rack).await;
    assert_eq!((error, dropped), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_logged_once_each_way_and_holds_up_no_stop() {
    let receiver = OtlpReceiver::start(false).await;
    let address = receiver.address;
    drop(receiver);
    let setup = Setup::rack(3)
        .databases("publish: off")
        .probe("interval: 50ms, timeout: 40ms");
    let rack = setup.stage().await;
    let config = rack.config_path();
    let endpoint = format!("http://{address}");
    let mut exporter = Program::start_with(
        &[
            "--config.file",
            config.to_str().expect("UTF-8"),
            "--web.listen-address",
            "127.0.0.1:0",
        ],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ],
    );
    exporter.says("telemetry does not arrive", 1).await;
    // Several batches fail.
    let web = exporter.address().await;
    wait_until("more failures", async || {
        let text = crate::http::get(web, "/metrics").await;
        let scrape = crate::http::Scrape::parse(text.text());
        match scrape.count(SPANS, &[("result", "error")]) {
            100.. => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    let receiver = OtlpReceiver::start_at(address, false).await;
    exporter.says("telemetry arrives again", 1).await;
    receiver.behave(Behaviour::Mute);
    let began = Instant::now();
    exporter.signal("TERM");
    let ended = exporter.ended().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ended.code, Some(0));
    let lines = |words: &str| ended.stderr.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines("telemetry does not arrive"), 1, "{}", ended.stderr);
    assert_eq!(lines("telemetry arrives again"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_stop_is_sent() {
    let receiver = OtlpReceiver::start(false).await;
    let mut rack = sends_to(&receiver, 3, "traces: all, logs: on")
        .probe(ONLY_AT_READY)
        .variable("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .start()
        .await;
    rack.counts("dualtor_probes_total", &[("result", "OK")], 15).await;
    assert_eq!(receiver.spans(), 0);
    rack.stop_exporter().await;
    assert_eq!(receiver.spans(), 21);
    // The stop itself is an event.
    let stops = receiver.received(|received| {
        let logs = received.logs.iter();
        logs.filter(|log| attribute(&log.attributes, "dualtor.to") == "shutdown")
            .count()
    });
    assert_eq!(stops, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_query_durations_names_the_newest_trace_that_has_arrived() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = sends_to(&receiver, 2, "traces: all")
        .probe(ONLY_AT_READY)
        .start()
        .await;
    spans(&receiver, "14 spans", |spans| spans.len() == 14).await;
    wait_until("they are counted", async || match spans_counted(&rack).await {
        [14, 0, 0] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let answer = crate::http::ask(rack.web, "GET", "/metrics", &accept).await;
    let mut found = 0;
    for (bucket, exemplar) in answer.text().lines().filter_map(|line| line.split_once(" # ")) {
        assert!(
            bucket.starts_with("dualtor_probe_duration_seconds_bucket{"),
            "{bucket}"
        );
        let value = |key: &str| {
            let rest = exemplar.split(key).nth(1).expect("a label");
            rest.split('"').nth(1).expect("a value").to_owned()
        };
        let (trace, span) = (value("trace_id="), value("span_id="));
        let seconds: f64 = exemplar
            .split(' ')
            .nth(1)
            .expect("a value")
            .parse()
            .expect("a number");
        receiver.received(|received| {
            let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let found = received.spans.iter().find(|other| hex(&other.span_id) == span);
            let found = found.expect("the span has arrived");
            assert_eq!(hex(&found.trace_id), trace);
            let took = (found.end_time_unix_nano - found.start_time_unix_nano) as f64 / 1e9;
            assert!((took - seconds).abs() < 1e-6, "{took} {seconds}");
            let mut spans = received.spans.iter();
            let round = spans
                .find(|round| round.span_id == found.parent_span_id)
                .expect("a round");
            let port = attribute(&round.attributes, "network.interface.name");
            assert!(bucket.contains(&format!("port=\"{port}\"")), "{bucket}");
        });
        found += 1;
    }
    assert!((2..=10).contains(&found), "{found}");
    let text = crate::http::get(rack.web, "/metrics").await;
    assert!(
        !text.text().contains("trace_id"),
        "the old text format has no exemplars"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_whether_the_collector_takes_what_we_send() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = Setup::rack(1).databases("publish: off").stage().await;
    let config = rack.config_path();
    let args = ["doctor", "--config.file", config.to_str().expect("UTF-8")];
    let endpoint = format!("http://{}", receiver.address);
    let doctor = async || {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_METRICS_EXPORTER", "otlp"),
        ];
        Program::start_with(&args, &variables).ended().await
    };
    let good = doctor().await;
    for signal in ["traces", "metrics"] {
        let line = format!("{signal} to {endpoint}/v1/{signal}: takes an empty message");
        assert!(good.stdout.contains(&line), "{}", good.stdout);
    }
    assert_eq!(receiver.spans(), 0);
    assert_eq!(receiver.received(|received| received.requests.len()), 2);
    receiver.behave(Behaviour::Fail(401));
    let bad = doctor().await;
    assert!(
        bad.stdout
            .contains("takes nothing: expected the status 200, got 401"),
        "{}",
        bad.stdout
    );
    assert_eq!(bad.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_sends_interim_answers_without_end_is_given_up_before_it_costs_much() {
    for (endless, protocol) in [(Endless::Interim, "http/protobuf"), (Endless::Interim2, "grpc")] {
        let endpoint = format!("http://{}", serve(endless).await);
        let rack = Setup::rack(1).databases("publish: off").stage().await;
        let config = rack.config_path();
        let args = ["doctor", "--config.file", config.to_str().expect("UTF-8")];
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let doctor = Program::start_with(&args, &variables).ended().await;
        let words = "the server sends too much: more than 256 KiB for one answer";
        assert!(doctor.stdout.contains(words), "{protocol}: {}", doctor.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soc_gets_the_same_with_and_without_telemetry() {
    let receiver = OtlpReceiver::start(false).await;
    let metadata = async |setup: Setup, receiver: Option<&OtlpReceiver>| {
        let rack = setup.probe("interval: 300ms, timeout: 200ms").start().await;
        // The last RPC is now a query, not one of the streams that are opened once.
        let health = [("query", "health"), ("result", "OK")];
        rack.counts("dualtor_probes_total", &health, 4).await;
        if let Some(receiver) = receiver {
            spans(receiver, "spans", |spans| spans.len() >= 7).await;
        }
        let counters = rack.soc(PORT).counters();
        let called = counters.rpcs.into_iter().filter(|(_, calls)| *calls > 0);
        let called: Vec<Rpc> = called.map(|(rpc, _)| rpc).collect();
        (counters.last_metadata, called)
    };
    let without = metadata(Setup::rack(1).databases("publish: off"), None).await;
    let with = metadata(sends_to(&receiver, 1, "traces: all"), Some(&receiver)).await;
    assert_eq!(with, without);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_propagate_a_query_names_its_own_span() {
    let receiver = OtlpReceiver::start(false).await;
    let rack = sends_to(&receiver, 1, "traces: all, propagate: true")
        .probe("interval: 300ms, timeout: 200ms")
        .start()
        .await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The simulator keeps the metadata of the last RPC, of whichever query that was.
    wait_until("a span that the SoC was told", async || {
        let metadata = rack.soc(PORT).counters().last_metadata;
        let told = metadata.get("traceparent").ok_or("no traceparent")?;
        let is_told = |span: &Span| *told == format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        let found = receiver.received(|received| received.spans.iter().find(|span| is_told(span)).cloned());
        let found = found.ok_or_else(|| format!("{told}, which has not arrived"))?;
        assert!(
            found.name.contains('/') && !found.parent_span_id.is_empty(),
            "{found:?}"
        );
        Ok(())
    })
    .await;
}
