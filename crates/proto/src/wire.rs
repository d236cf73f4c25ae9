//! Reads a protobuf message field by field, without memory of its own: a peer decides how many fields there are. And writes small
//! ones. Pure.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireValue<'a> {
    /// A whole number, a bool or an enum.
    Varint(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A message between two marks, as old protocols have them.
    Group(&'a [u8]),
}

/// Groups nested deeper than this are malformed, as in protobuf's own libraries.
const MAX_GROUPS: usize = 100;

/// The message is not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The fields of a message, in their order, with their numbers.
#[derive(Debug)]
pub struct WireFields<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> WireFields<'a> {
    /// The fields of this message.
    pub fn of(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            failed: false,
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (n, byte) in self.rest.iter().copied().enumerate().take(10) {
            // The tenth byte has one bit.
            if n == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                self.rest = &self.rest[n + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// A field's number and wire type.
    fn key(&mut self) -> Result<(u64, u64), Malformed> {
        let key = self.varint()?;
        let number = key >> 3;
        match number {
            1..=0x1fff_ffff => Ok((number, key & 7)),
            _ => Err(Malformed),
        }
    }

    fn field(&mut self) -> Result<(u64, WireValue<'a>), Malformed> {
        let (number, wire_type) = self.key()?;
        Ok((number, self.value(number, wire_type, 0)?))
    }

    fn value(&mut self, number: u64, wire_type: u64, depth: usize) -> Result<WireValue<'a>, Malformed> {
        Ok(match wire_type {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                WireValue::Bytes(self.bytes(length)?)
            }
            3 => WireValue::Group(self.group(number, depth)?),
            5 => WireValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed),
        })
    }

    /// What stands before the end of the group with this number.
    fn group(&mut self, number: u64, depth: usize) -> Result<&'a [u8], Malformed> {
        if depth == MAX_GROUPS {
            return Err(Malformed);
        }
        let begin = self.rest;
        loop {
            let length = begin.len() - self.rest.len();
            match self.key()? {
                (end, 4) if end == number => return Ok(&begin[..length]),
                (inner, wire_type) => {
                    self.value(inner, wire_type, depth + 1)?;
                }
            }
        }
    }
}

impl<'a> Iterator for WireFields<'a> {
    type Item = Result<(u64, WireValue<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        self.failed = field.is_err();
        Some(field)
    }
}

/// How numbers are packed in the bytes of a repeated field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedAs {
    /// `WireValue::Varint`
    Varint,
    /// `WireValue::Fixed32`
    Fixed32,
    /// `WireValue::Fixed64`
    Fixed64,
}

/// The packed numbers of a repeated field.
pub fn packed(numbers: &[u8], packed_as: PackedAs) -> impl Iterator<Item = Result<WireValue<'_>, Malformed>> {
    let mut fields = WireFields::of(numbers);
    std::iter::from_fn(move || {
        if fields.failed || fields.rest.is_empty() {
            return None;
        }
        let wire_type = match packed_as {
            PackedAs::Varint => 0,
            PackedAs::Fixed64 => 1,
            PackedAs::Fixed32 => 5,
        };
        let number = fields.value(0, wire_type, 0);
        fields.failed = number.is_err();
        Some(number)
    })
}

/// A message with one text field, as most requests are. An empty text is not sent.
pub fn text_field(number: u64, text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !text.is_empty() {
        put_bytes(&mut message, number, text.as_bytes());
    }
    message
}

/// Adds a field of bytes.
pub fn put_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put(message, number, WireValue::Bytes(bytes));
}

