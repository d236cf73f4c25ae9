//! One port, as one ToR sees it: what happened, in which order, and why.

use super::dashboard::{Dashboard, Page};
use super::palette::{self, Colour, flag};
use super::panel::{Panel, mapped, stat, state, table, timeline, timeseries};
use super::queries::{TLS, failures_by_cause, results_by_query};

fn now() -> [Panel; 8] {
    [
        mapped(
            "Server",
            "Whether traffic reaches the server, as reported by the SoC. dark: on neither side. one side only: the next failure \
             cuts it off. at most one side: one carries nothing, and the other is unknown.",
            palette::Server::word(),
            &palette::Server::query(),
        )
        .size(6, 4),
        mapped(
            "Why",
            "What the two sides do: a side that is standby, or whose link is down, carries nothing. self is this ToR's side. \
             unknown: the channel is down, or the SoC does not report it.",
            palette::Server::reason(),
            &palette::Server::query(),
        )
        .size(10, 4),
        state(
            "Channel",
            "State of the gRPC channel to the SoC. TRANSIENT_FAILURE is bad: all else is unknown then.",
            &palette::channel(),
            "dualtor_channel_state{PORT}",
        )
        .size(8, 4),
        stat(
            "In this state for",
            "How long the channel has been in this state.",
            "s",
            "time() - dualtor_channel_last_transition_timestamp_seconds{PORT}",
        )
        .size(5, 3),
        stat(
            "Channel lost",
            "How often the channel has failed in the time shown.",
            "none",
            r#"increase(dualtor_channel_transitions_total{PORT, to="transient_failure"}[$__range])"#,
        )
        .while_up()
        .whole()
        .warn_from(1.0)
        .size(4, 3),
        stat(
            "Last good answer",
            "Time since the SoC last reported its directions. Over a few minutes is bad; never: not since the exporter's start.",
            "s",
            "time() - dualtor_probe_last_success_timestamp_seconds{PORT}",
        )
        .otherwise("never")
        .bad_from(300.0)
        .size(5, 3),
        state(
            "Health",
            "The SoC's health by grpc.health.v1. unimplemented: it has no health service, which is normal.",
            &palette::health(),
            "dualtor_health_status{PORT}",
        )
        .size(5, 3),
        state(
            "Announced maintenance",
            "Whether the SoC has announced maintenance. unknown: it has no such service.",
            &palette::service(),
            "dualtor_soc_service{PORT}",
        )
        .size(5, 3),
    ]
}

