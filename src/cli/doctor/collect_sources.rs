//! Reads each source of the key `inventory` once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::config::{Config, InventorySource};
use crate::sonic::discovery::RunningSource;
use crate::sonic::inventory::{NamedContent, SourceContent};

/// What the sources of the key `inventory` list: each is read once.
pub(super) async fn contents(config: &Config) -> Vec<NamedContent> {
    /// A source gives up after ten seconds at the latest, and tells why.
    const WITHIN: Duration = Duration::from_secs(12);
    let (_probe, probe) = watch::channel(config.probe);
    let content = |source: &InventorySource| {
        let running = RunningSource::start(source.clone(), SourceContent::default(), &probe);
        async move {
            // All of it moves in: its task ends when it is dropped.
            let mut running = running;
            let read = running.content.wait_for(|content| content.up.is_some());
            let _ = tokio::time::timeout(WITHIN, read).await;
            let content = running.content.borrow().clone();
            (running.source.name.clone(), content)
        }
    };
    join_all(config.inventory.iter().map(content)).await
}
