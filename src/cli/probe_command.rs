//! `probe <address>`: one dial, one round, printed for a person or as JSON.
//!
//! Exit codes: 0 the SoC answers (no health service and empty replies are answers too); 1 the channel is READY, but a
//! query failed or health is not serving; 2 the channel was never READY, or what was found could not be written to stdout.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::probe_module;
use super::probe_output::{FAILED, NEVER_READY, Output, milliseconds};
use super::program::print_result;
use crate::config::files::Reader;
use crate::config::{Config, DEFAULT_TCP_PORT};
use crate::model::{
    ChannelSettings, ClientIdentity, Port, ProbeSettings, Query, QueryReport, Report, Security, Side, Target,
    TlsSettings, quoted,
};
use crate::soc::channel::TlsStore;
use crate::soc::look::Found;
use crate::soc::looked::{Looked, ends, utc};

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The SoC: an IP address, with a port if it is not 50075. With --module: the name of one of its targets, or HOST:PORT
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Probe as this module of the configuration file does, with its channel's settings
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["side", "timeout", "tls_ca", "metadata"])]
    module: Option<String>,
    /// The configuration file that has the module [default: /etc/dualtor-exporter/config.yml]
    #[arg(long = "config.file", value_name = "FILE", requires = "module")]
    config_file: Option<PathBuf>,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SideArg {
    Upper,
    Lower,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip: Result<IpAddr, _> = text.parse();
    ip.map(|ip| SocketAddr::new(ip, DEFAULT_TCP_PORT)).map_err(|_| {
        "expected an IP address such as 192.168.0.1, 192.168.0.1:50075 or [fc02::1]:50075".to_owned()
    })
}

/// The configuration's default in readable form. clap needs a text that it can keep.
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
            // clap requires both or neither.
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
    if let Some(module) = &args.module {
        let file = args.config_file.as_deref();
        return probe_module::run(module, &args.address, file, args.output).await;
    }
    let address = address(&args.address).map_err(|expected| {
        anyhow::anyhow!("invalid value {} for ADDRESS: {expected}", quoted(&args.address))
    })?;
    let side = match args.side {
        Some(SideArg::Upper) => Side::Upper,
        Some(SideArg::Lower) => Side::Lower,
        None => Side::Unknown,
    };
    let target = Target {
        namespace: "".into(),
        id: Port::new("probe")?.into(),
        address,
        side,
        channel: Arc::new(ChannelSettings {
            security: args.security(),
            metadata: args.metadata,
            ..ChannelSettings::default()
        }),
    };
    let looked = Looked::at(target, args.timeout, &TlsStore::default(), &Reader::default()).await?;
    let text = match args.output {
        Output::Text => text(&looked),
        Output::Json => serde_json::to_string_pretty(&looked.to_json())?,
    };
    print_result(text.trim_end())?;
    Ok(match &looked.found {
        Found::NeverReady(_) => ExitCode::from(NEVER_READY),
        Found::Ready { report, .. } if answers(report) => ExitCode::SUCCESS,
        Found::Ready { .. } => ExitCode::from(FAILED),
    })
}

pub(super) fn answers(report: &Report) -> bool {
    report.is_all_answered() && report.health.is_good()
}

fn text(looked: &Looked) -> String {
    let mut out = format!("address    {}\n", looked.address);
    if let Some(expiry) = looked.expiry {
        out += &format!("tls        the SoC's certificate expires {}\n", utc(expiry));
    }
    for note in &looked.notes {
        out += &format!("tls        note: {note}\n");
    }
    // Writing into a String cannot fail.
    let _ = match &looked.found {
        Found::NeverReady(failure) => {
            write!(out, "channel    never READY: {failure}")
        }
        Found::Ready { after, report, left } => write!(
            out,
            "channel    READY after {}\n{}{}version    {}\nhealth     {}\n\n{}",
            milliseconds(Some(*after)),
            left.as_ref()
                .map_or(String::new(), |left| format!("channel    {left}\n")),
            ends_table(looked.side, report),
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
