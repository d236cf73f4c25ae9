//! Exemplars: of each bucket of a SoC's query durations the newest trace that has arrived at a collector. From a slow bucket in a
//! diagram, they lead to the trace of such a query.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{DURATION_BUCKETS, SpanId, TargetId, TraceId};

/// One query whose trace has arrived.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
    /// How long it took, seconds.
    pub seconds: f64,
    /// When it ended.
    pub at: SystemTime,
}

impl Exemplar {
    /// The bucket of `DURATION_BUCKETS` that counts it; the last one has no bound.
    pub fn bucket(&self) -> usize {
        DURATION_BUCKETS.partition_point(|bound| *bound < self.seconds)
    }
}

/// Those of all SoCs. Shared by the task that sends and by scrapes; a healthy SoC has two or three.
#[derive(Debug, Default)]
pub struct ExemplarTable(Mutex<HashMap<TargetId, Vec<Exemplar>>>);

impl ExemplarTable {
    /// Adds these of a SoC. Each replaces an older one of its bucket.
    pub fn add(&self, id: &TargetId, exemplars: impl IntoIterator<Item = Exemplar>) {
        let mut exemplars = exemplars.into_iter().peekable();
        if exemplars.peek().is_none() {
            return;
        }
        let mut all = self.lock();
        let of_soc = match all.get_mut(id) {
            Some(of_soc) => of_soc,
            None => all.entry(id.clone()).or_default(),
        };
        for exemplar in exemplars {
            let bucket = exemplar.bucket();
            match of_soc.iter_mut().find(|other| other.bucket() == bucket) {
                Some(other) if other.at <= exemplar.at => *other = exemplar,
                Some(_) => {}
                None => of_soc.push(exemplar),
            }
        }
    }

    /// Those of a SoC: at most one of each bucket, in no order.
    pub fn of(&self, id: &TargetId) -> Vec<Exemplar> {
        self.lock().get(id).cloned().unwrap_or_default()
    }

    /// Forgets the SoCs that are not among `ids`, if there are more than those.
    pub fn keep<'a>(&self, count: usize, ids: impl Iterator<Item = &'a TargetId>) {
        let mut all = self.lock();
        if all.len() > count {
            let mut kept = HashMap::with_capacity(count);
            kept.extend(ids.filter_map(|id| all.remove_entry(id)));
            *all = kept;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetId, Vec<Exemplar>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::model::Port;

    fn exemplar(seconds: f64, at: u64) -> Exemplar {
        let trace = TraceId::new(u128::from(at));
        Exemplar {
            trace,
            span: trace.span(1),
            seconds,
            at: UNIX_EPOCH + Duration::from_secs(at),
        }
    }

    #[test]
    fn of_each_bucket_the_newest_is_kept() {
        let (table, id) = (
            ExemplarTable::default(),
            TargetId::from(Port::new("Ethernet0").expect("a port")),
        );
        for (seconds, at) in [(0.0005, 1), (0.0007, 3), (0.0009, 2), (0.3, 2), (7.0, 5)] {
            table.add(&id, [exemplar(seconds, at)]);
        }
        let kept = [(0.0007, 3), (0.3, 2), (7.0, 5)].map(|(seconds, at)| exemplar(seconds, at));
        assert_eq!(table.of(&id), kept);
        assert_eq!(kept.map(|exemplar| exemplar.bucket()), [0, 8, 10]);
    }

    #[test]
    fn a_soc_that_has_gone_is_forgotten() {
        let table = ExemplarTable::default();
        let ids = ["Ethernet0", "Ethernet4"].map(|name| TargetId::from(Port::new(name).expect("a port")));
        for id in &ids {
            table.add(id, [exemplar(0.1, 1)]);
        }
        table.keep(1, ids[1..].iter());
        assert_eq!((table.of(&ids[0]).len(), table.of(&ids[1]).len()), (0, 1));
    }
}
