//! Whether what is sent arrives, over all signals; how much has arrived. One line in the log when it begins to fail, and one when it
//! is well again: a collector that takes every second message is one that fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::config::OtlpSignal;
use crate::model::component::OTLP;
use crate::model::{OtlpResult, text};
use crate::runtime::defect::Defect;

/// After so long without a failure it is well again. Longer than the SDKs' pause between batches, and shorter than `SILENCE`, so that
/// the first message after a quiet minute tells.
const CALM: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct CollectorHealth {
    /// By `OtlpSignal`; `None`: it is not sent, or nothing has been sent yet.
    state: Mutex<HealthState>,
    counts: [SignalCounts; OtlpSignal::COUNT],
}

#[derive(Debug, Default)]
struct HealthState {
    up: [Option<bool>; OtlpSignal::COUNT],
    /// What has failed, until it is well again.
    failing: Option<LastingFault>,
    /// What a collector takes, but not all of it, or with a warning.
    grumbling: [Option<LastingFault>; OtlpSignal::COUNT],
}

/// Something that happens again and again.
#[derive(Debug, Clone, Copy)]
struct LastingFault {
    first: Instant,
    last: Instant,
}

impl LastingFault {
    /// It has happened. Returns whether it begins.
    fn happens(fault: &mut Option<Self>, now: Instant) -> bool {
        let first = fault.map(|fault| fault.first);
        *fault = Some(Self {
            first: first.unwrap_or(now),
            last: now,
        });
        first.is_none()
    }

    /// It has not happened this time. Returns how long it did, if it ends.
    fn ends(fault: &mut Option<Self>, now: Instant) -> Option<Duration> {
        let is_over = |fault: &mut Self| now.saturating_duration_since(fault.last) >= CALM;
        let over = fault.take_if(is_over)?;
        Some(over.last.saturating_duration_since(over.first))
    }
}

#[derive(Debug, Default)]
struct SignalCounts {
    ok: AtomicU64,
    error: AtomicU64,
}

impl CollectorHealth {
    /// Whether all that is sent arrives; `None`: nothing has been sent yet.
    pub(super) fn is_up(&self) -> Option<bool> {
        let state = self.lock();
        let known: Vec<bool> = state.up.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().all(|up| *up))
    }

    /// How much has arrived, and how much has not.
    pub(super) fn count(&self, signal: OtlpSignal, result: OtlpResult) -> u64 {
        let counts = &self.counts[signal as usize];
        match result {
            OtlpResult::Ok => counts.ok.load(Ordering::Relaxed),
            OtlpResult::Error => counts.error.load(Ordering::Relaxed),
            OtlpResult::Dropped => 0,
        }
    }

    pub(super) fn add(&self, signal: OtlpSignal, ok: u64, error: u64) {
        let counts = &self.counts[signal as usize];
        counts.ok.fetch_add(ok, Ordering::Relaxed);
        counts.error.fetch_add(error, Ordering::Relaxed);
    }

    /// A message has arrived. Of its content the collector has rejected this much, for this reason. With a reason and nothing
    /// rejected it is a warning.
    pub(super) fn arrived(&self, signal: OtlpSignal, url: &str, rejected: u64, reason: &str, now: Instant) {
        let mut state = self.lock();
        state.up[signal as usize] = Some(true);
        if state.up.iter().all(|up| *up != Some(false))
            && let Some(failed_for) = LastingFault::ends(&mut state.failing, now)
        {
            info!(target: OTLP, url, ?failed_for, "telemetry arrives again");
        }
        let grumbling = &mut state.grumbling[signal as usize];
        if rejected == 0 && reason.is_empty() {
            LastingFault::ends(grumbling, now);
        } else if LastingFault::happens(grumbling, now) {
            let (signal, reason) = (signal.label(), text::quote(reason));
            match rejected {
                0 => {
                    warn!(target: OTLP, url, signal, reason, "the collector takes the telemetry with a warning")
                }
                _ => {
                    warn!(target: OTLP, url, signal, rejected, reason, "the collector rejects a part of the telemetry")
                }
            }
        }
    }

    /// A message has not arrived.
    pub(super) fn failed(&self, signal: OtlpSignal, url: &str, error: &str, now: Instant) {
        let mut state = self.lock();
        state.up[signal as usize] = Some(false);
        let signal = signal.label();
        if LastingFault::happens(&mut state.failing, now) {
            warn!(target: OTLP, url, signal, error, "telemetry does not arrive; nothing else is affected");
        } else {
            debug!(target: OTLP, url, signal, error, "telemetry still does not arrive");
        }
    }

    /// The exporter itself cannot send it: it tries again later.
    pub(super) fn failed_by(&self, signal: OtlpSignal, url: &str, defect: &Defect) {
        error!(target: OTLP, signal = signal.label(), %defect, "telemetry was lost by a defect of this program, please report it");
        self.failed(
            signal,
            url,
            &format!("a defect of this program: {defect}"),
            Instant::now(),
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_that_fails_makes_it_down_until_all_arrive() {
        let (health, now) = (CollectorHealth::default(), Instant::now());
        assert_eq!(health.is_up(), None);
        health.arrived(OtlpSignal::Traces, "x", 0, "", now);
        assert_eq!(health.is_up(), Some(true));
        health.failed(OtlpSignal::Metrics, "x", "why", now);
        health.arrived(OtlpSignal::Traces, "x", 0, "", now);
        assert_eq!(health.is_up(), Some(false));
        health.arrived(OtlpSignal::Metrics, "x", 0, "", now);
        assert_eq!(health.is_up(), Some(true));
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_one_until_it_stays_away() {
        let (begin, mut fault) = (Instant::now(), None);
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(LastingFault::ends(&mut fault, at(0)), None);
        assert!(LastingFault::happens(&mut fault, at(0)));
        for seconds in (10..=100).step_by(10) {
            assert_eq!(LastingFault::ends(&mut fault, at(seconds - 5)), None);
            assert!(!LastingFault::happens(&mut fault, at(seconds)));
        }
        assert_eq!(LastingFault::ends(&mut fault, at(129)), None);
        assert_eq!(
            LastingFault::ends(&mut fault, at(130)),
            Some(Duration::from_secs(100))
        );
        assert!(LastingFault::happens(&mut fault, at(131)));
    }
}
