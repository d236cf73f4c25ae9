//! The fleet starts and stops sessions to match the inventory. It owns the table of `SocStatus` and answers questions about it.
//!
//! It is the only task that writes the table. In: `watch<Inventory>`, events of all sessions, questions (a snapshot, one SoC's
//! history). Out: snapshots (shared pointers, no copies), the mailboxes of rows and notices to write, a feed of transitions, and
//! the latch "every target has finished a round or failed a dial". It never waits for a reader: an event costs O(1).
//!
//! A session that ends by itself has a defect. Its port leaves READY at once, and a new session starts with another id. Events of
//! the old session that still wait in the queue carry the old id and are ignored.
//!
//! Probe modules have a fleet of their own, `module_fleet`. Imports `model`, `runtime` and `soc`.

mod diff;
mod handle;
pub mod kept_queue;
mod log_lines;
pub mod mailbox;
mod module_changes;
mod module_fleet;
pub mod recorder;
pub mod reduce;
mod table;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::reduce::Effect;
use crate::model::{ChannelEvent, Event, Inventory, Side, SocStatus, Target, TargetId};
use crate::runtime::defect::{Defect, Restarts, attempt, caught};
use crate::runtime::service_manager::Watchdog;
use crate::soc::session::{self, Context, Running, SessionId};
use crate::soc::transport::OutgoingError;
pub use handle::{FeedItem, Feeds, FleetHandle, Stopped};
pub use module_fleet::{ModuleFleet, Modules, ModulesHandle};

use diff::ToDo;
use handle::{QUESTIONS, Question};
use mailbox::Change;
use table::{SocTable, Watched};

/// Length of the queue of events: a burst from some thousand SoCs. When it is full, sessions wait.
pub const EVENT_QUEUE: usize = 4096;
/// How long scrapes wait for the first inventory. A database that answers gives it in milliseconds. Without one, the targets of
/// the configuration file follow after at most half a second (sonic/switch.rs).
const FIRST_INVENTORY: Duration = Duration::from_millis(600);
/// Length of the feed of transitions. A reader that is further behind loses the oldest.
const FEED_LEN: usize = 1024;

/// Starts a session: `session::start`, or a replacement in tests.
type Start = Arc<
    dyn Fn(SessionId, watch::Receiver<Target>, u32, Context) -> Result<Running, OutgoingError> + Send + Sync,
>;

/// See the module's documentation.
pub struct Fleet {
    inventory: watch::Receiver<Arc<Inventory>>,
    context: Context,
    start: Start,
    events: mpsc::Receiver<(SessionId, Event)>,
    /// Each yields the defect that ended it. An aborted session yields nothing.
    sessions: JoinSet<(SessionId, Defect)>,
    questions: mpsc::Receiver<Question>,
    settled: watch::Sender<bool>,
    feed: broadcast::Sender<FeedItem>,
    feeds: Feeds,
    table: SocTable,
    /// Sessions that have neither finished a round nor failed a dial.
    unsettled: HashSet<SessionId>,
    side: Side,
    /// Whether a target's side is unknown, which is in the log.
    side_unknown: bool,
    watchdog: Watchdog,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("ports", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// A fleet that does not run yet. `events` is the receiving end of `context.events`.
    pub fn new(
        inventory: watch::Receiver<Arc<Inventory>>,
        context: Context,
        events: mpsc::Receiver<(SessionId, Event)>,
        feeds: Feeds,
    ) -> (Self, FleetHandle) {
        let (questions_tx, questions) = mpsc::channel(QUESTIONS);
        let (settled, settled_rx) = watch::channel(false);
        let (feed, _) = broadcast::channel(FEED_LEN);
        let handle = FleetHandle {
            questions: questions_tx,
            settled: settled_rx,
            feed: feed.clone(),
            serving: feeds.serving.clone(),
        };
        let fleet = Self {
            inventory,
            context,
            start: Arc::new(session::start),
            events,
            sessions: JoinSet::new(),
            questions,
            settled,
            feed,
            feeds,
            table: SocTable::default(),
            unsettled: HashSet::new(),
            side: Side::Unknown,
            side_unknown: false,
            watchdog: Watchdog::default(),
        };
        (fleet, handle)
    }

    /// Reports by this that its task is not stuck.
    pub fn watched(self, watchdog: Watchdog) -> Self {
        Self { watchdog, ..self }
    }

    /// Runs until `stop`, then stops every session, sends the last rows (SHUTDOWN) and returns. After a defect of its own it does
    /// the same, so that no row stays READY.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Defect> {
        let served = caught(Box::pin(self.serve(stop))).await;
        let stopped = attempt(|| self.stop_all());
        served.and(stopped)
    }

