//! Limits how fast dials begin, over all SoCs. Ten thousand dials at once (at start, or when an uplink comes back) would use so
//! much CPU that the answers of healthy SoCs would be read too late. The SoCs of one rack never wait.
//!
//! A token bucket: `BURST` dials at once, then one per `GAP`. Dials that repeat failed ones have a second bucket: ten thousand SoCs
//! that are dead would otherwise keep one that has just been lost waiting for seconds. Time is an argument; nothing waits in here.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::bucket::Bucket;

/// Dials that need not wait: the number of SoCs in the largest rack.
const BURST: u32 = 256;
/// The time between two dials after that. A dial and its first round take less than 0.5 ms of CPU (docs/performance.md), so
/// half of one core stays free for the answers.
const GAP: Duration = Duration::from_millis(1);

/// Shared by all channels.
#[derive(Debug)]
pub struct DialLimiter {
    // A std mutex: it is held for a short calculation, never across an await. First dials and those after a loss, and repeated ones.
    buckets: Mutex<[Bucket; 2]>,
}

impl Default for DialLimiter {
    fn default() -> Self {
        Self {
            buckets: Mutex::new([const { Bucket::new(BURST, GAP) }; 2]),
        }
    }
}

impl DialLimiter {
    /// How many dials wait for their turn.
    pub fn waiting(&self, now: Instant) -> u64 {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = buckets.iter().map(|bucket| bucket.next(now));
        let waits = turns.map(|turn| turn.saturating_duration_since(now).as_nanos());
        let dials = waits.map(|wait| wait.div_ceil(GAP.as_nanos())).sum::<u128>();
        u64::try_from(dials).unwrap_or(u64::MAX)
    }

    /// Takes the next turn and returns when it is: `now` or later. `repeats`: the dial before it failed.
    pub(super) fn turn(&self, repeats: bool, now: Instant) -> Instant {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = &mut buckets[usize::from(repeats)];
        let turn = bucket.next(now);
        bucket.spend(now);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_is_dialled_at_once_and_ten_thousand_one_after_another() {
        let limiter = DialLimiter::default();
        let start = Instant::now() + Duration::from_secs(60);
        let turns: Vec<Duration> = (0..10_000)
            .map(|_| limiter.turn(false, start).duration_since(start))
            .collect();
        assert!(turns[..256].iter().all(Duration::is_zero));
        assert_eq!(turns[256], GAP);
        assert_eq!(turns[9_999], GAP * (9_999 - 255));
        let waiting = [0, 1, 9_744, 9_745].map(|gaps| limiter.waiting(start + GAP * gaps));
        assert_eq!(waiting, [9_745, 9_744, 1, 0]);
        // After all of them, the next ones need not wait.
        let later = start + Duration::from_secs(60);
        assert_eq!(limiter.turn(false, later), later);
    }

    #[test]
    fn a_soc_that_was_just_lost_does_not_wait_for_thousands_that_are_dead() {
        let limiter = DialLimiter::default();
        let now = Instant::now();
        let last = (0..10_000).map(|_| limiter.turn(true, now)).last();
        assert!(last.is_some_and(|last| last > now + Duration::from_secs(9)));
        assert_eq!(limiter.turn(false, now), now);
    }
}
