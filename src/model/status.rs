//! The state of each SoC now. Only the reducer (`fleet::reduce`) writes it. What happened before is in `history`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Cause, ChannelStatus, Health, Maintenance, MuxDirection, NoticeCounts, PortState, Query, QueryResult,
    SelfPeer, Side, Target, TargetId,
};

/// Upper bounds of the probe duration histogram, seconds. A rack-local RPC takes about 1 ms, the deadline is 0.5 s.
pub const DURATION_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Everything known of one SoC.
#[derive(Debug, Clone)]
pub struct SocStatus {
    /// Which SoC this is.
    pub target: Target,
    /// Its channel.
    pub channel: ChannelStatus,
    /// What the SoC last reported; unknown unless READY.
    pub observed: Observed,
    /// The last direction that was not unknown, per end.
    pub known_direction: SelfPeer<Option<MuxDirection>>,
    /// Changes between active and standby, per end.
    pub direction_transitions: SelfPeer<u64>,
    /// Queries attempted, by `Query::index()` and `QueryResult::index()`.
    pub probes: [[u64; QueryResult::COUNT]; Query::COUNT],
    /// Durations of the queries that were answered.
    pub durations: Durations,
    /// Rounds ended.
    pub rounds: u64,
    /// When the last round ended whose admin query was OK.
    pub last_success: Option<SystemTime>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Maintenance announced by the SoC.
    pub maintenance: Maintenance,
    /// When the maintenance will end, if that is known.
    pub maintenance_end: Option<SystemTime>,
    /// Notices received.
    pub notices: NoticeCounts,
}

/// What a SoC reported in its last round. Health may be newer: the SoC can also report it between rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Admin forwarding.
    pub direction: SelfPeer<MuxDirection>,
    /// Operational state.
    pub oper: SelfPeer<PortState>,
    /// Link state.
    pub link: SelfPeer<PortState>,
    /// Software version.
    pub version: Option<Arc<str>>,
    /// Health service.
    pub health: Health,
    /// Whether every query of the last round was answered; `None` before the first round.
    pub all_answered: Option<bool>,
}

impl Observed {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        direction: SelfPeer {
            own: MuxDirection::Unknown,
            peer: MuxDirection::Unknown,
        },
        oper: SelfPeer {
            own: PortState::Unknown,
            peer: PortState::Unknown,
        },
        link: SelfPeer {
            own: PortState::Unknown,
            peer: PortState::Unknown,
        },
        version: None,
        health: Health::Unknown,
        all_answered: None,
    };
}

/// A histogram over `DURATION_BUCKETS`. The last count is for values above all bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations {
    /// Observations per bucket, not cumulative.
    pub counts: [u64; DURATION_BUCKETS.len() + 1],
    /// Sum of all observations, seconds.
    pub sum: f64,
}

/// Upper bounds of the histogram of our own lateness, seconds. A timer is normally up to 1 ms late. A delay of 50 ms or more
/// affects a round's deadline. A process that was stopped may be late by any time.
pub const DELAY_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// How late this process was: a histogram over `DELAY_BUCKETS`. The last count is for values above all bounds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Delays {
    /// Measurements per bucket, not cumulative.
    pub counts: [u64; DELAY_BUCKETS.len() + 1],
    /// Sum of all delays.
    pub sum: Duration,
}

/// What last went wrong with a SoC.
#[derive(Debug, Clone, PartialEq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What failed.
    pub what: Trouble,
    /// What exactly was seen, for people.
    pub detail: Arc<str>,
}

/// What can go wrong with a SoC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A dial failed, or the channel was lost.
    Channel(Cause),
    /// A query failed.
    Query(Query, QueryResult),
}

impl std::fmt::Display for LastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            Trouble::Channel(cause) => write!(f, "channel: {cause}: {}", self.detail),
            Trouble::Query(query, result) => write!(f, "{query}: {result}: {}", self.detail),
        }
    }
}

/// The whole table at one moment. Cheap: the statuses are shared, not copied.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sorted by port name.
    pub socs: Arc<[Arc<SocStatus>]>,
    /// Which ToR we are.
    pub side: Side,
}

impl Snapshot {
    /// The status of that SoC.
    pub fn get(&self, id: &TargetId) -> Option<&Arc<SocStatus>> {
        self.socs.iter().find(|soc| soc.target.id == *id)
    }
}

/// How the STATE_DB publisher is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StateDbStatus {
    /// Whether the database answers and takes writes.
    pub up: bool,
    /// The last row written.
    pub last_write: Option<SystemTime>,
    /// Rows written or deleted.
    pub writes_ok: u64,
    /// Rows that the database refused, or did not confirm.
    pub writes_error: u64,
    /// How often another process had written to a row of ours.
    pub foreign_writes: u64,
    /// Rows that wait to be written.
    pub rows_waiting: u64,
}

impl StateDbStatus {
    /// The status of two databases together: up if both are up.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            up: self.up && other.up,
            last_write: self.last_write.max(other.last_write),
            writes_ok: self.writes_ok + other.writes_ok,
            writes_error: self.writes_error + other.writes_error,
            foreign_writes: self.foreign_writes + other.foreign_writes,
            rows_waiting: self.rows_waiting + other.rows_waiting,
        }
    }
}

/// Expiry of the certificates in our own TLS files: the earliest of all files in use; `None` if there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TlsStatus {
    /// The CA certificates that a SoC's certificate is checked against.
    pub ca: Option<SystemTime>,
    /// Our client certificate and its chain.
    pub client: Option<SystemTime>,
}

/// How loading the configuration went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigStatus {
    /// Whether the last attempt succeeded.
    pub successful: bool,
    /// When the last successful attempt was.
    pub last_success: SystemTime,
}

impl ConfigStatus {
    /// The configuration was loaded at `now`.
    pub fn loaded(now: SystemTime) -> Self {
        Self {
            successful: true,
            last_success: now,
        }
    }
}

/// This process, as the system shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessStatus {
    /// User and system CPU time, seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Soft limit of open file descriptors.
    pub max_fds: u64,
    /// Bytes.
    pub virtual_memory: u64,
    /// Bytes.
    pub resident_memory: u64,
    /// Threads.
    pub threads: u64,
    /// Unix seconds.
    pub start_time: f64,
}
