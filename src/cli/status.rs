//! `status [PORT]`: what a running exporter knows, read from its API, for a person at a terminal or for Nagios.
//!
//! Exit codes: 0 all ports, and all targets of probe modules, are ok or in maintenance; 1 the worst is a warning; 2 the worst is critical; 3 the exporter did not
//! answer, or bad usage.
//!
//! | file | job |
//! |---|---|
//! | api_client | HTTP to the exporter: TLS, login, answers, events |
//! | api_types | the parts of the answers that are shown |
//! | status_table | answers → text (pure) |
//! | services_text | the same for targets of probe modules (pure) |
//! | status_watch | `--watch`: follows the event stream |
//!
//! Imports `model`, `config` (files, durations), `runtime` (how much may be read), `soc` (PEM files, what errors mean), and its sibling `program`.

mod api_client;
mod api_types;
mod services_text;
mod status_table;
mod status_watch;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use percent_encoding::utf8_percent_encode;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::program::print_result;
use crate::config::Config;
use crate::model::{PortError, PortLevel, TargetId};
use api_client::{ApiClient, NotThere, login as read_login};
use api_types::{FleetAnswer, PortAnswer, PortsAnswer, ServiceAnswer, ServicesAnswer};
use services_text::{service_text, services_text};
use status_table::{fleet_text, port_text};
use status_watch::{KnownRows, watch};

/// Exit code: the worst level that is shown is a warning.
const WARNING: u8 = 1;
/// Exit code: the worst level that is shown is critical.
const CRITICAL: u8 = 2;
/// Exit code: nothing is known, because the exporter did not answer or was not asked correctly.
pub(super) const NOT_KNOWN: u8 = 3;
/// Ports, or targets of modules, in one answer: the most that the API gives.
const PAGE: usize = 5_000;
/// Ports, or targets, of one exporter: ten times as many as it was ever tried with. What answers with more is none.
const MOST_ROWS: usize = 100_000;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show all about this port, with what happened to it lately; or about a target of a probe module: MODULE/TARGET
    #[arg(value_name = "PORT", value_parser = asked, conflicts_with_all = ["port_level", "watch"])]
    port: Option<AskedName>,
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
    #[arg(long, value_name = "NAME", requires = "password_file", value_parser = user)]
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

/// HTTP's Basic authentication joins name and password with a colon.
fn user(name: &str) -> Result<String, String> {
    match name.contains(':') {
        true => Err("expected a name without a colon: HTTP cannot have one in it".to_owned()),
        false => Ok(name.to_owned()),
    }
}

/// What is asked for. A port's name may have a slash, too.
#[derive(Debug, Clone)]
struct AskedName {
    port: Option<TargetId>,
    /// Module and target.
    service: Option<(String, String)>,
}

