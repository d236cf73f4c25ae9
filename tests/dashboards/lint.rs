//! The rules for dashboards, over their JSON; what a reader sees of them is in sight.rs. Whether each query is right PromQL, names what exists and returns data is
//! for a Prometheus to say: tests/monitoring.

use std::collections::{BTreeMap, BTreeSet};

use dualtor_exporter::telemetry::catalogue::CATALOGUE;
use serde_json::Value;

use crate::{bounds, meaning, sight};

/// What all dashboards together are blamed for.
type Rule = fn(&[Value]) -> Vec<String>;

pub(crate) const RULES: &[(&str, Rule)] = &[
    ("ids", ids),
    ("data source", data_source),
    ("words", words),
    ("units", units),
    ("layout", layout),
    ("windows", windows),
    ("variables", variables),
    ("links", links),
    ("colours", colours),
    ("targets", targets),
    ("names", names),
    ("linter", linter),
    ("missing", sight::missing),
    ("one meaning", sight::one_meaning),
    ("titles", sight::titles),
    ("columns", sight::columns),
    ("nothing", sight::nothing),
    ("port order", sight::port_order),
    ("legends", sight::legends),
    ("events", sight::events),
    ("alerts", sight::alerts),
    ("severities", sight::severities),
    ("contrast", sight::contrast),
    ("alike", sight::alike),
    ("lines", sight::lines),
    ("link down", sight::link_down),
    ("meanings", meaning::words),
    ("server", meaning::server),
    ("scales", meaning::scales),
    ("orders", meaning::orders),
    ("instead", meaning::instead),
    ("zeros", meaning::zeros),
    ("lists", meaning::lists),
    ("load", bounds::load),
    ("worst", bounds::worst),
    ("heights", bounds::heights),
    ("alert column", bounds::alert_column),
    ("shown", bounds::shown),
    ("sides", bounds::sides),
];

/// What Grafana itself fills in.
const BUILT_IN: [&str; 4] = ["__rate_interval", "__range", "__url_time_range", "__field"];

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What a panel, a target, a variable or an annotation is called.
fn name(object: &Value) -> &str {
    let names = ["title", "refId", "name"].map(|key| text(object, key));
    names.into_iter().find(|name| !name.is_empty()).unwrap_or("?")
}

/// "dualtor-fleet: Servers dark", for complaints.
fn place(dashboard: &Value, panel: &Value) -> String {
    format!("{}: {}", text(dashboard, "uid"), text(panel, "title"))
}

/// All panels of a dashboard, rows and what is in collapsed ones too.
fn all(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").flat_map(|panel| [panel].into_iter().chain(list(panel, "panels")))
}

/// All panels that are no rows, with their dashboards and places.
pub(crate) fn panels(dashboards: &[Value]) -> impl Iterator<Item = (&Value, &Value, String)> {
    dashboards.iter().flat_map(|dashboard| {
        let panels = all(dashboard).filter(|panel| panel["type"] != "row");
        panels.map(move |panel| (dashboard, panel, place(dashboard, panel)))
    })
}

fn queries(dashboards: &[Value]) -> impl Iterator<Item = (&Value, &Value, String)> {
    panels(dashboards).flat_map(|(dashboard, panel, place)| {
        list(panel, "targets")
            .map(move |target| (dashboard, target, format!("{place}, {}", text(target, "refId"))))
    })
}

/// Every object in the JSON.
pub(crate) fn objects<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| objects(value, visit)),
        Value::Object(map) => {
            visit(value);
            map.values().for_each(|value| objects(value, visit));
        }
        _ => {}
    }
}

/// What stands between `open` and the next `close`, each time.
fn between(text: &str, open: char, close: char) -> impl Iterator<Item = &str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split(close).next())
}

fn variable_names(dashboard: &Value) -> BTreeSet<&str> {
    list(&dashboard["templating"], "list")
        .map(|variable| text(variable, "name"))
        .collect()
}

/// Panel ids are unique in a dashboard, uids and titles of dashboards in all.
fn ids(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for key in ["uid", "title"] {
        let all: BTreeSet<&str> = dashboards.iter().map(|dashboard| text(dashboard, key)).collect();
        if all.len() < dashboards.len() {
            complaints.push(format!("not every {key} is unique: {all:?}"));
        }
    }
    for dashboard in dashboards {
        let mut seen = BTreeSet::new();
        for panel in all(dashboard) {
            if !panel["id"].as_u64().is_some_and(|id| seen.insert(id)) {
                complaints.push(format!(
                    "{}: id {} is none or not unique",
                    place(dashboard, panel),
                    panel["id"]
                ));
            }
        }
    }
    complaints
}

