//! When rounds are due: on a grid of one interval, shifted per target, so that ten thousand SoCs are not probed at the same
//! moment. Pure: time is an argument.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// One port's grid.
#[derive(Debug)]
pub(super) struct Schedule {
    origin: Instant,
    interval: Duration,
    /// The port's place in an interval, in 0..1.
    phase: f64,
}

impl Schedule {
    pub(super) fn new(id: &impl Hash, origin: Instant, interval: Duration) -> Self {
        // Not RandomState: the same SoC keeps its place in every run. With the rack, because each rack has an Ethernet0.
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let phase = (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64;
        Self {
            origin,
            interval,
            phase,
        }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The first grid point after `now`: at most one interval away.
    pub(super) fn after(&self, now: Instant) -> Instant {
        let first = self.origin + self.interval.mul_f64(self.phase);
        let Some(since) = now.checked_duration_since(first) else {
            return first;
        };
        let into = since.as_nanos() % self.interval.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
        now + (self.interval - into)
    }

    /// The next round after the session's start, or after a round that began at `now` because the channel became READY. A grid
    /// point less than a tenth of an interval away is skipped: it would only repeat that round, or probe before the first dial
    /// had a chance. So a round may be up to 1.1 intervals away (docs/reliability.md).
    pub(super) fn after_start(&self, now: Instant) -> Instant {
        self.after(now + self.interval / 10)
    }

    /// The next round when the interval has changed at `now`. It is on the new grid, but at most 1.1 intervals after `last`,
    /// when the last round began.
    pub(super) fn after_change(&self, last: Instant, now: Instant) -> Instant {
        let latest = last + self.interval + self.interval / 10;
        self.after(now).min(latest.max(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Port, Rack, TargetId};

    const MINUTE: Duration = Duration::from_secs(60);

    fn id(rack: &str, port: &str) -> TargetId {
        TargetId {
            rack: Rack::new(rack).expect("a rack"),
            port: Port::new(port).expect("a port"),
        }
    }

    /// How many of a thousand SoCs are due in each tenth of an interval.
    fn tenths(of: impl Fn(usize) -> TargetId) -> [usize; 10] {
        let origin = Instant::now();
        let mut tenths = [0; 10];
        for n in 0..1000 {
            let schedule = Schedule::new(&of(n), origin, MINUTE);
            let offset = schedule.after(origin).duration_since(origin).as_secs_f64();
            tenths[(offset / 6.0) as usize % 10] += 1;
        }
        tenths
    }

    #[test]
    fn the_phases_of_many_socs_are_spread_over_the_interval() {
        let one_switch = tenths(|n| id("", &format!("Ethernet{}", n * 4)));
        let many_racks = tenths(|n| id(&format!("rack{n}"), "Ethernet0"));
        for tenths in [one_switch, many_racks] {
            assert!(tenths.iter().all(|n| (60..=140).contains(n)), "{tenths:?}");
        }
    }

    proptest! {
        #[test]
        fn two_rounds_are_never_more_than_an_interval_and_a_tenth_apart(
            port in "Ethernet[0-9]{1,4}", interval_ms in 1u64..100_000, now_ms in 0u64..10_000_000,
        ) {
            let origin = Instant::now();
            let interval = Duration::from_millis(interval_ms);
            let schedule = Schedule::new(&id("", &port), origin, interval);
            let now = origin + Duration::from_millis(now_ms);
            let next = schedule.after(now);
            prop_assert!(next > now && next <= now + interval);
            // Each grid point leads to the next one: no drift, none twice.
            let gap = schedule.after(next).duration_since(next);
            prop_assert!(gap.abs_diff(interval) < Duration::from_micros(1), "{gap:?}");
            let next = schedule.after_start(now);
            prop_assert!(next > now + interval / 10 && next <= now + interval + interval / 10);
            let last = now.checked_sub(interval / 2).unwrap_or(now);
            let next = schedule.after_change(last, now);
            prop_assert!(next >= now && next <= last + interval + interval / 10);
        }
    }
}
