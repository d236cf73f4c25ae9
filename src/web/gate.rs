//! Decides which connections are accepted, and which are closed to make room.
//!
//! There is a limit for all connections and one per peer. A new connection over a limit is closed at once and counted. But
//! clients that send nothing must not keep scrapers out. So if a connection has waited [`Limits::yields`] without a complete
//! request (none sent, half sent, or idle after an answer), it is closed instead and the new one takes its place. The one that
//! has waited longest is closed first. A peer that is at its own limit can only replace one of its own connections.
//!
//! File descriptors are for SoC channels first ([`FilesLeft`]). When SoCs are added and fewer descriptors are left than
//! connections are open, connections are closed until the rest have enough.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::limits::{FilesLeft, Limits, WebStats};
use crate::model::Refusal;
use crate::model::component::WEB;

/// Connections that are allowed even if no descriptor is left, so that the exporter can still be examined. The reserve of
/// descriptors (app/open_files.rs) is larger than needed by more than this.
const ALWAYS: u64 = 4;

/// How many connections may be open with `left` descriptors left.
fn connections_for(max: usize, left: u64) -> usize {
    usize::try_from(left.max(ALWAYS)).unwrap_or(usize::MAX).min(max)
}

/// All open connections.
#[derive(Debug, Default)]
struct Open {
    /// Oldest first.
    all: BTreeMap<u64, One>,
    /// Connections that wait for a request: since when, and their key in `all`. The longest wait is first.
    waiting: BTreeMap<u64, (Instant, u64)>,
    /// Number of connections per peer; entries with 0 are removed.
    by_peer: HashMap<IpAddr, usize>,
    /// The next key.
    next: u64,
    /// When a refusal was last logged.
    told: Option<Instant>,
}

#[derive(Debug)]
struct One {
    peer: IpAddr,
    /// Its key in `waiting`, if it waits for a request.
    turn: Option<u64>,
    lost: CancellationToken,
}

impl Open {
    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn waits(&mut self, id: u64, now: Instant) {
        let turn = self.key();
        let Some(one) = self.all.get_mut(&id) else { return };
        if let Some(before) = one.turn.replace(turn) {
            self.waiting.remove(&before);
        }
        self.waiting.insert(turn, (now, id));
    }

    fn asked(&mut self, id: u64) {
        let turn = self.all.get_mut(&id).and_then(|one| one.turn.take());
        if let Some(turn) = turn {
            self.waiting.remove(&turn);
        }
    }

    /// Removes a connection; `None` if it has been removed already.
    fn leaves(&mut self, id: u64) -> Option<One> {
        let one = self.all.remove(&id)?;
        if let Some(turn) = one.turn {
            self.waiting.remove(&turn);
        }
        if let Entry::Occupied(mut of_peer) = self.by_peer.entry(one.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
        Some(one)
    }

    /// The connection that has waited longest, if it has waited since `before` or longer; if `of` is given, only of that peer.
    fn overdue(&self, before: Instant, of: Option<IpAddr>) -> Option<u64> {
        let overdue = self.waiting.values().take_while(|(since, _)| *since <= before);
        let mut ids = overdue.map(|(_, id)| *id);
        ids.find(|id| of.is_none_or(|peer| self.all.get(id).is_some_and(|one| one.peer == peer)))
    }
}

/// Admits connections, over all listeners.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    limits: Limits,
    files: FilesLeft,
    stats: Arc<WebStats>,
    open: Mutex<Open>,
}

/// A connection's place. Dropping it frees the place. A new connection waits for a request.
#[derive(Debug)]
pub(super) struct Admission {
    gate: Gate,
    peer: IpAddr,
    id: u64,
    lost: CancellationToken,
}

impl Gate {
    /// A gate without connections.
    pub(super) fn new(limits: Limits, files: FilesLeft, stats: Arc<WebStats>) -> Self {
        Self(Arc::new(GateState {
            limits,
            files,
            stats,
            open: Mutex::default(),
        }))
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }

    fn most(&self) -> usize {
        connections_for(self.0.limits.connections, *self.0.files.borrow())
    }

    /// A place for a connection of `peer`, or why there is none.
    pub(super) fn admit(&self, peer: IpAddr, now: Instant) -> Result<Admission, Refusal> {
        // An IPv4 client on a dual-stack socket has an IPv4-mapped address.
        let peer = peer.to_canonical();
        let most = self.most();
        let mut open = self.open();
        // Checked first: a peer at its own limit must get `Peer`, so that `admit_instead` closes no other peer's connection for
        // it.
        if open
            .by_peer
            .get(&peer)
            .is_some_and(|n| *n >= self.0.limits.per_peer)
        {
            return Err(Refusal::Peer);
        }
        if open.all.len() >= most {
            return Err(Refusal::Total);
        }
        *open.by_peer.entry(peer).or_default() += 1;
        let (id, lost) = (open.key(), CancellationToken::new());
        let one = One {
            peer,
            turn: None,
            lost: lost.clone(),
        };
        open.all.insert(id, one);
        open.waits(id, now);
        self.0.stats.opened();
        let gate = self.clone();
        Ok(Admission { gate, peer, id, lost })
    }

