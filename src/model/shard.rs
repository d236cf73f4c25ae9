//! Which of several processes probes a SoC. Each process knows its own number and how many there are, and computes the same answer
//! as all others: they need not talk to each other. Pure.
//!
//! Rendezvous hashing: each process gets a score for the SoC, and the highest score wins. When the number of processes changes from
//! `n` to `n + 1`, one in `n + 1` SoCs moves, and each of them moves to the new process.

use super::TargetId;

/// The most processes. Each SoC is scored once for each process, so the number needs a limit.
pub const MOST_SHARDS: u32 = 1000;

/// One process of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0. From `count` on it has no share: the number of processes has just become smaller.
    pub index: u32,
    /// How many processes there are, 1 to `MOST_SHARDS`.
    pub count: u32,
}

impl Shard {
    /// Whether this process probes the SoC.
    pub fn owns(&self, id: &TargetId) -> bool {
        owner(id, self.count) == self.index
    }
}

/// The number of the process that probes the SoC, of `count` processes. It must never change: while processes of two versions run,
/// they would not agree, and SoCs would be probed twice or not at all.
pub fn owner(id: &TargetId, count: u32) -> u32 {
    let parts = [id.rack.as_str(), "|", id.port.as_str()];
    let key = fnv1a64(parts.iter().flat_map(|part| part.bytes()));
    // Of equal scores the lowest number wins: `max_by_key` returns the last.
    let highest = (0..count).rev().max_by_key(|index| score(key, *index));
    highest.unwrap_or(0)
}

fn score(key: u64, index: u32) -> u64 {
    fmix64(key ^ fmix64(u64::from(index) + 1))
}

/// FNV-1a, 64 bits.
fn fnv1a64(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The last step of MurmurHash3, 64 bits: each bit of the input changes half of the output's bits.
fn fmix64(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// What a process has of all targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardShare {
    /// Which process this is.
    pub shard: Shard,
    /// Targets that this process probes.
    pub owned: usize,
    /// Targets that other processes probe.
    pub others: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Port, Rack};

    fn id(rack: &str, port: &str) -> TargetId {
        TargetId {
            rack: Rack::new(rack).expect("a rack"),
            port: Port::new(port).expect("a port"),
        }
    }

    /// The SoCs of racks with 24 ports each.
    fn fleet(socs: usize) -> Vec<TargetId> {
        let one = |n: usize| id(&format!("r{}", n / 24), &format!("Ethernet{}", n % 24 * 4));
        (0..socs).map(one).collect()
    }

    /// Whoever must change a line of this table breaks every deployment that is being updated.
    #[test]
    fn the_owner_of_a_soc_never_changes() {
        let table = [
            ("", "Ethernet0", [0, 0, 0, 0, 13]),
            ("", "Ethernet4", [0, 0, 0, 0, 0]),
            ("", "Ethernet8", [0, 1, 1, 4, 8]),
            ("", "Ethernet100", [0, 1, 2, 2, 7]),
            ("", "Ethernet1020", [0, 0, 0, 3, 12]),
            ("r1", "Ethernet0", [0, 1, 1, 1, 16]),
            ("r1", "Ethernet4", [0, 1, 1, 1, 18]),
            ("r2", "Ethernet0", [0, 1, 1, 1, 14]),
            ("r2", "Ethernet4", [0, 0, 0, 0, 0]),
            ("r17", "Ethernet0", [0, 0, 2, 2, 19]),
            ("r17", "Ethernet48", [0, 1, 1, 3, 10]),
            ("str-a1", "Ethernet0", [0, 1, 1, 1, 7]),
            ("str-a1", "Ethernet1_1", [0, 0, 0, 0, 6]),
            ("lab", "et-0/0/1", [0, 0, 0, 0, 8]),
            ("lab", "a", [0, 0, 0, 3, 16]),
            ("r10", "Ethernet12", [0, 0, 0, 0, 11]),
            ("r99", "Ethernet92", [0, 0, 2, 3, 3]),
            ("RACK.9", "Ethernet0", [0, 0, 2, 2, 5]),
            ("0", "0", [0, 0, 2, 2, 6]),
            ("dc1/r3", "Ethernet16", [0, 1, 2, 4, 8]),
        ];
        for (rack, port, owners) in table {
            let id = id(rack, port);
            let found = [1, 2, 3, 5, 20].map(|count| owner(&id, count));
            assert_eq!(found, owners, "{rack}|{port}");
        }
    }

    #[test]
    fn the_formula_is_the_documented_one() {
        // FNV-1a's own test vectors.
        assert_eq!(fnv1a64("".bytes()), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64("foobar".bytes()), 0x8594_4171_f739_67e8);
        assert_eq!(fmix64(0), 0);
        assert_eq!(fmix64(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn no_more_socs_move_than_must_and_each_shard_has_its_share() {
        let fleet = fleet(3000);
        for (before, after) in [(3, 5), (5, 2), (3, 4), (4, 3), (1, 2), (19, 20)] {
            let is_moved = |id: &&TargetId| owner(id, before) != owner(id, after);
            let moved = fleet.iter().filter(is_moved).count() as f64 / fleet.len() as f64;
            let fewer = f64::from(before.min(after));
            let theory = 1.0 - fewer / f64::from(before.max(after));
            assert!((moved - theory).abs() <= 0.03, "{before} -> {after}: {moved}");
        }
        let mut shares: HashMap<u32, usize> = HashMap::new();
        for id in &fleet {
            *shares.entry(owner(id, 3)).or_default() += 1;
        }
        assert!(
            shares.len() == 3 && shares.values().all(|share| (900..=1100).contains(share)),
            "{shares:?}"
        );
    }

    proptest! {
        #[test]
        fn every_soc_has_exactly_one_owner_and_moves_only_to_a_new_shard(
            rack in "[a-z0-9]{0,8}", port in "Ethernet[0-9]{1,4}", count in 1u32..60,
        ) {
            let id = id(&rack, &port);
            let owners = (0..count).filter(|&index| Shard { index, count }.owns(&id)).count();
            prop_assert_eq!(owners, 1);
            let (before, after) = (owner(&id, count), owner(&id, count + 1));
            prop_assert!(after == before || after == count);
        }
    }
}
