//! Everything that this exporter shows, at one moment. Metrics, pages, API and OTLP read this one type. Only `app::make_view`
//! makes it. No other code joins the fleet's table with the switch's own data.

use std::sync::Arc;
use std::time::SystemTime;

use super::{
    ConfigStatus, Delays, ExemplarTable, Inventory, ModuleSnapshot, ModuleSpec, OtlpStatus, PortFacts,
    PortReason, ProbeSettings, ProcessStatus, QueueLengths, Side, SocStatus, SourceStatus, StateDbStatus,
    TlsStatus, WebStatus,
};

words! {
    /// Where the SoCs to probe come from.
    TargetSource {
        /// The configuration file.
        File = "file",
        /// CONFIG_DB.
        ConfigDb = "config_db",
        /// The sources of the key `inventory`.
        Inventory = "inventory",
    }
}

/// What this exporter is, and what it was configured to do.
#[derive(Debug, Clone)]
pub struct ExporterInfo {
    /// The host's name.
    pub host: Arc<str>,
    /// When it started.
    pub started: SystemTime,
    /// Where the SoCs to probe come from.
    pub source: TargetSource,
    /// Which table is written: own, shadow or off.
    pub publish: &'static str,
    /// How often rounds are, and a query's deadline.
    pub probe: ProbeSettings,
}

/// What is a problem of the exporter only while it goes on: what happened in the last ten minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lately {
    /// How late this process was.
    pub delays: Delays,
    /// How many lines of the log were dropped.
    pub lines_dropped: u64,
    /// How often another process had written to a row of ours.
    pub foreign_writes: u64,
}

/// See the module's documentation. Cheap to make: statuses are shared, not copied.
#[derive(Debug, Clone)]
pub struct View {
    /// When the view was made.
    pub at: SystemTime,
    /// This exporter.
    pub exporter: ExporterInfo,
    /// Sorted by rack and port name.
    pub socs: Vec<SocView>,
    /// Which ToR this is.
    pub side: Side,
    /// The ports to probe, and the rows that cannot be used.
    pub inventory: Arc<Inventory>,
    /// The sources of the key `inventory`.
    pub sources: Arc<[SourceStatus]>,
    /// All STATE_DB publishers together; `None` if no rows are written.
    pub state_db: Option<StateDbStatus>,
    /// In how many ports ycabled's row differs from ours, by field; `None` unless in shadow mode.
    pub differences: Option<Vec<(&'static str, u64)>>,
    /// Our own certificates.
    pub tls: TlsStatus,
    /// How the last loads of the configuration went.
    pub config: ConfigStatus,
    /// The web clients.
    pub web: WebStatus,
    /// How many lines of the log were dropped.
    pub lines_dropped: u64,
    /// How late this process has been.
    pub delays: Delays,
    /// Problems of the last minutes.
    pub lately: Lately,
    /// What is sent as OpenTelemetry; `None`: nothing.
    pub otlp: Option<OtlpStatus>,
    /// Traces of queries that have arrived; `None`: nothing is sent.
    pub exemplars: Option<Arc<ExemplarTable>>,
    /// How much waits between the parts.
    pub queues: QueueLengths,
    /// CPU, memory and files of this process; `None` if /proc cannot be read.
    pub process: Option<ProcessStatus>,
    /// The probe modules, sorted by name.
    pub modules: Arc<[Arc<ModuleSpec>]>,
    /// Their targets, sorted by module and name.
    pub module_targets: ModuleSnapshot,
}

/// One SoC, and its port.
#[derive(Debug, Clone)]
pub struct SocView {
    /// The state of the SoC.
    pub status: Arc<SocStatus>,
    /// What the switch's databases hold about its port; `None` if no database is used.
    pub facts: Option<PortFacts>,
    /// How bad its state is, and why.
    pub reason: PortReason,
}

impl View {
    /// The SoCs of each rack. Without racks: all SoCs, even if there are none.
    pub fn racks(&self) -> impl Iterator<Item = (Option<&str>, &[SocView])> {
        let rack = |soc: &SocView| soc.status.target.id.rack.clone();
        let none = self.socs.is_empty().then_some((None, &[][..]));
        let racks = self.socs.chunk_by(move |a, b| rack(a) == rack(b));
        let named = racks.map(|socs| {
            (
                socs.first().and_then(|soc| soc.status.target.id.rack.name()),
                socs,
            )
        });
        none.into_iter().chain(named)
    }

    /// Which ToR we are for these SoCs; unknown if that differs. `None`: there is nothing to say, as no source lists a SoC.
    pub fn side_of(&self, socs: &[SocView]) -> Option<Side> {
        let Some(first) = socs.first() else {
            return self.sources.is_empty().then_some(self.side);
        };
        let side = first.status.target.side;
        let is_same = socs.iter().all(|soc| soc.status.target.side == side);
        Some(if is_same { side } else { Side::Unknown })
    }

    /// Whether directions are unknown because it is not known which ToR we are.
    pub fn is_side_unknown(&self) -> bool {
        match self.socs.is_empty() {
            true => self.side_of(&[]) == Some(Side::Unknown),
            false => self
                .socs
                .iter()
                .any(|soc| soc.status.target.side == Side::Unknown),
        }
    }
}
