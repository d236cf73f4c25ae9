//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that is not itself under test: four times the longest time that was seen on two cores, with all
/// test programs and three builds at the same time.
pub const LONG: Duration = Duration::from_secs(120);
/// The time between two checks.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` returns `Ok`. `Err` says what was seen instead.
pub async fn wait_until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                panic!("{what}: not within {LONG:?}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
