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
use crate::model::component::OTLP;
use crate::model::{ExemplarTable, text};
use crate::runtime::defect::{Restarts, caught};

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
    /// The collector has rejected everything in the last message that was not empty.
    pub(super) takes_nothing: bool,
}

impl<T: Sendable> QueueTask<T> {
    /// Runs until `stop`, and then until everything has been sent, for `STOP_WITHIN` at most.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let cut = async {
            stop.cancelled().await;
            sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            () = self.work_on(&stop) => {}
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

    /// A defect loses what was being sent, and nothing else.
    async fn work_on(&mut self, stop: &CancellationToken) {
        let mut restarts = Restarts::default();
        loop {
            let began = Instant::now();
            let Err(defect) = caught(Box::pin(self.work(stop))).await else {
                return;
            };
            let in_flight = self.in_flight.swap(0, Ordering::Relaxed);
            self.health.add(T::SIGNAL, 0, in_flight);
            self.health.failed_by(T::SIGNAL, &self.collector.url(), &defect);
            sleep(restarts.wait(began.elapsed())).await;
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
            // Meanwhile they wait in the queue, not in a batch that would be lost.
            sleep(self.collector.rest()).await;
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
                // An empty message arrives also where nothing is accepted.
                if weight == 0 && self.takes_nothing {
                    return;
                }
                let rejected = T::rejected(reply);
                let lost = rejected.count.min(weight);
                self.takes_nothing = lost > 0 && lost == weight;
                if self.takes_nothing {
                    self.health.add(T::SIGNAL, 0, lost);
                    let error = format!(
                        "the collector rejects all of it: {}",
                        text::quote(&rejected.reason)
                    );
                    return self
                        .health
                        .failed(T::SIGNAL, &url, &error, std::time::Instant::now());
                }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::watch;

    use super::*;
    use crate::config::{OtlpProtocol, OtlpSignal, OtlpTarget};
    use crate::fleet::kept_queue::{Weight, kept_queue};
    use crate::model::OtlpResult;
    use crate::telemetry::otlp::sendable::Rejected;

    /// What cannot be made into a message.
    struct Broken;

    impl Weight for Broken {
        fn weight(&self) -> usize {
            1
        }
    }

    impl Sendable for Broken {
        const SIGNAL: OtlpSignal = OtlpSignal::Traces;

        fn message(_: &[Self], _: &Described) -> Vec<u8> {
            panic!("a broken message")
        }

        fn rejected(_: Bytes) -> Rejected {
            Rejected::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_defect_loses_one_batch_is_shown_and_does_not_end_the_sending() {
        let (sender, queue) = kept_queue(100, 10);
        let health = Arc::new(CollectorHealth::default());
        let target = OtlpTarget {
            // Nobody listens there.
            url: "http://127.0.0.1:1/v1/traces".parse().expect("a URL"),
            protocol: OtlpProtocol::Http,
            headers: Vec::new(),
            tls: None,
            gzip: false,
            timeout: Duration::from_secs(1),
        };
        let (_inventory, known) = watch::channel(Arc::default());
        let task = QueueTask {
            queue,
            collector: Collector::new(target, ""),
            described: Described::new("here", &[], known),
            health: health.clone(),
            exemplars: Arc::default(),
            batches: Batches::default(),
            in_flight: AtomicU64::new(0),
            takes_nothing: false,
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(stop.clone()));
        for lost in 1..=3 {
            sender.offer(Broken);
            while health.count(OtlpSignal::Traces, OtlpResult::Error) < lost {
                sleep(Duration::from_secs(1)).await;
            }
            assert_eq!(health.is_up(), Some(false));
        }
        stop.cancel();
        drop(sender);
        running.await.expect("it ends at the stop");
    }
}
