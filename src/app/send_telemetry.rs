//! Starts what sends telemetry to a collector. Without the feature `otel` nothing is sent.
//!
//! A defect there ends the sending and nothing else: probing does not need it.

#[cfg(feature = "otel")]
mod with {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;
    use tracing::error;

    use crate::app::make_view::{OtlpSource, Sources, view_source};
    use crate::app::parts::{Keeps, Tasks, oversee, until};
    use crate::config::OtelSettings;
    use crate::model::component::OTLP;
    use crate::runtime::defect::caught;
    use crate::telemetry::otlp::{Otlp, OtlpTask};
    use crate::web::ViewSource;

    /// The sending side before it runs.
    pub(in crate::app) struct Sending(Option<Otlp>);

    impl Sending {
        /// Makes the queues, and what fills them.
        pub(in crate::app) fn new(settings: Option<OtelSettings>) -> (Self, Keeps) {
            let Some(settings) = settings else {
                return (Self(None), Keeps::default());
            };
            let (otlp, recorder, events) = Otlp::new(settings);
            let recorder = Some(recorder);
            (Self(Some(otlp)), Keeps { recorder, events })
        }

        /// `None`: nothing is sent.
        pub(in crate::app) fn status(&self) -> Option<OtlpSource> {
            let otlp = self.0.as_ref()?;
            let report = otlp.report();
            Some(OtlpSource {
                status: Arc::new(move || report.status()),
                exemplars: otlp.exemplars(),
            })
        }

        /// Starts the tasks.
        pub(in crate::app) fn start(
            self,
            sources: Sources,
            tasks: &mut Tasks,
            stop: &CancellationToken,
        ) -> ViewSource {
            let Some(otlp) = self.0 else {
                return view_source(sources);
            };
            let (host, inventory) = (sources.origin.host.clone(), sources.switch.inventory.clone());
            let view = view_source(sources);
            let problems = otlp.problems(inventory.clone());
            let (queues, metrics) = otlp.tasks(&host, inventory, view.clone(), stop);
            for task in queues {
                let stop = stop.clone();
                oversee(tasks, "what sends telemetry", async move {
                    harmless(task).await;
                    stop.cancelled().await;
                    Ok(())
                });
            }
            for (name, task) in [
                ("what keeps inventory problems", problems),
                ("what sends metrics", metrics),
            ] {
                let Some(task) = task else { continue };
                until(stop, tasks, name, async move {
                    harmless(task).await;
                    std::future::pending::<()>().await;
                });
            }
            view
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
    use tokio_util::sync::CancellationToken;

    use crate::app::make_view::{OtlpSource, Sources, view_source};
    use crate::app::parts::{Keeps, Tasks};
    use crate::config::OtelSettings;
    use crate::web::ViewSource;

    /// Sends nothing.
    pub(in crate::app) struct Sending;

    impl Sending {
        pub(in crate::app) fn new(_: Option<OtelSettings>) -> (Self, Keeps) {
            (Self, Keeps::default())
        }

        pub(in crate::app) fn status(&self) -> Option<OtlpSource> {
            None
        }

        pub(in crate::app) fn start(
            self,
            sources: Sources,
            _: &mut Tasks,
            _: &CancellationToken,
        ) -> ViewSource {
            view_source(sources)
        }
    }
}

#[cfg(feature = "otel")]
pub(super) use with::Sending;
#[cfg(not(feature = "otel"))]
pub(super) use without::Sending;
