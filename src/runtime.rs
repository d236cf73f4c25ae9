//! What tasks stand on, whatever they do: how often something may happen, and what becomes of a panic.
//!
//! Imports `model`. It is no part of it because it knows tokio's tasks.

pub mod bucket;
pub mod defect;
