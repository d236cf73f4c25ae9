//! What has happened in the last minutes, of that which metrics count since the start: a page must not show what is long over. Pure:
//! time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::{Delays, Lately};

/// As the alerts on the same counters.
const WINDOW: Duration = Duration::from_secs(600);
/// How often totals are remembered. So something is shown for `WINDOW`, and up to this time longer.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// The totals of some moments, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentTotals(VecDeque<(Instant, Lately)>);

impl RecentTotals {
    /// Remembers the totals at `now`, and forgets what is too old.
    pub(super) fn remember(&mut self, now: Instant, totals: Lately) {
        self.0.push_back((now, totals));
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > WINDOW;
        // The newest of those that are older than the window stays: the window begins there.
        while self.0.get(1).is_some_and(|(at, _)| is_old(at)) {
            self.0.pop_front();
        }
    }

    /// What has happened between the oldest moment and `totals`.
    pub(super) fn until(&self, totals: &Lately) -> Lately {
        let before = self.0.front().map_or_else(Lately::default, |(_, before)| *before);
        Lately {
            delays: less(&totals.delays, &before.delays),
            lines_dropped: totals.lines_dropped.saturating_sub(before.lines_dropped),
            foreign_writes: totals.foreign_writes.saturating_sub(before.foreign_writes),
        }
    }
}

fn less(now: &Delays, before: &Delays) -> Delays {
    let mut less = *now;
    for (count, before) in less.counts.iter_mut().zip(before.counts) {
        *count = count.saturating_sub(before);
    }
    less.sum = now.sum.saturating_sub(before.sum);
    less
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(lines_dropped: u64, late: u64) -> Lately {
        let mut totals = Lately {
            lines_dropped,
            foreign_writes: lines_dropped,
            ..Lately::default()
        };
        totals.delays.counts[3] = late;
        totals
    }

    #[test]
    fn what_is_over_for_ten_minutes_is_not_shown_any_more() {
        let mut recent = RecentTotals::default();
        assert_eq!(recent.until(&totals(7, 1)), totals(7, 1), "at the start: all");
        let start = Instant::now();
        let mut shown = Vec::new();
        for n in 0..60 {
            let so_far = totals(if n < 10 { n } else { 10 }, 2 * n);
            recent.remember(start + EVERY * u32::try_from(n).expect("small"), so_far);
            shown.push(recent.until(&so_far));
            assert!(recent.0.len() <= 22, "{}", recent.0.len());
        }
        assert_eq!(shown[10], totals(10, 20));
        assert_eq!(shown[29].lines_dropped, 2);
        assert_eq!(shown[40], totals(0, 42), "21 times 30 s: the window and one");
        assert_eq!(shown[59], totals(0, 42));
    }
}
