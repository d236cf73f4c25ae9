//! The targets of probe modules: are they reached, do they answer as they should, and in which version?

use super::dashboard::{Dashboard, Page};
use super::palette::{self, Colour, flag};
use super::panel::{Panel, heatmap, stat, table, timeline, timeseries};

/// What stands where nothing is configured, and where nothing of that kind is.
const NO_MODULES: &str = "no modules";
const NOT_USED: &str = "not used";

const UP: &str = "up{TOR} == 1";

/// The columns of a row.
const BY: &str = "max by (instance, module, target)";

/// How each target is called in a graph.
const TARGET: &str = "{{module}} {{target}}";

/// When a panel of a kind has data.
const OF_HEALTH: &str = "if a module of the kind grpc_health is configured";
const OF_VERSIONS: &str = "if a module of the kind service_info is configured";
const OF_UNARY: &str = "if a module of the kind grpc_unary has info or values, and a reply was as expected";
const OF_GRIBI: &str = "if a module of the kind gribi is configured";
const OF_ANY: &str = "if modules are configured (modules in the configuration)";

/// How many there are of what `query` gives: 0 while there is any of `all`, these words without any.
fn count(title: &'static str, description: &str, query: &str, all: &str, words: &'static str) -> Panel {
    let query = format!("count({query})\nor count({all}) * 0");
    stat(title, description, "short", &query)
        .whole()
        .nothing_is(words)
}

fn now() -> [Panel; 8] {
    const CHANNELS: &str = r#"grpc_channel_state{TARGET, state="ready"}"#;
    [
        stat(
            "Targets",
            "Targets of the modules that are shown. no modules: the key modules is not in the configuration, and all panels below are empty.",
            "short",
            &format!("count({CHANNELS})"),
        )
        .whole()
        .nothing_is(NO_MODULES),
        count(
            "Down",
            "Targets whose channel is not READY. More than 0 is bad.",
            &format!("{CHANNELS} == 0"),
            CHANNELS,
            NO_MODULES,
        )
        .bad_from(1.0),
        count(
            "Failing",
            "Targets that are READY, but whose last round was no success. More than 0 is bad; the table below has them.",
            &format!("grpc_probe_success{{TARGET}} == 0 and ignoring (state) {CHANNELS} == 1"),
            CHANNELS,
            NO_MODULES,
        )
        .bad_from(1.0),
        stat(
            "Bad replies",
            "Rounds in the time shown whose reply was not as expected (UNEXPECTED_REPLY), could not be read (INVALID_REPLY) or whose \
             method is not known (NO_SCHEMA).",
            "short",
            &format!(
                "sum(increase(grpc_probes_total{{TARGET, result=~\"UNEXPECTED_REPLY|INVALID_REPLY|NO_SCHEMA\"}}[$__range]))\nor count({CHANNELS}) * 0"
            ),
        )
        .whole()
        .nothing_is(NO_MODULES)
        .warn_from(1.0),
        count(
            "Not serving",
            "Services that report not_serving, or that their server does not know (service_unknown). not used: no module asks for health.",
            r#"grpc_health_status{TARGET, status=~"not_serving|service_unknown"} == 1"#,
            "grpc_health_status{TARGET}",
            NOT_USED,
        )
        .bad_from(1.0),
        count(
            "Incompatible",
            "Services that cannot be used by their clients: the server is too old or too new for them, or does not have the service. \
             not used: no module has clients.",
            r#"grpc_api_compatibility{TARGET, state=~"server_too_old|client_too_old|missing"} == 1"#,
            "grpc_api_compatibility{TARGET}",
            NOT_USED,
        )
        .bad_from(1.0),
        stat(
            "Not in FIB",
            "Entries of gRIBI that the switches have not programmed in hardware. More than 0 is bad, after the seconds that it takes. \
             not used: no module of the kind gribi has an answer.",
            "short",
            r#"sum(gribi_entries_by_status{TARGET, plane="fib", status="not_programmed"})"#,
        )
        .whole()
        .nothing_is(NOT_USED)
        .bad_from(1.0),
        stat(
            "Certificate",
            "Time until the first of the targets' certificates expires. Under 30 days needs a new one; the table below has each. no TLS: no \
             target has shown one.",
            "s",
            "min(grpc_certificate_expiry_timestamp_seconds{TARGET}) - time()",
        )
        .nothing_is("no TLS")
        .good_from(7.0 * 86_400.0, 30.0 * 86_400.0),
    ]
}

