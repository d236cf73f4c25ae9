//! What ycabled, which drives the mux, has written about a port: what it last answered linkmgrd, and what it last set.

use std::time::{Duration, SystemTime};

use super::{End, MuxDirection, SelfPeer};

words! {
    /// A forwarding state, as ycabled writes it.
    YcabledState {
        /// The side may forward.
        Active = "active",
        /// It may not.
        Standby = "standby",
        /// The SoC did not answer ycabled.
        Unknown = "unknown",
        /// ycabled has no channel to the SoC.
        Failure = "failure",
    }
}

/// One change of the mux that ycabled has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuxChange {
    /// What the side has been set to; unknown: it failed.
    pub to: YcabledState,
    /// When that was done.
    pub ended: SystemTime,
    /// From linkmgrd's order to the SoC's answer.
    pub took: Duration,
}

/// linkmgrd's own heartbeats through the SoC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeats {
    /// Not answered.
    pub lost: u64,
    /// Sent.
    pub expected: u64,
}

/// See the module's documentation. Each value is as old as the last interval at most. `None`: there is no such row, or its value is
/// not one of ycabled's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct YcabledFacts {
    /// What it last answered when linkmgrd asked for the state.
    pub answered: SelfPeer<Option<YcabledState>>,
    /// What it last set, or found at its start.
    pub set: SelfPeer<Option<YcabledState>>,
    /// Its last change of each side since linkmgrd began the last switchover.
    pub change: SelfPeer<Option<MuxChange>>,
    /// linkmgrd's heartbeats.
    pub heartbeats: Option<Heartbeats>,
}

impl YcabledFacts {
    /// Whether ycabled told linkmgrd what the SoC reports to us. `None`: it told nothing, or the SoC reports no direction.
    pub fn agrees(&self, end: End, reported: MuxDirection) -> Option<bool> {
        let answered = (*self.answered.at(end))?;
        match reported {
            MuxDirection::Active => Some(answered == YcabledState::Active),
            MuxDirection::Standby => Some(answered == YcabledState::Standby),
            MuxDirection::Unknown => None,
        }
    }
}
