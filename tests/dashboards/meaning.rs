//! What the colours, words and orders mean: tables of their own, so that a change in the generator alone is noticed. Whether a query counts
//! what its words say is for a Prometheus: tests/monitoring/numbers.rs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::lint::{list, objects, panels, renamed, text};

const GREEN: &str = "#00815E";
const LIGHT_BLUE: &str = "#7FCAF5";
const YELLOW: &str = "#F0E442";
const ORANGE: &str = "#F2B233";
const RED: &str = "#BF4F00";
const PURPLE: &str = "#DFA3C6";
const GREY: &str = "#707070";
const DARK_BLUE: &str = "#0072B2";

/// Each word that a number stands for, by what its colour says: right, standby, on its way, not good, broken, maintenance, not known,
/// neither.
const WORDS: [(&str, &[&str]); 8] = [
    (
        GREEN,
        &[
            "READY",
            "active",
            "up",
            "serving",
            "noop",
            "healthy",
            "agrees",
            "loaded",
            "OK",
            "both sides",
            "none",
            "success",
            "compatible",
        ],
    ),
    (LIGHT_BLUE, &["standby"]),
    (YELLOW, &["CONNECTING", "IDLE", "uninitialized"]),
    (
        ORANGE,
        &[
            "service_unknown",
            "DEADLINE_EXCEEDED",
            "some failed",
            "one side only",
            "at most one side",
            "warning",
        ],
    ),
    (
        RED,
        &[
            "TRANSIENT_FAILURE",
            "down",
            "not_serving",
            "unhealthy",
            "differs",
            "refused",
            "UNAVAILABLE",
            "another failure",
            "dark",
            "link down",
            "critical",
            "error",
            "failed",
            "server_too_old",
            "client_too_old",
            "missing",
        ],
    ),
    (PURPLE, &["inprogress"]),
    (
        GREY,
        &[
            "SHUTDOWN",
            "unknown",
            "link unknown",
            "unimplemented",
            "UNIMPLEMENTED",
            "muted",
            "no data",
            "no TLS",
            "not shown yet",
            "not used",
            "not known",
            "not announced",
            "never",
            "no modules",
        ],
    ),
    (DARK_BLUE, &["upper", "lower", "EMPTY_REPLY", "info"]),
];

/// How the row "none" of a list is made.
pub(crate) const ROW_OF_NONE: &str = "\nor on () label_replace(";

/// All value mappings of a panel, wherever they stand: number, text, colour.
fn mapped(panel: &Value) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    objects(&panel["fieldConfig"], &mut |object| {
        let lists = list(object, "mappings").chain(list(object, "value"));
        for mapping in lists {
            match text(mapping, "type") {
                "value" => {
                    let results = mapping["options"].as_object().into_iter().flatten();
                    found
                        .extend(results.map(|(number, of)| (&**number, text(of, "text"), text(of, "color"))));
                }
                "special" => {
                    let of = &mapping["options"]["result"];
                    found.push(("", text(of, "text"), text(of, "color")));
                }
                _ => {}
            }
        }
    });
    found
}

/// A word has its colour, and there is no word that is not in the table.
pub(crate) fn words(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["title"] != "Why") {
        for (_, word, colour) in mapped(panel) {
            // The other cells of the row "none".
            if (word, colour) == (" ", "transparent") {
                continue;
            }
            let known = WORDS.iter().find(|(_, words)| words.contains(&word));
            if known.is_none_or(|(wanted, _)| *wanted != colour) {
                complaints.push(format!("{place}: {word:?} is {colour}"));
            }
        }
    }
    complaints
}

/// What a side is to the server, by the words of *Why*: it carries traffic, it carries none, or that is unknown. No other word is known.
fn carries(side: &str) -> Option<Option<bool>> {
    match side {
        "active" => Some(Some(true)),
        "standby" | "link down" => Some(Some(false)),
        "unknown" | "link unknown" => Some(None),
        _ => None,
    }
}

