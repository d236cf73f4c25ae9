//! How often something may happen: a number of times in a row, then at intervals. Pure: time is an argument.
//!
//! A token bucket. It limits everything that a SoC, a file or a database could repeat without end at the cost of others: lines
//! in the log, writes to STATE_DB, dials, reports from a stream.

use std::time::{Duration, Instant};

/// Allows `burst` times at once and, in the long run, once per `every`.
#[derive(Debug, Clone)]
pub struct Bucket {
    burst: u32,
    every: Duration,
    /// When everything so far is paid for. Each time costs `every`.
    paid: Option<Instant>,
}

impl Bucket {
    /// A full bucket: `burst` times are allowed at once.
    pub const fn new(burst: u32, every: Duration) -> Self {
        let paid = None;
        Self { burst, every, paid }
    }

    /// When the next time is allowed: `now` or later.
    pub fn next(&self, now: Instant) -> Instant {
        let Some(paid) = self.paid else { return now };
        let on_credit = (paid + self.every).checked_sub(self.every * self.burst);
        on_credit.map_or(now, |at| at.max(now))
    }

    /// Counts one time, allowed or not.
    pub fn spend(&mut self, now: Instant) {
        self.spend_all(1, now);
    }

    /// Whether it is allowed now. If it is, it is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        let may = self.next(now) <= now;
        if may {
            self.spend(now);
        }
        may
    }

    /// Counts `times` more, allowed or not. Returns whether all of them were allowed.
    pub fn spend_all(&mut self, times: u32, now: Instant) -> bool {
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.every * times;
        self.paid = Some(paid);
        paid.duration_since(now) <= self.every * self.burst
    }

    /// Whether the bucket is full again, as if it had never been used.
    pub fn is_full(&self, now: Instant) -> bool {
        self.paid.is_none_or(|paid| paid <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_may_be_at_once_and_then_one_each_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, SECOND);
        let taken = |bucket: &mut Bucket, at: f64| bucket.take(start + Duration::from_secs_f64(at));
        for (at, expected) in [
            (0.0, true),
            (0.0, true),
            (0.0, true),
            (0.0, false),
            (0.9, false),
            (1.0, true),
            (1.0, false),
            (3.5, true),
            (3.5, true),
            (3.5, false),
        ] {
            assert_eq!(taken(&mut bucket, at), expected, "{at}");
        }
        assert_eq!(bucket.next(start + 4 * SECOND), start + 4 * SECOND);
        assert!(!bucket.is_full(start + 4 * SECOND));
        assert!(bucket.is_full(start + 7 * SECOND));
    }

    #[test]
    fn in_the_long_run_it_is_never_more_than_the_burst_and_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, SECOND);
        let step = Duration::from_millis(7);
        let taken = (0..100_000).filter(|n| bucket.take(start + step * *n)).count();
        assert_eq!(taken, 10 + 699);
    }
}
