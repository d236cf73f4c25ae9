//! Everything that this exporter shows, at one moment. Metrics, pages, API and OTLP read this one type; `app::make_view` makes it, and
//! no one else joins what the fleet knows with what the switch says.

use std::sync::Arc;

use super::{
    ConfigStatus, Delays, Inventory, PortFacts, ProcessStatus, Side, SocStatus, StateDbStatus, TlsStatus,
    WebStatus,
};

/// See the module's documentation. Cheap to make: statuses are shared, not copied.
#[derive(Debug, Clone)]
pub struct View {
    /// In the order of their ports' names.
    pub socs: Vec<SocView>,
    /// Which ToR this is.
    pub side: Side,
    /// The ports that are to be probed, and the rows that cannot be used.
    pub inventory: Arc<Inventory>,
    /// The STATE_DB publishers, together; `None` where no database is used.
    pub state_db: Option<StateDbStatus>,
    /// How many ports' rows by ycabled differ from ours, by field; `None` but in shadow mode.
    pub differences: Option<Vec<(&'static str, u64)>>,
    /// Our own certificates.
    pub tls: TlsStatus,
    /// The configuration's reloads.
    pub config: ConfigStatus,
    /// The web clients.
    pub web: WebStatus,
    /// Lines of the log that were dropped.
    pub lines_dropped: u64,
    /// How late this process has been.
    pub delays: Delays,
    /// This process; `None` where the system does not show it.
    pub process: Option<ProcessStatus>,
}

/// One SoC, and its port.
#[derive(Debug, Clone)]
pub struct SocView {
    /// What is true of the SoC.
    pub status: Arc<SocStatus>,
    /// What the switch's own databases say of its port; `None` where no database is used.
    pub facts: Option<PortFacts>,
}
