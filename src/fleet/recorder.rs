//! What of a SoC's events is kept for OpenTelemetry: the traces of rounds and dials, and events. No I/O and no clock: time and
//! random numbers come from outside. The fleet calls it; the ends of the queues are elsewhere.
//!
//! A round is judged when it has ended, from its report. So nothing that was bad is lost to sampling, and nothing is held while it
//! runs. Of a dial, its beginning and what changed since the last one are held until it ends: for each SoC one small entry.
//!
//! A loss is a change between two dials. It becomes part of the next one: together they show how long the SoC was away.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::kept_queue::KeptSender;
use crate::model::{
    Cause, ChannelEvent, ChannelState, Event, Happening, KeptEvent, KeptTrace, KeptWork, Report, SocStatus,
    TargetId, TraceId, TraceRule, Transition, TransitionKind,
};

/// Changes that are held for the next dial. A dial is at most a backoff away, so there are one or two.
const MOST_CHANGES: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct Recorder {
    rule: TraceRule,
    /// `None`: no traces are kept.
    traces: Option<KeptSender<KeptTrace>>,
    /// `None`: no events are kept.
    events: Option<KeptSender<KeptEvent>>,
    dials: HashMap<TargetId, OpenDial>,
    /// Whether the SoCs are told the traces of their rounds.
    propagates: bool,
    random: fn() -> u128,
}

/// The dial that runs, or the next one.
#[derive(Debug)]
struct OpenDial {
    trace: TraceId,
    /// `None`: it has not begun.
    began: Option<SystemTime>,
    /// When and why it failed. A change of the state may follow.
    failed: Option<(SystemTime, Cause)>,
    transitions: Vec<Transition>,
}

impl OpenDial {
    fn new(random: u128) -> Self {
        Self {
            trace: TraceId::new(random),
            began: None,
            failed: None,
            transitions: Vec::new(),
        }
    }

    /// Whether it failed, or the channel was up or down before it. A first dial that succeeds is neither.
    fn is_notable(&self) -> bool {
        let had_been = |transition: &Transition| {
            matches!(
                transition.kind,
                TransitionKind::Channel {
                    from: ChannelState::Ready | ChannelState::TransientFailure,
                    ..
                }
            )
        };
        self.failed.is_some() || self.transitions.iter().any(had_been)
    }
}

impl Recorder {
    /// Keeps traces by this rule.
    pub fn new(
        rule: TraceRule,
        traces: Option<KeptSender<KeptTrace>>,
        events: Option<KeptSender<KeptEvent>>,
    ) -> Self {
        Self {
            rule,
            traces,
            events,
            dials: HashMap::new(),
            propagates: false,
            random: || fastrand::u128(..),
        }
    }

    /// The same, and the SoCs are told the traces of their rounds.
    #[must_use]
    pub fn propagating(self, propagates: bool) -> Self {
        Self { propagates, ..self }
    }

    /// Of which rounds the SoCs are told the trace.
    pub fn propagated(&self) -> Option<TraceRule> {
        (self.propagates && self.traces.is_some()).then_some(self.rule)
    }

    /// The same with other random numbers.
    #[must_use]
    pub fn with_random(self, random: fn() -> u128) -> Self {
        Self { random, ..self }
    }

    /// After the reducer has applied `event`: the status now, and what changed. `timeout` is a query's deadline.
    pub fn on_event(
        &mut self,
        status: &SocStatus,
        event: Event,
        transitions: Vec<Transition>,
        now: SystemTime,
        timeout: Duration,
    ) {
        match event {
            Event::Round(report) => self.on_round(status, report, transitions, timeout),
            Event::Channel(event) => self.on_channel(status, &event, transitions, now),
            Event::Maintenance(report) => {
                if let Some(notice) = report.notices.and_then(|notices| notices.last) {
                    self.event(status, now, Happening::Notice(notice), None);
                }
                self.changes(status, &transitions, None);
            }
            // Only a session of a probe module sends the last.
            Event::Health(_) | Event::Module(_) => self.changes(status, &transitions, None),
        }
    }

    /// What changed other than by an event of the SoC's session: a stop, a defect.
    pub fn on_change(&mut self, status: &SocStatus, transitions: &[Transition]) {
        self.changes(status, transitions, None);
    }

    /// The SoC is not probed any more, or by another session.
    pub fn forget(&mut self, id: &TargetId) {
        self.dials.remove(id);
    }

