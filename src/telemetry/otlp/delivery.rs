//! One message to a collector, with the attempts that the SDKs make: three more, after 100 ms to 1.6 s.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::collector::Collector;
use super::collector_reply::SendError;

/// Attempts after the first one.
const MORE_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(1600);

/// Sends the message until it has arrived, cannot arrive, or `within` has passed. Returns the message of the reply.
pub(super) async fn deliver(
    collector: &mut Collector,
    message: &[u8],
    within: Duration,
) -> Result<Bytes, SendError> {
    let deadline = Instant::now() + within;
    let mut attempt = 0;
    loop {
        let error = match collector.send(message).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let pause = pause(attempt, fastrand::f64()).max(collector.rest());
        attempt += 1;
        if !error.again
            || attempt > MORE_ATTEMPTS
            || pause >= deadline.saturating_duration_since(Instant::now())
        {
            return Err(error);
        }
        sleep(pause).await;
    }
}

/// Before attempt `n + 2`: doubled each time, less up to a half, so that many exporters do not come back together. `random` is in
/// 0..1.
fn pause(n: u32, random: f64) -> Duration {
    let whole = FIRST_PAUSE * 4u32.saturating_pow(n.min(8));
    whole.min(LONGEST_PAUSE).mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_tenth_of_a_second_to_less_than_two() {
        let pauses: Vec<u128> = (0..4).map(|n| pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 400, 1600, 1600]);
        assert_eq!(pause(0, 1.0).as_millis(), 50);
    }
}
