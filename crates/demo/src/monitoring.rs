//! The demo's own Prometheus, with the rules of alerts/, and Alertmanager, with its example of routes. The demo prints which
//! pages that would send.
//!
//! The demo works without them: a program that is not installed or does not start is reported.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::daemon::Daemon;
use crate::teller;
use dualtor_exporter::cli::program::print;

/// How long they may take to start. On an idle machine both need half a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// The usual ports, where people look for them.
const PROMETHEUS_PORT: u16 = 9090;
const ALERTMANAGER_PORT: u16 = 9093;

/// All files of alerts/ with their names.
const RULES: [(&str, &str); 6] = [
    ("recording.yaml", include_str!("../../../alerts/recording.yaml")),
    ("traffic.yaml", include_str!("../../../alerts/traffic.yaml")),
    ("channel.yaml", include_str!("../../../alerts/channel.yaml")),
    ("probe.yaml", include_str!("../../../alerts/probe.yaml")),
    ("services.yaml", include_str!("../../../alerts/services.yaml")),
    ("exporter.yaml", include_str!("../../../alerts/exporter.yaml")),
];
const ROUTES: &str = include_str!("../../../alerts/alertmanager/alertmanager.example.yaml");
/// The address of the receivers in the example.
const EXAMPLE_RECEIVER: &str = "127.0.0.1:9099";

/// See the module's page.
pub(crate) struct Monitoring {
    running: Vec<Daemon>,
    receiver: Option<AbortOnDropHandle<()>>,
}

impl Monitoring {
    /// Starts the programs that are installed, and prints where to look.
    pub(crate) async fn start(directory: &Path, exporter: SocketAddr) -> Self {
        let mut monitoring = Self {
            running: Vec::new(),
            receiver: None,
        };
        let (pages, alertmanager) = match monitoring.alertmanager(directory).await {
            Ok(Some((address, note))) => (format!("http://{address}/{note}"), Some(address)),
            Ok(None) => (missing("prometheus-alertmanager"), None),
            Err(error) => (format!("none: {error:#}"), None),
        };
        let alerts = monitoring.prometheus(directory, exporter, alertmanager).await;
        print(&match alerts {
            Ok(Some((address, note))) => {
                format!("  alerts    http://{address}/alerts{note}\n  pages     {pages}")
            }
            Ok(None) => format!("  alerts    {}", missing("prometheus")),
            Err(error) => format!("  alerts    none: {error:#}"),
        });
        monitoring
    }

    async fn prometheus(
        &mut self,
        directory: &Path,
        exporter: SocketAddr,
        alertmanager: Option<SocketAddr>,
    ) -> anyhow::Result<Option<(SocketAddr, String)>> {
        let directory = directory.join("prometheus");
        std::fs::create_dir(&directory)?;
        for (name, text) in RULES {
            std::fs::write(directory.join(name), text)?;
        }
        let config = directory.join("prometheus.yml");
        std::fs::write(&config, prometheus_config(exporter, alertmanager))?;
        let data = directory.join("data");
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
        ];
        self.daemon(&["prometheus"], &arguments, PROMETHEUS_PORT, &directory)
            .await
    }

    async fn alertmanager(&mut self, directory: &Path) -> anyhow::Result<Option<(SocketAddr, String)>> {
        let directory = directory.join("alertmanager");
        std::fs::create_dir(&directory)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let receiver = listener.local_addr()?.to_string();
        let config = directory.join("alertmanager.yml");
        std::fs::write(&config, ROUTES.replace(EXAMPLE_RECEIVER, &receiver))?;
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", directory.join("data").display()),
            // No cluster, because it would listen on all addresses.
            "--cluster.listen-address=".to_owned(),
        ];
        // Debian's name for it, and its own name.
        let names = ["prometheus-alertmanager", "alertmanager"];
        let started = self
            .daemon(&names, &arguments, ALERTMANAGER_PORT, &directory)
            .await?;
        if started.is_some() {
            let serve = async {
                // It ends with the demo and has no reason to end earlier.
                let _ = axum::serve(listener, Router::new().fallback(take)).await;
            };
            self.receiver = Some(AbortOnDropHandle::new(tokio::spawn(serve)));
        }
        Ok(started)
    }

    /// Starts the first of these programs that is installed, at its usual port or any other. Returns its address and a remark
    /// for people.
    async fn daemon(
        &mut self,
        names: &[&str],
        arguments: &[String],
        port: u16,
        directory: &Path,
    ) -> anyhow::Result<Option<(SocketAddr, String)>> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        let listen: SocketAddr = (Ipv4Addr::LOCALHOST, if free { port } else { 0 }).into();
        let note = if free {
            String::new()
        } else {
            format!(" ({port} is in use)")
        };
        let log = directory.join("log");
        for name in names {
            let mut command = Command::new(name);
            command
                .args(arguments)
                .arg(format!("--web.listen-address={listen}"))
                .stderr(File::create(&log)?);
            let started = Daemon::start(&mut command).with_context(|| format!("cannot start {name}"))?;
            let Some(mut daemon) = started else { continue };
            let address = listens(&mut daemon, name, &log).await;
            // A program that does not answer must be stopped too.
            self.running.push(daemon);
            return Ok(Some((address?, note)));
        }
        Ok(None)
    }

    pub(crate) async fn stop(self) {
        for daemon in self.running {
            daemon.stop().await;
        }
    }
}

