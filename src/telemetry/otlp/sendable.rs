//! The two signals that wait in a queue: traces and events. What a batch of each is as a message, and what the reply says.

use std::time::SystemTime;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use prost::Message as _;

use super::log_records::record_of;
use super::resource::{Described, scope};
use super::spans::{exemplars_of, write_spans};
use super::wire_fields::ProtoFields;
use crate::config::OtlpSignal;
use crate::fleet::kept_queue::Weight;
use crate::model::{ExemplarTable, KeptEvent, KeptTrace};

/// The paths of gRPC.
pub(super) const TRACE_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const LOGS_METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(super) const METRICS_METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Fields of ExportTraceServiceRequest, ResourceSpans and ScopeSpans.
const RESOURCE_SPANS: u64 = 1;
const RESOURCE: u64 = 1;
const SCOPE_SPANS: u64 = 2;
const SCOPE: u64 = 1;
/// About as many bytes as the trace of a round has. More of them cost a copy.
const TRACE_SIZE: usize = 2_000;

/// How much of a message the collector has rejected, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) count: u64,
    pub(super) reason: String,
}

impl Rejected {
    pub(super) fn new(count: i64, reason: String) -> Self {
        Self {
            count: u64::try_from(count).unwrap_or(0),
            reason,
        }
    }
}

/// What can wait in a queue to be sent.
pub(super) trait Sendable: Weight + Sized + Send + Sync {
    const SIGNAL: OtlpSignal;

    /// The message with these.
    fn message(batch: &[Self], described: &Described) -> Vec<u8>;

    /// These have arrived, all of them.
    fn arrived(_: &[Self], _: &ExemplarTable) {}

    /// What the reply says. One that is not what is expected says nothing.
    fn rejected(reply: Bytes) -> Rejected;
}

impl Sendable for KeptTrace {
    const SIGNAL: OtlpSignal = OtlpSignal::Traces;

    fn message(batch: &[Self], described: &Described) -> Vec<u8> {
        let (resource, scope) = (described.resource().encode_to_vec(), scope().encode_to_vec());
        let mut message = ProtoFields::with_capacity(batch.len() * TRACE_SIZE);
        message.message(RESOURCE_SPANS, |out| {
            out.bytes(RESOURCE, resource);
            out.message(SCOPE_SPANS, |out| {
                out.bytes(SCOPE, scope);
                batch.iter().for_each(|kept| write_spans(out, kept));
            });
        });
        message.into_bytes()
    }

    fn arrived(batch: &[Self], exemplars: &ExemplarTable) {
        for kept in batch {
            exemplars.add(&kept.id, exemplars_of(kept));
        }
    }

    fn rejected(reply: Bytes) -> Rejected {
        let reply = ExportTraceServiceResponse::decode(reply).unwrap_or_default();
        let partial = reply.partial_success.unwrap_or_default();
        Rejected::new(partial.rejected_spans, partial.error_message)
    }
}

impl Sendable for KeptEvent {
    const SIGNAL: OtlpSignal = OtlpSignal::Logs;

    fn message(batch: &[Self], described: &Described) -> Vec<u8> {
        let now = SystemTime::now();
        let log_records: Vec<_> = batch.iter().map(|event| record_of(event, now)).collect();
        let resource_logs = ResourceLogs {
            resource: Some(described.resource()),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        };
        let resource_logs = vec![resource_logs];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }

    fn rejected(reply: Bytes) -> Rejected {
        let reply = ExportLogsServiceResponse::decode(reply).unwrap_or_default();
        let partial = reply.partial_success.unwrap_or_default();
        Rejected::new(partial.rejected_log_records, partial.error_message)
    }
}
