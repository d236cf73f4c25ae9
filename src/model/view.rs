//! Everything that this exporter shows, at one moment. Metrics, pages, API and OTLP read this one type. Only `app::make_view`
//! makes it. No other code joins the fleet's table with the switch's own data.

use std::sync::Arc;

use super::{
    ConfigStatus, Delays, Inventory, PortFacts, ProcessStatus, Side, SocStatus, StateDbStatus, TlsStatus,
    WebStatus,
};

/// See the module's documentation. Cheap to make: statuses are shared, not copied.
#[derive(Debug, Clone)]
pub struct View {
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
}
