//! Plain data that the folders hand to each other: no tokio, no I/O, no clock. Imports no other folder.
//!
//! `Target` (what to probe) → `Event` (what one SoC's session saw) → `SocStatus` (the state now) and `History` (what happened
//! lately) → `Snapshot` (the fleet at one moment) → `View` (the snapshot and everything else that is shown).
//!
//! Every closed set of values that an operator sees (states, causes, results) is an enum here. Its `label()` is both the metric's
//! label and the value in the log.

#[macro_use]
mod words;

pub mod component;
mod ends;
mod event;
mod exemplar;
mod facts;
mod history;
mod kept;
pub mod level;
mod natural;
mod otlp_status;
mod query;
pub mod schema;
mod serving_state;
mod shard;
mod status;
mod tables;
mod target;
pub mod text;
mod trace;
mod view;
mod web_status;
mod ycabled_facts;

pub use ends::{End, SelfPeer, UpperLower};
pub use event::{
    ChannelEvent, Event, MaintenanceReport, NOT_GRPC, Notice, NoticeCounts, Notices, QueryReport, Report,
};
pub use exemplar::{Exemplar, ExemplarTable};
pub use facts::{Facts, Inventory, PortFacts, Problem, SourceStatus, StateDbs};
pub use history::{DETAIL_BYTES, History, ROUNDS, RoundRecord, TRANSITIONS, Transition, TransitionKind};
pub use kept::{Happening, KeptEvent, KeptTrace, KeptWork};
pub use level::{PortLevel, PortReason};
pub use otlp_status::{OtlpCounts, OtlpResult, OtlpStatus};
pub use query::{Query, QueryResult};
pub use serving_state::ServingState;
pub use shard::{MOST_SHARDS, Shard, ShardShare, owner};
pub use status::{
    ConfigStatus, DELAY_BUCKETS, DURATION_BUCKETS, Delays, Durations, LastError, Observed, ProcessStatus,
    Snapshot, SocStatus, StateDbStatus, TlsStatus, Trouble,
};
pub use tables::{Entry, Row, Rows, Spec, Table, Tables};
pub use target::{
    BackoffSettings, ChannelSettings, ClientIdentity, Port, PortError, ProbeSettings, Rack, RackError,
    Security, SourceAddress, Target, TargetId, TlsSettings,
};
pub use text::quoted;
pub use trace::{ROOT_SPAN, RoundReason, RoundTiming, SpanId, TraceId, TraceRule};
pub use view::{ExporterInfo, Lately, SocView, TargetSource, View};
pub use web_status::{
    HandlerRequests, QueueLengths, QueueName, REQUEST_BUCKETS, WebCode, WebHandler, WebStatus,
};
pub use words::{
    Cause, ChannelState, Health, Limit, LinkmgrHealth, Maintenance, MuxDirection, NoticeType, OrchagentMux,
    Plane, PortState, ProblemKind, Refusal, Side,
};
pub use ycabled_facts::{Heartbeats, MuxChange, YcabledFacts, YcabledState};