fn targets() -> Panel {
    let (channel, round) = (palette::channel(), flag("success", "failed"));
    let channel_of = channel.query("grpc_channel_state{TARGET}");
    table(
        "All targets",
        "Each target now: first those that are not READY, then those whose last round failed. Errors: rounds in the time shown that did not \
         end with OK. Time: of a round, on average in the time shown.",
    )
    .key("module", "Module")
    .key("target", "Target")
    .key("instance", "Exporter")
    .state_column("Channel", &channel, &format!("{BY} (\n{channel_of}\n)"))
    .state_column(
        "Last round",
        &round,
        // Two jobs may scrape one address: one that fails is seen.
        &round.query("min by (instance, module, target) (grpc_probe_success{TARGET})"),
    )
    .column(
        "Last success",
        "dateTimeFromNow",
        &format!("{BY} (grpc_probe_last_success_timestamp_seconds{{TARGET}}) * 1000"),
    )
    .column(
        "Errors",
        "none",
        r#"round(sum by (instance, module, target) (increase(grpc_probes_total{TARGET, result!="OK"}[$__range])))"#,
    )
    .column_from(1.0, Colour::Warning)
    .column(
        "Time",
        "s",
        "sum by (instance, module, target) (increase(grpc_probe_duration_seconds_sum{TARGET}[$__range]))\n/ (sum by (instance, module, target) (increase(grpc_probe_duration_seconds_count{TARGET}[$__range])) > 0)",
    )
    .column("RTT", "s", &format!("{BY} (grpc_keepalive_rtt_seconds{{TARGET}})"))
    .whole()
    .most_first("Channel")
    .most_first("Last round")
    .then_by(&["Module", "Target", "Exporter"])
    .widths(&[
        ("Module", 150),
        ("Channel", 165),
        ("Last round", 100),
        ("Last success", 140),
        ("Errors", 90),
        ("Time", 90),
        ("RTT", 90),
    ])
    .none_while_healthy(UP, OF_ANY)
    .size(24, 10)
}

fn asked() -> Panel {
    table(
        "What is asked",
        "Each target's kind and address, and its labels in the configuration. Empty without modules.",
    )
    .key("module", "Module")
    .key("target", "Target")
    .key("kind", "Kind")
    .key("address", "Address")
    .labels_of("max without (job, instance, rack) (grpc_target_info{TARGET})")
    .then_by(&["Module", "Target"])
    .widths(&[("Module", 150), ("Kind", 120)])
    .size(12, 9)
}

fn certificates() -> Panel {
    table(
        "Certificates",
        "When the certificate of each target expires, the first one first: the one that it showed at its last handshake. Under 30 days \
         needs a new one.",
    )
    .key("module", "Module")
    .key("target", "Target")
    .key("instance", "Exporter")
    .only_column(
        "Expires",
        "dateTimeFromNow",
        &format!("{BY} (grpc_certificate_expiry_timestamp_seconds{{TARGET}}) * 1000"),
    )
    .then_by(&["Expires", "Module", "Target"])
    .widths(&[("Module", 150), ("Expires", 130)])
    .none_while_healthy(UP, "if a module has channel.tls")
    .size(12, 9)
}