/// The word that follows from a reason.
fn word(reason: &str) -> Option<&'static str> {
    let sides = match reason {
        "both links are down" | "both sides standby" => [Some(false); 2],
        "both sides active" => [Some(true); 2],
        "both sides active, links unknown"
        | "both directions unknown"
        | "the exporter does not answer"
        | "which side is which is unknown" => [None; 2],
        reason => {
            let (own, peer) = reason.strip_prefix("self ")?.split_once(", peer ")?;
            [carries(own)?, carries(peer)?]
        }
    };
    Some(match sides {
        [Some(false), Some(false)] => "dark",
        [Some(true), Some(true)] => "both sides",
        [Some(false), Some(true)] | [Some(true), Some(false)] => "one side only",
        [Some(false), None] | [None, Some(false)] => "at most one side",
        [None | Some(true), _] => "unknown",
    })
}

/// What *Port* begins with: the word and its reason say the same, in one colour.
pub(crate) fn server(dashboards: &[Value]) -> Vec<String> {
    let of = |title: &str| {
        let found = panels(dashboards)
            .find(|(dashboard, panel, _)| dashboard["uid"] == "dualtor-port" && panel["title"] == title);
        let (_, panel, _) = found.unwrap_or_else(|| panic!("no panel {title}"));
        let numbers = mapped(panel)
            .into_iter()
            .filter(|(number, ..)| !number.is_empty());
        let numbers: BTreeMap<&str, (&str, &str)> = numbers
            .map(|(number, text, colour)| (number, (text, colour)))
            .collect();
        (numbers, &panel["targets"][0]["expr"])
    };
    let ((words, asked), (reasons, asked_why)) = (of("Server"), of("Why"));
    let mut complaints = Vec::new();
    if asked != asked_why || !words.keys().eq(reasons.keys()) || words.len() != 27 {
        complaints.push("Server and Why ask for something else".to_owned());
    }
    for (number, (reason, colour)) in reasons {
        let wanted = word(reason).map(|word| (word, colour));
        if wanted.is_none() || words.get(number).copied() != wanted {
            complaints.push(format!("{number}: {reason:?} is {:?}", words.get(number)));
        }
    }
    complaints
}

/// From which values on a number has which colour.
type Scale = &'static [(Option<f64>, &'static str)];

/// From which value on a number is bad, by the title of its panel or column, and the colours up to there and from there on.
const SCALES: [(&str, Scale); 30] = {
    const BAD: Scale = &[(None, GREEN), (Some(1.0), RED)];
    const WARNING: Scale = &[(None, GREEN), (Some(1.0), ORANGE)];
    const SHARE: Scale = &[(None, GREEN), (Some(0.01), ORANGE)];
    const SERVICE: Scale = &[(None, GREEN), (Some(1.0), PURPLE)];
    const AGE: Scale = &[(None, GREEN), (Some(300.0), RED)];
    const LEFT: Scale = &[
        (None, RED),
        (Some(7.0 * 86_400.0), ORANGE),
        (Some(30.0 * 86_400.0), GREEN),
    ];
    [
        ("Critical", BAD),
        ("Other alerts", WARNING),
        ("Servers dark", BAD),
        ("One side out", WARNING),
        ("Not READY", BAD),
        ("Maintenance", SERVICE),
        ("Not scraped", BAD),
        ("Unanswered", SHARE),
        ("Channel lost", WARNING),
        ("Last good answer", AGE),
        ("Bad rows", BAD),
        ("Certificate expires", LEFT),
        ("Own certificates expire", LEFT),
        ("First SoC's certificate expires", LEFT),
        // Columns of ToRs.
        ("ToRs: Not READY", BAD),
        ("ToRs: Dark", BAD),
        ("ToRs: One side out", WARNING),
        ("ToRs: Maintenance", SERVICE),
        ("ToRs: Errors, 5m", SHARE),
        ("ToRs: Errors, 1h", SHARE),
        // Of the targets of modules.
        ("Down", BAD),
        ("Failing", BAD),
        ("Bad replies", WARNING),
        ("Not serving", BAD),
        ("Incompatible", BAD),
        ("Not in FIB", BAD),
        ("Certificate", LEFT),
        ("All targets: Errors", WARNING),
        // No thresholds: a number that says neither good nor bad.
        ("ToRs", &[]),
        ("Ports", &[]),
    ]
};

