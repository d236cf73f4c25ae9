//! Shows that each fault of the simulator does what its name says.
//!
//! With a separate client on bare h2 and bare TCP. The exporter's channel and tonic would hide half of it.

mod client;
mod connections;
mod healthy;
mod notices;
mod replies;
mod simulator;
mod tls;
mod watch;
