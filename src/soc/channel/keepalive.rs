//! When to PING and when to give up, as pure machines: time is an argument.
//!
//! [`Keepalive`] belongs to one connection. A PING is due every `time`, or only when a round asks for one. The answer may take
//! `timeout`. Only one PING is in flight, so a late answer delays the next PING, but never the verdict.
//!
//! [`Habit`] belongs to one target, over all its connections: how often it may be PINGed. It begins with one PING every `time`,
//! also while idle. gRPC's own servers (grpcio, grpc-go, grpc-java and servers built on them) refuse that by default. A PING
//! within five minutes of the last one is a strike, and the third strike is a GOAWAY `too_many_pings`. A reply that the server
//! sends clears the strikes. So none of them refuses one PING with each round of queries, while there are replies. Without (a method
//! that hangs, a round that sends nothing) two rounds send a PING, and then only one round in more than five minutes.
//!
//! A target that has refused once therefore gets one PING per round. If it refuses even that, it gets one in every second
//! round, then every fourth, and so on. The rule `rounds` begins with one PING per round. Only a connection on which we sent a PING counts for this: a peer that sends
//! too_many_pings without one means something else, and fewer PINGs would not help. For the same reason, from the second
//! refusal on, the first PING of a connection waits as long as the others.

use std::time::{Duration, Instant};

use crate::model::KeepaliveRule;

/// The slowest keepalive, however often a peer sends too_many_pings (docs/configuration.md). gRPC's servers accept this
/// interval without any replies in between.
const MAX_TIME: Duration = Duration::from_secs(300);
/// PINGs in a row without a reply in between. The first is no strike, the fourth would be the third strike. One less, because
/// we see a reply some time before or after the server counts it.
const MAX_WITHOUT_REPLY: u32 = 2;

/// How often a target is PINGed.
#[derive(Debug)]
pub(super) struct Habit {
    /// As configured.
    rule: KeepaliveRule,
    /// Between two rounds.
    interval: Duration,
    /// How often the target has sent too_many_pings.
    refusals: u32,
    /// Rounds on this connection since the last one with a PING, that one included. Before the first PING: since the connection
    /// began.
    rounds: u32,
    /// Rounds with a PING on this connection since the target last sent a reply.
    without_reply: u32,
}

impl Habit {
    /// `refusals`: how often the target has refused our PINGs already.
    pub(super) fn new(rule: KeepaliveRule, interval: Duration, refusals: u32) -> Self {
        Self {
            rule,
            interval,
            refusals,
            rounds: 0,
            without_reply: 0,
        }
    }

    /// How often the target had refused our PINGs before this channel was made.
    pub(super) fn refused_before(&mut self, refusals: u32) {
        self.refusals = refusals;
    }

    /// How often the target has refused our PINGs.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// The time between two PINGs outside rounds. `None`: PINGs are sent only with rounds.
    pub(super) fn between_rounds(&self) -> Option<Duration> {
        self.rule.between_rounds().filter(|_| self.refusals == 0)
    }

    /// A PING goes with every n-th round. 0: PINGs do not depend on rounds.
    pub(super) fn rounds(&self) -> u32 {
        let doublings = match (self.rule, self.refusals) {
            (KeepaliveRule::Every(_), 0) => return 0,
            (KeepaliveRule::Every(_), refusals) => refusals - 1,
            (KeepaliveRule::Rounds, refusals) => refusals,
        };
        let most = self.rounds_in(MAX_TIME).max(1);
        1u32.checked_shl(doublings).unwrap_or(most).min(most)
    }

    /// The time between two PINGs.
    pub(super) fn in_force(&self) -> Duration {
        match (self.rule, self.rounds()) {
            (KeepaliveRule::Every(time), 0) => time,
            (_, rounds) => self.interval * rounds,
        }
    }

