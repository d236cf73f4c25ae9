//! What a client may cost, and what is counted of it; who is let in is `gate`'s to say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Refusal, WebStatus};

/// What all clients together, and one of them, may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections, over all listeners.
    pub connections: usize,
    /// Connections of one peer address. A Prometheus needs one, a page some six.
    pub per_peer: usize,
    /// Scrapes that are rendered at a time.
    pub renders: usize,
    /// How long the others wait for their turn, and each for the fleet.
    pub turn: Duration,
    /// How long a request's header may take, and the next request on a kept connection.
    pub header: Duration,
    /// How long a client may accept not one byte of its answer.
    pub untaken: Duration,
    /// Who has waited for so long without a whole request makes room where there is none for another.
    pub yields: Duration,
}

impl Limits {
    /// `--web.max-connections`: a few scrapers, some browsers, and room; some 30 kB each.
    pub const CONNECTIONS: u16 = 256;
    /// `--web.max-requests`.
    pub const RENDERS: u16 = 4;
    /// A request's header, in bytes: what nginx and Go's servers take by default lies around it.
    pub(super) const HEADER_SIZE: usize = 16 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS.into(),
            per_peer: 64,
            renders: Self::RENDERS.into(),
            turn: Duration::from_secs(5),
            header: Duration::from_secs(30),
            untaken: Duration::from_secs(60),
            // Much longer than an honest request takes, much shorter than a scraper's interval.
            yields: Duration::from_secs(5),
        }
    }
}

/// How many of the files that this process may open are left for web clients, as it is now: one for each SoC and what the
/// exporter needs itself are never theirs.
pub type FilesLeft = watch::Receiver<u64>;

/// The counters behind [`WebStatus`].
#[derive(Debug, Default)]
pub struct WebStats {
    connections: AtomicU64,
    refused: [AtomicU64; Refusal::COUNT],
}

impl WebStats {
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// As it is now.
    pub fn status(&self) -> WebStatus {
        let mut status = WebStatus {
            connections: self.connections.load(Ordering::Relaxed),
            ..WebStatus::default()
        };
        for (shown, counter) in status.refused.iter_mut().zip(&self.refused) {
            *shown = counter.load(Ordering::Relaxed);
        }
        status
    }
}
