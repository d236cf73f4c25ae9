//! Everything that shows the outside what is known: rows in STATE_DB, notices in APPL_DB, samples for Prometheus, pages.

pub mod exposition;
pub mod http;
pub mod metrics;
pub mod notifications;
mod page;
pub mod process;
pub mod rows;
pub mod shadow;
pub mod state_db;
#[cfg(test)]
mod testing;
