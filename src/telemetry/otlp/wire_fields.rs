//! protobuf's wire format, written field by field. Spans are many: as messages, each of their attributes would be two strings of its
//! own, made, measured twice, written and thrown away. Pure.

/// Kinds of fields: what follows the field's number.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

/// Seven bits of a number are in a byte. With this one, more follow.
const MORE: u8 = 0x80;

/// The fields of a message, one after the other.
#[derive(Debug, Default)]
pub(super) struct ProtoFields(Vec<u8>);

impl ProtoFields {
    /// None, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// All that has been written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Fields that were written elsewhere.
    pub(super) fn append(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// Of the types int64 (not negative), uint64 and enum.
    pub(super) fn whole(&mut self, field: u64, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// Of the type fixed64.
    pub(super) fn fixed(&mut self, field: u64, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Of the types bytes and string, and a message that is written already.
    pub(super) fn bytes(&mut self, field: u64, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message, whose fields `write` writes.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.key(field, LENGTH);
        // One byte for the length, which is enough for an attribute.
        let start = self.0.len() + 1;
        self.0.push(0);
        write(self);
        let end = self.0.len();
        let mut length = (end - start) as u64;
        // A longer one moves what has been written.
        let last = start - 1 + (length.max(1).ilog2() / 7) as usize;
        if last >= start {
            self.0.resize(end + last + 1 - start, 0);
            self.0.copy_within(start..end, last + 1);
        }
        for byte in &mut self.0[start - 1..last] {
            *byte = length as u8 | MORE;
            length >>= 7;
        }
        self.0[last] = length as u8;
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= u64::from(MORE) {
            self.0.push(value as u8 | MORE);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::{Span, Status};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn the_bytes_are_those_of_prost(name in ".{0,40}", length in 0usize..40_000, number in 0..=i64::MAX, time: u64) {
            let value = "x".repeat(length);
            let attribute = |key: &str, value: Value| KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            };
            let span = Span {
                name: name.clone(),
                end_time_unix_nano: time,
                attributes: vec![
                    attribute("a", Value::StringValue(value.clone())),
                    attribute("b", Value::IntValue(number)),
                ],
                status: Some(Status::default()),
                ..Span::default()
            };
            let mut fields = ProtoFields::default();
            // Of a message of its own, prost leaves an empty field out.
            if !name.is_empty() {
                fields.bytes(5, &name);
            }
            if time != 0 {
                fields.fixed(8, time);
            }
            for (key, field) in [("a", 1), ("b", 3)] {
                fields.message(9, |fields| {
                    fields.bytes(1, key);
                    fields.message(2, |fields| match field {
                        1 => fields.bytes(1, &value),
                        _ => fields.whole(3, number as u64),
                    });
                });
            }
            fields.message(15, |_| {});
            prop_assert_eq!(fields.into_bytes(), span.encode_to_vec());
        }
    }
}
