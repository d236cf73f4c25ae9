//! Telemetry that is sent to an OpenTelemetry collector: traces, metrics, events. Only with the feature `otel`.
//!
//! It reads what the fleet has kept (`fleet::recorder`) and views, and nothing waits for it. One task per signal sends its messages,
//! with bounded queues and exact counts. We use the protocol's messages and not OpenTelemetry's SDK: the SDK cannot be given metrics
//! that are already counted (its `ResourceMetrics` has no public constructor, and no observable instrument is a histogram), and its
//! processor drops spans without telling how many.
//!
//! | module | job |
//! |---|---|
//! | spans, log_records, metric_points | what was kept → OTLP, pure; `attributes` and the names in `semantics`; `wire_fields`: protobuf |
//! | inventory_events | problems of the inventory → events |
//! | resource | what describes this process |
//! | sendable, queue_task | traces and events: messages, and the task that sends them |
//! | metric_task | the task that sends metrics |
//! | collector | one connection, one request; `grpc_frames`: gRPC's own part, pure |
//! | delivery | more attempts |
//! | trial | whether an endpoint takes an empty message, for `doctor` |
//! | collector_health | whether it arrives, and how much; what is logged |
//!
//! Imports `model`, `runtime` (how much may be read), `config`, `soc` (`plain_client`), `fleet` and `sonic` (`https`); in `telemetry` `catalogue` and `samples`.

mod attributes;
mod collector;
mod collector_health;
mod collector_reply;
mod delivery;
mod grpc_frames;
mod inventory_events;
mod log_records;
mod metric_points;
mod metric_task;
mod queue_task;
mod resource;
mod semantics;
mod sendable;
mod spans;
mod trial;
mod wire_fields;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Batches, OtelSettings, OtlpSignal};
use crate::fleet::kept_queue::{KeptCounter, KeptReceiver, KeptSender, kept_queue};
use crate::fleet::recorder::Recorder;
use crate::model::{
    ExemplarTable, Inventory, KeptEvent, KeptTrace, OtlpCounts, OtlpResult, OtlpStatus, TraceRule,
};
use collector::Collector;
use collector_health::CollectorHealth;
use metric_task::MetricTask;
pub use metric_task::ViewMaker;
use queue_task::QueueTask;
use resource::Described;
use sendable::{LOGS_METHOD, METRICS_METHOD, Sendable, TRACE_METHOD};
pub use trial::{Trial, try_endpoints};

/// Events that wait to be sent. A rack that fails as a whole makes some hundred.
const MOST_EVENTS: usize = 2048;
/// Events in one message.
const EVENTS_PER_MESSAGE: usize = 512;

/// A task of this part. It ends after the stop.
pub type OtlpTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The sending side before it runs: the queues are there, and the fleet can fill them.
#[derive(Debug)]
pub struct Otlp {
    settings: OtelSettings,
    traces: Option<KeptReceiver<KeptTrace>>,
    events: Option<KeptReceiver<KeptEvent>>,
    others: Option<KeptSender<KeptEvent>>,
    health: Arc<CollectorHealth>,
    exemplars: Arc<ExemplarTable>,
    report: OtlpReport,
}

/// What has become of everything, from now on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OtlpReport {
    health: Arc<CollectorHealth>,
    traces: Option<KeptCounter<KeptTrace>>,
    events: Option<KeptCounter<KeptEvent>>,
    metrics: bool,
}

impl Otlp {
    /// Also returns what the fleet fills, and where others put events.
    pub fn new(settings: OtelSettings) -> (Self, Recorder, Option<KeptSender<KeptEvent>>) {
        let health = Arc::<CollectorHealth>::default();
        let (batches, rule) = (settings.batches, settings.traces.as_ref().map(|(rule, _)| *rule));
        let (traces_tx, traces) = settings
            .traces
            .as_ref()
            .map(|_| kept_queue(batches.queue, batches.batch))
            .unzip();
        let (events_tx, events) = settings
            .logs
            .as_ref()
            .map(|_| kept_queue(MOST_EVENTS, EVENTS_PER_MESSAGE))
            .unzip();
        let report = OtlpReport {
            health: health.clone(),
            traces: traces_tx.as_ref().map(KeptSender::counter),
            events: events_tx.as_ref().map(KeptSender::counter),
            metrics: settings.metrics.is_some(),
        };
        let recorder = Recorder::new(rule.unwrap_or(TraceRule::Failed), traces_tx, events_tx.clone())
            .propagating(settings.propagate);
        let otlp = Self {
            settings,
            traces,
            events,
            others: events_tx.clone(),
            health,
            exemplars: Arc::default(),
            report,
        };
        (otlp, recorder, events_tx)
    }

