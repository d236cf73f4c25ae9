//! The command line: flags in the exporters' style, and the commands `demo`, `simulate`, `probe` and `doctor`.
//!
//! Exit codes: 0 done; 1 the exporter failed while running; 2 it could not start (bad flag, bad file, port in use), or a
//! command's output could not be written. `probe` and `doctor` have their own, see there. Logs go to stderr, stdout carries a
//! command's output only.
//!
//! Nothing here waits for who reads stderr, and nothing that runs on waits for who reads stdout: `spool` does. A command that
//! ends with its output waits for that reader, and for no longer than a signal lets it.

mod demo;
mod doctor;
mod log;
mod probe;
mod quiet;
mod spool;

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::app::{self, Exporter, Options};
use crate::config::{Config, ConfigError};
use crate::defect::{caught, log_panics};
use crate::files::{PATIENCE, Reader};
use crate::model::text;
use crate::publish::http::{Limits, telemetry_path_ok};
use crate::sim;
use spool::Spool;

/// Threads that probe. 10,000 SoCs keep one busy for a few percent of its time; the switch's other cores are SONiC's, and
/// each thread costs memory.
pub const WORKERS: usize = 2;
/// It started, but did not end well.
const FAILED: u8 = 1;
/// It could not start.
const CANNOT_START: u8 = 2;
/// How long the end waits for who reads stdout and stderr. A stop has taken 3 s at most by then (app.rs), and 5 s are all of it.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// The longest message of an error that ends a command, characters: a page.
const MAX_MESSAGE: usize = 3000;

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
    /// From the command line. An error, or what was asked for (help, version), has been printed: how to exit.
    pub fn from_arguments() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(CANNOT_START));
            let message = error.render().to_string();
            let clean = text::clean_lines(&message);
            // It repeats what was given, whatever that is. Where that is harmless clap shows it to people, in its colours.
            let harmless = *clean == *message && message.len() <= MAX_MESSAGE;
            if error.use_stderr() && !(harmless && io::stderr().is_terminal()) {
                let log = Spool::start(&io::stderr());
                log.push(text_of_error(&clean));
                log.flush(FLUSH_WITHIN);
            } else {
                // As clap itself does it.
                let _ = error.print();
            }
            code
        })
    }

    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let quiet = matches!(
            self.command,
            Some(Command::Demo(_) | Command::Probe(_) | Command::Doctor(_))
        );
        let default_level = if quiet { Level::Warn } else { Level::Info };
        let log = log::init(self.log.level.unwrap_or(default_level), self.log.format);
        log_panics();
        let code = self.execute(&log);
        if let Some(stdout) = STDOUT.get() {
            stdout.flush(FLUSH_WITHIN);
        }
        log.flush(FLUSH_WITHIN);
        code
    }

    fn execute(self, log: &Spool) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                return fail(
                    log,
                    &anyhow::Error::new(error).context("cannot start the runtime"),
                );
            }
        };
        // A look that has not come to its end has found nothing.
        let after_a_defect = match self.command {
            None | Some(Command::Demo(_) | Command::Simulate { .. }) => FAILED,
            Some(Command::Probe(_) | Command::Doctor(_)) => CANNOT_START,
        };
        let dropped = log.dropped();
        let outcome = runtime.block_on(caught(Box::pin(async {
            match self.command {
                None if self.exporter.config_check => {
                    check_config(self.exporter.config_file.as_deref()).await
                }
                None => run_exporter(self.exporter, dropped).await,
                Some(Command::Demo(args)) => demo::run(args, dropped).await,
                Some(Command::Simulate { scenario }) => simulate(&scenario).await,
                Some(Command::Probe(args)) => probe::run(args).await,
                Some(Command::Doctor(args)) => doctor::run(args).await,
            }
        })));
        // Whatever still hangs has had its time.
        runtime.shutdown_background();
        match outcome {
            Ok(Ok(code)) => code,
            Ok(Err(error)) => fail(log, &error),
            Err(defect) => {
                error!(%defect, "ended by a defect of this program: please report it");
                ExitCode::from(after_a_defect)
            }
        }
    }
}

/// One message that names the place and what was expected; exit code 2.
fn fail(log: &Spool, error: &anyhow::Error) -> ExitCode {
    log.push(text_of_error(&format!("dualtor-exporter: {error:#}\n")));
    ExitCode::from(CANNOT_START)
}

