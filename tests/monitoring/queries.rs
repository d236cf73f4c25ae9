//! Every query of every dashboard, put to a real Prometheus with the delivered rules as Grafana would put it, returns
//! data. It has scraped two ToRs: on one everything happens that a dashboard can show, the other speaks TLS and runs
//! beside ycabled.
//!
//! A query must return data for each ToR and for a port that is well; a panel that is rightly empty there says so in its
//! description, and must return data for some ToR and port. So must a list that has the row "none" there, without that row.
//!
//! So does Fleet on a Prometheus that federates from that one as docs/monitoring.md says, but for the panels that say that
//! they need raw series.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use dualtor_exporter::telemetry::catalogue::CATALOGUE;
use dualtor_sim::{Notice, NoticeKind, Plane, Scenario};
use serde_json::Value;

use crate::certificates::{Ca, Files, VALID};
use crate::grafana::{self, Asks, Query, label_values, substitute};
use crate::harness::{Rack, Setup};
use crate::promql::Values;
use crate::routes::Routes;
use crate::served::of_exporter;
use crate::sources;
use crate::stack::{Prometheus, Target};
use crate::wait::wait_until;

const TORS: [&str; 2] = ["tor1", "tor2"];
/// Well on both.
const WELL: &str = "Ethernet0";

/// What linkmgrd, orchagent and the switch's port say.
fn facts(rack: &Rack, state: &str) {
    for soc in rack.socs() {
        let port = soc.name();
        for (db, command) in [
            (0, format!("HSET MUX_CABLE_TABLE:{port} state {state}")),
            (0, format!("HSET PORT_TABLE:{port} oper_status up")),
            (6, format!("HSET MUX_CABLE_TABLE|{port} state {state}")),
            (6, format!("HSET MUX_LINKMGR_TABLE|{port} state healthy")),
            (
                0,
                format!("HSET FORWARDING_STATE_RESPONSE:{port} response {state} response_peer {state}"),
            ),
        ] {
            let _: redis::Value = rack.redis.ask_db(db, &command);
        }
        // A time has a space.
        let mut redis = rack.redis.connect(6).expect("a connection");
        let mut change = redis::cmd("HSET");
        change.arg(format!("MUX_METRICS_TABLE|{port}"));
        change.arg(&["grpc_switch_self_active_start", "2026-Nov-21 00:06:31.400000"]);
        change.arg(&["grpc_switch_self_active_end", "2026-Nov-21 00:06:31.650000"]);
        change.exec(&mut redis).expect("written");
    }
}

/// How the targets of modules are asked here.
const ROUNDS: &str = "interval: 600ms, timeout: 500ms";

/// Where everything happens. Its modules ask SoCs, as servers with a health service, of which some are ill or away, and a switch.
async fn eventful(routes: &Routes) -> Rack {
    let scenario = sources::read(&sources::path("tests/data/everything.yaml"));
    let soc = |name: &str, port: &str| format!("{{name: {name}, address: \"<{port}>\"}}");
    let socs = [
        soc("well", WELL),
        soc("ill", "Ethernet20"),
        soc("gone", "Ethernet4"),
    ];
    let modules = format!(
        "health: {{grpc_health: {{}}, {ROUNDS}, channel: {{keepalive: 10s}}, targets: [{}]}}, \
         routes: {{gribi: {{}}, {ROUNDS}, targets: [{{name: switch, address: \"{}\"}}]}}",
        socs.join(", "),
        routes.address
    );
    let mut setup = Setup::rack(0).modules(&modules);
    setup.grpc = true;
    setup.scenario = Scenario::from_yaml(&scenario).expect("a scenario");
    let rack = setup.start().await;
    facts(&rack, "active");
    rack
}

