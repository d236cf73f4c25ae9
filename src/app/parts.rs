//! Starts the parts that run as long as the exporter, notices when one ends, and waits for them at the stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::queues::Queues;
use super::{AppError, Listeners};
use crate::config::Config;
use crate::fleet::kept_queue::KeptSender;
use crate::fleet::mailbox::mailbox;
use crate::fleet::recorder::Recorder;
use crate::fleet::{EVENT_QUEUE, Feeds, Fleet, FleetHandle};
use crate::grpc_surface::{self, GrpcSurface};
use crate::model::{Inventory, KeptEvent, ProbeSettings, StateDbStatus};
use crate::runtime::defect::caught;
use crate::runtime::service_manager::Watchdog;
use crate::soc::channel::TlsStore;
use crate::soc::session::Context;
use crate::sonic::appl_db::Notifications;
use crate::sonic::redis_link::Servers;
use crate::sonic::state_db::StateDb;
use crate::sonic::switch::{Emits, Switch};
use crate::web::{self, Web};

/// Each task yields its name when it ends.
pub(super) type Tasks = JoinSet<Result<&'static str, AppError>>;
/// The status of one STATE_DB publisher.
pub(super) type Published = watch::Receiver<Option<StateDbStatus>>;

/// What is kept for OpenTelemetry, if it is on.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    /// For the fleet.
    pub(super) recorder: Option<Recorder>,
    /// Where others put events.
    pub(super) events: Option<KeptSender<KeptEvent>>,
}

/// Starts the publishers that write to Redis. Returns the fleet's ends of the mailboxes, and the publishers' status.
pub(super) fn publishers(
    config: &Config,
    keeps: Keeps,
    servers: &mut Servers,
    queues: &mut Queues,
    tasks: &mut Tasks,
) -> (Feeds, Vec<Published>) {
    let mut state_db = Vec::new();
    let mut feeds = Feeds {
        recorder: keeps.recorder,
        ..Feeds::default()
    };
    for (namespace, settings) in config.state_dbs() {
        let status = Arc::new(watch::Sender::new(Some(StateDbStatus::default())));
        state_db.push(status.subscribe());
        let (rows_tx, rows_rx) = mailbox();
        let notified = servers.last_notified(&settings.database.server);
        let publisher = StateDb::new(settings, rows_rx, status);
        let publisher = publisher.sharing(notified).keeping(keeps.events.clone());
        oversee(tasks, "the STATE_DB publisher", async move {
            publisher.run().await;
            Ok(())
        });
        queues.rows.push(rows_tx.backlog());
        feeds.rows.insert(namespace.clone(), rows_tx);
    }
    for (namespace, appl_db) in config.appl_dbs() {
        let (notices_tx, notices_rx) = mailbox();
        let publisher = Notifications::new(appl_db.clone(), notices_rx);
        oversee(tasks, "the publisher of notices", async move {
            publisher.run().await;
            Ok(())
        });
        queues.notices.push(notices_tx.backlog());
        feeds.notices.insert(namespace.clone(), notices_tx);
    }
    (feeds, state_db)
}

/// Starts the task that follows SONiC's databases.
pub(super) fn switch(
    config: watch::Receiver<Arc<Config>>,
    probe: &watch::Receiver<ProbeSettings>,
    servers: &mut Servers,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Emits {
    let (switch, emits) = Switch::new(config, probe, servers);
    until(stop, tasks, "the inventory", switch.run());
    emits
}

/// Starts the fleet, which starts the sessions.
pub(super) fn fleet(
    inventory: watch::Receiver<Arc<Inventory>>,
    (probe, tls): (watch::Receiver<ProbeSettings>, Arc<TlsStore>),
    (feeds, watchdog): (Feeds, Watchdog),
    queues: &mut Queues,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> FleetHandle {
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    queues.events = Some(events_tx.downgrade());
    let context = Context {
        events: events_tx,
        probe,
        dials: queues.dials.clone(),
        tls,
        rounds: queues.rounds.clone(),
        pulses: queues.pulses.clone(),
        propagate: feeds.recorder.as_ref().and_then(Recorder::propagated),
        origin: Instant::now(),
    };
    let (fleet, handle) = Fleet::new(inventory, context, events, feeds);
    let fleet = fleet.watched(watchdog);
    let stop = stop.clone();
    oversee(tasks, "the fleet", async move {
        let ended = fleet.run(stop.cancelled()).await;
        ended.map_err(|defect| AppError::Defect("the fleet", defect))
    });
    handle
}

/// Starts the web server, and the exporter's own gRPC services if they have an address.
pub(super) fn servers(
    listeners: Listeners,
    web: Web,
    fleet: &FleetHandle,
    servers: &mut Tasks,
    stop: &CancellationToken,
) {
    if !listeners.grpc.is_empty() {
        let surface = GrpcSurface {
            view: web.view.clone(),
            ready: web.ready.clone(),
            changed: fleet.serving_changes(),
        };
        let served = grpc_surface::serve(listeners.grpc, surface, stop.clone());
        oversee(servers, "the gRPC services", async move {
            served.await.map_err(AppError::Grpc)
        });
    }
    let served = web::serve(listeners.web, web, stop.clone());
    oversee(servers, "the web server", async move {
        served.await.map_err(AppError::Web)
    });
}

/// Runs a part that is simply dropped at the stop.
pub(super) fn until(
    stop: &CancellationToken,
    tasks: &mut Tasks,
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    oversee(tasks, name, async move {
        stop.run_until_cancelled(part).await;
        Ok(())
    });
}

/// Runs a part that handles the stop itself. A panic becomes an `AppError`.
pub(super) fn oversee(
    tasks: &mut Tasks,
    name: &'static str,
    part: impl Future<Output = Result<(), AppError>> + Send + 'static,
) {
    tasks.spawn(async move {
        let ended = caught(Box::pin(part)).await;
        ended.unwrap_or_else(|defect| Err(AppError::Defect(name, defect)))?;
        Ok(name)
    });
}

/// The error for a part that has ended before the stop.
pub(super) fn unexpected(ended: Result<Result<&'static str, AppError>, JoinError>) -> AppError {
    match ended {
        Ok(Ok(task)) => AppError::TaskEnded(task),
        Ok(Err(error)) => error,
        Err(_) => AppError::TaskEnded("a task"),
    }
}

/// Waits for all tasks; whether they ended in time.
pub(super) async fn drained(tasks: &mut Tasks, within: Duration) -> bool {
    timeout(within, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_ok()
}
