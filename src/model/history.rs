//! What has happened to one SoC lately, for people and the API. The state now is in `status`.
//!
//! Bounded in number and in bytes, to about 5 kB per SoC, because one process keeps ten thousand SoCs. A healthy SoC uses about
//! 0.9 kB, for its last rounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Cause, ChannelState, End, Health, Maintenance, MuxDirection, Query, QueryResult, Report};

/// Transitions that are kept: about ten minutes of a SoC that flaps every ten seconds.
pub const TRANSITIONS: usize = 64;
/// Rounds that are kept. As many failed rounds are kept in addition.
pub const ROUNDS: usize = 16;
/// Bytes that all details of transitions take together: enough for ten of the usual length. The oldest are dropped first.
pub const DETAIL_BYTES: usize = 1024;
/// Longest detail, bytes, so that one long text does not push out all others. The log has the whole text.
const MAX_DETAIL: usize = 256;

/// Something about a SoC changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: TransitionKind,
    /// For people: what exactly was seen, if a failure caused it.
    pub detail: Option<Arc<str>>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TransitionKind {
    /// The channel's state.
    Channel {
        /// Before.
        from: ChannelState,
        /// After.
        to: ChannelState,
        /// The failure that caused it, if there was one.
        cause: Option<Cause>,
    },
    /// A direction, active ↔ standby.
    Direction {
        /// Of which end.
        end: End,
        /// Before.
        from: MuxDirection,
        /// After.
        to: MuxDirection,
    },
    /// Announced maintenance.
    Maintenance {
        /// Before.
        from: Maintenance,
        /// After.
        to: Maintenance,
    },
    /// Health, from one answer to the next; an unknown in between is ignored.
    Health {
        /// Before.
        from: Health,
        /// After.
        to: Health,
    },
}

/// One round of queries that has ended, in 40 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundRecord {
    /// Milliseconds since 1970.
    at: u64,
    /// Duration in microseconds, by `Query::index()`; `NOT_SENT`: the query was not sent.
    took: [u32; Query::COUNT],
    results: [QueryResult; Query::COUNT],
    channel: ChannelState,
}

/// No query takes this long (71 minutes).
const NOT_SENT: u32 = u32::MAX;

impl RoundRecord {
    /// The round of `report`, which ended at `at`. `channel` is the channel's state at that time.
    pub fn new(report: &Report, channel: ChannelState, at: SystemTime) -> Self {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let channel = match (report.epoch, channel) {
            (Some(_), _) => ChannelState::Ready,
            // It became READY after this round began. The first round of that READY comes later.
            (None, ChannelState::Ready) => ChannelState::Connecting,
            (None, other) => other,
        };
        let micros = |took: Duration| u32::try_from(took.as_micros()).unwrap_or(NOT_SENT - 1);
        Self {
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            took: std::array::from_fn(|n| report.queries[n].took.map_or(NOT_SENT, micros)),
            results: std::array::from_fn(|n| report.queries[n].result),
            channel,
        }
    }

    /// When it ended.
    pub fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.at)
    }

    /// The channel's state when it began.
    pub fn channel(&self) -> ChannelState {
        self.channel
    }

    /// How `query` ended, and how long it took if it was sent.
    pub fn query(&self, query: Query) -> (QueryResult, Option<Duration>) {
        let took = self.took[query.index()];
        let took = (took != NOT_SENT).then(|| Duration::from_micros(took.into()));
        (self.results[query.index()], took)
    }

    /// How long it took: as long as its slowest query.
    pub fn duration(&self) -> Duration {
        let all = Query::ALL.iter().filter_map(|query| self.query(*query).1);
        all.max().unwrap_or_default()
    }
}

/// See the module's documentation. Oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    transitions: VecDeque<Transition>,
    detail_bytes: usize,
    rounds: VecDeque<RoundRecord>,
    failed_rounds: VecDeque<RoundRecord>,
}

impl History {
    /// The last transitions.
    pub fn transitions(&self) -> &VecDeque<Transition> {
        &self.transitions
    }

    /// The last rounds.
    pub fn rounds(&self) -> &VecDeque<RoundRecord> {
        &self.rounds
    }

    /// The last rounds in which a query failed. They stay after newer rounds push them out of `rounds`. A round without a READY
    /// channel sends no query. Of such rounds in a row only the first is kept: the transitions show how long that state lasted.
    pub fn failed_rounds(&self) -> &VecDeque<RoundRecord> {
        &self.failed_rounds
    }

    /// Adds a transition.
    pub fn add_transition(&mut self, transition: &Transition) {
        let Transition { at, kind, detail } = transition;
        let detail = detail.as_ref().map(|detail| match detail.len() {
            0..=MAX_DETAIL => detail.clone(),
            _ => cut(detail).into(),
        });
        if let Some(oldest) = make_room(&mut self.transitions, TRANSITIONS) {
            self.detail_bytes -= oldest.detail.map_or(0, |detail| detail.len());
        }
        self.detail_bytes += detail.as_ref().map_or(0, |detail| detail.len());
        let (at, kind) = (*at, *kind);
        self.transitions.push_back(Transition { at, kind, detail });
        let mut oldest = self.transitions.iter_mut();
        while self.detail_bytes > DETAIL_BYTES
            && let Some(transition) = oldest.next()
        {
            self.detail_bytes -= transition.detail.take().map_or(0, |detail| detail.len());
        }
    }

