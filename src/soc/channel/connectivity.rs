//! A channel's connectivity as a pure state machine: no I/O, no clock, no randomness of its own.
//!
//! ```text
//!  IDLE ──dial──▶ CONNECTING ──proven──▶ READY ──lost──▶ TRANSIENT_FAILURE ──redial, proven──▶ READY
//!                   ▲    │                 │                 ▲    │
//!                   │    └─dial failed─────┼─────────────────┘◀───┘ redial failed
//!                   └──graceful GOAWAY─────┘                         any ──stop──▶ SHUTDOWN
//! ```
//!
//! TRANSIENT_FAILURE stays through all redials until the peer has proven itself (as in gRPC's pick_first, proposal A62). So a
//! dead SoC does not flicker between two states. To stop a channel, `fleet` drops it and records the SHUTDOWN: no input here
//! leads there. The machine also says when the next dial is due:
//!
//! - After a failed dial: one backoff after that dial *began*.
//! - After a READY of 10 s or more: at once, and the backoff starts again.
//! - After a shorter READY: the first time in a row also at once, because a server that restarts may close two connections.
//!   From the second time on, one backoff after the *loss*. Otherwise a peer that proves itself and closes again and again (for
//!   example at its first query) would flap as fast as it can be dialled.
//! - A graceful GOAWAY is no failure. A server that gives its connections an age (grpc-go's MaxConnectionAge) sends it also after
//!   seconds. So it counts as short only after a READY of less than one second.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::model::{BackoffSettings, ChannelState};

/// A channel that was READY for this long was well (docs/reliability.md).
const WELL_AFTER: Duration = Duration::from_secs(10);

/// The same if it ends with a graceful GOAWAY. As long as the first backoff: such a peer is not dialled more often than one that
/// cannot be reached.
const WELL_BEFORE_GRACEFUL_END: Duration = Duration::from_secs(1);

/// What can happen to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelInput {
    /// A dial begins.
    Dial,
    /// The peer has proven that it speaks HTTP/2.
    Proven,
    /// The dial failed.
    DialFailed,
    /// A READY connection is lost.
    Lost,
    /// The peer closes the connection gracefully: GOAWAY with NO_ERROR.
    Drained,
}

/// One channel's connectivity.
#[derive(Debug)]
pub(super) struct Connectivity {
    state: ChannelState,
    epoch: u64,
    backoff: Backoff,
    dial_began: Option<Instant>,
    next_dial: Instant,
    ready_since: Option<Instant>,
    /// READYs in a row that were too short.
    short: u32,
    repeating: bool,
}

impl Connectivity {
    /// IDLE, with the first dial due at once.
    pub(super) fn new(settings: BackoffSettings, now: Instant) -> Self {
        Self {
            state: ChannelState::Idle,
            epoch: 0,
            backoff: Backoff::new(settings),
            dial_began: None,
            next_dial: now,
            ready_since: None,
            short: 0,
            repeating: false,
        }
    }

    #[cfg(test)]
    fn state(&self) -> ChannelState {
        self.state
    }

    /// How many times the channel has been READY.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// READYs in a row that were too short.
    pub(super) fn short(&self) -> u32 {
        self.short
    }

    /// When the next dial is due, while there is no connection.
    pub(super) fn next_dial(&self) -> Instant {
        self.next_dial
    }

    /// Whether the next dial repeats one that failed, or follows READYs that were too short.
    pub(super) fn repeats(&self) -> bool {
        self.repeating
    }

    /// Takes one input and returns the new state if it changed. `unit` is a random number in 0..1, for the jitter of the
    /// backoff.
    pub(super) fn apply(&mut self, input: ChannelInput, now: Instant, unit: f64) -> Option<ChannelState> {
        use ChannelState::{Connecting, Idle, Ready, TransientFailure};
        match input {
            ChannelInput::Dial => self.dial_began = Some(now),
            ChannelInput::Proven => {
                self.epoch += 1;
                self.ready_since = Some(now);
            }
            ChannelInput::DialFailed => {
                self.repeating = true;
                let began = self.dial_began.unwrap_or(now);
                self.next_dial = (began + self.backoff.next(unit)).max(now);
            }
            ChannelInput::Lost => self.next_dial = self.after_ready(WELL_AFTER, now, unit),
            ChannelInput::Drained => self.next_dial = self.after_ready(WELL_BEFORE_GRACEFUL_END, now, unit),
        }
        let to = match (self.state, input) {
            (Idle, ChannelInput::Dial) => Connecting,
            (state, ChannelInput::Dial) => state,
            (_, ChannelInput::Proven) => Ready,
            (_, ChannelInput::Drained) => Connecting,
            (_, ChannelInput::DialFailed | ChannelInput::Lost) => TransientFailure,
        };
        let changed = to != self.state;
        self.state = to;
        changed.then_some(to)
    }

