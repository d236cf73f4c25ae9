//! The rules as files: what promtool and amtool say of them, and what each alert must have.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::sources;
use crate::stack::alertmanager_example;

/// The project's address, from Cargo.toml; empty while it has none.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Where a browser finds the runbook; without an address, the path in the project.
fn runbook() -> String {
    let base = if REPOSITORY.is_empty() {
        String::new()
    } else {
        format!("{REPOSITORY}/blob/main/")
    };
    format!("{base}docs/runbook.md#")
}

/// Runs a tool on files; it must find nothing wrong.
fn passes(tool: &str, arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(tool).args(arguments).args(files).output();
    let output =
        output.unwrap_or_else(|error| panic!("{tool} cannot be run ({error}): `make deps` installs it"));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{tool} {arguments:?}: {}", said.concat());
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    passes(
        "promtool",
        &["check", "rules", "--lint=all", "--lint-fatal"],
        &sources::files("alerts", "yaml"),
    );
}

#[test]
fn the_rules_tests_pass() {
    passes(
        "promtool",
        &["test", "rules"],
        &sources::files("alerts/tests", "yaml"),
    );
}

#[test]
fn amtool_finds_nothing_wrong_with_the_example() {
    passes("amtool", &["check-config"], &[alertmanager_example()]);
}

#[test]
fn promtool_finds_nothing_wrong_with_the_documented_configurations() {
    let dir = tempfile::tempdir().expect("a directory");
    // Where the first one expects them.
    std::fs::create_dir(dir.path().join("dualtor")).expect("a directory");
    for rules in sources::files("alerts", "yaml") {
        std::fs::copy(&rules, dir.path().join("dualtor").join(sources::name(&rules))).expect("copied");
    }
    let blocks = sources::blocks(&sources::path("docs/monitoring.md"), "yaml").into_iter();
    let is_config = |text: &str| text.contains("scrape_configs:") || text.contains("remote_write:");
    let configs: Vec<PathBuf> = blocks
        .filter(|(_, text)| is_config(text))
        .map(|(line, text)| {
            let path = dir.path().join(format!("line-{line}.yml"));
            std::fs::write(&path, text).expect("written");
            path
        })
        .collect();
    assert_eq!(configs.len(), 3, "{configs:?}");
    passes("promtool", &["check", "config"], &configs);
}

#[test]
fn each_alert_is_complete() {
    let alerts = sources::alerts();
    assert!(alerts.len() > 20, "{} alerts", alerts.len());
    let mut names = BTreeSet::new();
    for alert in alerts {
        let name = &alert.alert;
        assert!(names.insert(name.clone()), "{name} is there twice");
        let severity = alert.labels.get("severity").map_or("", String::as_str);
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: severity {severity:?}"
        );
        for annotation in ["summary", "description"] {
            let text = alert.annotations.get(annotation).map_or("", String::as_str);
            assert!(!text.trim().is_empty(), "{name} has no {annotation}");
        }
        let url = alert.annotations.get("runbook_url").map_or("", String::as_str);
        assert_eq!(
            url,
            runbook() + &name.to_lowercase(),
            "{name}: `make links` writes it"
        );
    }
}

/// What the tests of rules expect of an alert: that it is silent, that it fires.
fn expectations(tests: &Value, alert: &str) -> (bool, bool) {
    let (mut silent, mut fires) = (false, false);
    for test in tests["tests"].as_array().expect("tests") {
        for expected in test["alert_rule_test"].as_array().into_iter().flatten() {
            if expected["alertname"] == alert {
                let alerts = expected["exp_alerts"].as_array().map_or(0, Vec::len);
                silent |= alerts == 0;
                fires |= alerts > 0;
            }
        }
    }
    (silent, fires)
}

#[test]
fn each_alert_is_tested_silent_and_firing() {
    let tests: Vec<Value> = sources::files("alerts/tests", "yaml")
        .iter()
        .map(|file| sources::yaml(file))
        .collect();
    let wrong: Vec<String> = sources::alerts()
        .into_iter()
        .filter_map(|rule| {
            let found = tests.iter().map(|tests| expectations(tests, &rule.alert));
            let (silent, fires) = found.fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
            (!silent || !fires).then(|| format!("{}: silent {silent}, fires {fires}", rule.alert))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_alert_that_is_tested_one_way_only_is_found() {
    let tests = serde_json::json!({"tests": [{"alert_rule_test": [
        {"alertname": "A", "exp_alerts": [{}]},
        {"alertname": "B"},
        {"alertname": "B", "exp_alerts": [{}]},
    ]}, {}]});
    assert_eq!(expectations(&tests, "A"), (false, true));
    assert_eq!(expectations(&tests, "B"), (true, true));
    assert_eq!(expectations(&tests, "C"), (false, false));
}

#[test]
fn the_runbook_has_each_alert_and_no_other() {
    let runbook = sources::read(&sources::path("docs/runbook.md"));
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## DualTor"));
    let explained: Vec<String> = headings.map(|rest| format!("DualTor{}", rest.trim())).collect();
    let known: BTreeSet<String> = sources::alerts().into_iter().map(|rule| rule.alert).collect();
    let once: BTreeSet<String> = explained.iter().cloned().collect();
    assert_eq!(
        once.len(),
        explained.len(),
        "a heading is there twice: {explained:?}"
    );
    let missing: Vec<_> = known.difference(&once).collect();
    let too_many: Vec<_> = once.difference(&known).collect();
    assert!(
        missing.is_empty() && too_many.is_empty(),
        "missing {missing:?}, nobody's {too_many:?}"
    );
}
