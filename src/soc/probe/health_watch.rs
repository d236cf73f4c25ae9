//! `grpc.health.v1.Health/Watch`, for a SoC with service `""`: the peer reports a change of its health at once. If it has no such RPC
//! (UNIMPLEMENTED), only the Check in each round reports health. The Check is part of each round in either case.
//!
//! The protocol's rules: SERVICE_UNKNOWN is a status like any other and keeps the stream open. After UNIMPLEMENTED the stream
//! is not opened again on this connection. After any other end it is, with backoff. The stream has no deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::health;
use super::held::{Held, HeldEvent, HeldMessages, HeldRpc};
use super::report_limiter::ReportLimiter;
use crate::model::Health;
use crate::soc::transport::Transport;
use dualtor_proto::served::{HealthCheckRequest, HealthCheckResponse};

const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// How long the stream waits for the end of the first round on a connection. h2 never frees what it has set aside for frames that
/// came in at one go: the replies of a round fit into 4 kB, together with the beginning of this stream they take 8.
const FIRST_ROUND: Duration = Duration::from_millis(100);

/// What a SoC has on its channel: the five queries of a round, the notices and the Watch.
const STREAMS_OF_SOC: usize = 7;

/// The RPC.
#[derive(Debug)]
struct Watch {
    service: Arc<str>,
    streams_needed: usize,
}

impl HeldRpc for Watch {
    type Message = HealthCheckResponse;
    /// The first status comes at once.
    const OPEN_AFTER: Option<Duration> = None;

    fn streams_needed(&self) -> usize {
        self.streams_needed
    }

    fn open(&self, transport: &Transport) -> Option<HeldMessages<HealthCheckResponse>> {
        let service = self.service.to_string();
        Some(HeldMessages::opening(
            transport,
            WATCH,
            &HealthCheckRequest { service },
        ))
    }
}

/// What the health service of one SoC reports by itself, across its connections.
#[derive(Debug)]
pub struct HealthWatch {
    stream: Held<Watch>,
    /// The last status on this connection, and when it arrived.
    said: Option<(Health, Instant)>,
    /// Whether it must still be reported.
    fresh: bool,
    limiter: ReportLimiter,
}

impl HealthWatch {
    /// For a SoC. Off, until the channel is READY.
    pub fn of_soc() -> Self {
        let limiter = ReportLimiter::of_soc(Instant::now().into_std());
        Self::new("".into(), STREAMS_OF_SOC, limiter)
    }

    /// For a service of a probe module's target. A peer that allows fewer streams than `streams_needed` is not asked. Off, until the channel is READY.
    pub fn of_service(service: Arc<str>, streams_needed: usize) -> Self {
        let limiter = ReportLimiter::of_module(Instant::now().into_std());
        Self::new(service, streams_needed, limiter)
    }

    fn new(service: Arc<str>, streams_needed: usize, limiter: ReportLimiter) -> Self {
        let watch = Watch {
            service,
            streams_needed,
        };
        Self {
            stream: Held::new(watch),
            said: None,
            fresh: false,
            limiter,
        }
    }

    /// The channel is READY: opens the stream on it after the first round, or after `FIRST_ROUND`.
    pub fn attach(&mut self, transport: Transport) {
        self.detach();
        self.stream.attach_soon(transport, Instant::now() + FIRST_ROUND);
    }

    /// A round has ended: the stream need not wait for it any more.
    pub fn round_ended(&mut self) {
        self.stream.open_if_waiting();
    }

    /// The channel is not READY any more. What was reported on it is no longer valid.
    pub fn detach(&mut self) {
        self.stream.detach();
        self.said = None;
        self.fresh = false;
    }

    /// The last status, if it arrived after `when`: then it is newer than a Check that was sent at `when`.
    pub fn said_since(&self, when: Instant) -> Option<Health> {
        let (health, at) = self.said?;
        (at >= when).then_some(health)
    }

    /// What the SoC reports, at once if the limiter allows it. The same status may come twice, because a Check in between may
    /// have returned another one. Cancel-safe: everything it waits for is kept in the struct.
    pub async fn next(&mut self) -> Health {
        loop {
            match self.said {
                Some((health, _)) if self.fresh => tokio::select! {
                    biased;
                    () = sleep_until(self.limiter.next().into()) => {
                        self.limiter.reported(Instant::now().into_std());
                        self.fresh = false;
                        return health;
                    }
                    () = self.advance() => {}
                },
                _ => self.advance().await,
            }
        }
    }

    async fn advance(&mut self) {
        match self.stream.next().await {
            HeldEvent::Message(reply) => self.hear(&reply),
            // The Check of the next round reports health without the stream.
            HeldEvent::Open | HeldEvent::Unimplemented | HeldEvent::Ended => {}
        }
    }

    fn hear(&mut self, reply: &HealthCheckResponse) {
        self.said = Some((health::read(reply.status).value, Instant::now()));
        self.fresh = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_changes_is_told_at_a_pace_and_the_last_one_counts() {
        let mut watch = HealthWatch::of_soc();
        let began = Instant::now();
        for reports in 0..5u32 {
            for n in 0..1001 {
                watch.hear(&HealthCheckResponse { status: 1 + n % 2 });
            }
            assert_eq!(watch.next().await, Health::Serving);
            assert!(
                began.elapsed() >= Duration::from_millis(50) * reports,
                "report {reports}"
            );
        }
        let again = tokio::time::timeout(Duration::from_millis(200), watch.next()).await;
        assert!(again.is_err(), "reported twice");
    }

    #[test]
    fn only_what_was_said_since_then_is_news() {
        let mut watch = HealthWatch::of_soc();
        let before = Instant::now();
        assert_eq!(watch.said_since(before), None);
        watch.hear(&HealthCheckResponse { status: 2 });
        assert_eq!(watch.said_since(before), Some(Health::NotServing));
        let after = Instant::now() + Duration::from_nanos(1);
        assert_eq!(watch.said_since(after), None);
        watch.detach();
        assert_eq!(watch.said_since(before), None);
    }
}
