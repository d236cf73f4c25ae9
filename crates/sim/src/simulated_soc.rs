//! One SoC: its state, the handle that changes it, and its counters.
//!
//! `Inner` owns them; the handle, the listener task and the connection tasks share it. Changes reach the tasks through one
//! watch channel per SoC. [`Control`] has the fault, and a counter for each thing that happens once. So a task that was busy
//! sees that it happened, without a queue that could grow.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use tokio::sync::watch;

use super::fault::{Code, ConnectionFault, GoAway, ReplyFault};
use super::method::Rpc;
use super::notice::Notice;
use super::state::SocState;
use dualtor_proto::ToRSide;

/// How many notices are kept for streams that have not read them yet, in case of a flood. Streams read at once unless they
/// hang.
const NOTICES_KEPT: usize = 4096;

/// What the tasks of a SoC watch.
#[derive(Debug, Clone, Default)]
pub(super) struct Control {
    /// Never `Goaway`, which does not last.
    pub(super) fault: ConnectionFault,
    /// How many there were, and the last one.
    pub(super) goaways: u64,
    pub(super) goaway: GoAway,
    /// How often all connections were closed, and reset.
    pub(super) closes: u64,
    pub(super) resets: u64,
    /// How many notices there were. The streams get the notices themselves from `Inner`.
    notices: u64,
    /// How often the notice streams were ended, and with which code the last time. `None`: OK.
    pub(super) stream_ends: u64,
    pub(super) stream_end: Option<Code>,
    /// How often the state was changed. The health streams read it themselves.
    changes: u64,
    /// How often the health streams were ended, and with which code the last time. `None`: OK.
    pub(super) watch_ends: u64,
    pub(super) watch_end: Option<Code>,
    /// How many statuses the health streams had to send in floods.
    pub(super) flood: u64,
}

/// How a SoC answers.
#[derive(Debug, Default)]
struct Answers {
    state: SocState,
    fault: ReplyFault,
    /// Empty: all except the notice stream.
    only: Vec<Rpc>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open_connections: AtomicU64,
    rpcs: [AtomicU64; Rpc::ALL.len()],
    unknown_rpcs: AtomicU64,
    pings: AtomicU64,
    notice_streams: AtomicU64,
    health_streams: AtomicU64,
    late: AtomicU64,
    /// The last ToRSide + 1. 0: none yet.
    tor: AtomicU32,
}

/// The last notices, and how many there were in total.
#[derive(Debug, Default)]
struct Notices {
    total: u64,
    last: VecDeque<Bytes>,
}

#[derive(Debug)]
pub(super) struct Inner {
    name: String,
    address: SocketAddr,
    // std mutexes: held for a copy, never across an await.
    answers: Mutex<Answers>,
    notices: Mutex<Notices>,
    metadata: Mutex<HeaderMap>,
    counters: Counters,
    control: watch::Sender<Control>,
}

/// What a SoC has counted since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocCounters {
    /// TCP connections that were accepted. Those that the kernel accepts during [`ConnectionFault::Hang`] count when the fault
    /// ends.
    pub connections: u64,
    /// How many of them are open.
    pub open_connections: u64,
    /// Calls per RPC. All RPCs are in it.
    pub rpcs: BTreeMap<Rpc, u64>,
    /// Calls of RPCs that do not exist.
    pub unknown_rpcs: u64,
    /// Calls of SetAdminForwardingPortState, which no client should make.
    pub set_calls: u64,
    /// HTTP/2 PINGs of the client, without answers to PINGs.
    pub pings_seen: u64,
    /// Open GracefulRestart streams.
    pub notice_streams: u64,
    /// Open Health/Watch streams.
    pub health_streams: u64,
    /// Replies sent under [`ReplyFault::Late`].
    pub late_replies: u64,
    /// The side in the last GracefulRestart request.
    pub last_tor: Option<ToRSide>,
    /// Headers of the last call, without HTTP/2's pseudo-headers.
    pub last_metadata: BTreeMap<String, String>,
}

/// Handle of a simulated SoC. Clones are handles of the same SoC.
#[derive(Debug, Clone)]
pub struct Soc(pub(super) Arc<Inner>);

impl Soc {
    /// The port's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it listens: the real port, even if the scenario has 0.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Changes its answers.
    pub fn set(&self, change: impl FnOnce(&mut SocState)) {
        change(&mut lock(&self.0.answers).state);
        self.0.control.send_modify(|control| control.changes += 1);
    }

    /// Its present answers.
    pub fn state(&self) -> SocState {
        lock(&self.0.answers).state.clone()
    }

    /// Sets the fault of its connections. The tasks notice it shortly after this, so wait for its effect.
    pub fn connection_fault(&self, fault: ConnectionFault) {
        self.0.control.send_modify(|control| {
            if let ConnectionFault::Goaway(goaway) = fault {
                control.fault = ConnectionFault::None;
                control.goaways += 1;
                control.goaway = goaway;
            } else {
                control.fault = fault;
            }
        });
    }

    /// Sets the fault of its replies, for all RPCs except the notice stream. It affects calls that begin after this.
    pub fn reply_fault(&self, fault: ReplyFault) {
        self.reply_fault_only(fault, &[]);
    }

    /// Sets the fault of its replies to these RPCs. An empty list means all except the notice stream.
    pub fn reply_fault_only(&self, fault: ReplyFault, only: &[Rpc]) {
        let mut answers = lock(&self.0.answers);
        answers.fault = fault;
        answers.only = only.to_vec();
    }

