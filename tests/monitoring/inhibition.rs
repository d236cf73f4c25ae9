//! Which alert mutes which, and which alerts arrive as one message. The delivered Alertmanager example gets alerts of this
//! test, with the names, severities and labels of the delivered rules.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, parse};
use serde::Deserialize;

use crate::catalogue;
use crate::pager::Pager;
use crate::promql::Values;
use crate::sources;
use crate::stack::{Alertmanager, alertmanager_example};
use crate::wait::wait_until;

/// Which alert mutes which, and the labels on which that depends: with another value of any of them, the target is delivered.
/// All names begin with DualTor. An alert that is not in this list mutes none.
const MUTED: [(&str, &str, &str); 20] = [
    ("ExporterAbsent", "ExporterDown RackUnwatched", ""),
    ("RackUnwatched", "ExporterDown", "rack"),
    (
        "ExporterDown",
        "ChannelFlapping DirectionFlapping ExporterRestarting ExporterStarved ForeignWriter LogLinesDropped \
         ProbeErrorBudgetBurnSlow ProbeErrorBudgetBurnSteady ProbesSlow ServiceFailing ServiceSlow \
         ServiceUnexpectedReply ServiceVersionSkew SessionRestarted TelemetryLost VersionSkew",
        "job instance",
    ),
    (
        "ExporterStarved",
        "DataStale ProbeErrorBudgetBurnSlow ProbeErrorBudgetBurnSteady ProbesSlow ServiceFailing ServiceSlow",
        "job instance",
    ),
    (
        "ManyChannelsDown",
        "ChannelDown ChannelFlapping DataStale DirectionUnknown ProbeErrorBudgetBurnFast ProbeErrorBudgetBurnSlow \
         ProbeErrorBudgetBurnSteady ProbesSlow",
        "job instance rack",
    ),
    (
        "ChannelDown",
        "ChannelFlapping ProbesSlow",
        "job instance rack port",
    ),
    (
        "ServerDark",
        "Blackhole DirectionFlapping DirectionMismatch LinkDown MuxChangeFailed NoRedundancy OperationDown",
        "job instance rack port",
    ),
    ("Blackhole", "DirectionMismatch", "job instance rack port"),
    ("MuxChangeFailed", "DirectionMismatch", "job instance rack port"),
    // Only of this ToR's own side.
    (
        "Blackhole DirectionMismatch",
        "NoRedundancy",
        "job instance rack port side",
    ),
    (
        "LinkDown OperationDown",
        "NoRedundancy",
        "job instance rack port side",
    ),
    ("DirectionUnknown", "DataStale", "job instance rack port"),
    (
        "ProbeErrorBudgetBurnFast",
        "ProbeErrorBudgetBurnSlow ProbeErrorBudgetBurnSteady DirectionUnknown DataStale ProbesSlow",
        "job instance rack",
    ),
    (
        "ProbeErrorBudgetBurnSlow",
        "ProbeErrorBudgetBurnSteady",
        "job instance rack",
    ),
    (
        "CertificateExpired",
        "CertificateExpiring7d CertificateExpiring30d",
        "job instance rack role",
    ),
    (
        "CertificateExpiring7d",
        "CertificateExpiring30d",
        "job instance rack role",
    ),
    (
        "ServiceDown",
        "GribiNotProgrammed ServiceApiTooNew ServiceApiTooOld ServiceFailing ServiceNotServing ServiceSlow \
         ServiceUnexpectedReply",
        "job instance rack module target",
    ),
    (
        "ServiceApiTooNew ServiceApiTooOld ServiceNotServing ServiceUnexpectedReply",
        "ServiceFailing",
        "job instance rack module target",
    ),
    ("ServiceFailing", "ServiceSlow", "job instance rack module target"),
    (
        "ServiceCertificate7d",
        "ServiceCertificate30d",
        "job instance rack module target",
    ),
];

/// The labels of one alert.
type Labels = BTreeMap<String, String>;
/// For each source and target, the labels on which it depends.
type Table = BTreeMap<(String, String), BTreeSet<String>>;

