//! What a reader sees: colours of what is missing, one meaning per title, what fits into a panel at 1366 pixels, in which order it
//! comes. Measured widths are those of Grafana's font, rounded up: a title that passes here is not cut.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lint::{list, objects, panels, renamed, text};
use crate::meaning::ROW_OF_NONE;

/// The narrowest screen that the dashboards are made for, and what its edges take.
const SCREEN: f64 = 1366.0;
const EDGES: f64 = 48.0;
/// Grafana's columns of a page, and what lies between two panels.
const COLUMNS: f64 = 24.0;
const GAP: f64 = 8.0;
/// The grey of palette.rs.
const GREY: &str = "#707070";

/// The width of a panel in pixels.
fn width(panel: &Value) -> f64 {
    let columns = panel["gridPos"]["w"].as_f64().unwrap_or_default();
    columns * (SCREEN - EDGES) / COLUMNS - GAP
}

/// Every number and state of now says in grey words that it is missing: without that Grafana paints it with the first colour, green
/// or red. So does every column that is painted.
pub(crate) fn missing(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let is_grey = |mappings: &Value| {
        let special = mappings
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["type"] == "special");
        special.is_some_and(|special| {
            let result = &special["options"]["result"];
            special["options"]["match"] == "null+nan"
                && result["color"] == GREY
                && result["text"] == "no data"
        })
    };
    for (_, panel, place) in panels(dashboards) {
        let defaults = &panel["fieldConfig"]["defaults"];
        if panel["type"] == "stat" {
            if !is_grey(&defaults["mappings"]) || defaults["noValue"] != "no data" {
                complaints.push(format!("{place}: what is missing is not grey \"no data\""));
            }
            if panel["options"]["colorMode"] != "background_solid" {
                complaints.push(format!("{place}: its background is not of one colour"));
            }
        }
        for of in list(&panel["fieldConfig"], "overrides") {
            let property = |id: &str| list(of, "properties").find(|property| property["id"] == id);
            let painted =
                property("custom.cellOptions").is_some_and(|one| one["value"]["type"] == "color-background");
            if (painted || property("thresholds").is_some())
                && !property("mappings").is_some_and(|one| is_grey(&one["value"]))
            {
                complaints.push(format!(
                    "{place}: {} has colours for what is missing",
                    of["matcher"]["options"]
                ));
            }
        }
    }
    complaints
}

/// Numbers that *Fleet* has from recording rules and *ToR* from what is scraped. That both count the same is a test of its own:
/// tests/monitoring/numbers.rs.
pub(crate) const COUNTED_TWICE: [&str; 4] = ["Servers dark", "One side out", "Not READY", "Maintenance"];

/// Numbers and states of now with the same title, on any dashboard, mean the same: they are described in the same words, painted by the
/// same scale, and ask the same.
pub(crate) fn one_meaning(dashboards: &[Value]) -> Vec<String> {
    let mut first: BTreeMap<&str, (&Value, String)> = BTreeMap::new();
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "stat") {
        let title = text(panel, "title");
        let (known, elsewhere) = first.entry(title).or_insert((panel, place.clone()));
        let of = |key: &str| panel["fieldConfig"]["defaults"][key] == known["fieldConfig"]["defaults"][key];
        // Of the rack that was chosen, where there is one to choose.
        let expr = |panel: &Value| text(&panel["targets"][0], "expr").replace(r#", rack=~"$rack|""#, "");
        let asks = expr(panel) == expr(known);
        let same = panel["description"] == known["description"]
            && ["mappings", "thresholds", "color"].iter().all(|key| of(key));
        if !same || (!asks && !COUNTED_TWICE.contains(&title)) {
            complaints.push(format!("{place}: means something else than {elsewhere}"));
        }
    }
    complaints
}

