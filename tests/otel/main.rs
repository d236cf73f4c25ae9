//! The exporter and a real OpenTelemetry Collector (main.go): what it has written down is what the exporter has meant.
//!
//! `make test-otel` builds the collector and runs this; `DUALTOR_TEST_COLLECTOR` is its path. Without it nothing is tested.

#![allow(clippy::print_stderr)]

mod collector;

use std::collections::BTreeSet;
use std::time::Duration;

use collector::{Collector, HOST, SpanLine};
use dualtor_sim::ConnectionFault;
use dualtor_testkit::certificates::{Ca, Files, VALID};
use dualtor_testkit::child::Program;
use dualtor_testkit::harness::{ONLY_AT_READY, Setup, wait_until};
use dualtor_testkit::otlp_receiver::spans_counted;

const SOCS: usize = 24;
const QUERIES: [&str; 5] = [
    "DualToRActive/QueryAdminForwardingPortState",
    "DualToRActive/QueryLinkState",
    "DualToRActive/QueryOperationPortState",
    "DualToRActive/QueryServerVersion",
    "grpc.health.v1.Health/Check",
];

/// A rack that sends everything to the collector, soon.
fn sends_to(collector: &Collector, grpc: bool, keys: &str) -> Setup {
    let (protocol, port) = match grpc {
        true => ("grpc", collector.grpc.number()),
        false => ("http/protobuf", collector.http.number()),
    };
    let scheme = if keys.contains("tls") { "https" } else { "http" };
    Setup::rack(SOCS)
        .databases("publish: off")
        .probe(ONLY_AT_READY)
        .otel(&format!(
            "endpoint: \"{scheme}://{HOST}:{port}\", protocol: {protocol}, traces: all, {keys}"
        ))
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
}

async fn spans(collector: &Collector, what: &str, enough: impl Fn(&[SpanLine]) -> bool) -> Vec<SpanLine> {
    wait_until(what, async || {
        let spans = collector.spans();
        if enough(&spans) {
            Ok(spans)
        } else {
            Err(format!("{} spans", spans.len()))
        }
    })
    .await
}

