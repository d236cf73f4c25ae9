//! What follows from configuration and the switch's databases: which SoCs to probe, which rows cannot be used, and what the switch
//! says of each port.

use std::collections::HashMap;
use std::sync::Arc;

use super::{LinkmgrHealth, MuxDirection, OrchagentMux, Port, ProblemKind, Side, Tables, Target, text};

/// A row of the inventory that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The row's key, cleaned and cut: it may be no port's name.
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
    /// One per port.
    pub targets: Vec<Target>,
    /// Which ToR we are.
    pub side: Side,
    /// Rows of CONFIG_DB that cannot be used.
    pub problems: Vec<Problem>,
    /// Somebody has told us; false: there is nothing to go by yet.
    pub loaded: bool,
}

/// What the switch wants of a port and thinks of it, beside what its SoC says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFacts {
    /// What linkmgrd wants its mux to be.
    pub intended: MuxDirection,
    /// linkmgrd wrote `Error` where its intent belongs: `intended` is unknown then.
    pub intended_error: bool,
    /// What orchagent has made it.
    pub orchagent: OrchagentMux,
    /// What linkmgrd thinks of it.
    pub linkmgr: LinkmgrHealth,
    /// Whether the switch's port is up, where that is known.
    pub oper_up: Option<bool>,
}

impl PortFacts {
    /// Whether what is wanted is what the SoC reports of our end; `None` while either is unknown.
    pub fn consistent(&self, reported: MuxDirection) -> Option<bool> {
        let known = self.intended != MuxDirection::Unknown && reported != MuxDirection::Unknown;
        known.then_some(self.intended == reported)
    }
}

/// The facts of all ports.
pub type Facts = HashMap<Port, PortFacts>;

/// What each namespace's STATE_DB holds, by namespace.
pub type StateDbs = HashMap<Arc<str>, Arc<Tables>>;