    async fn serve(&mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        // Questions are answered only after the first inventory: else the first scrape would show no SoCs.
        let mut first = self.inventory.clone();
        let loaded = timeout(FIRST_INVENTORY, first.wait_for(|inventory| inventory.loaded));
        tokio::select! {
            () = &mut stop => return,
            _ = loaded => {}
        }
        self.adopt_inventory();
        // Biased, rarest first: under a flood of events the loop still stops, follows the inventory and answers scrapes. The
        // first five arms are rare or bounded, so events get their turn. Every arm is cancel-safe.
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.watchdog.report() => {}
                Ok(()) = self.inventory.changed() => self.adopt_inventory(),
                Some(question) = self.questions.recv() => question.answer(&self.table, self.side),
                // Before the events: those of a session that has ended must not be applied any more.
                Some(ended) = self.sessions.join_next() => self.on_end(ended),
                Some((id, event)) = self.events.recv() => {
                    // A panic over one SoC's event ends only that SoC's session.
                    if let Err(defect) = attempt(|| self.on_event(id, event)) {
                        self.on_end(Ok((id, defect)));
                    }
                }
            }
        }
    }

    fn on_event(&mut self, id: SessionId, event: Event) {
        // The session may have been stopped since it sent this event.
        let Some(entry) = self.table.of_session(id) else {
            return;
        };
        log_lines::failure(&entry.status, &event);
        let (now, before) = (SystemTime::now(), entry.status.serving());
        let (shown, effect) = entry.change(|status| status.apply(&event, now));
        if let Event::Round(report) = &event {
            entry.add_round(report, now);
        }
        match &event {
            Event::Round(report) if report.epoch.is_some() => self.settle(id),
            Event::Channel(ChannelEvent::Failed { .. }) => self.settle(id),
            Event::Maintenance(report) => {
                if let Some(last) = report.notices.as_ref().and_then(|notices| notices.last.as_ref()) {
                    self.feeds.send_notice(&shown.target, last);
                }
            }
            _ => {}
        }
        self.show(&shown, &effect);
        if shown.serving() != before {
            self.feeds.serving_changed();
        }
        let timeout = || self.context.probe.borrow().timeout;
        self.feeds.record(&shown, event, effect.transitions, now, timeout);
    }

    fn on_end(&mut self, ended: Result<(SessionId, Defect), JoinError>) {
        // A `JoinError` needs no action: a session catches its panics, and an aborted one is already out of the table.
        let Some((id, defect)) = ended.ok() else { return };
        let Some(entry) = self.table.of_session(id) else {
            return;
        };
        // The session may still run, if it was the handling of its event that panicked.
        entry.task.abort();
        let wait = entry.restarts.wait(entry.began.elapsed());
        log_lines::session_lost(&entry.status, &defect, wait);
        let why = format!("a defect: {defect}");
        let (status, effect) = entry.change(|status| status.lose_session(&why, SystemTime::now()));
        let target = entry.target.subscribe();
        self.show(&status, &effect);
        self.feeds.serving_changed();
        self.feeds.record_end(&status, &effect.transitions);
        self.settle(id);

        let anew = self.table.new_session();
        let task = self.spawn(anew, target, status.channel.ping_refusals, wait);
        self.table.change_session(id, anew);
        if let Some(entry) = self.table.of_session(anew) {
            entry.task = task;
            entry.began = Instant::now() + wait;
        }
    }

    /// Starts a session after `wait`. Any end of it is reported as its defect.
    fn spawn(
        &mut self,
        id: SessionId,
        target: watch::Receiver<Target>,
        refusals: u32,
        wait: Duration,
    ) -> AbortHandle {
        let (start, context) = (self.start.clone(), self.context.clone());
        self.sessions.spawn(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let defect = match attempt(|| start(id, target, refusals, context)) {
                Ok(Ok(running)) => caught(running).await.unwrap_or_else(|defect| defect),
                // Not expected: the configuration has been checked for this.
                Ok(Err(error)) => Defect::new(format_args!("it cannot be probed: {error}")),
                Err(defect) => defect,
            };
            (id, defect)
        })
    }

    fn settle(&mut self, id: SessionId) {
        if self.unsettled.remove(&id) && self.unsettled.is_empty() {
            self.settled.send_replace(true);
        }
    }

    fn show(&self, status: &Arc<SocStatus>, effect: &Effect) {
        for transition in &effect.transitions {
            log_lines::transition(status, transition);
            // An error means that the feed has no reader, which is normal.
            let _ = self.feed.send((status.target.id.clone(), transition.clone()));
        }
        if effect.write_row {
            self.feeds.send_row(&status.target, Change::Put(status.clone()));
        }
    }

    /// Starts, stops and changes sessions to match the inventory. Sessions whose target is unchanged are not touched.
    fn adopt_inventory(&mut self) {
        let inventory = self.inventory.borrow_and_update().clone();
        self.side = inventory.side;
        self.side_unknown = log_lines::side_unknown(&inventory.targets, self.side_unknown);
        let running = |id: &TargetId| self.table.get(id).map(|entry| &entry.status.target);
        let todo = diff::to_do(self.table.ids(), running, &inventory.targets);
        let count = |kind: fn(&ToDo<'_>) -> bool| todo.iter().filter(|each| kind(each)).count();
        let added = count(|each| matches!(each, ToDo::Start(_)));
        let removed = count(|each| matches!(each, ToDo::Stop(_)));
        let changed = todo.len() - added - removed;
        for each in todo {
            match each {
                ToDo::Stop(id) => {
                    if let Some(entry) = self.take_out(&id) {
                        self.feeds.send_row(&entry.status.target, Change::Remove);
                    }
                }
                ToDo::Adopt(target) => self.adopt_target(target),
                ToDo::Start(target) | ToDo::Restart(target) => self.put_in(target),
            }
        }
        self.table.sort();
        self.context.rounds.fleet(self.table.len());
        if self.unsettled.is_empty() && inventory.loaded {
            self.settled.send_replace(true);
        }
        if added + changed + removed > 0 {
            log_lines::inventory_adopted(added, changed, removed, self.table.len());
            self.feeds.serving_changed();
        }
    }

    fn adopt_target(&mut self, target: &Target) {
        if let Some(entry) = self.table.get_mut(&target.id) {
            let (status, effect) = entry.change(|status| status.adopt(target.clone()));
            entry.target.send_replace(target.clone());
            self.show(&status, &effect);
        }
    }

    fn take_out(&mut self, id: &TargetId) -> Option<Watched> {
        let (session, mut entry) = self.table.remove(id)?;
        self.unsettled.remove(&session);
        entry.task.abort();
        let (status, effect) = entry.change(|status| status.stop(SystemTime::now()));
        self.show(&status, &effect);
        self.feeds.record_end(&status, &effect.transitions);
        Some(entry)
    }

    fn put_in(&mut self, target: &Target) {
        let (status, history) = match self.take_out(&target.id) {
            Some(mut old) => {
                if old.status.target.namespace != target.namespace {
                    self.feeds.send_row(&old.status.target, Change::Remove);
                }
                Arc::make_mut(&mut old.status).retarget(target.clone());
                (old.status, old.history)
            }
            None => (Arc::new(SocStatus::new(target.clone())), Arc::default()),
        };
        self.feeds.send_row(target, Change::Put(status.clone()));
        let (sender, receiver) = watch::channel(target.clone());
        let session = self.table.new_session();
        let entry = Watched {
            status,
            history,
            target: sender,
            task: self.spawn(session, receiver, 0, Duration::ZERO),
            began: Instant::now(),
            restarts: Restarts::default(),
        };
        self.table.insert(session, entry);
        self.unsettled.insert(session);
    }

    fn stop_all(&mut self) {
        let all: Vec<TargetId> = self.table.ids().cloned().collect();
        for id in &all {
            self.take_out(id);
        }
    }
}

#[cfg(test)]
mod tests;
