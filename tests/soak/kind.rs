//! The kinds of events, how each changes a SoC's true state, and how long rows and metrics may show something else.

use std::time::Duration;

use dualtor_sim::{ConnectionFault, GoAway, H2Code, Notice, NoticeKind, Plane, ReplyFault, Soc};

use crate::truth::Truth;

/// Time between two rounds.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Two rounds are at most 1.1 intervals apart, and one lasts half a second.
const ROUND: Duration = Duration::from_millis(6_000);
/// `keepalive_time` and `keepalive_timeout`, the defaults.
const KEEPALIVE: Duration = Duration::from_secs(12);
/// A channel that is lost this soon after READY waits for its backoff. Includes the time to notice READY.
const YOUNG: Duration = Duration::from_secs(12);
/// `channel.backoff.max`, the default.
const REDIAL: Duration = Duration::from_secs(10);
/// Extra time for a busy machine with two cores, a check every half second and a write to Redis. With 3 s, two of four runs of 60
/// s passed while builds ran. In the other two (load up to 20) a row needed 3.3 s, and scrapes, from a thread with lower
/// priority, up to 7.5 s, which is more than 5 s, too.
const SLACK: Duration = Duration::from_secs(5);

/// Defines `Kind` from one list: each kind, whether it may start at a healthy SoC, and its name in the table.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $happens:literal, $label:literal;)+) => {
        /// A kind of event.
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
    /// One of the last three on a connection that is younger than `YOUNG`: the next dial waits for the backoff.
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
    /// No event, but something wrong was shown.
    Untouched, false, "untouched, yet wrong";
    /// For all rows: Redis is back after a freeze, or after a kill (then it is empty).
    RedisBack, false, "Redis back";
}

use Kind::*;

impl Kind {
    /// A random kind that may start at a healthy SoC.
    pub(crate) fn any(random: &mut fastrand::Rng) -> Self {
        let all: Vec<Self> = Self::ALL
            .iter()
            .filter(|(_, happens)| *happens)
            .map(|(kind, _)| *kind)
            .collect();
        all[random.usize(..all.len())]
    }

    /// The event that ends it; `None`: the new state stays.
    pub(crate) fn end(self) -> Option<Self> {
        match self {
            Killed => Some(Restarted),
            Hung => Some(Thawed),
            Slow | Garbage | WrongPortids => Some(RepliesWell),
            ServiceBegin => Some(ServiceEnd),
            _ => None,
        }
    }

    /// Whether the true state is the same before and after: then only the interruption shows that it was noticed.
    pub(crate) fn blinks(self) -> bool {
        matches!(self, Reset | Closed | Goaway | LostAgain)
    }

    /// The kind that it counts as, on a channel that has been READY for this long.
    pub(crate) fn on_connection_of(self, age: Duration) -> Self {
        match self.blinks() && age < YOUNG {
            true => LostAgain,
            false => self,
        }
    }

    /// Whether a new connection follows.
    pub(crate) fn connects(self) -> bool {
        self.blinks() || matches!(self, Restarted | Thawed)
    }

    /// Whether rows show it.
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
                // Redis is checked every 2 s. After a loss, the next dial follows within 2 s.
                RedisBack => Duration::from_secs(5),
            }
    }

    /// Half of the rows are correct within this time. Only for kinds that are written at once; measured: 0.1 s.
    pub(crate) fn median_bound(self) -> Option<Duration> {
        let at_once = matches!(self, Killed | Reset | Closed | Goaway | ServiceBegin | ServiceEnd);
        at_once.then_some(Duration::from_secs(1))
    }

    /// Causes the event.
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
