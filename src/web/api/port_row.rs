//! A port as lists show it.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::Serialize;

use super::Time;
use crate::model::{End, LastError, PortFacts, SocStatus, SocView, Trouble, YcabledFacts, YcabledState};

/// What lists show of a port.
#[derive(Debug, Serialize)]
pub(super) struct PortRow<'a> {
    /// With the rack, if there is one.
    port: Cow<'a, str>,
    rack: Option<&'a str>,
    side: &'static str,
    address: SocketAddr,
    level: &'static str,
    reason: &'static str,
    channel: &'static str,
    since: Option<Time>,
    #[serde(rename = "self")]
    own: EndOfCable,
    peer: EndOfCable,
    health: &'static str,
    service: &'static str,
    version: Option<&'a str>,
    last_success: Option<Time>,
    last_error: Option<ErrorOfPort<'a>>,
    mux: Option<MuxOfPort>,
}

/// What the SoC reports of one end.
#[derive(Debug, Serialize)]
struct EndOfCable {
    direction: &'static str,
    link: &'static str,
    oper: &'static str,
}

#[derive(Debug, Serialize)]
struct ErrorOfPort<'a> {
    at: Time,
    /// The query that failed; `None`: the channel.
    query: Option<&'static str>,
    cause: &'static str,
    text: &'a str,
}

/// What the switch's daemons hold about the port.
#[derive(Debug, Serialize)]
struct MuxOfPort {
    intended: &'static str,
    orchagent: &'static str,
    linkmgr: &'static str,
    consistent: Option<bool>,
    ycabled: YcabledOfPort,
}

/// What ycabled has written about the port.
#[derive(Debug, Serialize)]
struct YcabledOfPort {
    #[serde(rename = "self")]
    own: YcabledOfEnd,
    peer: YcabledOfEnd,
    heartbeats: Option<HeartbeatsOfPort>,
}

#[derive(Debug, Serialize)]
struct YcabledOfEnd {
    answered: Option<&'static str>,
    agrees: Option<bool>,
    set: Option<&'static str>,
    change: Option<ChangeOfEnd>,
}

#[derive(Debug, Serialize)]
struct ChangeOfEnd {
    to: &'static str,
    ended: Time,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct HeartbeatsOfPort {
    lost: u64,
    expected: u64,
}

impl<'a> PortRow<'a> {
    pub(super) fn of(soc: &'a SocView) -> Self {
        let status = &*soc.status;
        Self {
            port: status.target.id.key(),
            rack: status.target.id.rack.name(),
            side: status.target.side.label(),
            address: status.target.address,
            level: soc.reason.level().label(),
            reason: soc.reason.label(),
            channel: status.channel.state.label(),
            since: status.channel.last_transition.map(Time),
            own: EndOfCable::of(status, End::Own),
            peer: EndOfCable::of(status, End::Peer),
            health: status.observed.health.label(),
            service: status.maintenance.label(),
            version: status.observed.version.as_deref(),
            last_success: status.last_success.map(Time),
            last_error: status.last_error.as_ref().map(ErrorOfPort::of),
            mux: soc.facts.map(|facts| MuxOfPort::of(&facts, status)),
        }
    }
}

impl EndOfCable {
    fn of(status: &SocStatus, end: End) -> Self {
        let seen = &status.observed;
        Self {
            direction: seen.direction.at(end).label(),
            link: seen.link.at(end).label(),
            oper: seen.oper.at(end).label(),
        }
    }
}

impl<'a> ErrorOfPort<'a> {
    fn of(error: &'a LastError) -> Self {
        let (query, cause) = match error.what {
            Trouble::Channel(cause) => (None, cause.label()),
            Trouble::Query(query, result) => (Some(query.label()), result.label()),
        };
        Self {
            at: Time(error.at),
            query,
            cause,
            text: &error.detail,
        }
    }
}

impl MuxOfPort {
    fn of(facts: &PortFacts, status: &SocStatus) -> Self {
        Self {
            intended: facts.intended.label(),
            orchagent: facts.orchagent.label(),
            linkmgr: facts.linkmgr.label(),
            consistent: facts.consistent(status.observed.direction.own),
            ycabled: YcabledOfPort {
                own: YcabledOfEnd::of(&facts.ycabled, status, End::Own),
                peer: YcabledOfEnd::of(&facts.ycabled, status, End::Peer),
                heartbeats: facts.ycabled.heartbeats.map(|heartbeats| HeartbeatsOfPort {
                    lost: heartbeats.lost,
                    expected: heartbeats.expected,
                }),
            },
        }
    }
}

impl YcabledOfEnd {
    fn of(facts: &YcabledFacts, status: &SocStatus, end: End) -> Self {
        Self {
            answered: facts.answered.at(end).map(YcabledState::label),
            agrees: facts.agrees(end, *status.observed.direction.at(end)),
            set: facts.set.at(end).map(YcabledState::label),
            change: facts.change.at(end).map(|change| ChangeOfEnd {
                to: change.to.label(),
                ended: Time(change.ended),
                seconds: change.took.as_secs_f64(),
            }),
        }
    }
}
