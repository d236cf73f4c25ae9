//! Spans, compared whole: names, parents, attributes, status, times.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};

use super::*;
use crate::model::{
    Cause, ChannelState, End, Health, MuxDirection, Port, PortState, QueryReport, Rack, RoundReason,
    TargetId, TraceId, TransitionKind, UpperLower,
};

const SECOND: Duration = Duration::from_secs(1);

fn trace() -> TraceId {
    TraceId::new(0x1234)
}

/// The spans as a collector reads them.
fn spans_of(kept: &KeptTrace) -> Vec<Span> {
    let mut out = ProtoFields::default();
    write_spans(&mut out, kept);
    let read = ScopeSpans::decode(&*out.into_bytes());
    read.expect("protobuf").spans
}

/// The spans as text: one line each, then its attributes and events. Times in microseconds after 1970's first second.
fn shown(spans: &[Span]) -> String {
    let mut text = String::new();
    let number = |id: &[u8]| {
        let of = |n: &u64| trace().span(*n).to_bytes() == id;
        (0..10).find(of).map_or("none".to_owned(), |n| n.to_string())
    };
    let micros = |nanos: u64| (nanos - 1_000_000_000) / 1000;
    let all = |attributes: &[KeyValue]| {
        let one = |attribute: &KeyValue| {
            let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                Some(Value::IntValue(whole)) => whole.to_string(),
                other => format!("{other:?}"),
            };
            format!("{}={value}", attribute.key)
        };
        attributes.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    for span in spans {
        assert_eq!(span.trace_id, trace().to_bytes());
        let _ = writeln!(
            text,
            "{} parent {} kind {} {}..{} status {}: {}",
            span.name,
            number(&span.parent_span_id),
            span.kind,
            micros(span.start_time_unix_nano),
            micros(span.end_time_unix_nano),
            span.status.as_ref().map_or(0, |status| status.code),
            all(&span.attributes),
        );
        for event in &span.events {
            let _ = writeln!(
                text,
                "  {} {}: {}",
                micros(event.time_unix_nano),
                event.name,
                all(&event.attributes)
            );
        }
    }
    text
}

fn report() -> Report {
    Report {
        epoch: Some(1),
        timing: RoundTiming {
            trace: None,
            reason: RoundReason::Ready,
            began: UNIX_EPOCH + SECOND,
            sent: Duration::from_micros(20),
            took: Duration::from_micros(1100),
        },
        queries: std::array::from_fn(|n| QueryReport {
            result: QueryResult::Ok,
            took: Some(Duration::from_micros(700 + 10 * n as u64)),
            error: None,
        }),
        direction: UpperLower::<MuxDirection>::default(),
        oper: UpperLower::<PortState>::default(),
        link: UpperLower::<PortState>::default(),
        version: Some("1.2".into()),
        health: Health::Serving,
    }
}

fn kept(of: KeptWork, transitions: Vec<Transition>) -> KeptTrace {
    KeptTrace {
        trace: trace(),
        id: Port::new("Ethernet4").expect("a port").into(),
        address: ([192, 0, 2, 7], 50075).into(),
        transitions,
        of,
    }
}

fn round_of(report: Report) -> KeptTrace {
    let (channel, report) = (ChannelState::Ready, Box::new(report));
    kept(KeptWork::Round { channel, report }, Vec::new())
}

/// The line of the query `name`.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.contains(name)).unwrap_or_default()
}

#[test]
fn a_good_round_is_a_span_with_one_child_per_query() {
    let kept = round_of(report());
    let spans = spans_of(&kept);
    assert_eq!(spans.len(), kept.spans());
    let peer = "rpc.method=M rpc.status_code=OK rpc.system.name=grpc server.address=192.0.2.7 server.port=50075 \
                network.peer.address=192.0.2.7 network.peer.port=50075";
    let mut expected = "dualtor.round parent none kind 1 0..1100 status 0: network.interface.name=Ethernet4 \
                        server.address=192.0.2.7 server.port=50075 dualtor.channel.state=ready dualtor.round.reason=ready \
                        dualtor.soc.version=1.2\n"
        .to_owned();
    for (method, ended) in [
        ("DualToRActive/QueryAdminForwardingPortState", 720),
        ("DualToRActive/QueryOperationPortState", 730),
        ("DualToRActive/QueryLinkState", 740),
        ("DualToRActive/QueryServerVersion", 750),
        ("grpc.health.v1.Health/Check", 760),
    ] {
        let attributes = peer.replace("rpc.method=M", &format!("rpc.method={method}"));
        let _ = writeln!(
            expected,
            "{method} parent 0 kind 3 20..{ended} status 0: {attributes}"
        );
    }
    assert_eq!(shown(&spans), expected);
}

