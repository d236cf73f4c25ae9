//! What a client may cost, who is let in, and what is counted of it.
//!
//! Files come first to channels: of the files that this process may open, one for each SoC and what the exporter needs
//! itself are never a web client's ([`Files`]). Over a limit a connection is closed at once and counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::model::Refusal;

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
        }
    }
}

/// How many files the process may open, and how many of them are spoken for.
#[derive(Clone)]
pub struct Files {
    /// The soft limit on open files.
    pub limit: u64,
    /// One per SoC, and what the exporter itself needs, as it is now.
    pub reserved: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Where nothing is left one can still ask what is wrong: the reserve is generous by more than that.
const ALWAYS: u64 = 4;

/// How many connections may be open with so many files.
fn connections_for(max: usize, limit: u64, reserved: usize) -> usize {
    let left = limit.saturating_sub(reserved as u64).max(ALWAYS);
    usize::try_from(left).unwrap_or(usize::MAX).min(max)
}

/// What metrics show of the web side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebStatus {
    /// Open connections.
    pub connections: u64,
    /// Connections closed over a limit, by `Refusal::index()`.
    pub refused: [u64; Refusal::COUNT],
}

/// The counters behind [`WebStatus`].
#[derive(Debug, Default)]
pub struct WebStats {
    connections: AtomicU64,
    refused: [AtomicU64; Refusal::COUNT],
}

impl WebStats {
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

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// None of them 0.
    by_peer: HashMap<IpAddr, usize>,
    /// When a refusal was last logged.
    told: Option<Instant>,
}

/// Lets connections in, over all listeners.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    files: Files,
    stats: Arc<WebStats>,
    open: Mutex<Open>,
}

/// A connection's place; it is given back with it.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    peer: IpAddr,
}

impl Gate {
    /// Nobody is in.
    pub(super) fn new(limits: Limits, files: Files, stats: Arc<WebStats>) -> Self {
        Self(Arc::new(Shared {
            limits,
            files,
            stats,
            open: Mutex::default(),
        }))
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// A place for a connection of `peer`, or why there is none.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Place, Refusal> {
        // An IPv4 client of a socket for both families.
        let peer = peer.to_canonical();
        let Shared { limits, files, .. } = &*self.0;
        let most = connections_for(limits.connections, files.limit, (files.reserved)());
        let mut open = self.open();
        if open.total >= most {
            return Err(Refusal::Total);
        }
        let of_peer = open.by_peer.entry(peer).or_default();
        if *of_peer >= limits.per_peer {
            return Err(Refusal::Peer);
        }
        *of_peer += 1;
        open.total += 1;
        self.0.stats.connections.fetch_add(1, Ordering::Relaxed);
        let gate = self.clone();
        Ok(Place { gate, peer })
    }

    /// Counts a connection that was closed over a limit; logs one of them a minute.
    pub(super) fn refused(&self, peer: IpAddr, reason: Refusal, now: Instant) {
        /// A flood of connections is not to be a flood of lines.
        const TELL_EACH: Duration = Duration::from_secs(60);
        self.0.stats.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
        let mut open = self.open();
        if open
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL_EACH)
        {
            open.told = Some(now);
            drop(open);
            let peer = peer.to_canonical();
            warn!(%peer, %reason, "a web connection was closed over a limit; more of them within a minute are only counted");
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts its end over a limit.
    pub(super) fn refused(&self, reason: Refusal) {
        self.gate.refused(self.peer, reason, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        open.total -= 1;
        if let Entry::Occupied(mut of_peer) = open.by_peer.entry(self.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
        self.gate.0.stats.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit: u64, reserved: usize) -> Gate {
        let limits = Limits {
            connections: 10,
            per_peer: 4,
            ..Limits::default()
        };
        let reserved = Arc::new(move || reserved);
        Gate::new(limits, Files { limit, reserved }, Arc::default())
    }

    fn peer(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn a_peer_has_its_share_and_all_together_theirs() {
        let gate = gate(u64::MAX, 0);
        let mut places: Vec<Place> = (0..4).map(|_| gate.admit(peer(1)).expect("a place")).collect();
        assert_eq!(gate.admit(peer(1)).expect_err("a fifth"), Refusal::Peer);
        // The same peer by another name.
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(gate.admit(mapped).expect_err("a fifth"), Refusal::Peer);
        places.extend((2..8).map(|n| gate.admit(peer(n)).expect("a place")));
        assert_eq!(gate.admit(peer(9)).expect_err("an eleventh"), Refusal::Total);
        places.remove(0);
        assert!(gate.admit(peer(1)).is_ok());
        drop(places);
        assert_eq!(gate.0.stats.status(), WebStatus::default());
        assert!(gate.open().by_peer.is_empty());
    }

    #[test]
    fn channels_have_their_files_first() {
        let check = |limit, reserved, expected| {
            assert_eq!(
                connections_for(256, limit, reserved),
                expected,
                "{limit} {reserved}"
            );
        };
        check(u64::MAX, 10_000, 256);
        check(1024, 24 + 64, 256);
        check(1024, 800 + 64, 160);
        check(1024, 1000 + 64, 4);
        check(0, 0, 4);
        assert_eq!(connections_for(1, 0, 9), 1);
        let gate = gate(105, 100);
        let places: Vec<Place> = (0..5).map(|n| gate.admit(peer(n)).expect("a place")).collect();
        assert_eq!(gate.admit(peer(9)).expect_err("no file"), Refusal::Total);
        drop(places);
    }

    #[test]
    fn refusals_are_counted() {
        let gate = gate(u64::MAX, 0);
        let now = Instant::now();
        gate.refused(peer(1), Refusal::Peer, now);
        gate.refused(peer(1), Refusal::Timeout, now);
        gate.refused(peer(1), Refusal::Peer, now);
        let mut refused = [0; Refusal::COUNT];
        refused[Refusal::Peer.index()] = 2;
        refused[Refusal::Timeout.index()] = 1;
        assert_eq!(gate.0.stats.status().refused, refused);
    }
}