    /// Like `admit`. If there is no place, it closes (and counts) the connection that has waited too long for a request.
    pub(super) fn admit_instead(&self, peer: IpAddr, now: Instant) -> Result<Admission, Refusal> {
        let reason = match self.admit(peer, now) {
            Err(reason @ (Refusal::Total | Refusal::Peer)) => reason,
            outcome => return outcome,
        };
        let of = (reason == Refusal::Peer).then(|| peer.to_canonical());
        let before = now.checked_sub(self.0.limits.yields);
        let overdue = before.and_then(|before| self.open().overdue(before, of));
        self.close(overdue.ok_or(reason)?, reason, now);
        // This may fail again, on the other limit. It is not repeated: at most one connection is closed for a new one.
        self.admit(peer, now)
    }

    /// Closes connections for which no descriptors are left: first those that wait for a request, then the oldest.
    pub(super) fn shed(&self, now: Instant) {
        let most = self.most();
        loop {
            let open = self.open();
            let waits = open.waiting.values().next().map(|(_, id)| *id);
            let first = waits.or_else(|| open.all.keys().next().copied());
            let Some(id) = first.filter(|_| open.all.len() > most) else {
                return;
            };
            drop(open);
            self.close(id, Refusal::Total, now);
        }
    }

    /// Makes a connection end, and counts it. Its place is free at once, before its task has ended.
    fn close(&self, id: u64, reason: Refusal, now: Instant) {
        let closed = self.open().leaves(id);
        if let Some(one) = closed {
            self.0.stats.closed();
            one.lost.cancel();
            self.refused(one.peer, reason, now);
        }
    }