/// How light a colour is, from 0 to 1, as WCAG has it; and as Grafana has it, from 0 to 255.
fn lightness(hex: &str) -> (f64, f64) {
    let part = |at: usize| {
        let digits = hex
            .get(at..at + 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        f64::from(digits.unwrap_or_else(|| panic!("no colour: {hex}")))
    };
    let parts = [part(1), part(3), part(5)];
    let linear = parts.map(|part| match part / 255.0 {
        low if low <= 0.03928 => low / 12.92,
        high => ((high + 0.055) / 1.055).powf(2.4),
    });
    let sum =
        |parts: [f64; 3], weights: [f64; 3]| parts.iter().zip(weights).map(|(part, of)| part * of).sum();
    (
        sum(linear, [0.2126, 0.7152, 0.0722]),
        sum(parts, [0.299, 0.587, 0.114]),
    )
}

/// Text on a colour can be read: 4.5 is what WCAG asks for. Grafana writes in black on what is lighter than 180 of its 255, else in
/// white.
pub(crate) fn contrast(dashboards: &[Value]) -> Vec<String> {
    let (black, white) = (lightness("#202226").0, lightness("#F7F8FA").0);
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] != "timeseries") {
        objects(&panel["fieldConfig"], &mut |object| {
            for key in ["color", "fixedColor"] {
                let colour = text(object, key);
                if !colour.starts_with('#') {
                    continue;
                }
                let (wcag, grafana) = lightness(colour);
                let written = if grafana > 180.0 { black } else { white };
                let contrast = (wcag.max(written) + 0.05) / (wcag.min(written) + 0.05);
                if contrast < 4.5 {
                    complaints.push(format!(
                        "{place}: text on {colour} has a contrast of {contrast:.1}"
                    ));
                }
            }
        });
    }
    complaints
}

/// What makes panels alike: states at the left and merged, axes from 0 and of one width, which reach 1 where nothing happens.
pub(crate) fn alike(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (dashboard, panel, place) in panels(dashboards) {
        let (options, defaults) = (&panel["options"], &panel["fieldConfig"]["defaults"]);
        let custom = &defaults["custom"];
        let fits = match text(panel, "type") {
            "state-timeline" => {
                options["mergeValues"] == true
                    && options["alignValue"] == "left"
                    && options["showValue"] == "auto"
            }
            "timeseries" => {
                let least = match text(defaults, "unit") {
                    "none" | "short" | "reqps" | "wps" => Some(1.0),
                    "percentunit" | "s" => Some(0.01),
                    _ => None,
                };
                custom["axisWidth"] == 72
                    && custom["axisSoftMin"] == 0
                    && custom["axisSoftMax"].as_f64() == least
            }
            "table" => list(&panel["fieldConfig"], "overrides").all(|of| {
                let has = |id: &str, value: &str| {
                    list(of, "properties").any(|one| one["id"] == id && one["value"] == value)
                };
                let states = list(of, "properties").any(|one| one["value"]["fixedColor"] == GREY);
                !states || has("custom.align", "left")
            }),
            _ => true,
        };
        // Grafana writes it where nothing is.
        let nothing = text(defaults, "noValue");
        let wanted: &[&str] = match text(panel, "type") {
            "stat" => &["no data"],
            // Of what need not be configured.
            "timeseries" | "heatmap" if dashboard["uid"] == "dualtor-services" => &["no modules", "not used"],
            _ => &[""],
        };
        if !fits || !wanted.contains(&nothing) {
            complaints.push(format!("{place}: looks unlike the others"));
        }
    }
    complaints
}

/// Lines of one graph can be told apart: those with names of their own by a colour or dashes of their own, those of a label by more
/// than shades of one colour.
pub(crate) fn lines(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "timeseries") {
        let looks = |name: &str| {
            let of = list(&panel["fieldConfig"], "overrides").find(|of| of["matcher"]["options"] == name)?;
            let properties: Vec<String> = list(of, "properties")
                .map(|one| one["value"].to_string())
                .collect();
            Some(properties.join(" "))
        };
        let names: Vec<&str> = list(panel, "targets")
            .map(|target| text(target, "legendFormat"))
            .collect();
        let mut seen: Vec<String> = names.iter().filter_map(|name| looks(name)).collect();
        seen.sort();
        seen.dedup();
        let many = panel["options"]["legend"]["placement"] == "right";
        let by_name = list(&panel["fieldConfig"], "overrides").next().is_some();
        let shades = panel["fieldConfig"]["defaults"]["color"]["mode"] == "shades";
        if (names.len() > 1 && seen.len() < names.len()) || (many && shades && !by_name) {
            complaints.push(format!("{place}: its lines look alike"));
        }
    }
    complaints
}

