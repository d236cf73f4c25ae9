//! What stands before each message in a gRPC stream: whether it is compressed, and its length. Pure.

/// Bytes of it.
pub const PREFIX_LEN: usize = 5;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePrefix {
    /// As it came. 0: not compressed; 1: compressed; gRPC knows no other.
    pub flag: u8,
    /// Bytes of the message that follows.
    pub length: usize,
}

impl MessagePrefix {
    /// The prefix with which these bytes begin; `None`: they are too few.
    pub fn first(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self::from)
    }

    /// Before a message that is not compressed.
    pub fn plain(length: usize) -> [u8; PREFIX_LEN] {
        Self { flag: 0, length }.bytes()
    }

    /// As it is sent. No message is so long that its length does not fit: all of them have limits.
    pub fn bytes(self) -> [u8; PREFIX_LEN] {
        let [a, b, c, d] = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        [self.flag, a, b, c, d]
    }
}

impl From<[u8; PREFIX_LEN]> for MessagePrefix {
    fn from([flag, a, b, c, d]: [u8; PREFIX_LEN]) -> Self {
        Self {
            flag,
            length: u32::from_be_bytes([a, b, c, d]) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let prefix = MessagePrefix {
            flag: 1,
            length: 0x0102_0304,
        };
        assert_eq!(prefix.bytes(), [1, 1, 2, 3, 4]);
        assert_eq!(MessagePrefix::first(&prefix.bytes()), Some(prefix));
        assert_eq!(MessagePrefix::first(&[0, 0, 0, 0]), None);
        assert_eq!(MessagePrefix::plain(3), [0, 0, 0, 0, 3]);
    }
}
