//! The names of spans, events and attributes: OpenTelemetry's semantic conventions 1.45 where they have one, else our own
//! (`dualtor.`). Written here because the conventions' crate is older.

pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const HOST_NAME: &str = "host.name";
pub(super) const NETWORK_INTERFACE_NAME: &str = "network.interface.name";
pub(super) const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub(super) const NETWORK_PEER_PORT: &str = "network.peer.port";
pub(super) const RPC_METHOD: &str = "rpc.method";
pub(super) const RPC_STATUS_CODE: &str = "rpc.status_code";
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";

/// The cause of a failed dial, or of a change.
pub(super) const CHANNEL_CAUSE: &str = "dualtor.channel.cause";
/// The state of the channel.
pub(super) const CHANNEL_STATE: &str = "dualtor.channel.state";
/// What exactly was seen, for people; only in events.
pub(super) const DETAIL: &str = "dualtor.detail";
/// Which end of the cable: self or peer.
pub(super) const END: &str = "dualtor.end";
/// The value before a change.
pub(super) const FROM: &str = "dualtor.from";
/// What a notice is about: type, plane, seconds.
pub(super) const NOTICE_PERIOD: &str = "dualtor.notice.period";
pub(super) const NOTICE_PLANE: &str = "dualtor.notice.plane";
pub(super) const NOTICE_TYPE: &str = "dualtor.notice.type";
/// Why a row of the inventory cannot be used.
pub(super) const PROBLEM_REASON: &str = "dualtor.inventory.reason";
/// Our own result of a query that gRPC has no code for.
pub(super) const QUERY_RESULT: &str = "dualtor.query.result";
/// The rack of the SoC, if there are racks.
pub(super) const RACK: &str = "dualtor.rack";
/// Why a round began.
pub(super) const ROUND_REASON: &str = "dualtor.round.reason";
/// Which ToR of the rack this is.
pub(super) const SIDE: &str = "dualtor.side";
/// The SoC's software version.
pub(super) const SOC_VERSION: &str = "dualtor.soc.version";
/// The value after a change.
pub(super) const TO: &str = "dualtor.to";

/// Names of spans.
pub(super) const ROUND: &str = "dualtor.round";
pub(super) const DIAL: &str = "dualtor.channel.dial";

/// Names of events, in spans and as log records.
pub(super) const CHANNEL_TRANSITION: &str = "dualtor.channel.transition";
pub(super) const DIRECTION_TRANSITION: &str = "dualtor.mux.transition";
pub(super) const HEALTH_TRANSITION: &str = "dualtor.health.transition";
pub(super) const MAINTENANCE_TRANSITION: &str = "dualtor.maintenance.transition";
pub(super) const MAINTENANCE_NOTICE: &str = "dualtor.maintenance.notice";
pub(super) const FOREIGN_WRITE: &str = "dualtor.state_db.foreign_write";
pub(super) const INVENTORY_PROBLEM: &str = "dualtor.inventory.problem";
