//! What may happen to a SoC, what that makes of it, and how long rows and metrics may go on saying something else.

use std::time::Duration;

use dualtor_sim::{ConnectionFault, GoAway, H2Code, Notice, NoticeKind, Plane, ReplyFault, Soc};

use crate::truth::Truth;

/// From round to round.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Two rounds are no further apart than an interval and a tenth, and one lasts half a second.
const ROUND: Duration = Duration::from_millis(6_000);
/// `keepalive_time` and `keepalive_timeout`, the defaults.
const KEEPALIVE: Duration = Duration::from_secs(12);
/// A channel that is lost so soon after READY waits for its backoff; with what it takes to see that it is READY.
const YOUNG: Duration = Duration::from_secs(12);
/// `channel.backoff.max`, the default.
const REDIAL: Duration = Duration::from_secs(10);
/// What a busy machine with two cores, a look each half second and a write to Redis may add. 3 s held in two of four runs of 60 s beside
/// builds. In the other two (load up to 20) a row was 3.3 s over, and scrapes, from a thread with less priority, up to 7.5 s: there
/// 5 s do not hold either.
const SLACK: Duration = Duration::from_secs(5);

/// Defines `Kind` from one list: each kind, whether it may happen by itself to a SoC that is well, and its name in the table.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $happens:literal, $label:literal;)+) => {
        /// Something that happens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
            const ALL: &'static [(Self, bool)] = &[$((Self::$kind, $happens),)+];

            pub(crate) fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)+ }
            }
        }
    };
}

kinds! {
    Killed, true, "killed";
    Restarted, false, "restarted";
    Hung, true, "hung";
    Thawed, false, "hung, goes on";
    Reset, true, "connection reset";
    Closed, true, "connection closed";
    Goaway, true, "graceful GOAWAY";
    /// One of the last three on a connection that is younger than `YOUNG`: it is dialled again by its backoff, not at once.
    LostAgain, false, "lost again within 12 s";
    Direction, true, "direction changed";
    Link, true, "link changed";
    Operation, true, "operation changed";
    Version, true, "version changed";
    Health, true, "health changed";
    Slow, true, "replies too late";
    Garbage, true, "replies are garbage";
    WrongPortids, true, "wrong portids";
    RepliesWell, false, "replies well again";
    ServiceBegin, true, "maintenance begins";
    ServiceEnd, false, "maintenance ends";
    /// Nothing: and yet something else was said.
    Untouched, false, "untouched, yet wrong";
    /// Of all rows at once: Redis is back, frozen before or killed and empty.
    RedisBack, false, "Redis back";
}

use Kind::*;

impl Kind {
    /// One of those that may happen to a SoC that is well.
    pub(crate) fn any(random: &mut fastrand::Rng) -> Self {
        let all: Vec<Self> = Self::ALL
            .iter()
            .filter(|(_, happens)| *happens)
            .map(|(kind, _)| *kind)
            .collect();
        all[random.usize(..all.len())]
    }

    /// What ends it; `None`: it stays as it has become.
    pub(crate) fn end(self) -> Option<Self> {
        match self {
            Killed => Some(Restarted),
            Hung => Some(Thawed),
            Slow | Garbage | WrongPortids => Some(RepliesWell),
            ServiceBegin => Some(ServiceEnd),
            _ => None,
        }
    }

    /// Whether the same is true after it as before: only that it was noticed shows.
    pub(crate) fn blinks(self) -> bool {
        matches!(self, Reset | Closed | Goaway | LostAgain)
    }

    /// What it counts as, on a channel that is READY for so long.
    pub(crate) fn on_connection_of(self, age: Duration) -> Self {
        match self.blinks() && age < YOUNG {
            true => LostAgain,
            false => self,
        }
    }

    /// Whether there is another connection after it.
    pub(crate) fn connects(self) -> bool {
        self.blinks() || matches!(self, Restarted | Thawed)
    }

    /// Whether rows have it.
    pub(crate) fn is_in_rows(self) -> bool {
        self != Health
    }