/// Each number is good and bad where the table says so.
pub(crate) fn scales(dashboards: &[Value]) -> Vec<String> {
    let steps = |thresholds: &Value| -> Vec<(Option<f64>, String)> {
        let steps = list(thresholds, "steps");
        steps
            .map(|step| (step["value"].as_f64(), text(step, "color").to_owned()))
            .collect()
    };
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    let mut check = |name: &str, place: &str, found: Vec<(Option<f64>, String)>| {
        let wanted = SCALES.iter().find(|(title, _)| *title == name);
        let fits = match wanted {
            Some((title, wanted)) => {
                seen.insert(*title);
                wanted
                    .iter()
                    .map(|(value, colour)| (*value, (*colour).to_owned()))
                    .eq(found)
            }
            None => found.is_empty(),
        };
        if !fits {
            complaints.push(format!("{place}: {name} is good or bad elsewhere"));
        }
    };
    for (_, panel, place) in panels(dashboards) {
        if panel["type"] == "stat" {
            check(
                text(panel, "title"),
                &place,
                steps(&panel["fieldConfig"]["defaults"]["thresholds"]),
            );
        }
        for of in list(&panel["fieldConfig"], "overrides") {
            let name = format!("{}: {}", text(panel, "title"), text(&of["matcher"], "options"));
            let found = list(of, "properties").find(|property| property["id"] == "thresholds");
            check(
                &name,
                &place,
                found.map_or_else(Vec::new, |found| steps(&found["value"])),
            );
        }
    }
    let unseen = SCALES.iter().filter(|(title, _)| !seen.contains(title));
    complaints.extend(unseen.map(|(title, _)| format!("{title} is no number any more")));
    complaints
}

/// What the rows of each table are sorted by: `-` the most first. Dead exporters and dark servers come first, and rows that are alike stand
/// in the order of their names.
const ORDERS: [(&str, &str); 15] = [
    ("Firing alerts", "-Severity -Since Alert Rack ToR Port"),
    (
        "Servers dark or with one side out",
        "-Server -Since Rack ToR Port",
    ),
    ("ToRs", "-Exporter -Dark -Not READY Rack ToR"),
    ("Not READY now", "-Down for Rack ToR Port"),
    ("Channel lost", "-Times Rack ToR Port"),
    ("Direction changed", "-Times Rack ToR Port"),
    ("Unanswered queries", "-Queries Rack ToR Port"),
    ("Channels lost most often", "-Times Port"),
    ("Versions", "-Ports Version"),
    // By a transformation: see sight::port_order.
    ("SoCs", ""),
    ("All targets", "-Channel -Last round Module Target Exporter"),
    ("What is asked", "Module Target"),
    ("Replies", "Module Target"),
    ("Certificates", "Expires Module Target"),
    ("API versions", "-Clients Module Service Target"),
];

/// Which words have the higher number, so that they come first.
const WORSE: [(&str, &str); 11] = [
    ("down", "up"),
    ("dark", "at most one side"),
    ("at most one side", "one side only"),
    ("critical", "warning"),
    ("warning", "info"),
    ("info", "muted"),
    ("DEADLINE_EXCEEDED", "UNIMPLEMENTED"),
    ("another failure", "UNAVAILABLE"),
    ("failed", "success"),
    ("TRANSIENT_FAILURE", "READY"),
    ("server_too_old", "compatible"),
];

/// Each table is sorted as the table says, by columns that it has, and by numbers that rise with what is worse.
pub(crate) fn orders(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "table") {
        let by = list(&panel["options"], "sortBy").map(|of| {
            let sign = if of["desc"] == true { "-" } else { "" };
            format!("{sign}{}", text(of, "displayName"))
        });
        let by = by.collect::<Vec<_>>().join(" ");
        let title = text(panel, "title");
        let wanted = ORDERS.iter().find(|(of, _)| *of == title).map(|(_, by)| *by);
        // *Port*'s SoC is one row.
        if wanted.is_none_or(|wanted| wanted != by) && title != "SoC" {
            complaints.push(format!("{place}: sorted by {by:?}, expected {wanted:?}"));
        }
        let columns: BTreeSet<&str> = renamed(panel).map(|(_, column)| column).collect();
        for of in list(&panel["options"], "sortBy") {
            if !columns.contains(text(of, "displayName")) {
                complaints.push(format!("{place}: no column {}", of["displayName"]));
            }
        }
    }
    for (_, panel, place) in panels(dashboards) {
        let numbers: BTreeMap<&str, i64> = mapped(panel)
            .into_iter()
            .filter_map(|(number, word, _)| Some((word, number.parse().ok()?)))
            .collect();
        for (worse, better) in WORSE {
            let both = (numbers.get(worse), numbers.get(better));
            if matches!(both, (Some(worse), Some(better)) if worse <= better) && panel["title"] != "Server" {
                complaints.push(format!("{place}: {better} comes before {worse}"));
            }
        }
    }
    complaints
}