/// Whatever asks, asks `${datasource}`.
fn data_source(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dashboard in dashboards {
        let uid = text(dashboard, "uid");
        let is_ours = |object: &Value| {
            object["datasource"]["type"] == "prometheus" && object["datasource"]["uid"] == "${datasource}"
        };
        let (choice, variables): (Vec<_>, Vec<_>) =
            list(&dashboard["templating"], "list").partition(|variable| variable["type"] == "datasource");
        if choice
            .iter()
            .map(|variable| text(variable, "name"))
            .ne(["datasource"])
        {
            complaints.push(format!(
                "{uid}: wants one variable of type datasource, named datasource"
            ));
        }
        let panels = all(dashboard).filter(|panel| panel["type"] != "row");
        let targets = all(dashboard).flat_map(|panel| list(panel, "targets"));
        let must = variables
            .into_iter()
            .chain(list(&dashboard["annotations"], "list"))
            .chain(panels)
            .chain(targets);
        for object in must.filter(|object| object["datasource"].is_null()) {
            complaints.push(format!("{uid}: {}: no data source", name(object)));
        }
        objects(dashboard, &mut |object| {
            if object.get("datasource").is_some() && !is_ours(object) {
                complaints.push(format!(
                    "{uid}: {}: its data source is not ${{datasource}}: {}",
                    name(object),
                    object["datasource"]
                ));
            }
        });
    }
    complaints
}

/// Every panel has a title, and says in sentences what is seen.
fn words(dashboards: &[Value]) -> Vec<String> {
    let titles = dashboards.iter().flat_map(|dashboard| {
        let untitled = all(dashboard).filter(|panel| text(panel, "title").is_empty());
        untitled.map(move |panel| format!("{}: panel {} has no title", text(dashboard, "uid"), panel["id"]))
    });
    let undescribed = panels(dashboards).filter(|(_, panel, _)| !text(panel, "description").ends_with('.'));
    titles
        .chain(undescribed.map(|(.., place)| format!("{place}: no description")))
        .collect()
}

/// Every panel has a unit, every column of numbers its own.
fn units(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        if text(&panel["fieldConfig"]["defaults"], "unit").is_empty() {
            complaints.push(format!("{place}: no unit"));
        }
        let has_unit = |column: &str| {
            list(&panel["fieldConfig"], "overrides").any(|of| {
                of["matcher"]["options"] == column
                    && list(of, "properties")
                        .any(|property| property["id"] == "unit" && property["value"].is_string())
            })
        };
        for (from, to) in renamed(panel) {
            if from.starts_with("Value") && !has_unit(to) {
                complaints.push(format!("{place}: the column {to} has no unit"));
            }
        }
    }
    complaints
}

/// A table's columns: Grafana's names and ours.
pub(crate) fn renamed(panel: &Value) -> impl Iterator<Item = (&str, &str)> {
    list(panel, "transformations")
        .filter_map(|transformation| transformation["options"]["renameByName"].as_object())
        .flatten()
        .map(|(from, to)| (from.as_str(), to.as_str().unwrap_or_default()))
}

/// Panels lie within the page's 24 columns, none on another.
fn layout(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dashboard in dashboards {
        let mut taken = BTreeMap::new();
        for panel in all(dashboard) {
            let place = place(dashboard, panel);
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or_default());
            if w == 0 || h == 0 || x + w > 24 {
                complaints.push(format!("{place}: no place on the page: {}", panel["gridPos"]));
            }
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, panel["id"].clone()) {
                    complaints.push(format!("{place}: lies on panel {other}"));
                    break;
                }
            }
        }
    }
    complaints
}

/// The window of a rate is `$__rate_interval` over time, and in a number of now what the reader has chosen; over time too where it
/// is the same window at each point. Maintenance holds for five minutes, as in the recording rules.
fn windows(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, target, place) in queries(dashboards) {
        let wanted = if target["instant"] == true {
            "$__range"
        } else {
            "$__rate_interval"
        };
        let query = text(target, "expr")
            .replace("[$__range] @ end()", "")
            .replace(r#"state="inprogress"}[5m]"#, "");
        for window in between(&query, '[', ']').filter(|window| *window != wanted) {
            complaints.push(format!("{place}: [{window}], expected [{wanted}]"));
        }
    }
    complaints
}

