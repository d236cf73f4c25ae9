//! What a table shows of a port in one value, and whether that is as usual. Pure. The page's script (`pages/live.js`) has the
//! same rules; tests/browser compares the two.

use crate::model::{End, Health, Maintenance, MuxDirection, PortState, SocStatus};

/// A value, and whether it is as usual.
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
    cell(direction.label(), direction == MuxDirection::Active)
}

/// Both links: ours and the peer's.
pub(super) fn links(status: &SocStatus) -> PortCell {
    let link = status.observed.link;
    let text = format!("{} / {}", link.own.label(), link.peer.label());
    cell(&text, link.own == PortState::Up && link.peer == PortState::Up)
}

pub(super) fn health(status: &SocStatus) -> PortCell {
    let health = status.observed.health;
    cell(
        health.label(),
        matches!(health, Health::Serving | Health::Unimplemented),
    )
}

pub(super) fn service(status: &SocStatus) -> PortCell {
    let service = status.maintenance;
    cell(service.label(), service != Maintenance::InProgress)
}
