//! What the fleet does with a session that ends by a defect. The sessions use real gRPC until they panic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::fleet::mailbox::{Receiver, mailbox};
use crate::model::{
    Cause, ChannelSettings, ChannelState, Maintenance, MuxDirection, Port, ProbeSettings, Query, QueryResult,
    ROUNDS, TransitionKind,
};
use crate::runtime::service_manager::ServiceManager;
use dualtor_sim::{ConnectionFault, GoAway, H2Code, Scenario, Simulator};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn port(name: &str) -> Port {
    Port::new(name).expect("a port")
}

/// Makes the session of a port panic.
#[derive(Clone, Default)]
struct Bombs(Arc<Mutex<HashMap<Port, oneshot::Sender<()>>>>);

impl Bombs {
    fn explode(&self, at: &str) {
        let bomb = self.0.lock().expect("no panic").remove(&port(at));
        bomb.expect("a session").send(()).expect("a session that runs");
    }

    /// Like `session::start`, with a bomb in it.
    fn start(&self) -> Start {
        let bombs = self.clone();
        Arc::new(move |id, target, refusals, context| {
            let at = target.borrow().id.port.clone();
            let (bomb, told) = oneshot::channel();
            let running = session::start(id, target, refusals, context)?;
            bombs.0.lock().expect("no panic").insert(at, bomb);
            Ok(Box::pin(async move {
                tokio::select! {
                    defect = running => defect,
                    Ok(()) = told => panic!("a bomb\u{202e}"),
                }
            }))
        })
    }
}

/// Ports are probed only when their channels become READY.
fn context(events: mpsc::Sender<(SessionId, Event)>) -> Context {
    let probe = ProbeSettings {
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(5),
    };
    Context::alone(events, probe)
}

struct Rig {
    simulator: Simulator,
    inventory: watch::Sender<Arc<Inventory>>,
    handle: FleetHandle,
    rows: Receiver<Change>,
    /// The latest status of each port that was sent as a row.
    shown: BTreeMap<Port, Arc<SocStatus>>,
    stop: oneshot::Sender<()>,
    fleet: JoinHandle<Result<(), Defect>>,
}

impl Rig {
    /// Healthy SoCs. They are probed only when their channels become READY.
    async fn start(socs: usize, start: Start) -> Self {
        let simulator = Simulator::start(Scenario::uniform(socs)).await.expect("SoCs");
        let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
        let context = context(events_tx);
        let targets = simulator.socs().iter().map(|soc| Target {
            namespace: "".into(),
            id: port(soc.name()).into(),
            address: soc.address(),
            side: Side::Upper,
            channel: Arc::new(ChannelSettings::default()),
        });
        let (inventory, inventory_rx) = watch::channel(Arc::new(Inventory {
            loaded: true,
            side: Side::Upper,
            targets: targets.collect(),
            ..Inventory::default()
        }));
        let (rows_tx, rows) = mailbox();
        let feeds = Feeds {
            rows: HashMap::from([("".into(), rows_tx)]),
            ..Feeds::default()
        };
        let (mut fleet, handle) = Fleet::new(inventory_rx, context, events, feeds);
        fleet.start = start;
        let (stop, stopped) = oneshot::channel();
        let fleet = tokio::spawn(fleet.run(async move {
            let _ = stopped.await;
        }));
        let shown = BTreeMap::new();
        Self {
            simulator,
            inventory,
            handle,
            rows,
            shown,
            stop,
            fleet,
        }
    }

    async fn status(&self, at: &str) -> Arc<SocStatus> {
        let snapshot = self.handle.snapshot().await.expect("a fleet");
        snapshot.get(&port(at).into()).expect("this port").clone()
    }

    /// Waits until both the table and the row satisfy `what`.
    async fn shows(&mut self, at: &str, what: impl Fn(&SocStatus) -> bool) -> Arc<SocStatus> {
        let deadline = Instant::now() + LONG;
        loop {
            for (port, change) in self.rows.take() {
                match change {
                    Change::Put(status) => self.shown.insert(port, status),
                    Change::Remove => self.shown.remove(&port),
                };
            }
            let status = self.status(at).await;
            if what(&status) && self.shown.get(&port(at)).is_some_and(|shown| what(shown)) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Target>)) {
        self.inventory
            .send_modify(|inventory| change(&mut Arc::make_mut(inventory).targets));
    }
}