    /// How long rows and metrics may be wrong (docs/reliability.md).
    pub(crate) fn bound(self) -> Duration {
        SLACK
            + match self {
                Killed | Reset | Closed | Goaway | Health | ServiceBegin | ServiceEnd => Duration::ZERO,
                Hung => KEEPALIVE,
                Restarted | Thawed | LostAgain => REDIAL,
                Direction | Link | Operation | Version | Slow | Garbage | WrongPortids | RepliesWell
                | Untouched => ROUND,
                // It is asked each 2 s, and then dialled after at most that.
                RedisBack => Duration::from_secs(5),
            }
    }

    /// Half of the rows are right so soon. Only of what is written at once: seen 0.1 s.
    pub(crate) fn median_bound(self) -> Option<Duration> {
        let at_once = matches!(self, Killed | Reset | Closed | Goaway | ServiceBegin | ServiceEnd);
        at_once.then_some(Duration::from_secs(1))
    }

    /// Makes it happen.
    pub(crate) fn befall(self, soc: &Soc, truth: &mut Truth, random: &mut fastrand::Rng) {
        let notice = |kind| Notice {
            kind,
            plane: Plane::Both,
            guid: "soak".to_owned(),
            period: 0,
        };
        let replies = |fault| soc.reply_fault(fault);
        match self {
            Killed => soc.connection_fault(ConnectionFault::Refuse),
            Hung => soc.connection_fault(ConnectionFault::Hang),
            Restarted | Thawed => soc.connection_fault(ConnectionFault::None),
            Reset => soc.reset_connections(),
            Closed => soc.close_connections(),
            Goaway => soc.connection_fault(ConnectionFault::Goaway(GoAway {
                code: H2Code::NoError,
                ..GoAway::default()
            })),
            Direction | Link | Operation | Version | Health => {
                change(self, truth, random);
                let state = truth.state.clone();
                soc.set(|now| *now = state);
            }
            Slow => replies(ReplyFault::Slow {
                delay: Duration::from_secs(2),
            }),
            Garbage => replies(ReplyFault::GarbageMessage),
            WrongPortids => replies(ReplyFault::WrongPortids),
            RepliesWell => replies(ReplyFault::None),
            ServiceBegin => soc.announce(&notice(NoticeKind::Begin)),
            ServiceEnd => soc.announce(&notice(NoticeKind::End)),
            LostAgain | Untouched | RedisBack => {}
        }
        match self {
            Killed | Hung => truth.there = false,
            Restarted | Thawed => truth.there = true,
            Slow | Garbage => truth.answers = false,
            RepliesWell => (truth.answers, truth.portids) = (true, true),
            WrongPortids => truth.portids = false,
            ServiceBegin => truth.service = true,
            ServiceEnd => truth.service = false,
            _ => {}
        }
    }
}

fn change(kind: Kind, truth: &mut Truth, random: &mut fastrand::Rng) {
    let other = |link: &mut dualtor_sim::Link| {
        *link = match link {
            dualtor_sim::Link::Up => dualtor_sim::Link::Down,
            dualtor_sim::Link::Down => dualtor_sim::Link::Up,
        };
    };
    let state = &mut truth.state;
    match kind {
        Direction => {
            let side = if random.bool() {
                &mut state.directions.upper
            } else {
                &mut state.directions.lower
            };
            *side = match side {
                dualtor_sim::Direction::Active => dualtor_sim::Direction::Standby,
                dualtor_sim::Direction::Standby => dualtor_sim::Direction::Active,
            };
        }
        Link => other(if random.bool() {
            &mut state.links.upper
        } else {
            &mut state.links.lower
        }),
        Operation => other(if random.bool() {
            &mut state.oper.upper
        } else {
            &mut state.oper.lower
        }),
        Version => state.version = format!("2.{}.{}", random.u16(..), random.u16(..)),
        _ => {
            state.health = match state.health {
                dualtor_sim::Health::Serving => dualtor_sim::Health::NotServing,
                _ => dualtor_sim::Health::Serving,
            };
        }
    }
}
