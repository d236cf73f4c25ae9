//! The part that probes modules: it starts with the first module that is configured, so that without modules it costs nothing.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::parts::{Tasks, oversee};
use super::queues::Queues;
use crate::config::Config;
use crate::fleet::{Feeds, ModuleFleet, Modules, ModulesHandle};
use crate::model::{ModuleId, ModuleSnapshot};
use crate::soc::channel::TlsStore;
use crate::soc::probe::RoundLimiter;
use crate::soc::session::Pulses;
use crate::web::{ModuleFound, ModuleLookup, ModuleSource};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ModulePart {
    modules: watch::Sender<Modules>,
    handle: watch::Sender<Option<ModulesHandle>>,
    /// The limiter of the SoCs' rounds, and what each session is doing.
    shared: (Arc<RoundLimiter>, Arc<Pulses>),
    /// Reports that a target serves or no longer does.
    serving: watch::Sender<()>,
    stop: CancellationToken,
}

/// Reads from the part. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ModuleReader {
    modules: watch::Receiver<Modules>,
    handle: watch::Receiver<Option<ModulesHandle>>,
}

impl ModulePart {
    /// Starts with the modules of `config`, if there are any. Their rounds are limited with those of the SoCs.
    pub(super) fn begin(
        config: &Config,
        queues: &Queues,
        feeds: &Feeds,
        stop: &CancellationToken,
        tasks: &mut Tasks,
    ) -> Self {
        let part = Self {
            modules: watch::Sender::new(Arc::new([])),
            handle: watch::Sender::new(None),
            shared: (queues.rounds.clone(), queues.pulses.clone()),
            serving: feeds.serving.clone(),
            stop: stop.clone(),
        };
        part.adopt(&config.modules, tasks);
        part
    }

    /// These modules are configured from now on.
    pub(super) fn adopt(&self, modules: &Modules, tasks: &mut Tasks) {
        self.modules.send_if_modified(|known| {
            let changed = *known != *modules;
            if changed {
                *known = modules.clone();
            }
            changed
        });
        if modules.is_empty() || self.handle.borrow().is_some() {
            return;
        }
        // A store of its own: the certificate files of the modules are not the SoCs'.
        let tls = Arc::<TlsStore>::default();
        let (shared, serving) = (self.shared.clone(), self.serving.clone());
        let (fleet, handle) = ModuleFleet::new(self.modules.subscribe(), shared, tls, serving);
        self.handle.send_replace(Some(handle));
        let stop = self.stop.clone();
        oversee(tasks, "the fleet of the modules", async move {
            let ended = fleet.run(stop.cancelled()).await;
            ended.map_err(|defect| AppError::Defect("the fleet of the modules", defect))
        });
    }

    /// What each session is doing.
    pub(super) fn pulses(&self) -> Arc<Pulses> {
        self.shared.1.clone()
    }

    pub(super) fn reader(&self) -> ModuleReader {
        ModuleReader {
            modules: self.modules.subscribe(),
            handle: self.handle.subscribe(),
        }
    }
}

impl ModuleReader {
    /// The modules, and their targets as they are now. `None`: the exporter is stopping.
    pub(super) async fn now(&self) -> Option<(Modules, ModuleSnapshot)> {
        let (modules, handle) = (self.modules.borrow().clone(), self.handle.borrow().clone());
        match handle {
            Some(handle) => Some((modules, handle.snapshot().await.ok()?)),
            None => Some((modules, Arc::new([]))),
        }
    }

    /// For the web server: finds a target, and asks for a round of it.
    pub(super) fn source(self) -> ModuleSource {
        Arc::new(move |module, target| {
            let modules = self.modules.borrow().clone();
            let Some(spec) = modules.iter().find(|spec| *spec.name == *module) else {
                return ModuleLookup::UnknownModule;
            };
            let Some(found) = spec.target(target) else {
                return ModuleLookup::UnknownTarget;
            };
            let id = ModuleId {
                module: spec.name.clone(),
                target: found.name.clone(),
            };
            let handle = self.handle.borrow().clone();
            ModuleLookup::Found(ModuleFound {
                spec: spec.clone(),
                target: found.clone(),
                round: Box::pin(async move { handle?.probe(id).await.ok().flatten() }),
            })
        })
    }
}