/// `MUTED`, pair by pair.
fn table() -> Table {
    let words = |text: &'static str| text.split_whitespace();
    let mut table = Table::new();
    for (sources, targets, labels) in MUTED {
        for source in words(sources) {
            for target in words(targets) {
                let pair = (format!("DualTor{source}"), format!("DualTor{target}"));
                let labels = words(labels).map(str::to_owned).collect();
                assert!(
                    table.insert(pair.clone(), labels).is_none(),
                    "{pair:?} is there twice"
                );
            }
        }
    }
    table
}

/// An alert of the delivered rules.
struct Alert {
    severity: String,
    /// The labels of its expression's result.
    labels: BTreeSet<String>,
}

/// All of them, by name.
struct Alerts(BTreeMap<String, Alert>);

impl Alerts {
    fn read() -> Self {
        let (mut schema, _) = catalogue::with_rules(&sources::rules());
        // An alert that reads itself has the labels of a port, not those of all alerts.
        let mut of_a_port = schema.0["dualtor_port_oper_up"].clone();
        let own = ["alertname", "alertstate", "severity"];
        of_a_port.extend(own.map(|label| (label.to_owned(), Values::Any)));
        schema.0.insert("ALERTS".to_owned(), of_a_port);
        let alerts = sources::alerts().into_iter().map(|rule| {
            let labels = schema.check(&rule.expr);
            let labels = labels.unwrap_or_else(|errors| panic!("{}: {errors:?}", rule.alert));
            let alert = Alert {
                severity: rule.labels["severity"].clone(),
                labels: labels.into_keys().collect(),
            };
            (rule.alert, alert)
        });
        Self(alerts.collect())
    }

    fn get(&self, name: &str) -> &Alert {
        self.0.get(name).unwrap_or_else(|| panic!("no alert {name}"))
    }

    /// The names of the alerts about one rack at most, or of those about everything.
    fn of_racks(&self, whether: bool) -> Vec<&str> {
        let all = self.0.iter();
        let fits = all.filter(|(_, alert)| alert.labels.contains("rack") == whether);
        fits.map(|(name, _)| &**name).collect()
    }

    /// In the form that Prometheus would send.
    fn firing(&self, name: &str, value: impl Fn(&str) -> String) -> Labels {
        let alert = self.get(name);
        let mut labels: Labels = alert
            .labels
            .iter()
            .map(|label| (label.clone(), value(label)))
            .collect();
        labels.insert("alertname".to_owned(), name.to_owned());
        labels.insert("severity".to_owned(), alert.severity.clone());
        labels
    }

    /// The same, with labels that no other case has. One label may differ from those of the other alerts of this case.
    fn of_case(&self, name: &str, case: usize, other: Option<&str>) -> Labels {
        if let Some(label) = other {
            assert!(self.get(name).labels.contains(label), "{name} has no {label}");
        }
        self.firing(name, |label| match (label, other == Some(label)) {
            ("side", false) => "self".to_owned(),
            ("side", true) => "peer".to_owned(),
            ("job", false) => "dualtor-exporter".to_owned(),
            (label, false) => format!("{label}-{case}"),
            (label, true) => format!("{label}-{case}-other"),
        })
    }
}

/// One of the example's `inhibit_rules`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    #[serde(default)]
    equal: BTreeSet<String>,
}

impl Rule {
    fn read() -> Vec<Self> {
        let mut example = sources::yaml(&alertmanager_example());
        serde_json::from_value(example["inhibit_rules"].take()).expect("inhibit_rules")
    }

    /// All pairs that it mutes, with the labels on which that depends.
    fn pairs(&self, alerts: &Alerts) -> Table {
        let (sources, of_sources) = named(&self.source_matchers, alerts);
        let (targets, of_targets) = named(&self.target_matchers, alerts);
        assert!(of_sources.is_empty(), "{self:?}: a source by {of_sources:?}");
        let labels: BTreeSet<String> = self.equal.union(&of_targets).cloned().collect();
        let mut pairs = Table::new();
        for source in &sources {
            for target in &targets {
                pairs.insert((source.clone(), target.clone()), labels.clone());
            }
        }
        pairs
    }
}

