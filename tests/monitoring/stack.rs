//! Debian's Prometheus and Alertmanager with the delivered files, on free ports of 127.0.0.1.
//!
//! Time is compressed: a minute of `for`, of `keep_firing_for` and of Alertmanager's waits is a second here. So they keep their
//! order. Expressions are not changed. Delays of exporter and probes on a busy machine are not compressed: otherwise a test
//! would get the correct alert that no exporter has been up for five compressed minutes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use promql_parser::util::parse_duration;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Program;
use crate::http;
use crate::pager::Pager;
use crate::sources;
use crate::wait::wait_until;

/// How much faster time runs in rules and routes.
const HASTE: u32 = 60;
/// The rules about SoCs.
const HASTENED: [&str; 2] = ["traffic.yaml", "channel.yaml"];

/// A duration in Prometheus' notation, in compressed time.
fn hastened(duration: &str) -> String {
    if duration == "0s" {
        return duration.to_owned();
    }
    let whole = parse_duration(duration).unwrap_or_else(|error| panic!("{duration}: {error}"));
    format!("{}ms", (whole / HASTE).as_millis())
}

/// Compresses the durations of these keys, wherever they are.
fn hasten(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(duration) if keys.contains(&&**key) => *duration = hastened(duration),
                    field => hasten(field, keys),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| hasten(item, keys)),
        _ => {}
    }
}

/// Writes it as JSON, which is YAML too.
fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).expect("written");
}

/// What Prometheus scrapes.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Its labels in addition to `job`. `instance` is among them, because the port differs each time.
    pub(crate) labels: Vec<(&'static str, &'static str)>,
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    program: Program,
    pub(crate) address: SocketAddr,
    dir: TempDir,
}

impl Prometheus {
    /// With the delivered rules.
    pub(crate) async fn start(targets: &[Target], alertmanager: Option<SocketAddr>) -> Self {
        Self::start_hastened(targets, alertmanager, &HASTENED).await
    }

