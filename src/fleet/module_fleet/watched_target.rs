//! One target of the fleet of the modules: its status, and the ways to its session.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::model::{ModuleJob, ModuleStatus, ProbeSettings};
use crate::runtime::defect::Restarts;

/// One target.
pub(super) struct WatchedTarget {
    pub(super) status: Arc<ModuleStatus>,
    /// Sends the session a changed job that its channel can still serve.
    pub(super) job: watch::Sender<Arc<ModuleJob>>,
    pub(super) probe: watch::Sender<ProbeSettings>,
    /// Asks the session for a round.
    pub(super) now: mpsc::Sender<()>,
    /// Aborting the task closes the connection.
    pub(super) task: AbortHandle,
    pub(super) began: Instant,
    pub(super) restarts: Restarts,
    /// When the last round ended.
    pub(super) round_ended: Option<Instant>,
    /// Those who wait for the next end of a round.
    pub(super) waiting: Vec<oneshot::Sender<Option<Arc<ModuleStatus>>>>,
}

impl WatchedTarget {
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut ModuleStatus) -> T) -> T {
        change(Arc::make_mut(&mut self.status))
    }
}
