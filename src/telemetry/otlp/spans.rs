//! What was kept of a round or a dial → its spans, in protobuf's format. Pure: after the fact, from the report alone.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use super::attributes::{change, nanos};
use super::semantics as names;
use super::wire_fields::ProtoFields;
use crate::model::{
    Exemplar, KeptTrace, KeptWork, Query, QueryResult, ROOT_SPAN, Report, RoundTiming, SpanId, Transition,
    query_span,
};

/// The numbers of the fields, by opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto.
mod field {
    /// Of ScopeSpans.
    pub(super) const SPANS: u64 = 2;

    /// Of Span.
    pub(super) const TRACE_ID: u64 = 1;
    pub(super) const SPAN_ID: u64 = 2;
    pub(super) const PARENT_SPAN_ID: u64 = 4;
    pub(super) const NAME: u64 = 5;
    pub(super) const KIND: u64 = 6;
    pub(super) const START_TIME: u64 = 7;
    pub(super) const END_TIME: u64 = 8;
    pub(super) const ATTRIBUTES: u64 = 9;
    pub(super) const EVENTS: u64 = 11;
    pub(super) const STATUS: u64 = 15;

    /// Of Status.
    pub(super) const CODE: u64 = 3;

    /// Of KeyValue.
    pub(super) const KEY: u64 = 1;
    pub(super) const VALUE: u64 = 2;

    /// Of AnyValue.
    pub(super) const STRING_VALUE: u64 = 1;
    pub(super) const INT_VALUE: u64 = 3;
}

/// Writes the spans of one trace, as fields of a ScopeSpans. As many as `KeptTrace::spans` says.
pub(super) fn write_spans(out: &mut ProtoFields, kept: &KeptTrace) {
    let address = AddressText(kept.address.ip().to_string());
    match &kept.of {
        KeptWork::Round { channel, report } => {
            out.message(field::SPANS, |out| {
                round(out, kept, &address, channel.label(), report)
            });
            // What the queries have alike.
            let mut alike = ProtoFields::default();
            text(&mut alike, names::RPC_SYSTEM_NAME, "grpc");
            address.server(&mut alike, kept);
            text(&mut alike, names::NETWORK_PEER_ADDRESS, &address.0);
            whole(&mut alike, names::NETWORK_PEER_PORT, kept.address.port());
            for query in Query::ALL {
                if let Some(times) = times(&report.timing, report.query(*query).took) {
                    let write = |out: &mut ProtoFields| of_query(out, kept, &alike, report, *query, times);
                    out.message(field::SPANS, write);
                }
            }
        }
        KeptWork::Dial {
            began,
            ended,
            cause,
            channel,
        } => out.message(field::SPANS, |out| {
            root(
                out,
                kept,
                names::DIAL,
                (*began, (*ended).max(*began)),
                cause.is_some(),
            );
            address.about(out, kept);
            text(out, names::CHANNEL_STATE, channel.label());
            if let Some(cause) = cause {
                text(out, names::CHANNEL_CAUSE, cause.label());
            }
        }),
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

/// The address of the SoC's endpoint, made once for all spans of a trace.
struct AddressText(String);

impl AddressText {
    /// Which SoC, as it is configured.
    fn about(&self, out: &mut ProtoFields, kept: &KeptTrace) {
        text(out, names::NETWORK_INTERFACE_NAME, kept.id.port.as_str());
        if let Some(rack) = kept.id.rack.name() {
            text(out, names::RACK, rack);
        }
        self.server(out, kept);
    }

    fn server(&self, out: &mut ProtoFields, kept: &KeptTrace) {
        text(out, names::SERVER_ADDRESS, &self.0);
        whole(out, names::SERVER_PORT, kept.address.port());
    }
}

/// An attribute.
fn text(out: &mut ProtoFields, key: &str, value: &str) {
    out.message(field::ATTRIBUTES, |out| {
        out.bytes(field::KEY, key);
        out.message(field::VALUE, |out| out.bytes(field::STRING_VALUE, value));
    });
}

fn whole(out: &mut ProtoFields, key: &str, value: impl Into<u64>) {
    out.message(field::ATTRIBUTES, |out| {
        out.bytes(field::KEY, key);
        out.message(field::VALUE, |out| out.whole(field::INT_VALUE, value.into()));
    });
}

type Times = (SystemTime, SystemTime);

/// What every span has, but for attributes.
fn span(
    out: &mut ProtoFields,
    kept: &KeptTrace,
    id: SpanId,
    name: &str,
    (began, ended): Times,
    failed: bool,
) {
    out.bytes(field::TRACE_ID, kept.trace.to_bytes());
    out.bytes(field::SPAN_ID, id.to_bytes());
    out.bytes(field::NAME, name);
    out.fixed(field::START_TIME, nanos(began));
    out.fixed(field::END_TIME, nanos(ended));
    if failed {
        out.message(field::STATUS, |out| {
            out.whole(field::CODE, StatusCode::Error as u64)
        });
    }
}

/// The span without a parent: also what changed.
fn root(out: &mut ProtoFields, kept: &KeptTrace, name: &str, times: Times, failed: bool) {
    span(out, kept, kept.trace.span(ROOT_SPAN), name, times, failed);
    out.whole(field::KIND, SpanKind::Internal as u64);
    for transition in &kept.transitions {
        out.bytes(field::EVENTS, event(transition).encode_to_vec());
    }
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
fn times(timing: &RoundTiming, took: Option<Duration>) -> Option<Times> {
    let sent = timing.began + timing.sent;
    took.map(|took| (sent, sent + took))
}

fn round(out: &mut ProtoFields, kept: &KeptTrace, address: &AddressText, channel: &str, report: &Report) {
    let timing = &report.timing;
    // A query that was sent late has its whole time, so it may end microseconds after the round's own end.
    let queries = report
        .queries
        .iter()
        .filter_map(|query| times(timing, query.took));
    let ended = queries.map(|(_, ended)| ended).max();
    let ended = ended.into_iter().chain([timing.began + timing.took]).max();
    let times = (timing.began, ended.unwrap_or(timing.began));
    root(out, kept, names::ROUND, times, !report.is_all_answered());
    address.about(out, kept);
    text(out, names::CHANNEL_STATE, channel);
    text(out, names::ROUND_REASON, timing.reason.label());
    if let Some(version) = report.version.as_deref() {
        text(out, names::SOC_VERSION, version);
    }
}

fn of_query(
    out: &mut ProtoFields,
    kept: &KeptTrace,
    alike: &ProtoFields,
    report: &Report,
    query: Query,
    times: Times,
) {
    let is_answered = report.is_answered(query);
    let (result, method) = (report.query(query).result, method(query));
    let id = kept.trace.span(query_span(query));
    span(out, kept, id, method, times, !is_answered);
    out.bytes(field::PARENT_SPAN_ID, kept.trace.span(ROOT_SPAN).to_bytes());
    out.whole(field::KIND, SpanKind::Client as u64);
    text(out, names::RPC_METHOD, method);
    text(out, names::RPC_STATUS_CODE, code(result));
    out.append(alike);
    if code(result) != result.label() {
        text(out, names::QUERY_RESULT, result.label());
    }
    if !is_answered {
        text(out, names::ERROR_TYPE, result.label());
    }
}

#[cfg(test)]
mod tests;
