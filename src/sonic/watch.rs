//! Joins the mirrors of the switch's databases to what follows from them: the inventory for the fleet, the facts for the
//! metrics, and in shadow mode the rows with which ours are compared.
//!
//! CONFIG_DB is used only while it is whole (`CONFIG_DB_INITIALIZED`), and the last inventory is kept whenever it is not, or
//! cannot be read: a Redis that restarts empty must not take a single SoC away. A row that is gone for a moment, because somebody
//! rewrites it, does not either (`inventory::Hold`).

mod secrets;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::config::{Config, Database, Publish, RedisServer};
use crate::model::Inventory;
use crate::model::component::INVENTORY;
use crate::model::{Facts, Port, ProbeSettings, Problem, Side, Spec, StateDbs};
use crate::runtime::defect::{Restarts, caught};
use crate::sonic::intent;
use crate::sonic::inventory::{self, Hold, Origin, Secrets, Source};
use crate::sonic::mirror::{Mirror, Mirrored, Ports, Surroundings};
use crate::sonic::redis_link::Tells;
use crate::sonic::shadow::Shadow;

/// How long targets of the configuration's own wait for what CONFIG_DB has to say of them (side, source address, TLS): a
/// database that is there answers in milliseconds, one that is not must not keep us from looking.
const PATIENCE: Duration = Duration::from_millis(500);

/// What all who talk to a Redis server find out about it together.
#[derive(Debug, Default)]
pub struct Servers(Vec<(RedisServer, Tells)>);

impl Servers {
    /// Whether this one tells of changes.
    pub fn tells(&mut self, server: &RedisServer) -> Tells {
        if let Some((_, tells)) = self.0.iter().find(|(known, _)| known == server) {
            return tells.clone();
        }
        let tells = Tells::default();
        self.0.push((server.clone(), tells.clone()));
        tells
    }
}

/// The readings of one namespace's databases.
#[derive(Debug)]
struct Readings {
    config_db: watch::Receiver<Mirrored>,
    appl_db: watch::Receiver<Mirrored>,
    state_db: watch::Receiver<Mirrored>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Switch {
    config: watch::Receiver<Arc<Config>>,
    readings: Vec<Readings>,
    /// What counts of each CONFIG_DB while it is being rewritten.
    holds: Vec<Hold>,
    sources: Vec<Source>,
    secrets: watch::Receiver<Secrets>,
    inventory: watch::Sender<Arc<Inventory>>,
    facts: watch::Sender<Option<Arc<Facts>>>,
    shadow: watch::Sender<Option<Shadow>>,
    problems: BTreeSet<Problem>,
    /// The rows that are kept though they are gone, by namespace.
    kept: BTreeSet<(Arc<str>, String)>,
    kept_told: Option<Instant>,
    /// Ports whose mux change has failed, as they were logged last, and when.
    failed: BTreeSet<Port>,
    failed_told: Option<Instant>,
    /// When ports whose change has failed, and that are not in the log yet, may be.
    failures_due: Option<Instant>,
    /// By namespace, from where its SoCs' TLS settings are.
    origins: BTreeMap<Arc<str>, Origin>,
    /// Why channels cannot be secured as CONFIG_DB wants it.
    unusable: BTreeSet<Arc<str>>,
    side: Option<Side>,
    /// By namespace, the `subtype` that is not DualToR, as it was logged.
    other_kinds: BTreeMap<Arc<str>, String>,
    /// For the mirrors: whose rows to read.
    ports: watch::Sender<Ports>,
    mirrors: JoinSet<()>,
}

/// What `Switch` emits.
#[derive(Debug)]
pub struct Emits {
    /// The latest.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// `None` where no database is used.
    pub facts: watch::Receiver<Option<Arc<Facts>>>,
    /// `None` but in shadow mode, and there while some STATE_DB cannot be read: what was not compared does not agree.
    pub shadow: watch::Receiver<Option<Shadow>>,
}

impl Switch {
    /// Starts a mirror of each database that `config` names, now.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        probe: &watch::Receiver<ProbeSettings>,
        servers: &mut Servers,
    ) -> (Self, Emits) {
        let first = config.borrow().clone();
        let mut mirrors = JoinSet::new();
        let ports = watch::Sender::new(Ports::default());
        let mut start = |database: &Database, spec: &Spec| {
            let around = Surroundings {
                probe: probe.clone(),
                ports: ports.subscribe(),
                tells: servers.tells(&database.server),
            };
            let (mirror, reading) = Mirror::new(database.clone(), spec.clone(), around);
            mirrors.spawn(mirror.run());
            reading
        };
        let of_state_db = match first.publish {
            Publish::Shadow => &intent::STATE_DB_SHADOWED,
            Publish::Own | Publish::Off => &intent::STATE_DB,
        };
        let readings: Vec<Readings> = first
            .namespaces
            .iter()
            .map(|namespace| Readings {
                config_db: start(&namespace.config_db, &inventory::CONFIG_DB),
                appl_db: start(&namespace.appl_db, &intent::APPL_DB),
                state_db: start(&namespace.state_db, of_state_db),
            })
            .collect();
        let mut sources: Vec<Source> = first
            .namespaces
            .iter()
            .map(|namespace| Source::unread(&namespace.name))
            .collect();
        if sources.is_empty() {
            // For what the file says.
            sources.push(Source::unread(&"".into()));
        }
        let secrets = watch::Sender::new(Secrets::Unread(first.grpc_secrets.clone()));
        let secrets_rx = secrets.subscribe();
        mirrors.spawn(secrets::run(config.clone(), secrets));
        let used = !readings.is_empty();
        let inventory = watch::Sender::new(Arc::default());
        let facts = watch::Sender::new(used.then(Arc::default));
        let shadow = watch::Sender::new(None);
        let emits = Emits {
            inventory: inventory.subscribe(),
            facts: facts.subscribe(),
            shadow: shadow.subscribe(),
        };
        let switch = Self {
            config,
            holds: readings.iter().map(|_| Hold::default()).collect(),
            readings,
            sources,
            secrets: secrets_rx,
            inventory,
            facts,
            shadow,
            problems: BTreeSet::new(),
            kept: BTreeSet::new(),
            kept_told: None,
            failed: BTreeSet::new(),
            failed_told: None,
            failures_due: None,
            origins: BTreeMap::new(),
            unusable: BTreeSet::new(),
            side: None,
            other_kinds: BTreeMap::new(),
            ports,
            mirrors,
        };
        switch.tell_ports();
        (switch, emits)
    }

