//! All ToRs: how many, what is broken, since when, where.

use super::dashboard::{Dashboard, Page, drill_down, firing};
use super::palette::{self, Colour, flag};
use super::panel::{Panel, heatmap, stat, table, timeseries};
use super::queries::failed_probes;

/// More lines or rows than this say less.
const WORST: &str = "topk(20, ";

fn to_tor() -> Vec<(&'static str, String)> {
    let of = |page| drill_down(page, "${__data.fields.ToR}", None);
    vec![("This ToR", of(Page::Tor)), ("Its exporter", of(Page::Exporter))]
}

fn to_port() -> Vec<(&'static str, String)> {
    let port = Some("${__data.fields.Port}");
    vec![("This port", drill_down(Page::Port, "${__data.fields.ToR}", port))]
}

fn to_tor_of_line(panel: Panel) -> Panel {
    panel.link(
        "This ToR",
        &drill_down(Page::Tor, "${__field.labels.instance}", None),
    )
}

fn by_tor(title: &'static str, description: &str, unit: &str, metric: &str) -> Panel {
    to_tor_of_line(
        timeseries(title, description, unit).line(&format!("{WORST}{metric}{{TOR}})"), "{{instance}}"),
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
        .only_column(column, unit, &format!("{WORST}{query})"))
        .most_first(column)
        .needs_raw_series()
        .size(12, 9)
}

fn firing_alerts() -> Panel {
    let firing = firing(Page::Fleet);
    let by = "by (alertname, rack, instance, port, side, role)";
    let since = firing
        .replace("ALERTS{", "ALERTS_FOR_STATE{")
        .replace(r#"alertstate="firing", "#, "");
    table(
        "Firing alerts",
        "What is broken, where, on which side and since when, the most severe first, and the newest of \
         these. An alert without ToR is of a rack or of all, one without port of the ToR. The runbook, \
         linked above, describes what to do.",
    )
    .state_column(
        "Severity",
        &palette::severity(),
        &format!("max {by} ({})", palette::severity().query(&firing)),
    )
    .key("alertname", "Alert")
    .key("rack", "Rack")
    .linked_key("instance", "ToR", &to_tor())
    .linked_key("port", "Port", &to_port())
    .key("side", "Side")
    .key("role", "Certificate")
    .column(
        "Since",
        "dateTimeFromNow",
        &format!("min {by} (\n  {since}\n  and ignoring (alertstate) {firing}\n) * 1000"),
    )
    .most_first("Severity")
    .most_first("Since")
    .empty_while_healthy("while an alert fires")
    .size(12, 10)
}

/// Ports of which a side carries nothing, and of what.
fn blocked() -> Panel {
    let worst = format!("{WORST}instance_port:dualtor_sides_blocked:count{{PORT}})");
    let by = "max by (rack, instance, port)";
    let server = palette::of(&["dark", "no redundancy"]);
    let sides = ["active", "standby", "unknown", "link down"];
    let side = |side: &str| {
        let direction =
            palette::direction().query(&format!(r#"dualtor_mux_direction{{PORT, side="{side}"}}"#));
        let link = palette::number("link down");
        format!(
            r#"{by} (
  (
    {link} * dualtor_link_state{{PORT, side="{side}", state="down"}}
    or {direction}
  )
  and on (job, instance, port) {worst}
)"#
        )
    };
    table(
        "Servers dark or without redundancy",
        "20 ports of which a side carries no traffic, the dark ones first: standby, or the link down, as \
         reported by the SoC, announced maintenance or not. Self is this ToR's side. Since: when an alert first saw it; \
         none during maintenance.",
    )
    .state_column(
        "Server",
        &server,
        &format!(
            "{by} (\n  {} * ({worst} == bool 2)\n  + {} * ({worst} == bool 1)\n)",
            palette::number("dark"),
            palette::number("no redundancy"),
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
  and on (job, instance, port) {worst}
) * 1000"#
        ),
    )
    .most_first("Server")
    .most_first("Since")
    .empty_while_healthy("while a side of a port carries nothing")
    .needs_raw_series()
    .size(12, 10)
}

fn tors() -> Panel {
    let each = |metric: &str| format!("max by (rack, instance) ({metric}{{TOR}})");
    table(
        "ToRs",
        "Each ToR now. Not READY: channels that are down, announced maintenance left out. Dark: neither \
         side carries the server's traffic. No redundancy: only one does. Errors: of the queries to SoCs \
         that are READY and not in maintenance. A ToR without numbers has no exporter that answers. \
         Click on a ToR for its ports.",
    )
    .key("rack", "Rack")
    .linked_key("instance", "ToR", &to_tor())
    .state_column(
        "Exporter",
        &flag("up", "down"),
        &flag("up", "down").query(&each("up")),
    )
    .column("Ports", "none", &each("instance:dualtor_channels:count"))
    .column(
        "Not READY",
        "none",
        &each("instance:dualtor_channels_not_ready:count"),
    )
    .column_from(1.0, Colour::Bad)
    .column(
        "Not READY, %",
        "percentunit",
        &each("instance:dualtor_channels_not_ready:ratio"),
    )
    .column("Dark", "none", &each("instance:dualtor_servers_dark:count"))
    .column_from(1.0, Colour::Bad)
    .column(
        "No redundancy",
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
    .most_first("Dark")
    .size(24, 10)
}

pub(crate) fn dashboard() -> Dashboard {
    let total = |metric: &str| format!("sum({metric}{{TOR}})");
    let firing = firing(Page::Fleet);
    Dashboard::new(
        Page::Fleet,
        "All dual-ToR exporters: what is broken, since when and where. Needs the recording rules of \
         alerts/recording.yaml.",
    )
    .row("", [
        stat("ToRs", "Exporters that Prometheus knows of, up or down.", "short", "count(up{TOR})").whole(),
        stat(
            "Exporters down",
            "Exporters whose last scrape failed: nothing is known about their ToRs' ports. More than 0 \
             is bad.",
            "short",
            "sum(up{TOR} == bool 0)",
        ).whole().bad_from(1.0),
        stat(
            "Ports",
            "Ports that are probed, seen from each ToR: a server with both its ToRs in view counts twice.",
            "short",
            &total("instance:dualtor_channels:count"),
        ).whole(),
        stat(
            "Channels down",
            "Channels that are not READY, announced maintenance left out. More than 0 is bad; many at \
             once are one cause.",
            "short",
            &total("instance:dualtor_channels_not_ready:count"),
        ).whole().bad_from(1.0),
        stat(
            "Servers dark",
            "Ports of which neither side carries traffic (standby, or the link down): the server is cut \
             off. More than 0 is bad.",
            "short",
            &total("instance:dualtor_servers_dark:count"),
        ).whole().bad_from(1.0),
        stat(
            "Without redundancy",
            "Ports of which just one side carries traffic: the next failure cuts the server off. More \
             than 0 needs a look.",
            "short",
            &total("instance:dualtor_ports_without_redundancy:count"),
        ).whole().warn_from(1.0),
        stat(
            "In maintenance",
            "Ports whose SoC has announced maintenance in the last five minutes. No fault in itself.",
            "short",
            &total("instance:dualtor_channels_in_maintenance:count"),
        ).whole(),
        stat(
            "Alerts",
            "Alerts that fire, of all severities. The table below names them.",
            "short",
            &format!("count({firing})\n  or sum(up{{TOR}}) * 0"),
        ).whole().warn_from(1.0),
    ])
    .row("", [firing_alerts(), blocked()])
    .row("By ToR", [
        tors(),
        by_tor(
            "Channels down",
            "The 20 ToRs with the most channels that are not READY, announced maintenance left out. Many \
             lines that rise together are one cause.",
            "short",
            "instance:dualtor_channels_not_ready:count",
        ).whole(),
        by_tor(
            "Servers dark",
            "The 20 ToRs with the most servers that are cut off. Anything over 0 is bad.",
            "short",
            "instance:dualtor_servers_dark:count",
        ).whole(),
        by_tor(
            "Error ratio",
            "The 20 ToRs with the highest share of failed queries over 5 minutes, of SoCs that are READY \
             and not in maintenance. Normal is 0.",
            "percentunit",
            "instance:dualtor_probe_errors:ratio_rate5m",
        ),
        by_tor(
            "Latency, p99",
            "The 20 ToRs with the slowest queries: 99 % are faster, over 5 minutes. Normal are \
             milliseconds; 0.5 s is the deadline.",
            "s",
            "instance:dualtor_probe_duration_seconds:p99_rate5m",
        ),
    ])
    .row("All SoCs", [
        heatmap(
            "Latency",
            "How long all queries took, over 5 minutes. A band that rises or splits: some SoCs have \
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
  and on (job, instance, port) (dualtor_channel_state{PORT, state="ready"} == 0)
)"#,
        ).empty_while_healthy("while a channel is not READY"),
        worst_ports(
            "Channel lost",
            "The 20 ports whose channel has failed most often in the time shown. More than once or twice \
             is a SoC that restarts, or a bad link.",
            "Times",
            "none",
            r#"sum by (rack, instance, port) (
  increase(dualtor_channel_transitions_total{PORT, to="transient_failure"}[$__range])
)"#,
        ).whole(),
        worst_ports(
            "Direction changed",
            "The 20 ports whose directions, of both sides, have changed between active and standby most \
             often in the time shown. A switchover and back is 4.",
            "Times",
            "none",
            "sum by (rack, instance, port) (increase(dualtor_mux_direction_transitions_total{PORT}[$__range]))",
        ).whole(),
        worst_ports(
            "Failed queries",
            "The 20 ports with the most failed queries in the time shown; on a channel that is down each \
             query fails.",
            "Queries",
            "none",
            &format!("sum by (rack, instance, port) {}", failed_probes("increase", "$__range")),
        ).whole(),
    ])
}
