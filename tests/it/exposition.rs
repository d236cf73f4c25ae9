//! A scrape: its formats, its size, and the catalogue that contains each metric.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use dualtor_exporter::telemetry::catalogue::CATALOGUE;
use dualtor_sim::{ConnectionFault, Notice, NoticeKind, Plane};

use crate::certificates::{Ca, Files, VALID};
use crate::harness::{ONLY_AT_READY, Rack, Setup};
use crate::http::{Sample, Scrape, ask, get};
use crate::soc_view::Look;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A rack with a healthy and a refusing SoC, with TLS, so that each metric of the catalogue appears.
async fn mixed() -> Rack {
    let (files, ca) = (Files::new(), Ca::new("CA", VALID));
    files.write("ca.crt", &ca.cert);
    files.client(&ca.client(VALID));
    let (soc, channel) = (files.soc(&ca.soc(VALID)), files.mutual(""));
    let mut setup = Setup::rack(2)
        // OpenMetrics has one metric more.
        .databases("publish: shadow")
        .tls(files, soc, &channel)
        .soc("Ethernet4", |soc| soc.fault = ConnectionFault::Refuse);
    setup.web_config = Some(String::new());
    let rack = setup.start().await;
    rack.shows("Ethernet4", &Look::unknown("transient_failure")).await;
    rack.service("Ethernet0", "noop").await;
    rack.soc("Ethernet0").announce(&Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Both,
        guid: "g1".to_owned(),
        period: 3600,
    });
    rack.service("Ethernet0", "inprogress").await;
    let rtt = "dualtor_keepalive_rtt_seconds";
    rack.scraped(rtt, |scrape| scrape.value(rtt, &[]).is_some()).await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    rack
}