fn channels() -> [Panel; 4] {
    let (channel, round) = (palette::channel(), flag("success", "failed"));
    [
        timeline(
            "Channels",
            "State of the gRPC channel to each target. TRANSIENT_FAILURE: it cannot be reached, and nothing is known of it. Over long times \
             short changes fall between the points.",
            &channel,
        )
        .states_or(
            &channel,
            "grpc_channel_state{TARGET}",
            TARGET,
            ("module", NO_MODULES),
        )
        .points(200)
        .size(12, 9),
        timeline(
            "Rounds",
            "Whether the last round of each target was a success; with grpc_health a Watch changes it at once.",
            &round,
        )
        .states_or(
            &round,
            "grpc_probe_success{TARGET}",
            TARGET,
            ("module", NO_MODULES),
        )
        .points(200)
        .size(12, 9),
        timeseries(
            "Channel failures by cause",
            "Failed dials and lost connections within each window, by cause. closed: the server restarts; refused: it is gone; resolve: its \
             name has no address; keepalive_timeout: it hangs, or the network loses packets; tls...: certificates. A colour only tells a \
             cause from the others.",
            "none",
        )
        .line(
            "sum by (cause) (increase(grpc_channel_failures_total{TARGET}[$__rate_interval]))",
            "{{cause}}",
        )
        .distinct()
        .whole()
        .many()
        .bars()
        .empty_without(NO_MODULES, OF_ANY)
        .size(12, 8),
        timeseries(
            "Failing rounds by result",
            "Rounds within each window that did not end with OK, by result. UNAVAILABLE is mostly a channel that is down. A round with OK fails \
             too where a status or a version is not as configured: see Rounds.",
            "none",
        )
        .line(
            r#"sum by (result) (increase(grpc_probes_total{TARGET, result!="OK"}[$__rate_interval]))"#,
            "{{result}}",
        )
        .failures()
        .state_colours(&palette::ROUNDS)
        .whole()
        .many()
        .bars()
        .per_round()
        .empty_without(NO_MODULES, OF_ANY)
        .size(12, 8),
    ]
}

fn durations() -> [Panel; 2] {
    [
        heatmap(
            "Duration of rounds",
            "How long the rounds took that sent something. A band that rises or splits: some targets have become slow; a module's timeout is \
             2 s by default, of gribi 10 s.",
            "sum by (le) (rate(grpc_probe_duration_seconds_bucket{TARGET}[$__rate_interval]))",
        )
        .per_round()
        .empty_without(NO_MODULES, OF_ANY),
        timeseries(
            "Slowest targets",
            "Time of a round, on average within each window: the 8 targets with the highest average in the time shown. A colour only tells a target \
             from the others.",
            "s",
        )
        .line(
            "rate(grpc_probe_duration_seconds_sum{TARGET}[$__rate_interval])\n/ (rate(grpc_probe_duration_seconds_count{TARGET}[$__rate_interval]) > 0)\nand\ntopk(8, increase(grpc_probe_duration_seconds_sum{TARGET}[$__range] @ end()) / (increase(grpc_probe_duration_seconds_count{TARGET}[$__range] @ end()) > 0))",
            TARGET,
        )
        .distinct()
        .many()
        .per_round()
        .empty_without(NO_MODULES, OF_ANY),
    ]
}

fn health() -> Panel {
    let health = palette::health();
    timeline(
        "Health by service",
        "Health by grpc.health.v1 of each service that a module of the kind grpc_health asks for; without a name: the whole server. A change \
         that Watch reports is shown by the next scrape.",
        &health,
    )
    .states_or(
        &health,
        "grpc_health_status{TARGET}",
        "{{module}} {{target}} {{service}}",
        ("module", NOT_USED),
    )
    .points(200)
    .empty_while_healthy(OF_HEALTH)
    .size(24, 9)
}

fn replies() -> [Panel; 2] {
    [
        table(
            "Replies",
            "What the last reply of each target contained, in a column for each path of info in the configuration of the module. Only while \
             the target is READY. Empty without a module of the kind grpc_unary that has info.",
        )
        .key("module", "Module")
        .key("target", "Target")
        .labels_of("max without (job, instance, rack) (grpc_reply_info{TARGET})")
        .then_by(&["Module", "Target"])
        .widths(&[("Module", 150)])
        .size(12, 9),
        timeseries(
            "Values of replies",
            "Numbers of the last reply of each target, by the paths of values in the configuration of the module. A colour only tells a line from \
             the others.",
            "none",
        )
        .line(
            "max by (module, target, field) (grpc_reply_value{TARGET})",
            "{{module}} {{target}} {{field}}",
        )
        .distinct()
        .many()
        .empty_without(NOT_USED, OF_UNARY)
        .size(12, 9),
    ]
}

