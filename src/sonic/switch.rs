//! Joins the mirrors of the switch's databases and derives from them the inventory for the fleet, the facts for the metrics,
//! and in shadow mode the rows that ours are compared with.
//!
//! CONFIG_DB is used only while it is complete (`CONFIG_DB_INITIALIZED` is 1). Otherwise, and while it cannot be read, the last
//! inventory is kept: a Redis that restarts empty must not remove a single SoC. A row that is missing for a moment, because
//! another process rewrites it, does not remove one either (`inventory::Hold`).
//!
//! APPL_DB and STATE_DB change with each change of a mux, but the list of SoCs does not depend on them: then only the facts are
//! updated, not the inventory (`is_inventory_stale`).
//!
//! Imports `model`, `runtime` and `config`; in `sonic` `discovery`, `inventory`, `intent`, `mirror`, `redis_link` and
//! `shadow`.
//!
//! | file | job |
//! |---|---|
//! | mirrors | the mirrors of each namespace: starts them, and waits for them |
//! | secrets_reader | reads grpc_secrets.json again and again |
//! | discoveries | the sources of the key `inventory`: starts them, stops them, and waits for them |
//! | any_of | the wait for the first of several of them |
//! | journal | what is logged of all changes |

mod any_of;
mod discoveries;
mod journal;
mod mirrors;
mod secrets_reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::config::{Config, Publish};
use crate::model::component::INVENTORY;
use crate::model::{Facts, Inventory, Port, ProbeSettings, SourceStatus, StateDbs};
use crate::runtime::defect::{Restarts, caught};
use crate::sonic::intent;
use crate::sonic::inventory::{self, ConfigDbCopy, Hold, Secrets};
use crate::sonic::mirror::{Mirrored, Ports};
use crate::sonic::redis_link::Servers;
use crate::sonic::shadow::Shadow;
use discoveries::Discoveries;
use journal::Journal;
use mirrors::{NamespaceMirrors, any_changed};

/// How long targets from the configuration file wait for side, source address and TLS from CONFIG_DB. A database that works
/// answers in milliseconds; one that does not must not delay the probes for longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// See the module's page.
#[derive(Debug)]
pub struct Switch {
    config: watch::Receiver<Arc<Config>>,
    mirrors: Vec<NamespaceMirrors>,
    secrets: watch::Receiver<Secrets>,
    /// What to use of each CONFIG_DB while it is being rewritten.
    holds: Vec<Hold>,
    sources: Vec<ConfigDbCopy>,
    discoveries: Discoveries,
    inventory: watch::Sender<Arc<Inventory>>,
    facts: watch::Sender<Option<Arc<Facts>>>,
    shadow: watch::Sender<Option<Shadow>>,
    /// How the sources of the key `inventory` are.
    statuses: watch::Sender<Arc<[SourceStatus]>>,
    /// For the mirrors: the ports whose rows they read.
    ports: watch::Sender<Ports>,
    journal: Journal,
    /// The mirrors, and the task that reads the file.
    tasks: JoinSet<()>,
    /// How often an inventory has been made.
    #[cfg(test)]
    worked_out: u32,
}

/// What `Switch` emits.
#[derive(Debug, Clone)]
pub struct Emits {
    /// The latest.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// `None`: no database is used.
    pub facts: watch::Receiver<Option<Arc<Facts>>>,
    /// `None`: not in shadow mode, or some STATE_DB cannot be read. What was not compared must not count as equal.
    pub shadow: watch::Receiver<Option<Shadow>>,
    /// The sources of the key `inventory`.
    pub sources: watch::Receiver<Arc<[SourceStatus]>>,
}

