//! How many rounds may run at the same time, over all SoCs. The SoCs of one rack never wait, even if many of them hang. Of
//! thousands of SoCs only a few rounds run at a time: otherwise their answers would be read too late (docs/performance.md).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Rounds at the same time in a rack: half of the SoCs of the largest rack (256) may hang without delaying the others.
const AT_A_TIME: u32 = 128;
/// The number of SoCs in the largest rack.
const CROWD: usize = 256;
/// With more SoCs than `CROWD`, a round takes this many places. 32 rounds at a time keep two cores busy and let no answer wait.
const ELBOWS: u32 = 4;

/// Shared by all sessions.
#[derive(Debug)]
pub struct RoundLimiter {
    places: Semaphore,
    /// Places that a round takes.
    each: AtomicU32,
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
            waiting: AtomicU64::new(0),
        }
    }

    /// Sets how many SoCs there are.
    pub fn fleet(&self, socs: usize) {
        let each = if socs > CROWD { ELBOWS } else { 1 };
        // Rounds that already wait keep the number of places that they asked for.
        self.each.store(each, Ordering::Relaxed);
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
}
