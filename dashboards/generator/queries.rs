//! What several dashboards ask.

use super::panel::{Panel, timeseries};

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
)"#
    )
}

/// What channels failed of.
pub(crate) fn failures_by_cause() -> Panel {
    timeseries(
        "Failures by cause",
        "Failed dials and lost connections within each window, by cause. closed: the SoC's \
         server restarts; goaway: it ends the connection with an error (a graceful GOAWAY is no failure); refused: it is gone; keepalive_timeout: it hangs, or the network \
         loses packets; tls...: certificates. A cause that is new starts its line at 0.",
        "none",
    )
    .line(
        "sum by (cause) (increase(dualtor_channel_failures_total{PORT}[$__rate_interval]))",
        "{{cause}}",
    )
    .failures()
    .bars()
}