fn states() -> Panel {
    let (channel, direction, link) = (palette::channel(), palette::direction(), palette::link());
    let (health, service) = (palette::health(), palette::service());
    let all = channel.clone().and(direction.clone()).and(link.clone());
    timeline(
        "What happened",
        "Everything that the SoC reports of this port, on one time axis: read downwards what changed \
         together. When the channel is lost, all else turns unknown. Over long times short changes fall \
         between the points.",
        &all.and(health.clone()).and(service.clone()),
    )
    .states(&channel, "dualtor_channel_state{PORT}", "Channel")
    .states(
        &direction,
        r#"dualtor_mux_direction{PORT, side="self"}"#,
        "Direction, self",
    )
    .states(
        &direction,
        r#"dualtor_mux_direction{PORT, side="peer"}"#,
        "Direction, peer",
    )
    .states(&link, r#"dualtor_link_state{PORT, side="self"}"#, "Link, self")
    .states(&link, r#"dualtor_link_state{PORT, side="peer"}"#, "Link, peer")
    .states(
        &link,
        r#"dualtor_oper_state{PORT, side="self"}"#,
        "Operation, self",
    )
    .states(
        &link,
        r#"dualtor_oper_state{PORT, side="peer"}"#,
        "Operation, peer",
    )
    .states(&health, "dualtor_health_status{PORT}", "Health")
    .states(&service, "dualtor_soc_service{PORT}", "Maintenance")
    .size(24, 11)
}

/// Where the switch's databases do not tell.
const NOT_KNOWN: &str = "not known";

fn intent() -> Panel {
    let (direction, consistent) = (palette::direction(), flag("agrees", "differs"));
    let (linkmgr, oper) = (palette::linkmgr(), flag("up", "down"));
    let orchagent = palette::orchagent();
    let all = direction
        .clone()
        .and(orchagent.clone())
        .and(consistent.clone())
        .and(linkmgr.clone());
    timeline(
        "Intended against actual",
        "What linkmgrd wants, what orchagent has set, what the SoC reports of this side, and whether \
         the first and the last agree; then what linkmgrd thinks of the port, and the switch's own port. \
         differs for more than moments is bad; error: orchagent could not carry out the change. not known: not written, or SONiC's \
         databases are not used.",
        &all.and(oper.clone()),
    )
    .states_if_any(&direction, "dualtor_intended_mux_state{PORT}", "linkmgrd wants", NOT_KNOWN)
    .states_if_any(
        &orchagent,
        "dualtor_orchagent_mux_state{PORT}",
        "orchagent set",
        NOT_KNOWN,
    )
    .states_if_any(
        &direction,
        r#"dualtor_mux_direction{PORT, side="self"}"#,
        "SoC reports",
        NOT_KNOWN,
    )
    .states_if_any(
        &consistent,
        "dualtor_mux_consistent{PORT}",
        "Agreement",
        NOT_KNOWN,
    )
    .states_if_any(
        &linkmgr,
        "dualtor_linkmgr_health{PORT}",
        "linkmgrd health",
        NOT_KNOWN,
    )
    .states_if_any(&oper, "dualtor_port_oper_up{PORT}", "Switch's port", NOT_KNOWN)
    .size(24, 8)
}

fn quantile(q: &str) -> String {
    format!(
        "histogram_quantile({q}, sum by (le) (rate(dualtor_probe_duration_seconds_bucket{{PORT}}[$__rate_interval])))"
    )
}

fn answers() -> [Panel; 4] {
    [
        timeseries(
            "Latency of queries",
            "How long the SoC takes to answer. Normal are milliseconds; 0.5 s is the deadline. A gap: \
             nothing was answered.",
            "s",
        )
        .coloured_line(&quantile("0.99"), "p99", Colour::Plain)
        .dashed_line(&quantile("0.5"), "p50", [10, 5])
        .dashed_line(
            "rate(dualtor_probe_duration_seconds_sum{PORT}[$__rate_interval])\n\
             / rate(dualtor_probe_duration_seconds_count{PORT}[$__rate_interval])",
            "average",
            [2, 5],
        )
        .many()
        .per_round(),
        timeseries(
            "Round trip of keepalives",
            "How long the SoC takes to answer a PING: the network and its server's event loop, without \
             its work. A gap: not READY.",
            "s",
        )
        .line("dualtor_keepalive_rtt_seconds{PORT}", "round trip"),
        failures_by_cause(),
        timeline(
            "Results by query",
            "How each query ended, within each window of a minute or more: the worst result, or that some failed and others were \
             answered. One that fails alone is the SoC's \
             software; all as UNAVAILABLE: the channel is down. EMPTY_REPLY is the NIC simulator's, UNIMPLEMENTED a SoC without \
             health service (of another query it is a failure). A gap: no query was sent.",
            &palette::results(),
        )
        .line(&results_by_query(), "{{query}}")
        .per_round(),
    ]
}

fn facts() -> [Panel; 6] {
    [
        table(
            "SoC",
            "The address that is probed, and the SoC's software version; empty while unknown.",
        )
        .key("address", "Address")
        .key("version", "Version")
        .labels_of("max by (address, version) (dualtor_soc_info{PORT})")
        .widths(&[("Address", 150)])
        .size(8, 4),
        stat(
            "Keepalive every",
            "Time between PINGs. Other than the configured keepalive_time: the SoC has sent \
             too_many_pings, PINGs go with its rounds, and a hang is noticed that much later.",
            "s",
            "dualtor_keepalive_interval_seconds{PORT}",
        )
        .size(4, 4),
        stat(
            "Dials",
            "Connections begun in the time shown. Normal is 0; while the channel is down, one each 10 s \
             or so.",
            "none",
            "increase(dualtor_channel_dials_total{PORT}[$__range])",
        )
        .while_up()
        .whole()
        .size(4, 4),
        stat(
            "Certificate expires",
            "Time until the certificate expires that the SoC last showed. Under 30 days needs a new one. \
             not shown yet: with TLS, but no handshake since the exporter's start.",
            "s",
            "dualtor_soc_certificate_expiry_timestamp_seconds{PORT} - time()",
        )
        .good_from(7.0 * 86_400.0, 30.0 * 86_400.0)
        .once(TLS, "not shown yet")
        .otherwise("no TLS")
        .size(4, 4),
        stat(
            "Maintenance ends",
            "When the announced maintenance is due to end. not announced: no maintenance, or one without an end.",
            "dateTimeFromNow",
            "dualtor_soc_service_end_timestamp_seconds{PORT} * 1000",
        )
        .otherwise("not announced")
        .size(4, 4),
        timeseries(
            "Notices of maintenance",
            "Notices that the SoC has sent since the exporter started. A line that keeps rising is a SoC \
             that cannot make up its mind.",
            "none",
        )
        .line(
            "sum by (type, plane) (dualtor_soc_notices_total{PORT})",
            "{{type}} {{plane}}",
        )
        .whole()
        .many()
        .colour_of("/^begin/", Colour::Maintenance)
        .colour_of("/^end/", Colour::Good)
        .empty_while_healthy("after the SoC's first notice")
        .size(24, 7),
    ]
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard::new(
        Page::Port,
        "One port, as one ToR sees it: what happened, in which order, and why. The rack's other ToR sees \
         the same SoC: choose it above.",
    )
    .row("", now())
    .row("", [states(), intent()])
    .row("How the SoC answers", answers())
    .row("Facts", facts())
}