/// What passes on a side of a port is its direction, unless the link of that side is down.
pub(crate) fn link_down(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut found = 0;
    for (dashboard, panel, place) in panels(dashboards) {
        // *Port* has a row for each.
        for target in list(panel, "targets").filter(|_| dashboard["uid"] != "dualtor-port") {
            let query = text(target, "expr");
            let states = query.contains(r#"state="active""#);
            for side in ["self", "peer"] {
                let of_side = format!(r#"side="{side}", state="#);
                if !states || !query.contains(&of_side) {
                    continue;
                }
                found += 1;
                let links = query.split("dualtor_link_state{").skip(1);
                let has = links
                    .filter_map(|rest| rest.split('}').next())
                    .any(|labels| labels.contains(&format!(r#"side="{side}", state="down""#)));
                if !has {
                    complaints.push(format!("{place}: {side} is active with its link down"));
                }
            }
        }
    }
    if found != 4 {
        complaints.push(format!("{found} queries of what passes on a side, expected 4"));
    }
    complaints
}

/// About as wide as Grafana writes it in a title, in pixels.
pub(crate) fn written(title: &str) -> f64 {
    let letter = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | ' ' | ',' | '.' | '\'' => 4.0,
        't' | 'f' | 'r' => 5.0,
        'm' | 'w' | 'M' | 'W' => 12.0,
        c if c.is_uppercase() => 10.0,
        _ => 8.5,
    };
    title.chars().map(letter).sum()
}

/// A title fits beside the sign that shows the description.
pub(crate) fn titles(dashboards: &[Value]) -> Vec<String> {
    const SIGN: f64 = 60.0;
    let too_long =
        panels(dashboards).filter(|(_, panel, _)| written(text(panel, "title")) + SIGN > width(panel));
    too_long
        .map(|(_, panel, place)| format!("{place}: wider than its panel of {:.0} px", width(panel)))
        .collect()
}

/// A table's columns fit into it: those that have a width, and Grafana's 150 pixels for each other. What `topk` bounds needs no pages.
pub(crate) fn columns(dashboards: &[Value]) -> Vec<String> {
    const WITHOUT: f64 = 150.0;
    const PADDING: f64 = 16.0;
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "table") {
        let width_of = |column: &str| {
            let of_column =
                list(&panel["fieldConfig"], "overrides").find(|of| of["matcher"]["options"] == column)?;
            let property = list(of_column, "properties").find(|property| property["id"] == "custom.width")?;
            property["value"].as_f64()
        };
        let wanted: f64 = renamed(panel)
            .map(|(_, column)| width_of(column).unwrap_or(WITHOUT))
            .sum();
        if wanted + PADDING > width(panel) {
            complaints.push(format!(
                "{place}: columns of {wanted:.0} px in {:.0}",
                width(panel)
            ));
        }
        let bounded = list(panel, "targets").any(|target| text(target, "expr").contains("topk("));
        if bounded && panel["options"]["footer"]["enablePagination"] == true {
            complaints.push(format!("{place}: pages of what topk bounds"));
        }
    }
    complaints
}

/// A list of the worst has nothing in it that is not bad at all.
pub(crate) fn nothing(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "table") {
        for target in list(panel, "targets") {
            // Firing alerts have no zeros; the row of none is no zero.
            let query = text(target, "expr").split(ROW_OF_NONE).next().unwrap_or_default();
            let alerts = query.contains("ALERTS{");
            if query.starts_with("topk(") && !alerts && !query.ends_with("> 0)") {
                complaints.push(format!("{place}: {} fills up with zeros", text(target, "refId")));
            }
        }
    }
    complaints
}

/// The end of a query whose series come in the order of their ports' numbers: each number with four digits, in a label.
const BY_NUMBER: &str = concat!(
    r#", "by_number", "0000$1/0000$2/0000$3", "port", "\\D*(\\d+)\\D*(\\d*)\\D*(\\d*).*"), "#,
    r#""by_number", "$1/$2/$3", "by_number", "\\d*(\\d\\d\\d\\d)/\\d*(\\d\\d\\d\\d)/\\d*(\\d\\d\\d\\d)")"#,
);

/// Rows of ports stand in the order of their numbers: Ethernet4 before Ethernet12. Prometheus and Grafana sort text.
pub(crate) fn port_order(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        for target in list(panel, "targets") {
            // The query of all rows, and nothing but the two steps around it.
            let query = text(target, "expr");
            let by_number = query
                .strip_prefix(&"label_replace(".repeat(2))
                .is_some_and(|query| query.ends_with(BY_NUMBER));
            if panel["type"] == "state-timeline" && text(target, "legendFormat") == "{{port}}" && !by_number {
                complaints.push(format!("{place}: its ports are in the order of text"));
            }
        }
        let has_port = renamed(panel).any(|(from, _)| from == "port");
        let sorted = list(&panel["options"], "sortBy").next().is_some()
            || list(panel, "transformations")
                .any(|one| one["id"] == "sortBy" && one["options"]["sort"][0]["field"] == "by_number");
        if panel["type"] == "table" && has_port && !sorted {
            complaints.push(format!("{place}: its rows are in no order"));
        }
    }
    complaints
}

/// Names of many lines stand at the right, where a table has room for ten; below the graph it has room for two.
pub(crate) fn legends(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (dashboard, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "timeseries")
    {
        let one_line = |legend: &str| {
            let of_one_tor = dashboard["uid"] != "dualtor-fleet" && legend == "{{instance}}";
            // ok and error.
            !legend.contains("{{")
                || of_one_tor
                || (legend == "{{result}}" && place.ends_with("Rows written"))
        };
        let lines = list(panel, "targets").count();
        let many = lines > 2 || list(panel, "targets").any(|target| !one_line(text(target, "legendFormat")));
        let right = panel["options"]["legend"]["placement"] == "right";
        let height = panel["gridPos"]["h"].as_u64().unwrap_or_default();
        if many != right || height < if many || lines > 1 { 7 } else { 6 } {
            complaints.push(format!("{place}: not all names of its lines are seen"));
        }
    }
    complaints
}

/// Events come in ones: no panel shows 1.07 of them.
pub(crate) fn events(dashboards: &[Value]) -> Vec<String> {
    let counts = panels(dashboards).filter(|(_, panel, _)| {
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        let increases = |target: &Value| text(target, "expr").contains("increase(");
        ["none", "short"].contains(&unit)
            && panel["type"] != "state-timeline"
            && list(panel, "targets").any(increases)
    });
    let fractions = counts.filter(|(_, panel, _)| panel["fieldConfig"]["defaults"]["decimals"] != 0);
    fractions
        .map(|(.., place)| format!("{place}: fractions of events"))
        .collect()
}

/// Only critical alerts are marked in the graphs until the reader asks for more, one mark for all ports of a ToR.
pub(crate) fn alerts(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for dashboard in dashboards {
        let marks = list(&dashboard["annotations"], "list");
        let shown: Vec<&str> = marks
            .filter(|mark| mark["enable"] == true)
            .map(|mark| text(mark, "expr"))
            .collect();
        let fits = shown.len() == 1
            && shown[0].contains(r#"severity="critical""#)
            && shown[0].starts_with("max by (alertname, severity, rack, instance) (");
        if !fits {
            complaints.push(format!("{}: marks {shown:?}", text(dashboard, "uid")));
        }
    }
    complaints
}

/// *Fleet*'s two numbers of alerts share out all that there are: those that page, and the others.
pub(crate) fn severities(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (title, wanted) in [
        ("Critical", r#"severity="critical""#),
        ("Other alerts", r#"severity!="critical""#),
    ] {
        let counts =
            panels(dashboards).find(|(_, panel, _)| panel["type"] == "stat" && panel["title"] == title);
        let query = counts.map_or("", |(_, panel, _)| text(&panel["targets"][0], "expr"));
        // What is muted is left out by name, of whatever severity.
        let named: Vec<&str> = query
            .split("severity")
            .skip(1)
            .filter_map(|rest| rest.split(',').next())
            .collect();
        if named != [&wanted["severity".len()..]] {
            complaints.push(format!("{title} counts {named:?}"));
        }
    }
    complaints
}
