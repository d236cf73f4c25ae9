//! How bad the state of a port is, and why. Page, API, `status` and `dualtor_port_level` all show this one judgement.
//!
//! The alerts judge over minutes, this judges one moment. docs/api.md says which alert speaks of which reason.

use std::time::{Duration, SystemTime};

use super::{
    ChannelState, End, Maintenance, MuxDirection, OrchagentMux, PortFacts, PortState, Side, SocStatus,
};

words! {
    /// How bad the state of a port is.
    PortLevel {
        /// All is well.
        Ok = "ok",
        /// The SoC has announced maintenance, so nothing else about it counts.
        Maintenance = "maintenance",
        /// Traffic flows, but something needs attention.
        Warning = "warning",
        /// The server is cut off, or it is unknown whether it is.
        Critical = "critical",
    }
}

words! {
    /// Why a port has its level: the first of these that is the case.
    PortReason {
        /// The SoC has announced maintenance.
        InMaintenance = "in_maintenance",
        /// The channel is not READY.
        ChannelNotReady = "channel_not_ready",
        /// Both sides are standby or have their link down.
        ServerDark = "server_dark",
        /// The switch forwards into this side, and the SoC drops it, because the side is standby.
        Blackhole = "blackhole",
        /// orchagent could not carry out the last change.
        MuxChangeFailed = "mux_change_failed",
        /// The SoC reports another state for this side than linkmgrd wants.
        MuxInconsistent = "mux_inconsistent",
        /// One side is standby or has its link down.
        NoRedundancy = "no_redundancy",
        /// A port of the SoC is not operational.
        OperationDown = "operation_down",
        /// The health service reports another state than SERVING.
        NotServing = "not_serving",
        /// A query of the last round failed.
        QueryFailed = "query_failed",
        /// It is unknown which ToR this is, so it is unknown which end is which.
        SideUnknown = "side_unknown",
        /// The SoC answered, but did not report which sides may forward.
        DirectionUnknown = "direction_unknown",
        /// The last good round is too long ago.
        Stale = "stale",
        /// The SoC's certificate has expired or will expire within a week.
        CertificateExpiring = "certificate_expiring",
        /// The last connections ended soon after READY.
        ChannelFlapping = "channel_flapping",
        /// None of these.
        Healthy = "healthy",
    }
}

impl PortReason {
    /// How bad that is.
    pub const fn level(self) -> PortLevel {
        match self {
            Self::Healthy => PortLevel::Ok,
            Self::InMaintenance => PortLevel::Maintenance,
            Self::ChannelNotReady | Self::ServerDark | Self::Blackhole => PortLevel::Critical,
            Self::MuxChangeFailed
            | Self::MuxInconsistent
            | Self::NoRedundancy
            | Self::OperationDown
            | Self::NotServing
            | Self::QueryFailed
            | Self::SideUnknown
            | Self::DirectionUnknown
            | Self::Stale
            | Self::CertificateExpiring
            | Self::ChannelFlapping => PortLevel::Warning,
        }
    }

    /// For people: what is the case.
    pub const fn text(self) -> &'static str {
        match self {
            Self::InMaintenance => "the SoC announced maintenance",
            Self::ChannelNotReady => "the channel is not READY",
            Self::ServerDark => "no side carries traffic",
            Self::Blackhole => "the switch forwards, the SoC drops",
            Self::MuxChangeFailed => "orchagent could not change the mux",
            Self::MuxInconsistent => "not the direction that linkmgrd wants",
            Self::NoRedundancy => "only one side carries traffic",
            Self::OperationDown => "a port of the SoC is not operational",
            Self::NotServing => "the SoC's health is not SERVING",
            Self::QueryFailed => "a query of the last round failed",
            Self::SideUnknown => "it is unknown which ToR this is",
            Self::DirectionUnknown => "the SoC reports no direction",
            Self::Stale => "the last good round is too long ago",
            Self::CertificateExpiring => "the SoC's certificate expires within a week",
            Self::ChannelFlapping => "connections end soon after READY",
            Self::Healthy => "all is well",
        }
    }
}

/// A certificate that expires sooner is a warning. DualTorCertificateExpiring7d has the same limit.
pub(super) const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many connections in a row that ended within 10 s of READY are flapping. The first may be a SoC that restarts.
pub const FLAPS: u32 = 3;

/// Data older than this is stale: two rounds were missed, and half an interval is left for delays.
pub(super) fn stale_after(interval: Duration) -> Duration {
    interval.mul_f64(2.5)
}

/// The reason for the port's level at `now`. `interval` is the time between rounds.
pub fn judge(soc: &SocStatus, facts: Option<&PortFacts>, interval: Duration, now: SystemTime) -> PortReason {
    use PortReason as R;
    if soc.maintenance == Maintenance::InProgress {
        return R::InMaintenance;
    }
    if soc.channel.state != ChannelState::Ready {
        return R::ChannelNotReady;
    }
    let seen = &soc.observed;
    let blocked = End::ALL.iter().filter(|end| is_blocked(soc, **end)).count();
    let own = seen.direction.own;
    let orchagent = facts.map(|facts| facts.orchagent);
    let asked = seen.all_answered.is_some();
    let not_serving = seen.health.is_bad();
    let is_oper_down = seen
        .oper
        .ends()
        .iter()
        .any(|(_, state)| **state == PortState::Down);
    let no_direction = seen
        .direction
        .ends()
        .iter()
        .any(|(_, to)| **to == MuxDirection::Unknown);
    let all = [
        (R::ServerDark, blocked == 2),
        (
            R::Blackhole,
            orchagent == Some(OrchagentMux::Active) && own == MuxDirection::Standby,
        ),
        (R::MuxChangeFailed, orchagent == Some(OrchagentMux::Error)),
        (
            R::MuxInconsistent,
            facts.and_then(|facts| facts.consistent(own)) == Some(false),
        ),
        (R::NoRedundancy, blocked == 1),
        (R::OperationDown, is_oper_down),
        (R::NotServing, not_serving),
        (R::QueryFailed, seen.all_answered == Some(false)),
        (R::SideUnknown, soc.target.side == Side::Unknown),
        (R::DirectionUnknown, asked && no_direction),
        (R::Stale, is_stale(soc, interval, now)),
        (R::CertificateExpiring, expires_soon(soc, now)),
        (R::ChannelFlapping, soc.channel.short_readys >= FLAPS),
    ];
    let first = all.into_iter().find(|(_, is_so)| *is_so);
    first.map_or(R::Healthy, |(reason, _)| reason)
}

/// Whether this side carries nothing, as the SoC reports it. Unknown is neither.
fn is_blocked(soc: &SocStatus, end: End) -> bool {
    *soc.observed.direction.at(end) == MuxDirection::Standby || *soc.observed.link.at(end) == PortState::Down
}

/// A channel that has just become READY gets the same time for its first good round.
fn is_stale(soc: &SocStatus, interval: Duration, now: SystemTime) -> bool {
    let since = soc.last_success.max(soc.channel.last_transition);
    let age = since.and_then(|since| now.duration_since(since).ok());
    age.is_some_and(|age| age > stale_after(interval))
}

fn expires_soon(soc: &SocStatus, now: SystemTime) -> bool {
    soc.channel
        .certificate_expiry
        .is_some_and(|expiry| expiry.duration_since(now).unwrap_or_default() < EXPIRES_SOON)
}

#[cfg(test)]
mod tests;
