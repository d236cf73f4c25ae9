//! What a source emits and logs. The last good content stays until there is new content.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::target_groups::Groups;
use crate::model::component::INVENTORY;
use crate::model::text;
use crate::sonic::inventory::SourceContent;

/// The longest reason in the log, in characters: it may quote a file or an answer.
const MAX_REASON: usize = 400;

/// The writing end of one source.
#[derive(Debug)]
pub(super) struct SourceReport {
    source: Arc<str>,
    out: watch::Sender<SourceContent>,
    /// Whether its failure is in the log.
    failing: bool,
}

impl SourceReport {
    pub(super) fn new(source: Arc<str>, out: watch::Sender<SourceContent>) -> Self {
        Self {
            source,
            out,
            failing: false,
        }
    }

    /// The source was read: all of it.
    pub(super) fn good(&mut self, groups: Groups) {
        if std::mem::take(&mut self.failing) {
            info!(target: INVENTORY, source = %self.source, targets = groups.targets.len(), "the source of the inventory can be read again");
        }
        self.out.send_modify(|found| {
            keep_or_replace(&mut found.targets, groups.targets);
            keep_or_replace(&mut found.problems, groups.problems);
            found.up = Some(true);
            found.failure = None;
            found.last_success = Some(SystemTime::now());
        });
    }

    /// Nothing has changed since the last good reading.
    pub(super) fn same(&mut self) {
        self.out
            .send_modify(|found| found.last_success = Some(SystemTime::now()));
    }

    /// Some of it was read: `groups` has the last good content of the rest.
    pub(super) fn partly_good(&mut self, groups: Groups, reason: &str) {
        self.out.send_modify(|found| {
            keep_or_replace(&mut found.targets, groups.targets);
            keep_or_replace(&mut found.problems, groups.problems);
        });
        self.failed(reason);
    }

    /// It could not be read.
    pub(super) fn failed(&mut self, reason: &str) {
        let (source, reason) = (&self.source, text::shorten(reason, MAX_REASON));
        let reason = reason.as_str();
        if std::mem::replace(&mut self.failing, true) {
            debug!(target: INVENTORY, %source, reason, "the source of the inventory still cannot be read");
        } else {
            let targets = self.out.borrow().targets.len();
            warn!(target: INVENTORY, %source, reason, targets, "a source of the inventory cannot be read: its last targets stay in use");
        }
        self.out.send_modify(|found| {
            found.up = Some(false);
            found.failure = Some(reason.into());
        });
    }
}

/// Readers compare pointers first, so equal content keeps its place.
fn keep_or_replace<T: PartialEq>(place: &mut Arc<Vec<T>>, new: Vec<T>) {
    if **place != new {
        *place = Arc::new(new);
    }
}
