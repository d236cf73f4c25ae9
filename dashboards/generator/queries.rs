//! What several dashboards ask.

use super::palette::{FAILURE, RESULTS, number};
use super::panel::{ORDER, Panel, timeseries};

/// Prometheus returns the series of a range in the order of their labels, as text: Ethernet0, Ethernet12, Ethernet4; Ethernet1/10/1,
/// Ethernet1/2/1. This adds a label that comes before all others and has the first three of the port's numbers with four digits each.
/// (`sort_by_label` is younger than Prometheus 2.42.)
pub(crate) fn by_port(query: &str) -> String {
    let numbers = r"\\D*(\\d+)\\D*(\\d*)\\D*(\\d*).*";
    let zeros = format!(r#"label_replace({query}, "{ORDER}", "0000$1/0000$2/0000$3", "port", "{numbers}")"#);
    let four = r"\\d*(\\d\\d\\d\\d)";
    format!(r#"label_replace({zeros}, "{ORDER}", "$1/$2/$3", "{ORDER}", "{four}/{four}/{four}")"#)
}

/// What the numbers on *Fleet* and *ToR* count: the same on both.
pub(crate) const NOT_READY: &str = "Channels that are not READY, announced maintenance left out. Each ToR counts its own. More than 0 is bad; many at once are one cause.";
pub(crate) const SERVERS_DARK: &str = "Ports of which neither side carries traffic (standby, or the link down): the server is cut off. As seen by each ToR: on Fleet a server of two ToRs counts twice. More than 0 is bad.";
pub(crate) const ONE_SIDE_OUT: &str = "Ports of which one side carries no traffic, and the other does or is unknown: the next failure cuts the server off. As seen by each ToR: on Fleet a server of two ToRs counts twice. More than 0 needs a look.";
pub(crate) const MAINTENANCE: &str = "Ports whose SoC has announced maintenance, or had until five minutes ago. Each ToR counts its own. No fault in itself.";

/// There while TLS is configured.
pub(crate) const TLS: &str = "max by (job, instance) (dualtor_tls_certificate_expiry_timestamp_seconds{TOR})";

/// Ports whose SoC has announced maintenance, or had until five minutes ago, as the recording rules have it.
const ANNOUNCED: &str =
    r#"(max without (state) (max_over_time(dualtor_soc_service{PORT, state="inprogress"}[5m])) == 1)"#;

/// How many there are of them.
pub(crate) fn in_maintenance() -> String {
    format!("count{ANNOUNCED}\nor sum(up{{TOR}} == 1) * 0")
}

/// How many channels are not READY, announced maintenance left out.
pub(crate) fn not_ready() -> String {
    format!(
        r#"count(
  dualtor_channel_state{{PORT, state="ready"}} == 0
  unless ignoring (state) {ANNOUNCED}
)
or sum(up{{TOR}} == 1) * 0"#
    )
}

/// How each query of a port ended lately: the number of the result, of several the worst, which comes last in the palette; or that some
/// failed while others were answered. A query that the SoC does not implement is as it should be of health alone.
pub(crate) fn results_by_query() -> String {
    let ended = |selector: &str, state: &str| {
        format!(
            "{} * (increase(dualtor_probes_total{{PORT, {selector}}}[$__rate_interval]) > bool 0)",
            number(state)
        )
    };
    let of_health = "UNIMPLEMENTED";
    let known = RESULTS.map(|result| match result == of_health {
        true => ended(&format!(r#"query="health", result="{result}""#), result),
        false => ended(&format!(r#"result="{result}""#), result),
    });
    let others = [
        ended(&format!(r#"result!~"{}""#, RESULTS.join("|")), "another failure"),
        ended(
            &format!(r#"query!="health", result="{of_health}""#),
            "another failure",
        ),
    ];
    let all = known.into_iter().chain(others).collect::<Vec<_>>();
    let worst = format!("max by (query) (\n  {}\n)", all.join("\n  or "));
    let answered = r#"increase(dualtor_probes_total{PORT, result=~"OK|EMPTY_REPLY"}[$__rate_interval])"#;
    format!(
        "({worst} >= {failure}) * 0 + {some}\nand max by (query) ({answered}) > 0\nor {worst} > 0",
        failure = number(FAILURE),
        some = number("some failed"),
    )
}

/// Queries to SoCs that failed: `function` (rate, increase) over `window`, by port, query and result. As in the recording
/// rules, an empty reply is none (SONiC's NIC simulator has nothing to say), nor is a health service that the SoC does
/// not have.
pub(crate) fn failed_probes(function: &str, window: &str) -> String {
    let of = |query: &str, good: &str| {
        format!(
            r#"{function}(dualtor_probes_total{{PORT, query{query}"health", result!~"{good}"}}[{window}])"#
        )
    };
    format!(
        "(\n  {}\n  or {}\n)",
        of("!=", "OK|EMPTY_REPLY"),
        of("=", "OK|EMPTY_REPLY|UNIMPLEMENTED")
    )
}

/// Ports with so many sides that carry nothing, as the SoC says: standby, or the link down.
pub(crate) fn ports_with_blocked_sides(sides: u8) -> String {
    format!(
        r#"sum(
  sum without (side) (
    max without (state) (
      dualtor_mux_direction{{PORT, state="standby"}}
      or dualtor_link_state{{PORT, state="down"}}
    )
  ) == bool {sides}
)
or sum(up{{TOR}} == 1) * 0"#
    )
}

/// What channels failed of.
pub(crate) fn failures_by_cause() -> Panel {
    timeseries(
        "Failures by cause",
        "Failed dials and lost connections within each window, by cause. closed: the SoC's \
         server restarts; goaway: it ends the connection with an error (a graceful GOAWAY is no failure); refused: it is gone; keepalive_timeout: it hangs, or the network \
         loses packets; tls...: certificates. A cause that is new starts its line at 0. A colour only tells a cause from the others.",
        "none",
    )
    .line(
        "sum by (cause) (increase(dualtor_channel_failures_total{PORT}[$__rate_interval]))",
        "{{cause}}",
    )
    .distinct()
    .whole()
    .many()
    .bars()
}
