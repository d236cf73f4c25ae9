//! What each session is doing at this moment, for the hour in which something is stuck: it is read without asking the session or
//! the fleet, which may be what is stuck.
//!
//! Sessions are found by the hash of their target's name, so that one table serves SoCs and the targets of modules.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::soc::transport::OpenRpcs;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doing {
    /// Until the next round is due. `Err`: it has been due for this time.
    pub next_round: Result<Duration, Duration>,
    /// How long the RPCs of the current round have been pending, its wait for a turn included. `None`: no round is under way.
    pub round: Option<Duration>,
    /// RPCs and streams that are open on the connection.
    pub open_rpcs: usize,
}

/// Those of all sessions.
#[derive(Default)]
pub struct Pulses(Mutex<HashMap<u64, Arc<SessionPulse>>>);

impl std::fmt::Debug for Pulses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pulses")
    }
}

/// One session's. Times are microseconds after `origin`.
struct SessionPulse {
    /// Its place in the table.
    pulses: Arc<Pulses>,
    key: u64,
    origin: Instant,
    due: AtomicU64,
    /// When the round under way began, plus one; 0: there is none.
    round: AtomicU64,
    open: Mutex<OpenRpcs>,
}

/// A session's place in the table. Dropping it ends the place. Small, as each session has one.
pub(super) struct PulsePlace(Arc<SessionPulse>);

fn key_of(name: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Pulses {
    /// What the session of this target is doing; `None`: there is none.
    pub fn of(&self, name: &impl Hash) -> Option<Doing> {
        let pulse = self.table().get(&key_of(name)).cloned()?;
        Some(pulse.at(Instant::now()))
    }

    pub(super) fn begin(self: &Arc<Self>, name: &impl Hash, now: Instant) -> PulsePlace {
        let pulse = Arc::new(SessionPulse {
            pulses: self.clone(),
            key: key_of(name),
            origin: now,
            due: AtomicU64::new(0),
            round: AtomicU64::new(0),
            open: Mutex::default(),
        });
        self.table().insert(pulse.key, pulse.clone());
        PulsePlace(pulse)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<SessionPulse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPulse {
    fn micros(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.origin);
        u64::try_from(after.as_micros()).unwrap_or(u64::MAX - 1)
    }

    fn at(&self, now: Instant) -> Doing {
        let now = self.micros(now);
        let (due, round) = (
            self.due.load(Ordering::Relaxed),
            self.round.load(Ordering::Relaxed),
        );
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Doing {
            next_round: match due.checked_sub(now) {
                Some(left) => Ok(Duration::from_micros(left)),
                None => Err(Duration::from_micros(now - due)),
            },
            round: round
                .checked_sub(1)
                .map(|began| Duration::from_micros(now.saturating_sub(began))),
            open_rpcs: open.count(),
        }
    }
}

impl PulsePlace {
    /// The next round is due then; the round under way began then.
    pub(super) fn beat(&self, due: Instant, round: Option<Instant>) {
        let pulse = &self.0;
        pulse.due.store(pulse.micros(due), Ordering::Relaxed);
        let round = round.map_or(0, |began| pulse.micros(began) + 1);
        pulse.round.store(round, Ordering::Relaxed);
    }

    /// The connection's RPCs from now on.
    pub(super) fn connected(&self, open: OpenRpcs) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

impl Drop for PulsePlace {
    fn drop(&mut self) {
        let mut table = self.0.pulses.table();
        // The target may have a new session already.
        if table
            .get(&self.0.key)
            .is_some_and(|known| Arc::ptr_eq(known, &self.0))
        {
            table.remove(&self.0.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_shows_when_its_round_is_due_and_how_long_the_current_one_has_taken() {
        let pulses = Arc::new(Pulses::default());
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let place = pulses.begin(&"Ethernet0", start);
        let check = |next_round, round| {
            let expected = Doing {
                next_round,
                round,
                open_rpcs: 0,
            };
            assert_eq!(pulses.of(&"Ethernet0"), Some(expected));
        };
        place.beat(start + second, None);
        check(Ok(second), None);
        place.beat(start + 3 * second, Some(start));
        tokio::time::advance(2 * second).await;
        check(Ok(second), Some(2 * second));
        tokio::time::advance(2 * second).await;
        check(Err(second), Some(4 * second));
        assert_eq!(pulses.of(&"Ethernet4"), None);
        // A session that is replaced takes no place along.
        let anew = pulses.begin(&"Ethernet0", Instant::now());
        drop(place);
        assert!(pulses.of(&"Ethernet0").is_some());
        drop(anew);
        assert_eq!(pulses.of(&"Ethernet0"), None);
    }
}
