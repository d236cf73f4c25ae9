//! One SoC: its gRPC channel, the queries and streams on it, and the session that decides when to ask.
//!
//! Owns everything about a connection. Receives a `Target`, emits `Event`s. Imports `model`, `runtime` and `config`; inside, `channel` and
//! `probe` do not know each other and meet in `transport`.
//!
//! | module | job |
//! |---|---|
//! | channel | one channel: state machine, keepalive, dial, TLS, h2 |
//! | transport | one RPC over the channel's connection, under tonic's generated clients |
//! | probe | one round of queries; the two streams |
//! | session | the driver: wait → probe → event |
//! | look | one look at a SoC: one dial, one round |
//! | arrivals | when bytes came in |

pub mod arrivals;
pub mod channel;
pub mod look;
pub mod probe;
pub mod session;
pub mod transport;