    /// The target sent too_many_pings on a connection on which we had `pinged` it or not. The first refusal always counts:
    /// after it PINGs go with the rounds, which every server accepts.
    pub(super) fn refused(&mut self, pinged: bool) {
        let first = self.between_rounds().is_some();
        if first || pinged {
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    /// Sets the interval of the rounds.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// A new connection: its first round sends a PING if every round does.
    pub(super) fn connected(&mut self) {
        self.rounds = 0;
        self.without_reply = 0;
    }

    /// A round begins. `replied`: the target has sent a reply since the round before. Returns whether the round sends a PING.
    pub(super) fn round(&mut self, replied: bool) -> bool {
        if replied {
            self.without_reply = 0;
        }
        let each = match self.rounds() {
            0 => 0,
            each if self.without_reply < MAX_WITHOUT_REPLY => each,
            each => each.max(self.rounds_in(MAX_TIME).saturating_add(1)),
        };
        // `>=`: with a shorter interval the count may already be higher.
        let takes = each == 1 || each > 1 && self.rounds >= each;
        self.rounds = if takes { 1 } else { self.rounds.saturating_add(1) };
        self.without_reply = self.without_reply.saturating_add(u32::from(takes));
        takes
    }

    /// How many rounds begin in this time.
    fn rounds_in(&self, time: Duration) -> u32 {
        let rounds = time.as_nanos() / self.interval.as_nanos().max(1);
        u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before this moment. `None`: nothing until `ask` is called.
    Nothing(Option<Instant>),
    /// Send a PING, then call `sent`.
    Ping,
    /// The answer did not come: the peer does not respond.
    GiveUp,
}

/// One connection's keepalive.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// `None`: only when `ask` is called.
    time: Option<Duration>,
    timeout: Duration,
    state: PingState,
}

#[derive(Debug, Clone, Copy)]
enum PingState {
    Resting { until: Option<Instant> },
    Waiting { since: Instant },
}

impl Keepalive {
    /// Starts with the transport: the first PING is due one `time` after `now`.
    pub(super) fn new(time: Option<Duration>, timeout: Duration, now: Instant) -> Self {
        let until = time.map(|time| now + time);
        Self {
            time,
            timeout,
            state: PingState::Resting { until },
        }
    }

    /// What to do at `now`.
    pub(super) fn due(&self, now: Instant) -> Due {
        match self.state {
            PingState::Resting { until: Some(until) } if now >= until => Due::Ping,
            PingState::Resting { until } => Due::Nothing(until),
            PingState::Waiting { since } if now >= since + self.timeout => Due::GiveUp,
            PingState::Waiting { since } => Due::Nothing(Some(since + self.timeout)),
        }
    }

    /// A PING is wanted now. If one is in flight, it serves.
    pub(super) fn ask(&mut self, now: Instant) {
        if let PingState::Resting { until } = &mut self.state {
            *until = Some(now);
        }
    }

    /// A PING was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.state = PingState::Waiting { since: now };
    }

    /// Our PING was answered. Returns its round trip, or nothing if no PING was in flight.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        let PingState::Waiting { since } = self.state else {
            return None;
        };
        let until = self.time.map(|time| (since + time).max(now));
        self.state = PingState::Resting { until };
        Some(now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn timed(start: Instant) -> Keepalive {
        Keepalive::new(Some(secs(4)), secs(8), start)
    }

    #[test]
    fn pings_go_out_every_time_and_the_verdict_falls_one_timeout_after_an_unanswered_one() {
        let start = Instant::now();
        let mut keepalive = timed(start);
        assert_eq!(keepalive.due(start), Due::Nothing(Some(start + secs(4))));
        assert_eq!(keepalive.due(start + secs(4)), Due::Ping);
        keepalive.sent(start + secs(4));
        assert_eq!(keepalive.answered(start + secs(5)), Some(secs(1)));
        assert_eq!(
            keepalive.due(start + secs(5)),
            Due::Nothing(Some(start + secs(8)))
        );
        keepalive.sent(start + secs(8));
        assert_eq!(
            keepalive.due(start + secs(15)),
            Due::Nothing(Some(start + secs(16)))
        );
        assert_eq!(keepalive.due(start + secs(16)), Due::GiveUp);
    }

    #[test]
    fn a_peer_that_hangs_right_after_an_answer_is_given_up_twelve_seconds_later() {
        let start = Instant::now();
        let mut keepalive = timed(start);
        keepalive.sent(start);
        keepalive.answered(start);
        keepalive.sent(start + secs(4));
        assert_eq!(keepalive.due(start + secs(12)), Due::GiveUp);
    }

    #[test]
    fn a_late_answer_makes_the_next_ping_due_at_once() {
        let start = Instant::now();
        let mut keepalive = timed(start);
        keepalive.sent(start);
        keepalive.answered(start + secs(6));
        assert_eq!(keepalive.due(start + secs(6)), Due::Ping);
    }

    #[test]
    fn a_pong_nobody_waits_for_changes_nothing() {
        let start = Instant::now();
        let mut keepalive = timed(start);
        assert_eq!(keepalive.answered(start + secs(1)), None);
        assert_eq!(
            keepalive.due(start + secs(1)),
            Due::Nothing(Some(start + secs(4)))
        );
    }

    #[test]
    fn without_a_time_no_ping_is_due_but_those_that_are_asked_for() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(None, secs(8), start);
        assert_eq!(keepalive.due(start + secs(100_000)), Due::Nothing(None));
        keepalive.ask(start + secs(60));
        assert_eq!(keepalive.due(start + secs(60)), Due::Ping);
        keepalive.sent(start + secs(60));
        // Only one PING is in flight. The next round's PING is this one, and the verdict does not move.
        keepalive.ask(start + secs(62));
        assert_eq!(
            keepalive.due(start + secs(62)),
            Due::Nothing(Some(start + secs(68)))
        );
        assert_eq!(keepalive.due(start + secs(68)), Due::GiveUp);
        assert_eq!(keepalive.answered(start + secs(67)), Some(secs(7)));
        assert_eq!(keepalive.due(start + secs(67)), Due::Nothing(None));
    }

