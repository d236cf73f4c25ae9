//! Builds and connects the parts, reloads the configuration, and stops the parts with a deadline.
//!
//! Listeners and the shutdown are arguments, so that tests can supply their own. The crate's documentation shows all tasks and
//! channels.
//!
//! Imports every folder but `cli`.

mod dump;
mod follow_config;
mod lately;
mod make_view;
mod module_part;
mod open_files;
mod parts;
mod probe_source;
mod queues;
mod send_telemetry;
mod totals;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::files::{PATIENCE, Reader};
use crate::config::{Config, ConfigError, OtelSettings};
use crate::fleet::FleetHandle;
use crate::model::component::APP;
use crate::model::{ConfigStatus, ProbeSettings};
use crate::runtime::defect::{Defect, attempt, caught};
use crate::runtime::service_manager::{ServiceManager, Watchdog};
use crate::soc::channel::TlsStore;
use crate::sonic::redis_link::Servers;
use crate::web::{AllowedHosts, Limits, ReloadRequest, Web, WebFile, WebPaths};
pub use dump::Dumper;
pub use follow_config::FollowedFile;
use make_view::{Origin, Sources, history_source};
use module_part::ModulePart;
use parts::{Tasks, drained, unexpected};
use probe_source::probe_source;
use queues::Queues;
use send_telemetry::Sending;
use totals::Totals;

/// `/-/ready` waits no longer than this for the first result of every target.
const READY_AFTER: Duration = Duration::from_secs(15);
/// How long a stop waits for the last rows; `StateDb` gives up after 2 s by itself.
const STOP_WITHIN: Duration = Duration::from_millis(2500);
/// How long it then waits for answers that scrapers are still reading. A stop may take 5 s in all.
const STOP_SERVING_WITHIN: Duration = Duration::from_millis(500);

/// Loads the configuration: at start and at each reload. A reload runs it on a separate thread, because reading files may hang.
pub type Load = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Sockets to serve on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Pages, API and metrics.
    pub web: Vec<TcpListener>,
    /// The exporter's own gRPC services; none: there are no such services.
    pub grpc: Vec<TcpListener>,
}

