//! Plain data that the folders hand to each other: no tokio, no I/O, no clock. Imports no other folder.
//!
//! `Target` (what to probe) → `Event` (what one SoC's session saw) → `SocStatus` (what is true now) → `Snapshot`
//! (all of it at one moment). Every closed set of words that reaches an operator (states, causes, results) is an enum
//! here, with one `label()` that is both the metric's label and the log's word.

#[macro_use]
mod words;

pub mod component;
mod event;
mod facts;
mod inventory;
mod query;
pub mod schema;
mod status;
mod tables;
mod target;
pub mod text;

pub use event::{
    ChannelEvent, Event, NOT_GRPC, Notice, NoticeCounts, Notices, QueryReport, Report, ServiceReport,
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
    Cause, ChannelState, Health, Limit, LinkmgrHealth, MuxDirection, NoticeType, OrchagentMux, Plane,
    PortState, ProblemKind, Refusal, Side, SocService,
};

/// One value for each end of the cable, as this ToR sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SelfPeer<T> {
    /// The side of the ToR we run on (or for).
    pub own: T,
    /// The other ToR's side.
    pub peer: T,
}

/// One value for each end of the cable, by the ToR at that end. The SoC numbers them: portid 1 is the upper ToR's end, 0 the lower's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpperLower<T> {
    /// portid 1.
    pub upper: T,
    /// portid 0.
    pub lower: T,
}

impl<T: Copy + Default> UpperLower<T> {
    /// The same pair seen from `side`. From an unknown side nothing can be told: both ends are the default (unknown).
    pub fn seen_from(self, side: Side) -> SelfPeer<T> {
        match side {
            Side::Upper => SelfPeer {
                own: self.upper,
                peer: self.lower,
            },
            Side::Lower => SelfPeer {
                own: self.lower,
                peer: self.upper,
            },
            Side::Unknown => SelfPeer::default(),
        }
    }
}
