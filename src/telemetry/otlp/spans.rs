//! What was kept of a round or a dial → its spans. Pure: after the fact, from the report alone.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::attributes::{change, nanos, soc, text, whole};
use super::semantics as names;
use crate::model::{
    Exemplar, KeptTrace, KeptWork, Query, QueryResult, ROOT_SPAN, Report, RoundTiming, TraceId, Transition,
    query_span,
};

/// The spans of one trace. As many as `KeptTrace::spans` says.
pub(super) fn spans_of(kept: &KeptTrace) -> Vec<Span> {
    match &kept.of {
        KeptWork::Round { channel, report } => {
            let mut spans = Vec::with_capacity(1 + Query::COUNT);
            spans.push(round(kept, channel.label(), report));
            let queries = Query::ALL.iter();
            spans.extend(queries.filter_map(|query| of_query(kept, report, *query)));
            spans
        }
        KeptWork::Dial {
            began,
            ended,
            cause,
            channel,
        } => {
            let mut attributes = about(kept);
            attributes.push(text(names::CHANNEL_STATE, channel.label()));
            attributes.extend(cause.map(|cause| text(names::CHANNEL_CAUSE, cause.label())));
            vec![Span {
                name: names::DIAL.to_owned(),
                start_time_unix_nano: nanos(*began),
                end_time_unix_nano: nanos((*ended).max(*began)),
                status: status(cause.is_some()),
                attributes,
                ..root(kept)
            }]
        }
    }
}

/// The queries of a round that the histogram of durations counts.
pub(super) fn exemplars_of(kept: &KeptTrace) -> impl Iterator<Item = Exemplar> {
    let report = match &kept.of {
        KeptWork::Round { report, .. } => Some(report),
        KeptWork::Dial { .. } => None,
    };
    let queries = report.into_iter().flat_map(|report| {
        let answered = Query::ALL.iter().filter(|query| report.is_answered(**query));
        answered.map(move |query| (report, *query))
    });
    queries.filter_map(|(report, query)| {
        let took = report.query(query).took?;
        let (_, at) = times(&report.timing, Some(took))?;
        Some(Exemplar {
            trace: kept.trace,
            span: kept.trace.span(query_span(query)),
            seconds: took.as_secs_f64(),
            at,
        })
    })
}

/// The path of a query without its first slash.
pub(super) const fn method(query: Query) -> &'static str {
    match query {
        Query::Admin => "DualToRActive/QueryAdminForwardingPortState",
        Query::Operation => "DualToRActive/QueryOperationPortState",
        Query::Link => "DualToRActive/QueryLinkState",
        Query::Version => "DualToRActive/QueryServerVersion",
        Query::Health => "grpc.health.v1.Health/Check",
    }
}

/// The code that gRPC has for this result: a reply that we cannot use came with OK.
pub(super) const fn code(result: QueryResult) -> &'static str {
    match result {
        QueryResult::EmptyReply | QueryResult::InvalidReply => QueryResult::Ok.label(),
        other => other.label(),
    }
}

fn root(kept: &KeptTrace) -> Span {
    Span {
        trace_id: kept.trace.to_bytes().to_vec(),
        span_id: kept.trace.span(ROOT_SPAN).to_bytes().to_vec(),
        kind: SpanKind::Internal.into(),
        events: kept.transitions.iter().map(event).collect(),
        ..Span::default()
    }
}

/// Which SoC, as it is configured.
fn about(kept: &KeptTrace) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(8);
    attributes.extend(soc(&kept.id));
    attributes.extend(server(kept.address));
    attributes
}

fn server(address: SocketAddr) -> [KeyValue; 2] {
    [
        text(names::SERVER_ADDRESS, address.ip().to_string()),
        whole(names::SERVER_PORT, address.port()),
    ]
}

fn status(failed: bool) -> Option<Status> {
    failed.then(|| Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    })
}

fn event(transition: &Transition) -> SpanEvent {
    let (name, attributes) = change(transition);
    SpanEvent {
        time_unix_nano: nanos(transition.at),
        name: name.to_owned(),
        attributes,
        ..SpanEvent::default()
    }
}

/// From the beginning of a query to its end; `None`: it was not sent.
fn times(timing: &RoundTiming, took: Option<Duration>) -> Option<(SystemTime, SystemTime)> {
    let sent = timing.began + timing.sent;
    took.map(|took| (sent, sent + took))
}

fn round(kept: &KeptTrace, channel: &str, report: &Report) -> Span {
    let timing = &report.timing;
    let mut attributes = about(kept);
    attributes.push(text(names::CHANNEL_STATE, channel));
    attributes.push(text(names::ROUND_REASON, timing.reason.label()));
    attributes.extend(
        report
            .version
            .as_deref()
            .map(|version| text(names::SOC_VERSION, version)),
    );
    // A query that was sent late has its whole time, so it may end microseconds after the round's own end.
    let queries = report
        .queries
        .iter()
        .filter_map(|query| times(timing, query.took));
    let ended = queries.map(|(_, ended)| ended).max();
    let ended = ended.into_iter().chain([timing.began + timing.took]).max();
    Span {
        name: names::ROUND.to_owned(),
        start_time_unix_nano: nanos(timing.began),
        end_time_unix_nano: nanos(ended.unwrap_or(timing.began)),
        status: status(!report.is_all_answered()),
        attributes,
        ..root(kept)
    }
}

fn of_query(kept: &KeptTrace, report: &Report, query: Query) -> Option<Span> {
    let outcome = report.query(query);
    let (began, ended) = times(&report.timing, outcome.took)?;
    let is_answered = report.is_answered(query);
    let (result, method) = (outcome.result, method(query));
    let mut attributes = Vec::with_capacity(9);
    attributes.push(text(names::RPC_SYSTEM_NAME, "grpc"));
    attributes.push(text(names::RPC_METHOD, method));
    attributes.push(text(names::RPC_STATUS_CODE, code(result)));
    attributes.extend(server(kept.address));
    attributes.push(text(names::NETWORK_PEER_ADDRESS, kept.address.ip().to_string()));
    attributes.push(whole(names::NETWORK_PEER_PORT, kept.address.port()));
    if code(result) != result.label() {
        attributes.push(text(names::QUERY_RESULT, result.label()));
    }
    if !is_answered {
        attributes.push(text(names::ERROR_TYPE, result.label()));
    }
    let trace: TraceId = kept.trace;
    Some(Span {
        trace_id: trace.to_bytes().to_vec(),
        span_id: trace.span(query_span(query)).to_bytes().to_vec(),
        parent_span_id: trace.span(ROOT_SPAN).to_bytes().to_vec(),
        name: method.to_owned(),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(ended),
        status: status(!is_answered),
        attributes,
        ..Span::default()
    })
}

#[cfg(test)]
mod tests;
