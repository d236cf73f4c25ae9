//! Everything that shows a snapshot to the outside: rows in STATE_DB, samples for Prometheus, pages.

pub mod exposition;
pub mod http;
pub mod metrics;
mod page;
pub mod process;
pub mod rows;
pub mod shadow;
pub mod state_db;
#[cfg(test)]
mod testing;