    /// When to redial a peer that was READY: see the module's page.
    fn after_ready(&mut self, well_after: Duration, now: Instant, unit: f64) -> Instant {
        let well = self
            .ready_since
            .take()
            .is_some_and(|since| now.duration_since(since) >= well_after);
        self.short = if well { 0 } else { self.short.saturating_add(1) };
        self.repeating = self.short > 1;
        if self.short <= 1 {
            self.backoff.reset();
            return now;
        }
        now + self.backoff.next(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ChannelInput::*;
    use ChannelState::*;

    const SETTINGS: BackoffSettings = BackoffSettings {
        initial: Duration::from_secs(1),
        multiplier: 1.6,
        jitter: 0.2,
        max: Duration::from_secs(10),
    };

    fn machine() -> (Connectivity, Instant) {
        let now = Instant::now();
        (Connectivity::new(SETTINGS, now), now)
    }

    fn states(inputs: &[ChannelInput]) -> Vec<Option<ChannelState>> {
        let (mut machine, now) = machine();
        inputs
            .iter()
            .map(|input| machine.apply(*input, now, 0.5))
            .collect()
    }

    #[test]
    fn a_dial_repeats_after_a_failed_one_and_after_short_readys_but_not_after_a_loss() {
        let (mut machine, now) = machine();
        let later = now + Duration::from_secs(60);
        for (input, at, repeats) in [
            (Dial, now, false),
            (DialFailed, now, true),
            (Dial, now, true),
            (Proven, now, true),
            (Lost, later, false),
            (Proven, later, false),
            (Lost, later, false),
            (Proven, later, false),
            (Lost, later, true),
        ] {
            machine.apply(input, at, 0.5);
            assert_eq!(machine.repeats(), repeats, "{input:?}");
        }
    }

    #[test]
    fn each_input_leads_where_the_diagram_says() {
        let table: &[(&[ChannelInput], Option<ChannelState>)] = &[
            (&[Dial], Some(Connecting)),
            (&[Dial, Proven], Some(Ready)),
            (&[Dial, DialFailed], Some(TransientFailure)),
            (&[Dial, DialFailed, Dial], None),
            (&[Dial, DialFailed, Dial, DialFailed], None),
            (&[Dial, DialFailed, Dial, Proven], Some(Ready)),
            (&[Dial, Proven, Lost], Some(TransientFailure)),
            (&[Dial, Proven, Lost, Dial], None),
            (&[Dial, Proven, Lost, Dial, Proven], Some(Ready)),
            (&[Dial, Proven, Drained], Some(Connecting)),
            (&[Dial, Proven, Drained, Dial], None),
            (&[Dial, Proven, Drained, Dial, Proven], Some(Ready)),
            (&[Dial, Proven, Drained, Dial, DialFailed], Some(TransientFailure)),
        ];
        for (inputs, expected) in table {
            assert_eq!(states(inputs).last(), Some(expected), "{inputs:?}");
        }
    }

    #[test]
    fn a_failed_dial_is_repeated_one_backoff_after_it_began() {
        let (mut machine, start) = machine();
        machine.apply(Dial, start, 0.5);
        let failed = start + Duration::from_millis(300);
        machine.apply(DialFailed, failed, 0.5);
        assert_eq!(machine.next_dial(), start + Duration::from_secs(1));

        // A dial that took longer than the backoff is repeated at once.
        machine.apply(Dial, machine.next_dial(), 0.5);
        let failed = start + Duration::from_secs(13);
        machine.apply(DialFailed, failed, 0.5);
        assert_eq!(machine.next_dial(), failed);
    }

    #[test]
    fn a_lost_channel_is_redialled_at_once_and_its_backoff_begins_anew() {
        let (mut machine, start) = machine();
        let mut now = start;
        for _ in 0..10 {
            machine.apply(Dial, now, 0.5);
            machine.apply(DialFailed, now, 0.5);
            now = machine.next_dial();
        }
        machine.apply(Dial, now, 0.5);
        machine.apply(Proven, now, 0.5);
        let lost = now + Duration::from_secs(100);
        machine.apply(Lost, lost, 0.5);
        assert_eq!(machine.next_dial(), lost);
        machine.apply(Dial, lost, 0.5);
        machine.apply(DialFailed, lost, 0.5);
        assert_eq!(machine.next_dial(), lost + Duration::from_secs(1));
    }

    /// When a peer is dialled that is READY for `lasting` each time, in seconds from the start.
    fn dials_of_a_peer_that_leaves(how: ChannelInput, lasting: Duration, count: usize) -> Vec<f64> {
        let (mut machine, mut now) = machine();
        let start = now;
        let mut dials = Vec::new();
        for _ in 0..count {
            dials.push(now.duration_since(start).as_secs_f64());
            machine.apply(Dial, now, 0.5);
            machine.apply(Proven, now, 0.5);
            now += lasting;
            machine.apply(how, now, 0.5);
            now = machine.next_dial();
        }
        dials
    }

    #[test]
    fn a_peer_that_leaves_soon_after_each_proof_is_redialled_by_its_backoff() {
        for (how, longest) in [(Lost, 9_999), (Drained, 999)] {
            // At once, then 1 s, 1.6 s and so on up to 10 s, after each loss.
            let dials = dials_of_a_peer_that_leaves(how, Duration::ZERO, 12);
            let gaps: Vec<f64> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let expected = [0.0, 1.0, 1.6, 2.56, 4.096, 6.5536, 10.0, 10.0, 10.0, 10.0, 10.0];
            assert!(
                gaps.iter()
                    .zip(expected)
                    .all(|(gap, expected)| (gap - expected).abs() < 1e-6),
                "{gaps:?}"
            );
            let dials = dials_of_a_peer_that_leaves(how, Duration::from_millis(longest), 4);
            let expected = longest as f64 / 1e3 + 1.0;
            assert!((dials[2] - dials[1] - expected).abs() < 1e-6, "{dials:?}");
        }
    }

    #[test]
    fn a_peer_that_stays_for_ten_seconds_each_time_is_redialled_at_once_each_time() {
        for how in [Lost, Drained] {
            let dials = dials_of_a_peer_that_leaves(how, Duration::from_secs(10), 5);
            assert_eq!(dials, [0.0, 10.0, 20.0, 30.0, 40.0]);
        }
    }

    #[test]
    fn a_server_that_gives_its_connections_an_age_of_a_second_is_redialled_at_once_each_time() {
        let dials = dials_of_a_peer_that_leaves(Drained, Duration::from_secs(1), 5);
        assert_eq!(dials, [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn failed_dials_between_short_connections_do_not_make_a_channel_well() {
        let (mut machine, now) = machine();
        for wait in [0.0, 2.56, 6.5536] {
            machine.apply(Dial, now, 0.5);
            machine.apply(Proven, now, 0.5);
            machine.apply(Lost, now, 0.5);
            let waits = machine.next_dial().duration_since(now).as_secs_f64();
            assert!((waits - wait).abs() < 1e-6, "{waits}, expected {wait}");
            for _ in 0..2 - u32::from(wait > 0.0) {
                machine.apply(Dial, now, 0.5);
                machine.apply(DialFailed, now, 0.5);
            }
        }
        // A long READY does.
        machine.apply(Dial, now, 0.5);
        machine.apply(Proven, now, 0.5);
        let lost = now + Duration::from_secs(11);
        machine.apply(Lost, lost, 0.5);
        assert_eq!(machine.next_dial(), lost);
        machine.apply(Dial, lost, 0.5);
        machine.apply(DialFailed, lost, 0.5);
        assert_eq!(machine.next_dial(), lost + Duration::from_secs(1));
    }

    fn input() -> impl Strategy<Value = ChannelInput> {
        prop::sample::select(vec![Dial, Proven, DialFailed, Lost, Drained])
    }

    proptest! {
        #[test]
        fn whatever_happens_the_invariants_hold(inputs in prop::collection::vec((input(), 0u64..20_000), 1..100)) {
            let (mut machine, mut now) = machine();
            for (input, ms) in inputs {
                now += Duration::from_millis(ms);
                let before = machine.state();
                let changed = machine.apply(input, now, 0.5);
                prop_assert_eq!(changed.is_some(), before != machine.state());
                prop_assert!(changed != Some(Idle), "IDLE is only before the first dial");
                prop_assert!(changed != Some(Shutdown), "stopping is dropping");
                if changed == Some(Ready) {
                    prop_assert_eq!(input, Proven);
                }
                prop_assert!(machine.next_dial() <= now + SETTINGS.max.max(SETTINGS.initial));
            }
        }
    }
}
