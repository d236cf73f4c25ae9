//! Where a reply of Redis ends, and whether we are willing to keep it (pure).
//!
//! Redis is on the same switch, but whatever answers at its address may be hostile or broken: it must not cost memory or time
//! without a limit. So the bytes are checked here before anything is made of them. A reply that announces too much is refused
//! at its announcement, not when it has arrived. The redis crate parses a reply once it is complete.
//!
//! Only RESP2: a server sends RESP3 only to a client that asks for it.

/// How much one exchange (a question and all its replies) may bring.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    bytes: Allowance,
    values: Allowance,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: usize,
    all: usize,
}

impl Allowance {
    const fn of(all: usize) -> Self {
        Self { left: all, all }
    }

    fn spend(&mut self, amount: usize, breach: impl FnOnce(usize) -> Breach) -> Result<(), Breach> {
        self.left = self.left.checked_sub(amount).ok_or_else(|| breach(self.all))?;
        Ok(())
    }
}

impl Budget {
    /// For the replies to one pipeline, in bytes and values. 256 rows of SONiC with 41 fields each are 21,000 values and 400
    /// kB; a single field may be several megabytes.
    pub(super) const REPLIES: Self = Self::of(16 * 1024 * 1024, 65_536);
    /// For one notification, in bytes and values: two names of a channel, each with a key in it.
    pub(super) const NOTIFICATION: Self = Self::of(1024 * 1024, 64);

    const fn of(bytes: usize, values: usize) -> Self {
        Self {
            bytes: Allowance::of(bytes),
            // Each value costs about 60 bytes, however short it is.
            values: Allowance::of(values),
        }
    }
}

/// The longest line of a reply, in bytes: a status, a number, an error. Redis itself shortens the arguments that its errors quote.
const MAX_LINE: usize = 64 * 1024;
/// How deep arrays may be nested. SCAN answers with an array in an array.
const MAX_DEPTH: usize = 4;

/// What a reply must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// More bytes than an exchange may have.
    #[error("an answer of more than {} MiB", .0 >> 20)]
    Bytes(usize),
    /// More values than an exchange may have.
    #[error("an answer of more than {0} values")]
    Values(usize),
    /// A line without an end.
    #[error("a line of more than {} KiB", MAX_LINE >> 10)]
    Line,
    /// Arrays in arrays in arrays.
    #[error("arrays nested more than {MAX_DEPTH} deep")]
    Depth,
    /// Not Redis' protocol.
    #[error("bytes that are not Redis' protocol")]
    Protocol,
    /// Another type of value than the command has.
    #[error("an unexpected type of reply from Redis")]
    Kind,
    /// A reply without a question.
    #[error("an answer without a question")]
    Unasked,
    /// Notifications faster than any writer on a switch.
    #[error("more than {0} notifications in a second")]
    Flood(u32),
    /// More keys than we read.
    #[error("more than {0} keys whose names begin like those of our tables")]
    Keys(usize),
    /// More in our tables than we keep.
    #[error("more than {} MiB in the tables that are read", .0 >> 20)]
    Size(usize),
    /// A SCAN that does not end.
    #[error("a SCAN that does not end")]
    Scan,
}

/// Follows one reply through the bytes as they arrive.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Everything before this is understood. It is beyond the present bytes while a long string is still arriving.
    at: usize,
    /// For each open array: how many values are still to come.
    open: Vec<usize>,
    whole: bool,
}

impl Frame {
    /// Where the reply at the start of `bytes` ends. `None`: it is not complete. Call again with the same bytes and more.
    pub(super) fn end(&mut self, bytes: &[u8], budget: &mut Budget) -> Result<Option<usize>, Breach> {
        while !self.whole {
            let Some(rest) = bytes.get(self.at..) else {
                return Ok(None);
            };
            let window = &rest[..rest.len().min(MAX_LINE + 2)];
            let Some(length) = window.windows(2).position(|pair| pair == b"\r\n") else {
                return match rest {
                    [first, ..] if !b"+-:$*".contains(first) => Err(Breach::Protocol),
                    _ if rest.len() > MAX_LINE => Err(Breach::Line),
                    _ => Ok(None),
                };
            };
            self.line(&rest[..length], budget)?;
        }
        Ok((self.at <= bytes.len()).then_some(self.at))
    }

