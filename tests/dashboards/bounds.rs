//! What a view costs, and the least that a reader is shown of each list.

use serde_json::Value;

use crate::lint::{list, panels, renamed, text};
use crate::sight::written;

/// For each dashboard, how often it refreshes and the number of its queries: those of all panels, collapsed ones too, and of its
/// variables. More must be worth its load: a wall of screens asks all of them each time.
const QUERIES: [(&str, &str, usize); 5] = [
    ("dualtor-fleet", "1m", 35),
    ("dualtor-tor", "30s", 30),
    ("dualtor-port", "30s", 39),
    // Two of them in a row that is closed at first.
    ("dualtor-exporter", "30s", 32),
    ("dualtor-services", "30s", 36),
];

/// Points of a row of states per port. With these a *ToR* of 64 ports stays under 3 MB.
const POINTS: u64 = 200;

/// A dashboard asks as much as is written above, and no panel for more points than it needs.
pub(crate) fn load(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dashboard in dashboards {
        let uid = text(dashboard, "uid");
        let of_panels: usize = panels(std::slice::from_ref(dashboard))
            .map(|(_, panel, _)| list(panel, "targets").count())
            .sum();
        let of_variables =
            list(&dashboard["templating"], "list").filter(|variable| variable["type"] == "query");
        let found = (uid, text(dashboard, "refresh"), of_panels + of_variables.count());
        if !QUERIES.contains(&found) {
            complaints.push(format!("{found:?}, expected {QUERIES:?}"));
        }
    }
    for (_, panel, place) in panels(dashboards) {
        let points = panel["maxDataPoints"].as_u64();
        if points.map_or(of_ports(panel), |points| points > POINTS) {
            complaints.push(format!("{place}: {points:?} points, expected {POINTS} at most"));
        }
    }
    complaints
}

/// Whether there is a row of states for each port.
fn of_ports(panel: &Value) -> bool {
    panel["type"] == "state-timeline"
        && list(panel, "targets").any(|target| text(target, "legendFormat") == "{{port}}")
}

/// A list of the worst holds as many as its description says, and the worst, not the best.
pub(crate) fn worst(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        let said: Vec<&str> = text(panel, "description").split_whitespace().collect();
        for target in list(panel, "targets") {
            let query = text(target, "expr");
            if query.contains("bottomk") {
                complaints.push(format!("{place}: the best ones"));
            }
            let bounds = query.split("topk(").skip(1);
            for bound in bounds.filter_map(|rest| rest.split(',').next()) {
                if !said.contains(&bound) {
                    complaints.push(format!(
                        "{place}: {bound} of them, and the description does not say so"
                    ));
                }
            }
        }
    }
    complaints
}

/// A panel is so high that its lists have rows, and its rows have names.
pub(crate) fn heights(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        let rows = list(panel, "targets").count() as u64;
        let least = match text(panel, "type") {
            "stat" => 3,
            // One row.
            "table" if panel["title"] == "SoC" => 4,
            "table" => 8,
            // 64 rows with a label each.
            "state-timeline" if of_ports(panel) => 24,
            "state-timeline" => rows.max(2) + 2,
            // Graphs have a rule of their own: legends.
            _ => 6,
        };
        if panel["gridPos"]["h"].as_u64().unwrap_or_default() < least {
            complaints.push(format!("{place}: not {least} high"));
        }
    }
    complaints
}

/// A panel shows what its queries give, all of it, and of the time that the reader has chosen: a number or a list of now, a graph over
/// time. Nothing is hidden, bridged, averaged or cut off.
pub(crate) fn shown(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        let kind = text(panel, "type");
        let of_now = ["stat", "table"].contains(&kind);
        let asks = |target: &Value| {
            target["instant"] == of_now && target["range"] != of_now && target["hide"] != true
        };
        if !list(panel, "targets").all(asks) {
            complaints.push(format!("{place}: a query is hidden, or not of now or over time"));
        }
        if !panel["timeFrom"].is_null() || !panel["timeShift"].is_null() {
            complaints.push(format!("{place}: a time of its own"));
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        let custom = &defaults["custom"];
        let bridged = ![Value::Null, Value::Bool(false)].contains(&custom["spanNulls"]);
        if bridged || !custom["scaleDistribution"].is_null() || !defaults["max"].is_null() {
            complaints.push(format!(
                "{place}: gaps bridged, another scale, or its top cut off"
            ));
        }
        let options = &panel["options"];
        let last = options["reduceOptions"]["calcs"] == serde_json::json!(["lastNotNull"]);
        if kind == "stat" && !(last && text(options, "textMode").starts_with("value")) {
            complaints.push(format!("{place}: not the last value"));
        }
    }
    complaints
}

/// What is called "Link, self" is the link, and of this ToR's side.
pub(crate) fn sides(dashboards: &[Value]) -> Vec<String> {
    const METRICS: [(&str, &str); 3] = [
        ("Direction", "dualtor_mux_direction{"),
        ("Link", "dualtor_link_state{"),
        ("Operation", "dualtor_oper_state{"),
    ];
    let mut complaints = Vec::new();
    let mut found = 0;
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "state-timeline") {
        for target in list(panel, "targets") {
            let names = [text(target, "legendFormat"), text(panel, "title")];
            let named = names.iter().find_map(|name| name.split_once(", "));
            let Some((what, side)) = named.filter(|(_, side)| ["self", "peer"].contains(side)) else {
                continue;
            };
            found += 1;
            let query = text(target, "expr");
            let other = if side == "self" { "peer" } else { "self" };
            let metric = METRICS.iter().find(|(of, _)| *of == what);
            let fits = query.contains(&format!("side=\"{side}\""))
                && !query.contains(&format!("side=\"{other}\""))
                && metric.is_some_and(|(_, metric)| query.contains(metric));
            if !fits {
                complaints.push(format!("{place}: is not what is called {what}, {side}"));
            }
        }
    }
    if found != 12 {
        complaints.push(format!("{found} rows of a side, expected 12"));
    }
    complaints
}

/// The names of all alerts, from alerts/*.yaml.
fn alert_names() -> Vec<String> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).expect("alerts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let rules = std::fs::read_to_string(&path).expect("rules");
            let found = rules
                .lines()
                .filter_map(|line| line.trim().strip_prefix("- alert: "));
            names.extend(found.map(str::to_owned));
        }
    }
    assert!(names.len() > 30, "{} alerts", names.len());
    names
}

/// The longest name of an alert fits into its column.
pub(crate) fn alert_column(dashboards: &[Value]) -> Vec<String> {
    const PADDING: f64 = 16.0;
    let wanted = alert_names().iter().map(|name| written(name)).fold(0.0, f64::max) + PADDING;
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        if !renamed(panel).any(|(_, column)| column == "Alert") {
            continue;
        }
        let of = list(&panel["fieldConfig"], "overrides").find(|of| of["matcher"]["options"] == "Alert");
        let width =
            of.and_then(|of| list(of, "properties").find(|property| property["id"] == "custom.width"));
        if width.is_none_or(|width| width["value"].as_f64().unwrap_or_default() < wanted) {
            complaints.push(format!("{place}: an alert's name needs {wanted} px"));
        }
    }
    complaints
}