/// With TLS, telemetry, and beside ycabled, whose row says something else. Its modules ask a SoC with TLS, and the other exporter for
/// its interfaces and its health.
async fn beside_ycabled(other: &Rack) -> Rack {
    let (files, ca) = (Files::new(), Ca::new("CA", VALID));
    files.write("ca.crt", &ca.cert);
    files.client(&ca.client(VALID));
    let (soc, channel) = (files.soc(&ca.soc(VALID)), files.mutual(""));
    let modules = format!(
        "secure: {{grpc_health: {{}}, {ROUNDS}, channel: {{{channel}}}, targets: [{{name: soc, address: \"<{WELL}>\"}}]}}, \
         versions: {{service_info: {{clients: {{dualtor-exporter: 1, other: 2}}}}, {ROUNDS}, \
         targets: [{{name: tor1, address: \"{grpc}\"}}]}}, \
         unary: {{grpc_unary: {{method: grpc.health.v1.Health/Check, info: [status], values: [status]}}, {ROUNDS}, \
         targets: [{{name: tor1, address: \"{grpc}\"}}]}}",
        grpc = other.grpc()
    );
    let mut setup = Setup::rack(2)
        .modules(&modules)
        .side("lower")
        .databases("publish: shadow")
        // Nothing listens there: what is lost is counted.
        .otel("endpoint: \"http://127.0.0.1:1\", traces: all, metrics: on, logs: on, metrics_interval: 1s")
        .tls(files, soc, &channel);
    setup.web_config = Some(String::new());
    let rack = setup.start().await;
    facts(&rack, "standby");
    let row = "HSET MUX_CABLE_INFO|Ethernet0 grpc_connection_status IDLE self_mux_direction unknown";
    let _: redis::Value = rack.redis.ask(row);
    rack.service("Ethernet4", "noop").await;
    rack.soc("Ethernet4").announce(&Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Control,
        guid: "g2".to_owned(),
        period: 3600,
    });
    rack
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
}

/// A Prometheus that knows of them since `began`.
struct View {
    prometheus: Prometheus,
    began: f64,
}

/// One that has scraped both.
struct Scraped {
    view: View,
    _racks: [Rack; 2],
    _routes: Routes,
}

impl Scraped {
    async fn start() -> Self {
        let routes = Routes::start().await;
        let eventful = eventful(&routes).await;
        let beside_ycabled = beside_ycabled(&eventful).await;
        let racks = [eventful, beside_ycabled];
        let target = |n: usize| Target {
            address: racks[n].web,
            labels: vec![("instance", TORS[n]), ("rack", "r1")],
        };
        let began = now();
        let prometheus = Prometheus::start(&[target(0), target(1)], None).await;
        prometheus
            .sees(&format!("count(up == 1) == {}", TORS.len()))
            .await;
        Self {
            view: View { prometheus, began },
            _racks: racks,
            _routes: routes,
        }
    }
}

