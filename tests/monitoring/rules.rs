//! The rules as files: what promtool and amtool report, and what each alert must have.

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

/// Runs a tool on files. It must find nothing wrong.
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
        // Alertmanager's notification has a common annotation only if all its alerts have the same one.
        let summary = &alert.annotations["summary"];
        assert!(
            !summary.contains("{{"),
            "{name}: its summary is not the same for all ports: {summary}"
        );
        let url = alert.annotations.get("runbook_url").map_or("", String::as_str);
        assert_eq!(
            url,
            runbook() + &name.to_lowercase(),
            "{name}: `make links` writes it"
        );
    }
}

/// What the unit tests of the rules expect of an alert: that it is silent, that it fires.
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

/// What looks for one thing in texts: all that follows it, up to the next `}`.
fn after<'a>(text: &'a str, open: &str) -> Vec<&'a str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .collect()
}

/// Without a label of the target, a query in an annotation would include another exporter with the same address.
#[test]
fn queries_in_annotations_are_about_the_alerts_own_target() {
    for alert in sources::alerts() {
        for text in alert.annotations.values() {
            for selector in after(text, "{job=").iter().chain(&after(text, "{instance=")) {
                let whole = selector.starts_with("%q, instance=%q");
                assert!(whole, "{}: expected job=%q, instance=%q: {selector}", alert.alert);
            }
            let (targets, jobs) = (
                text.matches("instance=%q").count(),
                text.matches("job=%q").count(),
            );
            assert_eq!(targets, jobs, "{}: {text}", alert.alert);
        }
    }
}

/// One pattern for the names of jobs: alerts, dashboards and the documented federation see the same exporters.
#[test]
fn jobs_are_named_by_one_pattern() {
    const JOBS: &str = "=~\"dualtor-exporter.*\"";
    let rules = sources::rules().into_iter().map(|(file, rule)| (file, rule.expr));
    let dashboards = sources::files("dashboards", "json").into_iter().map(|file| {
        let text = sources::read(&file).replace("\\\"", "\"");
        (sources::name(&file), text)
    });
    let mut found = 0;
    for (file, text) in rules.chain(dashboards) {
        // A choice of the reader, or the labels of a join: they do not name a job.
        let named = text.replace("job=~\"$job\"", "").replace("job=~\"$job|\"", "");
        for (at, _) in named.match_indices("{job=") {
            let rest = &named[at + "{job".len()..];
            assert!(rest.starts_with(JOBS), "{file}: {}", &rest[..rest.len().min(40)]);
            found += 1;
        }
    }
    assert!(found > 5, "{found} found");
}

/// The runbook's PromQL of one alert, query by query.
fn of_runbook(alert: &str) -> Vec<String> {
    let runbook = sources::read(&sources::path("docs/runbook.md"));
    let heading = format!("\n## {alert}\n");
    let (_, section) = runbook.split_once(&heading).expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), section).expect("written");
    let blocks = sources::blocks(file.path(), "promql");
    blocks.into_iter().map(|(_, query)| query).collect()
}

