//! The wiring: builds the parts, joins them, reloads, and stops them with a deadline.
//!
//! Listeners and the shutdown are arguments, so that tests bring their own. See the crate's documentation for the
//! drawing of all tasks and channels.

mod open_files;
mod switch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::channel::TlsStore;
use crate::config::{Config, ConfigError};
use crate::defect::{Defect, attempt, caught};
use crate::files::{PATIENCE, Reader};
use crate::fleet::{EVENT_QUEUE, Feeds, Fleet, FleetHandle};
use crate::inventory::Inventory;
use crate::lateness::Lateness;
use crate::mailbox::mailbox;
use crate::model::Facts;
use crate::model::component::APP;
use crate::model::{ConfigStatus, ProbeSettings, ProblemKind, StateDbStatus};
use crate::publish::http::{self, Limits, ReloadRequest, Web, WebStats};
use crate::publish::metrics::Scrape;
use crate::publish::notifications::Notifications;
use crate::publish::process::Process;
use crate::publish::shadow::Shadow;
use crate::publish::state_db::StateDb;
use crate::session::Context;
use open_files::OpenFiles;
use switch::{Servers, Switch};

/// `/-/ready` waits no longer than this for the first look at every target.
const READY_AFTER: Duration = Duration::from_secs(15);
/// How long a stop waits for the last rows; `StateDb` gives up after 2 s by itself.
const STOP_WITHIN: Duration = Duration::from_millis(2500);
/// How long after that it waits for answers that scrapers are still reading. The contract allows 5 s for all of it.
const STOP_SERVING_WITHIN: Duration = Duration::from_millis(500);

