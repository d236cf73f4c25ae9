//! Used by every task: how often something may happen, and what a panic becomes.
//!
//! Imports `model`. It is not part of it, because it knows tokio's tasks.

pub mod bucket;
pub mod defect;