fn series(samples: &[Sample]) -> BTreeSet<String> {
    let series: BTreeSet<String> = samples
        .iter()
        .map(|s| format!("{} {:?}", s.name, s.labels))
        .collect();
    assert_eq!(series.len(), samples.len(), "a series is there twice");
    series
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_openmetrics_hold_the_same_series() {
    let rack = mixed().await;
    let text = get(rack.web, "/metrics").await;
    assert_eq!(
        text.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let open = ask(rack.web, "GET", "/metrics", &[("Accept", OPEN_METRICS)]).await;
    assert_eq!(
        open.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text().ends_with("\n# EOF\n"));
    assert_eq!(open.text().matches("# EOF").count(), 1);
    assert!(!text.text().contains("# EOF") && text.text().ends_with('\n'));
    let (text, open) = (Scrape::parse(text.text()), Scrape::parse(open.text()));
    // New results and causes may appear between two scrapes, but not for a SoC that is healthy or always refused.
    assert_eq!(series(&text.samples), series(&open.samples));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_compressed_where_the_scraper_takes_that() {
    let rack = mixed().await;
    let plain = get(rack.web, "/metrics").await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = ask(rack.web, "GET", "/metrics", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len() / 3);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*packed.body)
        .read_to_string(&mut text)
        .expect("gzip");
    let (packed, plain) = (Scrape::parse(&text), Scrape::parse(plain.text()));
    assert_eq!(series(&packed.samples), series(&plain.samples));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_depends_on_is_said_and_a_weight_has_no_case() {
    let rack = Setup::rack(1).start().await;
    let accept = "application/openmetrics-text;Q=0.1, text/plain;Q=0.9";
    for (method, headers, encoding) in [
        ("GET", &[("Accept", accept)][..], ""),
        ("GET", &[("Accept", accept), ("Accept-Encoding", "gzip")], "gzip"),
        ("HEAD", &[("Accept", accept), ("Accept-Encoding", "gzip;Q=0")], ""),
    ] {
        let answer = ask(rack.web, method, "/metrics", headers).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding", "{method}");
        assert_eq!(
            answer.header("content-encoding"),
            encoding,
            "{method} {headers:?}"
        );
        assert!(
            answer.header("content-type").starts_with("text/plain"),
            "{answer:?}"
        );
        assert_eq!(answer.body.is_empty(), method == "HEAD");
        let length = (method == "GET").then(|| answer.body.len().to_string());
        assert_eq!(
            answer.header("content-length"),
            length.unwrap_or_default(),
            "{method}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong() {
    let rack = mixed().await;
    let text = get(rack.web, "/metrics").await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("promtool cannot be run ({error}): install Debian's package prometheus")
        });
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(&text.body).expect("read by promtool");
    drop(stdin);
    let output = promtool.wait_with_output().expect("an end");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success() && said.concat().is_empty(),
        "{}",
        said.concat()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_port_has_at_most_100_series() {
    let rack = mixed().await;
    let _: redis::Value = rack
        .redis
        .ask_db(0, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    rack.scraped("dualtor_mux_consistent", |scrape| {
        scrape.find("dualtor_mux_consistent", &[]).count() > 0
    })
    .await;
    let scrape = rack.scrape().await;
    let of = |port: &str| {
        let has = |sample: &&Sample| sample.labels.get("port").is_some_and(|p| p == port);
        scrape.samples.iter().filter(has).count()
    };
    assert!(of("Ethernet0") <= 100, "{}", of("Ethernet0"));
    assert!(of("Ethernet4") <= 100, "{}", of("Ethernet4"));
}

/// A family's name in the catalogue, without a histogram's suffix.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|n| n.ends_with("duration_seconds") || n.ends_with("delay_seconds"))
        })
        .unwrap_or(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_metric_is_of_the_catalogue_and_each_of_the_catalogue_is_there() {
    let rack = mixed().await;
    let _: redis::Value = rack
        .redis
        .ask_db(0, "HSET MUX_CABLE_TABLE:Ethernet0 state active");
    let _: redis::Value = rack.redis.ask_db(0, "HSET PORT_TABLE:Ethernet0 oper_status up");
    let _: redis::Value = rack
        .redis
        .ask_db(0, "HSET FORWARDING_STATE_RESPONSE:Ethernet0 response active");
    let mut change = redis::cmd("HSET");
    change.arg("MUX_METRICS_TABLE|Ethernet0");
    change.arg(&["grpc_switch_self_active_start", "2026-Nov-21 00:06:31.400000"]);
    change.arg(&["grpc_switch_self_active_end", "2026-Nov-21 00:06:31.650000"]);
    let mut state_db = rack.redis.connect(6).expect("a connection");
    change.exec(&mut state_db).expect("written");
    let all = |scrape: &Scrape| {
        let there = |name| scrape.find(name, &[]).count() > 0;
        let of_ycabled = there("dualtor_ycabled_agrees") && there("dualtor_ycabled_change_duration_seconds");
        of_ycabled && there("dualtor_mux_consistent") && there("dualtor_port_oper_up")
    };
    rack.scraped("dualtor_mux_consistent", all).await;
    let answer = get(rack.web, "/metrics").await;
    let scrape = Scrape::parse(answer.text());
    let shown: BTreeSet<&str> = scrape.samples.iter().map(|s| family(&s.name)).collect();
    // These are there in central mode only: tests/it/shards.rs, tests/it/sources_of_targets.rs; while telemetry is sent:
    // tests/it/telemetry_sent.rs; or with probe modules: tests/it/modules.rs.
    let elsewhere = |name: &str| {
        [
            "dualtor_shard_",
            "dualtor_inventory_up",
            "dualtor_inventory_last",
            "dualtor_otlp_",
            "grpc_",
            "gribi_",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    let known = CATALOGUE.iter().map(|family| family.name);
    let known: BTreeSet<&str> = known.filter(|name| !elsewhere(name)).collect();
    assert_eq!(shown, known);
    for sample in &scrape.samples {
        let of = CATALOGUE
            .iter()
            .find(|f| f.name == family(&sample.name))
            .expect("known");
        let expected: BTreeSet<&str> = of.labels.split(", ").filter(|label| !label.is_empty()).collect();
        let labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        let labels: BTreeSet<&str> = labels.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(labels, expected, "{}", sample.name);
        assert!(sample.value.is_finite(), "{sample:?}");
    }
    // In its order, with its type and help.
    let types: Vec<&str> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let catalogue = || CATALOGUE.iter().filter(|family| !elsewhere(family.name));
    let expected: Vec<String> = catalogue()
        .map(|family| format!("{} {}", family.name, family.kind.label()))
        .collect();
    assert_eq!(types, expected);
    for family in catalogue() {
        let help = format!("# HELP {} {}.\n", family.name, family.help);
        assert!(answer.text().contains(&help), "{help}");
    }
}

/// What docs/metrics.md says of each metric: type, labels, meaning.
fn documented() -> BTreeMap<String, [String; 3]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("docs/metrics.md: {error}"));
    let lines = text
        .lines()
        .skip_while(|line| *line != "| metric | type | labels | meaning |");
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        let row = row.trim_start_matches('|').trim_end_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(|row| match &cells(row)[..] {
        [name, kind, labels, help] => {
            let labels = labels.trim_matches(['–', '-', '—']).replace('`', "");
            let help = help.trim_end_matches('.').to_owned();
            (name.trim_matches('`').to_owned(), [kind.clone(), labels, help])
        }
        _ => panic!("expected four cells: {row}"),
    })
    .collect()
}

#[test]
fn the_documented_metrics_are_the_catalogue() {
    let expected = CATALOGUE.iter().map(|family| {
        let words = [family.kind.label(), family.labels, family.help].map(str::to_owned);
        (family.name.to_owned(), words)
    });
    let expected: BTreeMap<_, _> = expected.collect();
    let found = documented();
    for (name, words) in &expected {
        let there = found.get(name);
        assert_eq!(there, Some(words), "docs/metrics.md, row {name}");
    }
    let extra: Vec<_> = found
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .collect();
    assert!(
        extra.is_empty(),
        "docs/metrics.md has rows that the catalogue has not: {extra:?}"
    );
}

/// Whether a series' value changes from run to run.
fn changes(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    match name {
        "dualtor_keepalive_interval_seconds" => false,
        // How many changes share a write.
        "dualtor_state_db_writes_total" => true,
        _ => {
            name.starts_with("process_")
                || name.starts_with("dualtor_scheduling_delay_seconds")
                || name.starts_with("dualtor_web_request")
                || name == "dualtor_queue_length"
                || name.ends_with("_seconds")
                || series.contains("_seconds_sum{")
                || series.contains("le=\"")
        }
    }
}

/// A scrape without values that change from run to run.
fn masked(text: &str, address: &str) -> String {
    let text = text
        .replace(address, "[address]")
        .replace(env!("DUALTOR_REVISION"), "[revision]");
    let mask = |line: &str| match line.rsplit_once(' ') {
        Some((series, _)) if !line.starts_with('#') && changes(series) => format!("{series} [value]\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(mask).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_of_a_healthy_port_word_for_word() {
    let rack = Setup::rack(1).probe(ONLY_AT_READY).start().await;
    rack.service("Ethernet0", "noop").await;
    let rtt = "dualtor_keepalive_rtt_seconds";
    rack.scraped(rtt, |scrape| scrape.value(rtt, &[]).is_some()).await;
    rack.shows("Ethernet0", &Look::HEALTHY).await;
    let text = get(rack.web, "/metrics").await;
    let address = rack.soc("Ethernet0").address().to_string();
    insta::assert_snapshot!("metrics", masked(text.text(), &address));
}
