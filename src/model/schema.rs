//! What SONiC calls the databases, tables and keys that the exporter reads or writes: every name once. The fields of a
//! row are documented where the row is read or written.

/// The configuration: which cables there are, which ToR this is, TLS.
pub const CONFIG_DB: &str = "CONFIG_DB";
/// What SONiC's daemons want of each other.
pub const APPL_DB: &str = "APPL_DB";
/// How things are.
pub const STATE_DB: &str = "STATE_DB";

/// CONFIG_DB, a key without fields: 1 when the database is complete.
pub const CONFIG_DB_INITIALIZED: &str = "CONFIG_DB_INITIALIZED";
/// CONFIG_DB: `localhost` tells what kind of switch this is.
pub const DEVICE_METADATA: &str = "DEVICE_METADATA";
/// The row of [`DEVICE_METADATA`].
pub const LOCALHOST: &str = "localhost";
/// CONFIG_DB: one row per port with a cable to a SoC, or with an older one.
pub const MUX_CABLE: &str = "MUX_CABLE";
/// CONFIG_DB: the address of Loopback3 tells the side.
pub const LOOPBACK_INTERFACE: &str = "LOOPBACK_INTERFACE";
/// CONFIG_DB: how to secure the channels, as deployed.
pub const GRPCCLIENT: &str = "GRPCCLIENT";
/// The same, as the design document calls it.
pub const GRPC_CLIENT: &str = "GRPC_CLIENT";
/// Either may hold it; the deployed name wins.
pub const GRPC_CLIENTS: [&str; 2] = [GRPCCLIENT, GRPC_CLIENT];
/// CONFIG_DB: `config` has settings of ours.
pub const DUALTOR_EXPORTER: &str = "DUALTOR_EXPORTER";
/// CONFIG_DB: `Y_CABLE` tells whether ycabled writes our rows each minute, too.
pub const XCVRD_LOG: &str = "XCVRD_LOG";

/// APPL_DB: what linkmgrd wants of a port. STATE_DB: what orchagent has done.
pub const MUX_CABLE_TABLE: &str = "MUX_CABLE_TABLE";
/// APPL_DB: whether a port is up.
pub const PORT_TABLE: &str = "PORT_TABLE";
/// APPL_DB: what a SoC has announced; written.
pub const MUX_SERVICE_NOTIFICATION: &str = "MUX_SERVICE_NOTIFICATION";

/// APPL_DB: what ycabled last answered linkmgrd.
pub const FORWARDING_STATE_RESPONSE: &str = "FORWARDING_STATE_RESPONSE";
/// STATE_DB: what ycabled last set of our side.
pub const HW_MUX_CABLE_TABLE: &str = "HW_MUX_CABLE_TABLE";
/// STATE_DB: what ycabled last set of the peer's side.
pub const HW_MUX_CABLE_TABLE_PEER: &str = "HW_MUX_CABLE_TABLE_PEER";
/// STATE_DB: when the steps of the last switchover began and ended.
pub const MUX_METRICS_TABLE: &str = "MUX_METRICS_TABLE";
/// STATE_DB: linkmgrd's heartbeats.
pub const LINK_PROBE_STATS: &str = "LINK_PROBE_STATS";

/// STATE_DB: what linkmgrd thinks of a port.
pub const MUX_LINKMGR_TABLE: &str = "MUX_LINKMGR_TABLE";
/// STATE_DB: what a SoC says; written.
pub const MUX_CABLE_INFO: &str = "MUX_CABLE_INFO";
/// STATE_DB: the same in shadow mode; written.
pub const MUX_CABLE_INFO_SHADOW: &str = "MUX_CABLE_INFO_SHADOW";
