//! The fleet: starts and stops sessions as the inventory says, owns the table of `SocStatus`, and shows it.
//!
//! It is the only task that writes the table. In: `watch<Inventory>`, events of all sessions, requests for a snapshot.
//! Out: snapshots (shared pointers, no copies), the mailboxes of rows and notices to write, a feed of transitions, and the
//! latch "every target has been looked at once". It waits for nobody: an event costs O(1), whatever the readers do.
//!
//! A session never ends by itself. One that does all the same has a defect: its port leaves READY at once, and it is started
//! anew with another id, so that what the old one has said and still waits in the queue is nobody's.
//!
//! Imports `model`, `runtime`, `config` and `soc`.

mod diff;
mod handle;
mod log;
pub mod mailbox;
pub mod reduce;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::fleet::reduce::Effect;
use crate::model::component::FLEET;
use crate::model::{ChannelEvent, Event, Inventory, Port, Side, Snapshot, SocStatus, Target};
use crate::runtime::defect::{Defect, Restarts, attempt, caught};
use crate::soc::session::{self, Context, Running, SessionId};
use crate::soc::transport::OutgoingError;
pub use handle::{FeedItem, Feeds, FleetHandle, Stopped};

use diff::Step;
use mailbox::Change;

/// Events that may wait for the fleet before sessions wait: a burst of some thousand SoCs.
pub const EVENT_QUEUE: usize = 4096;
/// How long scrapes wait for the first inventory: it comes in milliseconds from a database that is there, and from the
/// configuration's own targets after half a second at most (sonic/switch.rs).
const FIRST_INVENTORY: Duration = Duration::from_millis(600);
/// Transitions that a slow reader of the feed may lag behind before it loses the oldest.
const FEED_LEN: usize = 1024;

