//! All ToRs: how many, what is broken, since when, where.

use super::dashboard::{Dashboard, Page, drill_down, firing, muted, to_service};
use super::palette::{self, Colour, flag};
use super::panel::{Panel, heatmap, stat, table, timeseries};
use super::queries::{MAINTENANCE, NOT_READY, ONE_SIDE_OUT, SERVERS_DARK, failed_probes};

/// More lines or rows than this say less.
const WORST: &str = "topk(20, ";

/// Firing alerts that are listed: a fleet in trouble has thousands, and the most severe come first.
const ALERTS: &str = "topk(100, ";

/// An exporter is up; and one whose ports' series are here, which are not where only what rules record is.
const UP: &str = "up{TOR} == 1";
const RAW: &str = "dualtor_inventory_ports{TOR}";

/// What distinguishes rows that are alike otherwise.
const NAMES: [&str; 3] = ["Rack", "ToR", "Port"];

/// Rack and ToR of a row.
const ROW: [&str; 2] = ["${__data.fields.Rack}", "${__data.fields.ToR}"];

fn to_tor() -> Vec<(&'static str, String)> {
    let of = |page| drill_down(page, ROW, None);
    vec![("This ToR", of(Page::Tor)), ("Its exporter", of(Page::Exporter))]
}

fn to_port() -> Vec<(&'static str, String)> {
    let port = Some("${__data.fields.Port}");
    vec![("This port", drill_down(Page::Port, ROW, port))]
}

fn to_target() -> Vec<(&'static str, String)> {
    let [instance, module, target] =
        ["ToR", "Module", "Target"].map(|column| format!("${{__data.fields.{column}}}"));
    vec![("This target", to_service(&instance, &module, &target))]
}

fn to_tor_of_line(panel: Panel) -> Panel {
    panel.link(
        "This ToR",
        &drill_down(
            Page::Tor,
            ["${__field.labels.rack}", "${__field.labels.instance}"],
            None,
        ),
    )
}

/// The ToRs with the highest values in the time shown, the same ones at each point of it.
fn by_tor(title: &'static str, description: &str, unit: &str, metric: &str) -> Panel {
    let description = format!(
        "{description} The 8 ToRs with the highest values in the time shown; a colour only tells a ToR from the others."
    );
    let query = format!("{metric}{{TOR}}\nand\ntopk(8, max_over_time({metric}{{TOR}}[$__range] @ end()))");
    to_tor_of_line(
        timeseries(title, &description, unit)
            .line(&query, "{{instance}} {{rack}}")
            .distinct()
            .many()
            .size(12, 8),
    )
}

fn worst_ports(
    title: &'static str,
    description: &str,
    column: &'static str,
    unit: &str,
    query: &str,
) -> Panel {
    table(title, description)
        .key("rack", "Rack")
        .linked_key("instance", "ToR", &to_tor())
        .linked_key("port", "Port", &to_port())
        .only_column(column, unit, &format!("{WORST}{query} > 0)"))
        .most_first(column)
        .then_by(&NAMES)
        .widths(&[("Rack", 110), ("Port", 110), (column, 110)])
        .needs_raw_series()
        .size(12, 9)
}

