//! `probe <address>`: one dial, one round, printed for a person or as JSON.
//!
//! Exit codes: 0 the SoC answers (no health service and empty replies are answers too); 1 the channel is READY, but a
//! query failed or health is not serving; 2 the channel was never READY, or what was found could not be written to stdout.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::program::print_result;
use crate::config::{Config, DEFAULT_TCP_PORT};
use crate::model::{
    ChannelSettings, ClientIdentity, Health, Port, ProbeSettings, Query, QueryReport, Report, Security, Side,
    Target, TlsSettings,
};
use crate::soc::channel::{Failure, TlsStore, check};
use crate::soc::look::{Found, Left, look};

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The SoC: an IP address, with a port if it is not 50075
    #[arg(value_name = "ADDRESS", value_parser = address)]
    address: SocketAddr,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Which ToR this is; with it, the ends are called self and peer
    #[arg(long, value_name = "SIDE")]
    side: Option<SideArg>,
    /// Each query's deadline
    #[arg(long, value_name = "DURATION", default_value = default_timeout(), value_parser = timeout)]
    timeout: Duration,
    /// Use TLS: the CA certificates (PEM) that sign the SoC's certificate
    #[arg(long = "tls-ca", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our own certificate (PEM), if the SoC asks for one
    #[arg(long = "tls-cert", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// The name that the SoC's certificate must be for [default: its address]
    #[arg(long = "tls-server-name", value_name = "NAME", requires = "tls_ca", value_parser = server_name)]
    tls_server_name: Option<String>,
    /// Metadata to send with each query, repeatable; ${soc_ip} is replaced by the SoC's address
    #[arg(long, value_name = "NAME=VALUE", value_parser = metadata)]
    metadata: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SideArg {
    Upper,
    Lower,
}

/// How long a second look at our TLS files may take.
const NOTES: Duration = Duration::from_secs(2);
/// Oddities of our TLS files that are printed: one may be a bundle of hundreds.
const MAX_NOTES: usize = 5;
const FAILED: u8 = 1;
const NEVER_READY: u8 = 2;

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip: Result<IpAddr, _> = text.parse();
    ip.map(|ip| SocketAddr::new(ip, DEFAULT_TCP_PORT)).map_err(|_| {
        "expected an IP address such as 192.168.0.1, 192.168.0.1:50075 or [fc02::1]:50075".to_owned()
    })
}

/// The configuration's default, as a person writes it: clap wants a text, and keeps it.
fn default_timeout() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:?}", ProbeSettings::default().timeout));
    &TEXT
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    Config::duration(text)
}

fn server_name(text: &str) -> Result<String, String> {
    Config::server_name(text).ok_or_else(|| "expected a DNS name or an IP address".to_owned())
}

fn metadata(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("expected NAME=VALUE, such as grpc_server=${soc_ip}".to_owned());
    };
    Config::metadata(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ProbeArgs {
    fn security(&self) -> Security {
        let Some(ca) = self.tls_ca.clone() else {
            return Security::Plain;
        };
        let client = match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(cert), Some(key)) => Some(ClientIdentity { cert, key }),
            // clap lets neither be without the other.
            _ => None,
        };
        Security::Tls(TlsSettings {
            ca,
            client,
            server_name: self.tls_server_name.clone(),
        })
    }
}

pub(super) async fn run(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    let side = match args.side {
        Some(SideArg::Upper) => Side::Upper,
        Some(SideArg::Lower) => Side::Lower,
        None => Side::Unknown,
    };
    let target = Target {
        namespace: "".into(),
        id: Port::new("probe")?.into(),
        address: args.address,
        side,
        channel: Arc::new(ChannelSettings {
            security: args.security(),
            metadata: args.metadata,
            ..ChannelSettings::default()
        }),
    };
    let files = target.channel.security.clone();
    let (found, expiry) = look(target, args.timeout, &TlsStore::default()).await?;
    let shown = Shown {
        address: args.address,
        side,
        expiry,
        notes: notes(files).await,
    };
    let text = match args.output {
        Output::Text => text(&shown, &found),
        Output::Json => serde_json::to_string_pretty(&as_json(&shown, &found))?,
    };
    print_result(text.trim_end())?;
    Ok(match &found {
        Found::NeverReady(_) => ExitCode::from(NEVER_READY),
        Found::Ready { report, .. } if answers(report) => ExitCode::SUCCESS,
        Found::Ready { .. } => ExitCode::from(FAILED),
    })
}

/// What is printed beside what was found.
struct Shown {
    address: SocketAddr,
    side: Side,
    /// When the SoC's certificate expires.
    expiry: Option<SystemTime>,
    /// What is odd about our own TLS files, although they serve.
    notes: Vec<String>,
}

/// What is odd about our own TLS files. What keeps them from serving is what the dial has failed of.
async fn notes(security: Security) -> Vec<String> {
    let Security::Tls(settings) = security else {
        return Vec::new();
    };
    // The dial has read them a moment ago. Should they hang now, there are no notes.
    let checked = tokio::task::spawn_blocking(move || check(&settings));
    let Ok(Ok(Ok(checked))) = tokio::time::timeout(NOTES, checked).await else {
        return Vec::new();
    };
    let mut notes = [checked.expired, checked.notes].concat();
    notes.truncate(MAX_NOTES);
    notes
}

