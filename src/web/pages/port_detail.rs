//! One port: what it is now, what to do, what happened to it lately, and which commands show more.

use maud::{Markup, html};

use super::fleet_table::in_url;
use super::{PageFrame, Pages, UP, ages, footer, port_history, runbook};
use crate::model::{
    Cause, ChannelState, End, History, Maintenance, Observed, PortLevel, Security, Side, SocStatus, SocView,
    View, YcabledFacts,
};

/// `grafana`: where the port's dashboard is.
pub(super) fn page(
    view: &View,
    soc: &SocView,
    history: &History,
    pages: &Pages,
    grafana: Option<&str>,
) -> Markup {
    let (level, port) = (soc.reason.level(), &*soc.status.target.id.key());
    let body = html! {
        header {
            nav aria-label="Way back" { a href=(UP) { "All ports of " (view.exporter.host) } }
            h1 { (port) }
            section #state class=(level.label()) aria-label="State" {
                p.sentence aria-live="polite" { b.badge { (level.label()) } " " (soc.reason.text()) }
            }
        }
        main {
            section #now aria-labelledby="h-now" { h2 #h-now { "Now" } (now(view, soc)) }
            section #do aria-labelledby="h-do" { h2 #h-do { "What to do" } (to_do(soc)) }
            section #transitions aria-labelledby="h-transitions" {
                h2 #h-transitions { "What happened" } (port_history::transitions(history, view.at))
                @if let Some(grafana) = grafana { p { "Hours and days: " a href=(grafana) { "Port dashboard in Grafana" } "." } }
            }
            section #rounds aria-labelledby="h-rounds" {
                h2 #h-rounds { "Rounds of queries" } (port_history::rounds(history, view.at))
            }
            section #commands aria-labelledby="h-commands" {
                h2 #h-commands { "Commands that show more" } (commands(&soc.status))
            }
            @if pages.probes { (probe_now()) }
        }
        (footer(view, UP, &pages.metrics, &format!("api/v1/ports/{}", in_url(port))))
    };
    let host = &view.exporter.host;
    let title = match level {
        PortLevel::Ok => format!("{port} {host}"),
        level => format!("{port} {level} {host}"),
    };
    let frame = PageFrame {
        title: &title,
        base: UP,
        kind: "port",
        data: port,
        refresh: true,
    };
    frame.around(&body)
}

fn now(view: &View, soc: &SocView) -> Markup {
    let (status, seen) = (&*soc.status, &soc.status.observed);
    let ago = |time| format!("{} ago ({})", ages::since(time, view.at), ages::clock(time));
    html! {
        dl {
            (entry("Channel", &match status.channel.last_transition {
                Some(since) => format!("{} for {}", status.channel.state.upper(), ages::since(since, view.at)),
                None => status.channel.state.upper().to_owned(),
            }))
            (entry("Last success", &status.last_success.map_or("never".to_owned(), ago)))
            @if let Some(error) = &status.last_error {
                (entry("Last error", &format!("{}: {error}", ago(error.at))))
            }
            @for end in End::ALL {
                (entry(if *end == End::Own { "Self" } else { "Peer" }, &format!(
                    "{}, link {}, operational {}", seen.direction.at(*end), seen.link.at(*end), seen.oper.at(*end)
                )))
            }
            (entry("Health", seen.health.label()))
            (entry("Service", &match status.maintenance_end {
                Some(end) => format!("{}, until {}", status.maintenance, ages::clock(end)),
                None if status.maintenance == Maintenance::Noop => "noop: none announced".to_owned(),
                None => status.maintenance.label().to_owned(),
            }))
            @if let Some(facts) = &soc.facts {
                (entry("Mux", &format!("linkmgrd wants {} and reports {}, orchagent has set {}{}", facts.intended, facts.linkmgr,
                    facts.orchagent, match facts.consistent(seen.direction.own) {
                        Some(true) => ": as the SoC reports",
                        Some(false) => ": not what the SoC reports",
                        None => "",
                    })))
                (entry("ycabled", &ycabled(&facts.ycabled, seen)))
            }
            (entry("SoC", &format!("{}, version {}", status.target.address, seen.version.as_deref().unwrap_or("unknown"))))
            (entry("Keepalive", &match status.channel.keepalive_rtt {
                Some(rtt) => format!("every {}, last answer after {}", ages::setting(status.channel.keepalive_time), ages::millis(rtt)),
                None => format!("every {}", ages::setting(status.channel.keepalive_time)),
            }))
            @if let Some(expiry) = status.channel.certificate_expiry { (entry("Certificate expires", &ages::clock(expiry))) }
            (entry("Since the start", &counts(status)))
        }
    }
}

