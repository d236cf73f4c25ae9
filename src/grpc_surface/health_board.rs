//! Which service has which status, and the task that keeps that up to date.
//!
//! A new view is made when the fleet reports that something has changed, and not before the last one is a moment old: so many
//! changes at once cost a few views. All calls read the same board. What a Watch has not sent yet is not queued: it looks at the
//! board when the client can take more.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use dualtor_proto::served::{HealthCheckResponse, HealthListResponse, ServingStatus};
use futures_util::future::pending;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::error;

use super::GrpcSurface;
use super::answer_body::framed;
use crate::model::component::GRPC;
use crate::model::{ServingState, View};
use crate::runtime::defect::caught;

/// Between two views. A change is reported within 100 ms: this is spent once for a change that comes just after a view.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const MOST_PAUSE: Duration = Duration::from_millis(60);
/// A view may take a fifth of the time, however many targets there are, up to `MOST_PAUSE`.
const PAUSE_PER_VIEW: u32 = 4;
const AFTER_A_DEFECT: Duration = Duration::from_secs(1);
/// Bytes of the answer to List. 1 MiB are about 30,000 services.
const LONGEST_LIST: usize = 1024 * 1024;

/// The statuses at one moment.
#[derive(Debug, Default)]
pub(super) struct HealthBoard {
    /// Whether there has been a view.
    is_read: bool,
    ready: bool,
    /// Sorted by name.
    services: Vec<(String, ServingState)>,
    /// The answer to List; `None`: it would be too long.
    list: OnceLock<Option<Bytes>>,
}

/// Reads the board.
pub(super) type BoardReader = watch::Receiver<Arc<HealthBoard>>;

/// All targets and their states.
fn services_of(view: &View) -> Vec<(String, ServingState)> {
    let ports = view.socs.iter().map(|soc| {
        let name = format!("port/{}", soc.status.target.id.key());
        (name, soc.status.serving())
    });
    let targets = view.module_targets.iter().map(|target| {
        let id = target.id();
        (format!("module/{}/{}", id.module, id.target), target.serving())
    });
    let mut services: Vec<_> = ports.chain(targets).collect();
    services.sort_unstable();
    services
}

fn status_of(state: ServingState) -> ServingStatus {
    match state {
        ServingState::Unknown => ServingStatus::Unknown,
        ServingState::Serving => ServingStatus::Serving,
        ServingState::NotServing => ServingStatus::NotServing,
    }
}

