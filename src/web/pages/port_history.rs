//! What happened to a port lately: its transitions with the time between them, and its rounds, the failed ones first.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::ages;
use crate::model::{End, History, Query, QueryResult, RoundRecord, Transition, TransitionKind};

/// What a transition changed, from what to what; for people.
fn told(kind: TransitionKind) -> (&'static str, String, String) {
    match kind {
        TransitionKind::Channel { from, to, .. } => {
            ("Channel", from.upper().to_owned(), to.upper().to_owned())
        }
        TransitionKind::Direction { end, from, to } => {
            let what = if end == End::Own { "Self" } else { "Peer" };
            (what, from.to_string(), to.to_string())
        }
        TransitionKind::Maintenance { from, to } => ("Service", from.to_string(), to.to_string()),
        TransitionKind::Health { from, to } => ("Health", from.to_string(), to.to_string()),
    }
}

/// Each transition, newest first, and how long the state after it lasted.
fn lasted(history: &History, now: SystemTime) -> Vec<(&Transition, Duration)> {
    let mut until: HashMap<&'static str, SystemTime> = HashMap::new();
    let newest_first = history.transitions().iter().rev();
    let lasted = newest_first.map(|transition| {
        let what = told(transition.kind).0;
        let end = until.insert(what, transition.at).unwrap_or(now);
        (transition, end.duration_since(transition.at).unwrap_or_default())
    });
    lasted.collect()
}

pub(super) fn transitions(history: &History, now: SystemTime) -> Markup {
    let all = lasted(history, now);
    html! {
        @if all.is_empty() {
            p { "Nothing since the exporter started." }
        } @else {
            div.box role="region" aria-label="Transitions" tabindex="0" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Change" }
                        th scope="col" { "Then" } th scope="col" { "Cause" } } }
                    tbody { @for (transition, duration) in &all { (of_transition(transition, *duration)) } }
                }
            }
        }
    }
}

fn of_transition(transition: &Transition, lasted: Duration) -> Markup {
    let (what, from, to) = told(transition.kind);
    let cause = match transition.kind {
        TransitionKind::Channel { cause, .. } => cause,
        _ => None,
    };
    html! {
        tr {
            td { (ages::clock(transition.at)) }
            td { (what) }
            td { (from) " → " (to) }
            td { (to) " for " (ages::lasting(lasted)) }
            td { @if let Some(cause) = cause { b { (cause.label()) } }
                @if let Some(detail) = &transition.detail { " " (detail) } }
        }
    }
}

pub(super) fn rounds(history: &History, now: SystemTime) -> Markup {
    html! {
        (list("Failed rounds", history.failed_rounds(), "No round failed lately.", now))
        (list("Last rounds", history.rounds(), "No round yet.", now))
    }
}

fn list(name: &str, rounds: &VecDeque<RoundRecord>, none: &str, now: SystemTime) -> Markup {
    html! {
        h3 { (name) }
        @if rounds.is_empty() {
            p { (none) }
        } @else {
            div.box role="region" aria-label=(name) tabindex="0" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Ago" } th scope="col" { "Channel" }
                        @for query in Query::ALL { th scope="col" { (query.label()) } } } }
                    tbody { @for round in rounds.iter().rev() { (of_round(round, now)) } }
                }
            }
        }
    }
}

fn of_round(round: &RoundRecord, now: SystemTime) -> Markup {
    let sent = Query::ALL
        .iter()
        .filter(|query| round.query(**query).1.is_some())
        .count();
    let result = |query: &Query| {
        let (result, took) = round.query(*query);
        let is_usual = result.is_answer() || *query == Query::Health && result == QueryResult::Unimplemented;
        html! {
            td.odd[!is_usual] {
                (result.label()) " "
                @match took { Some(took) => (ages::millis(took)), None => "not sent" }
            }
        }
    };
    html! {
        tr {
            td { (ages::clock(round.at())) }
            td { (ages::since(round.at(), now)) }
            td { (round.channel().upper()) }
            @if sent == 0 {
                td.quiet colspan=(Query::COUNT) { "no query was sent: the channel was not READY" }
            } @else {
                @for query in Query::ALL { (result(query)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelState, MuxDirection};

    #[test]
    fn a_state_lasts_until_the_next_change_of_the_same_thing() {
        let seconds = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        let channel = |from, to| TransitionKind::Channel {
            from,
            to,
            cause: None,
        };
        let (connecting, ready) = (ChannelState::Connecting, ChannelState::Ready);
        let own = TransitionKind::Direction {
            end: End::Own,
            from: MuxDirection::Unknown,
            to: MuxDirection::Active,
        };
        let mut history = History::default();
        for (at, kind) in [
            (10, channel(connecting, ready)),
            (12, own),
            (11_530, channel(ready, connecting)),
        ] {
            history.add_transition(&Transition {
                at: seconds(at),
                kind,
                detail: None,
            });
        }
        let all: Vec<_> = lasted(&history, seconds(11_590))
            .iter()
            .map(|(_, lasted)| lasted.as_secs())
            .collect();
        assert_eq!(all, [60, 11_578, 11_520]);
        let page = transitions(&history, seconds(11_590)).into_string();
        assert!(page.contains("READY for 3 h 12 min"), "{page}");
    }
}
