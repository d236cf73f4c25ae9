//! The reducer of module targets: `ModuleStatus` after an `Event`. Pure: it never reads a clock, does no I/O, cannot fail.
//!
//! It is the only code that writes a `ModuleStatus`. It returns the change of the channel's state, if there was one, for the log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::{
    Asked, ChannelState, ChannelStatus, EndedRound, Event, Health, ModuleEvent, ModuleJob, ModuleKind,
    ModuleReport, ModuleStatus, RECENT, ROUND_BUCKETS, RoundDurations, Said, Transition,
};

impl ModuleStatus {
    /// The status of a target that has not been probed yet.
    pub fn new(job: Arc<ModuleJob>) -> Self {
        Self {
            channel: ChannelStatus::new(&job.spec.channel),
            asked: Asked::default(),
            said: Said::unknown(&job.spec.kind),
            job,
        }
    }

    /// The job has changed to one that needs a new channel. Counters continue.
    pub fn retarget(&mut self, job: Arc<ModuleJob>) {
        self.channel.renew(&job.spec.channel);
        self.asked.success = None;
        self.said = Said::unknown(&job.spec.kind);
        self.job = job;
    }

    /// The job has changed to one that the same channel serves.
    pub fn adopt(&mut self, job: Arc<ModuleJob>) {
        if let (ModuleKind::GrpcUnary(old), ModuleKind::GrpcUnary(new)) =
            (&self.job.spec.kind, &job.spec.kind)
            && (&old.info, &old.values) != (&new.info, &new.values)
        {
            // What was read was read for other labels.
            self.said = Said::unknown(&job.spec.kind);
        }
        self.job = job;
    }

    /// Applies one event, which happened at `now`.
    pub fn apply(&mut self, event: &Event, now: SystemTime) -> Option<Transition> {
        match event {
            Event::Channel(event) => {
                let changed = self.channel.apply(event, now);
                self.on_change(changed)
            }
            Event::Module(event) => {
                match &**event {
                    ModuleEvent::Round(report) => self.apply_round(report, now),
                    ModuleEvent::Health(service, health) => self.apply_health(*service, *health),
                }
                None
            }
            // Only a SoC's session sends these.
            Event::Round(_) | Event::Maintenance(_) | Event::Health(_) => None,
        }
    }

    /// Stops the channel.
    pub fn stop(&mut self, now: SystemTime) -> Option<Transition> {
        let changed = self.channel.stop(now);
        self.on_change(changed)
    }

    /// The session has ended by a defect of the exporter, described by `detail`.
    pub fn lose_session(&mut self, detail: &str, now: SystemTime) -> Option<Transition> {
        let changed = self.channel.lose_session(detail, now);
        self.on_change(changed)
    }

    /// After a change of the channel's state nothing is known of the peer. A failure is no success; a graceful GOAWAY is no failure.
    fn on_change(&mut self, changed: Option<Transition>) -> Option<Transition> {
        if changed.is_some() {
            self.said = Said::unknown(&self.job.spec.kind);
            let failed = self.channel.state == ChannelState::TransientFailure;
            self.asked.success = self.asked.success.map(|success| success && !failed);
        }
        changed
    }

    fn apply_round(&mut self, report: &ModuleReport, now: SystemTime) {
        self.asked.results[report.result.index()] += 1;
        if let Some(took) = report.took {
            self.asked.durations.observe(took);
        }
        if report.success {
            self.asked.last_success = Some(now);
        }
        if self.asked.recent.len() == RECENT {
            self.asked.recent.pop_front();
        }
        self.asked.recent.push_back(EndedRound {
            at: now,
            result: report.result,
            success: report.success,
            took: report.took,
            detail: report.detail.clone(),
        });
        // A report from an older connection is counted but does not change the state: the first round on the new one follows.
        let is_ready = self.channel.state == ChannelState::Ready;
        if is_ready && report.epoch != Some(self.channel.epoch) {
            return;
        }
        self.asked.success = Some(report.success);
        if !is_ready {
            return;
        }
        match (&report.said, &self.said) {
            (Some(said), _) => self.said = said.clone(),
            (None, Said::Health(_)) => self.said = Said::unknown(&self.job.spec.kind),
            // What the last round that was answered has found is still the latest.
            (None, Said::Reply(_) | Said::Services(_) | Said::Gribi(_)) => {}
        }
    }

