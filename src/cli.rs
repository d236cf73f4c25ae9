//! The command line: flags in the exporters' style, and the commands `demo`, `simulate`, `probe` and `doctor`.
//!
//! Exit codes: 0 done; 1 the exporter failed while running; 2 it could not start (bad flag, bad file, port in use).
//! `probe` and `doctor` have their own, see there. Logs go to stderr, stdout carries a command's output only.

mod demo;
mod doctor;
mod probe;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::{self, Exporter, Options};
use crate::config::{Config, ConfigError};
use crate::publish::http::{Limits, telemetry_path_ok};
use crate::sim;

/// Threads that probe. 10,000 SoCs keep one busy for a few percent of its time; the switch's other cores are SONiC's, and
/// each thread costs memory.
pub const WORKERS: usize = 2;
/// It started, but did not end well.
const FAILED: u8 = 1;
/// It could not start.
const CANNOT_START: u8 = 2;

/// Probes the SoCs of a SONiC dual-ToR active-active rack over gRPC; publishes MUX_CABLE_INFO in STATE_DB and
/// Prometheus metrics. It never changes traffic: it looks.
#[derive(Debug, Parser)]
#[command(name = "dualtor-exporter", version = VERSION, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    exporter: ExporterArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Read where no other is named; without it everything is found in SONiC's databases.
const DEFAULT_CONFIG: &str = "/etc/dualtor-exporter/config.yml";

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("DUALTOR_REVISION"),
    ")"
);

#[derive(Debug, Args)]
struct ExporterArgs {
    /// Configuration file (YAML); reloaded on SIGHUP [default: /etc/dualtor-exporter/config.yml, where there is one]
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Check the configuration file and exit: 0 if it is good, 2 if not
    #[arg(long = "config.check")]
    config_check: bool,
    /// Address to serve on, repeatable; without a host on all addresses
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = ":9075"
    )]
    listen: Vec<String>,
    /// Path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    telemetry_path: String,
    /// Connections of web clients, over all listeners; fewer where files are short, as SoCs have theirs first
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = Limits::CONNECTIONS,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,
    /// Scrapes that are rendered at a time; the others wait up to 5 s
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = Limits::RENDERS,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,
    /// Serve POST /-/reload
    #[arg(long = "web.enable-lifecycle")]
    enable_lifecycle: bool,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// Least severe messages to log [default: info; with demo: warn]
    // After a command's own, however many there are.
    #[arg(long = "log.level", value_name = "LEVEL", global = true, display_order = 900)]
    level: Option<Level>,
    /// Format of the log, on stderr
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        default_value = "logfmt",
        global = true,
        display_order = 901
    )]
    format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Logfmt,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a simulated rack of 24 SoCs with an exporter, and say where to look
    Demo(demo::DemoArgs),
    /// Serve simulated SoCs on loopback addresses, from a scenario
    Simulate {
        /// Scenario file (YAML)
        #[arg(value_name = "SCENARIO")]
        scenario: PathBuf,
    },
    /// Probe one SoC once and print what it says: exit code 0 it answers, 1 READY but a query failed or health is
    /// not serving, 2 never READY
    Probe(probe::ProbeArgs),
    /// Look at everything that the exporter depends on here and say what is wrong and what to do: exit code 0
    /// nothing is wrong, 1 there is a problem
    Doctor(doctor::DoctorArgs),
}

fn telemetry_path(path: &str) -> Result<String, String> {
    if telemetry_path_ok(path) {
        Ok(path.to_owned())
    } else {
        Err("expected a path such as /metrics, outside /-/, of letters, digits and _-./".to_owned())
    }
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let quiet = matches!(
            self.command,
            Some(Command::Demo(_) | Command::Probe(_) | Command::Doctor(_))
        );
        let default_level = if quiet { Level::Warn } else { Level::Info };
        init_log(self.log.level.unwrap_or(default_level), self.log.format);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime")),
        };
        let outcome = runtime.block_on(async {
            match self.command {
                None if self.exporter.config_check => check_config(self.exporter.config_file.as_deref()),
                None => run_exporter(self.exporter).await,
                Some(Command::Demo(args)) => demo::run(args).await,
                Some(Command::Simulate { scenario }) => simulate(&scenario).await,
                Some(Command::Probe(args)) => probe::run(args).await,
                Some(Command::Doctor(args)) => doctor::run(args).await,
            }
        });
        // Whatever still hangs has had its time.
        runtime.shutdown_background();
        outcome.unwrap_or_else(|error| fail(&error))
    }
}

/// One message that names the place and what was expected; exit code 2.
fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "dualtor-exporter: {error:#}");
    ExitCode::from(CANNOT_START)
}