/// Every round of the first burst with its children.
fn check_rounds(spans: &[SpanLine]) {
    let rounds: Vec<&SpanLine> = spans.iter().filter(|span| span.name == "dualtor.round").collect();
    let ports: BTreeSet<&str> = rounds
        .iter()
        .map(|round| round.text("network.interface.name"))
        .collect();
    assert_eq!((rounds.len(), ports.len()), (SOCS, SOCS));
    for round in rounds {
        assert_eq!(
            (round.kind, &*round.parent, round.status),
            (1, "", 0),
            "{round:?}"
        );
        let keys: Vec<&str> = round.keys();
        let expected = [
            "dualtor.channel.state",
            "dualtor.round.reason",
            "dualtor.soc.version",
            "network.interface.name",
            "server.address",
            "server.port",
        ];
        assert_eq!(keys, expected);
        let mut children: Vec<&SpanLine> = spans.iter().filter(|span| span.parent == round.id).collect();
        children.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<&str> = children.iter().map(|child| &*child.name).collect();
        assert_eq!(names, QUERIES);
        for child in children {
            assert_eq!(
                (child.kind, &child.trace, child.status),
                (3, &round.trace, 0),
                "{child:?}"
            );
            assert!(round.began <= child.began && child.began <= child.ended && child.ended <= round.ended);
            assert_eq!(
                (child.text("rpc.method"), child.text("rpc.system.name")),
                (&*child.name, "grpc")
            );
            assert_eq!(child.text("rpc.status_code"), "OK");
            assert_eq!(child.text("server.address"), round.text("server.address"));
            assert_eq!(child.text("network.peer.address"), round.text("server.address"));
            assert_eq!(child.text("network.peer.port"), round.text("server.port"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_collector_gets_is_complete_over_both_protocols() {
    for grpc in [false, true] {
        let Some(collector) = Collector::start(None).await else {
            return;
        };
        let setup = sends_to(&collector, grpc, "metrics: on, metrics_interval: 200ms, logs: on");
        let rack = setup.start().await;
        // Of each SoC a dial, a round and five queries.
        let first = spans(&collector, "the first rounds", |spans| spans.len() == SOCS * 7).await;
        check_rounds(&first);
        assert_eq!(
            spans_counted(&rack).await,
            [SOCS as u64 * 7, 0, 0],
            "gRPC: {grpc}"
        );
        let resource = collector.resource();
        assert_eq!(resource["service.name"], "dualtor-exporter");
        assert_eq!(resource["dualtor.side"], "upper");
        assert!(!resource["service.instance.id"].is_empty() && !resource["host.name"].is_empty());

        // A SoC dies.
        rack.soc("Ethernet8").connection_fault(ConnectionFault::Refuse);
        let is_refused = |span: &SpanLine| {
            span.name == "dualtor.channel.dial" && span.text("dualtor.channel.cause") == "refused"
        };
        let all = spans(&collector, "refused dials", |spans| spans.iter().any(is_refused)).await;
        let dial = all.iter().find(|span| is_refused(span)).expect("it was there");
        assert_eq!(
            (dial.status, dial.text("network.interface.name")),
            (2, "Ethernet8")
        );

        // The metrics are those of a scrape: the same names.
        let names: BTreeSet<String> = wait_until("metrics", async || {
            let names = collector.metric_names();
            if names.contains("dualtor_probes_total") {
                Ok(names)
            } else {
                Err(format!("{names:?}"))
            }
        })
        .await;
        let scrape = rack.scrape().await;
        let family = |name: &str| {
            let histogram = ["_bucket", "_sum", "_count"].iter();
            let base = histogram
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| names.contains(*base));
            base.unwrap_or(name).to_owned()
        };
        let scraped: BTreeSet<String> = scrape.samples.iter().map(|sample| family(&sample.name)).collect();
        assert_eq!(names, scraped);

        // And the loss is an event.
        wait_until("the loss as an event", async || {
            let events = collector.events();
            let lost = |event: &Vec<(String, String)>| {
                let has = |key: &str, value: &str| event.contains(&(key.to_owned(), value.to_owned()));
                has("network.interface.name", "Ethernet8") && has("dualtor.to", "transient_failure")
            };
            if events.iter().any(lost) {
                Ok(())
            } else {
                Err(format!("{} events", events.len()))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_wants_our_certificate_gets_it() {
    let (ca, files) = (Ca::new("collector CA", VALID), Files::new());
    files.write("ca.crt", &ca.cert);
    files.soc(&ca.named("collector"));
    files.client(&ca.client(VALID));
    for grpc in [false, true] {
        let Some(collector) = Collector::start(Some(&files)).await else {
            return;
        };
        let path = |name: &str| files.path(name).display().to_string();
        let keys = format!(
            "tls: {{ca: \"{}\", cert: \"{}\", key: \"{}\", server_name: collector}}",
            path("ca.crt"),
            path("client.crt"),
            path("client.key")
        );
        let _rack = sends_to(&collector, grpc, &keys).start().await;
        let spans = spans(&collector, "spans over TLS", |spans| spans.len() == SOCS * 7).await;
        check_rounds(&spans);

        // Without a certificate `doctor` says so.
        let keys = format!("tls: {{ca: \"{}\", server_name: collector}}", path("ca.crt"));
        let told = told(sends_to(&collector, grpc, &keys)).await;
        let words = "the server does not accept our certificate, or asks for one";
        assert!(
            told.contains(words) || told.contains(CLOSED),
            "gRPC: {grpc}: {told}"
        );
    }
}

/// A server that refuses closes the connection at once. Why it does so may or may not be read before that.
const CLOSED: &str = "the server closed the connection before its answer was complete";

/// What `doctor` says.
async fn told(setup: Setup) -> String {
    let rack = setup.stage().await;
    let config = rack.config_path();
    let args = ["doctor", "--config.file", config.to_str().expect("UTF-8")];
    Program::start(&args).ended().await.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_the_other_protocol_is_told_as_that() {
    let Some(mut collector) = Collector::start(None).await else {
        return;
    };
    std::mem::swap(&mut collector.grpc, &mut collector.http);
    for (grpc, words) in [
        (
            false,
            "what the server sends is not HTTP/1.1, it may speak gRPC only",
        ),
        (true, "what the server sends is not HTTP/2, it may not speak gRPC"),
    ] {
        let told = told(sends_to(&collector, grpc, "logs: off")).await;
        assert!(told.contains(words) || told.contains(CLOSED), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_collector_loses_what_is_counted_and_gets_the_rest() {
    let Some(collector) = Collector::start(None).await else {
        return;
    };
    collector.signal("STOP");
    let rack = sends_to(&collector, false, "logs: off")
        .variable("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .variable("OTEL_BSP_EXPORT_TIMEOUT", "1000")
        .variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
        .start()
        .await;
    let lost = wait_until("spans that did not arrive", async || {
        let [_, error, _] = spans_counted(&rack).await;
        if error > 0 {
            Ok(error)
        } else {
            Err("none".to_owned())
        }
    })
    .await;
    assert!(lost > 0);
    assert_eq!(rack.scrape().await.value("dualtor_otlp_up", &[]), Some(0.0));
    collector.signal("CONT");
    let [ok, error, dropped] = wait_until("all are counted", async || {
        let counts = spans_counted(&rack).await;
        let is_all = counts.iter().sum::<u64>() == SOCS as u64 * 7;
        if is_all {
            Ok(counts)
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
    assert!(error > 0, "{ok} {error} {dropped}");
    // What it read too late was counted as lost, but it may have taken it.
    tokio::time::timeout(Duration::from_secs(30), async {
        while (collector.spans().len() as u64) < ok {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("what was counted as arrived");
}
