//! Writes the samples of the probe modules' families.

use std::fmt;

use super::Samples;
use super::values::{USUAL_CAUSES, USUAL_RESULTS};
use crate::model::{
    AftKind, AftPlane, Cause, ChannelState, Compatibility, Health, ModuleKind, ModuleStatus, ProbeResult,
    Programmed, ROUND_BUCKETS, Said, View,
};
use crate::telemetry::samples::Label;

/// The two labels that all samples of a module target have.
pub(super) fn names(target: &ModuleStatus) -> [Label<'_>; 2] {
    let job = &target.job;
    [("module", &*job.spec.name), ("target", &*job.target.name)]
}

fn labelled<'a>(target: &'a ModuleStatus, label: Label<'a>) -> [Label<'a>; 3] {
    let [module, name] = names(target);
    [module, name, label]
}

pub(super) fn channel_state(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for state in ChannelState::ALL {
        let is_it = u64::from(*state == target.channel.state);
        samples.whole(&labelled(target, ("state", state.label())), is_it)?;
    }
    Ok(())
}

pub(super) fn channel_transitions(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for to in ChannelState::ALL {
        let count = target.channel.transitions[to.index()];
        samples.counter(&labelled(target, ("to", to.label())), count)?;
    }
    Ok(())
}

pub(super) fn channel_failures(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for cause in Cause::ALL {
        let count = target.channel.failures[cause.index()];
        if count > 0 || USUAL_CAUSES.contains(cause) {
            samples.counter(&labelled(target, ("cause", cause.label())), count)?;
        }
    }
    Ok(())
}

/// Absent while PINGs go with the rounds.
pub(super) fn keepalive_interval(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let channel = &target.channel;
    let time = (!channel.pings_with_rounds).then_some(channel.keepalive_time);
    samples.seconds(&names(target), time)
}

pub(super) fn success(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let success = target.asked.success;
    success.map_or(Ok(()), |success| {
        samples.whole(&names(target), u64::from(success))
    })
}

pub(super) fn results(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for result in ProbeResult::ALL {
        let count = target.asked.results[result.index()];
        let is_usual = USUAL_RESULTS
            .iter()
            .any(|usual| ProbeResult::from(*usual) == *result);
        if count > 0 || is_usual {
            samples.counter(&labelled(target, ("result", result.label())), count)?;
        }
    }
    Ok(())
}

pub(super) fn round_durations(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let durations = &target.asked.durations;
    let bounds = ROUND_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); ROUND_BUCKETS.len() + 1];
    for (bucket, (bound, count)) in buckets.iter_mut().zip(bounds.zip(durations.counts)) {
        *bucket = (bound, count);
    }
    samples.histogram(&names(target), durations.sum, &buckets)
}

pub(super) fn target_info(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let job = &target.job;
    let mut labels: Vec<(&str, &str)> = names(target).to_vec();
    labels.push(("kind", job.spec.kind.label()));
    labels.push(("address", &job.target.address));
    labels.extend(job.target.labels.iter().map(|(name, value)| (&**name, &**value)));
    samples.whole(&labels, 1)
}

pub(super) fn service_health(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let (ModuleKind::GrpcHealth(check), Said::Health(healths)) = (&target.job.spec.kind, &target.said) else {
        return Ok(());
    };
    for (service, now) in check.services.iter().zip(healths) {
        for status in Health::ALL {
            let [module, name] = names(target);
            let labels = [module, name, ("service", &**service), ("status", status.label())];
            samples.whole(&labels, u64::from(status == now))?;
        }
    }
    Ok(())
}

pub(super) fn reply_info(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let (ModuleKind::GrpcUnary(check), Said::Reply(Some(reply))) = (&target.job.spec.kind, &target.said)
    else {
        return Ok(());
    };
    if check.info.is_empty() {
        return Ok(());
    }
    let mut labels: Vec<Label<'_>> = names(target).to_vec();
    let own = check.info.iter().zip(&reply.info);
    labels.extend(own.map(|((label, _), value)| (&**label, &**value)));
    samples.whole(&labels, 1)
}

pub(super) fn reply_value(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let (ModuleKind::GrpcUnary(check), Said::Reply(Some(reply))) = (&target.job.spec.kind, &target.said)
    else {
        return Ok(());
    };
    for (field, value) in check.values.iter().zip(&reply.values) {
        if let Some(value) = value {
            samples.gauge(&labelled(target, ("field", &**field)), *value)?;
        }
    }
    Ok(())
}

pub(super) fn api_version(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let Said::Services(Some(versions)) = &target.said else {
        return Ok(());
    };
    for service in &versions.services {
        for (bound, version) in [("supported", service.supported), ("current", service.current)] {
            let [module, name] = names(target);
            let labels = [module, name, ("service", &*service.name), ("bound", bound)];
            samples.whole(&labels, version.into())?;
        }
    }
    Ok(())
}

pub(super) fn api_compatibility(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let (ModuleKind::ServiceInfo(check), Said::Services(versions)) = (&target.job.spec.kind, &target.said)
    else {
        return Ok(());
    };
    for (client, _) in &check.clients {
        let mut known = versions.iter().flat_map(|versions| &versions.clients);
        let now = known.find(|(name, _)| name == client);
        let now = now.map_or(Compatibility::Unknown, |(_, compatibility)| *compatibility);
        for state in Compatibility::ALL {
            let [module, name] = names(target);
            let labels = [module, name, ("service", &**client), ("state", state.label())];
            samples.whole(&labels, u64::from(*state == now))?;
        }
    }
    Ok(())
}

pub(super) fn gribi_entries(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let Said::Gribi(Some(counts)) = &target.said else {
        return Ok(());
    };
    for (instance, of) in &counts.instances {
        for kind in AftKind::ALL {
            let [module, name] = names(target);
            let labels = [
                module,
                name,
                ("network_instance", &**instance),
                ("aft", kind.label()),
            ];
            samples.whole(&labels, of.entries[kind.index()])?;
        }
    }
    Ok(())
}

pub(super) fn gribi_statuses(target: &ModuleStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let Said::Gribi(Some(counts)) = &target.said else {
        return Ok(());
    };
    for (instance, of) in &counts.instances {
        for plane in AftPlane::ALL {
            for status in Programmed::ALL {
                let [module, name] = names(target);
                let instance = ("network_instance", &**instance);
                let labels = [
                    module,
                    name,
                    instance,
                    ("plane", plane.label()),
                    ("status", status.label()),
                ];
                samples.whole(&labels, of.planes[plane.index()][status.index()])?;
            }
        }
    }
    Ok(())
}

pub(super) fn module_targets(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    view.modules
        .iter()
        .try_for_each(|spec| samples.whole(&[("module", &*spec.name)], spec.targets.len() as u64))
}