    fn line(&mut self, line: &[u8], budget: &mut Budget) -> Result<(), Breach> {
        budget.values.spend(1, Breach::Values)?;
        self.take(line.len() + 2, budget)?;
        match line.split_first() {
            Some((b'+' | b'-' | b':', _)) => self.value(),
            Some((b'$', length)) => {
                if let Ok(length) = usize::try_from(number(length)?) {
                    self.take(length.saturating_add(2), budget)?;
                }
                self.value();
            }
            Some((b'*', count)) => match usize::try_from(number(count)?) {
                Ok(0) | Err(_) => self.value(),
                Ok(count) if count > budget.values.left => return Err(Breach::Values(budget.values.all)),
                Ok(_) if self.open.len() == MAX_DEPTH => return Err(Breach::Depth),
                Ok(count) => self.open.push(count),
            },
            _ => return Err(Breach::Protocol),
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize, budget: &mut Budget) -> Result<(), Breach> {
        budget.bytes.spend(bytes, Breach::Bytes)?;
        self.at += bytes;
        Ok(())
    }

    /// A value is complete, and with it the arrays whose last value it is.
    fn value(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        self.whole = true;
    }
}

fn number(text: &[u8]) -> Result<i64, Breach> {
    let text = std::str::from_utf8(text).map_err(|_| Breach::Protocol)?;
    text.parse().map_err(|_| Breach::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> Result<Option<usize>, Breach> {
        Frame::default().end(bytes, &mut Budget::REPLIES.clone())
    }

    #[test]
    fn a_reply_ends_where_its_last_value_does() {
        for whole in [
            "+OK\r\n",
            "-ERR no\r\n",
            ":1\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$4\r\na\r\nb\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$-1\r\n",
            "*2\r\n*0\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            let more = format!("{whole}+next\r\n");
            // However it arrives.
            let (mut frame, mut budget) = (Frame::default(), Budget::REPLIES);
            for some in 0..whole.len() {
                let found = frame.end(&more.as_bytes()[..some], &mut budget);
                assert_eq!(found, Ok(None), "{some} bytes of {whole:?}");
            }
            let found = frame.end(more.as_bytes(), &mut budget);
            assert_eq!(found, Ok(Some(whole.len())), "{whole:?}");
            assert_eq!(end(more.as_bytes()), Ok(Some(whole.len())), "{whole:?}");
        }
    }

    #[test]
    fn what_is_too_much_is_refused_when_it_is_announced() {
        let check = |bytes: &str, expected| assert_eq!(end(bytes.as_bytes()), Err(expected), "{bytes:.40}");
        check("$500000000\r\n", Breach::Bytes(16 << 20));
        check("$9223372036854775807\r\n", Breach::Bytes(16 << 20));
        check("*1000000000\r\n", Breach::Values(65_536));
        check(&"*1\r\n".repeat(5), Breach::Depth);
        check(&format!("+{}", "x".repeat(70_000)), Breach::Line);
        check(&format!("-ERR {}\r\n", "x".repeat(5_000_000)), Breach::Line);
        for odd in [
            "HTTP/1.1 200 OK\r\n",
            "%1\r\n",
            ">2\r\n",
            "$x\r\n",
            "*99999999999999999999\r\n",
            "\r\n",
            "h",
        ] {
            check(odd, Breach::Protocol);
        }
        check(
            &format!("*60000\r\n*60000\r\n{}", ":1\r\n".repeat(65_535)),
            Breach::Values(65_536),
        );
    }

    #[test]
    fn replies_to_one_question_share_a_budget() {
        let mut budget = Budget::REPLIES;
        let reply = format!("$6000000\r\n{}\r\n", "x".repeat(6_000_000));
        let mut next = || Frame::default().end(reply.as_bytes(), &mut budget);
        assert_eq!(next(), Ok(Some(reply.len())));
        assert_eq!(next(), Ok(Some(reply.len())));
        assert_eq!(next(), Err(Breach::Bytes(16 << 20)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_beyond_its_budget(bytes: Vec<u8>, from in "[+:$*0-9\r\n-]{0,60}") {
            for bytes in [bytes, from.into_bytes()] {
                if let Ok(Some(end)) = Frame::default().end(&bytes, &mut Budget::of(50, 5)) {
                    assert!(end <= 50 && end <= bytes.len());
                    // The redis crate must not panic, whatever it makes of it.
                    let _ = redis::parse_redis_value(&bytes[..end]);
                }
            }
        }
    }
}
