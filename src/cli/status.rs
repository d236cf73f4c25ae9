//! `status [PORT]`: what a running exporter knows, read from its API, for a person at a terminal or for Nagios.
//!
//! Exit codes: 0 all ports are ok or in maintenance; 1 the worst is a warning; 2 the worst is critical; 3 the exporter did not
//! answer, or bad usage.
//!
//! | file | job |
//! |---|---|
//! | api_client | HTTP to the exporter: TLS, login, answers, events |
//! | api_types | the parts of the answers that are shown |
//! | status_table | answers → text (pure) |
//!
//! Imports `model`, `config` (files, durations), `soc` (PEM files), and its sibling `program`.

mod api_client;
mod api_types;
mod status_table;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::program::{print, print_result};
use crate::config::Config;
use crate::model::{PortError, PortLevel, TargetId, text};
use api_client::{ApiClient, ApiEvent, login as read_login};
use api_types::{FleetAnswer, PortAnswer, PortsAnswer};
use status_table::{fleet_text, port_text};

/// Exit code: the worst level that is shown is a warning.
const WARNING: u8 = 1;
/// Exit code: the worst level that is shown is critical.
const CRITICAL: u8 = 2;
/// Exit code: nothing is known, because the exporter did not answer or was not asked correctly.
pub(super) const NOT_KNOWN: u8 = 3;
/// Ports in one answer: the most that the API gives.
const PAGE: usize = 5_000;
/// A pause before a lost stream is opened again.
const AGAIN: Duration = Duration::from_secs(2);
/// Clears the terminal and starts at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show all about this port, with what happened to it lately
    #[arg(value_name = "PORT", value_parser = port, conflicts_with_all = ["port_level", "watch"])]
    port: Option<TargetId>,
    /// Where the exporter serves, with --web.route-prefix if it has one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9075")]
    url: http::Uri,
    /// Show only ports of this level or worse
    // `level` is the log's.
    #[arg(id = "port_level", long = "level", value_name = "LEVEL")]
    level: Option<LevelArg>,
    /// Keep running and show each change, at most once in this time
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = Config::duration)]
    watch: Option<Duration>,
    /// Only scrape /metrics once, as Prometheus does: exit code 0 if it is a dualtor-exporter's, whatever the ports' levels
    #[arg(long, conflicts_with_all = ["port", "port_level", "watch", "output"])]
    scrape: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: StatusOutput,
    /// With https: the CA certificates (PEM) that sign the exporter's certificate
    #[arg(long = "tls-ca", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our own certificate (PEM), if the exporter asks for one
    #[arg(long = "tls-cert", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Log in as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// The file with the user's password
    #[arg(long = "password-file", value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusOutput {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelArg {
    Ok,
    Maintenance,
    Warning,
    Critical,
}

impl LevelArg {
    /// This level and all that are worse.
    fn and_worse(self) -> Vec<PortLevel> {
        let least = match self {
            Self::Ok => PortLevel::Ok,
            Self::Maintenance => PortLevel::Maintenance,
            Self::Warning => PortLevel::Warning,
            Self::Critical => PortLevel::Critical,
        };
        PortLevel::ALL
            .iter()
            .copied()
            .filter(|level| *level >= least)
            .collect()
    }
}

fn port(name: &str) -> Result<TargetId, String> {
    TargetId::parse(name).ok_or_else(|| format!("{PortError}, or r17|Ethernet0 with a rack"))
}

pub(super) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    work(&args).await.map(|level| ExitCode::from(code(level)))
}

/// The worst level that was shown.
async fn work(args: &StatusArgs) -> anyhow::Result<PortLevel> {
    let login = args.user.as_deref().zip(args.password_file.as_deref());
    let login = login.map(|(user, file)| read_login(user, file)).transpose()?;
    let files = [&args.tls_ca, &args.tls_cert, &args.tls_key].map(Option::as_deref);
    let client = ApiClient::new(&args.url, files, login)?;
    if args.scrape {
        return scrape(&client).await;
    }
    if let Some(port) = &args.port {
        return one_port(&client, port, args.output).await;
    }
    let levels = args.level.unwrap_or(LevelArg::Ok).and_worse();
    match args.watch {
        Some(pause) => watch(&client, &levels, pause, args.output).await,
        None => {
            let fleet: FleetAnswer = client.get("/api/v1/fleet").await?;
            let ports = ports(&client, &levels).await?;
            print_result(shown(&fleet, &ports, args.output).trim_end())?;
            Ok(worst(&ports))
        }
    }
}

/// For installations: whether Prometheus would get metrics from there. The ports' levels are no matter of it.
async fn scrape(client: &ApiClient) -> anyhow::Result<PortLevel> {
    let path = "/metrics";
    let metrics = client.text(path).await?;
    let samples = metrics
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    if !metrics.contains("\ndualtor_build_info{") {
        bail!("{path}: this is not a dualtor-exporter: no dualtor_build_info in its metrics");
    }
    print_result(&format!("{path}: {} samples", samples.count()))?;
    Ok(PortLevel::Ok)
}

