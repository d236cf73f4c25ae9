//! What every task uses: how often something may happen, and what a panic becomes.
//!
//! Imports `model`. It is not part of `model`, because it uses tokio's tasks.

pub mod bucket;
pub mod defect;
