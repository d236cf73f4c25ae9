//! What the fleet logs: one line per transition. For a channel that flaps, the line says why.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::model::component::FLEET;
use crate::model::level::FLAPS;
use crate::model::{
    Cause, ChannelEvent, ChannelState, Event, Port, Side, SocStatus, Target, Transition, TransitionKind,
};
use crate::runtime::defect::Defect;

/// What each line names; the rack if there is one.
fn names(status: &SocStatus) -> (Option<&str>, &Port, SocketAddr) {
    let target = &status.target;
    (target.id.rack.name(), &target.id.port, target.address)
}

/// One line at `info` when the cause of the failures changes. A failure that repeats at each redial is logged at `debug`.
pub(super) fn failure(status: &SocStatus, event: &Event) {
    let Event::Channel(event) = event else { return };
    let (rack, port, address) = names(status);
    match event {
        ChannelEvent::Failed { cause, detail } => {
            let detail = &**detail;
            if status.channel.state == ChannelState::TransientFailure
                && status.channel.last_failure != Some(*cause)
            {
                info!(target: FLEET, rack, %port, %address, %cause, detail, "channel still failing, for another reason");
            } else {
                debug!(target: FLEET, rack, %port, %address, %cause, detail, "channel failed");
            }
        }
        ChannelEvent::Keepalive {
            time,
            rounds,
            refused: true,
            ..
        } => {
            warn!(target: FLEET,
                rack, %port, %address, every_rounds = rounds, keepalive_interval = ?time,
                "the SoC's gRPC server refused our keepalive (too_many_pings), as gRPC servers do by default; from now on PINGs \
                 are sent only with rounds of queries, so a SoC that hangs is noticed later"
            );
        }
        ChannelEvent::Keepalive { refused: false, .. } => {}
        ChannelEvent::Dialing
        | ChannelEvent::Short { .. }
        | ChannelEvent::State { .. }
        | ChannelEvent::PeerCertificate { .. }
        | ChannelEvent::Rtt(_) => {}
    }
}

pub(super) fn transition(status: &SocStatus, transition: &Transition) {
    let (rack, port, address) = names(status);
    let lost_in_a_row = status.channel.short_readys;
    let detail = transition.detail.as_deref();
    match transition.kind {
        // Every line of a flapping channel must say so: the log leaves out most of them and writes only the latest.
        TransitionKind::Channel { from, to, cause }
            if lost_in_a_row >= FLAPS && from == ChannelState::Ready && to != ChannelState::Shutdown =>
        {
            let how = cause.map_or("GOAWAY NO_ERROR", Cause::label);
            let detail = if cause.is_some() {
                detail
            } else {
                Some("in good order")
            };
            warn!(target: FLEET,
                rack, %port, %address, %from, %to, cause = how, detail, lost_in_a_row,
                "channel flaps: each connection ends within 10 s of READY, so the next dial waits for the backoff"
            );
        }
        TransitionKind::Channel {
            from,
            to,
            cause: None,
        } if lost_in_a_row >= FLAPS && to == ChannelState::Ready => {
            info!(target: FLEET, rack, %port, %address, %from, %to, lost_in_a_row, "channel: READY again, but it flaps");
        }
        TransitionKind::Channel {
            from,
            to,
            cause: Some(cause),
        } => {
            info!(target: FLEET, rack, %port, %address, %from, %to, %cause, detail, "channel");
        }
        TransitionKind::Channel {
            from: from @ ChannelState::Ready,
            to: to @ ChannelState::Connecting,
            cause: None,
        } => {
            info!(target: FLEET,
                rack, %port, %address, %from, %to,
                "channel: the SoC's server ended the connection in good order (GOAWAY NO_ERROR); dialling again"
            );
        }
        TransitionKind::Channel {
            from,
            to,
            cause: None,
        } => info!(target: FLEET, rack, %port, %address, %from, %to, "channel"),
        TransitionKind::Direction { end, from, to } => {
            info!(target: FLEET, rack, %port, side = %end, %from, %to, "mux direction");
        }
        TransitionKind::Maintenance { from, to } => {
            info!(target: FLEET, rack, %port, %from, %to, "soc service")
        }
        TransitionKind::Health { from, to } => info!(target: FLEET, rack, %port, %from, %to, "health"),
    }
}

pub(super) fn session_lost(status: &SocStatus, defect: &Defect, wait: Duration) {
    let (rack, port, address) = names(status);
    error!(target: FLEET, rack, %port, %address, %defect, started_anew_in = ?wait, "a session has ended by a defect of this program: please report it");
}

/// Whether a side is unknown now. That is logged when it begins.
pub(super) fn side_unknown(targets: &[Target], logged: bool) -> bool {
    let unknown = targets.iter().any(|target| target.side == Side::Unknown);
    if !unknown || logged {
        return unknown;
    }
    warn!(target: FLEET,
        "ToR side unknown (upper or lower): every direction is unknown; check CONFIG_DB's LOOPBACK_INTERFACE|Loopback3, or set `side: upper` or `side: lower`"
    );
    true
}

pub(super) fn inventory_adopted(added: usize, changed: usize, removed: usize, ports: usize) {
    info!(target: FLEET, added, changed, removed, ports, "inventory adopted");
}