fn asked(name: &str) -> Result<AskedName, String> {
    let port = TargetId::parse(name);
    let service = name.split_once('/');
    let service = service.filter(|(module, target)| !module.is_empty() && !target.is_empty());
    if port.is_none() && service.is_none() {
        return Err(format!(
            "{PortError}, or r17|Ethernet0 with a rack, or MODULE/TARGET"
        ));
    }
    Ok(AskedName {
        port,
        service: service.map(|(module, target)| (module.to_owned(), target.to_owned())),
    })
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
    if let Some(name) = &args.port {
        return one(&client, name, args.output).await;
    }
    let levels = args.level.unwrap_or(LevelArg::Ok).and_worse();
    match args.watch {
        Some(pause) => watch(&client, &levels, pause, args.output).await,
        None => {
            let fleet: FleetAnswer = client.get("/api/v1/fleet").await?;
            let (rows, services) = (all_ports(&client).await?, all_services(&client, &fleet).await?);
            let shown = StatusPicture {
                fleet: &fleet,
                ports: chosen(&rows, &levels),
                services: chosen_services(&services, &levels),
            };
            print_result(shown.as_text(args.output).trim_end())?;
            Ok(shown.worst())
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

/// A target of a module, or a port.
async fn one(client: &ApiClient, name: &AskedName, output: StatusOutput) -> anyhow::Result<PortLevel> {
    if let Some((module, target)) = &name.service {
        match (one_service(client, module, target, output).await, &name.port) {
            // Then it is a port's name.
            (Err(error), Some(_)) if error.downcast_ref::<NotThere>().is_some() => {}
            (outcome, _) => return outcome,
        }
    }
    match &name.port {
        Some(port) => one_port(client, port, output).await,
        None => Ok(PortLevel::Ok),
    }
}

async fn one_service(
    client: &ApiClient,
    module: &str,
    target: &str,
    output: StatusOutput,
) -> anyhow::Result<PortLevel> {
    let [module, target] =
        [module, target].map(|name| utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC));
    let fleet: FleetAnswer = client.get("/api/v1/fleet").await?;
    let found: ServiceAnswer = client.get(&format!("/api/v1/targets/{module}/{target}")).await?;
    let text = match output {
        StatusOutput::Table => service_text(&fleet, &found),
        StatusOutput::Json => found.json.to_string(),
    };
    print_result(text.trim_end())?;
    Ok(found.row.level())
}

async fn one_port(client: &ApiClient, port: &TargetId, output: StatusOutput) -> anyhow::Result<PortLevel> {
    let key = port.key();
    let name = utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
    let fleet: FleetAnswer = client.get("/api/v1/fleet").await?;
    let found: PortAnswer = client.get(&format!("/api/v1/ports/{name}")).await?;
    let text = match output {
        StatusOutput::Table => port_text(&fleet, &found),
        StatusOutput::Json => found.json.to_string(),
    };
    print_result(text.trim_end())?;
    Ok(found.row.level())
}

/// All rows. By port, so that none is missed or doubled between two pages while levels change.
async fn all_ports(client: &ApiClient) -> anyhow::Result<KnownRows> {
    let ports = pages(client, "ports?sort=port", |page: PortsAnswer| page.ports).await?;
    Ok(ports.into_iter().map(|port| (port.name(), port)).collect())
}

/// All targets of modules by name, read as ports are. An exporter without any, or an older one, has none.
async fn all_services(client: &ApiClient, fleet: &FleetAnswer) -> anyhow::Result<KnownServices> {
    if fleet.fleet.services.targets == 0 {
        return Ok(KnownServices::new());
    }
    let services = pages(client, "targets?sort=target", |page: ServicesAnswer| page.targets).await?;
    Ok(services
        .into_iter()
        .map(|service| (service.row.name(), service))
        .collect())
}

/// All parts of a long list, in the order of its names.
async fn pages<P: DeserializeOwned, R>(
    client: &ApiClient,
    list: &str,
    rows: impl Fn(P) -> Vec<R>,
) -> anyhow::Result<Vec<R>> {
    let mut all = Vec::new();
    while all.len() <= MOST_ROWS {
        let path = format!("/api/v1/{list}&limit={PAGE}&offset={}", all.len());
        let page = rows(client.get(&path).await?);
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
    bail!("{list}: more than {MOST_ROWS}: this is not the API of a dualtor-exporter");
}

/// All targets of modules, by name.
type KnownServices = BTreeMap<String, ServiceAnswer>;

/// What is shown.
struct StatusPicture<'a> {
    fleet: &'a FleetAnswer,
    ports: Vec<&'a PortAnswer>,
    services: Vec<&'a ServiceAnswer>,
}

impl StatusPicture<'_> {
    fn as_text(&self, output: StatusOutput) -> String {
        match output {
            StatusOutput::Table => {
                fleet_text(self.fleet, &self.ports) + &services_text(self.fleet, &self.services)
            }
            StatusOutput::Json => self.as_json().to_string(),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let ports: Vec<_> = self.ports.iter().map(|port| &port.json).collect();
        let targets: Vec<_> = self.services.iter().map(|service| &service.json).collect();
        json!({"fleet": self.fleet.json, "ports": ports, "targets": targets})
    }

    fn worst(&self) -> PortLevel {
        let ports = self.ports.iter().map(|port| port.row.level());
        let levels = ports.chain(self.services.iter().map(|service| service.row.level()));
        levels.max().unwrap_or(PortLevel::Ok)
    }
}

fn chosen_services<'a>(services: &'a KnownServices, levels: &[PortLevel]) -> Vec<&'a ServiceAnswer> {
    worst_first(services.values(), levels, |service| {
        (service.row.level(), service.row.place_of_reason())
    })
}

/// Those of these levels, the worst first, as the API sorts them.
fn chosen<'a>(rows: &'a KnownRows, levels: &[PortLevel]) -> Vec<&'a PortAnswer> {
    worst_first(rows.values(), levels, |port| {
        (port.row.level(), port.row.place_of_reason())
    })
}

fn worst_first<'a, R>(
    rows: impl Iterator<Item = &'a R>,
    levels: &[PortLevel],
    place: impl Fn(&R) -> (PortLevel, usize),
) -> Vec<&'a R> {
    let mut chosen: Vec<_> = rows.filter(|row| levels.contains(&place(row).0)).collect();
    chosen.sort_by_key(|row| {
        let (level, reason) = place(row);
        (Reverse(level), reason)
    });
    chosen
}

fn code(level: PortLevel) -> u8 {
    match level {
        PortLevel::Ok | PortLevel::Maintenance => 0,
        PortLevel::Warning => WARNING,
        PortLevel::Critical => CRITICAL,
    }
}
