//! Every metric, label and label value in an alert, a dashboard or the documentation exists: in the exporter's catalogue, in
//! our recording rules, or in Prometheus itself.

use serde_json::Value;

use crate::grafana::{self, Asks};
use crate::promql::{Labels, Schema, Values};
use crate::served::{of_exporter, these};
use crate::sources::{self, Rule};

/// The same with the metrics of recording rules. Also returns what is wrong with the rules.
pub(crate) fn with_rules(rules: &[(String, Rule)]) -> (Schema, Vec<String>) {
    let mut schema = of_exporter();
    let mut wrong = Vec::new();
    let of_rules = |value: fn(&Rule) -> Option<String>| -> Values {
        Values::Words(rules.iter().filter_map(|(_, rule)| value(rule)).collect())
    };
    let own = [
        (
            "alertname".to_owned(),
            of_rules(|rule| Some(rule.alert.clone()).filter(|name| !name.is_empty())),
        ),
        (
            "severity".to_owned(),
            of_rules(|rule| rule.labels.get("severity").cloned()),
        ),
    ];
    let state = || {
        (
            "alertstate".to_owned(),
            Values::Words(these(&["pending", "firing"])),
        )
    };
    // An alert may read alerts: those of a port. The labels of the others are known only at the end.
    let mut of_a_port = schema.0.get("dualtor_port_oper_up").cloned().unwrap_or_default();
    of_a_port.extend(own.clone().into_iter().chain([state()]));
    schema.0.insert("ALERTS".to_owned(), of_a_port);
    let mut of_alerts = Labels::new();
    // Alerts read what is recorded, whichever file is first. Recording rules read what was recorded before them.
    let (alerting, recording): (Vec<_>, Vec<_>) = rules.iter().partition(|(_, rule)| rule.record.is_empty());
    for (file, rule) in recording.into_iter().chain(alerting) {
        let place = format!("{file}: {}{}", rule.record, rule.alert);
        let mut labels = match schema.check(&rule.expr) {
            Ok(labels) => labels,
            Err(errors) => {
                wrong.extend(errors.into_iter().map(|error| format!("{place}: {error}")));
                continue;
            }
        };
        for text in rule.annotations.values().chain(rule.labels.values()) {
            for label in named_in_template(text) {
                if !labels.contains_key(&label) {
                    wrong.push(format!("{place}: the result has no label {label}: {text}"));
                }
            }
            for query in queries_of_template(text) {
                let errors = schema.check(&query).err().unwrap_or_default();
                wrong.extend(errors.into_iter().map(|error| format!("{place}: {error}")));
            }
        }
        labels.extend(rule.labels.keys().map(|label| (label.clone(), Values::Any)));
        if rule.alert.is_empty() {
            schema.0.insert(rule.record.clone(), labels);
        } else {
            of_alerts.extend(labels.into_keys().map(|label| (label, Values::Any)));
        }
    }
    of_alerts.extend(own);
    schema.0.insert("ALERTS_FOR_STATE".to_owned(), of_alerts.clone());
    of_alerts.extend([state()]);
    schema.0.insert("ALERTS".to_owned(), of_alerts);
    (schema, wrong)
}

/// `{{ $labels.port }}`
fn named_in_template(text: &str) -> Vec<String> {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    let names = text.split("$labels.").skip(1);
    names
        .map(|rest| rest.chars().take_while(is_name).collect())
        .collect()
}

/// `{{ printf "up{instance=%q}" $labels.instance | query }}`, with some value for the label.
fn queries_of_template(text: &str) -> Vec<String> {
    let actions = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next());
    let queries = actions.filter(|action| action.split('|').any(|step| step.trim() == "query"));
    let literals = queries.filter_map(|action| {
        let start = action.find('"')? + 1;
        let mut text = String::new();
        let mut chars = action[start..].chars();
        loop {
            match chars.next()? {
                '"' => return Some(text),
                '\\' => text.push(chars.next()?),
                c => text.push(c),
            }
        }
    });
    // A side is one of two words; any text may stand for the others.
    literals
        .map(|literal| {
            literal
                .replace("side!=%q", "side!=\"self\"")
                .replace("%q", "\"x\"")
        })
        .collect()
}

