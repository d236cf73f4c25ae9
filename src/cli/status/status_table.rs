//! Answers of the API as text for a terminal of 100 columns. Pure: now is the time at which the exporter answered, so this host's
//! clock does not matter.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::api_types::{
    EndFields, ErrorFields, FleetAnswer, MuxFields, PortAnswer, PortFields, RoundFields, TransitionFields,
};
use crate::model::{PortLevel, PortReason, Query, text};

/// The widest line of the table, characters.
pub(super) const WIDTH: usize = 100;
/// The width of the first column, if no name is longer.
const FIRST: usize = 14;
/// The longest name: that of a rack, a bar, and that of a port.
const LONGEST_NAME: usize = 129;
/// The longest line about one port, characters: a detail in full.
pub(super) const LONG: usize = 400;

/// The fleet, and a line for each port; a second line for one that is not well, with its last error.
pub(super) fn fleet_text(fleet: &FleetAnswer, ports: &[&PortAnswer]) -> String {
    let mut out = head(fleet);
    if ports.is_empty() {
        return out;
    }
    line(&mut out, "");
    // Names are never cut: they are what people copy. A longer one makes the table wider.
    let names = ports.iter().map(|port| port.row.port.chars().count());
    let first = names.max().unwrap_or(0).clamp(FIRST, LONGEST_NAME);
    let width = WIDTH + first - FIRST;
    let title = columns(
        first,
        ["PORT", "LEVEL", "REASON", "CHANNEL", "SINCE", "SELF", "PEER"],
    );
    limited(&mut out, &title, width);
    let now = &fleet.fleet.at;
    for port in ports {
        let row = &port.row;
        let since = ago(row.since.as_deref(), now);
        let level = row.level();
        let (own, peer) = (end(&row.own), end(&row.peer));
        let fields = [
            &*row.port,
            level.label(),
            &*row.reason,
            &*row.channel,
            &*since,
            &*own,
            &*peer,
        ];
        limited(&mut out, &columns(first, fields), width);
        if let (PortLevel::Warning | PortLevel::Critical, Some(error)) = (level, &row.last_error) {
            line(&mut out, &format!("    {}", error_text(error, now)));
        }
    }
    out
}

/// All about one port.
pub(super) fn port_text(fleet: &FleetAnswer, port: &PortAnswer) -> String {
    let (row, now) = (&port.row, &fleet.fleet.at);
    let mut out = String::new();
    let reason = PortReason::ALL.iter().find(|reason| reason.label() == row.reason);
    let reason = reason.map_or(&*row.reason, |reason| reason.text());
    line(&mut out, &format!("{}  {}: {reason}", row.port, row.level()));
    line(&mut out, "");
    for (name, value) in fields(row, now) {
        limited(&mut out, &format!("{name:<13}{value}"), LONG);
    }
    histories(&mut out, row);
    out
}

