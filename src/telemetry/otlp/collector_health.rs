//! Whether what is sent arrives, over all signals; how much has arrived. One line in the log when it begins to fail, and one when it
//! is well again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, error, info, warn};

use crate::config::OtlpSignal;
use crate::model::component::OTLP;
use crate::model::{OtlpResult, text};
use crate::runtime::defect::Defect;

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
    /// Since when something has failed.
    down_since: Option<Instant>,
    /// Whether a collector takes only a part of what it gets.
    rejects: [bool; OtlpSignal::COUNT],
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

    /// A message has arrived. Of its content the collector has rejected this much, for this reason.
    pub(super) fn arrived(&self, signal: OtlpSignal, url: &str, rejected: u64, reason: &str, now: Instant) {
        let mut state = self.lock();
        state.up[signal as usize] = Some(true);
        if state.up.iter().all(|up| *up != Some(false))
            && let Some(since) = state.down_since.take()
        {
            let after = now.saturating_duration_since(since);
            info!(target: OTLP, url, ?after, "telemetry arrives again");
        }
        let rejects = std::mem::replace(&mut state.rejects[signal as usize], rejected > 0);
        if rejected > 0 && !rejects {
            let (signal, reason) = (signal.label(), text::quote(reason));
            warn!(target: OTLP, url, signal, rejected, reason, "the collector rejects a part of the telemetry");
        }
    }

    /// A message has not arrived.
    pub(super) fn failed(&self, signal: OtlpSignal, url: &str, error: &str, now: Instant) {
        let mut state = self.lock();
        state.up[signal as usize] = Some(false);
        let signal = signal.label();
        if state.down_since.is_none() {
            state.down_since = Some(now);
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
        assert!(health.lock().down_since.is_some());
        health.arrived(OtlpSignal::Metrics, "x", 0, "", now);
        assert_eq!(health.is_up(), Some(true));
        assert!(health.lock().down_since.is_none());
    }
}