    fn on_round(
        &mut self,
        status: &SocStatus,
        report: Box<Report>,
        transitions: Vec<Transition>,
        timeout: Duration,
    ) {
        let trace = report.timing.trace;
        let trace = trace.unwrap_or_else(|| TraceId::new((self.random)()));
        let is_notable = !transitions.is_empty() || !report.is_all_answered() || is_slow(&report, timeout);
        let kept = self.traces.is_some() && self.rule.keeps(trace, is_notable);
        self.changes(status, &transitions, kept.then_some(trace));
        if kept {
            let channel = channel_of(&report, status.channel.state);
            self.keep(status, trace, transitions, KeptWork::Round { channel, report });
        }
    }

    fn on_channel(
        &mut self,
        status: &SocStatus,
        event: &ChannelEvent,
        transitions: Vec<Transition>,
        now: SystemTime,
    ) {
        match event {
            ChannelEvent::Dialing => {
                self.finish(status, now);
                self.dial(status).began = Some(now);
            }
            ChannelEvent::Failed { cause, .. } => {
                // Without an open dial it is the loss of a connection.
                if let Some(dial) = self.dials.get_mut(&status.target.id)
                    && dial.began.is_some()
                {
                    dial.failed = Some((now, *cause));
                    if status.channel.state == ChannelState::TransientFailure {
                        self.finish(status, now);
                    }
                }
            }
            ChannelEvent::State { to, .. } => {
                let (rule, traced) = (self.rule, self.traces.is_some());
                let dial = self.dial(status);
                dial.transitions.extend(transitions.iter().cloned());
                dial.transitions.truncate(MOST_CHANGES);
                let kept = traced && rule.keeps(dial.trace, dial.is_notable());
                let trace = kept.then_some(dial.trace);
                self.changes(status, &transitions, trace);
                if *to != ChannelState::Connecting {
                    self.finish(status, now);
                }
            }
            ChannelEvent::Short { .. }
            | ChannelEvent::PeerCertificate { .. }
            | ChannelEvent::Rtt(_)
            | ChannelEvent::Keepalive { .. } => {}
        }
    }

    fn dial(&mut self, status: &SocStatus) -> &mut OpenDial {
        let random = self.random;
        let id = status.target.id.clone();
        self.dials.entry(id).or_insert_with(|| OpenDial::new(random()))
    }

    /// The dial has ended, if one had begun.
    fn finish(&mut self, status: &SocStatus, now: SystemTime) {
        let began = self.dials.get(&status.target.id).and_then(|dial| dial.began);
        let Some(began) = began else { return };
        let Some(dial) = self.dials.remove(&status.target.id) else {
            return;
        };
        if self.rule.keeps(dial.trace, dial.is_notable()) {
            let work = KeptWork::Dial {
                began,
                ended: dial.failed.map_or(now, |(at, _)| at),
                cause: dial.failed.map(|(_, cause)| cause),
                channel: status.channel.state,
            };
            self.keep(status, dial.trace, dial.transitions, work);
        }
    }

    fn keep(&self, status: &SocStatus, trace: TraceId, transitions: Vec<Transition>, of: KeptWork) {
        if let Some(traces) = &self.traces {
            traces.offer(KeptTrace {
                trace,
                id: status.target.id.clone(),
                address: status.target.address,
                transitions,
                of,
            });
        }
    }

    fn changes(&self, status: &SocStatus, transitions: &[Transition], trace: Option<TraceId>) {
        for transition in transitions {
            let what = Happening::Change(transition.clone());
            self.event(status, transition.at, what, trace);
        }
    }

    fn event(&self, status: &SocStatus, at: SystemTime, what: Happening, trace: Option<TraceId>) {
        if let Some(events) = &self.events {
            let id = Some(status.target.id.clone());
            events.offer(KeptEvent { at, id, what, trace });
        }
    }
}

/// Slower than half of the deadline: the SoC's own time, not the wait for our limiter.
fn is_slow(report: &Report, timeout: Duration) -> bool {
    let slowest = report.queries.iter().filter_map(|query| query.took).max();
    slowest.is_some_and(|slowest| slowest > timeout / 2)
}

/// The channel's state when the round began.
fn channel_of(report: &Report, now: ChannelState) -> ChannelState {
    match (report.epoch, now) {
        (Some(_), _) => ChannelState::Ready,
        // It became READY after this round began.
        (None, ChannelState::Ready) => ChannelState::Connecting,
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests;
