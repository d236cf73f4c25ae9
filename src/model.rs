//! Plain data that the folders hand to each other: no tokio, no I/O, no clock. Imports no other folder.
//!
//! `Target` (what to probe) → `Event` (what one SoC's session saw) → `SocStatus` (the state now) and `History` (what happened
//! lately) → `Snapshot` (the fleet at one moment) → `View` (the snapshot and everything else that is shown).
//!
//! Every closed set of values that an operator sees (states, causes, results) is an enum here. Its `label()` is both the metric's
//! label and the value in the log.

#[macro_use]
mod words;

mod channel_status;
pub mod component;
mod ends;
mod event;
mod exemplar;
mod facts;
mod history;
mod kept;
pub mod level;
mod message_prefix;
mod module_status;
mod module_target;
mod natural;
mod otlp_status;
mod peer;
mod probe_result;
mod query;
pub mod schema;
mod service_level;
mod serving_state;
mod shard;
mod status;
mod tables;
mod target;
pub mod text;
mod trace;
mod unary_check;
mod view;
mod web_status;
mod ycabled_facts;

pub use channel_status::ChannelStatus;
pub use ends::{End, SelfPeer, UpperLower};
pub use event::{
    ChannelEvent, Event, MaintenanceReport, NOT_GRPC, Notice, NoticeCounts, Notices, QueryReport, Report,
};
pub use exemplar::{Exemplar, ExemplarTable};
pub use facts::{Facts, Inventory, PortFacts, Problem, SourceStatus, StateDbs};
pub use history::{DETAIL_BYTES, History, ROUNDS, RoundRecord, TRANSITIONS, Transition, TransitionKind};
pub use kept::{Happening, KeptEvent, KeptTrace, KeptWork};
pub use level::{PortLevel, PortReason};
pub use message_prefix::{MessagePrefix, PREFIX_LEN};
pub use module_status::{
    AftKind, AftPlane, Asked, Compatibility, EndedRound, GribiCounts, InstanceEntries, ModuleEvent,
    ModuleReport, ModuleSnapshot, ModuleStatus, Programmed, RECENT, ROUND_BUCKETS, RoundDurations, Said,
    ServiceVersion, ServiceVersions, UnaryReply,
};
pub use module_target::{
    GribiCheck, HealthCheck, InfoDialect, ModuleId, ModuleJob, ModuleKind, ModuleSpec, ModuleTarget,
    ServiceCheck,
};
pub use otlp_status::{OtlpCounts, OtlpResult, OtlpStatus};
pub use peer::{Endpoint, MetadataValue, Peer};
pub use probe_result::ProbeResult;
pub use query::{Query, QueryResult};
pub use service_level::ServiceReason;
pub use serving_state::ServingState;
pub use shard::{MOST_SHARDS, Shard, ShardShare, owner};
pub use status::{
    ConfigStatus, DELAY_BUCKETS, DURATION_BUCKETS, Delays, Durations, LastError, Observed, ProcessStatus,
    Snapshot, SocStatus, StateDbStatus, TlsStatus, Trouble,
};
pub use tables::{Entry, Row, Rows, Spec, Table, Tables};
pub use target::{
    BackoffSettings, ChannelSettings, ClientIdentity, KEEPALIVE_TIME, KeepaliveRule, Port, PortError,
    ProbeSettings, Rack, RackError, Security, SourceAddress, Target, TargetId, TlsSettings,
};
pub use text::quoted;
pub use trace::{ROOT_SPAN, RoundReason, RoundTiming, SpanId, TraceId, TraceRule, query_span};
pub use unary_check::{ReplyTest, UnaryCheck, UnarySchema};
pub use view::{ExporterInfo, Lately, SocView, TargetSource, View};
pub use web_status::{
    HandlerRequests, QueueLengths, QueueName, REQUEST_BUCKETS, WebCode, WebHandler, WebStatus,
};
pub use words::{
    Cause, ChannelState, Health, Limit, LinkmgrHealth, Maintenance, MuxDirection, NoticeType, OrchagentMux,
    Plane, PortState, ProblemKind, Refusal, Side,
};
pub use ycabled_facts::{Heartbeats, MuxChange, YcabledFacts, YcabledState};