    /// Sends a notice on each open GracefulRestart stream.
    pub fn announce(&self, notice: &Notice) {
        let message = Bytes::from(notice.message().encode_to_vec());
        let mut notices = lock(&self.0.notices);
        if notices.last.len() == NOTICES_KEPT {
            notices.last.pop_front();
        }
        notices.last.push_back(message);
        notices.total += 1;
        drop(notices);
        self.0.control.send_modify(|control| control.notices += 1);
    }

    /// Ends the open GracefulRestart streams with this code. `None`: OK.
    pub fn end_notice_streams(&self, code: Option<Code>) {
        self.0.control.send_modify(|control| {
            control.stream_ends += 1;
            control.stream_end = code;
        });
    }

    /// Ends the open Health/Watch streams with this code. `None`: OK.
    pub fn end_health_streams(&self, code: Option<Code>) {
        self.0.control.send_modify(|control| {
            control.watch_ends += 1;
            control.watch_end = code;
        });
    }

    /// Sends this many statuses, SERVING and NOT_SERVING in turn, on each open Health/Watch stream. Then sends the true status
    /// again.
    pub fn flood_health(&self, statuses: u64) {
        self.0.control.send_modify(|control| control.flood += statuses);
    }

    /// Closes (FIN) all connections, once.
    pub fn close_connections(&self) {
        self.0.control.send_modify(|control| control.closes += 1);
    }

    /// Resets (RST) all connections, once.
    pub fn reset_connections(&self) {
        self.0.control.send_modify(|control| control.resets += 1);
    }

    /// What it has counted so far.
    pub fn counters(&self) -> SocCounters {
        let counters = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rpcs: BTreeMap<Rpc, u64> = Rpc::ALL
            .into_iter()
            .map(|rpc| (rpc, get(&counters.rpcs[rpc as usize])))
            .collect();
        SocCounters {
            connections: get(&counters.connections),
            open_connections: get(&counters.open_connections),
            unknown_rpcs: get(&counters.unknown_rpcs),
            set_calls: rpcs[&Rpc::SetAdmin],
            rpcs,
            pings_seen: get(&counters.pings),
            notice_streams: get(&counters.notice_streams),
            health_streams: get(&counters.health_streams),
            late_replies: get(&counters.late),
            last_tor: match counters.tor.load(Ordering::Relaxed) {
                1 => Some(ToRSide::LowerTor),
                2 => Some(ToRSide::UpperTor),
                _ => None,
            },
            last_metadata: lock(&self.0.metadata)
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    (name.to_string(), value.into_owned())
                })
                .collect(),
        }
    }
}

impl Inner {
    pub(super) fn new(name: String, address: SocketAddr, state: SocState) -> Self {
        Self {
            name,
            address,
            answers: Mutex::new(Answers {
                state,
                ..Answers::default()
            }),
            notices: Mutex::default(),
            metadata: Mutex::default(),
            counters: Counters::default(),
            control: watch::Sender::new(Control::default()),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn watch(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    /// Reads the state. `look` must be short, because it holds the lock.
    pub(super) fn with_state<R>(&self, look: impl FnOnce(&SocState) -> R) -> R {
        look(&lock(&self.answers).state)
    }

    /// The fault of the reply to this RPC.
    pub(super) fn fault_of(&self, rpc: Rpc) -> ReplyFault {
        let answers = lock(&self.answers);
        let concerned = if answers.only.is_empty() {
            rpc != Rpc::Notices
        } else {
            answers.only.contains(&rpc)
        };
        if concerned {
            answers.fault.clone()
        } else {
            ReplyFault::None
        }
    }

    /// Does what SetAdminForwardingPortState requests.
    pub(super) fn change_state(&self, change: impl FnOnce(&mut SocState)) {
        change(&mut lock(&self.answers).state);
    }

    /// How many notices there were.
    pub(super) fn notices(&self) -> u64 {
        lock(&self.notices).total
    }

    /// The notices after the first `seen` that are still kept. Moves `seen` on.
    pub(super) fn notices_after(&self, seen: &mut u64) -> Vec<Bytes> {
        let notices = lock(&self.notices);
        let new = usize::try_from(notices.total - *seen).unwrap_or(usize::MAX);
        *seen = notices.total;
        let known = notices.last.len();
        notices.last.range(known.saturating_sub(new)..).cloned().collect()
    }

    pub(super) fn saw_ping(&self) {
        self.counters.pings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw_call(&self, rpc: Option<Rpc>, metadata: HeaderMap) {
        match rpc {
            Some(rpc) => &self.counters.rpcs[rpc as usize],
            None => &self.counters.unknown_rpcs,
        }
        .fetch_add(1, Ordering::Relaxed);
        *lock(&self.metadata) = metadata;
    }

    pub(super) fn answered_late(&self) {
        self.counters.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw_tor(&self, tor: ToRSide) {
        let number = match tor {
            ToRSide::LowerTor => 1,
            ToRSide::UpperTor => 2,
        };
        self.counters.tor.store(number, Ordering::Relaxed);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn connected(&self) -> OpenGuard<'_> {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        OpenGuard::new(&self.counters.open_connections)
    }

    /// Counts an open notice stream until the guard is dropped.
    pub(super) fn notice_stream(&self) -> OpenGuard<'_> {
        OpenGuard::new(&self.counters.notice_streams)
    }

    /// Counts an open health stream until the guard is dropped.
    pub(super) fn health_stream(&self) -> OpenGuard<'_> {
        OpenGuard::new(&self.counters.health_streams)
    }
}

/// Counts one thing as open while this exists.
#[derive(Debug)]
pub(super) struct OpenGuard<'a>(&'a AtomicU64);

impl<'a> OpenGuard<'a> {
    fn new(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for OpenGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
