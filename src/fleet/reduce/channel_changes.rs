//! What an event of a channel changes in its status, whatever is asked on the channel.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{
    Cause, ChannelEvent, ChannelSettings, ChannelState, ChannelStatus, ProbeSettings, Transition,
    TransitionKind,
};

impl ChannelStatus {
    /// The status of a channel that has not been dialled yet.
    pub fn new(settings: &ChannelSettings) -> Self {
        let rounds = ProbeSettings::default().interval;
        Self {
            state: ChannelState::Idle,
            epoch: 0,
            transitions: [0; ChannelState::COUNT],
            last_transition: None,
            dials: 0,
            failures: [0; Cause::COUNT],
            last_failure: None,
            last_detail: None,
            keepalive_rtt: None,
            // With `rounds` the channel reports the interval of its rounds.
            keepalive_time: settings.keepalive.between_rounds().unwrap_or(rounds),
            pings_with_rounds: settings.keepalive.between_rounds().is_none(),
            short_readys: 0,
            ping_refusals: 0,
            certificate_expiry: None,
            session_restarts: 0,
        }
    }

    /// The target needs a new channel, with these settings. Counters continue.
    pub(in crate::fleet) fn renew(&mut self, settings: &ChannelSettings) {
        let old = std::mem::replace(self, Self::new(settings));
        self.transitions = old.transitions;
        self.last_transition = old.last_transition;
        self.dials = old.dials;
        self.failures = old.failures;
        self.last_failure = old.last_failure;
        self.last_detail = old.last_detail;
        self.session_restarts = old.session_restarts;
    }

    /// Applies one event, which happened at `now`. Returns the change of state, if there was one.
    pub(in crate::fleet) fn apply(&mut self, event: &ChannelEvent, now: SystemTime) -> Option<Transition> {
        match event {
            ChannelEvent::Dialing => self.dials += 1,
            ChannelEvent::Failed { cause, detail } => self.fail(*cause, detail.clone()),
            ChannelEvent::PeerCertificate { not_after } => self.certificate_expiry = Some(*not_after),
            ChannelEvent::Rtt(rtt) => {
                if self.state == ChannelState::Ready {
                    self.keepalive_rtt = Some(*rtt);
                }
            }
            ChannelEvent::Short { in_a_row } => self.short_readys = *in_a_row,
            ChannelEvent::Keepalive {
                time,
                rounds,
                refusals,
                ..
            } => {
                self.keepalive_time = *time;
                self.pings_with_rounds = *rounds > 0;
                self.ping_refusals = *refusals;
            }
            ChannelEvent::State { to, cause, epoch } => return self.change(*to, *cause, *epoch, now),
        }
        None
    }

    /// Stops the channel. A READY channel counts as lost, with cause `local`.
    pub(in crate::fleet) fn stop(&mut self, now: SystemTime) -> Option<Transition> {
        let (to, cause) = (ChannelState::Shutdown, Cause::Local);
        if self.state == ChannelState::Ready {
            self.failures[cause.index()] += 1;
        }
        self.change(to, Some(cause), self.epoch, now)
    }

    /// The session has ended by a defect of the exporter, described by `detail`.
    pub(in crate::fleet) fn lose_session(&mut self, detail: &str, now: SystemTime) -> Option<Transition> {
        let cause = Cause::Local;
        self.session_restarts += 1;
        self.fail(cause, detail.into());
        self.change(ChannelState::TransientFailure, Some(cause), self.epoch, now)
    }

    fn fail(&mut self, cause: Cause, detail: Arc<str>) {
        self.failures[cause.index()] += 1;
        self.last_failure = Some(cause);
        self.last_detail = Some(detail);
    }

    fn change(
        &mut self,
        to: ChannelState,
        cause: Option<Cause>,
        epoch: u64,
        now: SystemTime,
    ) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        self.epoch = epoch;
        if from == to {
            return None;
        }
        self.transitions[to.index()] += 1;
        self.last_transition = Some(now);
        self.keepalive_rtt = None;
        Some(Transition {
            at: now,
            kind: TransitionKind::Channel { from, to, cause },
            detail: self.detail_of(cause, to),
        })
    }

    /// The detail of the failure that has this cause. Our own stop has none.
    fn detail_of(&self, cause: Option<Cause>, to: ChannelState) -> Option<Arc<str>> {
        let cause = cause.filter(|_| to != ChannelState::Shutdown)?;
        self.last_detail
            .clone()
            .filter(|_| self.last_failure == Some(cause))
    }
}