    /// Adds a round.
    pub fn add_round(&mut self, round: RoundRecord, failed: bool) {
        let asked = |round: &RoundRecord| round.channel == ChannelState::Ready;
        let repeats = !asked(&round) && self.rounds.back().is_some_and(|last| !asked(last));
        if failed && !repeats {
            make_room(&mut self.failed_rounds, ROUNDS);
            self.failed_rounds.push_back(round.clone());
        }
        make_room(&mut self.rounds, ROUNDS);
        self.rounds.push_back(round);
    }
}

/// The beginning of a detail that is too long.
fn cut(detail: &str) -> String {
    let mut end = MAX_DETAIL - '…'.len_utf8();
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &detail[..end])
}

/// Removes and returns the oldest entry if the ring is full.
fn make_room<T>(ring: &mut VecDeque<T>, most: usize) -> Option<T> {
    if ring.len() < most { None } else { ring.pop_front() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueryReport;

    fn seconds(n: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(n)
    }

    fn transition(n: u64, detail: &str) -> Transition {
        let (from, to) = (ChannelState::Ready, ChannelState::TransientFailure);
        let kind = TransitionKind::Channel {
            from,
            to,
            cause: Some(Cause::Closed),
        };
        let detail = Some(detail).filter(|detail| !detail.is_empty());
        Transition {
            at: seconds(n),
            kind,
            detail: detail.map(Arc::from),
        }
    }

    fn report(result: QueryResult, epoch: Option<u64>) -> Report {
        let took = epoch.map(|_| Duration::from_micros(734));
        Report {
            timing: Default::default(),
            epoch,
            queries: std::array::from_fn(|n| QueryReport {
                result,
                took: took.map(|took| took * u32::try_from(n + 1).expect("five queries")),
                error: None,
            }),
            direction: Default::default(),
            oper: Default::default(),
            link: Default::default(),
            version: None,
            health: Health::Unknown,
        }
    }

    #[test]
    fn the_oldest_transitions_go_first_and_their_details_before_them() {
        let mut history = History::default();
        for n in 0..100 {
            history.add_transition(&transition(n, &"x".repeat(100)));
        }
        let kept = history.transitions();
        assert_eq!(
            (kept.len(), kept[0].at, kept[63].at),
            (64, seconds(36), seconds(99))
        );
        let with_detail = kept.iter().filter(|transition| transition.detail.is_some());
        assert!(
            with_detail
                .map(|transition| transition.at)
                .eq((90..100).map(seconds))
        );
        for n in 0..100 {
            history.add_transition(&transition(n, ""));
        }
        assert_eq!(history.detail_bytes, 0);
    }

    #[test]
    fn one_long_detail_does_not_push_out_all_others() {
        let mut history = History::default();
        for detail in ["short".to_owned(), "länger".repeat(1000)] {
            history.add_transition(&transition(1, &detail));
        }
        let details: Vec<_> = history
            .transitions()
            .iter()
            .map(|each| each.detail.clone())
            .collect();
        assert_eq!(details[0].as_deref(), Some("short"));
        assert!(
            details[1]
                .as_ref()
                .is_some_and(|detail| detail.len() <= MAX_DETAIL)
        );
    }

    #[test]
    fn a_round_tells_what_its_report_said() {
        let round = RoundRecord::new(&report(QueryResult::Ok, Some(1)), ChannelState::Idle, seconds(5));
        assert_eq!((round.at(), round.channel()), (seconds(5), ChannelState::Ready));
        let took = Duration::from_micros(734);
        assert_eq!(round.query(Query::ALL[0]), (QueryResult::Ok, Some(took)));
        assert_eq!(round.duration(), 5 * took);

        let unasked = report(QueryResult::Unavailable, None);
        for (now, then) in [
            (ChannelState::TransientFailure, ChannelState::TransientFailure),
            (ChannelState::Ready, ChannelState::Connecting),
        ] {
            let round = RoundRecord::new(&unasked, now, seconds(5));
            assert_eq!((round.channel(), round.duration()), (then, Duration::ZERO));
            assert_eq!(round.query(Query::ALL[4]), (QueryResult::Unavailable, None));
        }
    }

    #[test]
    fn failed_rounds_outlive_good_ones_and_a_long_outage_pushes_none_out() {
        let mut history = History::default();
        let good = report(QueryResult::Ok, Some(1));
        let failed = report(QueryResult::DeadlineExceeded, Some(1));
        let unasked = report(QueryResult::Unavailable, None);
        let mut n = 0;
        let mut add = |report: &Report, failed: bool, times: usize| {
            for _ in 0..times {
                n += 1;
                let round = RoundRecord::new(report, ChannelState::TransientFailure, seconds(n));
                history.add_round(round, failed);
            }
        };
        add(&failed, true, 1);
        add(&good, false, 20);
        add(&unasked, true, 1000);
        add(&good, false, 20);
        add(&failed, true, 1);
        let failed: Vec<_> = history.failed_rounds().iter().map(RoundRecord::at).collect();
        assert_eq!(failed, [1, 22, 1042].map(seconds));
        assert_eq!(history.rounds().len(), ROUNDS);
        assert_eq!(history.rounds()[0].at(), seconds(1027));
    }

    /// docs/performance.md states what a SoC's history costs: 64 transitions, 32 rounds, the details and the struct itself.
    #[test]
    fn a_history_takes_less_than_six_kilobytes() {
        let worst = TRANSITIONS * size_of::<Transition>()
            + 2 * ROUNDS * size_of::<RoundRecord>()
            + DETAIL_BYTES
            + size_of::<History>();
        assert!(worst < 6_000, "{worst}");
        assert_eq!(size_of::<RoundRecord>(), 40);
    }
}