/// How a connection was over soon after READY, for people.
pub(super) fn left_text(left: &Left) -> String {
    let how = left.failure.as_ref().map(ToString::to_string);
    let how = how.unwrap_or_else(|| {
        "the SoC's server closed the connection in good order (GOAWAY NO_ERROR)".to_owned()
    });
    let after = milliseconds(Some(left.after));
    format!("the connection ended {after} after READY: {how}. If this happens each time, the channel flaps")
}

pub(super) fn answers(report: &Report) -> bool {
    report.is_all_answered() && matches!(report.health, Health::Serving | Health::Unimplemented)
}

/// Each end's name, and its (direction, link, operation).
fn ends(report: &Report, side: Side) -> [(&'static str, [&'static str; 3]); 2] {
    let [first, second] = report.direction.named(side);
    let [first_link, second_link] = report.link.named(side).map(|(_, link)| link.label());
    let [first_oper, second_oper] = report.oper.named(side).map(|(_, oper)| oper.label());
    [
        (first.0, [first.1.label(), first_link, first_oper]),
        (second.0, [second.1.label(), second_link, second_oper]),
    ]
}

pub(super) fn milliseconds(duration: Option<Duration>) -> String {
    duration.map_or("-".to_owned(), |d| format!("{:.1} ms", d.as_secs_f64() * 1000.0))
}

/// A time to the second, UTC.
fn utc(at: SystemTime) -> String {
    let at = DateTime::<Utc>::from(at);
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn text(shown: &Shown, found: &Found) -> String {
    let mut out = format!("address    {}\n", shown.address);
    if let Some(expiry) = shown.expiry {
        out += &format!("tls        the SoC's certificate expires {}\n", utc(expiry));
    }
    for note in &shown.notes {
        out += &format!("tls        note: {note}\n");
    }
    // Writing into a String cannot fail.
    let _ = match found {
        Found::NeverReady(failure) => {
            write!(out, "channel    never READY: {failure}")
        }
        Found::Ready { after, report, left } => write!(
            out,
            "channel    READY after {}\n{}{}version    {}\nhealth     {}\n\n{}",
            milliseconds(Some(*after)),
            left.as_ref()
                .map_or(String::new(), |left| format!("channel    {}\n", left_text(left))),
            ends_table(shown.side, report),
            report.version.as_deref().unwrap_or("N/A"),
            report.health,
            queries_table(report)
        ),
    };
    out
}

fn ends_table(side: Side, report: &Report) -> String {
    let mut out = String::new();
    for (end, [direction, link, oper]) in ends(report, side) {
        let _ = writeln!(
            out,
            "{end:<10} direction {direction:<8} link {link:<8} operation {oper}"
        );
    }
    out
}

fn queries_table(report: &Report) -> String {
    let mut out = String::new();
    for query in Query::ALL {
        let QueryReport { result, took, error } = report.query(*query);
        let took = milliseconds(*took);
        let error = error.as_deref().unwrap_or("");
        let line = format!("{:<10} {:<20} {took:>9}  {error}", query.label(), result.label());
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn as_json(shown: &Shown, found: &Found) -> Value {
    let (address, side, notes) = (shown.address, shown.side, &shown.notes);
    let expiry = shown.expiry.map(utc);
    match found {
        Found::NeverReady(Failure { cause, detail }) => json!({
            "address": address.to_string(),
            "side": side.label(),
            "certificate_expires": expiry,
            "tls_notes": notes,
            "channel": {"ready": false, "ready_seconds": null, "cause": cause.label(), "detail": &**detail},
        }),
        Found::Ready { after, report, left } => {
            let cause = left.as_ref().and_then(|left| left.failure.as_ref());
            let cause = cause.map(|failure| failure.cause.label());
            let detail = left.as_ref().map(left_text);
            let states = |[direction, link, oper]: [&str; 3]| json!({"mux_direction": direction, "link_state": link, "oper_state": oper});
            let queries = Query::ALL.iter().map(|query| {
                let QueryReport { result, took, error } = report.query(*query);
                let value = json!({
                    "result": result.label(),
                    "seconds": took.map(|took| took.as_secs_f64()),
                    "error": error.as_deref(),
                });
                (query.label().to_owned(), value)
            });
            let [(first, of_first), (second, of_second)] = ends(report, side);
            json!({
                "address": address.to_string(),
                "side": side.label(),
                "certificate_expires": expiry,
                "tls_notes": notes,
                "channel": {"ready": true, "ready_seconds": after.as_secs_f64(), "cause": cause, "detail": detail},
                first: states(of_first),
                second: states(of_second),
                "version": report.version.as_deref(),
                "health": report.health.label(),
                "queries": queries.collect::<serde_json::Map<_, _>>(),
            })
        }
    }
}