fn versions() -> [Panel; 2] {
    const SERVICE: &str = "max by (instance, module, target, service)";
    let compatibility = palette::compatibility();
    let states = compatibility.query("grpc_api_compatibility{TARGET}");
    let bound = |bound: &str| format!("{SERVICE} (grpc_api_version{{TARGET, bound=\"{bound}\"}})");
    [
        table(
            "API versions",
            "What the servers speak of each service: from the version supported to the version current; and whether the clients of the \
             configuration can use it. no data: the configuration has no clients of this service.",
        )
        .key("module", "Module")
        .key("target", "Target")
        .key("instance", "Exporter")
        .key("service", "Service")
        .state_column(
            "Clients",
            &compatibility,
            &format!("{SERVICE} (\n{states}\n)"),
        )
        .column("Supported", "none", &bound("supported"))
        .column("Current", "none", &bound("current"))
        .most_first("Clients")
        .then_by(&["Module", "Service", "Target"])
        .widths(&[
            ("Module", 120),
            ("Exporter", 120),
            ("Clients", 130),
            ("Supported", 90),
            ("Current", 80),
        ])
        .none_while_healthy(UP, OF_VERSIONS)
        .size(16, 10),
        timeseries(
            "Different versions",
            "How many versions of a service the targets of one module report. 1 is normal; more for longer than an update takes: some \
             replicas were left behind.",
            "none",
        )
        .line(
            "count by (module, service) (\n  count_values by (module, service) (\"version\", grpc_api_version{TARGET, bound=\"current\"})\n)",
            "{{module}} {{service}}",
        )
        .distinct()
        .whole()
        .many()
        .empty_without(NOT_USED, OF_VERSIONS)
        .size(8, 10),
    ]
}

fn gribi() -> [Panel; 3] {
    [
        timeseries(
            "Entries by network instance",
            "Entries of gRIBI in each network instance of each target. A fall that no one has planned is bad. A colour only tells a line from \
             the others.",
            "none",
        )
        .line(
            "sum by (module, target, network_instance) (gribi_entries{TARGET})",
            "{{module}} {{target}} {{network_instance}}",
        )
        .distinct()
        .whole()
        .many()
        .empty_without(NOT_USED, OF_GRIBI)
        .size(8, 8),
        timeseries(
            "Entries by table",
            "Entries of gRIBI of all targets shown, by table. A colour only tells a table from the others.",
            "none",
        )
        .line("sum by (aft) (gribi_entries{TARGET})", "{{aft}}")
        .distinct()
        .whole()
        .many()
        .empty_without(NOT_USED, OF_GRIBI)
        .size(8, 8),
        timeseries(
            "Entries by status",
            "Entries of gRIBI by what the switch reports: in its routing table (rib) and in hardware (fib). not_programmed for more than \
             seconds is bad; unavailable: the switch does not report it, which is common.",
            "none",
        )
        .line(
            "sum by (plane, status) (gribi_entries_by_status{TARGET})",
            "{{plane}} {{status}}",
        )
        .state_colours(&["programmed", "not_programmed", "unknown"])
        .whole()
        .many()
        .empty_without(NOT_USED, OF_GRIBI)
        .size(8, 8),
    ]
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard::new(
        Page::Services,
        "The targets of probe modules: are they reached, do they answer as they should, and in which version? Without modules in the \
         configuration it is empty.",
    )
    .row("", now())
    .row("Targets", [targets(), asked(), certificates()])
    .row("Channels and rounds", channels())
    .row("Durations", durations())
    .row("Health", [health()])
    .row("Replies", replies())
    .row("API versions", versions())
    .row("gRIBI", gribi())
}