    /// With the delivered rules. Time runs faster in those of these files.
    pub(crate) async fn start_hastened(
        targets: &[Target],
        alertmanager: Option<SocketAddr>,
        hastened: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for file in sources::files("alerts", "yaml") {
            let mut rules = sources::yaml(&file);
            if hastened.contains(&&*sources::name(&file)) {
                hasten(&mut rules, &["for", "keep_firing_for"]);
            }
            for group in rules["groups"].as_array_mut().expect("groups") {
                group.as_object_mut().expect("a group").remove("interval");
            }
            write(&dir.path().join(sources::name(&file)), &rules);
        }
        let targets: Vec<Value> = targets
            .iter()
            .map(|target| {
                let labels: BTreeMap<_, _> = target.labels.iter().copied().collect();
                json!({"targets": [target.address.to_string()], "labels": labels})
            })
            .collect();
        let alertmanagers: Vec<String> = alertmanager.iter().map(ToString::to_string).collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
            "rule_files": ["*.yaml"],
            "scrape_configs": [{"job_name": "dualtor-exporter", "static_configs": targets}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]},
        });
        Self::with(dir, &config).await
    }

    /// Federates from another Prometheus as the documentation describes. Without rules.
    pub(crate) async fn federating(mut scrape: Value, from: SocketAddr) -> Self {
        scrape["scrape_interval"] = json!("1s");
        scrape["static_configs"] = json!([{"targets": [from.to_string()]}]);
        let dir = tempfile::tempdir().expect("a directory");
        Self::with(dir, &json!({"scrape_configs": [scrape]})).await
    }

    async fn with(dir: TempDir, config: &Value) -> Self {
        let path = dir.path().join("prometheus.yml");
        write(&path, config);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            // Otherwise a resolved alert is delivered again only after a minute, and a new one waits as long.
            .arg("--rules.alert.resend-delay=1s")
            .arg("--rules.alert.for-grace-period=0s");
        let (program, address) = started(command).await;
        Self {
            program,
            address,
            dir,
        }
    }

    /// The API's answer. `Err`: its error.
    pub(crate) async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let parameters = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let parameters: Vec<String> = parameters.collect();
        let answer = http::get(self.address, &format!("/api/v1/{path}?{}", parameters.join("&"))).await;
        let mut answer: Value = serde_json::from_str(answer.text()).map_err(|_| answer.text().to_owned())?;
        match answer["status"] == "success" {
            true => Ok(answer["data"].take()),
            false => Err(answer["error"].to_string()),
        }
    }

    /// The series that an instant query returns.
    pub(crate) async fn query(&self, query: &str) -> Vec<Value> {
        let data = self.api("query", &[("query", query)]).await;
        let mut data = data.unwrap_or_else(|error| panic!("{query}: {error}"));
        serde_json::from_value(data["result"].take()).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits until a query returns something.
    pub(crate) async fn sees(&self, query: &str) {
        wait_until(query, async || {
            let found = self.query(query).await;
            if found.is_empty() {
                Err("nothing".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    }

    /// Its process, and its output so far.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }
}

/// A running Alertmanager with the delivered configuration. All receivers are replaced by ours.
pub(crate) struct Alertmanager {
    program: Program,
    pub(crate) address: SocketAddr,
    dir: TempDir,
}

impl Alertmanager {
    pub(crate) async fn start(pager: &Pager) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = sources::yaml(&alertmanager_example());
        hasten(&mut config, &["group_wait", "group_interval"]);
        for receiver in config["receivers"].as_array_mut().expect("receivers") {
            let name = receiver["name"].as_str().expect("a name").to_owned();
            let url = format!("http://{}/{name}", pager.address);
            // A receiver without any configuration: its alerts go nowhere, on purpose.
            let silent = receiver.as_object().expect("a receiver").len() == 1;
            *receiver = match silent {
                true => json!({"name": name}),
                false => json!({"name": name, "webhook_configs": [{"url": url, "send_resolved": true}]}),
            };
        }
        let path = dir.path().join("alertmanager.yml");
        write(&path, &config);
        // Debian's name for it, or its own.
        let debian = Command::new("prometheus-alertmanager").arg("--version").output();
        let mut command = Command::new(if debian.is_ok() {
            "prometheus-alertmanager"
        } else {
            "alertmanager"
        });
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            // No cluster, because it would listen on all addresses.
            .arg("--cluster.listen-address=");
        let (program, address) = started(command).await;
        Self {
            program,
            address,
            dir,
        }
    }

    /// Reports to it that alerts with these labels fire.
    pub(crate) async fn post(&self, alerts: &[BTreeMap<String, String>]) {
        let alerts: Vec<Value> = alerts.iter().map(|labels| json!({"labels": labels})).collect();
        let answer = http::post(self.address, "/api/v2/alerts", &Value::from(alerts).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// All alerts that it knows.
    pub(crate) async fn alerts(&self) -> Vec<Value> {
        let answer = http::get(self.address, "/api/v2/alerts").await;
        serde_json::from_str(answer.text()).expect("a list")
    }

    /// The states of the alerts with that name: active or suppressed.
    pub(crate) async fn states(&self, alert: &str) -> Vec<String> {
        let alerts = self.alerts().await.into_iter();
        let named = alerts.filter(|found| found["labels"]["alertname"] == alert);
        named
            .map(|found| found["status"]["state"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }
}

pub(crate) fn alertmanager_example() -> PathBuf {
    sources::path("alerts/alertmanager/alertmanager.example.yaml")
}

/// The program when it is ready, and its address.
async fn started(command: Command) -> (Program, SocketAddr) {
    let mut program = Program::spawn(command);
    let address = listens(&mut program).await;
    ready(address).await;
    (program, address)
}

/// Its address, from its log.
async fn listens(program: &mut Program) -> SocketAddr {
    let line = program.says("Listening on", 1).await;
    let address = line
        .split("address=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    address.expect("an address").parse().expect("an address")
}

async fn ready(address: SocketAddr) {
    wait_until("ready", async || {
        let answer = http::get(address, "/-/ready").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.status.to_string())
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_a_second() {
        let mut rule = json!({"rules": [{"alert": "A", "for": "90s", "expr": "rate(x[5m])"}, {"for": "0s"}]});
        hasten(&mut rule, &["for"]);
        assert_eq!(
            rule,
            json!({"rules": [{"alert": "A", "for": "1500ms", "expr": "rate(x[5m])"}, {"for": "0s"}]})
        );
    }
}