/// Adds a field.
pub fn put(message: &mut Vec<u8>, number: u64, value: WireValue<'_>) {
    let mut key = |wire_type| put_varint(message, number << 3 | wire_type);
    match value {
        WireValue::Varint(value) => {
            key(0);
            put_varint(message, value);
        }
        WireValue::Fixed64(value) => {
            key(1);
            message.extend(value.to_le_bytes());
        }
        WireValue::Bytes(bytes) => {
            key(2);
            put_varint(message, bytes.len() as u64);
            message.extend_from_slice(bytes);
        }
        WireValue::Group(bytes) => {
            key(3);
            message.extend_from_slice(bytes);
            put_varint(message, number << 3 | 4);
        }
        WireValue::Fixed32(value) => {
            key(5);
            message.extend(value.to_le_bytes());
        }
    }
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_wire_type_is_read_and_what_is_cut_is_malformed() {
        let message = [
            0x08, 0xac, 0x02, // 1: 300
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x1d, 1, 0, 0, 0, // 3: fixed32
            0x21, 2, 0, 0, 0, 0, 0, 0, 0, // 4: fixed64
        ];
        let fields: Result<Vec<_>, _> = WireFields::of(&message).collect();
        let expected = vec![
            (1, WireValue::Varint(300)),
            (2, WireValue::Bytes(b"hi")),
            (3, WireValue::Fixed32(1)),
            (4, WireValue::Fixed64(2)),
        ];
        assert_eq!(fields, Ok(expected));
        for bad in [
            &b"\x08"[..],
            b"\x12\x05hi",
            b"\x1d\x01",
            b"\x00\x01",
            b"\x0b",
            b"\x0e\x00",
        ] {
            assert_eq!(WireFields::of(bad).last(), Some(Err(Malformed)), "{bad:?}");
        }
        assert_eq!(WireFields::of(b"").next(), None);
        // 1 {2: 5, 3 {}}, 4: 1
        let group = [0x0b, 0x10, 0x05, 0x1b, 0x1c, 0x0c, 0x20, 1];
        let fields: Result<Vec<_>, _> = WireFields::of(&group).collect();
        let inner = WireValue::Group(&group[1..5]);
        assert_eq!(fields, Ok(vec![(1, inner), (4, WireValue::Varint(1))]));
        let endless = [0x0b; 4000];
        assert_eq!(WireFields::of(&endless).next(), Some(Err(Malformed)));
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(
            WireFields::of(&largest).next(),
            Some(Ok((1, WireValue::Varint(u64::MAX))))
        );
        let more = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(WireFields::of(&more).next(), Some(Err(Malformed)));
    }

    #[test]
    fn groups_numbers_and_lengths_have_their_limits() {
        let nested = |depth| [vec![0x0b; depth], vec![0x0c; depth]].concat();
        fn read(message: &[u8]) -> Result<Vec<(u64, WireValue<'_>)>, Malformed> {
            WireFields::of(message).collect()
        }
        let deepest = nested(MAX_GROUPS);
        let inner = WireValue::Group(&deepest[1..2 * MAX_GROUPS - 1]);
        assert_eq!(read(&deepest), Ok(vec![(1, inner)]));
        assert_eq!(read(&nested(MAX_GROUPS + 1)), Err(Malformed));

        let with_number = |number| {
            let mut message = Vec::new();
            put(&mut message, number, WireValue::Varint(7));
            message
        };
        let largest = 0x1fff_ffff;
        assert_eq!(
            read(&with_number(largest)),
            Ok(vec![(largest, WireValue::Varint(7))])
        );
        assert_eq!(read(&with_number(largest + 1)), Err(Malformed));

        let mut long = vec![0x0a];
        put_varint(&mut long, u64::MAX);
        assert_eq!(read(&long), Err(Malformed));
        // After the first mistake nothing more is read.
        assert_eq!(WireFields::of(b"\x00\x08\x01").count(), 1);
    }

    #[test]
    fn packed_numbers_are_read_in_their_order_until_one_is_cut() {
        fn read(numbers: &[u8], packed_as: PackedAs) -> Vec<Result<WireValue<'_>, Malformed>> {
            packed(numbers, packed_as).collect()
        }
        let varints = vec![Ok(WireValue::Varint(300)), Ok(WireValue::Varint(1))];
        assert_eq!(read(&[0xac, 0x02, 1], PackedAs::Varint), varints);
        let cut = vec![Ok(WireValue::Fixed32(1)), Err(Malformed)];
        assert_eq!(read(&[1, 0, 0, 0, 2], PackedAs::Fixed32), cut);
        assert_eq!(
            read(&[2, 0, 0, 0, 0, 0, 0, 0], PackedAs::Fixed64),
            [Ok(WireValue::Fixed64(2))]
        );
        assert_eq!(read(&[], PackedAs::Varint), []);
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(WireFields::of(&bytes).count() <= bytes.len());
        }

        #[test]
        fn what_is_read_can_be_written_again(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let fields: Result<Vec<_>, _> = WireFields::of(&bytes).collect();
            if let Ok(fields) = fields {
                let mut again = Vec::new();
                fields.iter().for_each(|(number, value)| put(&mut again, *number, *value));
                // Varints may be longer than they need to be.
                let read: Result<Vec<_>, _> = WireFields::of(&again).collect();
                prop_assert_eq!(read, Ok(fields));
            }
        }

        #[test]
        fn packed_numbers_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for packed_as in [PackedAs::Varint, PackedAs::Fixed32, PackedAs::Fixed64] {
                prop_assert!(packed(&bytes, packed_as).count() <= bytes.len());
            }
        }

        #[test]
        fn a_text_field_is_read_back(text in ".{0,200}") {
            let message = text_field(2, &text);
            let fields: Result<Vec<_>, _> = WireFields::of(&message).collect();
            let expected = if text.is_empty() { vec![] } else { vec![(2, WireValue::Bytes(text.as_bytes()))] };
            prop_assert_eq!(fields, Ok(expected));
        }
    }
}
