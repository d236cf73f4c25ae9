//! When to try again at a database that is down (pure).

use std::time::{Duration, Instant};

use super::RedisFailure;

/// The time between two attempts while the database is down. It is a local socket, and rows must be right 2 s after it is back.
pub const RETRY: Duration = Duration::from_millis(500);

/// The longest pause after a server has sent what no Redis would send. Each attempt may cost as much as the last one, so
/// attempts must be rare. But when the server works again, it must be used soon: within 5 s, as after any other failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// After a connection was useful for this long, its end has another reason than the end of the one before.
const STEADY: Duration = Duration::from_secs(30);

/// When the next attempt is due. One for each connection that is kept up.
#[derive(Debug, Default)]
pub struct Retry {
    breaches: u32,
}

impl Retry {
    /// The next attempt after one that began at `began` and failed at `now`: `RETRY` after it began. After a breach, which may
    /// take long to find: `RETRY` after it failed, and longer each time.
    pub fn next(&mut self, failure: &RedisFailure, began: Instant, now: Instant) -> Instant {
        if !matches!(failure, RedisFailure::Breach(_)) {
            self.breaches = 0;
            return began + RETRY;
        }
        if now.duration_since(began) > STEADY {
            self.breaches = 0;
        }
        let pause = RETRY * 2u32.pow(self.breaches.min(3));
        self.breaches += 1;
        now + pause.min(LONGEST_PAUSE)
    }

    /// The same for a subscription that is lost while the connection for questions works. Never at once, because Redis
    /// disconnects a subscriber that reads too slowly.
    pub fn resubscribe(&mut self, failure: &RedisFailure, began: Instant, now: Instant) -> Instant {
        self.next(failure, began, now).max(now + RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sonic::redis_link::Breach;

    #[test]
    fn who_breaks_the_protocol_is_asked_less_often_but_soon_once_he_is_sane() {
        let mut retry = Retry::default();
        let began = Instant::now();
        // The wait from the failure to the next attempt.
        let mut after = |failure: RedisFailure, took| {
            let now = began + Duration::from_secs(took);
            let next = retry.next(&failure, began, now);
            next.saturating_duration_since(now).as_millis()
        };
        let pauses: Vec<_> = (0..6).map(|_| after(Breach::Scan.into(), 3)).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(after(RedisFailure::Closed, 0), 500);
        assert_eq!(after(RedisFailure::Closed, 3), 0);
        assert_eq!(after(Breach::Line.into(), 1), 500);
        assert_eq!(after(Breach::Line.into(), 1), 1000);
        assert_eq!(after(Breach::Line.into(), 3600), 500);
    }
}