    #[test]
    fn a_ping_that_is_asked_for_comes_before_its_time() {
        let start = Instant::now();
        let mut keepalive = timed(start);
        keepalive.ask(start + secs(1));
        assert_eq!(keepalive.due(start + secs(1)), Due::Ping);
    }

    /// Which of the next rounds take a PING along.
    fn rounds(habit: &mut Habit, count: usize) -> Vec<bool> {
        (0..count).map(|_| habit.round(true)).collect()
    }

    #[test]
    fn a_target_that_refuses_our_pings_gets_one_with_each_round_then_with_each_second_and_fourth() {
        let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(60), 0);
        assert_eq!(
            (habit.between_rounds(), habit.in_force()),
            (Some(secs(4)), secs(4))
        );
        assert_eq!(rounds(&mut habit, 3), [false; 3]);
        habit.refused(true);
        habit.connected();
        assert_eq!((habit.between_rounds(), habit.in_force()), (None, secs(60)));
        assert_eq!(rounds(&mut habit, 3), [true; 3]);
        habit.refused(true);
        habit.connected();
        assert_eq!(habit.in_force(), secs(120));
        assert_eq!(rounds(&mut habit, 5), [false, false, true, false, true]);
        habit.refused(true);
        habit.connected();
        assert_eq!(habit.in_force(), secs(240));
        assert_eq!(
            rounds(&mut habit, 9),
            [false, false, false, false, true, false, false, false, true]
        );
        // At most 300 s.
        for _ in 0..100 {
            habit.refused(true);
            assert_eq!(habit.in_force(), secs(300));
        }
    }

    #[test]
    fn only_who_refuses_a_ping_that_was_sent_on_the_connection_gets_fewer_with_the_rounds() {
        // For each connection that ends with too_many_pings: did we send a PING on it? Then: every how many rounds send one.
        let table: &[(&[bool], u32)] = &[
            (&[], 0),
            (&[true], 1),
            (&[false], 1),
            (&[false, false, false, false], 1),
            (&[true, false, false], 1),
            (&[true, true], 2),
            (&[false, true], 2),
            (&[true, true, false, false, false], 2),
            (&[true, false, true, false, true], 4),
        ];
        for (refusals, expected) in table {
            let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(2), 0);
            refusals.iter().for_each(|pinged| habit.refused(*pinged));
            assert_eq!(habit.rounds(), *expected, "{refusals:?}");
        }
    }

    #[test]
    fn who_refuses_every_connection_is_sent_no_ping_after_two_and_none_is_made_slower_for_it() {
        let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(2), 0);
        for _ in 0..20 {
            habit.connected();
            // Such a connection lives for one round, at READY.
            let pinged = habit.between_rounds().is_none() && habit.round(true);
            habit.refused(pinged);
        }
        assert_eq!((habit.rounds(), habit.in_force()), (2, secs(4)));
    }

    #[test]
    fn the_rule_rounds_pings_with_each_round_from_the_start_and_less_often_only_if_such_a_ping_is_refused() {
        let mut habit = Habit::new(KeepaliveRule::Rounds, secs(15), 0);
        habit.connected();
        assert_eq!((habit.between_rounds(), habit.in_force()), (None, secs(15)));
        assert_eq!(rounds(&mut habit, 3), [true; 3]);
        habit.refused(false);
        assert_eq!(
            (habit.refusals(), habit.in_force()),
            (0, secs(15)),
            "not by a PING of ours"
        );
        habit.refused(true);
        habit.connected();
        assert_eq!((habit.refusals(), habit.in_force()), (1, secs(30)));
        assert_eq!(rounds(&mut habit, 3), [false, false, true]);
        habit.set_interval(secs(100));
        habit.refused(true);
        habit.refused(true);
        assert_eq!(
            (habit.rounds(), habit.in_force()),
            (3, secs(300)),
            "at most 300 s"
        );
    }

    #[test]
    fn while_no_reply_comes_two_rounds_ping_and_then_one_in_more_than_five_minutes() {
        let mut habit = Habit::new(KeepaliveRule::Rounds, secs(60), 0);
        habit.connected();
        let mut without = |count: usize| -> Vec<bool> { (0..count).map(|_| habit.round(false)).collect() };
        // 0 s, 60 s, then 420 s.
        let expected = [true, true, false, false, false, false, false, true, false];
        assert_eq!(without(9), expected);
        assert_eq!(rounds(&mut habit, 3), [true; 3], "replies again");
        habit.connected();
        assert!(habit.round(false) && habit.round(false), "a new connection");
        // Rounds that are further apart are no strikes.
        let mut habit = Habit::new(KeepaliveRule::Rounds, secs(301), 0);
        assert!((0..10).all(|_| habit.round(false)));
        // A PING that does not go with rounds is no matter of rounds.
        let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(60), 0);
        assert!((0..10).all(|_| !habit.round(false)));
    }

    #[test]
    fn what_has_been_refused_before_stays_refused() {
        let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(60), 2);
        habit.connected();
        assert_eq!((habit.between_rounds(), habit.in_force()), (None, secs(120)));
        habit.refused(true);
        assert_eq!(habit.refusals(), 3);
    }

    #[test]
    fn what_is_in_force_follows_the_interval_of_the_rounds() {
        let mut habit = Habit::new(KeepaliveRule::Every(secs(4)), secs(60), 0);
        habit.set_interval(secs(5));
        assert_eq!(habit.in_force(), secs(4), "nothing has been refused");
        habit.refused(true);
        assert_eq!(habit.in_force(), secs(5));
        for _ in 0..3 {
            habit.refused(true);
        }
        assert_eq!((habit.in_force(), habit.rounds()), (secs(40), 8));
        habit.connected();
        assert_eq!(rounds(&mut habit, 4), [false; 4]);
        habit.set_interval(secs(100));
        assert_eq!((habit.in_force(), habit.rounds()), (secs(300), 3));
        assert!(habit.round(true), "four rounds are past");
        // Longer intervals have a PING in each round: there is no slower way.
        habit.set_interval(secs(3600));
        assert_eq!((habit.in_force(), habit.rounds()), (secs(3600), 1));
    }
}
