//! The reducer: `SocStatus` after an `Event`. Pure: it never reads a clock, does no I/O, cannot fail, and costs O(1).
//!
//! It is the only code that writes a `SocStatus`. It also returns what publishers and the log must do (`Effect`), so that they
//! need not compare before and after. `channel_changes` is the part that any channel has. Imports `model`.

pub(super) mod channel_changes;

use std::time::{Duration, SystemTime};

use crate::model::{
    Cause, ChannelEvent, ChannelState, ChannelStatus, DURATION_BUCKETS, Durations, Event, Health, LastError,
    Maintenance, MaintenanceReport, MuxDirection, NoticeType, Observed, Plane, Query, QueryResult, Report,
    SelfPeer, SocStatus, Target, Transition, TransitionKind, Trouble,
};

/// What publishers and the log must do after an event.
#[derive(Debug, Default, PartialEq)]
pub struct Effect {
    /// The STATE_DB row must be written.
    pub write_row: bool,
    /// What changed, for the log, the history and the feed.
    pub transitions: Vec<Transition>,
}

impl SocStatus {
    /// The status of a target that has not been probed yet.
    pub fn new(target: Target) -> Self {
        Self {
            channel: ChannelStatus::new(&target.channel),
            target,
            observed: Observed::UNKNOWN,
            known_direction: SelfPeer::default(),
            direction_transitions: SelfPeer::default(),
            probes: [[0; QueryResult::COUNT]; Query::COUNT],
            durations: Durations::default(),
            rounds: 0,
            last_success: None,
            last_error: None,
            maintenance: Maintenance::Unknown,
            maintenance_end: None,
            notices: [[0; Plane::COUNT]; NoticeType::COUNT],
        }
    }

    /// Changes the port's target to one that needs a new channel. Counters continue; the known state is reset to unknown.
    pub fn retarget(&mut self, target: Target) {
        let mut channel = self.channel.clone();
        channel.renew(&target.channel);
        let fresh = Self::new(target);
        let old = std::mem::replace(self, fresh);
        self.channel = channel;
        self.direction_transitions = old.direction_transitions;
        self.probes = old.probes;
        self.durations = old.durations;
        self.rounds = old.rounds;
        self.last_success = old.last_success;
        self.last_error = old.last_error;
        self.notices = old.notices;
    }

    /// Changes the target to one that the same channel serves. If the side changes, everything known per end is reset to unknown
    /// until the next round: the two ends have been exchanged.
    pub fn adopt(&mut self, target: Target) -> Effect {
        let before = std::mem::replace(&mut self.target, target);
        if before.side == self.target.side {
            return Effect::default();
        }
        self.known_direction = SelfPeer::default();
        self.observed = Observed {
            version: self.observed.version.take(),
            health: self.observed.health,
            ..Observed::UNKNOWN
        };
        Effect {
            write_row: true,
            transitions: Vec::new(),
        }
    }

    /// Applies one event, which happened at `now`.
    pub fn apply(&mut self, event: &Event, now: SystemTime) -> Effect {
        match event {
            Event::Channel(event) => self.apply_channel(event, now),
            Event::Round(report) => self.apply_round(report, now),
            Event::Maintenance(report) => self.apply_maintenance(report, now),
            Event::Health(to) => self.apply_health(*to, now),
            // A SoC has another kind of session.
            Event::Module(_) => Effect::default(),
        }
    }

    /// Stops the channel. A READY channel counts as lost, with cause `local`.
    pub fn stop(&mut self, now: SystemTime) -> Effect {
        let changed = self.channel.stop(now);
        self.on_change(changed)
    }

    /// The session has ended by a defect of the exporter, described by `detail`. The SoC is not probed until the next session
    /// runs, so its state is unknown. So is announced maintenance, because its END may come in between.
    pub fn lose_session(&mut self, detail: &str, now: SystemTime) -> Effect {
        self.error(Trouble::Channel(Cause::Local), detail, now);
        let unknown = MaintenanceReport {
            state: Maintenance::Unknown,
            ends_in: None,
            notices: None,
        };
        let changed = self.channel.lose_session(detail, now);
        let mut effect = self.on_change(changed);
        let of_maintenance = self.apply_maintenance(&unknown, now);
        effect.write_row |= of_maintenance.write_row;
        effect.transitions.extend(of_maintenance.transitions);
        effect
    }

    fn apply_channel(&mut self, event: &ChannelEvent, now: SystemTime) -> Effect {
        if let ChannelEvent::Failed { cause, detail } = event {
            self.error(Trouble::Channel(*cause), detail, now);
        }
        let changed = self.channel.apply(event, now);
        self.on_change(changed)
    }

