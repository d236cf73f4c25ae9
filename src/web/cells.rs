//! What a table shows of a port in one value, and whether that is as usual. Pure. The page's script (`pages/live.js`) has the
//! same rules; tests/browser compares the two.

use crate::model::{End, Maintenance, MuxDirection, PortState, SocStatus};

/// A value, and whether it is as usual. Unknown is usual: the reason of the port's level says why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortCell {
    /// First, so that unusual values sort first.
    pub(super) usual: bool,
    pub(super) text: String,
}

fn cell(text: &str, usual: bool) -> PortCell {
    let text = text.to_owned();
    PortCell { usual, text }
}

/// Whether an end may forward.
pub(super) fn direction(status: &SocStatus, end: End) -> PortCell {
    let direction = *status.observed.direction.at(end);
    cell(direction.label(), direction != MuxDirection::Standby)
}

/// Both links: ours and the peer's; one word if they are the same.
pub(super) fn links(status: &SocStatus) -> PortCell {
    let link = status.observed.link;
    let text = match (link.own, link.peer) {
        (own, peer) if own == peer => own.label().to_owned(),
        (own, peer) => format!("self {own}, peer {peer}"),
    };
    cell(&text, link.own != PortState::Down && link.peer != PortState::Down)
}

pub(super) fn health(status: &SocStatus) -> PortCell {
    let health = status.observed.health;
    cell(health.label(), !health.is_bad())
}

pub(super) fn service(status: &SocStatus) -> PortCell {
    let service = status.maintenance;
    cell(service.label(), service != Maintenance::InProgress)
}
