//! When to PING and when to give up, as a pure machine: time is an argument.
//!
//! A PING is due every `time`; its answer may take `timeout`. One PING is out at a time, so an answer that
//! comes late delays the next PING, never the verdict.

use std::time::{Duration, Instant};

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before this moment.
    Nothing(Instant),
    /// Send a PING, then call `sent`.
    Ping,
    /// The answer did not come: the peer is gone.
    GiveUp,
}

/// One connection's keepalive.
#[derive(Debug)]
pub(super) struct Keepalive {
    time: Duration,
    timeout: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Resting { until: Instant },
    Waiting { since: Instant },
}

impl Keepalive {
    /// Starts with the transport: the first PING is due one `time` after `now`.
    pub(super) fn new(time: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            time,
            timeout,
            state: State::Resting { until: now + time },
        }
    }

    /// What to do at `now`.
    pub(super) fn due(&self, now: Instant) -> Due {
        match self.state {
            State::Resting { until } if now >= until => Due::Ping,
            State::Resting { until } => Due::Nothing(until),
            State::Waiting { since } if now >= since + self.timeout => Due::GiveUp,
            State::Waiting { since } => Due::Nothing(since + self.timeout),
        }
    }

    /// A PING went out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.state = State::Waiting { since: now };
    }

    /// Our PONG came: its round trip, unless we were not waiting for one.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        let State::Waiting { since } = self.state else {
            return None;
        };
        self.state = State::Resting {
            until: (since + self.time).max(now),
        };
        Some(now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pings_go_out_every_time_and_the_verdict_falls_one_timeout_after_an_unanswered_one() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(secs(4), secs(8), start);
        assert_eq!(keepalive.due(start), Due::Nothing(start + secs(4)));
        assert_eq!(keepalive.due(start + secs(4)), Due::Ping);
        keepalive.sent(start + secs(4));
        assert_eq!(keepalive.answered(start + secs(5)), Some(secs(1)));
        assert_eq!(keepalive.due(start + secs(5)), Due::Nothing(start + secs(8)));
        keepalive.sent(start + secs(8));
        assert_eq!(keepalive.due(start + secs(15)), Due::Nothing(start + secs(16)));
        assert_eq!(keepalive.due(start + secs(16)), Due::GiveUp);
    }

    #[test]
    fn a_peer_that_hangs_right_after_an_answer_is_given_up_twelve_seconds_later() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(secs(4), secs(8), start);
        keepalive.sent(start);
        keepalive.answered(start);
        keepalive.sent(start + secs(4));
        assert_eq!(keepalive.due(start + secs(12)), Due::GiveUp);
    }

    #[test]
    fn a_late_answer_makes_the_next_ping_due_at_once() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(secs(4), secs(8), start);
        keepalive.sent(start);
        keepalive.answered(start + secs(6));
        assert_eq!(keepalive.due(start + secs(6)), Due::Ping);
    }

    #[test]
    fn a_pong_nobody_waits_for_changes_nothing() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(secs(4), secs(8), start);
        assert_eq!(keepalive.answered(start + secs(1)), None);
        assert_eq!(keepalive.due(start + secs(1)), Due::Nothing(start + secs(4)));
    }
}
