//! How other parts ask the fleet of the modules.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::fleet::handle::Stopped;
use crate::model::{ModuleId, ModuleSnapshot, ModuleStatus};

/// Length of the queue of questions. When it is full, those who ask wait.
pub(super) const QUESTIONS: usize = 64;

/// A question, with the channel for its answer.
#[derive(Debug)]
pub(super) enum ModuleQuestion {
    Snapshot(oneshot::Sender<ModuleSnapshot>),
    /// The status after a round that ended less than a second ago, or ends next. `None`: there is no such target any more.
    Probe(ModuleId, oneshot::Sender<Option<Arc<ModuleStatus>>>),
}

/// What those who ask hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModulesHandle {
    questions: mpsc::Sender<ModuleQuestion>,
}

impl ModulesHandle {
    pub(super) fn new(questions: mpsc::Sender<ModuleQuestion>) -> Self {
        Self { questions }
    }

    /// All targets as they are now.
    pub async fn snapshot(&self) -> Result<ModuleSnapshot, Stopped> {
        let (tx, rx) = oneshot::channel();
        self.questions
            .send(ModuleQuestion::Snapshot(tx))
            .await
            .map_err(|_| Stopped)?;
        rx.await.map_err(|_| Stopped)
    }

    /// The status of a target after a round on its channel: one that has just ended, the one under way, or a new one. `None`: there is
    /// no such target. Waits as long as a round takes.
    pub async fn probe(&self, id: ModuleId) -> Result<Option<Arc<ModuleStatus>>, Stopped> {
        let (tx, rx) = oneshot::channel();
        self.questions
            .send(ModuleQuestion::Probe(id, tx))
            .await
            .map_err(|_| Stopped)?;
        rx.await.map_err(|_| Stopped)
    }
}
