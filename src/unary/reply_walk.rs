//! The way through a reply → what is at its end.
//!
//! Nothing of the reply is copied, and a reply of four million elements is counted without holding one. Protobuf's rules hold: of
//! a field that comes twice the last value counts, a message that comes twice is both together, and a member of an oneof ends
//! the others.

use std::hash::RandomState;

use prost_reflect::Kind;

use super::reply_path::{EntryKey, LeafKind, PathStep, ReplyPath, StepChoice};
use dualtor_proto::distinct_keys::{DistinctKeys, PARTS};
use dualtor_proto::wire::{self, Malformed, PackedAs, WireFields, WireValue};

/// What is at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LeafFound<'a> {
    /// Nothing.
    Absent,
    /// The type's default.
    Default,
    /// A scalar.
    One(WireValue<'a>),
    /// A message.
    Message,
    /// So many elements, or keys.
    Size(u64),
    /// A Timestamp or a Duration: seconds and nanoseconds.
    Time(i64, i32),
}

struct Walk<'a, 'p> {
    path: &'p ReplyPath,
    /// Elements that were passed, by step.
    passed: Vec<u32>,
    /// Whether the message with the last step's field is there.
    reached: bool,
    found: LeafFound<'a>,
    keys: DistinctKeys,
}

/// Follows a path.
pub(super) fn walk<'a>(reply: &'a [u8], path: &ReplyPath) -> Result<LeafFound<'a>, Malformed> {
    let hasher = RandomState::new();
    let walk = walked(reply, path, &hasher, (0, 1))?;
    Ok(match (walk.found, &path.leaf) {
        (LeafFound::Absent, LeafKind::Size { map: true }) if walk.reached => {
            LeafFound::Size(match walk.keys.count() {
                Some(keys) => keys as u64,
                None => {
                    let mut keys = 0;
                    for part in 0..PARTS {
                        let walk = walked(reply, path, &hasher, (part, PARTS))?;
                        keys += walk.keys.count().unwrap_or_default() as u64;
                    }
                    keys
                }
            })
        }
        (LeafFound::Absent, LeafKind::Size { map: false }) if walk.reached => LeafFound::Size(0),
        (LeafFound::Absent, LeafKind::Scalar(_)) if walk.reached && path.implicit => LeafFound::Default,
        (found, _) => found,
    })
}

/// Follows a path, and counts the keys of this part.
fn walked<'a, 'p>(
    reply: &'a [u8],
    path: &'p ReplyPath,
    hasher: &RandomState,
    part: (u64, u64),
) -> Result<Walk<'a, 'p>, Malformed> {
    let mut walk = Walk {
        path,
        passed: vec![0; path.steps.len()],
        reached: false,
        found: LeafFound::Absent,
        keys: DistinctKeys::of_part(part, hasher.clone()),
    };
    walk.message(reply, 0)?;
    Ok(walk)
}

