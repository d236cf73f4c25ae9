//! Counters that are a problem only while they grow, read again and again, so that the view can have what happened lately.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lately::{EVERY, RecentTotals};
use super::parts::{Published, Tasks, until};
use crate::model::Lately;
use crate::telemetry::lateness::Lateness;

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Totals {
    state_db: Vec<Published>,
    lateness: Lateness,
    lines_dropped: Arc<AtomicU64>,
    recent: Arc<Mutex<RecentTotals>>,
}

impl Totals {
    /// Starts the task that remembers them.
    pub(super) fn begin(
        state_db: Vec<Published>,
        lines_dropped: Arc<AtomicU64>,
        tasks: &mut Tasks,
        stop: &CancellationToken,
    ) -> Self {
        let totals = Self {
            state_db,
            lateness: Lateness::measure(),
            lines_dropped,
            recent: Arc::default(),
        };
        let remembers = totals.clone().remember();
        until(stop, tasks, "the memory of the last minutes", remembers);
        totals
    }

    /// Since the start.
    pub(super) fn now(&self) -> Lately {
        let statuses = self.state_db.iter().filter_map(|status| *status.borrow());
        Lately {
            delays: self.lateness.delays(),
            lines_dropped: self.lines_dropped.load(Ordering::Relaxed),
            foreign_writes: statuses.map(|status| status.foreign_writes).sum(),
        }
    }

    /// In the last minutes.
    pub(super) fn lately(&self, now: &Lately) -> Lately {
        self.recent().until(now)
    }

    /// Runs until it is dropped.
    async fn remember(self) {
        loop {
            self.recent().remember(Instant::now(), self.now());
            sleep(EVERY).await;
        }
    }

    fn recent(&self) -> MutexGuard<'_, RecentTotals> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