struct Entry {
    status: Arc<SocStatus>,
    /// For the session: a target that is alike.
    target: watch::Sender<Target>,
    /// Aborting the task closes the connection.
    task: AbortHandle,
    /// When the session began, or will.
    began: Instant,
    restarts: Restarts,
}

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
    snapshots: mpsc::Receiver<oneshot::Sender<Snapshot>>,
    settled: watch::Sender<bool>,
    feed: broadcast::Sender<FeedItem>,
    feeds: Feeds,
    entries: HashMap<SessionId, Entry>,
    by_port: HashMap<Port, SessionId>,
    /// In the order of ports' names, for snapshots.
    order: Vec<SessionId>,
    /// Sessions that have neither finished a round nor failed a dial.
    unsettled: HashSet<SessionId>,
    next_id: u64,
    side: Side,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("ports", &self.by_port.len())
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
        let (snapshots_tx, snapshots) = mpsc::channel(64);
        let (settled, settled_rx) = watch::channel(false);
        let (feed, _) = broadcast::channel(FEED_LEN);
        let handle = FleetHandle {
            snapshots: snapshots_tx,
            settled: settled_rx,
            feed: feed.clone(),
        };
        let fleet = Self {
            inventory,
            context,
            start: Arc::new(session::start),
            events,
            sessions: JoinSet::new(),
            snapshots,
            settled,
            feed,
            feeds,
            entries: HashMap::new(),
            by_port: HashMap::new(),
            order: Vec::new(),
            unsettled: HashSet::new(),
            next_id: 0,
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
                Some(reply) = self.snapshots.recv() => {
                    // The asker may have gone away meanwhile.
                    let _ = reply.send(self.snapshot());
                }
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
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let status = Arc::make_mut(&mut entry.status);
        log::failure(status, event);
        let effect = status.apply(event, SystemTime::now());
        let shown = entry.status.clone();
        match event {
            Event::Round(report) if report.epoch.is_some() => self.settle(id),
            Event::Channel(ChannelEvent::Failed { .. }) => self.settle(id),
            Event::Maintenance(report) => {
                if let Some(notices) = self.feeds.notices.get(&shown.target.namespace)
                    && let Some(last) = report.notices.as_ref().and_then(|notices| notices.last.as_ref())
                {
                    notices.send(shown.target.port.clone(), last.clone());
                }
            }
            _ => {}
        }
        self.show(&shown, &effect);
    }

    fn on_end(&mut self, ended: Result<(SessionId, Defect), JoinError>) {
        // Neither is an error one of a session that runs: each catches its panics, and those aborted are gone.
        let Some((id, defect)) = ended.ok() else { return };
        let Some(mut entry) = self.entries.remove(&id) else {
            return;
        };
        // It may run still, where what it has said could not be taken in.
        entry.task.abort();
        let wait = entry.restarts.wait(entry.began.elapsed());
        let (port, address) = (entry.status.target.port.clone(), entry.status.target.address);
        error!(target: FLEET, %port, %address, %defect, started_anew_in = ?wait, "a session has ended by a defect of this program: please report it");
        let effect =
            Arc::make_mut(&mut entry.status).lose_session(&format!("a defect: {defect}"), SystemTime::now());
        self.show(&entry.status, &effect);
        self.settle(id);
        let anew = self.new_id();
        entry.task = self.spawn(anew, entry.target.subscribe(), entry.status.ping_refusals, wait);
        entry.began = Instant::now() + wait;
        self.entries.insert(anew, entry);
        self.by_port.insert(port, anew);
        for place in self.order.iter_mut().filter(|place| **place == id) {
            *place = anew;
        }
    }

    fn new_id(&mut self) -> SessionId {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        id
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
            log::transition(status, transition);
            // Nobody need be watching.
            let _ = self.feed.send((status.target.port.clone(), *transition));
        }
        if effect.write_row {
            self.send_row(&status.target, Change::Put(status.clone()));
        }
    }

    fn send_row(&self, target: &Target, change: Change) {
        if let Some(rows) = self.feeds.rows.get(&target.namespace) {
            rows.send(target.port.clone(), change);
        }
    }

    /// Makes what runs equal to the inventory, without touching what is equal already.
    fn adopt_inventory(&mut self) {
        let inventory = self.inventory.borrow_and_update().clone();
        let told = self.side == Side::Unknown && !self.by_port.is_empty();
        self.side = inventory.side;
        if inventory.side == Side::Unknown && !inventory.targets.is_empty() && !told {
            warn!(target: FLEET,
                "ToR side unknown (upper or lower): every direction is unknown; check CONFIG_DB's LOOPBACK_INTERFACE|Loopback3, or set `side: upper` or `side: lower`"
            );
        }
        let running = |port: &Port| {
            let id = self.by_port.get(port)?;
            self.entries.get(id).map(|entry| &entry.status.target)
        };
        let steps = diff::steps(self.by_port.keys(), running, &inventory.targets);
        let count = |kind: fn(&Step<'_>) -> bool| steps.iter().filter(|step| kind(step)).count();
        let added = count(|step| matches!(step, Step::Start(_)));
        let removed = count(|step| matches!(step, Step::Stop(_)));
        let changed = steps.len() - added - removed;
        for step in steps {
            match step {
                Step::Stop(port) => {
                    if let Some(status) = self.take_out(&port) {
                        self.send_row(&status.target, Change::Remove);
                    }
                }
                Step::Adopt(target) => self.adopt_target(target),
                Step::Start(target) | Step::Restart(target) => self.put_in(target),
            }
        }
        let mut by_name: Vec<_> = self.by_port.iter().collect();
        by_name.sort();
        self.context.limiter.fleet(by_name.len());
        self.order = by_name.into_iter().map(|(_, id)| *id).collect();
        if self.unsettled.is_empty() && inventory.loaded {
            self.settled.send_replace(true);
        }
        if added + changed + removed > 0 {
            info!(target: FLEET,
                added,
                changed,
                removed,
                ports = self.by_port.len(),
                "inventory adopted"
            );
        }
    }

    fn adopt_target(&mut self, target: &Target) {
        let id = self.by_port.get(&target.port);
        if let Some(entry) = id.and_then(|id| self.entries.get_mut(id)) {
            let effect = Arc::make_mut(&mut entry.status).adopt(target.clone());
            entry.target.send_replace(target.clone());
            let shown = entry.status.clone();
            self.show(&shown, &effect);
        }
    }

    fn take_out(&mut self, port: &Port) -> Option<Arc<SocStatus>> {
        let id = self.by_port.remove(port)?;
        self.unsettled.remove(&id);
        let mut entry = self.entries.remove(&id)?;
        entry.task.abort();
        let effect = Arc::make_mut(&mut entry.status).stop(SystemTime::now());
        self.show(&entry.status, &effect);
        Some(entry.status)
    }

    fn put_in(&mut self, target: &Target) {
        let status = match self.take_out(&target.port) {
            Some(mut old) => {
                if old.target.namespace != target.namespace {
                    self.send_row(&old.target, Change::Remove);
                }
                Arc::make_mut(&mut old).retarget(target.clone());
                old
            }
            None => Arc::new(SocStatus::new(target.clone())),
        };
        self.send_row(target, Change::Put(status.clone()));
        let (sender, receiver) = watch::channel(target.clone());
        let id = self.new_id();
        let entry = Entry {
            status,
            target: sender,
            task: self.spawn(id, receiver, 0, Duration::ZERO),
            began: Instant::now(),
            restarts: Restarts::default(),
        };
        self.entries.insert(id, entry);
        self.by_port.insert(target.port.clone(), id);
        self.unsettled.insert(id);
    }

    fn snapshot(&self) -> Snapshot {
        let socs = self.order.iter().filter_map(|id| self.entries.get(id));
        Snapshot {
            socs: socs.map(|entry| entry.status.clone()).collect(),
            side: self.side,
        }
    }

    fn stop_all(&mut self) {
        let ports: Vec<Port> = self.by_port.keys().cloned().collect();
        for port in &ports {
            self.take_out(port);
        }
    }
}

#[cfg(test)]
mod tests;
