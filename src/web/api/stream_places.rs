//! The places of event streams, shared among the addresses of clients. Pure.
//!
//! While a place is free, everyone gets one: behind a reverse proxy all clients have one address. When all are taken, an address
//! with fewer streams takes one from the address with the most. So one client, whatever it opens and never reads, cannot keep the
//! others out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tokio_util::sync::CancellationToken;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct StreamPlaces {
    most: usize,
    next: u64,
    /// Oldest first.
    open: BTreeMap<u64, OpenPlace>,
}

#[derive(Debug)]
struct OpenPlace {
    peer: IpAddr,
    taken: CancellationToken,
}

impl StreamPlaces {
    /// `most` places.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            next: 0,
            open: BTreeMap::new(),
        }
    }

    /// A place for one more stream of `peer`: its key, and what is cancelled when another address takes it. `None`: there is none.
    pub(super) fn take(&mut self, peer: IpAddr) -> Option<(u64, CancellationToken)> {
        if self.open.len() >= self.most {
            let oldest = self.gives_up(peer)?;
            self.open.remove(&oldest)?.taken.cancel();
        }
        self.next += 1;
        let taken = CancellationToken::new();
        let place = OpenPlace {
            peer,
            taken: taken.clone(),
        };
        self.open.insert(self.next, place);
        Some((self.next, taken))
    }

    /// The oldest stream of the address that has the most, if that address still has as many as `peer` then.
    fn gives_up(&self, peer: IpAddr) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for place in self.open.values() {
            *counts.entry(place.peer).or_default() += 1;
        }
        let most = *counts.values().max()?;
        let own = counts.get(&peer).copied().unwrap_or(0);
        let mut open = self.open.iter();
        let oldest = open.find(|(_, place)| counts.get(&place.peer) == Some(&most));
        oldest.filter(|_| most >= own + 2).map(|(key, _)| *key)
    }

    /// The stream with this key has ended.
    pub(super) fn leave(&mut self, key: u64) {
        self.open.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn one_address_has_all_places_until_others_come() {
        let mut places = StreamPlaces::new(4);
        let first: Vec<_> = (0..4).map(|_| places.take(address(1)).expect("free")).collect();
        assert!(places.take(address(1)).is_none(), "its own do not make room");
        let taken = |all: &[(u64, CancellationToken)]| -> Vec<bool> {
            all.iter().map(|(_, taken)| taken.is_cancelled()).collect()
        };
        let other = places.take(address(2)).expect("the oldest of the first");
        assert_eq!(taken(&first), [true, false, false, false]);
        places.take(address(2)).expect("one more: two each");
        assert_eq!(taken(&first), [true, true, false, false]);
        assert!(places.take(address(2)).is_none() && places.take(address(1)).is_none());
        // A third gets one of two; a fourth one too; a fifth none, as no one has more than one.
        assert!(places.take(address(3)).is_some());
        assert!(places.take(address(4)).is_some());
        assert!(places.take(address(5)).is_none());
        assert!(places.open.len() == 4 && !other.1.is_cancelled() || taken(&first)[2]);
    }

    #[test]
    fn a_stream_that_ends_leaves_its_place_once() {
        let mut places = StreamPlaces::new(1);
        let (key, _) = places.take(address(1)).expect("free");
        assert!(places.take(address(2)).is_none());
        places.leave(key);
        let (next, taken) = places.take(address(2)).expect("free again");
        // One that was taken away says so again when it ends.
        places.leave(key);
        assert!(next != key && !taken.is_cancelled() && places.take(address(1)).is_none());
    }
}
