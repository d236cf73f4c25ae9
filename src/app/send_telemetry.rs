//! Starts what sends telemetry to a collector. Without the feature `otel` nothing is sent.
//!
//! A defect there ends the sending and nothing else: probing does not need it.

use std::sync::Arc;

use crate::model::OtlpStatus;

/// What has become of the telemetry.
pub(super) type OtlpStatusSource = Arc<dyn Fn() -> OtlpStatus + Send + Sync>;

#[cfg(feature = "otel")]
mod with {
    use std::sync::Arc;

    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;
    use tracing::error;

    use super::OtlpStatusSource;
    use crate::app::parts::{Tasks, oversee, until};
    use crate::config::OtelSettings;
    use crate::fleet::Feeds;
    use crate::model::Inventory;
    use crate::model::component::OTLP;
    use crate::runtime::defect::caught;
    use crate::telemetry::otlp::{Otlp, OtlpTask, ViewMaker};

    /// The sending side before it runs.
    pub(in crate::app) struct Sending(Option<Otlp>);

    impl Sending {
        /// Makes the queues, which the fleet fills.
        pub(in crate::app) fn new(settings: Option<OtelSettings>, feeds: &mut Feeds) -> Self {
            let otlp = settings.map(|settings| {
                let (otlp, recorder, _events) = Otlp::new(settings);
                feeds.recorder = Some(recorder);
                otlp
            });
            Self(otlp)
        }

        /// `None`: nothing is sent.
        pub(in crate::app) fn status(&self) -> Option<OtlpStatusSource> {
            let report = self.0.as_ref()?.report();
            Some(Arc::new(move || report.status()))
        }

        /// Starts the tasks.
        pub(in crate::app) fn start(
            self,
            host: &str,
            inventory: watch::Receiver<Arc<Inventory>>,
            view: ViewMaker,
            tasks: &mut Tasks,
            stop: &CancellationToken,
        ) {
            let Some(otlp) = self.0 else { return };
            let (queues, metrics) = otlp.tasks(host, inventory, view, stop);
            for task in queues {
                let stop = stop.clone();
                oversee(tasks, "what sends telemetry", async move {
                    harmless(task).await;
                    stop.cancelled().await;
                    Ok(())
                });
            }
            if let Some(task) = metrics {
                until(stop, tasks, "what sends metrics", async move {
                    harmless(task).await;
                    std::future::pending::<()>().await;
                });
            }
        }
    }

    async fn harmless(task: OtlpTask) {
        if let Err(defect) = caught(task).await {
            error!(target: OTLP, %defect, "telemetry is not sent any more because of a defect of this program, please report it");
        }
    }
}

#[cfg(not(feature = "otel"))]
mod without {
    use std::sync::Arc;

    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::OtlpStatusSource;
    use crate::app::parts::Tasks;
    use crate::config::OtelSettings;
    use crate::fleet::Feeds;
    use crate::model::Inventory;
    use crate::web::ViewSource;

    /// Sends nothing.
    pub(in crate::app) struct Sending;

    impl Sending {
        pub(in crate::app) fn new(_: Option<OtelSettings>, _: &mut Feeds) -> Self {
            Self
        }

        pub(in crate::app) fn status(&self) -> Option<OtlpStatusSource> {
            None
        }

        pub(in crate::app) fn start(
            self,
            _: &str,
            _: watch::Receiver<Arc<Inventory>>,
            _: ViewSource,
            _: &mut Tasks,
            _: &CancellationToken,
        ) {
        }
    }
}

#[cfg(feature = "otel")]
pub(super) use with::Sending;
#[cfg(not(feature = "otel"))]
pub(super) use without::Sending;