    /// Runs until the configuration's sender is gone. Should a defect end that, what was emitted last holds, and it is done
    /// anew after a while: probing goes on.
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
        loop {
            let kept_until = self.holds.iter().filter_map(Hold::until).map(Instant::from_std);
            let due = kept_until.chain(self.failures_due).min();
            tokio::select! {
                config = self.config.changed() => match config {
                    Ok(()) => {}
                    Err(_) => return,
                },
                () = any_changed(&mut self.readings) => {}
                Ok(()) = self.secrets.changed() => {}
                () = &mut patience, if patient => patient = false,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // It catches what it does over its connections: this is a defect that it cannot go on from. What it has read last
                // must not be shown for ever, so the exporter ends.
                Some(_) = self.mirrors.join_next() => {
                    error!(target: INVENTORY, "a mirror of a database has ended by a defect of this program: please report it");
                    return;
                }
            }
            self.read();
            patient &= self.sources_waiting();
            let config = self.config.borrow_and_update().clone();
            // Without CONFIG_DB's rows it is the file that tells how to dial.
            if patient && (config.targets.is_some() || self.is_file_unread()) {
                continue;
            }
            self.emit(&config);
        }
    }

    /// Whether some CONFIG_DB has neither been read nor failed to be.
    fn sources_waiting(&self) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|r| matches!(*r.config_db.borrow(), Mirrored::Waiting)) || self.is_file_unread()
    }

    fn is_file_unread(&self) -> bool {
        matches!(*self.secrets.borrow(), Secrets::Unread(_))
    }

    /// Takes in what the mirrors show now.
    fn read(&mut self) {
        let mut facts = Facts::new();
        let mut state_dbs = StateDbs::new();
        let now = Instant::now().into_std();
        let each = self.readings.iter_mut().zip(&mut self.holds);
        for ((readings, hold), source) in each.zip(&mut self.sources) {
            let config_db = readings.config_db.borrow_and_update();
            let believed = config_db.tables().filter(|tables| inventory::is_believed(tables));
            source.tables = hold.take(believed, now);
            let (appl_db, state_db) = (
                readings.appl_db.borrow_and_update(),
                readings.state_db.borrow_and_update(),
            );
            let (appl_db, state_db) = (appl_db.tables(), state_db.tables());
            intent::collect(appl_db.map(|t| &**t), state_db.map(|t| &**t), &mut facts);
            state_dbs.extend(state_db.map(|tables| (source.namespace.clone(), tables.clone())));
        }
        inventory::secure(&mut self.sources, &self.secrets.borrow_and_update());
        let publish = self.config.borrow().publish;
        if publish == Publish::Shadow {
            let all = state_dbs.len() == self.readings.len();
            self.shadow.send_replace(all.then_some(Shadow { state_dbs }));
        }
        if !self.readings.is_empty() {
            self.tell_failures(&facts);
            self.facts.send_replace(Some(Arc::new(facts)));
        }
    }

    fn emit(&mut self, config: &Config) {
        let inventory = Inventory::of(config, &self.sources);
        self.tell(&inventory);
        self.inventory.send_if_modified(|before| {
            let changed = **before != inventory;
            if changed {
                *before = Arc::new(inventory);
            }
            changed
        });
        self.tell_ports();
    }

    /// Whose rows the mirrors read: those of all namespaces, as a port's own is not always known.
    fn tell_ports(&self) {
        let inventory = self.inventory.borrow().clone();
        let ports = inventory.targets.iter().map(|target| target.id.port.clone());
        let ports: BTreeSet<Port> = ports.collect();
        self.ports.send_if_modified(|before| {
            let changed = **before != ports;
            if changed {
                *before = Arc::new(ports);
            }
            changed
        });
    }
}

/// Waits until one of them shows something new; forever where there are none. Cancel-safe: it takes nothing.
async fn any_changed(readings: &mut [Readings]) {
    let mut changes: Vec<_> = readings
        .iter_mut()
        .flat_map(|r| [&mut r.config_db, &mut r.appl_db, &mut r.state_db])
        .map(|reading| {
            Box::pin(async move {
                if reading.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        })
        .collect();
    poll_fn(|cx| {
        let ready = changes
            .iter_mut()
            .any(|change| change.as_mut().poll(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