/// Loads the configuration: at start, and again at each reload, then on a thread of its own, as files may hang.
pub type Load = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What an exporter is started with.
pub struct Options {
    /// The configuration, as `load` gave it first.
    pub config: Config,
    /// Where later ones come from.
    pub load: Load,
    /// Sockets to serve on.
    pub listeners: Vec<TcpListener>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Whether POST /-/reload is served.
    pub enable_lifecycle: bool,
    /// What web clients may cost.
    pub limits: Limits,
    /// How many lines of the log nobody took in time: shown, not counted here.
    pub lines_dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why an exporter ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The web server gave up.
    #[error("the web server failed: {0}")]
    Web(#[source] std::io::Error),
    /// A task that runs as long as the exporter has ended: a defect.
    #[error("{0} has ended unexpectedly; the log says why")]
    TaskEnded(&'static str),
    /// The same, by a panic.
    #[error("{0} has ended by a defect of this program, please report it: {1}")]
    Defect(&'static str, #[source] Defect),
}

/// A running exporter.
pub struct Exporter {
    /// In force. The inventory follows from it.
    config: watch::Sender<Arc<Config>>,
    load: Load,
    reader: Arc<Reader>,
    probe: watch::Sender<ProbeSettings>,
    config_status: watch::Sender<ConfigStatus>,
    fleet: FleetHandle,
    reload_tx: mpsc::Sender<ReloadRequest>,
    reloads: mpsc::Receiver<ReloadRequest>,
    stop: CancellationToken,
    /// The fleet and the publishers.
    tasks: Tasks,
    /// The web server.
    servers: Tasks,
}

type Tasks = JoinSet<Result<&'static str, AppError>>;
/// The reload that is under way, if any: who asked, and the new configuration or what is wrong with it.
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
        let config = options.config;
        let stop = CancellationToken::new();
        let (mut tasks, mut servers) = (Tasks::new(), Tasks::new());
        let (reload_tx, reloads) = mpsc::channel(8);
        let (config_status, config_status_rx) = watch::channel(ConfigStatus {
            successful: true,
            last_success: SystemTime::now(),
        });
        let (probe, probe_rx) = watch::channel(config.probe);

        let mut servers_known = Servers::default();
        let mut state_db = Vec::new();
        let mut feeds = Feeds::default();
        for (namespace, settings) in config.state_dbs() {
            let status = Arc::new(watch::Sender::new(Some(StateDbStatus::default())));
            state_db.push(status.subscribe());
            let (rows_tx, rows_rx) = mailbox();
            let tells = servers_known.tells(&settings.server);
            let publisher = StateDb::new(settings, rows_rx, status).sharing(tells);
            oversee(&mut tasks, "the STATE_DB publisher", async move {
                publisher.run().await;
                Ok(())
            });
            feeds.rows.insert(namespace.clone(), rows_tx);
        }
        for (namespace, appl_db) in config.appl_dbs() {
            let (notices_tx, notices_rx) = mailbox();
            let publisher = Notifications::new(appl_db.clone(), notices_rx);
            oversee(&mut tasks, "the publisher of notices", async move {
                publisher.run().await;
                Ok(())
            });
            feeds.notices.insert(namespace.clone(), notices_tx);
        }
        let (config, config_rx) = watch::channel(Arc::new(config));
        let (switch, emits) = Switch::new(config_rx, &probe_rx, &mut servers_known);
        let switch_stop = stop.clone();
        oversee(&mut tasks, "the inventory", async move {
            switch_stop.run_until_cancelled(switch.run()).await;
            Ok(())
        });

        let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
        let tls = Arc::new(TlsStore::default());
        let context = Context {
            events: events_tx,
            probe: probe_rx,
            pacer: Arc::default(),
            tls: tls.clone(),
            limiter: Arc::default(),
            origin: Instant::now(),
        };
        let (fleet, handle) = Fleet::new(emits.inventory.clone(), context, events, feeds);
        let fleet_stop = stop.clone();
        oversee(&mut tasks, "the fleet", async move {
            let ended = fleet.run(fleet_stop.cancelled()).await;
            ended.map_err(|defect| AppError::Defect("the fleet", defect))
        });

        let (open_files, files) = OpenFiles::new(emits.inventory.clone(), config.borrow().namespaces.len());
        let files_stop = stop.clone();
        oversee(&mut tasks, "the count of files", async move {
            files_stop.run_until_cancelled(open_files.run()).await;
            Ok(())
        });
        let stats = Arc::<WebStats>::default();
        let web = Web {
            telemetry_path: options.telemetry_path,
            files,
            scrape: scrape_source(Sources {
                fleet: handle.clone(),
                state_db,
                facts: emits.facts,
                shadow: emits.shadow,
                inventory: emits.inventory,
                tls,
                lateness: Lateness::measure(),
                config: config_status_rx,
                web: stats.clone(),
                lines_dropped: options.lines_dropped,
            }),
            ready: readiness(&handle),
            reload: options.enable_lifecycle.then(|| reload_tx.clone()),
            limits: options.limits,
            stats,
        };
        let (listeners, web_stop) = (options.listeners, stop.clone());
        oversee(&mut servers, "the web server", async move {
            let served = http::serve(listeners, web, web_stop).await;
            served.map_err(AppError::Web)
        });
        Self {
            config,
            load: options.load,
            reader: Arc::default(),
            probe,
            config_status,
            fleet: handle,
            reload_tx,
            reloads,
            stop,
            tasks,
            servers,
        }
    }

    /// What the fleet shows.
    pub fn fleet(&self) -> FleetHandle {
        self.fleet.clone()
    }

    /// Where reloads can be asked for.
    pub fn reloader(&self) -> mpsc::Sender<ReloadRequest> {
        self.reload_tx.clone()
    }

    /// Runs until `shutdown`, then stops every part, within `STOP_WITHIN` and `STOP_SERVING_WITHIN`. So it does, too, should a
    /// part have ended, or have a defect of its own: no row goes on saying READY.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AppError> {
        let worked = caught(Box::pin(self.work(shutdown))).await;
        let outcome = worked.unwrap_or_else(|defect| Err(AppError::Defect("the exporter", defect)));
        info!(target: APP, "stopping");
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
                Some(request) = self.reloads.recv(), if loading.is_empty() => {
                    let (load, reader) = (self.load.clone(), self.reader.clone());
                    loading.spawn(async move { (request, read(load, &reader).await) });
                }
                // An error: the runtime is shutting down.
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
        // Whoever asked may have gone away.
        let _ = request.send(outcome);
    }

