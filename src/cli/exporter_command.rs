//! The exporter itself, from its configuration file to its exit code; `--config.check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::host::{listen, listen_on_loopback, raise_open_files, stop_signals};
use super::open_telemetry::{otel_settings, otel_settings_at_start, otel_summary};
use super::program::{FAILED, print_result};
use super::{ExporterArgs, VERSION};
use crate::app::{self, Exporter, FollowedFile, Listeners, Options};
use crate::config::files::{PATIENCE, Reader};
use crate::config::stamp::Stamp;
use crate::config::{Config, ConfigError, Database, SwitchSettings};
use crate::model::component::APP;
use crate::model::{Row, schema, text};
use crate::runtime::service_manager::{ServiceManager, Watchdog};
use crate::sonic::settings_row::await_settings;
use crate::web::{AllowedHosts, Limits, WebFile, WebPaths};

/// Read if no other file is named. Without it, everything is found in SONiC's databases.
const DEFAULT_CONFIG: &str = "/etc/dualtor-exporter/config.yml";

/// Where to serve if nothing else is said.
pub(super) const DEFAULT_LISTEN: &str = ":9075";

/// Between two dumps.
const DUMP_PAUSE: Duration = Duration::from_secs(1);

/// The configuration and its file. `None`: there is no file, and SONiC's defaults are used.
type Loaded = (Config, Option<PathBuf>);

/// Loads the named file, or the default one if it exists.
fn load_config(path: Option<&Path>, switch: &SwitchSettings) -> Result<Loaded, ConfigError> {
    if let Some(path) = path {
        return Ok((Config::load_over(path, switch)?, Some(path.to_owned())));
    }
    let usual = Path::new(DEFAULT_CONFIG);
    Ok(match Config::load_if_there_over(usual, switch)? {
        Some(config) => (config, Some(usual.to_owned())),
        None => (Config::without_file_over(switch)?, None),
    })
}

/// The same at a start: a file system that hangs is reported and not waited for.
pub(super) async fn first_config(path: Option<&Path>, switch: &SwitchSettings) -> anyhow::Result<Loaded> {
    let name = config_path(path).display().to_string();
    let (path, switch) = (path.map(Path::to_owned), switch.clone());
    let reader = Reader::default();
    let loaded = reader.read(PATIENCE, move || load_config(path.as_deref(), &switch));
    Ok(loaded.await.context(name)??)
}

/// CONFIG_DB of the switch itself, where the file says that it is.
pub(super) fn own_config_db(config: &Config) -> anyhow::Result<&Database> {
    let own = config.namespaces.first().map(|namespace| &namespace.config_db);
    own.context("--config.database: expected a configuration that uses a database; with `targets`, `side` and `publish: off` none is used")
}

/// What a row sets. An error names it.
pub(super) fn settings_of(row: &Row) -> anyhow::Result<SwitchSettings> {
    let read = SwitchSettings::of_row(row).map_err(anyhow::Error::msg);
    read.with_context(|| format!("{}|config in CONFIG_DB", schema::DUALTOR_EXPORTER))
}

/// The settings of `--config.database`, as soon as CONFIG_DB is complete. Without the flag: none.
async fn switch_settings(args: &ExporterArgs) -> anyhow::Result<SwitchSettings> {
    if !args.config_database {
        return Ok(SwitchSettings::default());
    }
    let (config, _) = first_config(args.config_file.as_deref(), &SwitchSettings::default()).await?;
    let row = await_settings(own_config_db(&config)?).await;
    let settings = settings_of(&row)?;
    let fields: Vec<String> = row
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    info!(target: APP, fields = text::quote(fields.join(" ")), "settings from CONFIG_DB");
    Ok(settings)
}

/// The file that is read, if it exists.
fn config_path(named: Option<&Path>) -> &Path {
    named.unwrap_or(Path::new(DEFAULT_CONFIG))
}