impl HealthBoard {
    fn new(ready: bool, view: &View) -> Self {
        Self {
            is_read: true,
            ready,
            services: services_of(view),
            list: OnceLock::new(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.is_read, self.ready, &self.services) == (other.is_read, other.ready, &other.services)
    }

    fn overall(&self) -> ServingStatus {
        match self.ready {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        }
    }

    /// The status of a service; `None`: there is no such service. The empty name is the exporter itself.
    pub(super) fn status(&self, service: &str) -> Option<ServingStatus> {
        if service.is_empty() {
            return Some(self.overall());
        }
        let found = self
            .services
            .binary_search_by(|(name, _)| name.as_str().cmp(service));
        let (_, state) = self.services.get(found.ok()?)?;
        Some(status_of(*state))
    }

    /// The answer to List, as it is sent; `None`: it would be too long. It is made once for all who ask.
    pub(super) fn list(&self) -> Option<&Bytes> {
        let made = self.list.get_or_init(|| {
            let status = |status: ServingStatus| HealthCheckResponse {
                status: status.into(),
            };
            let services = self.services.iter();
            let services = services.map(|(name, state)| (name.clone(), status(status_of(*state))));
            let overall = (String::new(), status(self.overall()));
            let list = HealthListResponse {
                statuses: services.chain([overall]).collect(),
            };
            Some(framed(&list)).filter(|list| list.len() <= LONGEST_LIST)
        });
        made.as_ref()
    }
}

/// The work that keeps the board, and the board. It ends when the exporter stops, and then the board is out of date.
pub(super) fn keep(mut surface: GrpcSurface) -> (impl Future<Output = ()> + Send + use<>, BoardReader) {
    let (board, reader) = watch::channel(Arc::new(HealthBoard::default()));
    let keeping = async move {
        loop {
            let began = Instant::now();
            surface.changed.mark_unchanged();
            let ready = *surface.ready.borrow_and_update();
            let view = match caught((surface.view)()).await {
                Ok(Some(view)) => view,
                Ok(None) => return,
                Err(defect) => {
                    error!(target: GRPC, %defect, again_in = ?AFTER_A_DEFECT, "the states of the targets cannot be read because of a defect of this program, please report it");
                    sleep(AFTER_A_DEFECT).await;
                    continue;
                }
            };
            let new = HealthBoard::new(ready, &view);
            drop(view);
            board.send_if_modified(|board| {
                let changes = !board.is_like(&new);
                if changes {
                    *board = Arc::new(new);
                }
                changes
            });
            let pause = (began.elapsed() * PAUSE_PER_VIEW).clamp(LEAST_PAUSE, MOST_PAUSE);
            sleep(pause).await;
            // Both arms are cancel-safe.
            tokio::select! {
                () = next(&mut surface.changed) => {}
                () = next(&mut surface.ready) => {}
            }
        }
    };
    (keeping, reader)
}

/// The next change. When none can come any more, the stop is near.
async fn next<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// Waits for the first view; false: the exporter stops before there is one.
pub(super) async fn is_read(mut board: BoardReader) -> bool {
    board.wait_for(|board| board.is_read).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::{PortReason, SocView};
    use crate::telemetry::testing::{empty_view, status};

    fn board(services: &[(&str, ServingState)]) -> HealthBoard {
        HealthBoard {
            services: services
                .iter()
                .map(|(name, state)| ((*name).to_owned(), *state))
                .collect(),
            ..HealthBoard::default()
        }
    }

    #[test]
    fn a_service_has_its_status_and_the_empty_name_is_readiness() {
        let board = board(&[
            ("port/Ethernet0", ServingState::Serving),
            ("port/Ethernet100", ServingState::NotServing),
            ("port/Ethernet4", ServingState::Unknown),
        ]);
        let check = |name: &str, expected| assert_eq!(board.status(name), expected, "{name}");
        check("", Some(ServingStatus::NotServing));
        check("port/Ethernet0", Some(ServingStatus::Serving));
        check("port/Ethernet100", Some(ServingStatus::NotServing));
        check("port/Ethernet4", Some(ServingStatus::Unknown));
        check("port/Ethernet", None);
        check("Ethernet0", None);
        let ready = HealthBoard { ready: true, ..board };
        assert_eq!(ready.status(""), Some(ServingStatus::Serving));
    }

    /// How long after a change the board shows it: the change comes `after` a view was last begun, and a view takes `takes`.
    async fn delay(takes: Duration, after: Duration) -> Duration {
        let is_there = Arc::new(AtomicBool::new(false));
        let seen = is_there.clone();
        let view = move || -> crate::web::ViewFuture {
            let mut view = empty_view();
            if seen.load(Ordering::Relaxed) {
                view.socs.push(SocView {
                    status: Arc::new(status("Ethernet0")),
                    facts: None,
                    reason: PortReason::Healthy,
                });
            }
            Box::pin(async move {
                sleep(takes).await;
                Some(view)
            })
        };
        let ((change, changed), (_ready, ready)) = (watch::channel(()), watch::channel(true));
        let surface = GrpcSurface {
            view: Arc::new(view),
            ready,
            changed,
        };
        let (keeping, mut board) = keep(surface);
        let keeping = tokio::spawn(keeping);
        board.wait_for(|board| board.is_read).await.expect("a view");
        sleep(MOST_PAUSE * 2).await;
        // A view begins now, and the change comes after it.
        change.send_replace(());
        sleep(after).await;
        is_there.store(true, Ordering::Relaxed);
        change.send_replace(());
        let began = Instant::now();
        board
            .wait_for(|board| board.status("port/Ethernet0").is_some())
            .await
            .expect("the change");
        keeping.abort();
        began.elapsed()
    }

    /// What is promised, on a clock that only moves while all wait.
    #[tokio::test(start_paused = true)]
    async fn a_change_is_on_the_board_within_100_ms_whenever_it_comes() {
        for takes in [0, 1, 5, 18] {
            for after in 0..150 {
                let delay = delay(Duration::from_millis(takes), Duration::from_millis(after)).await;
                assert!(
                    delay <= Duration::from_millis(100),
                    "{delay:?}: {after} ms after a view of {takes} ms began"
                );
            }
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_not_made() {
        let services: Vec<_> = (0..60_000)
            .map(|n| (format!("port/Ethernet{n:06}"), ServingState::Serving))
            .collect();
        let long = HealthBoard {
            services,
            ..HealthBoard::default()
        };
        assert!(long.list().is_none());
        let list = board(&[("port/Ethernet0", ServingState::Serving)]);
        let list = list.list().expect("a short one").clone();
        // In the order of the names: "" has status 2.
        assert_eq!(&list[..5], [0, 0, 0, 0, list.len() as u8 - 5]);
        assert!(list.ends_with(b"port/Ethernet0\x12\x02\x08\x01"), "{list:?}");
    }
}
