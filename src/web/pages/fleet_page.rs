//! The fleet, for 3 a.m.: one sentence, what is wrong with the exporter itself, then all ports, the worst first.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use maud::{Markup, html};

use super::{CUT, PageFrame, ages, cut, fleet_table, footer, runbook, services_table};
use crate::model::{ChannelState, PortLevel, PortReason, Side, View};
use crate::web::api::selection::{Selection, SortBy};
use crate::web::exporter_problems;

/// The buttons, the worst first.
const LEVELS: [PortLevel; 4] = [
    PortLevel::Critical,
    PortLevel::Warning,
    PortLevel::Maintenance,
    PortLevel::Ok,
];

/// The heads of the table, and how a click on each sorts.
const COLUMNS: [(&str, SortBy); 10] = [
    ("Port", SortBy::Port),
    ("State", SortBy::Worst),
    ("Channel since", SortBy::Since),
    ("Self", SortBy::Own),
    ("Peer", SortBy::Peer),
    ("Links", SortBy::Link),
    ("Health", SortBy::Health),
    ("Service", SortBy::Service),
    ("Last success", SortBy::LastSuccess),
    ("Last error", SortBy::LastError),
];

/// The page in pieces, row by row.
pub(super) fn pieces(
    view: View,
    selection: Selection,
    metrics: &str,
) -> impl Iterator<Item = String> + use<> {
    let (total, chosen) = selection.of(&view.socs);
    let page = page(&view, &selection, total, chosen.len(), metrics);
    let (before, after) = cut(&page);
    let rows = (0..chosen.len()).map(move |n| fleet_table::row(&view.socs[chosen[n]], view.at));
    std::iter::once(before).chain(rows).chain([after])
}

fn page(view: &View, selection: &Selection, total: usize, shown: usize, metrics: &str) -> Markup {
    let counts = Counts::of(view);
    let host = &*view.exporter.host;
    let critical = counts.at(PortLevel::Critical) + services_table::critical(view);
    let title = if critical > 0 {
        format!("({critical}) {host}")
    } else {
        host.to_owned()
    };
    let texts: BTreeMap<_, _> = PortReason::ALL
        .iter()
        .map(|reason| (reason.label(), reason.text()))
        .collect();
    let body = html! {
        header {
            h1 { (host) " " small { (side(view)) } }
            p.sentence { strong #counts aria-live="polite" { (counts.sentence()) (services_table::failing(view)) } " " span #rest { (rest(view, &counts)) } }
            (exporter(view))
        }
        main {
            div.tools {
                (levels(selection, &counts))
                label #search hidden { "Filter " input #filter type="search" maxlength="200" value=(selection.search)
                    aria-keyshortcuts="/" placeholder="port, reason, error (press /)"; }
            }
            p #shown hidden[total <= shown] { (shown) " of " (total) " ports are shown: filter to see the others." }
            div.box role="region" aria-label="Ports" tabindex="0" {
                table #ports {
                    thead { tr { @for (name, sort) in COLUMNS { (head(selection, name, sort)) } } }
                    tbody { (CUT) }
                }
            }
            p #none hidden[shown > 0] { "No port matches." }
            (services_table::on_fleet_page(view))
        }
        (footer(view, "", metrics, "api/v1/fleet"))
    };
    let frame = PageFrame {
        title: &title,
        base: "",
        kind: "fleet",
        data: &serde_json::to_string(&texts).unwrap_or_default(),
        refresh: true,
    };
    frame.around(&body)
}

/// Which ToR this is, if it is one.
fn side(view: &View) -> &'static str {
    match view.side_of(&view.socs) {
        Some(Side::Upper) => "upper ToR",
        Some(Side::Lower) => "lower ToR",
        _ if view.is_side_unknown() => "ToR side unknown",
        _ => "",
    }
}

/// How many ports are at which level.
struct Counts {
    levels: [usize; PortLevel::COUNT],
    ready: usize,
    total: usize,
}

