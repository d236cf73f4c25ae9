//! Where a scrape's parts come from, and how they become one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::parts::Published;
use crate::fleet::FleetHandle;
use crate::model::{ConfigStatus, Facts, Inventory, ProblemKind, StateDbStatus};
use crate::soc::channel::TlsStore;
use crate::sonic::shadow::Shadow;
use crate::telemetry::catalogue::Scrape;
use crate::telemetry::lateness::Lateness;
use crate::telemetry::process::Process;
use crate::web::{self, WebStats};

/// Where a scrape's parts come from.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) fleet: FleetHandle,
    /// One per publisher.
    pub(super) state_db: Vec<Published>,
    pub(super) facts: watch::Receiver<Option<Arc<Facts>>>,
    pub(super) shadow: watch::Receiver<Option<Shadow>>,
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) tls: Arc<TlsStore>,
    pub(super) lateness: Lateness,
    pub(super) config: watch::Receiver<ConfigStatus>,
    pub(super) web: Arc<WebStats>,
    pub(super) lines_dropped: Arc<AtomicU64>,
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

/// For the web server: asks anew for each scrape.
pub(super) fn scrape_source(sources: Sources) -> web::Source {
    Arc::new(move || Box::pin(sources.clone().scrape()))
}