async fn one_port(client: &ApiClient, port: &TargetId, output: StatusOutput) -> anyhow::Result<PortLevel> {
    let key = port.key();
    let name = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
    let fleet: FleetAnswer = client.get("/api/v1/fleet").await?;
    let found: PortAnswer = client.get(&format!("/api/v1/ports/{name}")).await?;
    let text = match output {
        StatusOutput::Table => port_text(&fleet, &found),
        StatusOutput::Json => found.json.to_string(),
    };
    print_result(text.trim_end())?;
    Ok(found.row.level())
}

/// All ports of these levels, the worst first.
async fn ports(client: &ApiClient, levels: &[PortLevel]) -> anyhow::Result<Vec<PortAnswer>> {
    let levels: Vec<&str> = levels.iter().map(|level| level.label()).collect();
    let mut all = Vec::new();
    loop {
        let path = format!(
            "/api/v1/ports?level={}&limit={PAGE}&offset={}",
            levels.join(","),
            all.len()
        );
        let page: PortsAnswer = client.get(&path).await?;
        let is_last = page.ports.len() < PAGE;
        all.extend(page.ports);
        if is_last {
            return Ok(all);
        }
    }
}

fn shown(fleet: &FleetAnswer, ports: &[PortAnswer], output: StatusOutput) -> String {
    match output {
        StatusOutput::Table => fleet_text(fleet, ports),
        StatusOutput::Json => {
            let ports: Vec<_> = ports.iter().map(|port| &port.json).collect();
            json!({"fleet": fleet.json, "ports": ports}).to_string()
        }
    }
}

/// Shows each change until the reader has gone. An exporter that stops answering is asked again.
async fn watch(
    client: &ApiClient,
    levels: &[PortLevel],
    pause: Duration,
    output: StatusOutput,
) -> anyhow::Result<PortLevel> {
    let in_place = output == StatusOutput::Table && io::stdout().is_terminal();
    loop {
        // The first time an exporter that does not answer is an error; later it is news.
        let mut stream = client.events().await?;
        let (mut fleet, mut rows) = (None, BTreeMap::new());
        let mut due = None;
        loop {
            let event = match due {
                Some(due) => timeout_at(due, stream.next()).await,
                None => Ok(stream.next().await),
            };
            match event {
                Ok(Ok(event)) => {
                    adopt(event, &mut fleet, &mut rows);
                    due = due.or(Some(Instant::now() + pause.min(Duration::from_secs(3600))));
                }
                Ok(Err(error)) => {
                    print(&format!("{error:#}; asking again"));
                    tokio::time::sleep(AGAIN).await;
                    break;
                }
                // Time to show what has changed.
                Err(_) => {
                    due = None;
                    let Some(fleet) = &fleet else { continue };
                    let ports = chosen(&rows, levels);
                    let text = shown(fleet, &ports, output);
                    show(&text, in_place)?;
                }
            }
        }
    }
}

fn show(text: &str, in_place: bool) -> anyhow::Result<()> {
    if in_place {
        use std::io::Write as _;
        // The text itself controls nothing: it is cleaned.
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{CLEAR}{}", text::clean_lines(text))?;
        Ok(stdout.flush()?)
    } else {
        print_result(&format!("{text}\n"))
    }
}

fn adopt(
    event: ApiEvent,
    fleet: &mut Option<FleetAnswer>,
    rows: &mut BTreeMap<Option<TargetId>, PortAnswer>,
) {
    match event {
        ApiEvent::Fleet(now) => *fleet = Some(*now),
        ApiEvent::Ports(ports) => rows.extend(ports.into_iter().map(|port| (port.name(), port))),
        ApiEvent::Removed(ports) => rows.retain(|name, _| !ports.contains(name)),
        ApiEvent::Reset => rows.clear(),
        ApiEvent::Other => {}
    }
}

/// Those of these levels, the worst first, as the API sorts them.
fn chosen(rows: &BTreeMap<Option<TargetId>, PortAnswer>, levels: &[PortLevel]) -> Vec<PortAnswer> {
    let ports = rows.values().filter(|port| levels.contains(&port.row.level()));
    let mut ports: Vec<PortAnswer> = ports.cloned().collect();
    ports.sort_by_key(|port| (std::cmp::Reverse(port.row.level()), port.row.place_of_reason()));
    ports
}

fn worst(ports: &[PortAnswer]) -> PortLevel {
    let levels = ports.iter().map(|port| port.row.level());
    levels.max().unwrap_or(PortLevel::Ok)
}

fn code(level: PortLevel) -> u8 {
    match level {
        PortLevel::Ok | PortLevel::Maintenance => 0,
        PortLevel::Warning => WARNING,
        PortLevel::Critical => CRITICAL,
    }
}