/// What it is now: names and values.
fn fields(row: &PortFields, now: &str) -> Vec<(&'static str, String)> {
    let since = ago(row.since.as_deref(), now);
    let end = |end: &EndFields| format!("{}, link {}, operation {}", end.direction, end.link, end.oper);
    let rtt = row
        .keepalive
        .rtt
        .map_or("unknown".to_owned(), |rtt| format!("{:.1} ms", rtt * 1e3));
    let failures = row
        .failures
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"));
    let failures: Vec<String> = failures.collect();
    [
        (
            "channel",
            Some(format!(
                "{} for {since}, {} {}, to {}",
                row.channel,
                row.dials,
                if row.dials == 1 { "dial" } else { "dials" },
                row.address
            )),
        ),
        ("self", Some(end(&row.own))),
        ("peer", Some(end(&row.peer))),
        ("mux", row.mux.as_ref().map(mux_text)),
        ("health", Some(row.health.clone())),
        ("maintenance", Some(maintenance(&row.service))),
        (
            "version",
            Some(row.version.clone().unwrap_or_else(|| "unknown".to_owned())),
        ),
        ("last success", Some(before(row.last_success.as_deref(), now))),
        (
            "keepalive",
            Some(format!(
                "every {} s, last round trip {rtt}",
                row.keepalive.interval
            )),
        ),
        (
            "certificate",
            row.certificate_expiry
                .as_ref()
                .map(|expiry| format!("expires {expiry}")),
        ),
        (
            "last error",
            row.last_error.as_ref().map(|error| error_text(error, now)),
        ),
        (
            "failures",
            Some(failures.join(", ")).filter(|failures| !failures.is_empty()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// The word for none is SONiC's, and says little to people.
fn maintenance(service: &str) -> String {
    match service {
        "noop" => "noop: none announced".to_owned(),
        service => service.to_owned(),
    }
}

fn mux_text(mux: &MuxFields) -> String {
    let consistent = match mux.consistent {
        Some(true) => "the SoC reports the same",
        Some(false) => "the SoC reports another state",
        None => "not comparable",
    };
    let MuxFields {
        intended,
        orchagent,
        linkmgr,
        ..
    } = mux;
    format!("linkmgrd wants {intended} ({consistent}), orchagent: {orchagent}, linkmgrd's health: {linkmgr}")
}

fn histories(out: &mut String, row: &PortFields) {
    if !row.transitions.is_empty() {
        out.push_str("\ntransitions, newest first\n");
        for transition in &row.transitions {
            limited(out, &transition_text(transition), LONG);
        }
    }
    for (title, rounds) in [("failed rounds", &row.failed_rounds), ("rounds", &row.rounds)] {
        if !rounds.is_empty() {
            line(out, "");
            line(out, &format!("{title}, newest first"));
            for round in rounds {
                limited(out, &round_text(round), LONG);
            }
        }
    }
}

fn transition_text(transition: &TransitionFields) -> String {
    let TransitionFields {
        at,
        kind,
        side,
        from,
        to,
        cause,
        detail,
    } = transition;
    let side = side.as_ref().map_or(String::new(), |side| format!(" {side}"));
    let why: Vec<&str> = [cause, detail]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {}", why.join(": "))
    };
    format!("  {at}  {kind}{side} {from} -> {to}{why}")
}

/// How long it took, and which queries ended how: `4.1 ms  OK: admin, operation, link, version, health`.
fn round_text(round: &RoundFields) -> String {
    let mut by_result: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for query in Query::ALL {
        if let Some(outcome) = round.queries.get(query.label()) {
            by_result.entry(&outcome.result).or_default().push(query.label());
        }
    }
    let results = by_result
        .iter()
        .map(|(result, queries)| format!("{result}: {}", queries.join(", ")));
    let results: Vec<String> = results.collect();
    format!(
        "  {}  {:>7.1} ms  {}",
        round.at,
        round.duration * 1e3,
        results.join("; ")
    )
}

/// One sentence on the fleet, and what is wrong with the exporter itself: as the exporter judges it.
fn head(fleet: &FleetAnswer) -> String {
    let all = &fleet.fleet;
    let count = |level: PortLevel| all.counts.level.get(level.label()).copied().unwrap_or(0);
    let counts = [
        (count(PortLevel::Critical), "critical"),
        (count(PortLevel::Warning), "warning"),
        (count(PortLevel::Maintenance), "in maintenance"),
        (count(PortLevel::Ok), "ok"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let ports = match (all.counts.ports, counts.is_empty()) {
        (0, _) | (_, true) => "no ports".to_owned(),
        (1, _) => format!("1 port: {}", counts.join(", ")),
        (n, _) => format!("{n} ports: {}", counts.join(", ")),
    };
    let success = before(all.last_success.as_deref(), &all.at);
    let mut out = String::new();
    line(
        &mut out,
        &format!("{} ({}), {ports}; last good round {success}", all.host, all.side),
    );
    for problem in &all.exporter_problems {
        wrapped(&mut out, &format!("! {}: {}", problem.alert, problem.text));
    }
    out
}

/// A direction, and the link if it is not up.
fn end(end: &EndFields) -> String {
    match &*end.link {
        "down" => "link down".to_owned(),
        _ => end.direction.clone(),
    }
}

fn error_text(error: &ErrorFields, now: &str) -> String {
    let query = error
        .query
        .as_ref()
        .map_or(String::new(), |query| format!("{query} "));
    format!(
        "{}: {query}{}: {}",
        before(Some(&error.at), now),
        error.cause,
        error.text
    )
}

/// `first`: the width of the first column.
fn columns(first: usize, fields: [&str; 7]) -> String {
    let [port, level, reason, channel, since, own, peer] = fields;
    let port = text::shorten(port, first);
    let line = format!("{port:<first$} {level:<11} {reason:<20} {channel:<17} {since:<12} {own:<9} {peer}");
    line.trim_end().to_owned()
}

/// Adds a line that fits the terminal and cannot control it.
pub(super) fn line(out: &mut String, text: &str) {
    limited(out, text, WIDTH);
}

/// Adds a text in as many lines as it needs.
fn wrapped(out: &mut String, text: &str) {
    let mut current = String::new();
    for word in text.split_whitespace() {
        if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(out, &current);
            current = " ".to_owned();
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    line(out, &current);
}

pub(super) fn limited(out: &mut String, text: &str, width: usize) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{}", text::shorten(text, width));
}

/// `3 min 12 s ago`, or `never`.
pub(super) fn before(then: Option<&str>, now: &str) -> String {
    match then {
        Some(_) => format!("{} ago", ago(then, now)),
        None => "never".to_owned(),
    }
}

/// The time from `then` to `now` in words.
pub(super) fn ago(then: Option<&str>, now: &str) -> String {
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(DateTime::<Utc>::from);
    let Some((then, now)) = then.and_then(time).zip(time(now)) else {
        return "-".to_owned();
    };
    text::span((now - then).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_exporter_is_shown_in_full() {
        let problems = [
            (
                "DualTorSideUnknown",
                "it is unknown whether this is the upper or the lower ToR".to_owned(),
            ),
            (
                "DualTorInventoryProblems",
                format!(
                    "rows that cannot be used: {}",
                    "Ethernet4: no address; ".repeat(9)
                ),
            ),
        ];
        let problems = problems.map(|(alert, text)| serde_json::json!({"alert": alert, "text": text}));
        let fleet = serde_json::json!({"host": "tor-a", "side": "unknown", "exporter_problems": problems});
        let fleet: FleetAnswer = serde_json::from_value(fleet).expect("an answer");
        let shown = fleet_text(&fleet, &[]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[1],
            "! DualTorSideUnknown: it is unknown whether this is the upper or the lower ToR"
        );
        assert!(
            lines[2].starts_with("! DualTorInventoryProblems: rows that") && lines.len() > 4,
            "{lines:#?}"
        );
        assert!(
            lines[3..]
                .iter()
                .all(|line| line.starts_with("  ") && !line.starts_with("   ")),
            "{lines:#?}"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(shown.matches("address;").count(), 9);
    }

    #[test]
    fn the_details_of_a_port_are_words() {
        let fleet: FleetAnswer = serde_json::from_value(serde_json::json!({})).expect("an answer");
        let row = serde_json::json!({"port": "Ethernet0", "channel": "ready", "dials": 2, "service": "noop"});
        let port: PortAnswer = serde_json::from_value(row).expect("a row");
        let shown = port_text(&fleet, &port);
        for words in ["maintenance  noop: none announced\n", ", 2 dials, to "] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }

    #[test]
    fn a_long_name_is_shown_in_full() {
        let fleet: FleetAnswer =
            serde_json::from_value(serde_json::json!({"host": "tor-a"})).expect("an answer");
        let port = |name: &str| {
            let row =
                serde_json::json!({"port": name, "level": "ok", "reason": "healthy", "channel": "ready"});
            serde_json::from_value::<PortAnswer>(row).expect("a row")
        };
        let longest = format!("{}|{}", "r".repeat(64), "p".repeat(64));
        for names in [
            &["Ethernet0"][..],
            &["Ethernet0", "PortChannel1000-a"],
            &["Ethernet0", &longest],
        ] {
            let ports: Vec<_> = names.iter().map(|name| port(name)).collect();
            let shown = fleet_text(&fleet, &ports.iter().collect::<Vec<_>>());
            let lines: Vec<&str> = shown.lines().skip(2).collect();
            let at = lines[0].find("LEVEL").expect("a title");
            for (line, name) in lines[1..].iter().zip(names) {
                assert_eq!(
                    (line[..at].trim_end(), &line[at..at + 3]),
                    (*name, "ok "),
                    "{shown}"
                );
            }
        }
    }
}