/// Alertmanager's matchers are written as PromQL's are.
fn matchers(texts: &[String]) -> Vec<Matcher> {
    let selector = format!("{{{}}}", texts.join(","));
    match parse(&selector) {
        Ok(Expr::VectorSelector(selector)) => selector.matchers.matchers,
        other => panic!("{selector}: {other:?}"),
    }
}

/// The alerts that matchers name, and the other labels that they use.
fn named(texts: &[String], alerts: &Alerts) -> (Vec<String>, BTreeSet<String>) {
    let all = matchers(texts);
    let (by_name, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|matcher| matcher.name == "alertname");
    let names = alerts.0.keys();
    let names = names.filter(|name| by_name.iter().all(|matcher| matcher.is_match(name)));
    let others = others.into_iter().map(|matcher| matcher.name);
    (names.cloned().collect(), others.collect())
}

/// `DualTor(A|B.*)` is `DualTorA` and `DualTorB.*`.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('(') else {
        return pattern.split('|').map(str::to_owned).collect();
    };
    let (inner, after) = rest.split_once(')').expect("closed parentheses");
    assert!(
        !before.contains('|') && !inner.contains('(') && !after.contains(['(', '|']),
        "{pattern} is more than this reads"
    );
    let inner = inner.split('|');
    inner.map(|word| format!("{before}{word}{after}")).collect()
}

/// The part of a matcher of names that matches no alert.
fn nobodys(text: &str, names: &[&str]) -> Vec<String> {
    let matcher = matchers(&[text.to_owned()]).remove(0);
    if matcher.name != "alertname" {
        return Vec::new();
    }
    let patterns = match matcher.op {
        MatchOp::Equal | MatchOp::Re(_) => alternatives(&matcher.value),
        _ => panic!("{text}: name who it is, not who it is not"),
    };
    let is_nobodys = |pattern: &String| {
        let one = matchers(&[format!("alertname=~\"{pattern}\"")]).remove(0);
        !names.iter().any(|name| one.is_match(name))
    };
    patterns.into_iter().filter(is_nobodys).collect()
}

#[test]
fn inhibition_names_only_alerts_that_there_are() {
    let alerts = Alerts::read();
    let names: Vec<&str> = alerts.0.keys().map(String::as_str).collect();
    for rule in Rule::read() {
        for text in rule.source_matchers.iter().chain(&rule.target_matchers) {
            let nobodys = nobodys(text, &names);
            assert!(nobodys.is_empty(), "{text}: no alert is {nobodys:?}");
        }
    }
}

#[test]
fn a_name_that_is_nobodys_is_found() {
    let nobodys = |text: &str| nobodys(text, &["A", "AB", "C"]).join(" ");
    assert_eq!(nobodys("alertname=\"A\""), "");
    assert_eq!(nobodys("alertname=\"B\""), "B");
    assert_eq!(nobodys("alertname=~\"A(|B|C)\""), "AC");
    assert_eq!(nobodys("alertname=~\"A.+|B.*\""), "B.*");
    assert_eq!(nobodys("side=\"self\""), "");
}

#[test]
fn each_rule_of_inhibition_is_in_the_table() {
    let alerts = Alerts::read();
    let table = table();
    let mut found = Table::new();
    for rule in Rule::read() {
        for (pair, labels) in rule.pairs(&alerts) {
            assert_eq!(table.get(&pair), Some(&labels), "{pair:?} of {rule:?}");
            assert!(
                found.insert(pair.clone(), labels).is_none(),
                "{pair:?} is muted twice"
            );
        }
    }
    let unused: Vec<_> = table.keys().filter(|pair| !found.contains_key(pair)).collect();
    assert!(unused.is_empty(), "no rule for {unused:?}");
}

/// A label that neither has would count as equal: the rule would apply to more than it names.
#[test]
fn inhibition_stands_on_labels_that_source_and_target_have() {
    let alerts = Alerts::read();
    for rule in Rule::read() {
        for (source, target) in rule.pairs(&alerts).into_keys() {
            for name in [source, target] {
                let missing: Vec<_> = rule.equal.difference(&alerts.get(&name).labels).collect();
                assert!(missing.is_empty(), "{name} has no {missing:?}: {rule:?}");
            }
        }
    }
}

