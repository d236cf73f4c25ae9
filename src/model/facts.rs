//! What follows from configuration and the switch's databases: which SoCs to probe, which rows cannot be used, and the switch's
//! own state of each port.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::{
    LinkmgrHealth, MuxDirection, OrchagentMux, Port, ProblemKind, Shard, ShardShare, Side, Tables, Target,
    YcabledFacts, text,
};

/// A row of the inventory that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The row's key, cleaned and cut. It may not be a port name.
    pub port: String,
    /// The metric's label.
    pub kind: ProblemKind,
    /// For people: what was expected.
    pub text: String,
}

impl Problem {
    /// A problem with the row `port`.
    pub fn new(port: &str, kind: ProblemKind, text: &str) -> Self {
        Self {
            port: text::clean(port, 64),
            kind,
            text: text::shorten(text, 2 * text::MAX_QUOTE),
        }
    }
}

/// All targets at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// One per port that this process probes.
    pub targets: Vec<Target>,
    /// What other processes probe; `None`: this is not one of several.
    pub share: Option<ShardShare>,
    /// Which ToR we are. Targets may have a side of their own.
    pub side: Side,
    /// Rows of CONFIG_DB, or targets of the inventory, that cannot be used.
    pub problems: Vec<Problem>,
    /// Whether this comes from a configuration or a database; false: nothing has been read yet.
    pub loaded: bool,
}

impl Inventory {
    /// Keeps the targets of this process' share.
    pub fn take_share(&mut self, shard: Shard) {
        let all = self.targets.len();
        self.targets.retain(|target| shard.owns(&target.id));
        let owned = self.targets.len();
        self.share = Some(ShardShare {
            shard,
            owned,
            others: all - owned,
        });
    }
}

/// How one source of the inventory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name: the label of its metrics.
    pub source: Arc<str>,
    /// Whether it could be read the last time; `None`: it has not been tried yet.
    pub up: Option<bool>,
    /// Why it could not; for people.
    pub failure: Option<Arc<str>>,
    /// When it was last read successfully.
    pub last_success: Option<SystemTime>,
}

/// What SONiC's daemons report about a port, independent of its SoC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFacts {
    /// What linkmgrd wants its mux to be.
    pub intended: MuxDirection,
    /// linkmgrd wrote `Error` instead of the wanted state; `intended` is then unknown.
    pub intended_error: bool,
    /// What orchagent has set it to.
    pub orchagent: OrchagentMux,
    /// The health that linkmgrd reports.
    pub linkmgr: LinkmgrHealth,
    /// Whether the switch's port is up; `None`: unknown.
    pub oper_up: Option<bool>,
    /// What ycabled has written about it.
    pub ycabled: YcabledFacts,
}

impl PortFacts {
    /// Whether the wanted state equals the SoC's report for our end; `None` while either is unknown.
    pub fn consistent(&self, reported: MuxDirection) -> Option<bool> {
        let known = self.intended != MuxDirection::Unknown && reported != MuxDirection::Unknown;
        known.then_some(self.intended == reported)
    }
}

/// The facts of all ports.
pub type Facts = HashMap<Port, PortFacts>;

/// What each namespace's STATE_DB holds, by namespace.
pub type StateDbs = HashMap<Arc<str>, Arc<Tables>>;
