//! How others look at the fleet, and what it feeds.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::fleet::mailbox::{self, Change};
use crate::model::{Notice, Port, Snapshot, Transition};

/// A transition of one port, for those who watch.
pub type FeedItem = (Port, Transition);

/// What a reader of the fleet holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    pub(super) snapshots: mpsc::Sender<oneshot::Sender<Snapshot>>,
    pub(super) settled: watch::Receiver<bool>,
    pub(super) feed: broadcast::Sender<FeedItem>,
}

/// The fleet has ended.
#[derive(Debug, thiserror::Error)]
#[error("the exporter is stopping")]
pub struct Stopped;

impl FleetHandle {
    /// The whole table as it is now.
    pub async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        let (tx, rx) = oneshot::channel();
        self.snapshots.send(tx).await.map_err(|_| Stopped)?;
        rx.await.map_err(|_| Stopped)
    }

    /// Turns true, for good, when each target has finished a round or failed a dial.
    pub fn settled(&self) -> watch::Receiver<bool> {
        self.settled.clone()
    }

    /// Transitions from now on.
    pub fn feed(&self) -> broadcast::Receiver<FeedItem> {
        self.feed.subscribe()
    }
}

/// What the fleet feeds, by namespace, where there is somebody to feed. It closes when the fleet ends.
#[derive(Debug, Default)]
pub struct Feeds {
    /// Get each status whose row must be written.
    pub rows: HashMap<Arc<str>, mailbox::Sender<Change>>,
    /// Get each notice.
    pub notices: HashMap<Arc<str>, mailbox::Sender<Notice>>,
}
