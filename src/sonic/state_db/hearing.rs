//! Which of our rows change in Redis, by any process: a subscription beside the publisher's own connection. It is made again when it is
//! lost. Where it cannot be had, changes are found all the same, only later, because all rows are also checked one after another.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::config::StateDbSettings;
use crate::model::component::STATE_DB;
use crate::sonic::redis_link::{Changed, LastNotified, RedisFailure, Retry, Subscription};
use crate::sonic::rows;

type PendingSubscription = Pin<Box<dyn Future<Output = Result<Subscription, RedisFailure>> + Send>>;

pub(super) struct Hearing {
    settings: Arc<StateDbSettings>,
    notified: LastNotified,
    state: HearingState,
    retry: Retry,
    since: Instant,
}

enum HearingState {
    Opening(PendingSubscription),
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
    pub(super) fn new(settings: Arc<StateDbSettings>, notified: LastNotified) -> Self {
        let now = Instant::now();
        Self {
            settings,
            notified,
            state: HearingState::Waiting(now),
            retry: Retry::default(),
            since: now,
        }
    }

    /// Waits until rows change, and adds their keys to `changed`; `more` where any may have. Cancel-safe: what is waited for
    /// is kept.
    pub(super) async fn heard(&mut self, changed: &mut Changed) {
        loop {
            let failure = match &mut self.state {
                HearingState::Waiting(at) => {
                    sleep_until(*at).await;
                    self.since = Instant::now();
                    self.state = HearingState::Opening(open(self.settings.clone(), self.notified.clone()));
                    continue;
                }
                HearingState::Opening(opening) => match opening.await {
                    Ok(subscription) => {
                        self.state = HearingState::Open(Box::new(subscription));
                        // Earlier changes were not notified.
                        changed.more = true;
                        return;
                    }
                    Err(failure) => failure,
                },
                HearingState::Open(subscription) => match subscription.changed(changed).await {
                    Ok(()) => return,
                    Err(failure) => failure,
                },
                HearingState::Deaf => std::future::pending().await,
            };
            debug!(target: STATE_DB, reason = %failure, "no keyspace notifications of our rows: they are checked one after another");
            self.state = match failure {
                RedisFailure::Refused(_) | RedisFailure::Auth(_) => HearingState::Deaf,
                failure => {
                    let now = Instant::now();
                    HearingState::Waiting(
                        self.retry
                            .resubscribe(&failure, self.since.into_std(), now.into_std())
                            .into(),
                    )
                }
            };
        }
    }
}

fn open(settings: Arc<StateDbSettings>, notified: LastNotified) -> PendingSubscription {
    Box::pin(async move {
        let ours = format!("{}*", rows::key_prefix(&settings));
        Subscription::open(&settings.database.server, settings.database.id, &[ours], notified).await
    })
}
