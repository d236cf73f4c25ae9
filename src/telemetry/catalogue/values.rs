//! Writes the samples of a family, where that takes more than one expression.

use std::fmt;

use super::Samples;
use crate::model::{
    Cause, ChannelState, DELAY_BUCKETS, DURATION_BUCKETS, Delays, Health, MuxDirection, NoticeType,
    OtlpCounts, OtlpResult, Plane, PortLevel, PortState, ProblemKind, Query, QueryResult, QueueName,
    REQUEST_BUCKETS, Refusal, SelfPeer, Side, SocStatus, SocView, SourceStatus, View, WebCode, WebHandler,
};
use crate::telemetry::samples::Label;

pub(super) fn port(soc: &SocStatus) -> Label<'_> {
    ("port", soc.target.id.port.as_str())
}

pub(super) fn sides(
    soc: &SocStatus,
    samples: &mut Samples<'_>,
    all: &[&'static str],
    values: SelfPeer<&'static str>,
) -> fmt::Result {
    let mut ends = values.ends().into_iter();
    ends.try_for_each(|(end, value)| samples.states(&[port(soc), ("side", end.label())], all, value))
}

pub(super) fn port_states(
    soc: &SocStatus,
    samples: &mut Samples<'_>,
    values: SelfPeer<PortState>,
) -> fmt::Result {
    let (own, peer) = (values.own.label(), values.peer.label());
    sides(soc, samples, labels_of!(PortState), SelfPeer { own, peer })
}

/// Causes that are shown from the start. The others appear with their first failure.
pub(super) const USUAL_CAUSES: [Cause; 4] = [
    Cause::Refused,
    Cause::Closed,
    Cause::Reset,
    Cause::KeepaliveTimeout,
];
/// Results that are shown from the start. The others appear when they first occur.
pub(super) const USUAL_RESULTS: [QueryResult; 3] = [
    QueryResult::Ok,
    QueryResult::DeadlineExceeded,
    QueryResult::Unavailable,
];

pub(super) fn failures(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for cause in Cause::ALL {
        let count = soc.channel.failures[cause.index()];
        if count > 0 || USUAL_CAUSES.contains(cause) {
            samples.counter(&[port(soc), ("cause", cause.label())], count)?;
        }
    }
    Ok(())
}

pub(super) fn probes(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for query in Query::ALL {
        for result in QueryResult::ALL {
            let count = soc.probes[query.index()][result.index()];
            if count > 0 || USUAL_RESULTS.contains(result) {
                let labels = [port(soc), ("query", query.label()), ("result", result.label())];
                samples.counter(&labels, count)?;
            }
        }
    }
    Ok(())
}

pub(super) fn durations(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let bounds = DURATION_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); DURATION_BUCKETS.len() + 1];
    for (bucket, (bound, count)) in buckets.iter_mut().zip(bounds.zip(soc.durations.counts)) {
        *bucket = (bound, count);
    }
    samples.histogram(&[port(soc)], soc.durations.sum, &buckets)
}

pub(super) fn delays(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    let Delays { counts, sum } = view.delays;
    let bounds = DELAY_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); DELAY_BUCKETS.len() + 1];
    for (bucket, (bound, count)) in buckets.iter_mut().zip(bounds.zip(counts)) {
        *bucket = (bound, count);
    }
    samples.histogram(&[], sum.as_secs_f64(), &buckets)
}

pub(super) fn transitions(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for to in ChannelState::ALL {
        samples.counter(
            &[port(soc), ("to", to.label())],
            soc.channel.transitions[to.index()],
        )?;
    }
    Ok(())
}

pub(super) fn mux_direction(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let direction = soc.observed.direction;
    let (own, peer) = (direction.own.label(), direction.peer.label());
    sides(soc, samples, labels_of!(MuxDirection), SelfPeer { own, peer })
}

pub(super) fn direction_transitions(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let mut ends = soc.direction_transitions.ends().into_iter();
    ends.try_for_each(|(end, count)| samples.counter(&[port(soc), ("side", end.label())], *count))
}

pub(super) fn health(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for status in Health::ALL {
        let labels = [port(soc), ("status", status.label())];
        samples.whole(&labels, u64::from(*status == soc.observed.health))?;
    }
    Ok(())
}

pub(super) fn level(soc: &SocView, samples: &mut Samples<'_>) -> fmt::Result {
    let now = soc.reason.level();
    for level in PortLevel::ALL {
        let labels = [port(&soc.status), ("level", level.label())];
        samples.whole(&labels, u64::from(*level == now))?;
    }
    Ok(())
}

/// A SoC sends few kinds of notices, so each kind appears with its first notice.
pub(super) fn notices(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for kind in NoticeType::ALL {
        for plane in Plane::ALL {
            let count = soc.notices[kind.index()][plane.index()];
            if count > 0 {
                let labels = [port(soc), ("type", kind.label()), ("plane", plane.label())];
                samples.counter(&labels, count)?;
            }
        }
    }
    Ok(())
}

