//! What a session tells the fleet about its SoC.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Cause, ChannelState, Health, Maintenance, MuxDirection, NoticeType, Plane, PortState, Query, QueryResult,
    UpperLower,
};

/// Something that happened to one SoC.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The channel did something.
    Channel(ChannelEvent),
    /// A round of queries ended.
    Round(Box<Report>),
    /// The SoC announced maintenance, or its end; or what it announced is over.
    Maintenance(MaintenanceReport),
    /// The health service says this, unasked.
    Health(Health),
}

/// What announced maintenance has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// The state now.
    pub state: Maintenance,
    /// How long until the last announced period is over; `None`: nothing is in progress, or for how long is not known.
    pub ends_in: Option<Duration>,
    /// The notices since the report before; `None`: there were none.
    pub notices: Option<Box<Notices>>,
}

/// Notices, by `NoticeType::index()` and `Plane::index()`.
pub type NoticeCounts = [[u64; Plane::COUNT]; NoticeType::COUNT];

/// The notices of a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// How many there were.
    pub counts: NoticeCounts,
    /// The last BEGIN or END among them.
    pub last: Option<Notice>,
}

/// A BEGIN or END, as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Which of the two.
    pub kind: NoticeType,
    /// What is being serviced.
    pub plane: Plane,
    /// Which service, cleaned and cut by `probe`.
    pub guid: Arc<str>,
    /// How long it will take, in seconds; 0: not said.
    pub period: u32,
}

/// What happened to the channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelEvent {
    /// A dial began.
    Dialing,
    /// A dial failed or the connection was lost; a change of state, where there is one, follows.
    Failed {
        /// One of the closed set.
        cause: Cause,
        /// For people: what exactly was seen.
        detail: Arc<str>,
    },
    /// The state changed.
    State {
        /// The new state.
        to: ChannelState,
        /// Why, where a failure is why.
        cause: Option<Cause>,
        /// How many times the channel has been READY, this time included: tells reports of an older connection apart.
        epoch: u64,
    },
    /// Another READY was over within 10 s, however it has ended, or one has lasted; the change of state follows.
    Short {
        /// How many were over so soon in a row; from the second on the channel is dialled by its backoff.
        in_a_row: u32,
    },
    /// The SoC showed its certificate, whatever became of the connection then.
    PeerCertificate {
        /// The end of its validity.
        not_after: SystemTime,
    },
    /// A PING was answered after this long.
    Rtt(Duration),
    /// The keepalive in force changed.
    Keepalive {
        /// From PING to PING.
        time: Duration,
        /// Each so many-th round takes a PING along, and none goes out between; 0: PINGs do not go with rounds.
        rounds: u32,
        /// How often the SoC has refused our PINGs: what another channel to the same target begins with.
        refusals: u32,
        /// Whether the SoC has refused the keepalive before (`too_many_pings`); else the probe interval has changed.
        refused: bool,
    },
}

/// How an error text begins if what answered is no gRPC server.
pub const NOT_GRPC: &str = "not a gRPC server";

/// One round of queries. A round cannot fail: what went wrong is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The `epoch` of the READY channel it ran on; `None` where the channel was not READY.
    pub epoch: Option<u64>,
    /// How each query ended, by `Query::index()`.
    pub queries: [QueryReport; Query::COUNT],
    /// Admin forwarding, by end.
    pub direction: UpperLower<MuxDirection>,
    /// Operational state, by end.
    pub oper: UpperLower<PortState>,
    /// Link state, by end.
    pub link: UpperLower<PortState>,
    /// The SoC's software version, cleaned and cut by `probe`.
    pub version: Option<Arc<str>>,
    /// What the health service says.
    pub health: Health,
}

impl Report {
    /// How `query` ended.
    pub fn query(&self, query: Query) -> &QueryReport {
        &self.queries[query.index()]
    }

    /// Whether `query` got what it asked for. A SoC without a health service answers by saying so.
    pub fn is_answered(&self, query: Query) -> bool {
        let no_health_service = query == Query::Health && self.health == Health::Unimplemented;
        self.query(query).result.is_answer() || no_health_service
    }
}

/// How one query ended.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryReport {
    /// The metric's label.
    pub result: QueryResult,
    /// From sending to the end, where it was sent at all.
    pub took: Option<Duration>,
    /// For people: what exactly was wrong, cleaned and cut.
    pub error: Option<Arc<str>>,
}

impl QueryReport {
    /// What answered is no gRPC server: its code is our translation of an HTTP status.
    pub fn is_not_grpc(&self) -> bool {
        self.error
            .as_deref()
            .is_some_and(|error| error.starts_with(NOT_GRPC))
    }
}