/// What is wrong with a dashboard's queries and legends.
fn wrong_in_dashboard(schema: &Schema, file: &str, dashboard: &Value) -> Vec<String> {
    let variables = grafana::variables(dashboard);
    // The value does not matter here. `.*` is a valid regular expression, and a duration must parse.
    let value = |name: &str| match name {
        "__rate_interval" | "__interval" | "__range" => Some("5m".to_owned()),
        "__interval_ms" | "__range_s" | "__range_ms" => Some("300".to_owned()),
        name => {
            let known = variables.iter().find(|variable| variable.name == name)?;
            // The query is built from a choice of fixed values.
            Some(match &*known.kind {
                "custom" | "constant" | "interval" | "textbox" if !known.has_all => known.first.clone(),
                _ => ".*".to_owned(),
            })
        }
    };
    let mut wrong = Vec::new();
    for query in grafana::queries(file, dashboard) {
        let mut tell = |error: String| wrong.push(format!("{}: {error}", query.place));
        let text = match grafana::substitute(&query.text, value) {
            Ok(text) => text,
            Err(error) => {
                tell(error);
                continue;
            }
        };
        let (selector, label) = match (query.asks, grafana::label_values(&text)) {
            (Asks::Variable, Some((selector, label))) => (selector, Some(label)),
            (Asks::Variable, None) => match text.strip_prefix("query_result(") {
                Some(rest) => (rest.strip_suffix(')'), None),
                None => {
                    tell(format!("neither label_values(...) nor query_result(...): {text}"));
                    continue;
                }
            },
            _ => (Some(&*text), None),
        };
        let labels = selector.map_or(Ok(Labels::new()), |selector| schema.check(selector));
        let labels = match labels {
            Ok(labels) => labels,
            Err(errors) => {
                errors.into_iter().for_each(tell);
                continue;
            }
        };
        // Grafana's own names, such as __auto, are not labels.
        let legend = grafana::legend_labels(&query.legend).into_iter();
        let mut named = legend
            .filter(|label| !label.starts_with("__"))
            .collect::<Vec<_>>();
        named.extend(label.filter(|_| selector.is_some()).map(str::to_owned));
        for label in named.iter().filter(|label| !labels.contains_key(*label)) {
            tell(format!("the result has no label {label}: {text}"));
        }
    }
    wrong
}

