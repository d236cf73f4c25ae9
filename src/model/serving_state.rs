//! Whether a target serves, as gRPC's health service has it: what the exporter's own health service answers.

use super::{ChannelState, Health, ModuleStatus, SocStatus};

words! {
    /// gRPC's statuses of a service that is known.
    ServingState {
        /// No round has ended yet.
        Unknown = "unknown",
        /// The channel is READY and the last round was good.
        Serving = "serving",
        /// One of them is not so.
        NotServing = "not_serving",
    }
}

impl SocStatus {
    /// READY, every query of the last round answered, and the SoC's own health is not NOT_SERVING. Others go by `Health::is_bad`:
    /// that a SoC does not know the service "" is odd, but its answers are good.
    pub fn serving(&self) -> ServingState {
        let is_good = self.channel.state == ChannelState::Ready
            && self.observed.all_answered == Some(true)
            && self.observed.health != Health::NotServing;
        match is_good {
            true => ServingState::Serving,
            false if self.rounds == 0 => ServingState::Unknown,
            false => ServingState::NotServing,
        }
    }
}

impl ModuleStatus {
    /// READY, and the last round was a success. A Watch may have changed that since.
    pub fn serving(&self) -> ServingState {
        match (self.channel.state, self.asked.success) {
            (ChannelState::Ready, Some(true)) => ServingState::Serving,
            (_, None) => ServingState::Unknown,
            _ => ServingState::NotServing,
        }
    }
}
