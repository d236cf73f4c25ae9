//! Counts the keys of a protobuf map, each once, with bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::wire::WireValue;

/// Keys that are counted at a time.
const MOST_KEYS: usize = 64 * 1024;
/// Parts of a crowded map. In a reply of 4 MiB 700,000 keys have room: 44,000 in each part.
pub const PARTS: u64 = 16;

/// A map's keys by their hashes, each once. Of a crowded map they are counted part by part: a hostile reply has hundreds of
/// thousands of them.
#[derive(Debug)]
pub struct DistinctKeys {
    hashes: HashSet<u64>,
    hasher: RandomState,
    /// Which part is counted, of how many.
    part: (u64, u64),
    /// There are more than `MOST_KEYS`, of which the others were not kept.
    is_crowded: bool,
}

impl DistinctKeys {
    /// For one part of a map's keys, of so many. All parts need the same hasher.
    pub fn of_part(part: (u64, u64), hasher: RandomState) -> Self {
        Self {
            hashes: HashSet::new(),
            hasher,
            part,
            is_crowded: false,
        }
    }

    /// Counts a key, unless it is known. `None`: the key's default.
    pub fn insert(&mut self, key: Option<WireValue<'_>>) {
        let (part, parts) = self.part;
        let hash = self.hasher.hash_one(key);
        if hash % parts != part {
            return;
        }
        match parts == 1 && self.hashes.len() == MOST_KEYS {
            true => self.is_crowded |= !self.hashes.contains(&hash),
            false => {
                self.hashes.insert(hash);
            }
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.is_crowded = false;
    }

    /// How many there are. `None`: more than are kept at a time, so that they must be counted in `PARTS`.
    pub fn count(&self) -> Option<usize> {
        (!self.is_crowded).then_some(self.hashes.len())
    }
}
