//! The targets of probe modules as a table, the worst first: a part of the fleet's page, and the page `/services`. The page's script
//! takes the part anew from `/services`.

use std::time::SystemTime;

use maud::{Markup, html};

use super::fleet_table::shortened;
use super::{PageFrame, ages, footer};
use crate::model::{ChannelState, Compatibility, ModuleKind, ModuleStatus, PortLevel, Said, View, quoted};
use crate::web::api::service_selection::{JudgedService, ServiceSelection};

/// How many the fleet's page shows: the script asks for as many.
const ON_FLEET_PAGE: usize = 50;

/// The page `/services`.
pub(super) fn page(view: &View, selection: &ServiceSelection, metrics: &str) -> Markup {
    let host = &*view.exporter.host;
    let title = format!("Services of {host}");
    let body = html! {
        header {
            p { a href="./" { "All ports" } }
            h1 { "Services " small { (host) } }
            @if view.module_targets.is_empty() { p.sentence { "No targets of probe modules are configured." } }
        }
        main { (section(view, selection)) }
        (footer(view, "", metrics, "api/v1/targets"))
    };
    let frame = PageFrame {
        title: &title,
        base: "",
        kind: "services",
        data: "",
        refresh: true,
    };
    frame.around(&body)
}

/// On the fleet's page.
pub(super) fn on_fleet_page(view: &View) -> Markup {
    section(view, &ServiceSelection::worst(ON_FLEET_PAGE))
}

/// How many are failing, for the fleet's sentence; empty: none is.
pub(super) fn failing(view: &View) -> String {
    let levels = || JudgedService::all(view).map(|service| service.reason.level());
    let named = [
        (PortLevel::Critical, "critical"),
        (PortLevel::Warning, "with a warning"),
    ];
    let named = named.map(|(level, name)| (levels().filter(|found| *found == level).count(), name));
    let named: Vec<_> = named
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    match view.module_targets.len() {
        _ if named.is_empty() => String::new(),
        1 => format!(" The only service: {}.", named.join(", ")),
        total => format!(" Of {total} services: {}.", named.join(", ")),
    }
}

/// How many are critical.
pub(super) fn critical(view: &View) -> usize {
    let critical = JudgedService::all(view).filter(|service| service.reason.level() == PortLevel::Critical);
    critical.count()
}

/// Nothing without targets.
fn section(view: &View, selection: &ServiceSelection) -> Markup {
    let (total, chosen) = selection.of(view);
    html! {
        @if !view.module_targets.is_empty() {
            section #services aria-labelledby="services-head" {
                h2 #services-head { "Services" }
                @if chosen.len() < total {
                    p.quiet { (chosen.len()) " of " (total) " are shown. " a href="services" { "All services" } }
                }
                @if chosen.is_empty() { p.quiet { "No service matches." } }
                div.box role="region" aria-label="Services" tabindex="0" {
                    table {
                        thead { tr {
                            @for name in ["Service", "State", "Kind", "Channel since", "Last round", "Last success", "What is wrong"] {
                                th scope="col" { (name) }
                            }
                        } }
                        tbody { @for service in &chosen { (row(*service, view.at)) } }
                    }
                }
            }
        }
    }
}

fn row(JudgedService { status, reason }: JudgedService<'_>, now: SystemTime) -> Markup {
    let (level, channel) = (reason.level(), &status.channel);
    html! {
        tr class=(level.label()) {
            th scope="row" { (status.job.spec.name) "/" (status.job.target.name) }
            td { b { (level.label()) } @if level != PortLevel::Ok { " " (reason.text()) } }
            td { (status.job.spec.kind.label()) }
            td { (channel.state.upper()) @if let Some(since) = channel.last_transition { " " (ages::since(since, now)) } }
            td {
                @if let Some(last) = status.asked.recent.back() {
                    (last.result) @if let Some(took) = last.took { ", " (ages::millis(took)) } ", " (ages::since(last.at, now)) " ago"
                } @else { "none" }
            }
            td { @if let Some(last) = status.asked.last_success { (ages::since(last, now)) " ago" } @else { "never" } }
            td { @if level != PortLevel::Ok { (shortened(&wrong(status))) } }
        }
    }
}

/// What exactly was seen, for people.
fn wrong(status: &ModuleStatus) -> String {
    let channel = &status.channel;
    if channel.state != ChannelState::Ready {
        let cause = channel.last_failure.map(|cause| cause.label());
        let seen = [cause, channel.last_detail.as_deref()];
        return seen.into_iter().flatten().collect::<Vec<_>>().join(": ");
    }
    let last = status.asked.recent.back().and_then(|last| last.detail.as_deref());
    let found: Vec<String> = match (&status.job.spec.kind, &status.said) {
        (ModuleKind::GrpcHealth(check), Said::Health(healths)) => {
            let each = check.services.iter().zip(healths);
            let bad = each.filter(|(_, health)| !check.healthy.contains(health));
            bad.map(|(service, health)| format!("service {} is {health}", quoted(service)))
                .collect()
        }
        (_, Said::Services(Some(versions))) => {
            let clients = versions.clients.iter();
            let bad = clients.filter(|(_, found)| *found != Compatibility::Compatible);
            bad.map(|(client, found)| format!("client {}: {found}", quoted(client)))
                .collect()
        }
        _ => Vec::new(),
    };
    let found = found.join(", ");
    match last {
        Some(last) if found.is_empty() => last.to_owned(),
        Some(last) => format!("{found}; {last}"),
        None => found,
    }
}