/// The stamp of the configuration file before it is read. `None`: its file system hangs.
async fn first_stamp(path: Option<&Path>) -> Option<Stamp> {
    let path = config_path(path).to_owned();
    Reader::default()
        .read(PATIENCE, move || Stamp::of(&path))
        .await
        .ok()
}

/// `--web.config.file` at a start.
async fn first_web_config(path: Option<&Path>) -> anyhow::Result<Option<WebFile>> {
    let Some(path) = path else { return Ok(None) };
    let (name, path) = (path.display().to_string(), path.to_owned());
    let reader = Reader::default();
    let loaded = reader.read(PATIENCE, move || WebFile::load(&path));
    Ok(Some(loaded.await.context(name)??))
}

pub(super) async fn check_config(args: &ExporterArgs) -> anyhow::Result<ExitCode> {
    let (config, file) = first_config(args.config_file.as_deref(), &SwitchSettings::default()).await?;
    let otel = otel_settings(&config, file.as_deref())?;
    let web = first_web_config(args.web_config_file.as_deref()).await?;
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let targets = match (&config.targets, config.inventory.len()) {
        (Some(targets), _) => count(targets.len(), "target"),
        (None, 0) => "targets from CONFIG_DB".to_owned(),
        (None, sources) => format!("targets from {}", count(sources, "source")),
    };
    print_result(&match file {
        Some(file) => format!("{}: good, {targets}", file.display()),
        None => format!(
            "no configuration file: {DEFAULT_CONFIG} does not exist. SONiC's defaults are used: {targets}, rows to STATE_DB"
        ),
    })?;
    if let Some(web) = web {
        print_result(&web.to_string())?;
    }
    let (otel, warnings) = otel;
    for line in otel.as_ref().map(otel_summary).into_iter().chain(warnings) {
        print_result(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The service manager of this process, and how often it wants to hear from the fleet.
fn service_manager() -> (ServiceManager, Watchdog) {
    let manager = std::env::var_os("NOTIFY_SOCKET").map(|address| ServiceManager::at(&address));
    let manager = match manager {
        Some(Ok(manager)) => manager,
        Some(Err(error)) => {
            warn!(target: APP, %error, "NOTIFY_SOCKET cannot be used: the service manager is told nothing");
            ServiceManager::default()
        }
        None => ServiceManager::default(),
    };
    // Without WATCHDOG_PID it is for whoever gets it.
    let pid = std::env::var("WATCHDOG_PID").ok();
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let limit = std::env::var_os("WATCHDOG_USEC").filter(|_| is_ours);
    let watchdog = Watchdog::new(manager.clone(), limit.as_deref());
    (manager, watchdog)
}

/// The sockets to serve on: those that were passed, else those of the flags, else that of the switch's settings.
async fn listeners(
    flags: &[String],
    switch: Option<&str>,
    passed: Vec<std::net::TcpListener>,
) -> anyhow::Result<Vec<TcpListener>> {
    if !passed.is_empty() {
        let listeners = passed.into_iter().map(TcpListener::from_std);
        return Ok(listeners.collect::<Result<_, _>>()?);
    }
    let mut listeners = Vec::new();
    for address in flags {
        let listener = listen(address).await;
        listeners.push(listener.with_context(|| format!("--web.listen-address {}", text::quote(address)))?);
    }
    if listeners.is_empty() {
        let address = switch.unwrap_or(DEFAULT_LISTEN);
        let listener = listen(address).await;
        let place = if switch.is_some() {
            "listen_address in CONFIG_DB"
        } else {
            "--web.listen-address"
        };
        listeners.push(listener.with_context(|| format!("{place} {}", text::quote(address)))?);
    }
    Ok(listeners)
}

/// The sockets of the exporter's own gRPC services.
async fn grpc_listeners(flags: &[String]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in flags {
        let listener = listen_on_loopback(address).await;
        listeners.push(listener.with_context(|| format!("--grpc.listen-address {}", text::quote(address)))?);
    }
    Ok(listeners)
}

/// Logs what starts, and where it serves.
fn announce(
    config: &Config,
    file: Option<&Path>,
    listeners: &Listeners,
    paths: &WebPaths,
) -> anyhow::Result<()> {
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    info!(target: APP,
        version = VERSION,
        config = text::quote(file),
        from_config_db = config.is_from_config_db(),
        "starting"
    );
    for listener in &listeners.web {
        info!(target: APP, address = %listener.local_addr()?, path = format!("{}{}", paths.prefix, paths.telemetry), "serving");
    }
    for listener in &listeners.grpc {
        info!(target: APP, address = %listener.local_addr()?, "serving gRPC");
    }
    Ok(())
}

/// Signals that do not end the exporter. From now on none of them kills it.
struct Signals {
    hangup: Signal,
    dump: Signal,
    dump_directory: PathBuf,
}

impl Signals {
    fn handle(dump_directory: Option<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("cannot handle SIGHUP")?,
            dump: signal(SignalKind::user_defined2()).context("cannot handle SIGUSR2")?,
            dump_directory: dump_directory.unwrap_or_else(std::env::temp_dir),
        })
    }

    /// SIGHUP reloads, SIGUSR2 writes a dump. The result is logged where it happens.
    fn serve(mut self, exporter: &Exporter) {
        let (reloader, dumper) = (exporter.reloader(), exporter.dumper());
        tokio::spawn(async move {
            while self.hangup.recv().await.is_some() && app::reload(&reloader).await.is_some() {}
        });
        tokio::spawn(async move {
            while self.dump.recv().await.is_some() {
                dumper.dump(&self.dump_directory).await;
                // At most one a second. Signals that arrive meanwhile ask for one more.
                sleep(DUMP_PAUSE).await;
            }
        });
    }
}

/// `passed`: the sockets of `--web.systemd-socket`.
pub(super) async fn run(
    args: ExporterArgs,
    passed: Vec<std::net::TcpListener>,
    lines_dropped: Arc<AtomicU64>,
) -> anyhow::Result<ExitCode> {
    let before = first_stamp(args.config_file.as_deref()).await;
    let switch = switch_settings(&args).await?;
    let (config, file) = first_config(args.config_file.as_deref(), &switch).await?;
    let otel = otel_settings_at_start(&config, file.as_deref())?;
    let web_config = first_web_config(args.web_config_file.as_deref()).await?;
    let listeners = Listeners {
        web: listeners(&args.listen, switch.listen.as_deref(), passed).await?,
        grpc: grpc_listeners(&args.grpc_listen).await?,
    };
    let (service_manager, watchdog) = service_manager();
    raise_open_files();
    let (mut stop, paths) = (stop_signals()?, args.paths());
    let signals = Signals::handle(args.dump_directory)?;
    announce(&config, file.as_deref(), &listeners, &paths)?;
    let follow = before.map(|before| FollowedFile {
        path: config_path(args.config_file.as_deref()).to_owned(),
        before,
        always: args.config_follow,
    });
    let path = args.config_file;
    let exporter = Exporter::start(Options {
        config,
        load: Arc::new(move || Ok(load_config(path.as_deref(), &switch)?.0)),
        follow,
        listeners,
        paths,
        allowed_hosts: AllowedHosts::new(args.allowed_hosts),
        enable_lifecycle: args.enable_lifecycle,
        web_config,
        limits: Limits {
            connections: args.max_connections.into(),
            renders: args.max_requests.into(),
            event_streams: args.max_event_streams.into(),
            ..Limits::default()
        },
        service_manager,
        watchdog,
        otel,
        lines_dropped,
    });
    signals.serve(&exporter);
    match exporter.run(async move { stop.recv().await }).await {
        Ok(()) => {
            info!(target: APP, "stopped");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            error!(target: APP, %error, "failed");
            Ok(ExitCode::from(FAILED))
        }
    }
}
