//! What the notices of a SoC mean: `soc_service`, and when it is due to end. Pure: time is an argument.
//!
//! ```text
//!            stream open for 1 s, or END        BEGIN
//!   unknown ────────────────────────────▶ noop ───────▶ inprogress
//!      ▲                                   ▲  ◀──────────  │   the last END, all periods over, READY again after a loss
//!      └──── UNIMPLEMENTED (from any) ─────┘               │
//!   a stream that ends or a lost channel changes nothing ◀─┘
//! ```
//!
//! Services may overlap: each has a guid. A BEGIN with a known guid sets its period again. An END with a known guid ends that
//! service. An END with an unknown guid ends all of them: a SoC sends it "even if not paired with Begin", to report that
//! nothing is going on.

use std::time::{Duration, Instant};

use crate::model::Maintenance;

/// A SoC has a few parts to service. A SoC that announces without end must not fill our memory.
const MAX_ANNOUNCED: usize = 64;

/// What the SoC has announced.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    state: Maintenance,
    /// Empty unless `state` is inprogress. A service whose period is over stays here while another goes on: its END may still
    /// come, and must not count as an END of all.
    announced: Vec<Announced>,
}

#[derive(Debug)]
struct Announced {
    guid: Box<str>,
    /// When its period is over. `None`: it lasts until its END.
    ends: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// The stream has been open for a second.
    Open,
    /// The SoC has no such service.
    Unimplemented,
    /// This service begins, with its duration if the SoC sent one.
    Begin(&'a str, Option<Duration>),
    /// This service ends. May come without a BEGIN.
    End(&'a str),
    /// The channel is READY again.
    ReadyAgain,
    /// Time has passed.
    Tick,
}

impl Announcements {
    pub(super) fn state(&self) -> Maintenance {
        self.state
    }

    /// When the last of them is due to end: the deadline for a `Tick`. `None`: there is none, or one of them lasts until its
    /// END.
    pub(super) fn ends(&self) -> Option<Instant> {
        let ends = self.announced.iter().map(|service| service.ends);
        // A service without an end counts as later than any other.
        ends.max_by_key(|ends| (ends.is_none(), *ends)).flatten()
    }

    pub(super) fn apply(&mut self, input: Heard<'_>, now: Instant) {
        use Heard::{Begin, End, Open, ReadyAgain, Tick, Unimplemented};
        use Maintenance::{InProgress, Noop, Unknown};
        match input {
            Begin(guid, period) => self.begin(guid, period.and_then(|period| now.checked_add(period))),
            End(guid) => self.end(guid),
            ReadyAgain | Unimplemented => self.announced.clear(),
            Open | Tick => {}
        }
        if self.ends().is_some_and(|ends| now >= ends) {
            self.announced.clear();
        }
        self.state = match (self.announced.is_empty(), self.state, input) {
            (false, _, _) => InProgress,
            (true, _, Unimplemented) | (true, Unknown, ReadyAgain | Tick) => Unknown,
            (true, Unknown, Open | Begin(..) | End(_)) => Noop,
            (true, InProgress | Noop, Open | Begin(..) | End(_) | ReadyAgain | Tick) => Noop,
        };
    }

    fn begin(&mut self, guid: &str, ends: Option<Instant>) {
        let known = self.announced.iter_mut().find(|service| &*service.guid == guid);
        if let Some(known) = known {
            known.ends = ends;
            return;
        }
        let service = Announced {
            guid: guid.into(),
            ends,
        };
        if self.announced.len() < MAX_ANNOUNCED {
            self.announced.push(service);
            return;
        }
        // Replaces the one that ends first: it matters least.
        let first = self
            .announced
            .iter_mut()
            .min_by_key(|service| (service.ends.is_none(), service.ends));
        if let Some(first) = first {
            *first = service;
        }
    }

    fn end(&mut self, guid: &str) {
        match self.announced.iter().position(|service| &*service.guid == guid) {
            Some(known) => {
                self.announced.swap_remove(known);
            }
            None => self.announced.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    fn after(inputs: &[Heard<'_>]) -> Maintenance {
        let mut service = Announcements::default();
        let now = Instant::now();
        for input in inputs {
            service.apply(*input, now);
        }
        service.state
    }

    #[test]
    fn each_input_leads_where_the_diagram_says() {
        use Heard::*;
        use Maintenance::{InProgress, Noop, Unknown};
        let table: &[(&[Heard<'_>], Maintenance)] = &[
            (&[], Unknown),
            (&[ReadyAgain], Unknown),
            (&[Tick], Unknown),
            (&[Open], Noop),
            (&[End("a")], Noop),
            (&[Unimplemented], Unknown),
            (&[Open, Unimplemented], Unknown),
            (&[Begin("a", secs(10)), Unimplemented], Unknown),
            (&[Begin("a", secs(10))], InProgress),
            (&[Begin("a", secs(10)), Open], InProgress),
            (&[Begin("a", secs(10)), End("a")], Noop),
            (&[Begin("a", None), Tick], InProgress),
            (&[Open, Begin("a", secs(10)), ReadyAgain], Noop),
            (
                &[Begin("a", secs(10)), ReadyAgain, Begin("a", secs(10))],
                InProgress,
            ),
            // Several at the same time.
            (&[Begin("a", None), Begin("b", None), End("a")], InProgress),
            (&[Begin("a", None), Begin("b", None), End("a"), End("b")], Noop),
            (&[Begin("a", None), Begin("a", None), End("a")], Noop),
            // There is no service of that name, so this ends all.
            (&[Begin("a", None), Begin("b", None), End("c")], Noop),
            (&[Begin("a", None), End("")], Noop),
        ];
        for (inputs, expected) in table {
            assert_eq!(after(inputs), *expected, "{inputs:?}");
        }
    }

    /// Applies inputs at these seconds. Then compares the state, and after how many seconds it is due to end.
    fn check(inputs: &[(u64, Heard<'_>)], state: Maintenance, ends: Option<u64>) {
        let start = Instant::now();
        let mut service = Announcements::default();
        for (at, input) in inputs {
            service.apply(*input, start + Duration::from_secs(*at));
        }
        let due = service.ends().map(|ends| (ends - start).as_secs());
        assert_eq!((service.state, due), (state, ends), "{inputs:?}");
    }

    #[test]
    fn the_due_end_is_the_latest_of_all_and_unknown_while_one_has_no_period() {
        use Heard::{Begin, End, Tick};
        use Maintenance::{InProgress, Noop};
        let (long, short, open) = (
            Begin("long", secs(60)),
            Begin("short", secs(10)),
            Begin("open", None),
        );
        check(&[(0, short)], InProgress, Some(10));
        check(&[(0, short), (9, short)], InProgress, Some(19));
        check(&[(0, short), (9, short), (18, Tick)], InProgress, Some(19));
        check(&[(0, short), (9, short), (19, Tick)], Noop, None);
        check(&[(0, Begin("short", secs(99))), (1, short)], InProgress, Some(11));
        check(&[(0, short), (1, long)], InProgress, Some(61));
        check(&[(0, long), (1, short)], InProgress, Some(60));
        check(&[(0, long), (1, short), (2, End("long"))], InProgress, Some(11));
        check(&[(0, long), (1, open)], InProgress, None);
        check(&[(0, open), (1, long)], InProgress, None);
        check(&[(0, open), (1, long), (2, End("open"))], InProgress, Some(61));
        check(
            &[(0, open), (1, long), (2, Begin("open", secs(1)))],
            InProgress,
            Some(61),
        );
    }

    #[test]
    fn the_end_of_a_service_whose_period_was_over_ends_no_other() {
        use Heard::{Begin, End, Tick};
        let begun = [(0, Begin("short", secs(10))), (0, Begin("long", secs(60)))];
        let check = |then: &[(u64, Heard<'_>)], state, ends| check(&[&begun[..], then].concat(), state, ends);
        check(&[(11, Tick)], Maintenance::InProgress, Some(60));
        check(&[(11, End("short"))], Maintenance::InProgress, Some(60));
        check(
            &[(11, Tick), (12, End("short"))],
            Maintenance::InProgress,
            Some(60),
        );
        check(&[(11, End("short")), (12, End("long"))], Maintenance::Noop, None);
        // When the long one ends, nothing is left.
        check(&[(11, End("long"))], Maintenance::Noop, None);
        check(&[(60, Tick)], Maintenance::Noop, None);
    }

    #[test]
    fn with_too_many_at_a_time_the_one_that_ends_first_is_forgotten() {
        let now = Instant::now();
        let mut service = Announcements::default();
        service.apply(Heard::Begin("open", None), now);
        for n in 0..1000 {
            service.apply(Heard::Begin(&format!("g{n}"), secs(1000 + n)), now);
        }
        assert_eq!(service.announced.len(), MAX_ANNOUNCED);
        let known = |guid: &str| service.announced.iter().any(|service| &*service.guid == guid);
        assert!(known("open") && known("g999") && !known("g0"));
    }

    fn any_input() -> impl Strategy<Value = (u64, usize, usize, u64)> {
        (0u64..20, 0usize..6, 0usize..200, 0u64..30)
    }

    proptest! {
        #[test]
        fn a_deadline_stands_only_while_a_service_is_in_progress_and_memory_is_bounded(
            inputs in prop::collection::vec(any_input(), 0..300),
        ) {
            let mut now = Instant::now();
            let mut service = Announcements::default();
            for (later, which, guid, period) in inputs {
                now += Duration::from_secs(later);
                let guid = format!("g{guid}");
                let period = (period > 0).then(|| Duration::from_secs(period * 10));
                let input = [
                    Heard::Open, Heard::Unimplemented, Heard::Begin(&guid, period), Heard::End(&guid),
                    Heard::ReadyAgain, Heard::Tick,
                ][which];
                service.apply(input, now);
                let running = service.state == Maintenance::InProgress;
                prop_assert_eq!(running, !service.announced.is_empty());
                prop_assert!(running || service.ends().is_none());
                prop_assert!(service.ends().is_none_or(|ends| ends > now), "a deadline that has passed");
                prop_assert!(service.announced.len() <= MAX_ANNOUNCED);
            }
        }
    }
}