    fn adopt(&mut self, config: Config) -> Result<(), String> {
        let before = self.config.borrow().clone();
        let databases = |config: &Config| {
            let publish = (config.publish, config.publish_notifications, config.schema);
            (config.namespaces.clone(), publish)
        };
        if databases(&config) != databases(&before) {
            let reason = "databases: a change of where or what to publish or to read, here or in SONiC's database_config.json, needs a restart";
            return Err(reason.to_owned());
        }
        self.probe
            .send_if_modified(|probe| std::mem::replace(probe, config.probe) != config.probe);
        self.config.send_replace(Arc::new(config));
        Ok(())
    }
}

/// One that hangs does not keep the next reload waiting for ever.
async fn read(load: Load, reader: &Reader) -> Result<Config, String> {
    match reader.read(PATIENCE, move || loaded(&*load)).await {
        Ok(config) => config,
        Err(unread) => Err(format!("the configuration: {unread}")),
    }
}

/// Loads the configuration, whatever happens meanwhile.
fn loaded(load: &(dyn Fn() -> Result<Config, ConfigError> + Send + Sync)) -> Result<Config, String> {
    match attempt(load) {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(defect) => Err(format!("a defect of this program, please report it: {defect}")),
    }
}

/// Runs a part that works until the stop.
fn oversee(
    tasks: &mut Tasks,
    name: &'static str,
    part: impl Future<Output = Result<(), AppError>> + Send + 'static,
) {
    tasks.spawn(async move {
        let ended = caught(Box::pin(part)).await;
        ended.unwrap_or_else(|defect| Err(AppError::Defect(name, defect)))?;
        Ok(name)
    });
}

fn unexpected(ended: Result<Result<&'static str, AppError>, JoinError>) -> AppError {
    match ended {
        Ok(Ok(task)) => AppError::TaskEnded(task),
        Ok(Err(error)) => error,
        Err(_) => AppError::TaskEnded("a task"),
    }
}

/// Whether all of them ended in time.
async fn drained(tasks: &mut Tasks, within: Duration) -> bool {
    timeout(within, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_ok()
}

/// Where a scrape's parts come from.
#[derive(Clone)]
struct Sources {
    fleet: FleetHandle,
    /// One per publisher.
    state_db: Vec<watch::Receiver<Option<StateDbStatus>>>,
    facts: watch::Receiver<Option<Arc<Facts>>>,
    shadow: watch::Receiver<Option<Shadow>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    tls: Arc<TlsStore>,
    lateness: Lateness,
    config: watch::Receiver<ConfigStatus>,
    web: Arc<WebStats>,
    lines_dropped: Arc<AtomicU64>,
}

impl Sources {
    async fn scrape(self) -> Option<Scrape> {
        let snapshot = self.fleet.snapshot().await.ok()?;
        let mut problems = [0; ProblemKind::COUNT];
        for problem in &self.inventory.borrow().problems {
            problems[problem.kind.index()] += 1;
        }
        let publishers = self.state_db.iter().filter_map(|status| *status.borrow());
        let (state_db, facts, config) = (
            publishers.reduce(StateDbStatus::and),
            self.facts.borrow().clone(),
            *self.config.borrow(),
        );
        Some(Scrape {
            snapshot,
            state_db,
            facts,
            shadow: self.shadow.borrow().clone(),
            problems,
            tls: self.tls.status(),
            config,
            delays: self.lateness.delays(),
            web: self.web.status(),
            lines_dropped: self.lines_dropped.load(Ordering::Relaxed),
            process: Process::read(),
        })
    }
}

fn scrape_source(sources: Sources) -> http::Source {
    Arc::new(move || Box::pin(sources.clone().scrape()))
}

/// True, for good, when the fleet has settled or it is too late to wait for that.
fn readiness(fleet: &FleetHandle) -> watch::Receiver<bool> {
    let (tx, rx) = watch::channel(false);
    let mut settled = fleet.settled();
    tokio::spawn(async move {
        let _ = timeout(READY_AFTER, settled.wait_for(|settled| *settled)).await;
        tx.send_replace(true);
        // The value lives as long as its sender.
        tx.closed().await;
    });
    rx
}

/// Asks for a reload and waits for its outcome; `None` when the exporter is stopping.
pub async fn reload(reloader: &mpsc::Sender<ReloadRequest>) -> Option<Result<(), String>> {
    let (tx, rx) = oneshot::channel();
    reloader.send(tx).await.ok()?;
    rx.await.ok()
}

#[cfg(test)]
mod tests;