/// Its lines, cleaned and not too many.
fn text_of_error(message: &str) -> String {
    let message = text::clean_lines(message);
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…\n", &message[..at]),
        None => message.into_owned(),
    }
}

/// What `demo` and `simulate` print, who run on whether somebody reads it or not.
static STDOUT: OnceLock<Spool> = OnceLock::new();

/// A line of a command that runs on. It may be lost, where nobody reads.
fn print(line: &str) {
    let stdout = STDOUT.get_or_init(|| Spool::start(&io::stdout()));
    stdout.push(format!("{}\n", text::clean_lines(line)));
}

/// What a command was run for. Waits for its reader; only signals end that.
fn print_result(result: &str) -> anyhow::Result<()> {
    let result = format!("{}\n", text::clean_lines(result));
    let written = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match written.and_then(|stdout| spool::write(&stdout, result.as_bytes()).1) {
        // `| head`: it has read what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// The configuration, and the file that it is from; `None`: there is none, and SONiC's defaults are used.
type Loaded = (Config, Option<PathBuf>);

/// Loads the file that was named, or the usual one where it exists.
fn load_config(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    if let Some(path) = path {
        return Ok((Config::load(path)?, Some(path.to_owned())));
    }
    let usual = Path::new(DEFAULT_CONFIG);
    Ok(match Config::load_if_there(usual)? {
        Some(config) => (config, Some(usual.to_owned())),
        None => (Config::without_file()?, None),
    })
}

/// The same at a start: a file system that hangs is reported, not waited for.
async fn first_config(path: Option<&Path>) -> anyhow::Result<Loaded> {
    let name = path.unwrap_or(Path::new(DEFAULT_CONFIG)).display().to_string();
    let path = path.map(Path::to_owned);
    let reader = Reader::default();
    let loaded = reader.read(PATIENCE, move || load_config(path.as_deref()));
    Ok(loaded.await.context(name)??)
}

async fn check_config(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (config, file) = first_config(path).await?;
    let targets = match &config.targets {
        Some(targets) if targets.len() == 1 => "1 target".to_owned(),
        Some(targets) => format!("{} targets", targets.len()),
        None => "targets from CONFIG_DB".to_owned(),
    };
    print_result(&match file {
        Some(file) => format!("{}: good, {targets}", file.display()),
        None => format!(
            "no configuration file: {DEFAULT_CONFIG} does not exist. SONiC's defaults are used: {targets}, rows to STATE_DB"
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn run_exporter(args: ExporterArgs, lines_dropped: Arc<AtomicU64>) -> anyhow::Result<ExitCode> {
    let (config, file) = first_config(args.config_file.as_deref()).await?;
    let mut listeners = Vec::new();
    for address in &args.listen {
        listeners.push(
            listen(address)
                .await
                .with_context(|| format!("--web.listen-address {}", text::quote(address)))?,
        );
    }
    raise_open_files();
    let mut stop = stop_signals()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    info!(
        version = VERSION,
        config = text::quote(file),
        from_config_db = config.targets.is_none(),
        "starting"
    );
    for listener in &listeners {
        info!(address = %listener.local_addr()?, path = args.telemetry_path, "serving");
    }
    let path = args.config_file;
    let load = move || -> Result<Config, ConfigError> { Ok(load_config(path.as_deref())?.0) };
    let exporter = Exporter::start(Options {
        config,
        load: Arc::new(load),
        listeners,
        telemetry_path: args.telemetry_path,
        enable_lifecycle: args.enable_lifecycle,
        limits: Limits {
            connections: args.max_connections.into(),
            renders: args.max_requests.into(),
            ..Limits::default()
        },
        lines_dropped,
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
            error!(%error, "failed");
            Ok(ExitCode::from(FAILED))
        }
    }
}

async fn simulate(path: &Path) -> anyhow::Result<ExitCode> {
    let (reader, file) = (Reader::default(), path.to_owned());
    let scenario = reader.read(PATIENCE, move || sim::Scenario::from_file(&file));
    let scenario = scenario.await.context(path.display().to_string())??;
    raise_open_files();
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
            .with_context(|| format!("cannot resolve {:?}", text::quote(name)))?
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
        None => anyhow::anyhow!("{:?} has no address", text::quote(host)),
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

/// One SoC costs one open file: raises the soft limit to the hard one.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}