impl<'a> Walk<'a, '_> {
    fn is_last(&self, at: usize) -> bool {
        at + 1 == self.path.steps.len()
    }

    /// What was found behind the step `at` does not count any more.
    fn forget(&mut self, at: usize) {
        self.found = LeafFound::Absent;
        self.keys.clear();
        self.reached = self.is_last(at);
        self.passed[at + 1..].fill(0);
    }

    fn message(&mut self, message: &'a [u8], at: usize) -> Result<(), Malformed> {
        self.reached |= self.is_last(at);
        let path = self.path;
        let PathStep {
            number: wanted,
            rivals,
            choice,
            ..
        } = &path.steps[at];
        for field in WireFields::of(message) {
            let (number, value) = field?;
            if rivals.contains(&number) {
                self.forget(at);
            }
            if number != *wanted {
                continue;
            }
            match choice {
                StepChoice::Only => self.enter(value, at)?,
                StepChoice::Element(index) => self.elements(value, *index, at)?,
                StepChoice::Entry(key) => {
                    if let WireValue::Bytes(entry) = value {
                        self.entry(entry, key, at)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn elements(&mut self, value: WireValue<'a>, index: u32, at: usize) -> Result<(), Malformed> {
        match (value, packed_as(&self.path.steps[at].kind)) {
            (WireValue::Bytes(numbers), Some(packed_as)) => {
                for number in wire::packed(numbers, packed_as) {
                    self.element(number?, index, at)?;
                }
                Ok(())
            }
            (value, _) => self.element(value, index, at),
        }
    }

    fn element(&mut self, value: WireValue<'a>, index: u32, at: usize) -> Result<(), Malformed> {
        let n = self.passed[at];
        self.passed[at] = n.saturating_add(1);
        if n == index { self.enter(value, at) } else { Ok(()) }
    }

    /// Of two entries with this key the second counts.
    fn entry(&mut self, entry: &'a [u8], key: &EntryKey, at: usize) -> Result<(), Malformed> {
        let (own, value) = key_and_value(entry)?;
        if !is_key(own, key) {
            return Ok(());
        }
        self.forget(at);
        match (value, self.is_last(at), &self.path.leaf) {
            (Some(value), ..) => self.enter(value, at),
            (None, true, LeafKind::Scalar(_)) => {
                self.found = LeafFound::Default;
                Ok(())
            }
            (None, ..) => self.enter(WireValue::Bytes(b""), at),
        }
    }

    /// Goes into the value of the step `at`.
    fn enter(&mut self, value: WireValue<'a>, at: usize) -> Result<(), Malformed> {
        let inner = match value {
            WireValue::Bytes(inner) | WireValue::Group(inner) => Some(inner),
            _ => None,
        };
        if !self.is_last(at) {
            return inner.map_or(Ok(()), |inner| self.message(inner, at + 1));
        }
        self.found = match (&self.path.leaf, self.found) {
            (LeafKind::Scalar(_), _) => LeafFound::One(value),
            (LeafKind::Message, _) => LeafFound::Message,
            (LeafKind::Seconds, before) => time(inner.unwrap_or(b""), before)?,
            (LeafKind::Size { map: true }, _) => {
                let (key, _) = key_and_value(inner.unwrap_or(b""))?;
                self.keys.insert(key);
                LeafFound::Absent
            }
            (LeafKind::Size { map: false }, before) => {
                let more = match (inner, packed_as(&self.path.steps[at].kind)) {
                    (Some(numbers), Some(packed_as)) => wire::packed(numbers, packed_as).count() as u64,
                    _ => 1,
                };
                match before {
                    LeafFound::Size(size) => LeafFound::Size(size + more),
                    _ => LeafFound::Size(more),
                }
            }
        };
        Ok(())
    }
}

/// A map's entry: 1 the key, 2 the value.
fn key_and_value(entry: &[u8]) -> Result<(Option<WireValue<'_>>, Option<WireValue<'_>>), Malformed> {
    let (mut key, mut value) = (None, None);
    for field in WireFields::of(entry) {
        match field? {
            (1, given) => key = Some(given),
            (2, given) => value = Some(given),
            _ => {}
        }
    }
    Ok((key, value))
}

fn is_key(own: Option<WireValue<'_>>, key: &EntryKey) -> bool {
    match (own, key) {
        (Some(WireValue::Bytes(own)), EntryKey::Text(key)) => own == key.as_bytes(),
        (None, EntryKey::Text(key)) => key.is_empty(),
        (Some(WireValue::Varint(own)), EntryKey::Varint(key)) => own == *key,
        (Some(WireValue::Fixed32(own)), EntryKey::Fixed32(key)) => own == *key,
        (Some(WireValue::Fixed64(own)), EntryKey::Fixed64(key)) => own == *key,
        (None, EntryKey::Varint(key) | EntryKey::Fixed64(key)) => *key == 0,
        (None, EntryKey::Fixed32(key)) => *key == 0,
        _ => false,
    }
}

/// A Timestamp or a Duration, together with what came before it: 1 seconds, 2 nanoseconds.
fn time<'a>(message: &[u8], before: LeafFound<'a>) -> Result<LeafFound<'a>, Malformed> {
    let (mut seconds, mut nanos) = match before {
        LeafFound::Time(seconds, nanos) => (seconds, nanos),
        _ => (0, 0),
    };
    for field in WireFields::of(message) {
        match field? {
            (1, WireValue::Varint(value)) => seconds = value as i64,
            (2, WireValue::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    Ok(LeafFound::Time(seconds, nanos))
}

/// How elements of this type are packed; `None`: they never are.
pub(super) fn packed_as(kind: &Kind) -> Option<PackedAs> {
    match kind {
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => Some(PackedAs::Varint),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Some(PackedAs::Fixed32),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Some(PackedAs::Fixed64),
        Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}
