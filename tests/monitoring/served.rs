//! What the exporter serves, as Prometheus stores it: each metric, its labels, and their possible values.

use std::collections::{BTreeMap, BTreeSet};

use dualtor_exporter::model::{
    AftKind, AftPlane, Cause, ChannelState, Compatibility, DELAY_BUCKETS, DURATION_BUCKETS, Health,
    LinkmgrHealth, Maintenance, MuxDirection, NoticeType, OrchagentMux, OtlpResult, Plane, PortLevel,
    PortState, ProbeResult, ProblemKind, Programmed, Query, QueryResult, QueueName, REQUEST_BUCKETS,
    ROUND_BUCKETS, Refusal, Side, WebCode, WebHandler,
};
use dualtor_exporter::telemetry::catalogue::{CATALOGUE, MetricKind};

use crate::promql::{Labels, Schema, Values};
use crate::soc_view;

/// The labels that Prometheus adds to each sample, and the label that docs/monitoring.md asks users to add.
const TARGET: [&str; 3] = ["job", "instance", "rack"];
/// The metrics that Prometheus makes of each scrape.
const OF_A_SCRAPE: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

macro_rules! words {
    ($set:ident) => {
        $set::ALL.iter().map(|word| word.label().to_owned()).collect()
    };
}

pub(crate) fn these(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The possible values of a metric's label, if they are a closed set. The test in queries.rs checks this against a running
/// exporter.
fn closed_set(metric: &str, label: &str) -> Option<BTreeSet<String>> {
    Some(match (metric, label) {
        ("dualtor_channel_state" | "grpc_channel_state", "state") | (_, "to") => words!(ChannelState),
        ("dualtor_mux_direction" | "dualtor_intended_mux_state", "state") => words!(MuxDirection),
        ("dualtor_orchagent_mux_state", "state") => words!(OrchagentMux),
        ("dualtor_link_state" | "dualtor_oper_state", "state") => words!(PortState),
        ("dualtor_soc_service", "state") => words!(Maintenance),
        ("dualtor_linkmgr_health", "state") => words!(LinkmgrHealth),
        ("dualtor_side", "side") => words!(Side),
        ("dualtor_shard_targets", "owned") => these(&["yes", "no"]),
        (_, "side") => these(&["self", "peer"]),
        ("dualtor_web_requests_total", "code") => words!(WebCode),
        (_, "handler") => words!(WebHandler),
        (_, "queue") => words!(QueueName),
        (_, "cause") => words!(Cause),
        (_, "query") => words!(Query),
        ("dualtor_state_db_writes_total" | "dualtor_otlp_metric_exports_total", "result") => {
            these(&["ok", "error"])
        }
        ("dualtor_otlp_spans_total" | "dualtor_otlp_log_records_total", "result") => words!(OtlpResult),
        ("grpc_probes_total", "result") => words!(ProbeResult),
        (_, "result") => words!(QueryResult),
        ("grpc_api_compatibility", "state") => words!(Compatibility),
        ("gribi_entries_by_status", "status") => words!(Programmed),
        (_, "status") => words!(Health),
        (_, "type") => words!(NoticeType),
        ("gribi_entries_by_status", "plane") => words!(AftPlane),
        (_, "aft") => words!(AftKind),
        (_, "bound") => these(&["supported", "current"]),
        (_, "kind") => these(&["grpc_health", "grpc_unary", "service_info", "gribi"]),
        (_, "plane") => words!(Plane),
        ("dualtor_web_connections_refused_total", "reason") => words!(Refusal),
        (_, "level") => words!(PortLevel),
        (_, "reason") => words!(ProblemKind),
        (_, "role") => these(&["ca", "client", "web"]),
        // What the configuration asks for.
        ("grpc_reply_value", "field") => return None,
        (_, "field") => these(&soc_view::FIELDS),
        (_, "le") => {
            let bounds: &[f64] = match metric {
                "dualtor_scheduling_delay_seconds" => &DELAY_BUCKETS,
                "dualtor_web_request_duration_seconds" => &REQUEST_BUCKETS,
                "grpc_probe_duration_seconds" => &ROUND_BUCKETS,
                _ => &DURATION_BUCKETS,
            };
            let bounds = bounds.iter().map(|bound| format!("{bound:?}"));
            bounds.chain(["+Inf".to_owned()]).collect()
        }
        (_, "port" | "address" | "version" | "revision" | "source") => return None,
        (_, "module" | "target" | "service" | "network_instance") => return None,
        _ => panic!("{metric}: say in tests/monitoring/served.rs what {label} may be"),
    })
}

/// What the exporter serves, as Prometheus stores it.
pub(crate) fn of_exporter() -> Schema {
    let target = || TARGET.map(|label| (label.to_owned(), Values::Any));
    let mut metrics = BTreeMap::new();
    for family in CATALOGUE {
        let names = family.labels.split(", ").filter(|label| !label.is_empty());
        let with = |name: &str| {
            let values = closed_set(family.name, name).map_or(Values::Any, Values::Words);
            (name.to_owned(), values)
        };
        let labels: Labels = names.map(with).chain(target()).collect();
        if family.kind == MetricKind::Histogram {
            let mut buckets = labels.clone();
            buckets.extend([with("le")]);
            metrics.insert(format!("{}_bucket", family.name), buckets);
            metrics.insert(format!("{}_sum", family.name), labels.clone());
            metrics.insert(format!("{}_count", family.name), labels);
        } else {
            metrics.insert(family.name.to_owned(), labels);
        }
    }
    for name in OF_A_SCRAPE {
        metrics.insert(name.to_owned(), target().into());
    }
    Schema(metrics)
}
