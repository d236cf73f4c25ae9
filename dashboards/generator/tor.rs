//! One ToR: all its ports side by side. In central mode: one rack of one exporter.

use super::dashboard::{Dashboard, Page, drill_down};
use super::palette::{self, Colour, States};
use super::panel::{Panel, heatmap, stat, state, table, timeline, timeseries};
use super::queries::{
    MAINTENANCE, NOT_READY, ONE_SIDE_OUT, SERVERS_DARK, by_port, failed_probes, failures_by_cause,
    in_maintenance, not_ready, ports_with_blocked_sides,
};

/// Of a row of states: 64 ports are 3 MB at most, all nine panels together.
const POINTS: u64 = 200;

/// A row per port. So high that 64 rows leave each its label, and 40 the text of their states, too.
fn ports(title: &'static str, description: &str, states: &States, metric: &str) -> Panel {
    let url = drill_down(Page::Port, ["$rack", "$instance"], Some("${__field.labels.port}"));
    timeline(title, description, states)
        .line(&by_port(&states.query(metric)), "{{port}}")
        .link("This port", &url)
        .points(POINTS)
        .size(8, 24)
}

fn now() -> [Panel; 8] {
    [
        state(
            "Side",
            "Which ToR of the rack this is. unknown is bad: then all directions are.",
            &palette::side(),
            "dualtor_side{RACK}",
        ),
        state(
            "Exporter",
            "Whether the last scrape succeeded. While it is down, nothing below is of now.",
            &palette::flag("up", "down"),
            "up{TOR}",
        ),
        stat(
            "Ports",
            "Ports that are probed.",
            "none",
            "sum by (job, instance) (dualtor_inventory_ports{RACK})",
        ),
        stat("Not READY", NOT_READY, "none", &not_ready()).bad_from(1.0),
        stat("Servers dark", SERVERS_DARK, "none", &ports_with_blocked_sides(2)).bad_from(1.0),
        stat("One side out", ONE_SIDE_OUT, "none", &ports_with_blocked_sides(1)).warn_from(1.0),
        stat("Maintenance", MAINTENANCE, "none", &in_maintenance()).maintenance_from(1.0),
        stat(
            "Unanswered",
            "Share of the queries that were not answered in the time shown, those of channels that are down \
             included. Normal is 0.",
            "percentunit",
            &format!(
                "(sum {}\n/ sum(increase(dualtor_probes_total{{PORT}}[$__range])))",
                failed_probes("increase", "$__range")
            ),
        )
        .while_up()
        .warn_from(0.01),
    ]
}

fn direction_changes(side: &str) -> String {
    format!(
        r#"sum(increase(dualtor_mux_direction_transitions_total{{PORT, side="{side}"}}[$__rate_interval]))"#
    )
}

fn changes() -> [Panel; 4] {
    [
        timeseries(
            "Channel transitions",
            "Changes of all channels' states, by the new state, within each window. Each \
             transient_failure is a channel lost; a bar as high as the number of ports is one cause for \
             all.",
            "none",
        )
        .line(
            "sum by (to) (increase(dualtor_channel_transitions_total{PORT}[$__rate_interval]))",
            "{{to}}",
        )
        .state_colours(&["idle", "connecting", "ready", "transient_failure", "shutdown"])
        .whole()
        .many()
        .bars(),
        timeseries(
            "Direction changes",
            "Changes between active and standby of all ports within each window, by side. A switchover \
             changes both; changes without end are a fight between the ToRs.",
            "none",
        )
        .coloured_line(&direction_changes("self"), "self", Colour::Plain)
        .dashed_line(&direction_changes("peer"), "peer", [10, 5])
        .whole(),
        failures_by_cause(),
        table(
            "Channels lost most often",
            "The 10 ports whose channel has failed most often in the time shown. More than once or twice \
             is a SoC that restarts, or a bad link.",
        )
        .linked_key("port", "Port", &to_port())
        .only_column(
            "Times",
            "none",
            r#"topk(10, round(sum by (port) (
  increase(dualtor_channel_transitions_total{PORT, to="transient_failure"}[$__range])
)) > 0)"#,
        )
        .whole()
        .most_first("Times")
        .then_by(&["Port"])
        .none_while_healthy("dualtor_inventory_ports{RACK}", "after a channel was lost"),
    ]
}

