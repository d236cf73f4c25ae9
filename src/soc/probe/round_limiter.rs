//! How many rounds may be busy at the same time, over all SoCs. The SoCs of one rack never wait, even if many of them hang. Of
//! thousands of SoCs only a few rounds are busy at a time: otherwise their answers would be read too late (docs/performance.md).
//!
//! A round that lasts longer than a healthy one only waits for its SoC and gives its place back. The more rounds are due in an
//! interval, the sooner it does: so SoCs that hang take no place from the others, however many they are.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Rounds at the same time in a rack: half of the SoCs of the largest rack (256) may hang without delaying the others.
const AT_A_TIME: u32 = 128;
/// The number of SoCs in the largest rack.
const CROWD: usize = 256;
/// With more SoCs than `CROWD`, a round takes this many places. 32 rounds at a time keep two cores busy and let no answer wait.
const ELBOWS: u32 = 4;
/// The longest that a round occupies its place.
const LONGEST: Duration = Duration::from_millis(100);
/// The shortest: twice what a round of a healthy SoC in the same building takes.
const SHORTEST: Duration = Duration::from_millis(10);

/// Shared by all sessions.
#[derive(Debug)]
pub struct RoundLimiter {
    places: Semaphore,
    /// Places that a round takes.
    each: AtomicU32,
    socs: AtomicUsize,
    modules: AtomicUsize,
    /// Rounds that wait for a place.
    waiting: AtomicU64,
}

/// A round that waits. Dropping it ends the wait.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for RoundLimiter {
    fn default() -> Self {
        Self::at_a_time(AT_A_TIME)
    }
}

impl RoundLimiter {
    /// Lets in `rounds` at the same time, until `fleet` is called.
    pub fn at_a_time(rounds: u32) -> Self {
        Self {
            places: Semaphore::new(rounds as usize),
            each: AtomicU32::new(1),
            socs: AtomicUsize::new(0),
            modules: AtomicUsize::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// Sets how many SoCs there are.
    pub fn fleet(&self, socs: usize) {
        let each = if socs > CROWD { ELBOWS } else { 1 };
        // Rounds that already wait keep the number of places that they asked for.
        self.each.store(each, Ordering::Relaxed);
        self.socs.store(socs, Ordering::Relaxed);
    }

    /// Sets how many targets of modules there are.
    pub fn modules(&self, targets: usize) {
        self.modules.store(targets, Ordering::Relaxed);
    }

    /// How many rounds wait for a place.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a place. `None` is impossible because the limiter is never closed; the round would then run without a place.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let _waits = Waits::begin(&self.waiting);
        let each = self.each.load(Ordering::Relaxed);
        self.places.acquire_many(each).await.ok()
    }

    /// How long a round occupies its place at most, if each SoC and each module target has one round per `interval`: so long that two thirds of the places
    /// are enough for all of them, even if all SoCs hang.
    pub(super) fn busy(&self, interval: Duration) -> Duration {
        let (places, each) = (AT_A_TIME, self.each.load(Ordering::Relaxed));
        let all = self.socs.load(Ordering::Relaxed) + self.modules.load(Ordering::Relaxed);
        let all = u32::try_from(all).unwrap_or(u32::MAX).max(1);
        let share = interval * (places / each) * 2 / 3 / all;
        share.clamp(SHORTEST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn let_in(limiter: &RoundLimiter) -> usize {
        let mut inside = Vec::new();
        while let Some(place) = limiter.enter().now_or_never() {
            inside.push(place);
        }
        inside.len()
    }

    #[test]
    fn a_rack_goes_together_and_thousands_a_few_at_a_time() {
        let limiter = RoundLimiter::default();
        limiter.fleet(128);
        assert_eq!(let_in(&limiter), 128);
        limiter.fleet(10_000);
        assert_eq!(let_in(&limiter), 32);
        limiter.fleet(24);
        assert_eq!(let_in(&limiter), 128);
        assert_eq!(limiter.waiting(), 0);
    }

    #[test]
    fn those_that_wait_are_counted_until_they_are_let_in_or_give_up() {
        let limiter = RoundLimiter::at_a_time(1);
        let inside = limiter.enter().now_or_never().flatten();
        let mut waits = [Box::pin(limiter.enter()), Box::pin(limiter.enter())];
        for wait in &mut waits {
            assert!(wait.as_mut().now_or_never().is_none());
        }
        assert_eq!(limiter.waiting(), 2);
        let [mut first, second] = waits;
        drop(second);
        assert_eq!(limiter.waiting(), 1);
        drop(inside);
        let place = first.as_mut().now_or_never().flatten();
        assert_eq!((place.is_some(), limiter.waiting()), (true, 0));
    }

    #[test]
    fn all_rounds_of_an_interval_have_places_even_if_every_soc_hangs() {
        let limiter = RoundLimiter::default();
        for (socs, interval, busy) in [
            (24, 60, 100),
            (10_000, 60, 100),
            (20_000, 60, 64),
            (20_000, 15, 16),
        ] {
            limiter.fleet(socs);
            let found = limiter.busy(Duration::from_secs(interval));
            assert_eq!(found.as_millis(), busy, "{socs} SoCs each {interval} s");
            let at_a_time = if socs > CROWD {
                AT_A_TIME / ELBOWS
            } else {
                AT_A_TIME
            };
            assert!(found * socs as u32 / at_a_time <= Duration::from_secs(interval));
        }
        limiter.fleet(1_000_000);
        assert_eq!(limiter.busy(Duration::from_secs(1)), SHORTEST);
    }
}
