//! Collects the parts of the view and joins them. No other code does that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::module_part::ModuleReader;
use super::parts::Published;
use super::queues::Queues;
use super::totals::Totals;
use crate::config::Config;
use crate::fleet::FleetHandle;
use crate::model::level::judge;
use crate::model::{
    ConfigStatus, ExemplarTable, ExporterInfo, Facts, OtlpStatus, SocStatus, SocView, StateDbStatus,
    TargetSource, View,
};
use crate::soc::channel::TlsStore;
use crate::sonic::switch::Emits;
use crate::telemetry::process;
use crate::web::{self, WebStats};

/// What is known of the telemetry that is sent.
#[derive(Clone)]
pub(super) struct OtlpSource {
    /// What has become of it.
    pub(super) status: Arc<dyn Fn() -> OtlpStatus + Send + Sync>,
    /// Traces that have arrived.
    pub(super) exemplars: Arc<ExemplarTable>,
}

/// Where the view's parts come from.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) fleet: FleetHandle,
    /// One per publisher.
    pub(super) state_db: Vec<Published>,
    pub(super) switch: Emits,
    pub(super) tls: Arc<TlsStore>,
    pub(super) totals: Totals,
    pub(super) queues: Queues,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) config_status: watch::Receiver<ConfigStatus>,
    pub(super) origin: Origin,
    /// `None`: nothing is sent as OpenTelemetry.
    pub(super) otlp: Option<OtlpSource>,
    pub(super) web: Arc<WebStats>,
    pub(super) modules: ModuleReader,
}

/// Where and when this exporter started.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) host: Arc<str>,
    at: SystemTime,
}

impl Origin {
    /// On this host, now.
    pub(super) fn now() -> Self {
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into(),
            at: SystemTime::now(),
        }
    }
}

impl Sources {
    /// `None`: the exporter is stopping.
    async fn view(self) -> Option<View> {
        let snapshot = self.fleet.snapshot().await.ok()?;
        let (modules, module_targets) = self.modules.now().await?;
        let publishers = self.state_db.iter().filter_map(|status| *status.borrow());
        let state_db = publishers.reduce(StateDbStatus::and);
        let (facts, shadow) = (
            self.switch.facts.borrow().clone(),
            self.switch.shadow.borrow().clone(),
        );
        let statuses = || snapshot.socs.iter().map(|soc| &**soc);
        let (at, exporter) = (SystemTime::now(), self.exporter());
        let interval = exporter.probe.interval;
        let totals = self.totals.now();
        let soc = |soc| of_soc(soc, facts.as_deref(), interval, at);
        Some(View {
            at,
            exporter,
            side: snapshot.side,
            inventory: self.switch.inventory.borrow().clone(),
            sources: self.switch.sources.borrow().clone(),
            state_db,
            differences: shadow.map(|shadow| shadow.differences(statuses())),
            tls: self.tls.status(),
            config: *self.config_status.borrow(),
            delays: totals.delays,
            lately: self.totals.lately(&totals),
            queues: self.queues.lengths(&self.fleet, state_db.as_ref()),
            web: self.web.status(),
            otlp: self.otlp.as_ref().map(|otlp| (otlp.status)()),
            exemplars: self.otlp.as_ref().map(|otlp| otlp.exemplars.clone()),
            lines_dropped: totals.lines_dropped,
            process: process::read(),
            modules,
            module_targets,
            socs: snapshot.socs.iter().map(soc).collect(),
        })
    }

    fn exporter(&self) -> ExporterInfo {
        let config = self.config.borrow();
        let source = match config.targets {
            Some(_) => TargetSource::File,
            None if config.is_from_config_db() => TargetSource::ConfigDb,
            None => TargetSource::Inventory,
        };
        ExporterInfo {
            host: self.origin.host.clone(),
            started: self.origin.at,
            source,
            publish: config.publish.label(),
            probe: config.probe,
        }
    }
}

/// The port of a SoC in another rack is on another switch, and our databases do not have it.
fn of_soc(status: &Arc<SocStatus>, facts: Option<&Facts>, interval: Duration, now: SystemTime) -> SocView {
    let id = &status.target.id;
    let facts = facts.filter(|_| id.rack.is_empty());
    let facts = facts.map(|facts| facts.get(&id.port).copied().unwrap_or_default());
    SocView {
        reason: judge(status, facts.as_ref(), interval, now),
        status: status.clone(),
        facts,
    }
}

/// For the web server: what has happened to a SoC.
pub(super) fn history_source(fleet: FleetHandle) -> web::HistorySource {
    Arc::new(move |id| {
        let fleet = fleet.clone();
        Box::pin(async move { fleet.history(id).await.ok() })
    })
}

/// For the web server: a new view for each scrape.
pub(super) fn view_source(sources: Sources) -> web::ViewSource {
    Arc::new(move || Box::pin(sources.clone().view()))
}