/// Words instead of a number that is rightly missing: their number is in the query, and that of the query has words.
const INSTEAD: [(&str, &[(&str, &str)]); 14] = [
    ("STATE_DB", &[("-1", "not used")]),
    ("Last good answer", &[("-1", "never")]),
    ("Maintenance ends", &[("-1", "not announced")]),
    ("Own certificates expire", &[("-1", "no TLS")]),
    (
        "Certificate expires",
        &[("-2", "not shown yet"), ("-1", "no TLS")],
    ),
    (
        "First SoC's certificate expires",
        &[("-2", "not shown yet"), ("-1", "no TLS")],
    ),
    ("Targets", &[("-1", "no modules")]),
    ("Down", &[("-1", "no modules")]),
    ("Failing", &[("-1", "no modules")]),
    ("Bad replies", &[("-1", "no modules")]),
    ("Not serving", &[("-1", "not used")]),
    ("Incompatible", &[("-1", "not used")]),
    ("Not in FIB", &[("-1", "not used")]),
    ("Certificate", &[("-1", "no TLS")]),
];

pub(crate) fn instead(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "stat") {
        let found: Vec<(&str, &str)> = mapped(panel)
            .into_iter()
            .filter(|(number, ..)| number.starts_with('-'))
            .map(|(number, word, _)| (number, word))
            .collect();
        let wanted = INSTEAD.iter().find(|(title, _)| panel["title"] == *title);
        if wanted.map_or(&[][..], |(_, words)| *words) != found {
            complaints.push(format!("{place}: {found:?} instead of what is missing"));
        }
        let query = text(&panel["targets"][0], "expr");
        for (number, made) in [("-1", "* -1"), ("-2", "* 0 + -2")] {
            if query.contains(made) != found.iter().any(|(of, _)| *of == number) {
                complaints.push(format!("{place}: {number} has no words, or no query"));
            }
        }
    }
    complaints
}

/// A 0 of something that is not counted needs an exporter that answers now: one that is down counts nothing. `up` alone is there for
/// those too.
pub(crate) fn zeros(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards) {
        for target in list(panel, "targets") {
            for zero in text(target, "expr").split("or sum(up{").skip(1) {
                if !zero
                    .split_once('}')
                    .is_some_and(|(_, rest)| rest.starts_with(" == 1) * 0"))
                {
                    complaints.push(format!("{place}: 0 while no exporter answers"));
                }
            }
            let none = mapped(panel).iter().any(|(_, word, _)| *word == "none");
            if panel["type"] == "table" && none != text(target, "expr").contains(ROW_OF_NONE) {
                complaints.push(format!("{place}: \"none\" without a query, or the reverse"));
            }
        }
    }
    complaints
}

/// A list of what is bad has a row "none" while nothing is: Grafana's "No data" is what a dead exporter has. The list of what rules do
/// not record needs series that they do not record, or it would be well without data.
pub(crate) fn lists(dashboards: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, panel, place) in panels(dashboards).filter(|(_, panel, _)| panel["type"] == "table") {
        let description = text(panel, "description");
        let query = text(&panel["targets"][0], "expr");
        let raw = description.contains("Needs raw series.");
        let sorted = list(&panel["options"], "sortBy").map(|by| text(by, "displayName"));
        let sorted: BTreeSet<&str> = sorted.collect();
        let labels = renamed(panel).filter(|(from, to)| !from.starts_with("Value") && sorted.contains(to));
        let fits = match query.split(ROW_OF_NONE).nth(1) {
            Some(row) => {
                let alive = row.split("sum(").nth(1).unwrap_or_default();
                // Grafana sorts by the columns that it has when the page is opened.
                let has = |label: &str| row.contains(&format!("\"{label}\", \"-\""));
                (!raw || alive.starts_with("dualtor_")) && labels.into_iter().all(|(label, _)| has(label))
            }
            None => !query.starts_with("topk("),
        };
        if !fits || description.contains("Empty while healthy") {
            complaints.push(format!("{place}: nothing to see while all is well"));
        }
    }
    complaints
}
