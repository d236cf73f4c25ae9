//! Hears which of our rows change in Redis, whoever changes them: a subscription that is made beside the publisher's own work,
//! made again when it is lost, and missed by nobody where it cannot be had, for rows are looked at in turn too.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::config::StateDbSettings;
use crate::model::component::STATE_DB;
use crate::sonic::redis_link::{Changed, Failure, Pause, RETRY, Subscription, Tells};
use crate::sonic::rows;

type Opening = Pin<Box<dyn Future<Output = Result<Subscription, Failure>> + Send>>;

pub(super) struct Hearing {
    settings: Arc<StateDbSettings>,
    tells: Tells,
    state: State,
    pause: Pause,
    since: Instant,
}

enum State {
    Opening(Opening),
    Open(Box<Subscription>),
    /// Until then.
    Waiting(Instant),
    /// This user may not.
    Deaf,
}

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hearing")
    }
}

impl Hearing {
    /// Begins when it is first asked.
    pub(super) fn new(settings: Arc<StateDbSettings>, tells: Tells) -> Self {
        let now = Instant::now();
        Self {
            settings,
            tells,
            state: State::Waiting(now),
            pause: Pause::default(),
            since: now,
        }
    }

    /// Waits until rows change, and adds their keys to `changed`; `more` where any may have. Cancel-safe: what is waited for
    /// is kept.
    pub(super) async fn heard(&mut self, changed: &mut Changed) {
        loop {
            let failure = match &mut self.state {
                State::Waiting(at) => {
                    sleep_until(*at).await;
                    self.since = Instant::now();
                    self.state = State::Opening(open(self.settings.clone(), self.tells.clone()));
                    continue;
                }
                State::Opening(opening) => match opening.await {
                    Ok(subscription) => {
                        self.state = State::Open(Box::new(subscription));
                        // What happened before was not told.
                        changed.more = true;
                        return;
                    }
                    Err(failure) => failure,
                },
                State::Open(subscription) => match subscription.changed(changed).await {
                    Ok(()) => return,
                    Err(failure) => failure,
                },
                State::Deaf => std::future::pending().await,
            };
            debug!(target: STATE_DB, reason = %failure, "no keyspace notifications of our rows: they are looked at in turn");
            self.state = match failure {
                Failure::Refused(_) | Failure::Auth(_) => State::Deaf,
                failure => {
                    let now = Instant::now();
                    State::Waiting(self.pause.next(&failure, self.since, now).max(now + RETRY))
                }
            };
        }
    }
}

fn open(settings: Arc<StateDbSettings>, tells: Tells) -> Opening {
    Box::pin(async move {
        let ours = format!("{}*", rows::key_prefix(&settings));
        Subscription::open(&settings.server, settings.db, &[ours], tells).await
    })
}
