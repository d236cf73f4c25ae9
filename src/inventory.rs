//! Which SoCs to probe. Today: the configuration's static list. It emits an `Inventory`; the fleet compares it with
//! what runs.

use crate::config::Config;
use crate::model::{Side, Target};

/// All targets at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// One per port.
    pub targets: Vec<Target>,
    /// Which ToR we are.
    pub side: Side,
}

impl Inventory {
    /// The configuration's own list.
    pub fn of(config: &Config) -> Self {
        Self {
            targets: config.targets.clone(),
            side: config.side,
        }
    }
}
