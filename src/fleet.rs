//! The fleet: starts and stops sessions as the inventory says, owns the table of `SocStatus`, and shows it.
//!
//! It is the only task that writes the table. In: `watch<Inventory>`, events of all sessions, questions (a snapshot, one SoC's history).
//! Out: snapshots (shared pointers, no copies), the mailboxes of rows and notices to write, a feed of transitions, and the
//! latch "every target has been looked at once". It waits for nobody: an event costs O(1), whatever the readers do.
//!
//! A session never ends by itself. One that does all the same has a defect: its port leaves READY at once, and it is started
//! anew with another id, so that what the old one has said and still waits in the queue is nobody's.
//!
//! Imports `model`, `runtime`, `config` and `soc`.

mod diff;
mod handle;
mod log_lines;
pub mod mailbox;
pub mod reduce;
mod table;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::reduce::Effect;
use crate::model::{ChannelEvent, Event, Inventory, Side, Snapshot, SocStatus, Target, TargetId};
use crate::runtime::defect::{Defect, Restarts, attempt, caught};
use crate::soc::session::{self, Context, Running, SessionId};
use crate::soc::transport::OutgoingError;
pub use handle::{FeedItem, Feeds, FleetHandle, Stopped};

use diff::ToDo;
use handle::{QUESTIONS, Question};
use mailbox::Change;
use table::{SocTable, Watched};

/// Events that may wait for the fleet before sessions wait: a burst of some thousand SoCs.
pub const EVENT_QUEUE: usize = 4096;
/// How long scrapes wait for the first inventory: it comes in milliseconds from a database that is there, and from the
/// configuration's own targets after half a second at most (sonic/switch.rs).
const FIRST_INVENTORY: Duration = Duration::from_millis(600);
/// Transitions that a slow reader of the feed may lag behind before it loses the oldest.
const FEED_LEN: usize = 1024;

/// How a session is started: as `session::start` does, but for tests.
type Start = Arc<
    dyn Fn(SessionId, watch::Receiver<Target>, u32, Context) -> Result<Running, OutgoingError> + Send + Sync,
>;

