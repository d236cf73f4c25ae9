//! Whether a reply can be decoded: each field that its type knows has a value of that type.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::reply_walk::packed_as;
use dualtor_proto::wire::{self, Malformed, PackedAs, WireFields, WireValue};

/// Messages nested deeper than this cannot be decoded, as in protobuf's own libraries.
const MAX_DEPTH: usize = 100;

pub(super) fn check(reply: &[u8], message: &MessageDescriptor) -> Result<(), Malformed> {
    inner(reply, message, 0)
}

fn inner(bytes: &[u8], message: &MessageDescriptor, depth: usize) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed);
    }
    for field in WireFields::of(bytes) {
        let (number, value) = field?;
        let known = u32::try_from(number)
            .ok()
            .and_then(|number| message.get_field(number));
        if let Some(known) = known {
            of_type(value, &known, depth)?;
        }
    }
    Ok(())
}

fn of_type(value: WireValue<'_>, field: &FieldDescriptor, depth: usize) -> Result<(), Malformed> {
    let kind = field.kind();
    match (value, &kind) {
        (WireValue::Bytes(text), Kind::String) => {
            std::str::from_utf8(text).map(|_| ()).map_err(|_| Malformed)
        }
        (WireValue::Bytes(_), Kind::Bytes) => Ok(()),
        (WireValue::Bytes(bytes), Kind::Message(message)) if !field.is_group() => {
            inner(bytes, message, depth + 1)
        }
        (WireValue::Group(bytes), Kind::Message(message)) if field.is_group() => {
            inner(bytes, message, depth + 1)
        }
        (WireValue::Bytes(numbers), kind) if field.is_list() => {
            let packed_as = packed_as(kind).ok_or(Malformed)?;
            wire::packed(numbers, packed_as).try_for_each(|number| number.map(|_| ()))
        }
        (WireValue::Varint(_), kind) if packed_as(kind) == Some(PackedAs::Varint) => Ok(()),
        (WireValue::Fixed32(_), kind) if packed_as(kind) == Some(PackedAs::Fixed32) => Ok(()),
        (WireValue::Fixed64(_), kind) if packed_as(kind) == Some(PackedAs::Fixed64) => Ok(()),
        _ => Err(Malformed),
    }
}
