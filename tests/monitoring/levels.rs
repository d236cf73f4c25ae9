//! docs/api.md says which alert speaks of which reason of a port's level. Here it is compared with both.

use std::collections::BTreeSet;

use dualtor_exporter::model::{PortLevel, PortReason, ServiceReason};

use crate::sources;

/// The cells of the table under this heading, and the text after the table.
fn documented(heading: &str) -> (Vec<Vec<String>>, String) {
    let text = std::fs::read_to_string(sources::path("docs/api.md")).expect("docs/api.md");
    let section = text.split(heading).nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("the section");
    let (rows, rest): (Vec<&str>, Vec<&str>) = section.lines().partition(|line| line.starts_with("| `"));
    let cells = |row: &&str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    (rows.iter().map(cells).collect(), rest.join(" "))
}

const OF_PORTS: &str = "\n## Level and reason\n";
const OF_TARGETS: &str = "\n## Reasons of module targets\n";

fn alerts_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with("DualTor"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_reason_is_documented_with_its_level_in_their_order() {
    let ports = PortReason::ALL.iter();
    let ports: Vec<_> = ports
        .map(|reason| (reason.label(), reason.level().label()))
        .collect();
    let targets = ServiceReason::ALL.iter();
    let targets: Vec<_> = targets
        .map(|reason| (reason.label(), reason.level().label()))
        .collect();
    for (heading, expected) in [(OF_PORTS, ports), (OF_TARGETS, targets)] {
        let (rows, _) = documented(heading);
        let rows: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row[0].trim_matches('`'), &*row[1]))
            .collect();
        assert_eq!(rows, expected, "{heading}");
    }
}

#[test]
fn the_alerts_of_module_targets_exist() {
    let rules = sources::rules();
    for row in documented(OF_TARGETS).0 {
        for alert in alerts_in(&row[3]) {
            assert!(rules.iter().any(|(_, rule)| rule.alert == alert), "{row:?}");
        }
    }
}

#[test]
fn each_reason_has_an_alert_and_each_alert_about_a_port_is_named() {
    let (rows, rest) = documented(OF_PORTS);
    let rules = sources::rules();
    let known: BTreeSet<&str> = rules
        .iter()
        .map(|(_, rule)| &*rule.alert)
        .filter(|name| !name.is_empty())
        .collect();
    let mut named = BTreeSet::new();
    for row in &rows {
        let alerts = alerts_in(&row[3]);
        assert_eq!(alerts.is_empty(), row[1] == PortLevel::Ok.label(), "{row:?}");
        for alert in &alerts {
            assert!(known.contains(&**alert), "{row:?}: there is no alert {alert}");
        }
        if row[1] == PortLevel::Critical.label() {
            let severities = rules.iter().filter(|(_, rule)| alerts.contains(&rule.alert));
            let pages = severities
                .filter(|(_, rule)| rule.labels["severity"] == "critical")
                .count();
            assert!(pages > 0, "{row:?}: none of its alerts is critical");
        }
        named.extend(alerts);
    }
    for alert in alerts_in(&rest) {
        assert!(known.contains(&*alert), "there is no alert {alert}");
        assert!(named.insert(alert.clone()), "{alert} has a reason");
    }
    let about_ports = rules.iter().filter(|(_, rule)| {
        rule.annotations
            .get("description")
            .is_some_and(|text| text.contains("$labels.port }}"))
    });
    for (_, rule) in about_ports {
        assert!(
            named.contains(&rule.alert),
            "docs/api.md does not name {}",
            rule.alert
        );
    }
}
