//! How bad the state of a module's target is, and why. Page, API, `status` and `doctor` show this one judgement. The levels are
//! those of ports.

use std::time::{Duration, SystemTime};

use super::level::{EXPIRES_SOON, FLAPS, stale_after};
use super::{ChannelState, Compatibility, ModuleKind, ModuleStatus, PortLevel, ProbeResult, Said};

words! {
    /// Why a module's target has its level: the first of these that is the case.
    ServiceReason {
        /// The channel is not READY.
        ChannelNotReady = "channel_not_ready",
        /// No round has ended.
        NoRound = "no_round",
        /// An RPC of the last round failed.
        RoundFailed = "round_failed",
        /// A reply is not what the module expects.
        UnexpectedReply = "unexpected_reply",
        /// A service has another health than the module takes for healthy.
        NotHealthy = "not_healthy",
        /// The server lacks a service, or has another version than a client speaks.
        Incompatible = "incompatible",
        /// The last round was no success, for another reason.
        NoSuccess = "no_success",
        /// The last success is too long ago.
        Stale = "stale",
        /// The peer's certificate has expired or will expire within a week.
        CertificateExpiring = "certificate_expiring",
        /// The last connections ended soon after READY.
        ChannelFlapping = "channel_flapping",
        /// None of these.
        Healthy = "healthy",
    }
}

impl ServiceReason {
    /// How bad that is.
    pub const fn level(self) -> PortLevel {
        match self {
            Self::Healthy => PortLevel::Ok,
            Self::ChannelNotReady => PortLevel::Critical,
            Self::NoRound
            | Self::RoundFailed
            | Self::UnexpectedReply
            | Self::NotHealthy
            | Self::Incompatible
            | Self::NoSuccess
            | Self::Stale
            | Self::CertificateExpiring
            | Self::ChannelFlapping => PortLevel::Warning,
        }
    }

    /// For people: what is the case.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ChannelNotReady => "the channel is not READY",
            Self::NoRound => "no round has ended yet",
            Self::RoundFailed => "an RPC of the last round failed",
            Self::UnexpectedReply => "a reply is not as expected",
            Self::NotHealthy => "a service is not healthy",
            Self::Incompatible => "a client cannot speak to this server",
            Self::NoSuccess => "the last round was no success",
            Self::Stale => "the last success is too long ago",
            Self::CertificateExpiring => "the certificate expires within a week",
            Self::ChannelFlapping => "connections end soon after READY",
            Self::Healthy => "all is well",
        }
    }
}

impl ModuleStatus {
    /// Why the target has its level at `now`.
    pub fn reason(&self, now: SystemTime) -> ServiceReason {
        use ServiceReason as R;
        if self.channel.state != ChannelState::Ready {
            return R::ChannelNotReady;
        }
        match self.asked.success {
            None => R::NoRound,
            Some(false) => self.failure(),
            Some(true) if self.is_stale(now) => R::Stale,
            Some(true) if self.expires_before(now + EXPIRES_SOON) => R::CertificateExpiring,
            Some(true) if self.channel.short_readys >= FLAPS => R::ChannelFlapping,
            Some(true) => R::Healthy,
        }
    }

    /// What about the last round was no success.
    fn failure(&self) -> ServiceReason {
        let last = self.asked.recent.back();
        match (&self.job.spec.kind, &self.said) {
            // A Watch may have changed it since the round.
            (ModuleKind::GrpcHealth(check), Said::Health(healths))
                if !check.is_success(healths)
                    && last.is_none_or(|last| last.success || is_answer(last.result)) =>
            {
                ServiceReason::NotHealthy
            }
            _ if last.is_some_and(|last| last.result == ProbeResult::UnexpectedReply) => {
                ServiceReason::UnexpectedReply
            }
            _ if last.is_some_and(|last| last.result != ProbeResult::Ok) => ServiceReason::RoundFailed,
            (_, Said::Services(Some(versions)))
                if versions
                    .clients
                    .iter()
                    .any(|(_, found)| *found != Compatibility::Compatible) =>
            {
                ServiceReason::Incompatible
            }
            _ => ServiceReason::NoSuccess,
        }
    }

