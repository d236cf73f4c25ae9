//! How many frames a peer may send that answer nothing. Pure: time is an argument.
//!
//! HTTP/2 sets no limit for PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA, informational heads, frames of
//! unknown types, and other frames that belong to no answer that we wait for. Each costs the peer a few bytes and costs us
//! work, and for some h2 keeps or sends something. DATA on a stream of ours is limited by flow control and is not counted here.

use std::time::{Duration, Instant};

use crate::runtime::bucket::Bucket;

/// Frames per second in the long run. A round is five queries, and a server sends at most about ten such frames for each
/// (window updates, PINGs, resets): so 20 rounds per second fit. At this rate the frames cost 0.2 % of a core. A long frame
/// counts as one plus one per KiB, so this is also one MiB per second.
pub(crate) const PER_SECOND: u32 = 1_000;
/// Frames at once: what piled up while this process was stopped, or when a SoC that was stopped continues.
pub(crate) const BURST: u32 = 10_000;
/// The time that pays for one frame.
const EACH: Duration = Duration::from_nanos(1_000_000_000 / PER_SECOND as u64);

/// Counts the frames of one connection.
#[derive(Debug)]
pub(crate) struct Flood(Bucket);

impl Flood {
    pub(crate) const fn new() -> Self {
        Self(Bucket::new(BURST, EACH))
    }

    /// Counts `frames` more. Returns whether that is too many.
    pub(crate) fn saw(&mut self, frames: u32, now: Instant) -> bool {
        !self.0.spend_all(frames, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_one_frame_more_does_not() {
        let now = Instant::now();
        let mut flood = Flood::new();
        assert!(!flood.saw(BURST, now));
        assert!(flood.saw(1, now));
    }

    #[test]
    fn the_stated_rate_is_never_too_much_and_twice_of_it_is_within_seconds() {
        let start = Instant::now();
        let mut flood = Flood::new();
        for second in 0..100_000 {
            assert!(!flood.saw(PER_SECOND, start + SECOND * second), "{second}");
        }
        let mut flood = Flood::new();
        let given_up = (0..).find(|second| flood.saw(2 * PER_SECOND, start + SECOND * *second));
        assert_eq!(given_up, Some(BURST / PER_SECOND - 1));
    }

    #[test]
    fn what_came_long_ago_is_paid_for() {
        let start = Instant::now();
        let mut flood = Flood::new();
        for minute in 0..100 {
            assert!(!flood.saw(BURST, start + SECOND * 60 * minute), "{minute}");
        }
    }
}