impl View {
    /// The values that Grafana offers for a variable, all of them in order.
    async fn values(&self, query: &str) -> Result<Vec<String>, String> {
        let (selector, label) = label_values(query).ok_or_else(|| format!("not label_values: {query}"))?;
        let match_: Vec<(&str, &str)> = selector.iter().map(|selector| ("match[]", *selector)).collect();
        let values = self
            .prometheus
            .api(&format!("label/{label}/values"), &match_)
            .await?;
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    /// How many numbers a query returns, NaN being none.
    async fn numbers(&self, query: &Query, text: &str) -> Result<usize, String> {
        let (start, end) = (self.began.to_string(), now().to_string());
        let data = match query.asks {
            Asks::Instant => self.prometheus.api("query", &[("query", text)]).await?,
            _ => {
                let window = [("query", text), ("start", &*start), ("end", &*end), ("step", "1")];
                self.prometheus.api("query_range", &window).await?
            }
        };
        let series = data["result"].as_array().ok_or_else(|| data.to_string())?;
        let samples = series.iter().flat_map(|series| {
            let many = series["values"].as_array().cloned().unwrap_or_default();
            many.into_iter().chain([series["value"].clone()])
        });
        Ok(samples
            .filter(|sample| sample[1].as_str().is_some_and(|value| value != "NaN"))
            .count())
    }
}

/// A choice of the variables: their values as they stand in a query.
pub(crate) type Choice = BTreeMap<String, String>;

pub(crate) fn fill(text: &str, choice: &Choice) -> String {
    let filled = substitute(text, |name| {
        Some(match name {
            // Four scrapes, as Grafana has it.
            "__rate_interval" => "4s".to_owned(),
            "__interval" => "1s".to_owned(),
            "__range" => "1m".to_owned(),
            name => choice.get(name)?.clone(),
        })
    });
    filled.unwrap_or_else(|error| panic!("{error}"))
}

/// All choices that Grafana offers, the variables of one value each: ToRs and ports.
async fn choices(view: &View, file: &str, dashboard: &Value) -> Vec<Choice> {
    let mut choices = vec![Choice::new()];
    let variables = grafana::queries(file, dashboard)
        .into_iter()
        .filter(|query| query.asks == Asks::Variable);
    let texts: BTreeMap<String, String> = variables
        .map(|query| {
            (
                query.place.rsplit(' ').next().expect("a name").to_owned(),
                query.text,
            )
        })
        .collect();
    for variable in grafana::variables(dashboard) {
        let Some(text) = texts.get(&variable.name) else {
            for choice in &mut choices {
                choice.insert(variable.name.clone(), variable.first.clone());
            }
            continue;
        };
        let mut more = Vec::new();
        for choice in choices {
            let text = fill(text, &choice);
            let values = wait_until(&format!("{file}: {} {text}", variable.name), async || match view
                .values(&text)
                .await
            {
                Ok(values) if !values.is_empty() => Ok(values),
                other => Err(format!("{other:?}")),
            })
            .await;
            let values = if variable.has_all {
                vec![values.join("|")]
            } else {
                values
            };
            more.extend(values.into_iter().map(|value| {
                let mut choice = choice.clone();
                choice.insert(variable.name.clone(), value);
                choice
            }));
        }
        choices = more;
    }
    choices
}

/// Waits until the query returns data for this choice.
async fn returns_data(view: &View, query: &Query, choice: &Choice) {
    let text = fill(&query.text, choice);
    wait_until(&format!("{}: {text}", query.place), async || {
        match view.numbers(query, &text).await {
            Ok(1..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Waits until the query returns data for one of these choices at least.
async fn returns_data_somewhere(view: &View, query: &Query, choices: &[Choice]) {
    wait_until(
        &format!("{}: for any ToR and port: {}", query.place, query.text),
        async || {
            let mut seen = String::new();
            for choice in choices {
                match view.numbers(query, &fill(&query.text, choice)).await {
                    Ok(0) => {}
                    Ok(_) => return Ok(()),
                    Err(error) => seen += &error,
                }
            }
            Err(format!("nothing {seen}"))
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_every_dashboard_returns_data() {
    let Scraped {
        view,
        _racks,
        _routes,
    } = Scraped::start().await;
    for (file, dashboard) in sources::dashboards() {
        let choices = choices(&view, &file, &dashboard).await;
        let well = |choice: &&Choice| {
            choice
                .get("port")
                .is_none_or(|port| port.contains('|') || port == WELL)
        };
        let mut tors = BTreeSet::new();
        for query in grafana::queries(&file, &dashboard) {
            match (query.asks, query.empty_while_healthy) {
                // Tried by `choices`.
                (Asks::Variable, _) => {}
                (_, true) => returns_data_somewhere(&view, &query, &choices).await,
                (_, false) => {
                    if let Some(listed) = query.listed() {
                        returns_data_somewhere(&view, &listed, &choices).await;
                    }
                    for choice in choices.iter().filter(well) {
                        tors.extend(choice.get("instance").cloned());
                        returns_data(&view, &query, choice).await;
                    }
                }
            }
        }
        for tor in TORS {
            assert!(
                tors.iter().any(|tried| tried.contains(tor)),
                "{file}: {tor} was not tried: {tors:?}"
            );
        }
    }
    ports_stand_in_the_order_of_their_numbers(&view).await;
    each_server_has_a_word_and_a_reason(&view).await;
    rules_work(&view.prometheus).await;
    the_catalogue_is_what_is_served(&view.prometheus).await;
    fleet_works_above_the_rows(&view.prometheus).await;
}

/// A panel of a dashboard, also one in a row.
pub(crate) fn panel(file: &str, title: &str) -> Value {
    panel_where(file, title, |kind| kind != "row")
}

/// The first panel with this title and a type that is taken.
pub(crate) fn panel_where(file: &str, title: &str, takes: impl Fn(&Value) -> bool) -> Value {
    let (_, dashboard) = sources::dashboards()
        .into_iter()
        .find(|(found, _)| found == file)
        .expect("a dashboard");
    let panels = dashboard["panels"].as_array().expect("panels");
    let found = panels
        .iter()
        .find(|panel| panel["title"] == title && takes(&panel["type"]));
    found
        .unwrap_or_else(|| panic!("{file}: no panel {title}"))
        .clone()
}

/// The choice of one ToR, and of a port or more.
fn choice(ports: &str) -> Choice {
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Choice::from([
        of("job", "dualtor-exporter"),
        of("instance", TORS[0]),
        of("rack", "r1"),
        of("port", ports),
    ])
}

/// Grafana draws the rows of a timeline in the order in which Prometheus returns them.
async fn ports_stand_in_the_order_of_their_numbers(view: &View) {
    let channel = panel("tor.json", "Channel");
    let text = fill(
        channel["targets"][0]["expr"].as_str().expect("a query"),
        &choice(".+"),
    );
    let (start, end) = (view.began.to_string(), now().to_string());
    let window = [
        ("query", &*text),
        ("start", &*start),
        ("end", &*end),
        ("step", "1"),
    ];
    let data = view
        .prometheus
        .api("query_range", &window)
        .await
        .expect("an answer");
    let series = data["result"].as_array().expect("series");
    let ports: Vec<&str> = series
        .iter()
        .filter_map(|series| series["metric"]["port"].as_str())
        .collect();
    let expected: Vec<String> = (0..11).map(|n| format!("Ethernet{}", 4 * n)).collect();
    assert_eq!(ports, expected);
}

/// What *Port* begins with, of servers that are as everything.yaml has them.
async fn each_server_has_a_word_and_a_reason(view: &View) {
    for (port, word, reason) in [
        ("Ethernet0", "both sides", "both sides active"),
        ("Ethernet4", "unknown", "both directions unknown"),
        ("Ethernet8", "dark", "both sides standby"),
        ("Ethernet12", "one side only", "self standby, peer active"),
        ("Ethernet16", "one side only", "self active, peer link down"),
    ] {
        for (title, expected) in [("Server", word), ("Why", reason)] {
            let panel = panel("port.json", title);
            let text = fill(
                panel["targets"][0]["expr"].as_str().expect("a query"),
                &choice(port),
            );
            let words = &panel["fieldConfig"]["defaults"]["mappings"][0]["options"];
            wait_until(&format!("{port}: {expected}"), async || {
                let result = view.prometheus.query(&text).await;
                let number = result.first().and_then(|series| series["value"][1].as_str());
                let shown = words[number.unwrap_or("none")]["text"].as_str();
                match shown == Some(expected) {
                    true => Ok(()),
                    false => Err(format!("{number:?}: {shown:?}")),
                }
            })
            .await;
        }
    }
}

/// A scrape or a remote write of docs/monitoring.md: the first entry of that list with that key.
fn documented(list: &str, key: &str) -> Value {
    let blocks = sources::blocks(&sources::path("docs/monitoring.md"), "yaml");
    let read = |(line, block): (usize, String)| -> Value {
        serde_saphyr::from_str(&block).unwrap_or_else(|error| panic!("docs/monitoring.md:{line}: {error}"))
    };
    let entries = blocks
        .into_iter()
        .filter_map(|block| read(block)[list].as_array().cloned())
        .flatten();
    let mut entries = entries.filter(|entry| !entry[key].is_null());
    entries.next().unwrap_or_else(|| panic!("no {key} in {list}"))
}

/// A Prometheus that federates as the documentation says has data for all of Fleet, and none for what says that it needs
/// raw series; and remote write carries the same.
async fn fleet_works_above_the_rows(row: &Prometheus) {
    let began = now();
    let prometheus = Prometheus::federating(documented("scrape_configs", "metrics_path"), row.address).await;
    let view = View { prometheus, began };
    let (file, fleet) = sources::dashboards()
        .into_iter()
        .find(|(file, _)| file == "fleet.json")
        .expect("Fleet");
    view.prometheus.sees("ALERTS_FOR_STATE").await;
    let [choice] = &choices(&view, &file, &fleet).await[..] else {
        panic!("Fleet shows all at once")
    };
    assert_eq!(choice["job"], "dualtor-exporter");
    assert_eq!(choice["instance"], TORS.join("|"));
    // Those that need raw series last: by then all has been carried.
    let (raw, recorded): (Vec<_>, Vec<_>) = grafana::queries(&file, &fleet)
        .into_iter()
        .filter(|query| query.asks != Asks::Variable)
        .partition(|query| query.needs_raw_series);
    for query in &recorded {
        returns_data(&view, query, choice).await;
    }
    assert!(!raw.is_empty());
    for query in &raw {
        let numbers = view.numbers(query, &fill(&query.text, choice)).await;
        assert_eq!(numbers, Ok(0), "{}", query.place);
    }
    let write = documented("remote_write", "write_relabel_configs");
    let regex = write["write_relabel_configs"][0]["regex"]
        .as_str()
        .expect("a regular expression");
    let left = format!(
        r#"count by (__name__) ({{__name__!~"{regex}", alertname=~"DualTor.*"}} or {{__name__!~"{regex}", job="dualtor-exporter"}})"#
    );
    assert_eq!(view.prometheus.query(&left).await, Vec::<Value>::new());
}

/// Each recording rule records something, and no rule fails.
async fn rules_work(prometheus: &Prometheus) {
    for (_, rule) in sources::rules() {
        if !rule.record.is_empty() {
            prometheus.sees(&rule.record).await;
        }
    }
    let groups = prometheus.api("rules", &[]).await.expect("rules");
    for group in groups["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
}

/// Every series that was scraped is one that the catalogue's test knows, with labels and values that it knows; and the
/// racks have shown every metric.
async fn the_catalogue_is_what_is_served(prometheus: &Prometheus) {
    let schema = of_exporter();
    let all = [(
        "match[]",
        "{job=\"dualtor-exporter\", __name__!~\".*:.*|ALERTS.*\"}",
    )];
    let series = prometheus.api("series", &all).await.expect("series");
    let series: Vec<BTreeMap<String, String>> = serde_json::from_value(series).expect("series");
    let mut seen = BTreeSet::new();
    for mut labels in series {
        let name = labels.remove("__name__").expect("a name");
        let known = schema
            .0
            .get(&name)
            .unwrap_or_else(|| panic!("nobody knows {name}"));
        for (label, value) in &labels {
            match known.get(label) {
                Some(Values::Any) => {}
                Some(Values::Words(words)) => assert!(words.contains(value), "{name}: {label}={value}"),
                // Those of the configuration.
                None if name == "grpc_reply_info" => {}
                None => panic!("{name} has a label {label}"),
            }
        }
        seen.insert(name);
    }
    // These are there in central mode only: tests/it/shards.rs, tests/it/sources_of_targets.rs.
    let central = ["dualtor_shard_", "dualtor_inventory_up", "dualtor_inventory_last"];
    let is_central = |name: &str| central.iter().any(|start| name.starts_with(start));
    for family in CATALOGUE.iter().filter(|family| !is_central(family.name)) {
        assert!(
            seen.iter().any(|name| name.starts_with(family.name)),
            "{} was not served",
            family.name
        );
    }
}