/// Every selector names the job and the ToR that the reader has chosen, and rack and port, or module and target, where there is one to choose; nothing
/// uses a variable that is not there.
fn variables(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (dashboard, target, place) in queries(dashboards) {
        let (known, query) = (variable_names(dashboard), text(target, "expr"));
        let selectors: Vec<(&str, &str)> = query
            .match_indices('{')
            .filter_map(|(at, _)| {
                let name = query[..at]
                    .rsplit(|c: char| !(c.is_alphanumeric() || "_:".contains(c)))
                    .next();
                Some((name?, query[at + 1..].split('}').next()?))
            })
            .collect();
        if selectors.is_empty() {
            complaints.push(format!("{place}: selects nothing"));
        }
        for (metric, selector) in selectors {
            let mut wanted = vec!["job", "instance"];
            if known.contains("port") && has_label(metric, "port") {
                wanted.extend(["rack", "port"]);
            }
            if known.contains("target") {
                let of_modules = ["module", "target"];
                wanted.extend(of_modules.into_iter().filter(|label| has_label(metric, label)));
            }
            for label in wanted
                .into_iter()
                .filter(|label| !selector.contains(&format!("\"${label}")))
            {
                complaints.push(format!(
                    "{place}: {metric}{{{selector}}} does not ask for ${label}"
                ));
            }
        }
    }
    for dashboard in dashboards {
        let known = variable_names(dashboard);
        let used = |text: &str| -> Vec<String> {
            let name = |text: &str| -> String {
                let name = text.trim_start_matches('{').chars();
                name.take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            // A `$` at the end of a regular expression names nothing, and `$1` is a part of what it has found.
            text.split('$')
                .skip(1)
                .map(name)
                .filter(|name| name.starts_with(|c: char| !c.is_ascii_digit()))
                .collect()
        };
        objects(dashboard, &mut |object| {
            for key in ["expr", "query", "url", "legendFormat"] {
                for name in used(text(object, key)) {
                    let built_in = BUILT_IN.contains(&name.as_str()) || name == "__data";
                    if !built_in && !known.contains(name.as_str()) {
                        complaints.push(format!(
                            "{}: no variable {name}, in {}",
                            text(dashboard, "uid"),
                            object[key]
                        ));
                    }
                }
            }
        });
    }
    complaints
}

fn has_label(metric: &str, label: &str) -> bool {
    let suffixes = ["_bucket", "_sum", "_count"];
    let base = suffixes
        .iter()
        .find_map(|suffix| metric.strip_suffix(suffix))
        .unwrap_or(metric);
    let family = CATALOGUE.iter().find(|family| family.name == base);
    family.is_some_and(|family| family.labels.split(", ").any(|of| of == label))
}

/// The project's address, from Cargo.toml; empty while it has none: then there is no link to the runbook.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The exporter's own page about what a dashboard shows, where it shows one exporter.
fn own_page(uid: &str) -> Option<&'static str> {
    match uid {
        "dualtor-port" => Some("http://${instance}/ports/${port:percentencode}"),
        "dualtor-tor" | "dualtor-exporter" => Some("http://${instance}/"),
        _ => None,
    }
}

/// A dashboard's links lead to all others and to the runbook; every link to a dashboard names one that exists, takes
/// the time along and sets variables that it has.
fn links(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let runbook = format!("{REPOSITORY}/blob/main/docs/runbook.md");
    let find = |url: &str| {
        let uid = url.strip_prefix("/d/")?.split('?').next()?;
        dashboards.iter().find(|dashboard| text(dashboard, "uid") == uid)
    };
    for dashboard in dashboards {
        let uid = text(dashboard, "uid");
        let mut reached = BTreeSet::from([uid]);
        let (mut runbooks, mut pages) = (0, 0);
        for link in list(dashboard, "links") {
            match find(text(link, "url")) {
                Some(_) if link["keepTime"] != true => {
                    complaints.push(format!("{uid}: forgets the time: {link}"))
                }
                Some(other) => _ = reached.insert(text(other, "uid")),
                None if text(link, "url") == runbook => runbooks += 1,
                None if own_page(uid) == Some(text(link, "url")) => pages += 1,
                None => complaints.push(format!("{uid}: leads nowhere: {link}")),
            }
        }
        if reached.len() < dashboards.len() {
            complaints.push(format!("{uid}: leads to {reached:?} only"));
        }
        if runbooks != usize::from(!REPOSITORY.is_empty()) {
            complaints.push(format!("{uid}: {runbooks} links to {runbook:?}"));
        }
        if pages != usize::from(own_page(uid).is_some()) {
            complaints.push(format!("{uid}: {pages} links to the exporter's page"));
        }
        objects(dashboard, &mut |object| {
            let url = text(object, "url");
            if object.get("type").is_none() && !url.is_empty() && !url.contains("${__url_time_range}") {
                complaints.push(format!("{uid}: forgets the time: {url}"));
            }
            let Some(other) = find(url) else {
                if !url.is_empty() && !url.starts_with("https://") && own_page(uid) != Some(url) {
                    complaints.push(format!("{uid}: leads nowhere: {url}"));
                }
                return;
            };
            let known = variable_names(other);
            let parameters = url.split(['?', '&']).skip(1);
            let set = parameters.filter_map(|parameter| match parameter.strip_prefix("var-") {
                Some(parameter) => parameter.split('=').next(),
                None => parameter.strip_prefix("${")?.strip_suffix(":queryparam}"),
            });
            for name in set.filter(|name| !known.contains(name)) {
                complaints.push(format!(
                    "{uid}: sets {name}, which {} does not have: {url}",
                    text(other, "uid")
                ));
            }
        });
    }
    complaints
}