#[test]
fn nothing_critical_is_muted_by_less() {
    let alerts = Alerts::read();
    for rule in Rule::read() {
        for (source, target) in rule.pairs(&alerts).into_keys() {
            let severity = |name: &str| &*alerts.get(name).severity;
            assert!(
                severity(&target) != "critical" || severity(&source) == "critical",
                "{source} ({}) mutes {target}: {rule:?}",
                severity(&source)
            );
        }
    }
}

/// For each alert, those that may mute it. Any one of them does. Without one it must be delivered.
type Expected = BTreeMap<Labels, Vec<Labels>>;

/// What Alertmanager reports differently.
async fn differences(alertmanager: &Alertmanager, expected: &Expected) -> Vec<String> {
    // The alerts by fingerprint: `inhibitedBy` has fingerprints.
    let mut known = BTreeMap::new();
    let mut states = BTreeMap::new();
    for alert in alertmanager.alerts().await {
        let labels: Labels = serde_json::from_value(alert["labels"].clone()).expect("labels");
        let by: Vec<String> = serde_json::from_value(alert["status"]["inhibitedBy"].clone()).expect("a list");
        let state = alert["status"]["state"].as_str().expect("a state").to_owned();
        let fingerprint = alert["fingerprint"].as_str().expect("a fingerprint").to_owned();
        known.insert(fingerprint, labels.clone());
        states.insert(labels, (state, by));
    }
    let mut wrong = Vec::new();
    if states.len() != expected.len() {
        wrong.push(format!("{} alerts, not {}", states.len(), expected.len()));
    }
    for (labels, muters) in expected {
        let Some((state, by)) = states.get(labels) else {
            wrong.push(format!("not there: {labels:?}"));
            continue;
        };
        let by: Vec<&Labels> = by.iter().map(|fingerprint| &known[fingerprint]).collect();
        let fits = match muters.is_empty() {
            true => state == "active" && by.is_empty(),
            false => state == "suppressed" && !by.is_empty() && by.iter().all(|one| muters.contains(one)),
        };
        if !fits {
            wrong.push(format!("{labels:?} is {state} by {by:?}, expected by {muters:?}"));
        }
    }
    wrong
}

/// Waits until it is so, and checks once more: that an alert is delivered counts only after all alerts have arrived.
async fn settles(what: &str, alertmanager: &Alertmanager, expected: &Expected) {
    wait_until(what, async || {
        let wrong = differences(alertmanager, expected).await;
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{} wrong:\n{}", wrong.len(), wrong.join("\n"))),
        }
    })
    .await;
    let wrong = differences(alertmanager, expected).await;
    assert!(wrong.is_empty(), "{what}: {}", wrong.join("\n"));
}

/// Every two alerts together, on the same labels. If one mutes the other, also on different labels.
#[tokio::test(flavor = "multi_thread")]
async fn each_alert_mutes_those_it_should_and_no_other() {
    let alerts = Alerts::read();
    let table = table();
    let mut expected = Expected::new();
    // Alertmanager accepts them in this order.
    let mut posted = Vec::new();
    let mut add = |labels: Labels, muters: Vec<Labels>| {
        posted.push(labels.clone());
        assert!(
            expected.insert(labels.clone(), muters).is_none(),
            "{labels:?} twice"
        );
    };
    let names = alerts.of_racks(true);
    let mut pairs: Vec<[&str; 2]> = Vec::new();
    for (place, one) in names.iter().enumerate() {
        pairs.extend(names[..place].iter().map(|other| [*one, *other]));
    }
    let labels_of = |source: &str, target: &str| table.get(&(source.to_owned(), target.to_owned()));
    // The last pair has a muted alert. When that is known, all earlier ones are known too.
    pairs.sort_by_key(|[one, other]| labels_of(one, other).or(labels_of(other, one)).is_some());
    for (case, [one, other]) in pairs.into_iter().enumerate() {
        for (source, target) in [(one, other), (other, one)] {
            let muters = labels_of(source, target).map(|_| alerts.of_case(source, case, None));
            add(alerts.of_case(target, case, None), muters.into_iter().collect());
            for label in labels_of(source, target).into_iter().flatten() {
                add(alerts.of_case(target, case, Some(label)), Vec::new());
            }
        }
    }
    let pager = Pager::start().await;
    let alertmanager = Alertmanager::start(&pager).await;
    alertmanager.post(&posted).await;
    settles("alerts of racks", &alertmanager, &expected).await;

    // An alert about everything mutes everywhere.
    for source in alerts.of_racks(false) {
        let muter = alerts.of_case(source, 0, None);
        for (labels, muters) in &mut expected {
            if let Some(on) = labels_of(source, &labels["alertname"]) {
                assert!(on.is_empty(), "{source} stands on {on:?}");
                muters.push(muter.clone());
            }
        }
        expected.insert(muter.clone(), Vec::new());
        alertmanager.post(&[muter]).await;
        settles(source, &alertmanager, &expected).await;
    }
}