/// The arguments of [`Exporter::start`].
pub struct Options {
    /// The configuration in force at the start.
    pub config: Config,
    /// Loads it again at a reload.
    pub load: Load,
    /// The file that it is loaded from, to load it again when it changes; `None`: only a request does that.
    pub follow: Option<FollowedFile>,
    /// Sockets to serve on.
    pub listeners: Listeners,
    /// Where the routes are.
    pub paths: WebPaths,
    /// The names that web pages may be asked for.
    pub allowed_hosts: AllowedHosts,
    /// Whether POST /-/reload and probes on request are served.
    pub enable_lifecycle: bool,
    /// web.config.file, if there is one.
    pub web_config: Option<WebFile>,
    /// Limits for web clients.
    pub limits: Limits,
    /// Is told how the exporter is.
    pub service_manager: ServiceManager,
    /// Reports that the fleet is alive.
    pub watchdog: Watchdog,
    /// What is sent as OpenTelemetry; `None`: nothing.
    pub otel: Option<OtelSettings>,
    /// How many lines of the log were dropped; the log counts them.
    pub lines_dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why an exporter ended without a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The web server gave up.
    #[error("the web server failed: {0}")]
    Web(#[source] std::io::Error),
    /// The gRPC services gave up.
    #[error("the gRPC services failed: {0}")]
    Grpc(#[source] std::io::Error),
    /// A task that must run as long as the exporter has ended: a defect.
    #[error("{0} has ended unexpectedly; the log says why")]
    TaskEnded(&'static str),
    /// The same, because of a panic.
    #[error("{0} has ended by a defect of this program, please report it: {1}")]
    Defect(&'static str, #[source] Defect),
}

/// A running exporter.
pub struct Exporter {
    /// The configuration in force. The inventory is made from it.
    config: watch::Sender<Arc<Config>>,
    /// How it is loaded, and with what limits for hanging files.
    loader: (Load, Arc<Reader>),
    probe: watch::Sender<ProbeSettings>,
    config_status: watch::Sender<ConfigStatus>,
    fleet: FleetHandle,
    reloads: (mpsc::Sender<ReloadRequest>, mpsc::Receiver<ReloadRequest>),
    stop: CancellationToken,
    service_manager: ServiceManager,
    /// The fleet and the publishers.
    tasks: Tasks,
    /// The web server.
    servers: Tasks,
    modules: ModulePart,
    dumper: Dumper,
}

/// The reload that is under way, if any: the request, and the new configuration or its error.
type Loading = JoinSet<(ReloadRequest, Result<Config, String>)>;

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("config", &*self.config.borrow())
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// Builds and starts every part.
    pub fn start(options: Options) -> Self {
        let (stop, mut tasks, mut servers) = (CancellationToken::new(), Tasks::new(), Tasks::new());
        let (reload_tx, reloads) = mpsc::channel(8);
        let (config_status, config_status_rx) = watch::channel(ConfigStatus::loaded(SystemTime::now()));
        let (probe, probe_rx) = watch::channel(options.config.probe);
        let (mut redis, mut queues) = (Servers::default(), Queues::default());
        let (sending, kept) = Sending::new(options.otel);
        let (feeds, rows) = parts::publishers(&options.config, kept, &mut redis, &mut queues, &mut tasks);
        let modules = ModulePart::begin(&options.config, &queues, &feeds, &stop, &mut tasks);
        let (config, config_rx) = watch::channel(Arc::new(options.config));
        let emits = parts::switch(config_rx.clone(), &probe_rx, &mut redis, &mut tasks, &stop);
        let (inventory, tls) = (emits.inventory.clone(), Arc::<TlsStore>::default());
        let (feeds, settings) = ((feeds, options.watchdog), (probe_rx, tls.clone()));
        let fleet = parts::fleet(inventory, settings, feeds, &mut queues, &mut tasks, &stop);
        follow_config::start(options.follow, &config_rx, &reload_tx, &mut tasks, &stop);
        let sources = Sources {
            fleet: fleet.clone(),
            totals: Totals::begin(rows.clone(), options.lines_dropped, &mut tasks, &stop),
            state_db: rows,
            switch: emits,
            tls,
            queues,
            config: config_rx,
            config_status: config_status_rx,
            origin: Origin::now(),
            modules: modules.reader(),
            otlp: sending.status(),
            web: Arc::default(),
        };
        let web = Web {
            paths: options.paths,
            allowed_hosts: options.allowed_hosts,
            files: open_files::count(&sources, options.listeners.grpc.len(), &mut tasks, &stop),
            stats: sources.web.clone(),
            history: history_source(fleet.clone()),
            probe: options.enable_lifecycle.then(|| probe_source(&sources, &probe)),
            view: sending.start(sources, &mut tasks, &stop),
            ready: readiness(&fleet, options.service_manager.clone()),
            reload: options.enable_lifecycle.then(|| reload_tx.clone()),
            modules: modules.reader().source(),
            config: options.web_config,
            limits: options.limits,
        };
        let dumper = Dumper::new(fleet.clone(), web.view.clone(), modules.pulses());
        parts::servers(options.listeners, web, &fleet, &mut servers, &stop);
        Self {
            config,
            loader: (options.load, Arc::default()),
            probe,
            config_status,
            fleet,
            reloads: (reload_tx, reloads),
            stop,
            service_manager: options.service_manager,
            tasks,
            servers,
            modules,
            dumper,
        }
    }

    /// Reads from the fleet.
    pub fn fleet(&self) -> FleetHandle {
        self.fleet.clone()
    }

    /// Writes what this process knows into a file.
    pub fn dumper(&self) -> Dumper {
        self.dumper.clone()
    }

    /// Takes requests for a reload.
    pub fn reloader(&self) -> mpsc::Sender<ReloadRequest> {
        self.reloads.0.clone()
    }

    /// Runs until `shutdown`, then stops every part, within `STOP_WITHIN` and `STOP_SERVING_WITHIN`. If a part ends too early or
    /// this task itself panics, it does the same, so that no row stays READY.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AppError> {
        let worked = caught(Box::pin(self.work(shutdown))).await;
        let outcome = worked.unwrap_or_else(|defect| Err(AppError::Defect("the exporter", defect)));
        info!(target: APP, "stopping");
        self.service_manager.stopping();
        self.stop.cancel();
        if !drained(&mut self.tasks, STOP_WITHIN).await {
            warn!(target: APP, within = ?STOP_WITHIN, "not all rows were written before the stop");
        }
        if !drained(&mut self.servers, STOP_SERVING_WITHIN).await {
            info!(target: APP, "a client was still reading at the stop");
        }
        outcome
    }

    async fn work(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        tokio::pin!(shutdown);
        let mut loading = Loading::default();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(request) = self.reloads.1.recv(), if loading.is_empty() => {
                    self.service_manager.reloading();
                    let (load, reader) = self.loader.clone();
                    loading.spawn(async move { (request, read(load, &reader).await) });
                }
                // A `JoinError` would mean that the runtime is shutting down.
                Some(Ok((request, config))) = loading.join_next() => self.reload(request, config),
                Some(ended) = self.tasks.join_next() => return Err(unexpected(ended)),
                Some(ended) = self.servers.join_next() => return Err(unexpected(ended)),
            }
        }
    }