/// The same state has the same colour everywhere, and a text; no timeline is in the mode in which Grafana passes over both.
fn colours(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut colours: BTreeMap<String, &str> = BTreeMap::new();
    for (_, panel, place) in panels(dashboards) {
        if panel["type"] == "state-timeline"
            && panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds"
        {
            complaints.push(format!(
                "{place}: merges by thresholds and passes over the mappings"
            ));
        }
        let mut found: Vec<(&str, &str)> = Vec::new();
        objects(&panel["fieldConfig"], &mut |object| {
            for mapping in
                list(object, "mappings").chain(list(object, "value").filter(|value| value["type"] == "value"))
            {
                if mapping["type"] == "special" {
                    continue; // See sight::missing.
                }
                let results = mapping["options"].as_object().into_iter().flatten();
                found.extend(results.map(|(_, result)| (text(result, "text"), text(result, "color"))));
            }
        });
        for of in list(&panel["fieldConfig"], "overrides") {
            let name = text(&of["matcher"], "options");
            // byRegexp: /(^|\s)OK$/
            let name = name.rsplit(')').next().unwrap_or_default().trim_end_matches("$/");
            let colour = list(of, "properties").find(|property| property["id"] == "color");
            if let Some(colour) = colour.filter(|_| panel["type"] != "table") {
                found.push((name, text(&colour["value"], "fixedColor")));
            }
        }
        for (name, colour) in found {
            let first = colours.entry(name.to_lowercase()).or_insert(colour);
            if name.is_empty() || colour.is_empty() || *first != colour {
                complaints.push(format!("{place}: {name:?} is {colour:?}, elsewhere {first}"));
            }
        }
    }
    complaints
}

/// A panel asks something; each query has a refId of its own, a format that fits the panel, and a legend unless it fills
/// a table.
fn targets(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        let format = match text(panel, "type") {
            "table" => "table",
            // A stat of what labels say.
            "stat" if panel["options"]["reduceOptions"]["fields"] != "" => "table",
            "heatmap" => "heatmap",
            _ => "time_series",
        };
        let mut refs = BTreeSet::new();
        for target in list(panel, "targets") {
            let legend = text(target, "legendFormat");
            if !refs.insert(text(target, "refId")) || target["format"] != format {
                complaints.push(format!("{place}: refId or format: {target}"));
            }
            if format != "table" && (legend.is_empty() || legend == "__auto") {
                complaints.push(format!("{place}: no legend: {target}"));
            }
        }
        if refs.is_empty() || refs.contains("") {
            complaints.push(format!("{place}: asks nothing, or without refId"));
        }
    }
    complaints
}

/// What is set for a column or a line by its name finds one of that name.
fn names(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        let columns = renamed(panel).map(|(_, to)| to);
        let lines = list(panel, "targets").map(|target| text(target, "legendFormat"));
        let known: BTreeSet<&str> = columns.chain(lines).collect();
        for of in list(&panel["fieldConfig"], "overrides").filter(|of| of["matcher"]["id"] == "byName") {
            if !known.contains(text(&of["matcher"], "options")) {
                complaints.push(format!("{place}: nothing is named {}", of["matcher"]["options"]));
            }
        }
    }
    complaints
}

/// Jobs that scrape exporters, as the alerts have it.
const JOBS: &str = "dualtor-exporter.*";

/// Rules of Grafana's dashboard-linter that make sense here; dashboards/.lint says why the others do not. A copy of a dashboard that
/// is edited in Grafana is not updated any more: save it under another name instead.
fn linter(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dashboard in dashboards {
        let uid = text(dashboard, "uid");
        if dashboard["editable"] != false {
            complaints.push(format!("{uid}: editable"));
        }
        for variable in
            list(&dashboard["templating"], "list").filter(|variable| variable["includeAll"] == true)
        {
            let wanted = if name(variable) == "job" { JOBS } else { ".+" };
            if variable["allValue"] != wanted || variable["multi"] != true || variable["refresh"] != 2 {
                complaints.push(format!(
                    "{uid}: {}: expected allValue {wanted}, multi, refresh 2",
                    name(variable)
                ));
            }
        }
    }
    for (_, target, place) in queries(dashboards) {
        let query = text(target, "expr");
        if query.contains(r#"instance="$instance""#) || query.contains(r#"job="$job""#) {
            complaints.push(format!("{place}: = for a variable, expected =~"));
        }
    }
    complaints
}