/// A line of a command's output. A closed pipe (`| head`) is no failure.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn init_log(level: Level, format: LogFormat) {
    let level = match level {
        Level::Debug => tracing::Level::DEBUG,
        Level::Info => tracing::Level::INFO,
        Level::Warn => tracing::Level::WARN,
        Level::Error => tracing::Level::ERROR,
    };
    // Only our own words: a lying SoC makes libraries talk (h2 warns of each PONG that nobody asked for).
    let filter = Targets::new().with_target("dualtor_exporter", level);
    let registry = tracing_subscriber::registry().with(filter);
    // It fails only where somebody else has a log already (a test).
    let _ = match format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_span_name(false).layer();
            registry.with(layer.with_writer(io::stderr)).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
            registry.with(layer.with_writer(io::stderr)).try_init()
        }
    };
}

/// Loads the file that was named, or the usual one where it exists.
fn load_config(path: Option<&Path>) -> Result<Config, ConfigError> {
    match path {
        Some(path) => Config::load(path),
        None if Path::new(DEFAULT_CONFIG).exists() => Config::load(Path::new(DEFAULT_CONFIG)),
        None => Config::without_file(),
    }
}

fn check_config(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = load_config(path)?;
    let file = path.unwrap_or(Path::new(DEFAULT_CONFIG)).display();
    print(&match &config.targets {
        Some(targets) if targets.len() == 1 => format!("{file}: good, 1 target"),
        Some(targets) => format!("{file}: good, {} targets", targets.len()),
        None => format!("{file}: good, targets from CONFIG_DB"),
    });
    Ok(ExitCode::SUCCESS)
}

async fn run_exporter(args: ExporterArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config_file.as_deref())?;
    let mut listeners = Vec::new();
    for address in &args.listen {
        listeners.push(
            listen(address)
                .await
                .with_context(|| format!("--web.listen-address {address}"))?,
        );
    }
    raise_open_files(config.targets.as_ref().map_or(0, Vec::len));
    let mut stop = stop_signals()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let file = args.config_file.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    info!(version = VERSION, config = %file.display(), from_config_db = config.targets.is_none(), "starting");
    for listener in &listeners {
        info!(address = %listener.local_addr()?, path = args.telemetry_path, "serving");
    }
    let path = args.config_file;
    let load = move || -> Result<Config, ConfigError> { load_config(path.as_deref()) };
    let exporter = Exporter::start(Options {
        config,
        load: std::sync::Arc::new(load),
        listeners,
        telemetry_path: args.telemetry_path,
        enable_lifecycle: args.enable_lifecycle,
        limits: Limits {
            connections: args.max_connections.into(),
            renders: args.max_requests.into(),
            ..Limits::default()
        },
    });
    let reloader = exporter.reloader();
    // The outcome is logged where the reload happens.
    tokio::spawn(
        async move { while hangup.recv().await.is_some() && app::reload(&reloader).await.is_some() {} },
    );
    match exporter.run(async move { stop.recv().await }).await {
        Ok(()) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            tracing::error!(%error, "failed");
            Ok(ExitCode::from(FAILED))
        }
    }
}

async fn simulate(path: &Path) -> anyhow::Result<ExitCode> {
    let scenario = sim::Scenario::from_file(path)?;
    raise_open_files(0);
    let mut stop = stop_signals()?;
    sim::run(scenario, async move { stop.recv().await }, print).await?;
    Ok(ExitCode::SUCCESS)
}

/// Binds one `--web.listen-address`; `:9075` is every address of this host, of both families.
async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let Some((host, port)) = address.rsplit_once(':') else {
        bail!("expected HOST:PORT, such as :9075 or 127.0.0.1:9075");
    };
    let Ok(port) = port.parse::<u16>() else {
        bail!("expected a port from 0 to 65535 after the last colon");
    };
    let both_families = host.is_empty();
    let candidates: Vec<SocketAddr> = if both_families {
        // The second is for hosts without IPv6.
        vec![([0u16; 8], port).into(), ([0u8; 4], port).into()]
    } else {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((name, port)).await;
        found
            .with_context(|| format!("cannot resolve {name:?}"))?
            .collect()
    };
    let mut last = None;
    for candidate in candidates {
        match bind(candidate, both_families) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("{candidate} is in use: stop what listens there, or choose another port");
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => anyhow::Error::new(error).context("cannot listen"),
        None => anyhow::anyhow!("{host:?} has no address"),
    })
}

/// `both_families`: an IPv6 socket serves IPv4 as well, whatever net.ipv6.bindv6only says. Else that decides about `[::]`.
fn bind(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    /// Connections that wait to be accepted: what the kernel allows at most by default is 4096.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if both_families && address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // A restart need not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// SIGTERM or SIGINT, whichever comes first.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn stop_signals() -> anyhow::Result<StopSignals> {
    Ok(StopSignals {
        terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
        interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
    })
}

/// One SoC costs one open file: raises the soft limit to the hard one, and says if that is too little.
fn raise_open_files(targets: usize) {
    /// Listeners, scrapes, Redis, the runtime.
    const OTHERS: u64 = 64;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < targets as u64 + OTHERS => {
            warn!(
                limit,
                targets,
                "too few open files are allowed for so many targets: raise the hard limit (ulimit -Hn)"
            );
        }
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}