    /// What has become of everything.
    pub fn report(&self) -> OtlpReport {
        self.report.clone()
    }

    /// The traces of queries that have arrived.
    pub fn exemplars(&self) -> Arc<ExemplarTable> {
        self.exemplars.clone()
    }

    /// Keeps problems of the inventory as events; `None`: no events are sent.
    pub fn problems(&self, inventory: watch::Receiver<Arc<Inventory>>) -> Option<OtlpTask> {
        let events = self.others.clone()?;
        Some(Box::pin(inventory_events::follow(inventory, events)))
    }

    /// The tasks of the exporter on `host`. Those of traces and events send what is left after `stop`; that of metrics never ends.
    pub fn tasks(
        self,
        host: &str,
        inventory: watch::Receiver<Arc<Inventory>>,
        view: ViewMaker,
        stop: &CancellationToken,
    ) -> (Vec<OtlpTask>, Option<OtlpTask>) {
        let Self { settings, health, .. } = self;
        let described = Described::new(host, &settings.resource, inventory);
        let parts = QueueTaskParts {
            described: described.clone(),
            health: health.clone(),
            exemplars: self.exemplars,
            batches: settings.batches,
        };
        let traces = settings
            .traces
            .map(|(_, target)| Collector::new(target, TRACE_METHOD));
        let events = settings.logs.map(|target| Collector::new(target, LOGS_METHOD));
        let traces = self.traces.zip(traces).map(|queue| parts.task(queue, stop));
        let events = self.events.zip(events).map(|queue| parts.task(queue, stop));
        let metrics = settings.metrics.map(|(every, target)| {
            let timeout = target.timeout;
            let task = MetricTask {
                collector: Collector::new(target, METRICS_METHOD),
                described,
                health,
                every,
                timeout,
                view,
            };
            Box::pin(task.run()) as OtlpTask
        });
        (traces.into_iter().chain(events).collect(), metrics)
    }
}

/// What the tasks of both queues have alike.
struct QueueTaskParts {
    described: Described,
    health: Arc<CollectorHealth>,
    exemplars: Arc<ExemplarTable>,
    batches: Batches,
}

impl QueueTaskParts {
    fn task<T: Sendable + 'static>(
        &self,
        (queue, collector): (KeptReceiver<T>, Collector),
        stop: &CancellationToken,
    ) -> OtlpTask {
        let task = QueueTask {
            queue,
            collector,
            described: self.described.clone(),
            health: self.health.clone(),
            exemplars: self.exemplars.clone(),
            batches: self.batches,
            in_flight: AtomicU64::new(0),
            takes_nothing: false,
        };
        Box::pin(task.run(stop.clone()))
    }
}

impl OtlpReport {
    /// What has become of everything until now.
    pub fn status(&self) -> OtlpStatus {
        let counts = |signal: OtlpSignal, dropped: u64| -> OtlpCounts {
            let mut counts = OtlpCounts::default();
            counts[OtlpResult::Ok.index()] = self.health.count(signal, OtlpResult::Ok);
            counts[OtlpResult::Error.index()] = self.health.count(signal, OtlpResult::Error);
            counts[OtlpResult::Dropped.index()] = dropped;
            counts
        };
        let spans = self.traces.as_ref().map(KeptCounter::made);
        let events = self.events.as_ref().map(KeptCounter::made);
        OtlpStatus {
            spans: spans.map(|made| counts(OtlpSignal::Traces, made.dropped)),
            metrics: self.metrics.then(|| counts(OtlpSignal::Metrics, 0)),
            logs: events.map(|made| counts(OtlpSignal::Logs, made.dropped)),
            up: self.health.is_up(),
        }
    }
}
