//! dualtor-exporter
pub mod config;
pub mod mailbox;
pub mod model;
pub mod proto;
pub mod publish;
pub mod sim;