    fn is_stale(&self, now: SystemTime) -> bool {
        let probe = self.job.spec.probe;
        let limit = stale_after(probe.interval) + probe.timeout;
        let age = |last: SystemTime| now.duration_since(last).unwrap_or(Duration::ZERO);
        self.asked.last_success.is_some_and(|last| age(last) > limit)
    }

    fn expires_before(&self, limit: SystemTime) -> bool {
        self.channel
            .certificate_expiry
            .is_some_and(|expiry| expiry < limit)
    }
}

/// Whether the health service answered with this result: also with a code that stands for a status.
fn is_answer(result: ProbeResult) -> bool {
    matches!(
        result,
        ProbeResult::Ok | ProbeResult::NotFound | ProbeResult::Unimplemented
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{
        ChannelSettings, EndedRound, Endpoint, Health, HealthCheck, ModuleJob, ModuleSpec, ModuleTarget,
        ProbeSettings,
    };

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn well() -> ModuleStatus {
        let target = Arc::new(ModuleTarget {
            name: "db".into(),
            address: "192.0.2.1:1".into(),
            endpoint: Endpoint::Ip(([192, 0, 2, 1], 1).into()),
            labels: Vec::new(),
        });
        let spec = ModuleSpec {
            name: "health".into(),
            kind: ModuleKind::GrpcHealth(HealthCheck {
                services: vec!["".into()],
                healthy: vec![Health::Serving],
                watch: true,
            }),
            probe: ProbeSettings {
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(2),
            },
            channel: Arc::new(ChannelSettings::default()),
            metadata: Vec::new(),
            targets: vec![target.clone()],
        };
        let spec = Arc::new(spec);
        let mut status = ModuleStatus::new(Arc::new(ModuleJob { spec, target }));
        status.channel.state = ChannelState::Ready;
        status.said = Said::Health(vec![Health::Serving]);
        ended(&mut status, ProbeResult::Ok, true);
        status
    }

    fn ended(status: &mut ModuleStatus, result: ProbeResult, success: bool) {
        let at = now() - Duration::from_secs(5);
        status.asked.success = Some(success);
        if success {
            status.asked.last_success = Some(at);
        }
        status.asked.recent.push_back(EndedRound {
            at,
            result,
            success,
            took: None,
            detail: None,
        });
    }

    /// Each alone; what comes first in `ServiceReason` wins, as each also has a certificate that expires.
    #[test]
    fn each_reason_is_found() {
        use ServiceReason as R;
        let check = |change: fn(&mut ModuleStatus), expected: R| {
            let mut status = well();
            if expected != R::Healthy && expected != R::ChannelFlapping {
                status.channel.certificate_expiry = Some(now() + Duration::from_secs(24 * 3600));
            }
            change(&mut status);
            assert_eq!(status.reason(now()), expected);
        };
        check(|_| {}, R::Healthy);
        check(
            |status| status.channel.state = ChannelState::Connecting,
            R::ChannelNotReady,
        );
        check(|status| status.asked.success = None, R::NoRound);
        check(
            |status| ended(status, ProbeResult::DeadlineExceeded, false),
            R::RoundFailed,
        );
        check(
            |status| ended(status, ProbeResult::UnexpectedReply, false),
            R::UnexpectedReply,
        );
        check(|status| ended(status, ProbeResult::Ok, false), R::NoSuccess);
        check(
            |status| {
                status.said = Said::Health(vec![Health::ServiceUnknown]);
                ended(status, ProbeResult::NotFound, false);
            },
            R::NotHealthy,
        );
        // A Watch reported it after a good round.
        check(
            |status| {
                status.said = Said::Health(vec![Health::NotServing]);
                status.asked.success = Some(false);
            },
            R::NotHealthy,
        );
        check(
            |status| status.asked.last_success = Some(now() - Duration::from_secs(28)),
            R::Stale,
        );
        check(|_| {}, R::CertificateExpiring);
        check(|status| status.channel.short_readys = FLAPS, R::ChannelFlapping);
    }
}
