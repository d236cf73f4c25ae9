//! The parts that run as long as the exporter: how they are started, watched and waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::AppError;
use crate::config::Config;
use crate::fleet::Feeds;
use crate::fleet::mailbox::mailbox;
use crate::model::StateDbStatus;
use crate::runtime::defect::caught;
use crate::sonic::appl_db::Notifications;
use crate::sonic::redis_link::Servers;
use crate::sonic::state_db::StateDb;

/// Each yields its name when it has ended.
pub(super) type Tasks = JoinSet<Result<&'static str, AppError>>;
/// What a publisher at STATE_DB shows of itself.
pub(super) type Published = watch::Receiver<Option<StateDbStatus>>;

/// Starts what writes to Redis: the fleet's ends of the mailboxes, and how each publisher of rows fares.
pub(super) fn publishers(
    config: &Config,
    servers: &mut Servers,
    tasks: &mut Tasks,
) -> (Feeds, Vec<Published>) {
    let mut state_db = Vec::new();
    let mut feeds = Feeds::default();
    for (namespace, settings) in config.state_dbs() {
        let status = Arc::new(watch::Sender::new(Some(StateDbStatus::default())));
        state_db.push(status.subscribe());
        let (rows_tx, rows_rx) = mailbox();
        let tells = servers.tells(&settings.server);
        let publisher = StateDb::new(settings, rows_rx, status).sharing(tells);
        oversee(tasks, "the STATE_DB publisher", async move {
            publisher.run().await;
            Ok(())
        });
        feeds.rows.insert(namespace.clone(), rows_tx);
    }
    for (namespace, appl_db) in config.appl_dbs() {
        let (notices_tx, notices_rx) = mailbox();
        let publisher = Notifications::new(appl_db.clone(), notices_rx);
        oversee(tasks, "the publisher of notices", async move {
            publisher.run().await;
            Ok(())
        });
        feeds.notices.insert(namespace.clone(), notices_tx);
    }
    (feeds, state_db)
}

/// Runs a part that works until the stop.
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

/// What it means that a part has ended before the stop.
pub(super) fn unexpected(ended: Result<Result<&'static str, AppError>, JoinError>) -> AppError {
    match ended {
        Ok(Ok(task)) => AppError::TaskEnded(task),
        Ok(Err(error)) => error,
        Err(_) => AppError::TaskEnded("a task"),
    }
}

/// Whether all of them ended in time.
pub(super) async fn drained(tasks: &mut Tasks, within: Duration) -> bool {
    timeout(within, async { while tasks.join_next().await.is_some() {} })
        .await
        .is_ok()
}