    fn apply_health(&mut self, service: usize, health: Health) {
        if self.channel.state != ChannelState::Ready {
            return;
        }
        if let (Said::Health(healths), ModuleKind::GrpcHealth(check)) = (&mut self.said, &self.job.spec.kind)
        {
            if let Some(known) = healths.get_mut(service) {
                *known = health;
            }
            let success = check.is_success(healths);
            self.asked.success = self.asked.success.map(|_| success);
        }
    }
}

impl RoundDurations {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = ROUND_BUCKETS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }
}

impl Said {
    /// Nothing is known.
    fn unknown(kind: &ModuleKind) -> Self {
        match kind {
            ModuleKind::GrpcHealth(check) => Self::Health(vec![Health::Unknown; check.services.len()]),
            ModuleKind::GrpcUnary(_) => Self::Reply(None),
            ModuleKind::ServiceInfo(_) => Self::Services(None),
            ModuleKind::Gribi(_) => Self::Gribi(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::model::{
        Cause, ChannelEvent, ChannelSettings, Endpoint, HealthCheck, ModuleSpec, ModuleTarget, ProbeResult,
        ProbeSettings,
    };

    fn job() -> Arc<ModuleJob> {
        let check = HealthCheck {
            services: vec!["".into(), "db".into()],
            healthy: vec![Health::Serving],
            watch: true,
        };
        Arc::new(ModuleJob {
            spec: Arc::new(ModuleSpec {
                name: "m".into(),
                kind: ModuleKind::GrpcHealth(check),
                probe: ProbeSettings::default(),
                channel: Arc::new(ChannelSettings::default()),
                metadata: Vec::new(),
                targets: Vec::new(),
            }),
            target: Arc::new(ModuleTarget {
                name: "t".into(),
                address: "h:1".into(),
                endpoint: Endpoint::Name("h".into(), 1),
                labels: Vec::new(),
            }),
        })
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn state(to: ChannelState, cause: Option<Cause>, epoch: u64) -> Event {
        Event::Channel(ChannelEvent::State { to, cause, epoch })
    }

    fn round(epoch: Option<u64>, result: ProbeResult, healths: Option<[Health; 2]>) -> Event {
        let report = ModuleReport {
            epoch,
            result,
            success: healths == Some([Health::Serving; 2]),
            took: epoch.map(|_| Duration::from_millis(3)),
            detail: None,
            said: healths.map(|healths| Said::Health(healths.to_vec())),
        };
        Event::Module(Box::new(ModuleEvent::Round(report)))
    }

    fn watch(service: usize, health: Health) -> Event {
        Event::Module(Box::new(ModuleEvent::Health(service, health)))
    }

    fn healths(status: &ModuleStatus) -> &[Health] {
        match &status.said {
            Said::Health(healths) => healths,
            said => panic!("{said:?}"),
        }
    }

    /// READY, and two services are serving.
    fn well() -> ModuleStatus {
        let mut status = ModuleStatus::new(job());
        status.apply(&state(ChannelState::Ready, None, 1), at(1));
        status.apply(
            &round(Some(1), ProbeResult::Ok, Some([Health::Serving; 2])),
            at(2),
        );
        status
    }

    #[test]
    fn success_is_absent_until_a_round_has_ended_whatever_a_watch_says() {
        let mut status = ModuleStatus::new(job());
        assert_eq!(
            (status.asked.success, healths(&status)),
            (None, &[Health::Unknown; 2][..])
        );
        status.apply(&state(ChannelState::Ready, None, 1), at(1));
        status.apply(&watch(1, Health::NotServing), at(1));
        assert_eq!(healths(&status), [Health::Unknown, Health::NotServing]);
        assert_eq!(status.asked.success, None);
        status.apply(
            &round(Some(1), ProbeResult::Ok, Some([Health::Serving; 2])),
            at(2),
        );
        assert_eq!(
            (status.asked.success, status.asked.last_success),
            (Some(true), Some(at(2)))
        );
        assert_eq!(status.asked.results[ProbeResult::Ok.index()], 1);
        assert_eq!(status.asked.durations.counts[2], 1);
    }

    #[test]
    fn success_follows_watch_between_rounds() {
        let mut status = well();
        for (health, success) in [
            (Health::NotServing, false),
            (Health::Serving, true),
            (Health::Unknown, false),
        ] {
            status.apply(&watch(1, health), at(3));
            assert_eq!(
                (healths(&status)[1], status.asked.success),
                (health, Some(success))
            );
        }
        // A service that is not there is not a panic.
        status.apply(&watch(7, Health::Serving), at(3));
    }

    #[test]
    fn a_lost_channel_is_no_success_at_once_and_a_graceful_goaway_is_no_failure() {
        let mut status = well();
        let changed = status.apply(&state(ChannelState::Connecting, None, 1), at(3));
        assert!(changed.is_some());
        assert_eq!(
            (status.asked.success, healths(&status)),
            (Some(true), &[Health::Unknown; 2][..])
        );
        status.apply(
            &state(ChannelState::TransientFailure, Some(Cause::Refused), 1),
            at(4),
        );
        assert_eq!(status.asked.success, Some(false));
        status.apply(&watch(0, Health::Serving), at(5));
        assert_eq!(
            (status.asked.success, healths(&status)[0]),
            (Some(false), Health::Unknown)
        );
        status.apply(&round(None, ProbeResult::Unavailable, None), at(6));
        assert_eq!(status.asked.results[ProbeResult::Unavailable.index()], 1);
        assert_eq!(status.asked.recent.len(), 2);
    }

    #[test]
    fn a_report_of_an_older_connection_is_counted_and_changes_nothing() {
        let mut status = well();
        status.apply(&state(ChannelState::Connecting, None, 1), at(3));
        status.apply(&state(ChannelState::Ready, None, 2), at(3));
        status.apply(&round(Some(1), ProbeResult::Unavailable, None), at(4));
        assert_eq!((status.asked.success, status.asked.recent.len()), (Some(true), 2));
        status.apply(
            &round(
                Some(2),
                ProbeResult::Ok,
                Some([Health::Serving, Health::NotServing]),
            ),
            at(5),
        );
        assert_eq!(status.asked.success, Some(false));
    }

    #[test]
    fn only_the_last_rounds_are_kept() {
        let mut status = well();
        for n in 0..30 {
            status.apply(&round(Some(1), ProbeResult::Internal, None), at(10 + n));
        }
        assert_eq!(status.asked.recent.len(), RECENT);
        assert_eq!(status.asked.recent.back().map(|round| round.at), Some(at(39)));
        assert_eq!(status.asked.results[ProbeResult::Internal.index()], 30);
    }

    #[test]
    fn a_new_channel_knows_nothing_and_the_counters_go_on() {
        let mut status = well();
        status.stop(at(3));
        assert_eq!(status.channel.failures[Cause::Local.index()], 1);
        status.retarget(job());
        assert_eq!(
            (status.channel.state, status.asked.success),
            (ChannelState::Idle, None)
        );
        assert_eq!(status.asked.results[ProbeResult::Ok.index()], 1);
        assert_eq!(status.channel.transitions[ChannelState::Ready.index()], 1);
        status.lose_session("a defect", at(4));
        assert_eq!(status.channel.session_restarts, 1);
    }
}
