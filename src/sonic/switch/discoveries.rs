//! The sources of the key `inventory`: started and stopped as the configuration says, and what they have found so far.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::any_of::any_of;
use crate::config::InventorySource;
use crate::model::{ProbeSettings, SourceStatus};
use crate::sonic::discovery::RunningSource;
use crate::sonic::inventory::{NamedContent, SourceContent};

/// How long a reload with new sources waits for their first content, so that targets which only come from another source now keep
/// their connection. An HTTP server has 10 s to answer.
const FIRST_CONTENT: Duration = Duration::from_secs(11);

/// See the module's page.
#[derive(Debug)]
pub(super) struct Discoveries {
    running: Vec<RunningSource>,
    /// What was last taken, in the order of the configuration.
    taken: Vec<NamedContent>,
    /// Sources may have come or gone since.
    changed: bool,
    /// Until when the last inventory stays in use, because a source of a reload has not been read yet.
    patience: Option<Instant>,
    probe: watch::Receiver<ProbeSettings>,
}

impl Discoveries {
    pub(super) fn new(probe: watch::Receiver<ProbeSettings>) -> Self {
        Self {
            running: Vec::new(),
            taken: Vec::new(),
            changed: false,
            patience: None,
            probe,
        }
    }

    /// Makes these the sources that run. One that stays as it is, is not touched; one that is only read in another way (another
    /// interval, another password) keeps its last content until it has been read.
    pub(super) fn adopt(&mut self, wanted: &[InventorySource]) {
        if self.running.iter().map(|running| &running.source).eq(wanted) {
            return;
        }
        let is_first = self.running.is_empty();
        let mut before = std::mem::take(&mut self.running);
        for source in wanted {
            let same = before.iter().position(|running| running.source == *source);
            let alike = || before.iter().find(|running| running.source.name == source.name);
            let running = match same {
                Some(at) => before.swap_remove(at),
                None => {
                    let last =
                        alike().map_or_else(SourceContent::default, |alike| alike.content.borrow().clone());
                    RunningSource::start(source.clone(), last, &self.probe)
                }
            };
            self.running.push(running);
        }
        self.changed = true;
        self.patience = (!is_first).then(|| Instant::now() + FIRST_CONTENT);
    }

    /// Waits until a source has something new. Cancel-safe: it takes nothing.
    pub(super) async fn changed(&self) {
        any_of(self.running.iter().map(|running| running.content.clone())).await;
    }

    /// Takes what the sources have found. True: the targets or problems may be different.
    pub(super) fn take(&mut self) -> bool {
        let take = |running: &mut RunningSource| {
            let found = running.content.borrow_and_update().clone();
            (running.source.name.clone(), found)
        };
        let now: Vec<NamedContent> = self.running.iter_mut().map(take).collect();
        let is_same = |((_, before), (_, now)): (&NamedContent, &NamedContent)| {
            Arc::ptr_eq(&before.targets, &now.targets)
                && Arc::ptr_eq(&before.problems, &now.problems)
                && before.up.is_some() == now.up.is_some()
        };
        let same = self.taken.len() == now.len() && self.taken.iter().zip(&now).all(is_same);
        self.taken = now;
        std::mem::take(&mut self.changed) || !same
    }

    /// What was taken last.
    pub(super) fn found(&self) -> &[NamedContent] {
        &self.taken
    }

    /// Until when a new inventory should wait for a source that has not been read yet.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let is_waiting = self
            .running
            .iter()
            .any(|running| running.content.borrow().up.is_none());
        self.patience
            .filter(|until| is_waiting && *until > Instant::now())
    }

    pub(super) fn statuses(&self) -> Arc<[SourceStatus]> {
        let status = |(source, found): &NamedContent| SourceStatus {
            source: source.clone(),
            up: found.up,
            failure: found.failure.clone(),
            last_success: found.last_success,
        };
        self.taken.iter().map(status).collect()
    }
}
