//! What is logged, and kept as events, when other processes change our rows. Such a process usually changes every row, so not each change is logged.

use std::time::SystemTime;

use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::batch::Outcome;
use crate::fleet::kept_queue::KeptSender;
use crate::model::component::STATE_DB;
use crate::model::{Happening, KeptEvent};

/// The time between two lines about keys of a wrong type, or about rows that were deleted.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// When each was last logged.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    foreign: bool,
    wrong_type: Option<Instant>,
    gone: Option<Instant>,
    /// Where events go, if anyone wants them.
    events: Option<KeptSender<KeptEvent>>,
}

impl Complaints {
    /// Also keeps each foreign write as an event.
    pub(super) fn keep(&mut self, events: Option<KeptSender<KeptEvent>>) {
        self.events = events;
    }

    /// Logs what must be logged of these answers.
    pub(super) fn log(&mut self, outcome: &Outcome) {
        if let Some(port) = outcome.foreign.first()
            && !std::mem::replace(&mut self.foreign, true)
        {
            let hint = "on SONiC: `sudo config muxcable telemetry disable` (its price: docs/sonic.md), or publish: shadow";
            warn!(target: STATE_DB, %port, hint, "another process writes our rows; logged once, counted from now on");
        }
        if let Some(events) = &self.events {
            for port in &outcome.foreign {
                events.offer(KeptEvent {
                    at: SystemTime::now(),
                    id: Some(port.clone().into()),
                    what: Happening::ForeignWrite,
                    trace: None,
                });
            }
        }
        if let Some(port) = &outcome.gone
            && is_due(&mut self.gone)
        {
            info!(target: STATE_DB, %port, "another process has deleted one of our rows, or flushed the database: it is written again");
        }
        if let Some(port) = &outcome.wrong_type
            && is_due(&mut self.wrong_type)
        {
            let hint = "delete the key: the row is then written";
            warn!(target: STATE_DB, %port, hint, "the row's key is not a hash");
        }
    }
}

/// Whether the last such line was `WARN_EVERY` ago or never. If so, the next one counts as written now.
fn is_due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|at| at.elapsed() >= WARN_EVERY);
    if due {
        *last = Some(Instant::now());
    }
    due
}
