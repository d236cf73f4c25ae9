//! What happened → log records with an event name. Pure.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::attributes::{any, change, nanos, soc, text, whole};
use super::semantics as names;
use crate::model::{ChannelState, Happening, KeptEvent, Notice, Problem, ROOT_SPAN, TransitionKind};

/// The record of one event. It is shown when it is sent, `observed`.
pub(super) fn record_of(event: &KeptEvent, observed: std::time::SystemTime) -> LogRecord {
    let (name, mut attributes) = named(&event.what);
    attributes.extend(event.id.iter().flat_map(soc));
    let (severity, severity_text) = severity(&event.what);
    let (trace_id, span_id) = match event.trace {
        Some(trace) => (
            trace.to_bytes().to_vec(),
            trace.span(ROOT_SPAN).to_bytes().to_vec(),
        ),
        None => (Vec::new(), Vec::new()),
    };
    LogRecord {
        time_unix_nano: nanos(event.at),
        observed_time_unix_nano: nanos(observed),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        event_name: name.to_owned(),
        body: Some(any(Value::StringValue(sentence(&event.what)))),
        attributes,
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

fn named(what: &Happening) -> (&'static str, Vec<KeyValue>) {
    match what {
        Happening::Change(transition) => {
            let (name, mut attributes) = change(transition);
            attributes.extend(
                transition
                    .detail
                    .as_deref()
                    .map(|detail| text(names::DETAIL, detail)),
            );
            (name, attributes)
        }
        Happening::Notice(Notice {
            kind, plane, period, ..
        }) => {
            let attributes = vec![
                text(names::NOTICE_TYPE, kind.label()),
                text(names::NOTICE_PLANE, plane.label()),
                whole(names::NOTICE_PERIOD, *period),
            ];
            (names::MAINTENANCE_NOTICE, attributes)
        }
        Happening::ForeignWrite => (names::FOREIGN_WRITE, Vec::new()),
        Happening::Problem(Problem {
            port,
            kind,
            text: detail,
        }) => {
            let attributes = vec![
                text(names::NETWORK_INTERFACE_NAME, port.as_str()),
                text(names::PROBLEM_REASON, kind.label()),
                text(names::DETAIL, detail.as_str()),
            ];
            (names::INVENTORY_PROBLEM, attributes)
        }
    }
}

/// The levels of the lines on stderr.
fn severity(what: &Happening) -> (SeverityNumber, &'static str) {
    let is_bad = match what {
        Happening::Change(transition) => matches!(
            transition.kind,
            TransitionKind::Channel {
                to: ChannelState::TransientFailure,
                ..
            }
        ),
        Happening::Notice(_) => false,
        Happening::ForeignWrite | Happening::Problem(_) => true,
    };
    if is_bad {
        (SeverityNumber::Warn, "WARN")
    } else {
        (SeverityNumber::Info, "INFO")
    }
}

/// For people.
fn sentence(what: &Happening) -> String {
    match what {
        Happening::Change(transition) => match transition.kind {
            TransitionKind::Channel { from, to, cause } => {
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("channel {from} → {to}{cause}")
            }
            TransitionKind::Direction { end, from, to } => format!("mux direction of {end} {from} → {to}"),
            TransitionKind::Maintenance { from, to } => format!("maintenance {from} → {to}"),
            TransitionKind::Health { from, to } => format!("health {from} → {to}"),
        },
        Happening::Notice(notice) => format!("maintenance notice: {} of {}", notice.kind, notice.plane),
        Happening::ForeignWrite => "another process has written to the row".to_owned(),
        Happening::Problem(problem) => format!("the row cannot be used: {}", problem.kind),
    }
}

#[cfg(test)]
mod tests;