impl Switch {
    /// Starts a mirror of each database in the present `config`.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        probe: &watch::Receiver<ProbeSettings>,
        servers: &mut Servers,
    ) -> (Self, Emits) {
        let mut tasks = JoinSet::new();
        let ports = watch::Sender::new(Ports::default());
        let first = config.borrow().clone();
        let mirrors = mirrors::start(&first, probe, &ports, servers, &mut tasks);
        let secrets = watch::Sender::new(Secrets::Unread(first.grpc_secrets.clone()));
        let secrets_rx = secrets.subscribe();
        tasks.spawn(secrets_reader::run(config.clone(), secrets));
        Self::over(
            config,
            mirrors,
            secrets_rx,
            ports,
            tasks,
            Discoveries::new(probe.clone()),
        )
    }

    /// A switch over these mirrors.
    fn over(
        config: watch::Receiver<Arc<Config>>,
        mirrors: Vec<NamespaceMirrors>,
        secrets: watch::Receiver<Secrets>,
        ports: watch::Sender<Ports>,
        tasks: JoinSet<()>,
        discoveries: Discoveries,
    ) -> (Self, Emits) {
        let unread = |namespace: &NamespaceMirrors| ConfigDbCopy::unread(&namespace.name);
        let mut sources: Vec<ConfigDbCopy> = mirrors.iter().map(unread).collect();
        if sources.is_empty() {
            // For grpc_secrets.json.
            sources.push(ConfigDbCopy::unread(&"".into()));
        }
        let switch = Self {
            config,
            holds: mirrors.iter().map(|_| Hold::default()).collect(),
            sources,
            discoveries,
            secrets,
            inventory: watch::Sender::new(Arc::default()),
            facts: watch::Sender::new((!mirrors.is_empty()).then(Arc::default)),
            shadow: watch::Sender::new(None),
            statuses: watch::Sender::new(Arc::default()),
            mirrors,
            ports,
            journal: Journal::default(),
            tasks,
            #[cfg(test)]
            worked_out: 0,
        };
        let emits = Emits {
            inventory: switch.inventory.subscribe(),
            facts: switch.facts.subscribe(),
            shadow: switch.shadow.subscribe(),
            sources: switch.statuses.subscribe(),
        };
        (switch, emits)
    }

    /// Runs until the configuration's sender is gone. If a defect ends that, the last output stays valid and it is started
    /// again after a while: probing continues.
    pub async fn run(mut self) {
        let mut restarts = Restarts::default();
        loop {
            let began = Instant::now();
            let Err(defect) = caught(Box::pin(self.follow())).await else {
                return;
            };
            let wait = restarts.wait(began.elapsed());
            error!(target: INVENTORY, %defect, tried_again_in = ?wait, "the inventory is not followed because of a defect of this program: please report it");
            sleep_until(Instant::now() + wait).await;
        }
    }

    async fn follow(&mut self) {
        let patience = sleep_until(Instant::now() + PATIENCE);
        tokio::pin!(patience);
        let mut patient = true;
        // Whether something has changed that the inventory does not show yet. At first there is none.
        let mut stale = true;
        loop {
            self.discoveries.adopt(&self.config.borrow().inventory);
            let due = self.holds.iter().filter_map(Hold::until);
            let due = due
                .map(Instant::from_std)
                .chain(self.journal.failures_due())
                .chain(self.discoveries.waits_until())
                .min();
            tokio::select! {
                config = self.config.changed() => match config {
                    Ok(()) => stale = true,
                    Err(_) => return,
                },
                () = any_changed(&self.mirrors) => {}
                () = self.discoveries.changed() => {}
                Ok(()) = self.secrets.changed() => stale = true,
                () = &mut patience, if patient => (patient, stale) = (false, true),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // Errors on connections are handled inside; this is a defect. The exporter stops, so that old data is not
                // shown.
                Some(_) = self.tasks.join_next() => {
                    error!(target: INVENTORY, "a mirror of a database has ended by a defect of this program: please report it");
                    return;
                }
            }
            let now = Instant::now().into_std();
            // Checked before anything is marked as seen.
            stale |= self.is_inventory_stale(now);
            self.discoveries.adopt(&self.config.borrow().inventory);
            stale |= self.discoveries.take();
            self.statuses.send_replace(self.discoveries.statuses());
            if stale {
                self.take_config_dbs(now);
            }
            self.take_facts();
            patient &= self.are_sources_waiting();
            // Without rows in CONFIG_DB, grpc_secrets.json decides how to dial.
            let waits = patient && (self.config.borrow().targets.is_some() || self.is_file_unread());
            let waits = waits || self.discoveries.waits_until().is_some();
            if stale && !waits {
                self.emit();
                stale = false;
            }
        }
    }

    /// Whether anything has changed that the inventory depends on: the configuration, a CONFIG_DB, the file, or a row that was
    /// kept for a while and is no longer.
    fn is_inventory_stale(&self, now: std::time::Instant) -> bool {
        self.config.has_changed().unwrap_or(false)
            || self.secrets.has_changed().unwrap_or(false)
            || self.mirrors.iter().any(NamespaceMirrors::has_config_db_changed)
            || self
                .holds
                .iter()
                .filter_map(Hold::until)
                .any(|until| until <= now)
    }

    /// Whether some CONFIG_DB or the file has neither been read nor failed.
    fn are_sources_waiting(&self) -> bool {
        let is_waiting =
            |mirrors: &NamespaceMirrors| matches!(*mirrors.config_db.borrow(), Mirrored::Waiting);
        self.mirrors.iter().any(is_waiting) || self.is_file_unread()
    }

    fn is_file_unread(&self) -> bool {
        matches!(*self.secrets.borrow(), Secrets::Unread(_))
    }

    /// Takes what the inventory depends on, except the configuration.
    fn take_config_dbs(&mut self, now: std::time::Instant) {
        let each = self.mirrors.iter_mut().zip(&mut self.holds);
        for ((mirrors, hold), source) in each.zip(&mut self.sources) {
            let config_db = mirrors.config_db.borrow_and_update();
            let complete = config_db.tables().filter(|tables| inventory::is_complete(tables));
            source.tables = hold.take(complete, now);
        }
        inventory::secure(&mut self.sources, &self.secrets.borrow_and_update());
    }

    /// Takes what the facts depend on, and emits the facts.
    fn take_facts(&mut self) {
        let mut facts = Facts::new();
        let mut state_dbs = StateDbs::new();
        for mirrors in &mut self.mirrors {
            let appl_db = mirrors.appl_db.borrow_and_update();
            let state_db = mirrors.state_db.borrow_and_update();
            let (appl_db, state_db) = (appl_db.tables(), state_db.tables());
            intent::collect(appl_db.map(|t| &**t), state_db.map(|t| &**t), &mut facts);
            state_dbs.extend(state_db.map(|tables| (mirrors.name.clone(), tables.clone())));
        }
        if self.config.borrow().publish == Publish::Shadow {
            let all = state_dbs.len() == self.mirrors.len();
            self.shadow.send_replace(all.then_some(Shadow { state_dbs }));
        }
        if !self.mirrors.is_empty() {
            self.journal.failures(&facts);
            self.facts.send_replace(Some(Arc::new(facts)));
        }
    }

    fn emit(&mut self) {
        #[cfg(test)]
        {
            self.worked_out += 1;
        }
        let config = self.config.borrow_and_update().clone();
        let inventory = Inventory::of(&config, &self.sources, self.discoveries.found());
        self.journal
            .inventory(&config, &self.sources, &self.holds, &inventory);
        // The mirrors read the rows of all namespaces' ports, because a port's own namespace is not always known.
        let ports = inventory.targets.iter().map(|target| target.id.port.clone());
        let ports: BTreeSet<Port> = ports.collect();
        emit_change(&self.inventory, inventory);
        emit_change(&self.ports, ports);
    }
}

/// Emits a value that has changed.
fn emit_change<T: PartialEq>(to: &watch::Sender<Arc<T>>, now: T) {
    to.send_if_modified(|before| {
        let changed = **before != now;
        if changed {
            *before = Arc::new(now);
        }
        changed
    });
}
