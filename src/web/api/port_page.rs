//! All about one port: its row, its counters and what happened to it lately.

use std::collections::BTreeMap;

use serde::Serialize;

use super::port_row::PortRow;
use super::{Time, failures};
use crate::model::{Cause, History, Query, RoundRecord, SocView, Transition, TransitionKind};
use crate::sonic::rows::Counters;

/// What `/api/v1/ports/{port}` answers.
#[derive(Debug, Serialize)]
pub(super) struct PortPage<'a> {
    #[serde(flatten)]
    row: PortRow<'a>,
    /// The probe counters by the names of STATE_DB's row, since this exporter started.
    counters: BTreeMap<&'static str, u64>,
    dials: u64,
    /// Those that happened.
    failures: BTreeMap<&'static str, u64>,
    certificate_expiry: Option<Time>,
    keepalive: KeepaliveOfPort,
    maintenance_end: Option<Time>,
    /// Newest first, as are both lists of rounds.
    transitions: Vec<TransitionEntry<'a>>,
    rounds: Vec<RoundEntry>,
    failed_rounds: Vec<RoundEntry>,
}

#[derive(Debug, Serialize)]
struct KeepaliveOfPort {
    rtt: Option<f64>,
    interval: f64,
}

#[derive(Debug, Serialize)]
struct TransitionEntry<'a> {
    at: Time,
    /// What changed: channel, direction, maintenance or health.
    kind: &'static str,
    /// Whose direction; `None` for the others.
    side: Option<&'static str>,
    from: &'static str,
    to: &'static str,
    cause: Option<&'static str>,
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct RoundEntry {
    at: Time,
    duration: f64,
    channel: &'static str,
    queries: BTreeMap<&'static str, QueryEntry>,
}

#[derive(Debug, Serialize)]
struct QueryEntry {
    result: &'static str,
    /// `None`: it was not sent.
    duration: Option<f64>,
}

impl<'a> PortPage<'a> {
    pub(super) fn of(soc: &'a SocView, history: &'a History) -> Self {
        let status = &*soc.status;
        let rounds = |rounds: &std::collections::VecDeque<RoundRecord>| {
            rounds.iter().rev().map(RoundEntry::of).collect()
        };
        Self {
            row: PortRow::of(soc),
            counters: Counters::own(status).named().collect(),
            dials: status.channel.dials,
            failures: failures(&status.channel),
            certificate_expiry: status.channel.certificate_expiry.map(Time),
            keepalive: KeepaliveOfPort {
                rtt: status.channel.keepalive_rtt.map(|rtt| rtt.as_secs_f64()),
                interval: status.channel.keepalive_time.as_secs_f64(),
            },
            maintenance_end: status.maintenance_end.map(Time),
            transitions: history
                .transitions()
                .iter()
                .rev()
                .map(TransitionEntry::of)
                .collect(),
            rounds: rounds(history.rounds()),
            failed_rounds: rounds(history.failed_rounds()),
        }
    }
}

impl<'a> TransitionEntry<'a> {
    fn of(transition: &'a Transition) -> Self {
        let (kind, side, from, to, cause) = match transition.kind {
            TransitionKind::Channel { from, to, cause } => {
                ("channel", None, from.label(), to.label(), cause.map(Cause::label))
            }
            TransitionKind::Direction { end, from, to } => {
                ("direction", Some(end.label()), from.label(), to.label(), None)
            }
            TransitionKind::Maintenance { from, to } => ("maintenance", None, from.label(), to.label(), None),
            TransitionKind::Health { from, to } => ("health", None, from.label(), to.label(), None),
        };
        Self {
            at: Time(transition.at),
            kind,
            side,
            from,
            to,
            cause,
            detail: transition.detail.as_deref(),
        }
    }
}

impl RoundEntry {
    fn of(round: &RoundRecord) -> Self {
        let query = |query: &Query| {
            let (result, took) = round.query(*query);
            let entry = QueryEntry {
                result: result.label(),
                duration: took.map(|took| took.as_secs_f64()),
            };
            (query.label(), entry)
        };
        Self {
            at: Time(round.at()),
            duration: round.duration().as_secs_f64(),
            channel: round.channel().label(),
            queries: Query::ALL.iter().map(query).collect(),
        }
    }
}
