//! A SoC: the queries of DualToRActive and the health check in each round, its notices, and its health between rounds.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{ModuleRound, ModuleSignal};
use crate::model::{Event, ProbeSettings, Query, QueryResult, Report, RoundReason, Side, Target};
use crate::soc::probe::health_watch::HealthWatch;
use crate::soc::probe::notices::NoticeStream;
use crate::soc::probe::{self, Ready, RoundLimiter};
use crate::soc::transport::Transport;

#[derive(Debug)]
pub(in crate::soc) struct DualTor {
    /// May be replaced by a similar target while the session runs.
    target: watch::Receiver<Target>,
    side: Side,
    notices: NoticeStream,
    health: HealthWatch,
}

impl DualTor {
    pub(super) fn new(target: watch::Receiver<Target>) -> Self {
        let side = target.borrow().side;
        Self {
            target,
            side,
            notices: NoticeStream::new(side),
            health: HealthWatch::of_soc(),
        }
    }

    pub(super) fn attach(&mut self, transport: &Transport) {
        self.notices.attach(transport.clone());
        self.health.attach(transport.clone());
    }

    pub(super) fn detach(&mut self) {
        self.notices.detach();
        self.health.detach();
    }

    pub(super) fn finish(&self, mut report: Box<Report>, began: Instant, reason: RoundReason) -> Event {
        // A round ends with its slowest query. If the SoC has reported its health since the round began, that is newer than the
        // answer to the round's Check.
        if report.query(Query::Health).result == QueryResult::Ok
            && let Some(health) = self.health.said_since(began)
        {
            report.health = health;
        }
        report.timing.reason = reason;
        Event::Round(report)
    }

    pub(super) fn round_ended(&mut self) {
        self.health.round_ended();
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        tokio::select! {
            biased;
            report = self.notices.next() => ModuleSignal::Event(Event::Maintenance(report)),
            health = self.health.next() => ModuleSignal::Event(Event::Health(health)),
            Ok(()) = self.target.changed() => self.adopt_target(),
        }
    }

    fn adopt_target(&mut self) -> ModuleSignal {
        let target = self.target.borrow_and_update().clone();
        let ask = target.side != self.side;
        if ask {
            self.side = target.side;
            self.notices.change_side(target.side);
        }
        ModuleSignal::Adopt {
            channel: target.channel,
            ask,
        }
    }
}

/// One round of queries.
pub(super) fn round(
    ready: Option<Ready>,
    settings: ProbeSettings,
    limiter: Arc<RoundLimiter>,
) -> ModuleRound {
    Box::pin(async move { Event::Round(Box::new(probe::run(ready, settings, limiter).await)) })
}