fn firing_alerts() -> Panel {
    let firing = firing(Page::Fleet, "");
    let by = "by (alertname, rack, instance, port, side, role, module, target)";
    let since = firing
        .replace("ALERTS{", "ALERTS_FOR_STATE{")
        .replace(r#"alertstate="firing", "#, "");
    let severity = format!(
        "{ALERTS}max {by} (\n  {} * max without (severity) ({})\n  or {}\n))",
        palette::number("muted"),
        muted(Page::Fleet),
        palette::severity().query(&firing)
    );
    table(
        "Firing alerts",
        "What is broken, where, on which side and since when: 100 alerts, the most severe first, and the newest of \
         these. muted: part of another alert that fires, so that it notifies no one (by the inhibition rules of the \
         delivered Alertmanager configuration). An alert without ToR is of a rack or of all, one without port of the ToR; \
         one with a target is of a probe module. The runbook describes what to do.",
    )
    .state_column(
        "Severity",
        &palette::of(&["critical", "warning", "info", "muted"]),
        &severity,
    )
    .key("alertname", "Alert")
    .key("rack", "Rack")
    .linked_key("instance", "ToR", &to_tor())
    .linked_key("port", "Port", &to_port())
    .key("side", "Side")
    .key("role", "Certificate")
    .key("module", "Module")
    .linked_key("target", "Target", &to_target())
    .column(
        "Since",
        "dateTimeFromNow",
        &format!("min {by} (\n  {since}\n  and ignoring (alertstate) {firing}\n) * 1000\nand {severity}"),
    )
    .most_first("Severity")
    .most_first("Since")
    .then_by(&["Alert"])
    .then_by(&NAMES)
    .widths(&[
        ("Severity", 90),
        ("Alert", 290),
        ("Rack", 110),
        ("Port", 110),
        ("Side", 70),
        ("Certificate", 90),
        ("Module", 100),
        ("Target", 110),
        ("Since", 130),
    ])
    .none_while_healthy(UP, "while an alert fires")
    .size(24, 9)
}

/// Ports of which a side carries nothing, and of what.
fn blocked() -> Panel {
    let worst = format!("{WORST}instance_port:dualtor_sides_blocked:count{{PORT}})");
    let by = "max by (rack, instance, port)";
    let server = palette::of(&["dark", "at most one side", "one side only"]);
    // The side that is not blocked, of which it is unknown whether it carries traffic.
    let unknown = r#"(
    dualtor_mux_direction{PORT, state="unknown"} == 1
    or dualtor_link_state{PORT, state="unknown"} == 1
    unless ignoring (state) (
      dualtor_mux_direction{PORT, state="standby"} == 1
      or ignoring (state) dualtor_link_state{PORT, state="down"} == 1
    )
  )"#;
    let sides = ["active", "link unknown", "standby", "unknown", "link down"];
    let side = |side: &str| {
        let passes = palette::passes(side).query(&format!(r#"dualtor_mux_direction{{PORT, side="{side}"}}"#));
        format!("{by} (\n  {passes}\n  and on (job, instance, rack, port) {worst}\n)")
    };
    table(
        "Servers dark or with one side out",
        "20 ports of which a side carries no traffic, the dark ones first: standby, or the link down, as \
         reported by the SoC, announced maintenance or not. at most one side: whether the other side carries it is unknown. \
         Self is this ToR's side. Since: when an alert first saw it; none during maintenance.",
    )
    .state_column(
        "Server",
        &server,
        &format!(
            "{by} (\n  {} * ({worst} == 1 and on (job, instance, rack, port) {unknown})\n  or {} * ({worst} == bool 2)\n  + {} * ({worst} == bool 1)\n)",
            palette::number("at most one side"),
            palette::number("dark"),
            palette::number("one side only"),
        ),
    )
    .key("rack", "Rack")
    .linked_key("instance", "ToR", &to_tor())
    .linked_key("port", "Port", &to_port())
    .state_column("Self", &palette::of(&sides), &side("self"))
    .state_column("Peer", &palette::of(&sides), &side("peer"))
    .column(
        "Since",
        "dateTimeFromNow",
        &format!(
            r#"{by} (
  ALERTS_FOR_STATE{{PORT, alertname=~"DualTorServerDark|DualTorNoRedundancy"}}
  and on (job, instance, rack, port) {worst}
) * 1000"#
        ),
    )
    .most_first("Server")
    .most_first("Since")
    .then_by(&NAMES)
    .widths(&[
        ("Server", 135),
        ("Rack", 110),
        ("Port", 110),
        ("Self", 100),
        ("Peer", 100),
        ("Since", 150),
    ])
    .none_while_healthy(RAW, "while a side of a port carries nothing")
    .needs_raw_series()
    .size(24, 9)
}

fn tors() -> Panel {
    let each = |metric: &str| format!("max by (rack, instance) ({metric}{{TOR}})");
    table(
        "ToRs",
        "Each ToR now: first those whose exporter does not answer, then those with most dark servers. Not READY: channels \
         that are down, announced maintenance left out. Dark: neither side carries the server's traffic. One side out: one \
         carries nothing, and the other does or is unknown. Errors: of the queries to SoCs that are READY and not in maintenance. Click on a ToR for its ports.",
    )
    .key("rack", "Rack")
    .linked_key("instance", "ToR", &to_tor())
    .state_column(
        "Exporter",
        &flag("up", "down"),
        // Two jobs may scrape one address: one that is down is seen.
        &flag("up", "down").query("min by (rack, instance) (up{TOR})"),
    )
    .column("Ports", "none", &each("instance:dualtor_channels:count"))
    .column(
        "Not READY",
        "none",
        &each("instance:dualtor_channels_not_ready:count"),
    )
    .column_from(1.0, Colour::Bad)
    .column("Dark", "none", &each("instance:dualtor_servers_dark:count"))
    .column_from(1.0, Colour::Bad)
    .column(
        "One side out",
        "none",
        &each("instance:dualtor_ports_without_redundancy:count"),
    )
    .column_from(1.0, Colour::Warning)
    .column(
        "Maintenance",
        "none",
        &each("instance:dualtor_channels_in_maintenance:count"),
    )
    .column_from(1.0, Colour::Maintenance)
    .column(
        "Errors, 5m",
        "percentunit",
        &each("instance:dualtor_probe_errors:ratio_rate5m"),
    )
    .column_from(0.01, Colour::Warning)
    .column(
        "Errors, 1h",
        "percentunit",
        &each("instance:dualtor_probe_errors:ratio_rate1h"),
    )
    .column_from(0.01, Colour::Warning)
    .column(
        "p99",
        "s",
        &each("instance:dualtor_probe_duration_seconds:p99_rate5m"),
    )
    .most_first("Exporter")
    .most_first("Dark")
    .most_first("Not READY")
    .then_by(&["Rack", "ToR"])
    .widths(&[
        ("Rack", 110),
        ("Exporter", 90),
        ("Ports", 80),
        ("Not READY", 105),
        ("Dark", 80),
        ("One side out", 115),
        ("Maintenance", 120),
        ("Errors, 5m", 105),
        ("Errors, 1h", 105),
        ("p99", 90),
    ])
    .size(24, 12)
}

/// From left to right, as an on-call asks: who pages, whom it hurts, what is not seen.
fn now() -> [Panel; 8] {
    // What two jobs scrape at one address is one exporter.
    let total = |metric: &str| format!("sum(max by (rack, instance) ({metric}{{TOR}}))");
    let alerts = |severity: &str| {
        let firing = firing(Page::Fleet, severity);
        format!(
            "count(\n  {firing}\n  unless ({})\n)\nor sum(up{{TOR}} == 1) * 0",
            muted(Page::Fleet)
        )
    };
    [
        stat(
            "Critical",
            "Alerts that page, those left out that are part of another alert (muted). The table below names them.",
            "short",
            &alerts(r#"severity="critical", "#),
        )
        .whole()
        .bad_from(1.0),
        stat(
            "Other alerts",
            "Alerts of severity warning and info, those left out that are part of another alert (muted). The table below names them.",
            "short",
            &alerts(r#"severity!="critical", "#),
        )
        .whole()
        .warn_from(1.0),
        stat(
            "Servers dark",
            SERVERS_DARK,
            "short",
            &total("instance:dualtor_servers_dark:count"),
        )
        .whole()
        .bad_from(1.0),
        stat(
            "One side out",
            ONE_SIDE_OUT,
            "short",
            &total("instance:dualtor_ports_without_redundancy:count"),
        )
        .whole()
        .warn_from(1.0),
        stat(
            "Not READY",
            NOT_READY,
            "short",
            &total("instance:dualtor_channels_not_ready:count"),
        )
        .whole()
        .bad_from(1.0),
        stat(
            "Maintenance",
            MAINTENANCE,
            "short",
            &total("instance:dualtor_channels_in_maintenance:count"),
        )
        .whole()
        .maintenance_from(1.0),
        stat(
            "Not scraped",
            "Exporters whose last scrape failed: nothing is known about their ToRs' ports, and they are in none of the other \
             numbers. More than 0 is bad.",
            "short",
            "sum(max by (rack, instance) (up{TOR} == bool 0))",
        )
        .whole()
        .bad_from(1.0),
        stat("ToRs", "Exporters that Prometheus knows of, up or down.", "short", "count(count by (rack, instance) (up{TOR}))").whole(),
    ]
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard::new(
        Page::Fleet,
        "All dual-ToR exporters: what is broken, since when and where. Needs the recording rules of \
         alerts/recording.yaml.",
    )
    .row("", now())
    .row("", [firing_alerts(), blocked()])
    .row("By ToR", [
        tors(),
        by_tor(
            "Not READY by ToR",
            "Channels that are not READY, announced maintenance left out. Many lines that rise together are one cause.",
            "short",
            "instance:dualtor_channels_not_ready:count",
        ).whole(),
        by_tor(
            "Servers dark by ToR",
            "Servers that are cut off. Anything over 0 is bad.",
            "short",
            "instance:dualtor_servers_dark:count",
        ).whole(),
        by_tor(
            "Error ratio by ToR",
            "Share of failed queries over 5 minutes, of SoCs that are READY and not in maintenance. Normal is 0.",
            "percentunit",
            "instance:dualtor_probe_errors:ratio_rate5m",
        ),
        by_tor(
            "Latency by ToR, p99",
            "99 % of the answers are faster, over 5 minutes. Failed queries are not in it. Normal are milliseconds.",
            "s",
            "instance:dualtor_probe_duration_seconds:p99_rate5m",
        ),
    ])
    .row("All SoCs", [
        heatmap(
            "Latency",
            "How long the answers took, over 5 minutes; failed queries are not in it. A band that rises or splits: some SoCs have \
             become slow.",
            "sum by (le) (instance_le:dualtor_probe_duration_seconds_bucket:rate5m{TOR})",
        ),
        timeseries(
            "Results",
            "How the queries ended, over 5 minutes. Anything but OK, EMPTY_REPLY (NIC simulator) and \
             UNIMPLEMENTED (no health service) is a failure; UNAVAILABLE is mostly a channel that is \
             down.",
            "reqps",
        )
        .line("sum by (result) (instance_query_result:dualtor_probes:rate5m{TOR})", "{{result}}")
        .failures()
        .state_colours(&palette::RESULTS)
        .many()
        .stacked(),
    ])
    .row("Worst ports", [
        worst_ports(
            "Not READY now",
            "The 20 ports whose channel has been down longest, announced maintenance or not.",
            "Down for",
            "s",
            r#"max by (rack, instance, port) (
  (time() - dualtor_channel_last_transition_timestamp_seconds{PORT})
  and on (job, instance, rack, port) (dualtor_channel_state{PORT, state="ready"} == 0)
)"#,
        ).none_while_healthy(RAW, "while a channel is not READY"),
        worst_ports(
            "Channel lost",
            "The 20 ports whose channel has failed most often in the time shown. More than once or twice \
             is a SoC that restarts, or a bad link.",
            "Times",
            "none",
            r#"round(sum by (rack, instance, port) (
  increase(dualtor_channel_transitions_total{PORT, to="transient_failure"}[$__range])
))"#,
        ).whole().none_while_healthy(RAW, "after a channel was lost"),
        worst_ports(
            "Direction changed",
            "The 20 ports whose directions, of both sides, have changed between active and standby most \
             often in the time shown. A switchover and back is 4.",
            "Times",
            "none",
            "round(sum by (rack, instance, port) (increase(dualtor_mux_direction_transitions_total{PORT}[$__range])))",
        ).whole().none_while_healthy(RAW, "after a direction changed"),
        worst_ports(
            "Unanswered queries",
            "The 20 ports with the most queries that were not answered in the time shown; on a channel that is down each \
             query fails.",
            "Queries",
            "none",
            &format!(
                "round(sum by (rack, instance, port) {})",
                failed_probes("increase", "$__range")
            ),
        ).whole().none_while_healthy(RAW, "after a query failed"),
    ])
}
