//! What the fleet tells a session of a probe module: that its job has changed, or that a round is wanted now.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::ModuleSignal;
use crate::model::ModuleJob;

#[derive(Debug)]
pub(super) struct JobChanges {
    job: watch::Receiver<Arc<ModuleJob>>,
    now: mpsc::Receiver<()>,
}

impl JobChanges {
    pub(super) fn new(job: watch::Receiver<Arc<ModuleJob>>, now: mpsc::Receiver<()>) -> Self {
        Self { job, now }
    }

    /// The job as it is now.
    pub(super) fn job(&self) -> Arc<ModuleJob> {
        self.job.borrow().clone()
    }

    /// The next change. Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        tokio::select! {
            Ok(()) = self.job.changed() => {
                let channel = self.job.borrow_and_update().spec.channel.clone();
                ModuleSignal::Adopt { channel, ask: false }
            }
            Some(()) = self.now.recv() => ModuleSignal::AskNow,
            // The fleet has ended, and will abort this session.
            else => pending().await,
        }
    }
}
