//! How often a client may send a PING: as gRPC's own servers have it, with ten seconds instead of five minutes. Pure: time is an
//! argument.
//!
//! A PING that follows the last one too soon is a strike. When we send something of an answer, all strikes are forgotten: a client
//! may measure a connection that carries data. The third strike ends the connection.

use std::time::{Duration, Instant};

/// A client whose timer is set to ten seconds is sometimes a little early.
const APART: Duration = Duration::from_secs(9);
/// The next one is too many. gRPC's servers have the same number.
const STRIKES: u32 = 2;

/// The PINGs of one connection.
#[derive(Debug, Default)]
pub(super) struct PingPolicy {
    last: Option<Instant>,
    strikes: u32,
}

impl PingPolicy {
    /// A PING arrived. Returns whether that is too many.
    pub(super) fn on_ping(&mut self, now: Instant) -> bool {
        let is_early = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < APART);
        if is_early {
            self.strikes += 1;
        } else {
            self.last = Some(now);
        }
        self.strikes > STRIKES
    }

    /// A part of an answer was sent.
    pub(super) fn on_answer(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which PING is too many, of those that arrive so far apart.
    fn too_many(apart: Duration) -> Option<u32> {
        let (begin, mut policy) = (Instant::now(), PingPolicy::default());
        (0..1000).find(|n| policy.on_ping(begin + apart * *n))
    }

    #[test]
    fn a_ping_each_ten_seconds_is_fine_for_ever_and_faster_ones_are_soon_too_many() {
        assert_eq!(too_many(Duration::from_secs(10)), None);
        assert_eq!(too_many(Duration::from_millis(9_990)), None);
        assert_eq!(too_many(Duration::ZERO), Some(3));
        assert_eq!(too_many(Duration::from_secs(4)), Some(4));
        assert_eq!(too_many(Duration::from_secs(8)), Some(5));
    }

    #[test]
    fn an_answer_forgives_all_strikes() {
        let (now, mut policy) = (Instant::now(), PingPolicy::default());
        for _ in 0..100 {
            for _ in 0..3 {
                assert!(!policy.on_ping(now));
            }
            policy.on_answer();
        }
    }
}
