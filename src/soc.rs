//! One SoC: its gRPC channel, the queries and streams on it, and the session that decides when to probe.
//!
//! Owns everything about a connection. Receives a `Target`, emits `Event`s. `channel` and `probe` do not import each other;
//! `transport` connects them.
//!
//! Imports `model`, `runtime`, `unary` and `config`.
//!
//! | module | job |
//! |---|---|
//! | channel | one channel: state machine, keepalive, dial, TLS, h2 |
//! | transport | one RPC over the channel's connection |
//! | probe | one round of queries; the two streams |
//! | module | what is asked on a channel: the SoC's queries, or a probe module |
//! | session | the driver: wait → probe → event |
//! | look | one look at a SoC: one dial, one round |
//! | module_look | one look at a target of a module |
//! | looked | all that a look shows, also as JSON |
//! | arrivals | when bytes arrived |

pub mod arrivals;
pub mod channel;
pub mod look;
pub mod looked;
mod module;
pub mod module_look;
pub mod probe;
pub mod session;
pub mod transport;
