//! Collects the parts of the view and joins them. No other code does that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::parts::Published;
use crate::fleet::FleetHandle;
use crate::model::{ConfigStatus, Facts, Inventory, PortFacts, SocStatus, SocView, StateDbStatus, View};
use crate::soc::channel::TlsStore;
use crate::sonic::shadow::Shadow;
use crate::telemetry::lateness::Lateness;
use crate::telemetry::process;
use crate::web::{self, WebStats};

/// Where the view's parts come from.
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
    /// `None`: the exporter is stopping.
    async fn view(self) -> Option<View> {
        let snapshot = self.fleet.snapshot().await.ok()?;
        let publishers = self.state_db.iter().filter_map(|status| *status.borrow());
        let (facts, shadow) = (self.facts.borrow().clone(), self.shadow.borrow().clone());
        let statuses = || snapshot.socs.iter().map(|soc| &**soc);
        Some(View {
            side: snapshot.side,
            inventory: self.inventory.borrow().clone(),
            state_db: publishers.reduce(StateDbStatus::and),
            differences: shadow.map(|shadow| shadow.differences(statuses())),
            tls: self.tls.status(),
            config: *self.config.borrow(),
            delays: self.lateness.delays(),
            web: self.web.status(),
            lines_dropped: self.lines_dropped.load(Ordering::Relaxed),
            process: process::read(),
            socs: snapshot
                .socs
                .iter()
                .map(|soc| of_soc(soc, facts.as_deref()))
                .collect(),
        })
    }
}

/// The port of a SoC in another rack is on another switch, and our databases do not have it.
fn of_soc(status: &Arc<SocStatus>, facts: Option<&Facts>) -> SocView {
    let id = &status.target.id;
    let facts = facts.filter(|_| id.rack.is_empty());
    let unknown = PortFacts::default;
    SocView {
        status: status.clone(),
        facts: facts.map(|facts| facts.get(&id.port).copied().unwrap_or_else(unknown)),
    }
}

/// For the web server: a new view for each scrape.
pub(super) fn view_source(sources: Sources) -> web::ViewSource {
    Arc::new(move || Box::pin(sources.clone().view()))
}
