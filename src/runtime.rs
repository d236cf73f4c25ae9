//! What every task uses: how often something may happen, what a panic becomes, what the service manager is told,
//! where work runs that must not delay a probe, how much may be read from a server.
//!
//! Imports `model`. It is not part of `model`, because it uses tokio's tasks.

pub mod bucket;
pub mod defect;
pub mod low_thread;
pub mod ration;
pub mod service_manager;