fn healthy(status: &SocStatus) -> bool {
    status.channel.state == ChannelState::Ready && status.observed.direction.own != MuxDirection::Unknown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_panics_leaves_ready_at_once_and_is_started_anew() {
    let bombs = Bombs::default();
    let mut rig = Rig::start(2, bombs.start()).await;
    for at in ["Ethernet0", "Ethernet4"] {
        rig.shows(at, healthy).await;
    }
    let before = rig.status("Ethernet0").await;
    bombs.explode("Ethernet0");
    let lost = rig
        .shows("Ethernet0", |s| s.channel.state == ChannelState::TransientFailure)
        .await;
    assert_eq!(lost.observed, crate::model::Observed::UNKNOWN);
    assert_eq!(
        (lost.channel.keepalive_rtt, lost.maintenance),
        (None, Maintenance::Unknown)
    );
    assert_eq!(
        (lost.channel.session_restarts, lost.channel.last_failure),
        (1, Some(Cause::Local))
    );
    assert_eq!(lost.channel.failures[Cause::Local.index()], 1);
    let error = lost.last_error.as_ref().expect("an error");
    assert!(error.detail.contains("a bomb\u{fffd}"), "{error:?}");

    let again = rig.shows("Ethernet0", healthy).await;
    assert_eq!(again.channel.session_restarts, 1);
    let ready = ChannelState::Ready.index();
    assert_eq!(
        again.channel.transitions[ready],
        before.channel.transitions[ready] + 1
    );
    assert_eq!(again.channel.dials, before.channel.dials + 1);
    assert!(again.rounds > before.rounds, "the counters go on");
    let other = rig.status("Ethernet4").await;
    assert_eq!(
        (other.channel.session_restarts, other.channel.dials),
        (0, 1),
        "not touched"
    );

    // The new session is watched like the first.
    bombs.explode("Ethernet0");
    rig.shows("Ethernet0", |s| s.channel.session_restarts == 2 && !healthy(s))
        .await;
    let last = rig.shows("Ethernet0", healthy).await;

    // Each transition and each round is kept, with its detail.
    let history = rig
        .handle
        .history(port("Ethernet0").into())
        .await
        .expect("a fleet");
    let history = history.expect("this port");
    let kept = history.transitions();
    let to = |to: ChannelState| {
        kept.iter()
            .filter(move |kept| matches!(kept.kind, TransitionKind::Channel { to: end, .. } if end == to))
    };
    for state in ChannelState::ALL {
        assert_eq!(
            to(*state).count() as u64,
            last.channel.transitions[state.index()],
            "{state}"
        );
    }
    let lost: Vec<_> = to(ChannelState::TransientFailure)
        .map(|lost| lost.detail.as_deref())
        .collect();
    assert!(
        lost.len() == 2
            && lost
                .iter()
                .all(|why| why.is_some_and(|why| why.contains("a bomb"))),
        "{lost:?}"
    );
    let rounds = history.rounds();
    assert!(
        rounds.len() as u64 >= last.rounds.min(ROUNDS as u64),
        "{}",
        rounds.len()
    );
    let newest = rounds.back().expect("a round");
    assert_eq!(
        (newest.channel(), newest.query(Query::Admin).0),
        (ChannelState::Ready, QueryResult::Ok)
    );
    assert!(newest.duration() > Duration::ZERO);
    assert_eq!(
        rig.handle
            .history(port("Ethernet999").into())
            .await
            .expect("a fleet"),
        None
    );
    rig.stop.send(()).expect("a fleet");
    rig.fleet.await.expect("no panic").expect("no defect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_started_anew_knows_that_pings_were_refused_until_the_target_changes() {
    let bombs = Bombs::default();
    let mut rig = Rig::start(1, bombs.start()).await;
    rig.shows("Ethernet0", healthy).await;
    let refuses = GoAway {
        code: H2Code::EnhanceYourCalm,
        debug: "too_many_pings".to_owned(),
        grace: None,
    };
    let soc = &rig.simulator.socs()[0];
    soc.connection_fault(ConnectionFault::Goaway(refuses));
    let with_rounds = |s: &SocStatus| {
        healthy(s) && s.channel.ping_refusals == 1 && s.channel.keepalive_time == Duration::from_secs(3600)
    };
    rig.shows("Ethernet0", with_rounds).await;
    bombs.explode("Ethernet0");
    rig.shows("Ethernet0", |s| s.channel.state == ChannelState::TransientFailure)
        .await;
    let again = rig.shows("Ethernet0", with_rounds).await;
    assert_eq!(again.channel.session_restarts, 1);
    // A PING goes out with the round at READY. Otherwise none is due for an hour.
    rig.shows("Ethernet0", |s| s.channel.keepalive_rtt.is_some())
        .await;
    rig.change(|targets| {
        targets[0].channel = Arc::new(ChannelSettings {
            keepalive_timeout: Duration::from_secs(7),
            ..ChannelSettings::default()
        });
    });
    let fresh = |s: &SocStatus| healthy(s) && s.channel.keepalive_time == Duration::from_secs(4);
    assert_eq!(rig.shows("Ethernet0", fresh).await.channel.ping_refusals, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_to_be_started_anew_is_changed_and_removed_like_any_other() {
    let bombs = Bombs::default();
    let mut rig = Rig::start(3, bombs.start()).await;
    for at in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rig.shows(at, healthy).await;
    }
    let before = rig.status("Ethernet0").await.observed.direction;
    for at in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        bombs.explode(at);
    }
    for at in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        rig.shows(at, |s| s.channel.state == ChannelState::TransientFailure)
            .await;
    }
    let moved = rig.simulator.socs()[2].address();
    rig.change(|targets| {
        // The first gets another side, the second is removed, the third gets another address.
        targets[0].side = Side::Lower;
        targets[2].address = moved;
        targets.remove(1);
    });
    let from_there =
        |s: &SocStatus| s.channel.state == ChannelState::Ready && s.observed.direction.own == before.peer;
    rig.shows("Ethernet0", from_there).await;
    let moved = rig.shows("Ethernet8", healthy).await;
    assert_eq!(moved.channel.session_restarts, 1, "the counters go on");
    let snapshot = rig.handle.snapshot().await.expect("a fleet");
    let ports: Vec<&str> = snapshot.socs.iter().map(|s| s.target.id.port.as_str()).collect();
    assert_eq!(ports, ["Ethernet0", "Ethernet8"]);
    assert!(!rig.shown.contains_key(&port("Ethernet4")), "its row is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_even_start_keeps_nobody_waiting() {
    let starts = Arc::new(AtomicU64::new(0));
    let counted = starts.clone();
    let start: Start = Arc::new(move |id, target, refusals, context| {
        if target.borrow().id.port.as_str() == "Ethernet0" {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("not even started");
        }
        session::start(id, target, refusals, context)
    });
    let mut rig = Rig::start(2, start).await;
    let mut settled = rig.handle.settled();
    let ready = timeout(LONG, settled.wait_for(|settled| *settled)).await;
    ready.expect("in time").expect("a fleet");
    rig.shows("Ethernet0", |s| s.channel.state == ChannelState::TransientFailure)
        .await;
    // The second restart does not change the row.
    while rig.status("Ethernet0").await.channel.session_restarts < 2 {
        sleep(Duration::from_millis(2)).await;
    }
    assert!(
        (2..=3).contains(&starts.load(Ordering::Relaxed)),
        "with a wait between them"
    );
    rig.shows("Ethernet4", healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_panics_leaves_no_row_ready() {
    let mut rig = Rig::start(1, Arc::new(session::start)).await;
    rig.shows("Ethernet0", healthy).await;
    let panics = async { panic!("the fleet's own") };
    let (_, inventory) = watch::channel(rig.inventory.borrow().clone());
    let (events_tx, events) = mpsc::channel(1);
    let context = context(events_tx);
    let (rows_tx, mut rows) = mailbox();
    let feeds = Feeds {
        rows: HashMap::from([("".into(), rows_tx)]),
        ..Feeds::default()
    };
    let (mut fleet, _handle) = Fleet::new(inventory, context, events, feeds);
    fleet.adopt_inventory();
    let defect = fleet.run(panics).await.expect_err("a defect");
    assert!(defect.to_string().contains("the fleet's own"), "{defect}");
    let last = rows.take().remove(&port("Ethernet0"));
    assert!(
        matches!(&last, Some(Change::Put(status)) if status.channel.state == ChannelState::Shutdown),
        "{last:?}"
    );
}

#[tokio::test]
async fn a_fleet_that_is_stuck_reports_nothing_to_the_watchdog() {
    const FREE: u8 = 0;
    const STUCK: u8 = 1;
    const ENDED: u8 = 2;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let manager = ServiceManager::at(path.as_os_str()).expect("an address");
    let message = async || {
        let mut message = [0; 100];
        let read = socket.recv(&mut message).await.expect("a message");
        assert_eq!(&message[..read], b"WATCHDOG=1\n");
    };
    // Blocks the fleet's own task when it looks whether it must stop.
    let gate = Arc::new(AtomicU8::new(FREE));
    let at = gate.clone();
    let stop = std::future::poll_fn(move |_| {
        while at.load(Ordering::Relaxed) == STUCK {
            std::thread::sleep(Duration::from_millis(1));
        }
        match at.load(Ordering::Relaxed) {
            ENDED => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    });
    // A runtime of its own: a task that blocks would hold up the test too.
    let fleet = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let (_inventory, inventory) = watch::channel(Arc::new(Inventory {
                loaded: true,
                ..Inventory::default()
            }));
            let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
            let (fleet, _handle) = Fleet::new(inventory, context(events_tx), events, Feeds::default());
            // Twice in 40 ms.
            let watchdog = Watchdog::new(manager, Some("40000".as_ref()));
            fleet.watched(watchdog).run(stop).await
        })
    });
    for _ in 0..3 {
        timeout(LONG, message()).await.expect("it is alive");
    }
    gate.store(STUCK, Ordering::Relaxed);
    // What it sent before.
    while timeout(Duration::from_millis(400), message()).await.is_ok() {}
    assert!(timeout(Duration::from_secs(1), message()).await.is_err());
    gate.store(FREE, Ordering::Relaxed);
    for _ in 0..3 {
        timeout(LONG, message()).await.expect("it is alive again");
    }
    gate.store(ENDED, Ordering::Relaxed);
    fleet.join().expect("no panic").expect("a clean stop");
}
