//! Reads a protobuf message field by field, without memory of its own: a peer decides how many fields there are. Pure.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// The message is not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a message, in their order, with their numbers.
#[derive(Debug)]
pub(super) struct WireFields<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> WireFields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
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

    fn field(&mut self) -> Result<(u64, WireValue<'a>), Malformed> {
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                WireValue::Bytes(self.bytes(length)?)
            }
            5 => WireValue::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups, which no protocol here has, and what protobuf does not define.
            _ => return Err(Malformed),
        };
        Ok((number, value))
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

/// A message with one text field, as most requests are. An empty text is not sent.
pub(super) fn text_field(number: u8, text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !text.is_empty() {
        put_bytes(&mut message, number, text.as_bytes());
    }
    message
}

/// Adds a field of bytes.
pub(super) fn put_bytes(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
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
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(
            WireFields::of(&largest).next(),
            Some(Ok((1, WireValue::Varint(u64::MAX))))
        );
        let more = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(WireFields::of(&more).next(), Some(Err(Malformed)));
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(WireFields::of(&bytes).count() <= bytes.len());
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