    /// After a change of the channel's state nothing is known of the SoC.
    fn on_change(&mut self, changed: Option<Transition>) -> Effect {
        let Some(transition) = changed else {
            return Effect::default();
        };
        self.observed = Observed::UNKNOWN;
        Effect {
            write_row: true,
            transitions: vec![transition],
        }
    }

    fn apply_round(&mut self, report: &Report, now: SystemTime) -> Effect {
        self.rounds += 1;
        let mut first_error = None;
        for &query in Query::ALL {
            let outcome = report.query(query);
            self.probes[query.index()][outcome.result.index()] += 1;
            if report.is_answered(query) {
                // Failed queries would hide how fast the others are: most of them took the whole timeout.
                if let Some(took) = outcome.took {
                    observe(&mut self.durations, took.as_secs_f64());
                }
            } else if first_error.is_none() {
                let what = Trouble::Query(query, outcome.result);
                first_error = outcome.error.as_deref().map(|detail| (what, detail));
            }
        }
        if let Some((what, detail)) = first_error {
            self.error(what, detail, now);
        }
        if report.query(Query::Admin).result == QueryResult::Ok {
            self.last_success = Some(now);
        }
        let mut transitions = Vec::new();
        // A report from an older connection, or from one that has been lost, is counted but does not change the state.
        if self.channel.state == ChannelState::Ready && report.epoch == Some(self.channel.epoch) {
            self.believe(report, now, &mut transitions);
        }
        Effect {
            write_row: true,
            transitions,
        }
    }

    fn apply_maintenance(&mut self, report: &MaintenanceReport, now: SystemTime) -> Effect {
        if let Some(notices) = &report.notices {
            let new = notices.counts.as_flattened();
            for (count, new) in self.notices.as_flattened_mut().iter_mut().zip(new) {
                *count += new;
            }
        }
        let end = report.ends_in.and_then(|left| now.checked_add(left));
        // The end is computed again from each report. Without this check the same end would move by microseconds.
        if !is_the_same(self.maintenance_end, end) {
            self.maintenance_end = end;
        }
        let to = report.state;
        let from = std::mem::replace(&mut self.maintenance, to);
        if from == to {
            return Effect::default();
        }
        Effect {
            write_row: true,
            transitions: vec![without_detail(now, TransitionKind::Maintenance { from, to })],
        }
    }

    /// The row has no field for health, so no row is written.
    fn apply_health(&mut self, to: Health, now: SystemTime) -> Effect {
        if self.channel.state != ChannelState::Ready {
            return Effect::default();
        }
        let from = std::mem::replace(&mut self.observed.health, to);
        Effect {
            write_row: false,
            transitions: health_changed(from, to, now).into_iter().collect(),
        }
    }

    fn believe(&mut self, report: &Report, now: SystemTime, transitions: &mut Vec<Transition>) {
        let side = self.target.side;
        let direction = report.direction.seen_from(side);
        let health_before = self.observed.health;
        self.observed = Observed {
            direction,
            oper: report.oper.seen_from(side),
            link: report.link.seen_from(side),
            version: report.version.clone(),
            health: report.health,
            all_answered: Some(report.is_all_answered()),
        };
        for (end, &to) in direction.ends() {
            if to == MuxDirection::Unknown {
                continue;
            }
            let known = self.known_direction.at_mut(end).replace(to);
            if let Some(from) = known.filter(|from| *from != to) {
                *self.direction_transitions.at_mut(end) += 1;
                transitions.push(without_detail(now, TransitionKind::Direction { end, from, to }));
            }
        }
        transitions.extend(health_changed(health_before, report.health, now));
    }

    fn error(&mut self, what: Trouble, detail: &str, at: SystemTime) {
        let detail = detail.into();
        self.last_error = Some(LastError { at, what, detail });
    }
}

fn without_detail(at: SystemTime, kind: TransitionKind) -> Transition {
    let detail = None;
    Transition { at, kind, detail }
}

/// A change from one answer to another. A change to or from unknown does not count.
fn health_changed(from: Health, to: Health, now: SystemTime) -> Option<Transition> {
    let changed = from != to && from != Health::Unknown && to != Health::Unknown;
    changed.then(|| without_detail(now, TransitionKind::Health { from, to }))
}

fn is_the_same(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    /// The wall clock gives the same moment with small differences.
    const NOTHING: Duration = Duration::from_millis(100);
    match (one, other) {
        (Some(one), Some(other)) => {
            let apart = one.duration_since(other).or_else(|_| other.duration_since(one));
            apart.is_ok_and(|apart| apart < NOTHING)
        }
        (one, other) => one == other,
    }
}

fn observe(durations: &mut Durations, seconds: f64) {
    let bucket = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
    durations.counts[bucket] += 1;
    durations.sum += seconds;
}

#[cfg(test)]
mod tests;
