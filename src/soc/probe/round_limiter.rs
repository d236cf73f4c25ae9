//! How many rounds may run at the same time, over all SoCs. The SoCs of one rack never wait, even if many of them hang. Of
//! thousands only a few run at a time: otherwise their answers would be read too late (docs/performance.md).

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Rounds at a time in a rack: half of the SoCs of the largest rack (256) may hang and delay no other.
const AT_A_TIME: u32 = 128;
/// More SoCs than the largest rack has.
const CROWD: usize = 256;
/// With more SoCs than that a round takes so many places: 32 rounds at a time keep two cores busy and let no answer wait.
const ELBOWS: u32 = 4;

/// Shared by all sessions.
#[derive(Debug)]
pub struct RoundLimiter {
    places: Semaphore,
    /// Places that a round takes.
    each: AtomicU32,
}

impl Default for RoundLimiter {
    fn default() -> Self {
        Self::at_a_time(AT_A_TIME)
    }
}

impl RoundLimiter {
    /// Lets in so many at a time, until `fleet` is called.
    pub fn at_a_time(rounds: u32) -> Self {
        Self {
            places: Semaphore::new(rounds as usize),
            each: AtomicU32::new(1),
        }
    }

    /// There are so many SoCs now.
    pub fn fleet(&self, socs: usize) {
        let each = if socs > CROWD { ELBOWS } else { 1 };
        // Rounds that wait already keep what they asked for.
        self.each.store(each, Ordering::Relaxed);
    }

    /// Waits for a place. `None`: never, as the limiter is never closed; if it were, probing without it would be right.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
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
    }
}
