//! Everything that this exporter shows, at one moment. Metrics, pages, API and OTLP read this one type. Only `app::make_view`
//! makes it. No other code joins the fleet's table with the switch's own data.

use std::sync::Arc;
use std::time::SystemTime;

use super::{
    ConfigStatus, Delays, Inventory, PortFacts, PortReason, ProbeSettings, ProcessStatus, QueueLengths, Side,
    SocStatus, StateDbStatus, TlsStatus, WebStatus,
};

words! {
    /// Where the SoCs to probe come from.
    TargetSource {
        /// The configuration file.
        File = "file",
        /// CONFIG_DB.
        ConfigDb = "config_db",
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
    /// How much waits between the parts.
    pub queues: QueueLengths,
    /// CPU, memory and files of this process; `None` if /proc cannot be read.
    pub process: Option<ProcessStatus>,
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
