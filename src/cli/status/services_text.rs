//! The targets of probe modules as text for a terminal. Pure.

use super::api_types::{FleetAnswer, ServiceAnswer, ServiceFields};
use super::status_table::{LONG, WIDTH, ago, before, limited, line};
use crate::model::{PortLevel, ServiceReason};

/// The width of the first column, if no name is longer.
const FIRST: usize = 24;
/// The longest name: that of a module, a slash, and that of a target.
const LONGEST_NAME: usize = 97;

/// A line for each target; a second one for a target that is not well, with what was seen.
pub(super) fn services_text(fleet: &FleetAnswer, services: &[&ServiceAnswer]) -> String {
    let mut out = String::new();
    if services.is_empty() {
        return out;
    }
    line(&mut out, "");
    let names = services.iter().map(|service| service.row.name().chars().count());
    let first = names.max().unwrap_or(0).clamp(FIRST, LONGEST_NAME);
    let width = WIDTH + first - FIRST;
    let titles = ["SERVICE", "LEVEL", "REASON", "CHANNEL", "SINCE", "LAST ROUND"];
    limited(&mut out, &columns(first, titles), width);
    let now = &fleet.fleet.at;
    for service in services {
        let row = &service.row;
        let (name, since) = (row.name(), ago(row.since.as_deref(), now));
        let last = row.last_round.as_ref().map_or("none", |round| &*round.result);
        let level = row.level();
        let fields = [&*name, level.label(), &row.reason, &row.channel, &since, last];
        limited(&mut out, &columns(first, fields), width);
        if level != PortLevel::Ok
            && let Some(wrong) = wrong(row)
        {
            line(&mut out, &format!("    {wrong}"));
        }
    }
    out
}

fn columns(first: usize, [name, level, reason, channel, since, last]: [&str; 6]) -> String {
    format!("{name:<first$} {level:<9}{reason:<21}{channel:<18}{since:<12}{last}")
}

/// What exactly was seen, for people.
fn wrong(row: &ServiceFields) -> Option<String> {
    if row.channel != "ready" {
        let failure = row.last_failure.as_ref()?;
        return Some(format!("{}: {}", failure.cause, failure.text));
    }
    let detail = row.last_round.as_ref().and_then(|round| round.detail.clone());
    let healths = row.health.as_deref().unwrap_or_default();
    let healths = healths
        .iter()
        .map(|health| format!("service \"{}\" is {}", health.service, health.status));
    let found: Vec<String> = healths.chain(detail).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

/// All about one target.
pub(super) fn service_text(fleet: &FleetAnswer, service: &ServiceAnswer) -> String {
    let (row, now) = (&service.row, &fleet.fleet.at);
    let reason = ServiceReason::ALL
        .iter()
        .find(|reason| reason.label() == row.reason);
    let reason = reason.map_or(&*row.reason, |reason| reason.text());
    let mut out = String::new();
    line(&mut out, &format!("{}  {}: {reason}", row.name(), row.level()));
    line(&mut out, "");
    for (name, value) in fields(row, now) {
        limited(&mut out, &format!("{name:<13}{value}"), LONG);
    }
    if !row.rounds.is_empty() {
        line(&mut out, "");
        line(&mut out, "rounds, the newest first");
    }
    for round in &row.rounds {
        let took = round.duration.map(|took| format!("{:.1} ms", took * 1e3));
        let took = took.unwrap_or_else(|| "nothing sent".to_owned());
        let success = if round.success { "success" } else { "no success" };
        let detail = round.detail.as_deref().unwrap_or("");
        let before = before(Some(&round.at), now);
        let text = format!("  {before:<14}{} ({success}) {took} {detail}", round.result);
        limited(&mut out, text.trim_end(), LONG);
    }
    out
}

/// What it is now: names and values.
fn fields(row: &ServiceFields, now: &str) -> Vec<(&'static str, String)> {
    let (since, dials) = (ago(row.since.as_deref(), now), row.dials);
    let times = if dials == 1 { "dial" } else { "dials" };
    let channel = format!("{} for {since}, {dials} {times}, to {}", row.channel, row.address);
    let mut all = vec![("kind", row.kind.clone()), ("channel", channel)];
    for health in row.health.iter().flatten() {
        all.push(("health", format!("{} \"{}\"", health.status, health.service)));
    }
    for service in row.services.iter().flatten() {
        let found = service.compatibility.as_deref().unwrap_or("no client");
        let version = |version: Option<u32>| version.map_or("none".to_owned(), |version| version.to_string());
        let (supported, current) = (version(service.supported), version(service.current));
        let text = format!("\"{}\": versions {supported} to {current}, {found}", service.name);
        all.push(("service", text));
    }
    all.push(("last success", before(row.last_success.as_deref(), now)));
    all.push(("rounds", counted(&row.results)));
    all.push(("failures", counted(&row.failures)));
    if let Some(expiry) = &row.certificate_expiry {
        all.push(("certificate", format!("expires {expiry}")));
    }
    if let Some(failure) = &row.last_failure {
        all.push(("last failure", format!("{}: {}", failure.cause, failure.text)));
    }
    all
}

fn counted(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}
