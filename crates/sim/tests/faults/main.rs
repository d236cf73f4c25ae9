//! Proves that each fault of the simulator does what its name says.
//!
//! With a client of its own on bare h2 and bare TCP: neither the exporter's channel nor tonic, which would hide the half of
//! it.

mod client;
mod connections;
mod healthy;
mod notices;
mod replies;
mod simulator;
mod tls;
mod watch;