/// See the module's documentation.
pub struct Fleet {
    inventory: watch::Receiver<Arc<Inventory>>,
    context: Context,
    start: Start,
    events: mpsc::Receiver<(SessionId, Event)>,
    /// Each yields why it has ended; one that was aborted, nothing.
    sessions: JoinSet<(SessionId, Defect)>,
    questions: mpsc::Receiver<Question>,
    settled: watch::Sender<bool>,
    feed: broadcast::Sender<FeedItem>,
    feeds: Feeds,
    table: SocTable,
    /// Sessions that have neither finished a round nor failed a dial.
    unsettled: HashSet<SessionId>,
    side: Side,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("ports", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// A fleet that has not begun. `events` is the other end of `context.events`.
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
        };
        (fleet, handle)
    }

    /// Runs until `stop`, then stops every session, shows the last rows (SHUTDOWN) and returns. So it does, too, should it
    /// have a defect: no row goes on saying READY.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Defect> {
        let served = caught(Box::pin(self.serve(stop))).await;
        let stopped = attempt(|| self.stop_all());
        served.and(stopped)
    }

    async fn serve(&mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        // So the first scrape shows what there is, not the moment before.
        let mut first = self.inventory.clone();
        let loaded = timeout(FIRST_INVENTORY, first.wait_for(|inventory| inventory.loaded));
        tokio::select! {
            () = &mut stop => return,
            _ = loaded => {}
        }
        self.adopt_inventory();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Ok(()) = self.inventory.changed() => self.adopt_inventory(),
                Some(question) = self.questions.recv() => self.answer(question),
                // Before the events: what one that has ended had to say is of no use any more.
                Some(ended) = self.sessions.join_next() => self.on_end(ended),
                Some((id, event)) = self.events.recv() => {
                    // What one SoC has made its session say takes nothing else down.
                    if let Err(defect) = attempt(|| self.on_event(id, &event)) {
                        self.on_end(Ok((id, defect)));
                    }
                }
            }
        }
    }

    fn on_event(&mut self, id: SessionId, event: &Event) {
        // An event of a session that was stopped meanwhile is nobody's any more.
        let Some(entry) = self.table.of_session(id) else {
            return;
        };
        log_lines::failure(&entry.status, event);
        let now = SystemTime::now();
        let (shown, effect) = entry.change(|status| status.apply(event, now));
        if let Event::Round(report) = event {
            entry.add_round(report, now);
        }
        match event {
            Event::Round(report) if report.epoch.is_some() => self.settle(id),
            Event::Channel(ChannelEvent::Failed { .. }) => self.settle(id),
            Event::Maintenance(report) => {
                if let Some(notices) = self.feeds.notices.get(&shown.target.namespace)
                    && let Some(last) = report.notices.as_ref().and_then(|notices| notices.last.as_ref())
                {
                    notices.send(shown.target.id.port.clone(), last.clone());
                }
            }
            _ => {}
        }
        self.show(&shown, &effect);
    }

    fn on_end(&mut self, ended: Result<(SessionId, Defect), JoinError>) {
        // Neither is an error one of a session that runs: each catches its panics, and those aborted are gone.
        let Some((id, defect)) = ended.ok() else { return };
        let Some(entry) = self.table.of_session(id) else {
            return;
        };
        // It may run still, where what it has said could not be taken in.
        entry.task.abort();
        let wait = entry.restarts.wait(entry.began.elapsed());
        log_lines::session_lost(&entry.status, &defect, wait);
        let why = format!("a defect: {defect}");
        let (status, effect) = entry.change(|status| status.lose_session(&why, SystemTime::now()));
        let target = entry.target.subscribe();
        self.show(&status, &effect);
        self.settle(id);

        let anew = self.table.new_session();
        let task = self.spawn(anew, target, status.ping_refusals, wait);
        self.table.change_session(id, anew);
        if let Some(entry) = self.table.of_session(anew) {
            entry.task = task;
            entry.began = Instant::now() + wait;
        }
    }

    /// Starts a session after `wait`. However it ends, it is told as its defect.
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
                // The configuration is checked before.
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
            // Nobody need be watching.
            let _ = self.feed.send((status.target.id.clone(), transition.clone()));
        }
        if effect.write_row {
            self.send_row(&status.target, Change::Put(status.clone()));
        }
    }

    fn send_row(&self, target: &Target, change: Change) {
        if let Some(rows) = self.feeds.rows.get(&target.namespace) {
            rows.send(target.id.port.clone(), change);
        }
    }

    /// Makes what runs equal to the inventory, without touching what is equal already.
    fn adopt_inventory(&mut self) {
        let inventory = self.inventory.borrow_and_update().clone();
        let told = self.side == Side::Unknown && !self.table.is_empty();
        self.side = inventory.side;
        if inventory.side == Side::Unknown && !inventory.targets.is_empty() && !told {
            log_lines::side_unknown();
        }
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
                        self.send_row(&entry.status.target, Change::Remove);
                    }
                }
                ToDo::Adopt(target) => self.adopt_target(target),
                ToDo::Start(target) | ToDo::Restart(target) => self.put_in(target),
            }
        }
        self.table.sort();
        self.context.limiter.fleet(self.table.len());
        if self.unsettled.is_empty() && inventory.loaded {
            self.settled.send_replace(true);
        }
        if added + changed + removed > 0 {
            log_lines::inventory_adopted(added, changed, removed, self.table.len());
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
        Some(entry)
    }

    fn put_in(&mut self, target: &Target) {
        let (status, history) = match self.take_out(&target.id) {
            Some(mut old) => {
                if old.status.target.namespace != target.namespace {
                    self.send_row(&old.status.target, Change::Remove);
                }
                Arc::make_mut(&mut old.status).retarget(target.clone());
                (old.status, old.history)
            }
            None => (Arc::new(SocStatus::new(target.clone())), Arc::default()),
        };
        self.send_row(target, Change::Put(status.clone()));
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

    fn answer(&self, question: Question) {
        // Whoever asks may have gone away meanwhile.
        match question {
            Question::Snapshot(reply) => {
                let (socs, side) = (self.table.statuses(), self.side);
                let _ = reply.send(Snapshot { socs, side });
            }
            Question::History(id, reply) => {
                let _ = reply.send(self.table.get(&id).map(|entry| entry.history.clone()));
            }
        }
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
