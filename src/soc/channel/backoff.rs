//! The waits between dials, as in gRPC's connection-backoff. Pure: the random number is an argument.

use std::time::Duration;

use crate::model::BackoffSettings;

/// Returns each next wait. The waits grow until `reset`.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: BackoffSettings,
    /// The next wait without jitter, in seconds.
    next: f64,
}

impl Backoff {
    pub(super) fn new(settings: BackoffSettings) -> Self {
        Self {
            settings,
            next: settings.initial.as_secs_f64(),
        }
    }

    /// The next wait. `unit` is a random number in 0..1. The maximum is applied after the jitter, so no wait is ever longer.
    pub(super) fn next(&mut self, unit: f64) -> Duration {
        let jitter = 1.0 + self.settings.jitter * (2.0 * unit - 1.0);
        let max = self.settings.max.as_secs_f64();
        let wait = (self.next * jitter).min(max);
        self.next = (self.next * self.settings.multiplier).min(max);
        Duration::from_secs_f64(wait)
    }

    /// The channel was READY for long enough: start again with the first wait.
    pub(super) fn reset(&mut self) {
        self.next = self.settings.initial.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRPC: BackoffSettings = BackoffSettings {
        initial: Duration::from_secs(1),
        multiplier: 1.6,
        jitter: 0.2,
        max: Duration::from_secs(10),
    };

    #[test]
    fn waits_grow_by_the_multiplier_up_to_the_cap_and_begin_anew_after_a_reset() {
        let mut backoff = Backoff::new(GRPC);
        let middle = 0.5; // no jitter either way
        let waits: Vec<f64> = (0..8).map(|_| backoff.next(middle).as_secs_f64()).collect();
        let expected = [1.0, 1.6, 2.56, 4.096, 6.5536, 10.0, 10.0, 10.0];
        for (wait, expected) in waits.iter().zip(expected) {
            assert!((wait - expected).abs() < 1e-9, "{waits:?}");
        }
        backoff.reset();
        assert_eq!(backoff.next(middle), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_wait_is_over_the_cap_or_outside_the_jitter(
            initial in 0.001..30.0, multiplier in 1.0..5.0, jitter in 0.0..=1.0, max in 0.001..120.0,
            units in prop::collection::vec(0.0..1.0, 1..50),
        ) {
            let settings = BackoffSettings {
                initial: Duration::from_secs_f64(initial),
                multiplier,
                jitter,
                max: Duration::from_secs_f64(max),
            };
            let mut backoff = Backoff::new(settings);
            let mut base = settings.initial.as_secs_f64();
            for unit in units {
                let wait = backoff.next(unit).as_secs_f64();
                prop_assert!(wait <= settings.max.as_secs_f64() + 1e-9);
                prop_assert!(wait <= base * (1.0 + jitter) + 1e-9);
                prop_assert!(wait >= (base * (1.0 - jitter)).min(settings.max.as_secs_f64()) - 1e-6);
                base = (base * multiplier).min(settings.max.as_secs_f64());
            }
        }
    }
}
