//! How a SoC's server judges a client's PINGs: the default policy of gRPC's own servers, and stricter ones.
//!
//! There is one [`Pings`] per connection, in `server_wire`, which sees the frames. Time is an argument.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::duration;

/// Which PINGs are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PingPolicy {
    /// A PING sooner after the last one is a strike.
    #[serde(deserialize_with = "duration::deserialize")]
    pub min_time: Duration,
    /// How many strikes are allowed. The next one is GOAWAY ENHANCE_YOUR_CALM "too_many_pings".
    pub strikes: u32,
    /// Whether HEADERS or DATA that the server sends clear all strikes.
    pub forgiving: bool,
}

impl Default for PingPolicy {
    /// The policy of grpcio, grpc-go and grpc-java.
    fn default() -> Self {
        Self {
            min_time: Duration::from_secs(300),
            strikes: 2,
            forgiving: true,
        }
    }
}

/// The PINGs of one connection.
#[derive(Debug)]
pub(super) struct Pings {
    policy: PingPolicy,
    last: Option<Instant>,
    strikes: u32,
}

impl Pings {
    pub(super) fn new(policy: PingPolicy) -> Self {
        Self {
            policy,
            last: None,
            strikes: 0,
        }
    }

    /// A PING arrived. Returns whether that is one too many.
    pub(super) fn came(&mut self, now: Instant) -> bool {
        let early = |last| now.duration_since(last) < self.policy.min_time;
        self.strikes += u32::from(self.last.is_some_and(early));
        self.last = Some(now);
        self.strikes > self.policy.strikes
    }

    /// The server has sent HEADERS or DATA.
    pub(super) fn replied(&mut self) {
        if self.policy.forgiving {
            *self = Self::new(self.policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_strike_is_too_much_and_a_reply_takes_all_back() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut pings = Pings::new(PingPolicy::default());
        // The fourth PING of an idle client.
        assert_eq!(
            [0, 4, 8, 12].map(|s| pings.came(at(s))),
            [false, false, false, true]
        );
        pings.replied();
        assert_eq!([16, 20, 24].map(|s| pings.came(at(s))), [false; 3]);
        pings.replied();
        assert_eq!([28, 328, 628, 928].map(|s| pings.came(at(s))), [false; 4]);
    }
}