    /// Counts a connection that was closed over a limit; logs one per minute.
    pub(super) fn refused(&self, peer: IpAddr, reason: Refusal, now: Instant) {
        /// A flood of connections must not become a flood of log lines.
        const TELL_EACH: Duration = Duration::from_secs(60);
        self.0.stats.refused(reason);
        let mut open = self.open();
        if open
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL_EACH)
        {
            open.told = Some(now);
            drop(open);
            let peer = peer.to_canonical();
            warn!(target: WEB, %peer, %reason, "a web connection was closed over a limit; further ones within a minute are only counted");
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Whose connection it is.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// From now on the connection waits for a request.
    pub(super) fn waits(&self, now: Instant) {
        self.gate.open().waits(self.id, now);
    }

    /// A complete request header has been received: the connection does not wait any more.
    pub(super) fn asked(&self) {
        self.gate.open().asked(self.id);
    }

    /// Completes when the gate closes this connection. Cancel-safe.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Counts that this connection ended over a limit.
    pub(super) fn refused(&self, reason: Refusal) {
        self.gate.refused(self.peer, reason, Instant::now());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let left = self.gate.open().leaves(self.id);
        if left.is_some() {
            self.gate.0.stats.closed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WebStatus;
    use tokio::sync::watch;

    fn gate(left: u64) -> (Gate, watch::Sender<u64>) {
        let limits = Limits {
            connections: 10,
            per_peer: 4,
            ..Limits::default()
        };
        let (files, left) = watch::channel(left);
        (Gate::new(limits, left, Arc::default()), files)
    }

    fn peer(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn refused(total: u64, peer: u64) -> [u64; Refusal::COUNT] {
        let mut refused = [0; Refusal::COUNT];
        refused[Refusal::Total.index()] = total;
        refused[Refusal::Peer.index()] = peer;
        refused
    }

    fn is_lost(place: &Admission) -> bool {
        place.lost.is_cancelled()
    }

    #[test]
    fn a_peer_has_its_share_and_all_together_theirs() {
        let (gate, _files) = gate(u64::MAX);
        let now = Instant::now();
        let admit = |n| gate.admit_instead(peer(n), now);
        let mut places: Vec<Admission> = (0..4).map(|_| admit(1).expect("a place")).collect();
        assert_eq!(admit(1).expect_err("a fifth"), Refusal::Peer);
        // The same peer with its IPv4-mapped address.
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(gate.admit(mapped, now).expect_err("a fifth"), Refusal::Peer);
        places.extend((2..8).map(|n| admit(n).expect("a place")));
        assert_eq!(admit(9).expect_err("an eleventh"), Refusal::Total);
        places.remove(0);
        assert!(admit(1).is_ok());
        drop(places);
        assert_eq!(gate.0.stats.status(), WebStatus::default());
        let open = gate.open();
        assert!(open.by_peer.is_empty() && open.all.is_empty() && open.waiting.is_empty());
    }

    #[test]
    fn who_has_waited_longest_goes_where_another_needs_the_place() {
        let (gate, _files) = gate(u64::MAX);
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut places: Vec<Admission> = (0..10)
            .map(|n| gate.admit(peer(n), began).expect("a place"))
            .collect();
        // The first is being answered; the second has just been answered.
        places[0].asked();
        places[1].asked();
        places[1].waits(at(3));
        assert_eq!(gate.admit_instead(peer(20), at(4)).err(), Some(Refusal::Total));
        places.push(gate.admit_instead(peer(20), at(5)).expect("the third's"));
        let lost: Vec<usize> = (0..11).filter(|n| is_lost(&places[*n])).collect();
        assert_eq!(lost, [2]);
        assert_eq!(gate.0.stats.status().connections, 10);
        // A closed connection is not counted twice, and does not wait again.
        places[2].waits(at(5));
        drop(places.remove(2));
        assert_eq!(gate.0.stats.status().connections, 10);
        for n in 21..28 {
            places.push(gate.admit_instead(peer(n), at(6)).expect("another's"));
        }
        // The one that is being answered and those that have waited less are still open.
        assert!(!is_lost(&places[0]) && !is_lost(&places[1]));
        assert_eq!(gate.admit_instead(peer(30), at(6)).err(), Some(Refusal::Total));
        assert_eq!(gate.0.stats.status().refused, refused(8, 0));
        assert_eq!(gate.open().all.len(), 10);
    }

    #[test]
    fn of_a_peer_that_has_its_share_one_of_its_own_goes() {
        let (gate, _files) = gate(u64::MAX);
        let began = Instant::now();
        let later = began + Duration::from_secs(5);
        let other = gate.admit(peer(2), began).expect("a place");
        let places: Vec<Admission> = (0..4)
            .map(|_| gate.admit(peer(1), began).expect("a place"))
            .collect();
        let _one_more = gate.admit_instead(peer(1), later).expect("the first's");
        assert!(is_lost(&places[0]) && !is_lost(&other) && !is_lost(&places[1]));
        assert_eq!(gate.0.stats.status().refused, refused(0, 1));
    }

    #[test]
    fn who_has_his_share_takes_no_place_of_another_where_all_are_taken() {
        let (gate, _files) = gate(u64::MAX);
        let began = Instant::now();
        let later = began + Duration::from_secs(5);
        let others: Vec<Admission> = (2..8)
            .map(|n| gate.admit(peer(n), began).expect("a place"))
            .collect();
        let greedy: Vec<Admission> = (0..4)
            .map(|_| gate.admit(peer(1), later).expect("a place"))
            .collect();
        assert_eq!(gate.admit_instead(peer(1), later).err(), Some(Refusal::Peer));
        assert!(!others.iter().chain(&greedy).any(is_lost));
        assert!(gate.admit_instead(peer(9), later).is_ok());
    }

    #[test]
    fn channels_have_their_files_first() {
        for (left, expected) in [(u64::MAX, 256), (936, 256), (160, 160), (4, 4), (0, 4)] {
            assert_eq!(connections_for(256, left), expected, "{left}");
        }
        assert_eq!(connections_for(1, 0), 1);
        let (gate, files) = gate(5);
        let now = Instant::now();
        let places: Vec<Admission> = (0..5)
            .map(|n| gate.admit(peer(n), now).expect("a place"))
            .collect();
        assert_eq!(gate.admit(peer(9), now).expect_err("no file"), Refusal::Total);
        places[0].asked();
        places[1].asked();
        // SoCs were added.
        files.send_replace(4);
        gate.shed(now);
        let lost: Vec<usize> = (0..5).filter(|n| is_lost(&places[*n])).collect();
        assert_eq!(lost, [2]);
        gate.shed(now);
        assert_eq!(gate.0.stats.status().connections, 4);
        assert_eq!(gate.0.stats.status().refused, refused(1, 0));
    }

    #[test]
    fn who_is_being_answered_goes_last_and_who_came_first_before_others() {
        let (gate, files) = gate(10);
        let now = Instant::now();
        let places: Vec<Admission> = (0..10)
            .map(|n| gate.admit(peer(n), now).expect("a place"))
            .collect();
        places[..8].iter().for_each(Admission::asked);
        files.send_replace(0);
        gate.shed(now);
        let kept: Vec<usize> = (0..10).filter(|n| !is_lost(&places[*n])).collect();
        assert_eq!(kept, [4, 5, 6, 7]);
    }
}