#[test]
fn rules_name_only_what_there_is() {
    let (_, wrong) = with_rules(&sources::rules());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dashboards_name_only_what_there_is() {
    let (schema, _) = with_rules(&sources::rules());
    let all = sources::dashboards();
    let wrong: Vec<String> = all
        .iter()
        .flat_map(|(file, dashboard)| wrong_in_dashboard(&schema, file, dashboard))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let queries: usize = all
        .iter()
        .map(|(file, json)| grafana::queries(file, json).len())
        .sum();
    assert!(queries > 40, "only {queries} queries found");
}

#[test]
fn the_documentation_names_only_what_there_is() {
    let (schema, _) = with_rules(&sources::rules());
    let queries = sources::documented_queries();
    assert!(queries.len() > 1, "{queries:?}");
    let wrong: Vec<String> = queries
        .into_iter()
        .filter_map(|(place, query)| Some(format!("{place}: {:?}", schema.check(&query).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_query_that_names_what_there_is_not_is_found() {
    let schema = of_exporter();
    let check = |query: &str, expected: &str| match schema.check(query) {
        Ok(labels) => {
            let labels: Vec<String> = labels.into_keys().collect();
            assert_eq!(labels.join(" "), expected, "{query}");
        }
        Err(errors) => {
            let errors = errors.join("; ");
            assert!(
                !expected.is_empty() && errors.contains(expected),
                "{query}: {errors}"
            );
        }
    };
    check("dualtor_chanel_state", "no such metric");
    check("up{job=\"dualtor-exporter\"} == 0", "instance job rack");
    check("dualtor_channel_state{state=\"redy\"}", "state is never \"redy\"");
    check("dualtor_link_state{state=\"ready\"}", "state is never \"ready\"");
    check(
        "dualtor_channel_state{state=~\"ready|idel\"}",
        "state is never \"idel\"",
    );
    check(
        "dualtor_channel_state{state!~\"redy\"}",
        "state is never \"redy\"",
    );
    check("dualtor_channel_state{state=~\"x.*\"}", "state is never \"x.*\"");
    check("dualtor_channel_state{prot=\"Ethernet0\"}", "no label prot");
    check(
        "rate(dualtor_probes_total{result=\"EMPTY\"}[5m])",
        "result is never \"EMPTY\"",
    );
    check("sum by (prot) (dualtor_channel_state)", "no label prot in sum");
    check("sum by (side) (dualtor_channel_state)", "no label side in sum");
    check(
        "sum without (prot) (dualtor_channel_state)",
        "nobody has a label prot",
    );
    check(
        "sum without (port, state) (dualtor_channel_state)",
        "instance job rack",
    );
    check(
        "up * on (instanze) dualtor_side",
        "no label instanze in left of *",
    );
    check(
        "dualtor_port_oper_up * on (port) group_left (version) dualtor_soc_info",
        "instance job port rack version",
    );
    check(
        "dualtor_port_oper_up * on (port) group_left (vresion) dualtor_soc_info",
        "no label vresion",
    );
    check(
        "up unless ignoring (statte) dualtor_channel_state",
        "nobody has a label statte",
    );
    check(
        "histogram_quantile(0.9, rate(dualtor_probe_duration_seconds_bucket{le=\"0.3\"}[5m]))",
        "le is never \"0.3\"",
    );
    check("sum(dualtor_channel_state", "sum(dualtor_channel_state");
    check("absent(up{job=\"dualtor-exporter\"})", "job");
}

#[test]
fn a_text_that_names_a_label_that_is_not_there_is_found() {
    let rule = |expr: &str, text: &str| Rule {
        alert: "A".to_owned(),
        record: String::new(),
        expr: expr.to_owned(),
        labels: [].into(),
        annotations: [("summary".to_owned(), text.to_owned())].into(),
    };
    let check = |expr: &str, text: &str, wrong: usize| {
        let (_, found) = with_rules(&[("file".to_owned(), rule(expr, text))]);
        assert_eq!(found.len(), wrong, "{expr} {text}: {found:?}");
    };
    check(
        "dualtor_port_oper_up == 0",
        "{{ $labels.port }} of {{ $labels.instance }}",
        0,
    );
    check("dualtor_port_oper_up == 0", "{{ $labels.side }}", 1);
    check(
        "sum without (port) (dualtor_port_oper_up) == 0",
        "{{ with $labels.port }}{{ . }}{{ end }}",
        1,
    );
    // So is one in a query of its own.
    let query = |metric: &str| {
        format!(
            r#"{{{{ with printf "{metric}{{port=%q, to!=\"idle\"}}" $labels.port | query }}}}{{{{ end }}}}"#
        )
    };
    check(
        "dualtor_port_oper_up == 0",
        &query("dualtor_channel_transitions_total"),
        0,
    );
    check(
        "dualtor_port_oper_up == 0",
        &query("dualtor_channel_transitions"),
        1,
    );
    check("dualtor_port_oper_up == 0", &query("dualtor_port_oper_up"), 1);
}

#[test]
fn a_dashboard_that_names_what_there_is_not_is_found() {
    let panel = |expr: &str, legend: &str| {
        serde_json::json!({
            "panels": [{"title": "p", "targets": [{"refId": "A", "expr": expr, "legendFormat": legend}]}],
            "templating": {"list": [{"name": "port", "type": "query", "query": "label_values(up, instance)"}]},
        })
    };
    let check = |dashboard: Value, expected: &str| {
        let wrong = wrong_in_dashboard(&of_exporter(), "d.json", &dashboard).join("\n");
        let fits = if expected.is_empty() {
            wrong.is_empty()
        } else {
            wrong.contains(expected)
        };
        assert!(fits, "{expected:?}: {wrong}");
    };
    check(panel("dualtor_port_oper_up{port=~\"$port\"}", "{{port}}"), "");
    check(
        panel("dualtor_port_oper_up{port=~\"$prot\"}", "{{port}}"),
        "variable \"prot\"",
    );
    check(
        panel("dualtor_port_oper_up{port=~\"$port\"}", "{{prot}}"),
        "no label prot",
    );
    check(panel("rate(dualtor_probes_total[$__rate_interval)", ""), "p (A)");
    let mut dashboard = panel("up", "");
    dashboard["templating"]["list"][0]["query"] = "label_values(upp, instance)".into();
    check(dashboard.clone(), "variable port: no such metric");
    dashboard["templating"]["list"][0]["query"] = "label_values(up, port)".into();
    check(dashboard.clone(), "no label port");
    dashboard["annotations"] = serde_json::json!({"list": [{"name": "a", "expr": "ALRTS"}]});
    check(dashboard, "annotation a: no such metric");
}
