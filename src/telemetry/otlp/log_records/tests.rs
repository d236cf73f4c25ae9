//! Records, compared as text.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::model::{Cause, NoticeType, Plane, Port, ProblemKind, TraceId, Transition};

/// Severity, name, attributes, body and trace.
fn shown(event: &KeptEvent) -> String {
    let record = record_of(event, UNIX_EPOCH + Duration::from_secs(9));
    assert_eq!(record.observed_time_unix_nano, 9_000_000_000);
    assert_eq!(record.time_unix_nano, nanos(event.at));
    let value = |value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>| match value
        .and_then(|value| value.value.as_ref())
    {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(whole)) => whole.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = record.attributes.iter();
    let attributes: Vec<String> = attributes
        .map(|attribute| format!("{}={}", attribute.key, value(attribute.value.as_ref())))
        .collect();
    let body = value(record.body.as_ref());
    let traced = (record.trace_id.len(), record.span_id.len());
    let (severity, name) = (record.severity_text, record.event_name);
    format!("{severity} {name} {} ({body}) {traced:?}", attributes.join(" "))
}

fn event(what: Happening) -> KeptEvent {
    KeptEvent {
        at: UNIX_EPOCH + Duration::from_secs(5),
        id: Some(Port::new("Ethernet4").expect("a port").into()),
        what,
        trace: None,
    }
}

#[test]
fn a_loss_has_cause_detail_and_trace() {
    let transition = Transition {
        at: UNIX_EPOCH,
        kind: TransitionKind::Channel {
            from: ChannelState::Ready,
            to: ChannelState::TransientFailure,
            cause: Some(Cause::Reset),
        },
        detail: Some("connection reset by 192.0.2.7".into()),
    };
    let mut event = event(Happening::Change(transition));
    event.trace = Some(TraceId::new(7));
    let expected = "WARN dualtor.channel.transition dualtor.from=ready dualtor.to=transient_failure \
                    dualtor.channel.cause=reset dualtor.detail=connection reset by 192.0.2.7 \
                    network.interface.name=Ethernet4 (channel ready → transient_failure: reset) (16, 8)";
    assert_eq!(shown(&event), expected);
}

#[test]
fn notices_foreign_writes_and_problems_are_named() {
    let notice = Notice {
        kind: NoticeType::Begin,
        plane: Plane::Both,
        guid: "7".into(),
        period: 60,
    };
    let expected = "INFO dualtor.maintenance.notice dualtor.notice.type=begin dualtor.notice.plane=both \
                    dualtor.notice.period=60 network.interface.name=Ethernet4 (maintenance notice: begin of both) (0, 0)";
    assert_eq!(shown(&event(Happening::Notice(notice))), expected);
    let expected = "WARN dualtor.state_db.foreign_write network.interface.name=Ethernet4 \
                    (another process has written to the row) (0, 0)";
    assert_eq!(shown(&event(Happening::ForeignWrite)), expected);
    let problem = Problem::new("Ethernet8", ProblemKind::ALL[0], "expected an address");
    let mut problem = event(Happening::Problem(problem));
    problem.id = None;
    let text = shown(&problem);
    assert!(
        text.starts_with(
            "WARN dualtor.inventory.problem network.interface.name=Ethernet8 dualtor.inventory.reason="
        ),
        "{text}"
    );
}
