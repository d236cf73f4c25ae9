//! Used by every task: how often something may happen, what a panic becomes, what the service manager is told.
//!
//! Imports `model`. It is not part of it, because it knows tokio's tasks.

pub mod bucket;
pub mod defect;
pub mod service_manager;