fn missing(package: &str) -> String {
    format!("none: {package} is not installed (Debian: apt-get install {package}); the demo would start it")
}

/// Waits until it has logged its address.
async fn listens(daemon: &mut Daemon, name: &str, log: &PathBuf) -> anyhow::Result<SocketAddr> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = std::fs::read_to_string(log)?;
        if let Some(address) = said.lines().find_map(listening) {
            return Ok(address);
        }
        if let Some(status) = daemon.ended()? {
            bail!(
                "{name} ended at once ({status}): {}",
                said.lines().last().unwrap_or_default()
            );
        }
        if Instant::now() > deadline {
            bail!(
                "{name} does not say where it listens: {}",
                said.lines().last().unwrap_or_default()
            );
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// `... msg="Listening on" address=127.0.0.1:9090`. Newer versions write other fields in between.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("msg=\"Listening on\"")?;
    let mut fields = rest.split(' ');
    fields.find_map(|field| field.strip_prefix("address=")?.parse().ok())
}

/// Scrapes as often as the demo probes.
fn prometheus_config(exporter: SocketAddr, alertmanager: Option<SocketAddr>) -> String {
    let alertmanagers = alertmanager
        .map(|address| format!("\"{address}\""))
        .unwrap_or_default();
    format!(
        r#"global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: ["*.yaml"]
scrape_configs:
  - job_name: dualtor-exporter
    static_configs:
      - {{targets: ["{exporter}"], labels: {{instance: tor-upper, rack: demo}}}}
alerting:
  alertmanagers:
    - static_configs: [{{targets: [{alertmanagers}]}}]
"#
    )
}

/// The part of an Alertmanager message that is used.
#[derive(Debug, Deserialize)]
struct Notification {
    receiver: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    status: String,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Debug, Deserialize)]
struct Labels {
    #[serde(default)]
    port: String,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    summary: String,
}

async fn take(body: String) -> StatusCode {
    let Ok(notification) = serde_json::from_str::<Notification>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    for alert in notification.alerts {
        let mut told = format!("{}: {}", alert.status, alert.annotations.summary);
        if !alert.labels.port.is_empty() {
            told += &format!(": {}", alert.labels.port);
        }
        teller::print_about(&notification.receiver, &told);
    }
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rules_are_taken_along() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../alerts");
        let files = std::fs::read_dir(directory).expect("alerts");
        let mut there: Vec<String> = files
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".yaml"))
            .collect();
        there.sort();
        let mut taken = RULES.map(|(name, _)| name);
        taken.sort_unstable();
        assert_eq!(there, taken);
        assert!(ROUTES.contains(EXAMPLE_RECEIVER));
    }

    #[test]
    fn the_address_is_read_from_the_log() {
        let line =
            r#"ts=1 caller=a level=info component=web msg="Listening on" address=127.0.0.1:9090 more=x"#;
        assert_eq!(listening(line), Some(([127, 0, 0, 1], 9090).into()));
        let newer = r#"time=1 level=INFO source=a msg="Listening on" component=web address=127.0.0.1:9091"#;
        assert_eq!(listening(newer), Some(([127, 0, 0, 1], 9091).into()));
        assert_eq!(
            listening(r#"msg="Start listening for connections" address=127.0.0.1:0"#),
            None
        );
    }
}