    fn reload(&mut self, request: ReloadRequest, config: Result<Config, String>) {
        let outcome = config.and_then(|config| self.adopt(config));
        match &outcome {
            Ok(()) => info!(target: APP, "configuration reloaded"),
            Err(reason) => {
                error!(target: APP, reason, "the configuration was not reloaded, the old one stays")
            }
        }
        self.config_status.send_modify(|status| {
            status.successful = outcome.is_ok();
            if outcome.is_ok() {
                status.last_success = SystemTime::now();
            }
        });
        self.service_manager.reloaded();
        // The one who asked may be gone.
        let _ = request.send(outcome);
    }

    fn adopt(&mut self, config: Config) -> Result<(), String> {
        let before = self.config.borrow().clone();
        let databases = |config: &Config| {
            let publish = (config.publish, config.publish_notifications, config.schema);
            (config.namespaces.clone(), publish)
        };
        if config.otel != before.otel {
            return Err("otel: a change of what is sent as OpenTelemetry needs a restart".to_owned());
        }
        if databases(&config) != databases(&before) {
            let reason = "databases: a change of the databases or of what is published, here or in SONiC's database_config.json, needs a restart";
            return Err(reason.to_owned());
        }
        self.probe
            .send_if_modified(|probe| std::mem::replace(probe, config.probe) != config.probe);
        self.modules.adopt(&config.modules, &mut self.tasks);
        self.config.send_replace(Arc::new(config));
        Ok(())
    }
}

/// Reads with a time limit, so that a file that hangs does not block the next reload.
async fn read(load: Load, reader: &Reader) -> Result<Config, String> {
    match reader.read(PATIENCE, move || loaded(&*load)).await {
        Ok(config) => config,
        Err(unread) => Err(format!("the configuration: {unread}")),
    }
}

/// Loads the configuration. A panic becomes an error.
fn loaded(load: &(dyn Fn() -> Result<Config, ConfigError> + Send + Sync)) -> Result<Config, String> {
    match attempt(load) {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(defect) => Err(format!("a defect of this program, please report it: {defect}")),
    }
}

/// Turns true when the fleet has settled or `READY_AFTER` has passed, and stays true.
fn readiness(fleet: &FleetHandle, service_manager: ServiceManager) -> watch::Receiver<bool> {
    let (tx, rx) = watch::channel(false);
    let mut settled = fleet.settled();
    tokio::spawn(async move {
        let _ = timeout(READY_AFTER, settled.wait_for(|settled| *settled)).await;
        tx.send_replace(true);
        service_manager.ready();
        // Receivers would see an error if the sender were dropped.
        tx.closed().await;
    });
    rx
}

/// Requests a reload and waits for its outcome; `None`: the exporter is stopping.
pub async fn reload(reloader: &mpsc::Sender<ReloadRequest>) -> Option<Result<(), String>> {
    let (tx, rx) = oneshot::channel();
    reloader.send(tx).await.ok()?;
    rx.await.ok()
}

#[cfg(test)]
mod tests;
