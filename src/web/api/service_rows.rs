//! Probe modules and their targets, as the API shows them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::service_selection::JudgedService;
use super::{Time, failures};
use crate::model::{
    Cause, EndedRound, ModuleKind, ModuleSpec, ModuleStatus, PortLevel, ProbeResult, Said, View,
};
use crate::soc::module_look::{gribi_json, services_json};

/// A module in the list.
#[derive(Debug, Serialize)]
pub(super) struct ModuleRow<'a> {
    module: &'a str,
    kind: &'static str,
    interval: f64,
    timeout: f64,
    targets: usize,
    level: BTreeMap<&'static str, usize>,
}

impl<'a> ModuleRow<'a> {
    pub(super) fn all(view: &'a View) -> Vec<Self> {
        let row = |spec: &'a ModuleSpec| {
            let own = JudgedService::all(view).filter(|service| service.status.job.spec.name == spec.name);
            let (targets, level) = counts(own);
            Self {
                module: &spec.name,
                kind: spec.kind.label(),
                interval: spec.probe.interval.as_secs_f64(),
                timeout: spec.probe.timeout.as_secs_f64(),
                targets,
                level,
            }
        };
        view.modules.iter().map(|spec| row(spec)).collect()
    }
}

/// How many there are, and at which level. Every level is there, also with 0.
pub(super) fn counts<'a>(
    services: impl Iterator<Item = JudgedService<'a>>,
) -> (usize, BTreeMap<&'static str, usize>) {
    let mut level: BTreeMap<_, _> = PortLevel::ALL.iter().map(|level| (level.label(), 0)).collect();
    let mut total = 0;
    for service in services {
        total += 1;
        *level.entry(service.reason.level().label()).or_default() += 1;
    }
    (total, level)
}

/// A target in the list.
#[derive(Debug, Serialize)]
pub(super) struct ServiceRow<'a> {
    module: &'a str,
    target: &'a str,
    kind: &'static str,
    address: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    level: &'static str,
    reason: &'static str,
    channel: &'static str,
    since: Option<Time>,
    /// Whether the last round was a success; `None` before the first one ends.
    success: Option<bool>,
    last_round: Option<ServiceRound<'a>>,
    last_success: Option<Time>,
    /// Why the last dial failed or the last connection was lost.
    last_failure: Option<ServiceFailure<'a>>,
    /// Of a grpc_health module: each service; `None` for other kinds.
    health: Option<Vec<ServiceHealth<'a>>>,
}

#[derive(Debug, Serialize)]
struct ServiceFailure<'a> {
    cause: &'static str,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct ServiceHealth<'a> {
    service: &'a str,
    status: &'static str,
}

#[derive(Debug, Serialize)]
struct ServiceRound<'a> {
    at: Time,
    /// `None`: nothing was sent.
    duration: Option<f64>,
    result: &'static str,
    success: bool,
    detail: Option<&'a str>,
}

impl<'a> ServiceRow<'a> {
    pub(super) fn of(JudgedService { status, reason }: JudgedService<'a>) -> Self {
        let (spec, target, channel) = (&status.job.spec, &status.job.target, &status.channel);
        let failure = |cause: Cause| ServiceFailure {
            cause: cause.label(),
            text: channel.last_detail.as_deref().unwrap_or_default(),
        };
        Self {
            module: &spec.name,
            target: &target.name,
            kind: spec.kind.label(),
            address: &target.address,
            labels: target
                .labels
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect(),
            level: reason.level().label(),
            reason: reason.label(),
            channel: channel.state.label(),
            since: channel.last_transition.map(Time),
            success: status.asked.success,
            last_round: status.asked.recent.back().map(ServiceRound::of),
            last_success: status.asked.last_success.map(Time),
            last_failure: channel.last_failure.map(failure),
            health: healths(status),
        }
    }
}

fn healths(status: &ModuleStatus) -> Option<Vec<ServiceHealth<'_>>> {
    let (ModuleKind::GrpcHealth(check), Said::Health(healths)) = (&status.job.spec.kind, &status.said) else {
        return None;
    };
    let each = check.services.iter().zip(healths);
    let each = each.map(|(service, health)| ServiceHealth {
        service,
        status: health.label(),
    });
    Some(each.collect())
}

impl<'a> ServiceRound<'a> {
    fn of(round: &'a EndedRound) -> Self {
        Self {
            at: Time(round.at),
            duration: round.took.map(|took| took.as_secs_f64()),
            result: round.result.label(),
            success: round.success,
            detail: round.detail.as_deref(),
        }
    }
}

/// All about a target.
#[derive(Debug, Serialize)]
pub(super) struct ServicePage<'a> {
    #[serde(flatten)]
    row: ServiceRow<'a>,
    /// Rounds by result, since this exporter started: those that occurred.
    results: BTreeMap<&'static str, u64>,
    dials: u64,
    /// Those that happened.
    failures: BTreeMap<&'static str, u64>,
    certificate_expiry: Option<Time>,
    keepalive: ServiceKeepalive,
    /// Newest first.
    rounds: Vec<ServiceRound<'a>>,
    /// Of a grpc_unary module: what was read of the last reply.
    reply: Option<ReadOfReply<'a>>,
    /// Of a service_info module, as `probe` prints it.
    services: Option<Value>,
    /// Of a gribi module, as `probe` prints it.
    gribi: Option<Value>,
}

/// What the metrics have of a reply, too.
#[derive(Debug, Serialize)]
struct ReadOfReply<'a> {
    info: BTreeMap<&'a str, &'a str>,
    /// By path; `None`: not in the reply.
    values: BTreeMap<&'a str, Option<f64>>,
}

impl<'a> ReadOfReply<'a> {
    fn of(status: &'a ModuleStatus) -> Option<Self> {
        let (ModuleKind::GrpcUnary(check), Said::Reply(Some(reply))) = (&status.job.spec.kind, &status.said)
        else {
            return None;
        };
        let labels = check.info.iter().map(|(label, _)| &**label);
        let paths = check.values.iter().map(|path| &**path);
        Some(Self {
            info: labels.zip(reply.info.iter().map(|value| &**value)).collect(),
            values: paths.zip(reply.values.iter().copied()).collect(),
        })
    }
}

#[derive(Debug, Serialize)]
struct ServiceKeepalive {
    rtt: Option<f64>,
    /// `None`: a PING goes with each round, and none between.
    interval: Option<f64>,
}

impl<'a> ServicePage<'a> {
    pub(super) fn of(service: JudgedService<'a>) -> Self {
        let JudgedService { status, .. } = service;
        let (channel, asked) = (&status.channel, &status.asked);
        let results = ProbeResult::ALL.iter().zip(asked.results);
        let interval = channel.keepalive_time.as_secs_f64();
        Self {
            row: ServiceRow::of(service),
            results: results
                .filter(|(_, count)| *count > 0)
                .map(|(result, count)| (result.label(), count))
                .collect(),
            dials: channel.dials,
            failures: failures(channel),
            certificate_expiry: channel.certificate_expiry.map(Time),
            keepalive: ServiceKeepalive {
                rtt: channel.keepalive_rtt.map(|rtt| rtt.as_secs_f64()),
                interval: (!channel.pings_with_rounds).then_some(interval),
            },
            rounds: asked.recent.iter().rev().map(ServiceRound::of).collect(),
            reply: ReadOfReply::of(status),
            services: services_json(&status.said),
            gribi: gribi_json(&status.said),
        }
    }
}
