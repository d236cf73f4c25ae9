//! The state of each module target now. Only the reducer (`fleet::module_changes`) writes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ChannelStatus, Health, ModuleId, ModuleJob, ProbeResult};

/// Upper bounds of the histogram of rounds, seconds.
pub const ROUND_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Results that are kept for people.
pub const RECENT: usize = 10;

/// Everything known of one module target.
#[derive(Debug, Clone)]
pub struct ModuleStatus {
    /// Which target this is, and what is asked.
    pub job: Arc<ModuleJob>,
    /// Its channel.
    pub channel: ChannelStatus,
    /// How the rounds ended.
    pub asked: Asked,
    /// What the peer reported, by the kind of the module.
    pub said: Said,
}

impl ModuleStatus {
    /// What identifies it.
    pub fn id(&self) -> ModuleId {
        self.job.id()
    }
}

/// How the rounds of a target ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Rounds by `ProbeResult::index()`.
    pub results: [u64; ProbeResult::COUNT],
    /// Durations of the rounds that sent something.
    pub durations: RoundDurations,
    /// Whether the last round was a success. A Watch may have changed it since. `None`: no round has ended.
    pub success: Option<bool>,
    /// When the last round that was a success ended.
    pub last_success: Option<SystemTime>,
    /// The last rounds, the oldest first.
    pub recent: VecDeque<EndedRound>,
}

/// A histogram over `ROUND_BUCKETS`. The last count is for values above all bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundDurations {
    /// Rounds per bucket, not cumulative.
    pub counts: [u64; ROUND_BUCKETS.len() + 1],
    /// Sum of all, seconds.
    pub sum: f64,
}

/// A round that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRound {
    /// When.
    pub at: SystemTime,
    /// How.
    pub result: ProbeResult,
    /// Whether it was a success.
    pub success: bool,
    /// From the first RPC to the end of the last; `None`: nothing was sent.
    pub took: Option<Duration>,
    /// What exactly was wrong, for people.
    pub detail: Option<Arc<str>>,
}

/// What a peer reported, by the kind of the module. Unknown unless READY.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The status of each service, in the order of the configuration.
    Health(Vec<Health>),
    /// What was read of a reply; `None`: not known.
    Reply(Option<UnaryReply>),
    /// The services of a server; `None`: not known.
    Services(Option<ServiceVersions>),
    /// The entries of routing tables; `None`: not known.
    Gribi(Option<GribiCounts>),
}

/// What was read of the last reply that came with OK.
#[derive(Debug, Clone, PartialEq)]
pub struct UnaryReply {
    /// The values of the labels of `grpc_reply_info`, in the order of the configuration.
    pub info: Vec<Arc<str>>,
    /// The numbers of `grpc_reply_value`, in the order of the configuration. `None`: absent.
    pub values: Vec<Option<f64>>,
    /// The whole reply, for someone who asks once. `None`: no one does, or it is too long.
    pub json: Option<Arc<str>>,
}

/// Which services a server has, and whether their clients can speak to them.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceVersions {
    /// Those that are shown, each name once.
    pub services: Vec<ServiceVersion>,
    /// For each client of the configuration, in its order.
    pub clients: Vec<(Arc<str>, Compatibility)>,
}

/// One service of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceVersion {
    /// Its name, cleaned and cut.
    pub name: Arc<str>,
    /// The version of its interface.
    pub current: u32,
    /// The oldest version that it supports.
    pub supported: u32,
}

words! {
    /// Whether the clients of a service can speak to it.
    Compatibility {
        /// They can.
        Compatible = "compatible",
        /// They speak a newer version than the server.
        ServerTooOld = "server_too_old",
        /// They speak a version that the server does not support any more.
        ClientTooOld = "client_too_old",
        /// The server has no such service.
        Missing = "missing",
        /// Not known: the channel is not READY, or no round has succeeded.
        Unknown = "unknown",
    }
}

/// How many entries a switch's routing tables have, by network instance, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GribiCounts {
    /// Each instance that is shown, and `other`.
    pub instances: Vec<(Arc<str>, InstanceEntries)>,
}

/// The entries of one network instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InstanceEntries {
    /// By `AftKind::index()`.
    pub entries: [u64; AftKind::COUNT],
    /// By `AftPlane::index()` and `Programmed::index()`.
    pub planes: [[u64; Programmed::COUNT]; AftPlane::COUNT],
}

impl InstanceEntries {
    /// Adds the counts of other entries.
    pub fn add(&mut self, other: &Self) {
        let planes = self.planes.as_flattened_mut().iter_mut();
        let own = self.entries.iter_mut().chain(planes);
        let others = other.entries.iter().chain(other.planes.as_flattened());
        own.zip(others).for_each(|(own, other)| *own += other);
    }
}

words! {
    /// The table that an entry is in.
    AftKind {
        /// IPv4 routes.
        Ipv4 = "ipv4",
        /// IPv6 routes.
        Ipv6 = "ipv6",
        /// MPLS labels.
        Mpls = "mpls",
        /// Next hops.
        NextHop = "next_hop",
        /// Groups of next hops.
        NextHopGroup = "next_hop_group",
        /// MAC addresses.
        Mac = "mac",
        /// Policy forwarding.
        PolicyForwarding = "policy_forwarding",
        /// A table that is not known here.
        Other = "other",
    }
}

words! {
    /// Where an entry is to be programmed.
    AftPlane {
        /// The routing information base.
        Rib = "rib",
        /// The hardware.
        Fib = "fib",
    }
}

words! {
    /// Whether an entry is programmed.
    Programmed {
        /// The switch does not say.
        Unavailable = "unavailable",
        /// It is.
        Yes = "programmed",
        /// It is not.
        No = "not_programmed",
        /// A number that the protocol does not define.
        Unknown = "unknown",
    }
}

/// What a session of a module reports, beside the events of its channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleEvent {
    /// A round ended.
    Round(ModuleReport),
    /// A Watch reported the status of the service with this number.
    Health(usize, Health),
}

/// The result of one round of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleReport {
    /// The `epoch` of the READY channel it ran on; `None` if the channel was not READY.
    pub epoch: Option<u64>,
    /// How it ended.
    pub result: ProbeResult,
    /// Whether that is a success.
    pub success: bool,
    /// From the first RPC to the end of the last; `None`: nothing was sent.
    pub took: Option<Duration>,
    /// What exactly was wrong, for people; cleaned and cut.
    pub detail: Option<Arc<str>>,
    /// What the peer reported; `None`: nothing.
    pub said: Option<Said>,
}

impl ModuleReport {
    /// A round on a channel that was not READY.
    pub fn not_ready() -> Self {
        Self::failed(None, ProbeResult::Unavailable, None)
    }

    /// A round that failed before anything was sent.
    pub fn failed(epoch: Option<u64>, result: ProbeResult, detail: Option<Arc<str>>) -> Self {
        Self {
            epoch,
            result,
            success: false,
            took: None,
            detail,
            said: None,
        }
    }
}

/// All module targets at one moment, sorted by module and name. Cheap: the statuses are shared, not copied.
pub type ModuleSnapshot = Arc<[Arc<ModuleStatus>]>;
