//! What every task uses: how often something may happen, what a panic becomes, what the service manager is told.
//!
//! Imports `model`. It is not part of `model`, because it uses tokio's tasks.

pub mod bucket;
pub mod defect;
pub mod service_manager;
