//! Which SoC may be probed on request, and when. Pure: time is an argument.
//!
//! A flood of requests must not become a flood of dials: one probe of a port at a time, and then none for [`PAUSE`]; of all ports
//! [`AT_A_TIME`] at a time, [`BURST`] in a row, and in the long run one each [`EVERY`].

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::TargetId;
use crate::runtime::bucket::Bucket;

/// From the begin of a probe to the begin of the next of the same port. Longer than a person needs to read the answer.
const PAUSE: Duration = Duration::from_secs(5);
/// Probes of different ports at a time. Each needs a file for its connection.
const AT_A_TIME: usize = 4;
/// Probes of different ports in a row: two rounds of `AT_A_TIME`.
const BURST: u32 = 8;
/// And then one in this time.
const EVERY: Duration = Duration::from_secs(1);

/// Why a probe may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Another probe of this port is under way.
    Running,
    /// It may begin after this time.
    TooSoon(Duration),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ProbeTurns {
    running: HashSet<TargetId>,
    /// When the last probe of each port began; none older than `PAUSE`, so at most a handful.
    began: HashMap<TargetId, Instant>,
    all: Bucket,
}

impl Default for ProbeTurns {
    fn default() -> Self {
        Self {
            running: HashSet::new(),
            began: HashMap::new(),
            all: Bucket::new(BURST, EVERY),
        }
    }
}

impl ProbeTurns {
    /// Begins a probe, if it may begin. `ended` must follow.
    pub(super) fn begin(&mut self, id: &TargetId, now: Instant) -> Result<(), NoTurn> {
        if self.running.contains(id) {
            return Err(NoTurn::Running);
        }
        self.began
            .retain(|_, began| now.saturating_duration_since(*began) < PAUSE);
        if let Some(began) = self.began.get(id) {
            let left = PAUSE.saturating_sub(now.saturating_duration_since(*began));
            return Err(NoTurn::TooSoon(left));
        }
        if self.running.len() >= AT_A_TIME {
            return Err(NoTurn::TooSoon(EVERY));
        }
        if !self.all.take(now) {
            let left = self.all.next(now).saturating_duration_since(now);
            return Err(NoTurn::TooSoon(left));
        }
        self.running.insert(id.clone());
        self.began.insert(id.clone(), now);
        Ok(())
    }

    /// A probe that began has ended.
    pub(super) fn ended(&mut self, id: &TargetId) {
        self.running.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Port;

    fn id(n: usize) -> TargetId {
        Port::new(&format!("Ethernet{n}")).expect("a port").into()
    }

    #[test]
    fn a_port_is_probed_once_at_a_time_and_not_again_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut turns = ProbeTurns::default();
        assert_eq!(turns.begin(&id(0), start), Ok(()));
        assert_eq!(turns.begin(&id(0), at(1)), Err(NoTurn::Running));
        assert_eq!(turns.begin(&id(4), at(1)), Ok(()), "another port may");
        turns.ended(&id(0));
        let left = Duration::from_secs(3);
        assert_eq!(turns.begin(&id(0), at(2)), Err(NoTurn::TooSoon(left)));
        assert_eq!(turns.begin(&id(0), at(5)), Ok(()));
        // One that takes longer than the pause is still the only one.
        assert_eq!(turns.begin(&id(0), at(60)), Err(NoTurn::Running));
        assert_eq!(turns.running.len(), 2);
    }

    #[test]
    fn of_all_ports_a_few_are_probed_at_a_time_and_one_a_second_in_the_long_run() {
        let start = Instant::now();
        let mut turns = ProbeTurns::default();
        let begun = (0..10).filter(|n| turns.begin(&id(*n), start).is_ok());
        assert_eq!(begun.count(), AT_A_TIME);
        (0..10).for_each(|n| turns.ended(&id(n)));
        let mut begun = 0;
        for n in 0..100_000 {
            let port = id(n % 1000);
            if turns
                .begin(&port, start + Duration::from_millis(n as u64))
                .is_ok()
            {
                begun += 1;
                turns.ended(&port);
            }
        }
        // 100 s.
        assert_eq!(begun + AT_A_TIME, 99 + BURST as usize);
        assert!(
            turns.began.len() <= 8,
            "what is over is forgotten: {}",
            turns.began.len()
        );
    }
}