/// What ycabled has written, beside what the SoC reports.
fn ycabled(facts: &YcabledFacts, seen: &Observed) -> String {
    let mut parts = Vec::new();
    for (end, answered) in facts.answered.ends() {
        if let Some(answered) = answered {
            let agrees = match facts.agrees(end, *seen.direction.at(end)) {
                Some(true) => " (as the SoC reports)",
                Some(false) => " (not what the SoC reports)",
                None => "",
            };
            parts.push(format!("reported {end} {answered}{agrees} to linkmgrd"));
        }
    }
    for (end, change) in facts.change.ends() {
        if let Some(change) = change {
            let (took, ended) = (ages::millis(change.took), ages::clock(change.ended));
            parts.push(format!("changed {end} to {} in {took}, {ended}", change.to));
        }
    }
    if let Some(heartbeats) = facts.heartbeats {
        let (lost, expected) = (heartbeats.lost, heartbeats.expected);
        parts.push(format!("linkmgrd lost {lost} of {expected} heartbeats"));
    }
    match parts.is_empty() {
        true => "nothing is known".to_owned(),
        false => parts.join("; "),
    }
}

fn entry(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// Dials, READYs and failures.
fn counts(status: &SocStatus) -> String {
    let ready = status.channel.transitions[ChannelState::Ready.index()];
    let failures = Cause::ALL
        .iter()
        .zip(status.channel.failures)
        .filter(|(_, count)| *count > 0);
    let failures: Vec<_> = failures
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    let failures = if failures.is_empty() {
        "none".to_owned()
    } else {
        failures.join(", ")
    };
    let (dials, rounds) = (status.channel.dials, status.rounds);
    format!("rounds: {rounds}, dials: {dials}, times READY: {ready}; failures: {failures}")
}

fn to_do(soc: &SocView) -> Markup {
    html! {
        @match runbook::alert(soc.reason) {
            None => p { "Nothing: all is well." },
            Some(alert) => p {
                "The runbook says what this means, what to check and what to do: " (runbook::section(alert))
                ". If it lasts, this alert fires: " code { (alert) } "."
            },
        }
    }
}

/// The script shows it: without one, nothing here can ask. No `section`, because those are replaced when the port changes.
fn probe_now() -> Markup {
    html! {
        div #probe hidden {
            h2 { "Probe now" }
            p.quiet { "One dial and one round of queries by a connection of its own. Row, metrics and channel stay as they are." }
            p { button type="button" { "Probe now" } " " span role="status" {} }
            pre tabindex="0" aria-label="Result" hidden {}
        }
    }
}

/// An argument of a shell command.
fn in_shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The command that probes this SoC as the exporter does.
fn probe(status: &SocStatus) -> String {
    let target = &status.target;
    let mut command = format!("dualtor-exporter probe {}", in_shell(&target.address.to_string()));
    let mut add = |flag: &str, value: &str| command.push_str(&format!(" {flag} {}", in_shell(value)));
    if target.side != Side::Unknown {
        add("--side", target.side.label());
    }
    if let Security::Tls(tls) = &target.channel.security {
        add("--tls-ca", &tls.ca.to_string_lossy());
        if let Some(client) = &tls.client {
            add("--tls-cert", &client.cert.to_string_lossy());
            add("--tls-key", &client.key.to_string_lossy());
        }
        if let Some(name) = &tls.server_name {
            add("--tls-server-name", name);
        }
    }
    command
}

fn commands(status: &SocStatus) -> Markup {
    let port = status.target.id.port.as_str();
    html! {
        pre tabindex="0" aria-label="Commands" {
            (probe(status)) "\n"
            "redis-cli -n 6 hgetall 'MUX_CABLE_INFO|" (port) "'\n"
            "show muxcable grpc muxdirection " (port) "\n"
            "show muxcable status " (port) "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_an_argument_as_it_is() {
        for (text, expected) in [
            ("127.0.0.1:50075", "127.0.0.1:50075"),
            ("[::1]:50075", "'[::1]:50075'"),
            ("/etc/a b/ca's.crt", r"'/etc/a b/ca'\''s.crt'"),
        ] {
            assert_eq!(in_shell(text), expected);
        }
    }
}