pub(super) fn soc_info(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let address = soc.target.address.to_string();
    let version = soc.observed.version.as_deref().unwrap_or("");
    samples.whole(
        &[port(soc), ("address", address.as_str()), ("version", version)],
        1,
    )
}

/// For each rack, if there are racks.
pub(super) fn side(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    view.racks().try_for_each(|(rack, socs)| {
        let Some(now) = view.side_of(socs) else {
            return Ok(());
        };
        for side in Side::ALL {
            let value = u64::from(*side == now);
            in_rack(samples, rack, [("side", side.label())], value)?;
        }
        Ok(())
    })
}

/// For each rack, if there are racks.
pub(super) fn ports(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    view.racks().try_for_each(|(rack, socs)| match rack {
        Some(rack) => samples.whole(&[("rack", rack)], socs.len() as u64),
        None => samples.plain(socs.len() as f64),
    })
}

fn in_rack(
    samples: &mut Samples<'_>,
    rack: Option<&str>,
    [label]: [Label<'_>; 1],
    value: u64,
) -> fmt::Result {
    match rack {
        Some(rack) => samples.whole(&[("rack", rack), label], value),
        None => samples.whole(&[label], value),
    }
}

pub(super) fn share(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    let Some(share) = view.inventory.share else {
        return Ok(());
    };
    samples.whole(&[("owned", "yes")], share.owned as u64)?;
    samples.whole(&[("owned", "no")], share.others as u64)
}

pub(super) fn sources_up(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    view.sources
        .iter()
        .try_for_each(|SourceStatus { source, up, .. }| match up {
            Some(up) => samples.whole(&[("source", &**source)], u64::from(*up)),
            None => Ok(()),
        })
}

pub(super) fn sources_read(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    view.sources
        .iter()
        .try_for_each(|status| samples.timestamp(&[("source", &*status.source)], status.last_success))
}

pub(super) fn problems(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    for kind in ProblemKind::ALL {
        // Only a source has groups.
        if *kind == ProblemKind::BadGroup && view.sources.is_empty() {
            continue;
        }
        let problems = view.inventory.problems.iter();
        let count = problems.filter(|problem| problem.kind == *kind).count();
        samples.whole(&[("reason", kind.label())], count as u64)?;
    }
    Ok(())
}

pub(super) fn differences(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    let differences = view.differences.as_deref().unwrap_or_default();
    let mut differences = differences.iter();
    differences.try_for_each(|(field, ports)| samples.whole(&[("field", *field)], *ports))
}

/// A 0/1 gauge that is absent while the value is unknown.
pub(super) fn known(soc: &SocStatus, samples: &mut Samples<'_>, value: Option<bool>) -> fmt::Result {
    value.map_or(Ok(()), |value| samples.whole(&[port(soc)], u64::from(value)))
}

pub(super) fn certificates(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    samples.timestamp(&[("role", "ca")], view.tls.ca)?;
    samples.timestamp(&[("role", "client")], view.tls.client)?;
    samples.timestamp(&[("role", "web")], view.web.certificate)
}

pub(super) fn refusals(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    for reason in Refusal::ALL {
        samples.counter(&[("reason", reason.label())], view.web.refused[reason.index()])?;
    }
    Ok(())
}

pub(super) fn requests(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    for handler in WebHandler::ALL {
        for code in WebCode::ALL {
            let count = view.web.requests[handler.index()].codes[code.index()];
            let is_usual = *code == WebCode::Ok && !handler.is_for_modules();
            if count > 0 || is_usual {
                samples.counter(&[("handler", handler.label()), ("code", code.label())], count)?;
            }
        }
    }
    Ok(())
}

pub(super) fn request_durations(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    for handler in WebHandler::ALL {
        let requests = &view.web.requests[handler.index()];
        if requests.durations.iter().any(|count| *count > 0) {
            let bounds = REQUEST_BUCKETS.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(requests.durations).collect();
            let labels = [("handler", handler.label())];
            samples.histogram(&labels, requests.sum.as_secs_f64(), &buckets)?;
        }
    }
    Ok(())
}

pub(super) fn queues(view: &View, samples: &mut Samples<'_>) -> fmt::Result {
    for queue in QueueName::ALL {
        samples.whole(&[("queue", queue.label())], view.queues[queue.index()])?;
    }
    Ok(())
}

pub(super) fn sent(
    samples: &mut Samples<'_>,
    counts: Option<OtlpCounts>,
    results: &[OtlpResult],
) -> fmt::Result {
    let Some(counts) = counts else { return Ok(()) };
    let mut results = results.iter();
    results.try_for_each(|result| samples.counter(&[("result", result.label())], counts[result.index()]))
}

pub(super) fn build_info(_: &View, samples: &mut Samples<'_>) -> fmt::Result {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", env!("DUALTOR_REVISION")),
    ];
    samples.whole(&labels, 1)
}
