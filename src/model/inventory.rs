//! What is to be probed.

use super::{Problem, Side, Target};

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