#[test]
fn each_kind_of_failure_has_its_code_its_type_and_its_status() {
    let check = |result: QueryResult, code: &str, error: Option<&str>, own: Option<&str>| {
        let mut report = report();
        report.queries[Query::Link.index()].result = result;
        let text = shown(&spans_of(&round_of(report)));
        let status = if error.is_some() { 2 } else { 0 };
        let query = line(&text, "QueryLinkState");
        assert!(query.contains(&format!(" status {status}:")), "{result}: {query}");
        assert!(
            query.contains(&format!("rpc.status_code={code} ")),
            "{result}: {query}"
        );
        let value = |key: &str| query.split(' ').find_map(|part| part.strip_prefix(key));
        assert_eq!(value("error.type="), error, "{result}");
        assert_eq!(value("dualtor.query.result="), own, "{result}");
        let round = line(&text, "dualtor.round ");
        assert!(round.contains(&format!(" status {status}:")), "{result}: {round}");
    };
    for result in QueryResult::ALL {
        match result {
            QueryResult::Ok => check(*result, "OK", None, None),
            QueryResult::EmptyReply => check(*result, "OK", None, Some("EMPTY_REPLY")),
            QueryResult::InvalidReply => check(*result, "OK", Some("INVALID_REPLY"), Some("INVALID_REPLY")),
            other => check(*result, other.label(), Some(other.label()), None),
        }
    }
}

#[test]
fn a_soc_without_a_health_service_is_no_error() {
    let mut report = report();
    report.queries[Query::Health.index()].result = QueryResult::Unimplemented;
    report.health = Health::Unimplemented;
    let text = shown(&spans_of(&round_of(report)));
    let health = line(&text, "Health/Check");
    assert!(
        health.contains("status 0:") && health.contains("rpc.status_code=UNIMPLEMENTED"),
        "{health}"
    );
    assert!(line(&text, "dualtor.round").contains("status 0:"), "{text}");
}

#[test]
fn queries_that_were_not_sent_have_no_span() {
    let mut report = report();
    report.epoch = None;
    report.version = None;
    for query in &mut report.queries {
        (query.result, query.took) = (QueryResult::Unavailable, None);
    }
    let channel = ChannelState::TransientFailure;
    let report = Box::new(report);
    let kept = kept(KeptWork::Round { channel, report }, Vec::new());
    let spans = spans_of(&kept);
    assert_eq!((spans.len(), kept.spans()), (1, 1));
    let text = shown(&spans);
    assert!(
        text.contains("status 2:") && text.contains("dualtor.channel.state=transient_failure"),
        "{text}"
    );
}

#[test]
fn a_round_is_as_long_as_its_longest_query() {
    let mut report = report();
    // Sent late, so that it ends after the round's own end.
    report.timing.took = Duration::from_millis(500);
    report.queries[0].took = Some(Duration::from_millis(500));
    let spans = spans_of(&round_of(report));
    let ends: Vec<u64> = spans.iter().map(|span| span.end_time_unix_nano).collect();
    assert_eq!(ends[0], ends[1]);
    let starts = spans.iter().map(|span| span.start_time_unix_nano);
    assert!(starts.min() == Some(spans[0].start_time_unix_nano) && ends.iter().all(|end| *end <= ends[0]));
}

#[test]
fn what_a_round_changed_is_an_event_of_it() {
    let kind = TransitionKind::Direction {
        end: End::Own,
        from: MuxDirection::Active,
        to: MuxDirection::Standby,
    };
    let (at, detail) = (UNIX_EPOCH + SECOND * 2, None);
    let (channel, report) = (ChannelState::Ready, Box::new(report()));
    let kept = kept(
        KeptWork::Round { channel, report },
        vec![Transition { at, kind, detail }],
    );
    let text = shown(&spans_of(&kept));
    let event = "  1000000 dualtor.mux.transition: dualtor.from=active dualtor.to=standby dualtor.end=self\n";
    assert!(text.contains(event), "{text}");
}

#[test]
fn a_dial_carries_its_cause_and_the_changes_since_the_last_one_but_no_text() {
    let transition = Transition {
        at: UNIX_EPOCH + SECOND,
        kind: TransitionKind::Channel {
            from: ChannelState::Ready,
            to: ChannelState::TransientFailure,
            cause: Some(Cause::Reset),
        },
        detail: Some(Arc::from("192.0.2.9 said <secret>")),
    };
    for (cause, channel, expected) in [
        (
            Some(Cause::Refused),
            ChannelState::TransientFailure,
            "status 2: A dualtor.channel.state=transient_failure dualtor.channel.cause=refused",
        ),
        (
            None,
            ChannelState::Ready,
            "status 0: A dualtor.channel.state=ready",
        ),
    ] {
        let work = KeptWork::Dial {
            began: UNIX_EPOCH + SECOND * 2,
            ended: UNIX_EPOCH + SECOND * 3,
            cause,
            channel,
        };
        let mut kept = kept(work, vec![transition.clone()]);
        kept.id = TargetId {
            rack: Rack::new("r17").expect("a rack"),
            port: kept.id.port,
        };
        let about =
            "network.interface.name=Ethernet4 dualtor.rack=r17 server.address=192.0.2.7 server.port=50075";
        let expected = format!(
            "dualtor.channel.dial parent none kind 1 1000000..2000000 {}\n  0 dualtor.channel.transition: \
             dualtor.from=ready dualtor.to=transient_failure dualtor.channel.cause=reset\n",
            expected.replace('A', about)
        );
        assert_eq!(shown(&spans_of(&kept)), expected);
    }
}
