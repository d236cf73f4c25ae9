//! How late this process itself is: the time from the moment when a task should have run to the moment when it ran.
//!
//! A task per worker thread sleeps and measures how late it was woken. Reasons: lack of CPU, a task that blocks a worker, or a
//! stopped process. A stall shorter than the sleep may be missed; a longer one is measured in full. This costs some microseconds
//! per second. It shows whether late answers are caused by the SoC or by this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::model::{DELAY_BUCKETS, Delays};

/// Time between two measurements of a task.
const EVERY: Duration = Duration::from_millis(100);

/// The histogram so far.
#[derive(Debug, Default)]
struct Seen {
    counts: [AtomicU64; DELAY_BUCKETS.len() + 1],
    /// Microseconds.
    sum: AtomicU64,
}

impl Seen {
    fn add(&self, late: Duration) {
        let seconds = late.as_secs_f64();
        let bucket = DELAY_BUCKETS.iter().position(|bound| seconds <= *bound);
        let count = &self.counts[bucket.unwrap_or(DELAY_BUCKETS.len())];
        count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Measures until it is dropped, with all its clones.
#[derive(Debug, Clone)]
pub struct Lateness {
    seen: Arc<Seen>,
    _tasks: Arc<[AbortOnDropHandle<()>]>,
}

impl Lateness {
    /// Starts to measure the runtime that this is called in.
    pub fn measure() -> Self {
        let seen = Arc::new(Seen::default());
        let workers = u32::try_from(Handle::current().metrics().num_workers()).unwrap_or(1);
        let tasks = (0..workers).map(|n| {
            // The tasks measure in turn, not at the same moment.
            let first = Instant::now() + EVERY + EVERY * n / workers.max(1);
            AbortOnDropHandle::new(tokio::spawn(look(seen.clone(), first)))
        });
        let _tasks = tasks.collect();
        Self { seen, _tasks }
    }

    /// The histogram so far.
    pub fn delays(&self) -> Delays {
        let count = |n: usize| self.seen.counts[n].load(Ordering::Relaxed);
        Delays {
            counts: std::array::from_fn(count),
            sum: Duration::from_micros(self.seen.sum.load(Ordering::Relaxed)),
        }
    }
}

async fn look(seen: Arc<Seen>, first: Instant) {
    let mut due = first;
    loop {
        sleep_until(due).await;
        let now = Instant::now();
        seen.add(now.duration_since(due));
        due = now + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_keeps_the_worker_to_itself_is_seen_by_its_length() {
        let lateness = Lateness::measure();
        let above = |bound: f64| -> u64 {
            let counts = lateness.delays().counts;
            let buckets = DELAY_BUCKETS.iter().chain([&f64::INFINITY]).zip(counts);
            buckets
                .filter(|(upper, _)| **upper > bound)
                .map(|(_, count)| count)
                .sum()
        };
        tokio::time::sleep(EVERY / 2).await;
        assert_eq!(above(0.0), 0);
        std::thread::sleep(Duration::from_millis(600));
        tokio::time::sleep(EVERY).await;
        // It should have measured once in that time, and was 550 ms late.
        assert_eq!(above(0.25), 1);
        assert!(lateness.delays().sum >= Duration::from_millis(500));
    }

    #[test]
    fn a_delay_is_counted_in_the_first_bucket_that_holds_it() {
        let seen = Seen::default();
        for late in [0, 1_000, 1_001, 10_000_000, 10_000_001] {
            seen.add(Duration::from_micros(late));
        }
        let counts: Vec<u64> = seen.counts.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let last = DELAY_BUCKETS.len();
        assert_eq!(
            (counts[0], counts[1], counts[last - 1], counts[last]),
            (2, 1, 1, 1)
        );
        assert_eq!(counts.iter().sum::<u64>(), 5);
    }
}