/// A receiver, and the alerts of one message to it.
type Message = (String, BTreeSet<Labels>);

/// Waits until all these are delivered, each once.
async fn told(pager: &Pager, expected: &BTreeSet<Message>) {
    let count: usize = expected.iter().map(|(_, alerts)| alerts.len()).sum();
    wait_until("all are told", async || match pager.pages().len() {
        told if told >= count => Ok(()),
        told => Err(format!("{told} of {count}")),
    })
    .await;
    let notifications = pager.notifications();
    assert_eq!(notifications.len(), expected.len());
    let messages: BTreeSet<Message> = notifications
        .into_iter()
        .map(|message| {
            assert_eq!(message.status, "firing");
            let alerts = message.alerts.into_iter().map(|page| page.labels);
            (message.receiver, alerts.collect())
        })
        .collect();
    assert_eq!(&messages, expected);
}

/// Two racks: both ToRs of a rack are one message, the racks are two.
#[tokio::test(flavor = "multi_thread")]
async fn both_tors_of_a_rack_are_one_message() {
    let alerts = Alerts::read();
    let of_fleet = |name: &str| name.starts_with("DualTorCertificate");
    let receiver = |name: &str| match &*alerts.get(name).severity {
        _ if of_fleet(name) => "tickets",
        "critical" => "pager",
        "warning" => "tickets",
        "info" => "log",
        other => panic!("{name} is {other}"),
    };
    let mut expected: BTreeMap<(String, String, String), BTreeSet<Labels>> = BTreeMap::new();
    for name in alerts.of_racks(true) {
        for rack in ["r1", "r2"] {
            for tor in ["tor1", "tor2"] {
                // A rack for each alert, so that none mutes another.
                let labels = alerts.firing(name, |label| match label {
                    "rack" => format!("{name}-{rack}"),
                    "instance" => format!("{name}-{rack}-{tor}"),
                    label => label.to_owned(),
                });
                // One CA: certificates concern the whole fleet.
                let group = if of_fleet(name) { "" } else { rack };
                let group = (receiver(name).to_owned(), name.to_owned(), group.to_owned());
                expected.entry(group).or_default().insert(labels);
            }
        }
    }
    let mut expected: BTreeSet<Message> = expected
        .into_iter()
        .map(|((receiver, ..), alerts)| (receiver, alerts))
        .collect();
    let receivers: BTreeSet<&str> = expected.iter().map(|(receiver, _)| &**receiver).collect();
    assert_eq!(receivers, BTreeSet::from(["log", "pager", "tickets"]));
    let pager = Pager::start().await;
    let alertmanager = Alertmanager::start(&pager).await;
    let posted: Vec<Labels> = expected.iter().flat_map(|(_, alerts)| alerts.clone()).collect();
    alertmanager.post(&posted).await;
    told(&pager, &expected).await;

    // It mutes others, so it comes after them.
    for name in alerts.of_racks(false) {
        let labels = alerts.firing(name, str::to_owned);
        alertmanager.post(std::slice::from_ref(&labels)).await;
        expected.insert((receiver(name).to_owned(), [labels].into()));
        told(&pager, &expected).await;
    }
}