fn probes() -> [Panel; 2] {
    [
        heatmap(
            "Latency",
            "How long the answers took; failed queries are not in it. A band that rises or splits: some SoCs have become slow; \
             0.5 s is the deadline.",
            "sum by (le) (rate(dualtor_probe_duration_seconds_bucket{PORT}[$__rate_interval]))",
        )
        .per_round(),
        timeseries(
            "Results",
            "How the queries ended. Anything but OK, EMPTY_REPLY (NIC simulator) and UNIMPLEMENTED (no \
             health service) is a failure; UNAVAILABLE is mostly a channel that is down.",
            "reqps",
        )
        .line(
            "sum by (result) (rate(dualtor_probes_total{PORT}[$__rate_interval]))",
            "{{result}}",
        )
        .failures()
        .state_colours(&palette::RESULTS)
        .many()
        .stacked()
        .per_round(),
    ]
}

fn to_port() -> Vec<(&'static str, String)> {
    vec![(
        "This port",
        drill_down(Page::Port, ["$rack", "$instance"], Some("${__data.fields.Port}")),
    )]
}

fn socs() -> [Panel; 2] {
    [
        table(
            "Versions",
            "How many ports have which software version of their SoC. More than one version in a rack wants a reason.",
        )
        .key("version", "Version")
        .only_column(
            "Ports",
            "none",
            r#"label_replace(count by (version) (dualtor_soc_info{PORT}), "version", "not known", "version", "")"#,
        )
        .most_first("Ports")
        .then_by(&["Version"])
        .size(8, 8),
        table(
            "SoCs",
            "Each SoC's address and software version. An empty version is not known, or the SoC reports \
             none.",
        )
        .linked_key("port", "Port", &to_port())
        .key("address", "Address")
        .key("version", "Version")
        .labels_of(&by_port("max by (port, address, version) (dualtor_soc_info{PORT})"))
        .in_port_order()
        .widths(&[("Port", 120), ("Address", 200)])
        .size(16, 8),
    ]
}

pub(crate) fn dashboard() -> Dashboard {
    let (own, peer) = (palette::passes("self"), palette::passes("peer"));
    let link = palette::link();
    Dashboard::new(
        Page::Tor,
        "One ToR: its channels, directions and links of all ports over time, and how its SoCs answer. With \
         more than 40 ports choose some above: then each state has its text. What the SoCs report beside that is \
         in the last row, which a click opens.",
    )
    .row("", now())
    .row("Both sides active is healthy; one standby or with its link down is no redundancy; both is a server cut off", [
        ports(
            "Channel",
            "State of the gRPC channel to each SoC. TRANSIENT_FAILURE: the SoC cannot be reached and its \
             server's state is unknown. All ports at the same moment: look at the ToR, not at the SoCs. \
             Over long times short changes fall between the points; Channel transitions has them all.",
            &palette::channel(),
            "dualtor_channel_state{PORT}",
        ),
        ports(
            "Direction, self",
            "Whether this ToR may forward to the server, and whether its link is up, as reported by the SoC.",
            &own,
            r#"dualtor_mux_direction{PORT, side="self"}"#,
        ),
        ports(
            "Direction, peer",
            "Whether the other ToR may forward to the server, and whether its link is up, as reported by the SoC.",
            &peer,
            r#"dualtor_mux_direction{PORT, side="peer"}"#,
        ),
    ])
    .row("What changed", changes())
    .row("Queries", probes())
    .row("SoCs", socs())
    .collapsed_row("Links, operation, health and maintenance, as reported by the SoC", [
        ports(
            "Link, self",
            "The SoC's link to this ToR. Down: nothing passes on this side.",
            &link,
            r#"dualtor_link_state{PORT, side="self"}"#,
        ),
        ports(
            "Link, peer",
            "The SoC's link to the other ToR. Down: nothing passes on that side.",
            &link,
            r#"dualtor_link_state{PORT, side="peer"}"#,
        ),
        ports(
            "Health",
            "Health by grpc.health.v1. not_serving is bad; unimplemented: the SoC has no health service, \
             which is normal.",
            &palette::health(),
            "dualtor_health_status{PORT}",
        ),
        ports(
            "Operation, self",
            "Operational state of the SoC's port to this ToR. Down with the link up: the SoC has shut it.",
            &link,
            r#"dualtor_oper_state{PORT, side="self"}"#,
        ),
        ports(
            "Operation, peer",
            "Operational state of the SoC's port to the other ToR. Down with the link up: the SoC has \
             shut it.",
            &link,
            r#"dualtor_oper_state{PORT, side="peer"}"#,
        ),
        ports(
            "Announced maintenance",
            "inprogress: the SoC has announced maintenance; unknown: it has no such service.",
            &palette::service(),
            "dualtor_soc_service{PORT}",
        ),
    ])
}
