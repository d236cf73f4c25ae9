//! Rows of the inventory that cannot be used → events, when they appear. It follows the inventory as others do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::fleet::kept_queue::KeptSender;
use crate::model::{Happening, Inventory, KeptEvent, Problem};

/// Events of one change. dualtor_inventory_problems counts all.
const MOST_EVENTS: usize = 100;

/// Ends with the inventory.
pub(super) async fn follow(mut inventory: watch::Receiver<Arc<Inventory>>, events: KeptSender<KeptEvent>) {
    let mut known = BTreeSet::new();
    loop {
        let problems = inventory.borrow_and_update().problems.iter().cloned().collect();
        for problem in appeared(&known, &problems) {
            events.offer(KeptEvent {
                at: SystemTime::now(),
                id: None,
                what: Happening::Problem(problem.clone()),
                trace: None,
            });
        }
        known = problems;
        if inventory.changed().await.is_err() {
            return;
        }
    }
}

fn appeared<'a>(
    known: &'a BTreeSet<Problem>,
    now: &'a BTreeSet<Problem>,
) -> impl Iterator<Item = &'a Problem> {
    now.difference(known).take(MOST_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::kept_queue::kept_queue;
    use crate::model::ProblemKind;

    #[tokio::test]
    async fn a_problem_is_an_event_once() {
        let problem = |port: &str| Problem::new(port, ProblemKind::ALL[0], "expected an address");
        let (sender, inventory) = watch::channel(Arc::new(Inventory::default()));
        let (events, mut kept) = kept_queue(10, 10);
        let follows = tokio::spawn(follow(inventory, events));
        let mut ports = Vec::new();
        for all in [vec!["Ethernet0"], vec!["Ethernet0", "Ethernet4"]] {
            let problems: Vec<Problem> = all.into_iter().map(problem).collect();
            sender.send_modify(|inventory| Arc::make_mut(inventory).problems = problems);
            assert!(kept.any().await);
            for event in kept.take() {
                let Happening::Problem(problem) = event.what else {
                    panic!("{event:?}")
                };
                ports.push(problem.port);
            }
        }
        assert_eq!(ports, ["Ethernet0", "Ethernet4"]);
        drop(sender);
        follows.await.expect("an end");
    }
}
