//! dualtor-exporter
pub mod app;
pub mod channel;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod inventory;
pub mod mailbox;
pub mod model;
pub mod probe;
pub mod proto;
pub mod publish;
pub mod session;
pub mod sim;
pub mod status;
pub mod transport;
