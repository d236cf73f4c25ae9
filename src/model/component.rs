//! The parts of the exporter, as its log names them (`target`). Log filters use these names, so they stay when files move.

/// Start, reload, stop, and everything without a name of its own.
pub const APP: &str = "dualtor::app";
/// A SoC's gRPC channel.
pub const CHANNEL: &str = "dualtor::channel";
/// Certificate files.
pub const TLS: &str = "dualtor::tls";
/// Queries and streams.
pub const PROBE: &str = "dualtor::probe";
/// The table of SoCs: transitions, ports that come and go.
pub const FLEET: &str = "dualtor::fleet";
/// The targets of probe modules.
pub const MODULES: &str = "dualtor::modules";
/// What follows from the switch's databases and files: ports, side, TLS.
pub const INVENTORY: &str = "dualtor::inventory";
/// Reading SONiC's databases.
pub const MIRROR: &str = "dualtor::mirror";
/// Writing rows to STATE_DB.
pub const STATE_DB: &str = "dualtor::state_db";
/// Writing notices to APPL_DB.
pub const APPL_DB: &str = "dualtor::appl_db";
/// What is sent as OpenTelemetry.
pub const OTLP: &str = "dualtor::otlp";
/// The web server.
pub const WEB: &str = "dualtor::web";
/// The exporter's own gRPC services.
pub const GRPC: &str = "dualtor::grpc";
/// The beginning of all these names. Lines of other crates do not have it and are not logged.
pub const ALL: &str = "dualtor::";
