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

    /// Counts a key, unless it is known. `None`: the key's default, which some libraries write and others do not.
    pub fn insert(&mut self, key: Option<WireValue<'_>>) {
        let (part, parts) = self.part;
        let hash = self.hasher.hash_one(key.filter(|key| !is_default(*key)));
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

fn is_default(key: WireValue<'_>) -> bool {
    match key {
        WireValue::Varint(number) | WireValue::Fixed64(number) => number == 0,
        WireValue::Fixed32(number) => number == 0,
        WireValue::Bytes(bytes) => bytes.is_empty(),
        // No key is a group.
        WireValue::Group(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted<'a>(keys: impl IntoIterator<Item = Option<WireValue<'a>>>, part: (u64, u64)) -> DistinctKeys {
        let mut counted = DistinctKeys::of_part(part, RandomState::new());
        keys.into_iter().for_each(|key| counted.insert(key));
        counted
    }

    #[test]
    fn a_key_counts_once_and_the_default_is_one_whether_it_is_written_or_not() {
        let one = [Some(WireValue::Varint(1)), Some(WireValue::Varint(1))];
        assert_eq!(counted(one, (0, 1)).count(), Some(1));
        let texts = [b"a", b"b", b"a"].map(|text| Some(WireValue::Bytes(text)));
        assert_eq!(counted(texts, (0, 1)).count(), Some(2));
        for default in [
            WireValue::Varint(0),
            WireValue::Fixed32(0),
            WireValue::Fixed64(0),
            WireValue::Bytes(b""),
        ] {
            assert_eq!(
                counted([None, Some(default)], (0, 1)).count(),
                Some(1),
                "{default:?}"
            );
        }
        let mut none = counted(one, (0, 1));
        none.clear();
        assert_eq!(none.count(), Some(0));
    }

    #[test]
    fn of_a_crowded_map_each_key_is_in_one_part() {
        let keys = |count: u64| (0..count).map(|key| Some(WireValue::Varint(key)));
        let most = MOST_KEYS as u64;
        // What is known already needs no room.
        let mut full = counted(keys(most).chain(keys(most)), (0, 1));
        assert_eq!(full.count(), Some(MOST_KEYS));
        full.insert(Some(WireValue::Varint(most)));
        assert_eq!(full.count(), None);
        full.clear();
        assert_eq!(full.count(), Some(0));

        let hasher = RandomState::new();
        let in_part = |part| {
            let mut counted = DistinctKeys::of_part((part, PARTS), hasher.clone());
            keys(3 * most).chain(keys(9)).for_each(|key| counted.insert(key));
            counted.count().expect("a part is never crowded") as u64
        };
        assert_eq!((0..PARTS).map(in_part).sum::<u64>(), 3 * most);
    }
}
