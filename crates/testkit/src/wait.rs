//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that is not itself under test: four times what has been seen on two cores with all test programs
/// and three builds side by side.
pub const LONG: Duration = Duration::from_secs(120);
/// From look to look.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` gives `Ok`; an `Err` says what is there instead.
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
