//! Attributes as OTLP has them, and those that several signals share.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::semantics as names;
use crate::model::{TargetId, Transition, TransitionKind};

pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(super) fn whole(key: &str, value: impl Into<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

pub(super) fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Which port, and which rack if there are racks.
pub(super) fn soc(id: &TargetId) -> impl Iterator<Item = KeyValue> {
    let rack = id.rack.name().map(|rack| text(names::RACK, rack));
    let port = text(names::NETWORK_INTERFACE_NAME, id.port.as_str());
    [Some(port), rack].into_iter().flatten()
}

/// The name of what changed, and the change. The detail is not part of it: it may name an address.
pub(super) fn change(transition: &Transition) -> (&'static str, Vec<KeyValue>) {
    let both = |from: &str, to: &str| vec![text(names::FROM, from), text(names::TO, to)];
    match transition.kind {
        TransitionKind::Channel { from, to, cause } => {
            let mut attributes = both(from.label(), to.label());
            attributes.extend(cause.map(|cause| text(names::CHANNEL_CAUSE, cause.label())));
            (names::CHANNEL_TRANSITION, attributes)
        }
        TransitionKind::Direction { end, from, to } => {
            let mut attributes = both(from.label(), to.label());
            attributes.push(text(names::END, end.label()));
            (names::DIRECTION_TRANSITION, attributes)
        }
        TransitionKind::Maintenance { from, to } => {
            (names::MAINTENANCE_TRANSITION, both(from.label(), to.label()))
        }
        TransitionKind::Health { from, to } => (names::HEALTH_TRANSITION, both(from.label(), to.label())),
    }
}
