//! SONiC's names for the databases, tables and keys that the exporter reads or writes. Every name stands here once. The code that
//! reads or writes a row describes its fields.

/// The configuration: which cables there are, which ToR this is, TLS.
pub const CONFIG_DB: &str = "CONFIG_DB";
/// Requests between SONiC's daemons.
pub const APPL_DB: &str = "APPL_DB";
/// The state that daemons report.
pub const STATE_DB: &str = "STATE_DB";

/// CONFIG_DB, a key without fields: 1 when the database is complete.
pub const CONFIG_DB_INITIALIZED: &str = "CONFIG_DB_INITIALIZED";
/// CONFIG_DB: the row `localhost` describes this switch.
pub const DEVICE_METADATA: &str = "DEVICE_METADATA";
/// The row of [`DEVICE_METADATA`].
pub const LOCALHOST: &str = "localhost";
/// CONFIG_DB: one row per port with a dual-ToR cable: to a SoC (active-active), or of the older active-standby type.
pub const MUX_CABLE: &str = "MUX_CABLE";
/// CONFIG_DB: the address of Loopback3 gives the side.
pub const LOOPBACK_INTERFACE: &str = "LOOPBACK_INTERFACE";
/// CONFIG_DB: how to secure the channels; the name on deployed switches.
pub const GRPCCLIENT: &str = "GRPCCLIENT";
/// The same table under the name of SONiC's design document.
pub const GRPC_CLIENT: &str = "GRPC_CLIENT";
/// Either table may exist; the deployed name wins.
pub const GRPC_CLIENTS: [&str; 2] = [GRPCCLIENT, GRPC_CLIENT];
/// CONFIG_DB: the row `Y_CABLE` shows whether ycabled also writes our rows every minute.
pub const XCVRD_LOG: &str = "XCVRD_LOG";

/// APPL_DB: the mux state that linkmgrd wants for a port. STATE_DB: the state that orchagent has set.
pub const MUX_CABLE_TABLE: &str = "MUX_CABLE_TABLE";
/// APPL_DB: whether a port is up.
pub const PORT_TABLE: &str = "PORT_TABLE";
/// APPL_DB: maintenance that a SoC has announced; written by the exporter.
pub const MUX_SERVICE_NOTIFICATION: &str = "MUX_SERVICE_NOTIFICATION";

/// STATE_DB: the health of a port by linkmgrd.
pub const MUX_LINKMGR_TABLE: &str = "MUX_LINKMGR_TABLE";
/// STATE_DB: what a SoC reports; written by the exporter.
pub const MUX_CABLE_INFO: &str = "MUX_CABLE_INFO";
/// STATE_DB: the same in shadow mode; written by the exporter.
pub const MUX_CABLE_INFO_SHADOW: &str = "MUX_CABLE_INFO_SHADOW";