/// Who looks for what burns the error budget is led to it alone: not to a port whose channel is away, all of whose queries fail, nor to
/// a health service that the SoC does not have.
#[test]
fn the_runbooks_queries_of_the_error_budget_find_what_is_in_it() {
    let port = |port: &str, ready: u8, counters: &[(&str, &str, &str)]| {
        let target = format!("instance=\"tor-a:9075\", job=\"dualtor-exporter\", port=\"{port}\"");
        let channel = format!(
            "{{series: 'dualtor_channel_state{{{target}, state=\"ready\"}}', values: '{ready}x240'}}"
        );
        let probes = counters.iter().map(|(query, result, values)| {
            let labels = format!("{target}, query=\"{query}\", result=\"{result}\"");
            format!("{{series: 'dualtor_probes_total{{{labels}}}', values: '{values}'}}")
        });
        std::iter::once(channel)
            .chain(probes)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let series = [
        port(
            "Ethernet0",
            1,
            &[
                ("admin", "OK", "0+30x240"),
                ("health", "UNIMPLEMENTED", "0+30x240"),
            ],
        ),
        port("Ethernet4", 0, &[("admin", "UNAVAILABLE", "0+30x240")]),
        port(
            "Ethernet8",
            1,
            &[
                ("admin", "DEADLINE_EXCEEDED", "0+3x240"),
                ("health", "UNIMPLEMENTED", "0+30x240"),
            ],
        ),
    ];
    let by_result = "{labels: '{query=\"admin\", result=\"DEADLINE_EXCEEDED\"}', value: 0.1}";
    let by_port = |name: &str| {
        format!(
            "{{labels: '{name}{{instance=\"tor-a:9075\", job=\"dualtor-exporter\", port=\"Ethernet8\"}}', value: 0.1}}"
        )
    };
    let (fast, steady) = (
        of_runbook("DualTorProbeErrorBudgetBurnFast"),
        of_runbook("DualTorProbeErrorBudgetBurnSteady"),
    );
    let [which_results, which_ports] = &fast[..] else {
        panic!("{fast:?}")
    };
    let [_, over_an_hour] = &steady[..] else {
        panic!("{steady:?}")
    };
    let check = |query: &str, samples: &str| {
        let query = query.trim();
        format!("      - {{expr: '{query}', eval_time: 2h, exp_samples: [{samples}]}}\n")
    };
    let tests = format!(
        "rule_files: ['{}']\ntests:\n  - interval: 30s\n    input_series: [{}]\n    promql_expr_test:\n{}{}{}",
        sources::path("alerts/recording.yaml").display(),
        series.join(", "),
        check(which_results, by_result),
        check(which_ports, &by_port("instance_port:dualtor_probe_errors:rate5m")),
        check(over_an_hour, &by_port("")),
    );
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("runbook-test.yaml");
    std::fs::write(&file, tests).expect("written");
    passes("promtool", &["test", "rules"], &[file]);
}

/// A job of another name, such as dualtor-exporter-row-1, is found by the documented queries too.
#[test]
fn documented_queries_name_no_job_of_their_own() {
    // Prometheus about itself.
    let others = ["job=\"prometheus\""];
    for (place, query) in sources::documented_queries() {
        let named = others
            .iter()
            .fold(query.clone(), |query, other| query.replace(other, ""));
        let named = named.replace("job=~\"dualtor-exporter.*\"", "");
        assert!(
            !named.contains("job=") && !named.contains("job!"),
            "{place}: {query}"
        );
    }
}

/// Main goes on, a release's runbook stays: an alert of last year leads to the text that was written for it.
#[test]
fn the_links_of_a_release_lead_to_its_own_runbook() {
    let release = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = release.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("written");
    };
    let base = "https://git.example/you/dualtor-exporter/blob";
    write(
        "alerts/a.yaml",
        &format!("runbook_url: {base}/main/docs/runbook.md#a\n"),
    );
    write(
        "dashboards/d.json",
        &format!("\"url\": \"{base}/main/docs/runbook.md\"\n"),
    );
    write("dashboards/e.json", "\"url\": \"docs/runbook.md\"\n");
    let directory = release.path().to_str().expect("a path");
    let links = sources::path("scripts/links");
    passes(
        links.to_str().expect("a path"),
        &["--at", "v1.2.3", directory],
        &[],
    );
    let read = |name: &str| sources::read(&release.path().join(name));
    assert_eq!(
        read("alerts/a.yaml"),
        format!("runbook_url: {base}/v1.2.3/docs/runbook.md#a\n")
    );
    assert_eq!(
        read("dashboards/d.json"),
        format!("\"url\": \"{base}/v1.2.3/docs/runbook.md\"\n")
    );
    assert_eq!(read("dashboards/e.json"), "\"url\": \"docs/runbook.md\"\n");
}
