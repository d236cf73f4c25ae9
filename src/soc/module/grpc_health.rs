//! grpc.health.v1 for any service: one Check per service in each round, and a Watch per service between rounds.

use std::future::pending;
use std::sync::Arc;

use futures_util::future::select_all;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::job_changes::JobChanges;
use super::module_round::{EndedQuestion, ask_all, round_of};
use super::{ModuleRound, ModuleSignal};
use crate::model::{
    Event, Health, HealthCheck, ModuleEvent, ModuleKind, ModuleReport, ProbeResult, ProbeSettings, Said,
};
use crate::soc::probe::health_watch::HealthWatch;
use crate::soc::probe::{QueryAnswer, Ready, RoundLimiter, health};
use crate::soc::transport::Transport;
use crate::soc::transport::raw_call::{self, RawReply};
use dualtor_proto::wire::{Malformed, WireFields, WireValue, text_field};

const CHECK: &str = "/grpc.health.v1.Health/Check";

#[derive(Debug)]
pub(in crate::soc) struct GrpcHealth {
    changes: JobChanges,
    services: Arc<[Arc<str>]>,
    /// One per service; none if Watch is not wanted.
    watches: Vec<HealthWatch>,
}

impl GrpcHealth {
    pub(super) fn new(check: &HealthCheck, changes: JobChanges) -> Self {
        let services: Arc<[Arc<str>]> = check.services.iter().cloned().collect();
        let watched = services.iter().filter(|_| check.watch);
        // The Checks and the Watches of all services.
        let streams = 2 * services.len();
        let watches = watched.map(|service| HealthWatch::of_service(service.clone(), streams));
        Self {
            changes,
            watches: watches.collect(),
            services,
        }
    }

    pub(super) fn attach(&mut self, transport: &Transport) {
        for watch in &mut self.watches {
            watch.attach(transport.clone());
        }
    }

    pub(super) fn detach(&mut self) {
        self.watches.iter_mut().for_each(HealthWatch::detach);
    }

    pub(super) fn round_ended(&mut self) {
        self.watches.iter_mut().for_each(HealthWatch::round_ended);
    }

    pub(super) fn round(
        &self,
        ready: Option<Ready>,
        settings: ProbeSettings,
        limiter: Arc<RoundLimiter>,
    ) -> ModuleRound {
        let services = self.services.clone();
        round_of(async move { run(ready, &services, settings, &limiter).await })
    }

    /// The newest status counts, whether it is from Check or from Watch. Then it is a success or not.
    pub(super) fn finish(&self, mut event: Box<ModuleEvent>, began: Instant) -> Event {
        if let ModuleEvent::Round(report) = &mut *event
            && let Some(Said::Health(healths)) = &mut report.said
        {
            for (health, watch) in healths.iter_mut().zip(&self.watches) {
                *health = newest(*health, watch.said_since(began));
            }
            if let ModuleKind::GrpcHealth(check) = &self.changes.job().spec.kind {
                report.success = check.is_success(healths);
            }
        }
        Event::Module(event)
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        tokio::select! {
            biased;
            (service, health) = said(&mut self.watches) => {
                ModuleSignal::Event(Event::Module(Box::new(ModuleEvent::Health(service, health))))
            }
            signal = self.changes.next() => signal,
        }
    }
}

/// The newest status: that of Check, or what Watch reported since the round began. A Check that failed stays unknown: its service was
/// asked and did not answer.
fn newest(checked: Health, watched: Option<Health>) -> Health {
    match checked {
        Health::Unknown => checked,
        _ => watched.unwrap_or(checked),
    }
}

/// The next status that any of them reports. Cancel-safe, as each of them is.
async fn said(watches: &mut [HealthWatch]) -> (usize, Health) {
    if watches.is_empty() {
        return pending().await;
    }
    let each = watches.iter_mut().map(|watch| Box::pin(watch.next()));
    let (health, service, _) = select_all(each).await;
    (service, health)
}

/// One Check per service, side by side. `finish` decides whether it is a success.
async fn run(
    ready: Option<Ready>,
    services: &[Arc<str>],
    settings: ProbeSettings,
    limiter: &RoundLimiter,
) -> ModuleReport {
    let questions = services.iter().map(|service| {
        let service = service.clone();
        async move |transport: &Transport| check(transport, &service).await
    });
    let (epoch, ended) = match ask_all(ready, settings, limiter, questions).await {
        Ok(ended) => ended,
        Err(report) => return report,
    };
    let bad = |(report, _): &&EndedQuestion<Health>| ProbeResult::from(report.result) != ProbeResult::Ok;
    let first_bad = ended.iter().find(bad).map(|(report, _)| report);
    ModuleReport {
        epoch: Some(epoch),
        result: first_bad.map_or(ProbeResult::Ok, |report| report.result.into()),
        success: false,
        took: ended.iter().filter_map(|(report, _)| report.took).max(),
        detail: first_bad.and_then(|report| report.error.clone()),
        said: Some(Said::Health(
            ended.into_iter().map(|(_, health)| health).collect(),
        )),
    }
}

async fn check(transport: &Transport, service: &str) -> QueryAnswer<Health> {
    let request = text_field(1, service).into();
    match raw_call::unary(transport, &PathAndQuery::from_static(CHECK), request).await {
        RawReply::One(reply) => read(&reply),
        RawReply::Unreadable(what) => QueryAnswer::invalid(what),
        RawReply::Failed(status) => health::failed(&status),
    }
}

/// A HealthCheckResponse: field 1 is the status.
fn read(reply: &[u8]) -> QueryAnswer<Health> {
    let mut status = 0;
    for field in WireFields::of(reply) {
        match field {
            Ok((1, WireValue::Varint(value))) => status = value,
            Ok((1, _)) | Err(Malformed) => {
                return QueryAnswer::invalid("the reply is not a HealthCheckResponse");
            }
            Ok(_) => {}
        }
    }
    // An enum is an int32; a negative one is sent with ten bytes.
    health::read(status as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueryResult;

    #[test]
    fn what_watch_reported_during_a_round_counts_unless_its_check_failed() {
        assert_eq!(newest(Health::Serving, None), Health::Serving);
        let newer = Some(Health::NotServing);
        assert_eq!(newest(Health::Serving, newer), Health::NotServing);
        assert_eq!(newest(Health::Unknown, Some(Health::Serving)), Health::Unknown);
    }

    #[test]
    fn a_reply_is_one_status_of_the_protocol_or_invalid() {
        let check = |reply: &[u8], result, health| {
            let answer = read(reply);
            assert_eq!((answer.result, answer.value), (result, health), "{reply:?}");
        };
        check(b"", QueryResult::Ok, Health::Unknown);
        check(b"\x08\x01", QueryResult::Ok, Health::Serving);
        check(b"\x08\x02", QueryResult::Ok, Health::NotServing);
        check(b"\x08\x01\x08\x02\x12\x01x", QueryResult::Ok, Health::NotServing);
        check(b"\x08\x04", QueryResult::InvalidReply, Health::Unknown);
        check(
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            QueryResult::InvalidReply,
            Health::Unknown,
        );
        check(b"\x08", QueryResult::InvalidReply, Health::Unknown);
        check(b"\x0a\x01x", QueryResult::InvalidReply, Health::Unknown);
    }
}
