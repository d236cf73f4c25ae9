//! What a session reports to the fleet about its SoC.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Cause, ChannelState, Health, Maintenance, ModuleEvent, MuxDirection, NoticeType, Plane, PortState, Query,
    QueryResult, RoundTiming, UpperLower,
};

/// Something that happened to one SoC.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The channel did something.
    Channel(ChannelEvent),
    /// A round of queries ended.
    Round(Box<Report>),
    /// The SoC announced maintenance or its end, or the announced period is over.
    Maintenance(MaintenanceReport),
    /// The health service reported a change through its `Watch` stream.
    Health(Health),
    /// The session is one of a module. No SoC sends this.
    Module(Box<ModuleEvent>),
}

/// The state of announced maintenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// The state now.
    pub state: Maintenance,
    /// Time until the last announced period is over. `None`: no maintenance is in progress, or its length is not known.
    pub ends_in: Option<Duration>,
    /// The notices since the previous report; `None`: there were none.
    pub notices: Option<Box<Notices>>,
}

/// Counts of notices, by `NoticeType::index()` and `Plane::index()`.
pub type NoticeCounts = [[u64; Plane::COUNT]; NoticeType::COUNT];

/// The notices received since the previous report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// How many there were.
    pub counts: NoticeCounts,
    /// The last BEGIN or END among them.
    pub last: Option<Notice>,
}

/// A BEGIN or END, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Which of the two.
    pub kind: NoticeType,
    /// What is being serviced.
    pub plane: Plane,
    /// Which service, cleaned and cut by `probe`.
    pub guid: Arc<str>,
    /// How long it will take, in seconds; 0: not given.
    pub period: u32,
}

/// What happened to the channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelEvent {
    /// A dial began.
    Dialing,
    /// A dial failed or the connection was lost. If this changes the state, a `State` event follows.
    Failed {
        /// Why.
        cause: Cause,
        /// For people: what exactly was seen.
        detail: Arc<str>,
    },
    /// The state changed.
    State {
        /// The new state.
        to: ChannelState,
        /// The failure that caused it, if there was one.
        cause: Option<Cause>,
        /// How many times the channel has been READY, this time included. A report of an older connection has a smaller number.
        epoch: u64,
    },
    /// The number of short READYs in a row changed: a READY ended within 10 s for any reason (one more), or a READY lasted longer
    /// (back to 0). The `State` event follows.
    Short {
        /// How many in a row ended within 10 s. From the second on, the channel waits for its backoff before it dials.
        in_a_row: u32,
    },
    /// The SoC presented its certificate. The connection may still have failed after that.
    PeerCertificate {
        /// The end of its validity.
        not_after: SystemTime,
    },
    /// A PING was answered after this long.
    Rtt(Duration),
    /// The keepalive in force changed.
    Keepalive {
        /// Time from PING to PING.
        time: Duration,
        /// A PING is sent with every n-th round and at no other time; 0: PINGs do not depend on rounds.
        rounds: u32,
        /// How often the SoC has refused our PINGs. A new channel to the same target starts with this number.
        refusals: u32,
        /// True: the SoC refused the previous keepalive (`too_many_pings`). False: the probe interval has changed.
        refused: bool,
    },
}

/// The beginning of an error text if the answer did not come from a gRPC server.
pub const NOT_GRPC: &str = "not a gRPC server";

/// The result of one round of queries. A round itself cannot fail: each query carries its own error.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The `epoch` of the READY channel it ran on; `None` if the channel was not READY.
    pub epoch: Option<u64>,
    /// When it was.
    pub timing: RoundTiming,
    /// How each query ended, by `Query::index()`.
    pub queries: [QueryReport; Query::COUNT],
    /// Admin forwarding state, by end.
    pub direction: UpperLower<MuxDirection>,
    /// Operational state, by end.
    pub oper: UpperLower<PortState>,
    /// Link state, by end.
    pub link: UpperLower<PortState>,
    /// The SoC's software version, cleaned and cut by `probe`.
    pub version: Option<Arc<str>>,
    /// What the health service reported.
    pub health: Health,
}

impl Report {
    /// How `query` ended.
    pub fn query(&self, query: Query) -> &QueryReport {
        &self.queries[query.index()]
    }

    /// Whether `query` was answered. UNIMPLEMENTED from a SoC without a health service counts as an answer.
    pub fn is_answered(&self, query: Query) -> bool {
        let no_health_service = query == Query::Health && self.health == Health::Unimplemented;
        self.query(query).result.is_answer() || no_health_service
    }

    /// Whether every query got what it asked for.
    pub fn is_all_answered(&self) -> bool {
        Query::ALL.iter().all(|query| self.is_answered(*query))
    }
}

/// How one query ended.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryReport {
    /// The metric's label.
    pub result: QueryResult,
    /// Time from sending to the end; `None` if it was not sent.
    pub took: Option<Duration>,
    /// For people: what exactly was wrong, cleaned and cut.
    pub error: Option<Arc<str>>,
}

impl QueryReport {
    /// Whether the answer did not come from a gRPC server. Its code is then translated from the HTTP status.
    pub fn is_not_grpc(&self) -> bool {
        self.error
            .as_deref()
            .is_some_and(|error| error.starts_with(NOT_GRPC))
    }
}
