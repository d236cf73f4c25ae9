//! The task that sends what waits in one queue: traces, or events. One request at a time; what comes meanwhile waits in the queue,
//! which is bounded. So a collector that is away, slow or mute costs a bounded memory and nothing else.
//!
//! While there is nothing to send, an empty message every minute shows whether something would arrive: with `traces: failed` a
//! healthy rack sends nothing for days, and then it must work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::collector::Collector;
use super::collector_health::CollectorHealth;
use super::delivery::deliver;
use super::resource::Described;
use super::sendable::Sendable;
use crate::config::Batches;
use crate::fleet::kept_queue::KeptReceiver;
use crate::model::ExemplarTable;
use crate::model::component::OTLP;

/// How long the last batches may take at a stop.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(1);
/// After this time without a message an empty one is sent.
const SILENCE: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub(super) struct QueueTask<T> {
    pub(super) queue: KeptReceiver<T>,
    pub(super) collector: Collector,
    pub(super) described: Described,
    pub(super) health: Arc<CollectorHealth>,
    pub(super) exemplars: Arc<ExemplarTable>,
    pub(super) batches: Batches,
    /// What is being sent: it has left the queue.
    pub(super) in_flight: AtomicU64,
}

impl<T: Sendable> QueueTask<T> {
    /// Runs until `stop`, and then until everything has been sent, for `STOP_WITHIN` at most.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let cut = async {
            stop.cancelled().await;
            sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = cut => {}
        }
        let in_flight = self.in_flight.swap(0, Ordering::Relaxed);
        self.health.add(T::SIGNAL, 0, in_flight);
        let waiting = self.queue.close() as u64;
        if in_flight + waiting > 0 {
            let (signal, lost) = (T::SIGNAL.label(), in_flight + waiting);
            info!(target: OTLP, signal, lost, "telemetry was not sent before the stop");
        }
    }

    async fn work(&mut self, stop: &CancellationToken) {
        self.export(Vec::new()).await;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                any = self.queue.any() => if !any { return },
                () = sleep_until(last + SILENCE) => {}
            }
            // Others that come meanwhile share the message.
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.queue.enough() => {}
                () = sleep(self.batches.delay) => {}
            }
            let batch = self.queue.take();
            self.export(batch).await;
            last = Instant::now();
        }
    }

    async fn export(&mut self, batch: Vec<T>) {
        let weight: u64 = batch.iter().map(|item| item.weight() as u64).sum();
        self.in_flight.store(weight, Ordering::Relaxed);
        // An empty message of any kind has no bytes.
        let message = match &batch[..] {
            [] => Vec::new(),
            batch => T::message(batch, &self.described),
        };
        let within = self.batches.timeout;
        let sent = timeout(within, deliver(&mut self.collector, &message, within)).await;
        self.in_flight.store(0, Ordering::Relaxed);
        let url = self.collector.url();
        let error = match sent {
            Ok(Ok(reply)) => {
                let rejected = T::rejected(reply);
                let lost = rejected.count.min(weight);
                if lost == 0 {
                    T::arrived(&batch, &self.exemplars);
                    self.described.keep_known(&self.exemplars);
                }
                self.health.add(T::SIGNAL, weight - lost, lost);
                let now = std::time::Instant::now();
                return self.health.arrived(T::SIGNAL, &url, lost, &rejected.reason, now);
            }
            Ok(Err(error)) => error.text,
            Err(_) => format!("not sent within {within:?}"),
        };
        self.health.add(T::SIGNAL, 0, weight);
        self.health
            .failed(T::SIGNAL, &url, &error, std::time::Instant::now());
    }
}
