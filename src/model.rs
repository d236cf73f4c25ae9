//! Plain data that the folders hand to each other: no tokio, no I/O, no clock. Imports no other folder.
//!
//! `Target` (what to probe) → `Event` (what one SoC's session saw) → `SocStatus` (what is true now) → `Snapshot`
//! (all of it at one moment). Every closed set of words that reaches an operator (states, causes, results) is an enum
//! here, with one `label()` that is both the metric's label and the log's word.

#[macro_use]
mod words;

pub mod component;
mod ends;
mod event;
mod facts;
mod inventory;
mod query;
pub mod schema;
mod status;
mod tables;
mod target;
pub mod text;

pub use ends::{End, SelfPeer, UpperLower};
pub use event::{
    ChannelEvent, Event, MaintenanceReport, NOT_GRPC, Notice, NoticeCounts, Notices, QueryReport, Report,
};
pub use facts::{Facts, PortFacts, Problem, StateDbs};
pub use inventory::Inventory;
pub use query::{Query, QueryResult};
pub use status::{
    ConfigStatus, DELAY_BUCKETS, DURATION_BUCKETS, Delays, Durations, HISTORY_LEN, History, LastError,
    Observed, Snapshot, SocStatus, StateDbStatus, TlsStatus, Transition, TransitionKind, Trouble, WebStatus,
};
pub use tables::{Entry, Row, Rows, Spec, Table, Tables};
pub use target::{
    BackoffSettings, ChannelSettings, ClientIdentity, Port, PortError, ProbeSettings, Security,
    SourceAddress, Target, TlsSettings,
};
pub use text::quoted;
pub use words::{
    Cause, ChannelState, Health, Limit, LinkmgrHealth, Maintenance, MuxDirection, NoticeType, OrchagentMux,
    Plane, PortState, ProblemKind, Refusal, Side,
};
