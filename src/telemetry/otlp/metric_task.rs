//! The task that sends metrics. They are not queued: the next set replaces one that does not arrive.
//!
//! The view is made only when there is a connection, and it is sent in messages of about a MiB, each made when the one before has
//! arrived. So a collector that is away costs no view, and one that is slow holds it for a limited time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::collector::Collector;
use super::collector_health::CollectorHealth;
use super::collector_reply::SendError;
use super::delivery::deliver;
use super::metric_points::MetricMessages;
use super::resource::{Described, scope};
use super::sendable::Rejected;
use crate::config::OtlpSignal;
use crate::model::View;
use crate::runtime::defect::caught;

/// Makes a view; `None`: the exporter is stopping.
pub type ViewMaker = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<View>> + Send>> + Send + Sync>;

/// See the module's documentation.
pub(super) struct MetricTask {
    pub(super) collector: Collector,
    pub(super) described: Described,
    pub(super) health: Arc<CollectorHealth>,
    pub(super) every: Duration,
    /// The deadline of one message.
    pub(super) timeout: Duration,
    pub(super) view: ViewMaker,
}

impl MetricTask {
    /// Never ends.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(self.every);
        // Not several sets at once after a pause.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            sleep(self.collector.rest()).await;
            if let Err(defect) = caught(Box::pin(self.export())).await {
                self.health.add(OtlpSignal::Metrics, 0, 1);
                let url = self.collector.url();
                self.health.failed_by(OtlpSignal::Metrics, &url, &defect);
            }
        }
    }

    async fn export(&mut self) {
        // A large fleet is some hundred messages.
        let within = self.every.max(self.timeout);
        let sent = timeout(within, self.send_all(within)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("not all of them sent within {within:?}")));
        let (url, now) = (self.collector.url(), Instant::now().into_std());
        match sent {
            Ok(Some(rejected)) => {
                let is_good = rejected.count == 0;
                self.health
                    .add(OtlpSignal::Metrics, is_good.into(), (!is_good).into());
                let Rejected { count, reason } = rejected;
                self.health
                    .arrived(OtlpSignal::Metrics, &url, count, &reason, now);
            }
            // The exporter is stopping.
            Ok(None) => {}
            Err(error) => {
                self.health.add(OtlpSignal::Metrics, 0, 1);
                self.health.failed(OtlpSignal::Metrics, &url, &error, now);
            }
        }
    }

    /// `None`: there is no view any more.
    async fn send_all(&mut self, within: Duration) -> Result<Option<Rejected>, String> {
        let text = |error: SendError| error.text;
        self.collector.connect().await.map_err(text)?;
        let Some(view) = (self.view)().await else {
            return Ok(None);
        };
        let mut all = Rejected::default();
        for metrics in MetricMessages::new(&view) {
            let message = self.message(metrics);
            let reply = deliver(&mut self.collector, &message, within)
                .await
                .map_err(text)?;
            let reply = ExportMetricsServiceResponse::decode(reply).unwrap_or_default();
            let partial = reply.partial_success.unwrap_or_default();
            let rejected = Rejected::new(partial.rejected_data_points, partial.error_message);
            all.count += rejected.count;
            if all.reason.is_empty() {
                all.reason = rejected.reason;
            }
        }
        Ok(Some(all))
    }

    fn message(&self, metrics: Vec<Metric>) -> Vec<u8> {
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.described.resource()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec()
    }
}
