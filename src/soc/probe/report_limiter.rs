//! How often messages of a SoC on a held stream are reported. Pure: time is an argument.
//!
//! Real changes are minutes apart and are reported at once, also a few in a row. A SoC that sends without end must not fill the
//! log or the database: then counts and the latest state are reported at intervals. Its stream is still read, because h2 keeps
//! what is not read (`WINDOW` and `SMALL_FRAMES` in channel/connection.rs). What a target of a probe module reports goes to no
//! database, and the log has a limit of its own: a hundred changes in a row are each reported within 100 ms.

use std::time::{Duration, Instant};

use crate::runtime::bucket::Bucket;

/// The shortest time between two reports. Half of the 100 ms in which a change is shown: the rest is for what follows.
const GAP: Duration = Duration::from_millis(50);
/// The time per report in the long run: one line in two seconds fills no log.
const EVERY: Duration = Duration::from_secs(2);
/// How many reports may come in a row before that: several services that begin and end together, or a restart that flaps.
const BURST: u32 = 10;
/// The same for a target of a probe module: a thousand that flood cost a few hundredths of a core.
const EVERY_OF_MODULE: Duration = Duration::from_millis(200);
const BURST_OF_MODULE: u32 = 100;

/// When the next report is allowed.
#[derive(Debug)]
pub(super) struct ReportLimiter {
    next: Instant,
    bucket: Bucket,
}

impl ReportLimiter {
    /// For a SoC. Nothing has been reported.
    pub(super) fn of_soc(now: Instant) -> Self {
        Self {
            next: now,
            bucket: Bucket::new(BURST, EVERY),
        }
    }

    /// For a target of a probe module. Nothing has been reported.
    pub(super) fn of_module(now: Instant) -> Self {
        Self {
            next: now,
            bucket: Bucket::new(BURST_OF_MODULE, EVERY_OF_MODULE),
        }
    }

    /// From when on the next report is allowed.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// There was a report.
    pub(super) fn reported(&mut self, now: Instant) {
        self.bucket.spend(now);
        self.next = self.bucket.next(now + GAP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `reports` reports as early as each is allowed. Returns how long after the start each one was.
    fn flood(limiter: &mut ReportLimiter, start: Instant, reports: usize) -> Vec<Duration> {
        let mut now = start;
        let report = |_| {
            now = now.max(limiter.next());
            limiter.reported(now);
            now - start
        };
        (0..reports).map(report).collect()
    }

    #[test]
    fn a_few_are_told_at_once_and_an_endless_flood_now_and_then() {
        let start = Instant::now();
        let mut limiter = ReportLimiter::of_soc(start);
        let told = flood(&mut limiter, start, 100);
        for (n, at) in (0u32..).zip(&told[..10]) {
            assert_eq!(*at, GAP * n, "report {n}");
        }
        for pair in told[11..].windows(2) {
            assert_eq!(pair[1] - pair[0], Duration::from_secs(2));
        }
        // After a pause a burst is allowed again.
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            flood(&mut limiter, later, 10).last(),
            Some(&Duration::from_millis(450))
        );
    }

    #[test]
    fn a_hundred_changes_of_a_modules_target_are_each_told_within_100_ms_and_then_five_a_second() {
        let start = Instant::now();
        let mut limiter = ReportLimiter::of_module(start);
        let told = flood(&mut limiter, start, 1000);
        for (n, at) in (0u32..).zip(&told[..100]) {
            assert_eq!(*at, GAP * n, "report {n}");
        }
        for pair in told[200..].windows(2) {
            assert_eq!(pair[1] - pair[0], Duration::from_millis(200));
        }
        // Five changes a second are never held back.
        let later = start + Duration::from_secs(3600);
        let mut limiter = ReportLimiter::of_module(later);
        for n in 0..1000 {
            let now = later + EVERY_OF_MODULE * n;
            assert!(limiter.next() <= now, "report {n}");
            limiter.reported(now);
        }
    }

    #[test]
    fn what_comes_each_two_seconds_is_never_held_back() {
        let start = Instant::now();
        let mut limiter = ReportLimiter::of_soc(start);
        for n in 0..1000 {
            let now = start + EVERY * n;
            assert!(limiter.next() <= now, "report {n}");
            limiter.reported(now);
        }
    }
}
