//! How other parts read from the fleet, and where the fleet sends rows, notices and what is kept for OpenTelemetry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::fleet::mailbox::{self, Change};
use crate::fleet::recorder::Recorder;
use crate::fleet::table::SocTable;
use crate::model::{Event, History, Notice, Side, Snapshot, SocStatus, Target, TargetId, Transition};

/// Length of the queue of questions: some dozens of scrapers and pages. When it is full, askers wait.
pub(super) const QUESTIONS: usize = 64;

/// A question to the fleet, with the channel for its answer.
#[derive(Debug)]
pub(super) enum Question {
    /// The whole table.
    Snapshot(oneshot::Sender<Snapshot>),
    /// What has happened to one SoC; `None`: there is no such SoC.
    History(TargetId, oneshot::Sender<Option<Arc<History>>>),
}

impl Question {
    /// The one who asked may be gone: then the reply is dropped.
    pub(super) fn answer(self, table: &SocTable, side: Side) {
        match self {
            Self::Snapshot(reply) => {
                let socs = table.statuses();
                let _ = reply.send(Snapshot { socs, side });
            }
            Self::History(id, reply) => {
                let _ = reply.send(table.get(&id).map(|entry| entry.history.clone()));
            }
        }
    }
}

/// A transition of one SoC, for readers of the feed.
pub type FeedItem = (TargetId, Transition);

/// What a reader of the fleet holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) settled: watch::Receiver<bool>,
    pub(super) feed: broadcast::Sender<FeedItem>,
    pub(super) serving: watch::Sender<()>,
}

/// The fleet has ended.
#[derive(Debug, thiserror::Error)]
#[error("the exporter is stopping")]
pub struct Stopped;

impl FleetHandle {
    /// The whole table as it is now.
    pub async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        self.ask(Question::Snapshot).await
    }

    /// What has happened to one SoC lately; `None`: there is no such SoC.
    pub async fn history(&self, id: TargetId) -> Result<Option<Arc<History>>, Stopped> {
        self.ask(|reply| Question::History(id, reply)).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Stopped> {
        let (tx, rx) = oneshot::channel();
        let question = question(tx);
        self.questions.send(question).await.map_err(|_| Stopped)?;
        rx.await.map_err(|_| Stopped)
    }

    /// How many questions wait for the fleet.
    pub fn questions_waiting(&self) -> usize {
        self.questions.max_capacity() - self.questions.capacity()
    }

    /// Turns true once each target has finished a round or failed a dial, and stays true.
    pub fn settled(&self) -> watch::Receiver<bool> {
        self.settled.clone()
    }

    /// Reports that SoCs came or went, or that one of them serves or no longer does. Costs nothing while no one listens.
    pub fn serving_changes(&self) -> watch::Receiver<()> {
        self.serving.subscribe()
    }

    /// Transitions from now on.
    pub fn feed(&self) -> broadcast::Receiver<FeedItem> {
        self.feed.subscribe()
    }
}

/// Where the fleet sends what others need. Rows and notices: one mailbox per namespace that has a publisher. They close when the fleet ends.
#[derive(Debug, Default)]
pub struct Feeds {
    /// For each status whose row must be written.
    pub rows: HashMap<Arc<str>, mailbox::Sender<Change>>,
    /// For each notice.
    pub notices: HashMap<Arc<str>, mailbox::Sender<Notice>>,
    /// What is kept for OpenTelemetry, if it is on.
    pub recorder: Option<Recorder>,
    /// See [`FleetHandle::serving_changes`].
    pub serving: watch::Sender<()>,
}

impl Feeds {
    pub(super) fn send_row(&self, target: &Target, change: Change) {
        send(&self.rows, target, change);
    }

    pub(super) fn send_notice(&self, target: &Target, notice: &Notice) {
        send(&self.notices, target, notice.clone());
    }

    pub(super) fn serving_changed(&self) {
        // An error means that no one listens.
        let _ = self.serving.send(());
    }

    /// After the reducer has applied `event`. `timeout`: a query's deadline.
    pub(super) fn record(
        &mut self,
        status: &SocStatus,
        event: Event,
        transitions: Vec<Transition>,
        now: SystemTime,
        timeout: impl FnOnce() -> Duration,
    ) {
        if let Some(recorder) = &mut self.recorder {
            recorder.on_event(status, event, transitions, now, timeout());
        }
    }

    /// The session has ended, and with it what it was doing.
    pub(super) fn record_end(&mut self, status: &SocStatus, transitions: &[Transition]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.on_change(status, transitions);
            recorder.forget(&status.target.id);
        }
    }
}

/// A SoC of another rack has its row in another switch's databases: this switch has a port of the same name.
fn send<T>(feeds: &HashMap<Arc<str>, mailbox::Sender<T>>, target: &Target, message: T) {
    if let Some(feed) = feeds.get(&target.namespace)
        && target.id.rack.is_empty()
    {
        feed.send(target.id.port.clone(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelSettings, Port, Rack};

    #[test]
    fn a_soc_of_another_rack_writes_no_row_of_this_switch() {
        let (sender, mut rows) = mailbox::mailbox();
        let feeds = Feeds {
            rows: HashMap::from([("".into(), sender)]),
            ..Feeds::default()
        };
        let target = |rack: &str, port: &str| Target {
            id: TargetId {
                rack: Rack::new(rack).expect("a rack"),
                port: Port::new(port).expect("a port"),
            },
            namespace: "".into(),
            address: ([192, 0, 2, 1], 50075).into(),
            side: Side::Upper,
            channel: Arc::new(ChannelSettings::default()),
        };
        feeds.send_row(&target("", "Ethernet0"), Change::Remove);
        feeds.send_row(&target("r17", "Ethernet4"), Change::Remove);
        let sent: Vec<String> = rows.take().keys().map(ToString::to_string).collect();
        assert_eq!(sent, ["Ethernet0"]);
    }
}