impl Counts {
    fn of(view: &View) -> Self {
        let mut levels = [0; PortLevel::COUNT];
        for soc in &view.socs {
            levels[soc.reason.level().index()] += 1;
        }
        let ready = view
            .socs
            .iter()
            .filter(|soc| soc.status.channel.state == ChannelState::Ready);
        Self {
            levels,
            ready: ready.count(),
            total: view.socs.len(),
        }
    }

    fn at(&self, level: PortLevel) -> usize {
        self.levels[level.index()]
    }

    fn sentence(&self) -> String {
        let named = [
            (PortLevel::Critical, "critical"),
            (PortLevel::Warning, "with a warning"),
            (PortLevel::Maintenance, "in maintenance"),
        ];
        let named = named.map(|(level, name)| (self.at(level), name));
        let named: Vec<_> = named
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        match (self.total, &named[..]) {
            (0, _) => "No ports to probe.".to_owned(),
            (total, []) => format!("All {total} ports are well."),
            (total, _) => format!("Of {total} ports: {}.", named.join(", ")),
        }
    }
}

/// The second part of the sentence, which always changes.
fn rest(view: &View, counts: &Counts) -> String {
    let state_db = match (view.state_db, view.exporter.publish) {
        (None, _) => "no rows are written to STATE_DB",
        (Some(db), _) if !db.up => "STATE_DB down",
        (Some(_), "shadow") => "STATE_DB up (shadow)",
        (Some(_), _) => "STATE_DB up",
    };
    let last = view.socs.iter().filter_map(|soc| soc.status.last_success).max();
    let last = last.map_or("no good round yet".to_owned(), |last| {
        format!("last good round {} ago", ages::since(last, view.at))
    });
    let Counts { ready, total, .. } = counts;
    format!("{ready} of {total} channels READY; {state_db}; {last}.")
}

/// What is wrong with the exporter itself.
fn exporter(view: &View) -> Markup {
    let problems = exporter_problems::of(view);
    html! {
        section #exporter aria-label="This exporter" {
            @if problems.is_empty() {
                p.well { "This exporter is well." }
            } @else {
                p { strong { "This exporter has a problem:" } }
                ul { @for problem in &problems { li { (problem.text) " (" (runbook::section(problem.alert)) ")" } } }
            }
        }
    }
}

/// The page's URL with another level or order.
fn url(selection: &Selection, levels: &[PortLevel], sort: SortBy) -> String {
    let mut query = Serializer::new(String::new());
    if !levels.is_empty() {
        let levels: Vec<_> = levels.iter().map(|level| level.label()).collect();
        query.append_pair("level", &levels.join(","));
    }
    if !selection.search.is_empty() {
        query.append_pair("q", &selection.search);
    }
    if sort != SortBy::Worst {
        query.append_pair("sort", sort.label());
    }
    let query = query.finish();
    if query.is_empty() {
        "./".to_owned()
    } else {
        format!("?{query}")
    }
}

fn levels(selection: &Selection, counts: &Counts) -> Markup {
    let button = |levels: &[PortLevel], name: &str, count: usize| {
        let chosen = (selection.levels == levels).then_some("true");
        html! {
            a.level href=(url(selection, levels, selection.sort)) data-level=[levels.first()]
                aria-current=[chosen] { (name) " " b { (count) } }
        }
    };
    html! {
        nav aria-label="Levels" {
            (button(&[], "all", counts.total))
            @for level in LEVELS { (button(&[level], level.label(), counts.at(level))) }
        }
    }
}

fn head(selection: &Selection, name: &str, sort: SortBy) -> Markup {
    let order = match sort {
        SortBy::Since | SortBy::LastError => "descending",
        _ => "ascending",
    };
    let order = (selection.sort == sort).then_some(order);
    html! {
        th scope="col" aria-sort=[order] {
            a href=(url(selection, &selection.levels, sort)) data-sort=(sort.label()) { (name) }
        }
    }
}
