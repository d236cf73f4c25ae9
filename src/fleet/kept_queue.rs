//! A bounded queue of what is kept for OpenTelemetry. The fleet never waits for its reader: when it is full, the newest is dropped
//! and counted. What an item counts is its weight: a trace has several spans.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{KeptEvent, KeptTrace};

/// How much of the bound an item takes.
pub trait Weight {
    /// At least 1.
    fn weight(&self) -> usize;
}

impl Weight for KeptTrace {
    fn weight(&self) -> usize {
        self.spans()
    }
}

impl Weight for KeptEvent {
    fn weight(&self) -> usize {
        1
    }
}

/// What has gone into a queue, by weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// All that was offered.
    pub all: u64,
    /// Those of them that found the queue full.
    pub dropped: u64,
}

#[derive(Debug)]
struct KeptItems<T> {
    items: VecDeque<T>,
    weight: usize,
    made: Made,
    closed: bool,
}

#[derive(Debug)]
struct KeptQueue<T> {
    // A std mutex: it is held only for a push or a pop, never across an await.
    waiting: Mutex<KeptItems<T>>,
    most: usize,
    /// The reader is woken when something comes into an empty queue, and when this much waits.
    enough: usize,
    notify: Notify,
}

impl<T> KeptQueue<T> {
    fn lock(&self) -> MutexGuard<'_, KeptItems<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end; cheap to clone. The reader notices when the last one is dropped.
#[derive(Debug)]
pub struct KeptSender<T>(Arc<LastSender<T>>);

#[derive(Debug)]
struct LastSender<T>(Arc<KeptQueue<T>>);

impl<T> Drop for LastSender<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.notify.notify_one();
    }
}

/// Counts what has gone into a queue; cheap to clone.
#[derive(Debug)]
pub struct KeptCounter<T>(Arc<KeptQueue<T>>);

// Not derived: an item need not be cloned.
impl<T> Clone for KeptCounter<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> KeptCounter<T> {
    /// What has gone into the queue until now.
    pub fn made(&self) -> Made {
        self.0.lock().made
    }
}

/// The reading end.
#[derive(Debug)]
pub struct KeptReceiver<T>(Arc<KeptQueue<T>>);

/// A queue for a weight of at most `most`. Its reader takes batches of `enough`.
pub fn kept_queue<T: Weight>(most: usize, enough: usize) -> (KeptSender<T>, KeptReceiver<T>) {
    let queue = Arc::new(KeptQueue {
        waiting: Mutex::new(KeptItems {
            items: VecDeque::new(),
            weight: 0,
            made: Made::default(),
            closed: false,
        }),
        most,
        enough: enough.min(most),
        notify: Notify::new(),
    });
    let sender = KeptSender(Arc::new(LastSender(queue.clone())));
    (sender, KeptReceiver(queue))
}

// Not derived: an item need not be cloned.
impl<T> Clone for KeptSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Weight> KeptSender<T> {
    /// Puts it into the queue, or drops it. Never waits.
    pub fn offer(&self, item: T) {
        let weight = item.weight();
        let queue = &self.0.0;
        let mut waiting = queue.lock();
        waiting.made.all += weight as u64;
        if waiting.weight + weight > queue.most || waiting.closed {
            waiting.made.dropped += weight as u64;
            return;
        }
        let before = waiting.weight;
        waiting.weight += weight;
        waiting.items.push_back(item);
        let is_first = before == 0;
        let is_enough = before < queue.enough && waiting.weight >= queue.enough;
        drop(waiting);
        if is_first || is_enough {
            queue.notify.notify_one();
        }
    }

    /// Counts what goes into the queue.
    pub fn counter(&self) -> KeptCounter<T> {
        KeptCounter(self.0.0.clone())
    }
}

impl<T: Weight> KeptReceiver<T> {
    /// Waits until something is in the queue. False: it is empty, and nothing will come. Cancel-safe: nothing is taken.
    pub async fn any(&mut self) -> bool {
        self.at_least(1).await
    }

    /// Waits until a batch is in the queue, or nothing more will come. Cancel-safe.
    pub async fn enough(&mut self) {
        self.at_least(self.0.enough).await;
    }

    async fn at_least(&mut self, weight: usize) -> bool {
        loop {
            let notified = self.0.notify.notified();
            {
                let waiting = self.0.lock();
                if waiting.weight >= weight || waiting.closed {
                    return waiting.weight >= weight;
                }
            }
            notified.await;
        }
    }

    /// Takes the oldest, with a weight of a batch at most; but at least one, if there is one.
    pub fn take(&mut self) -> Vec<T> {
        let mut waiting = self.0.lock();
        let (mut taken, mut weight) = (Vec::new(), 0);
        while let Some(next) = waiting.items.front() {
            let more = next.weight();
            if weight > 0 && weight + more > self.0.enough {
                break;
            }
            weight += more;
            taken.extend(waiting.items.pop_front());
        }
        waiting.weight -= weight;
        taken
    }

    /// Drops what waits, and whatever still comes; all of it counts as dropped. Returns how much waited.
    pub fn close(&mut self) -> usize {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        waiting.items = VecDeque::new();
        let weight = std::mem::take(&mut waiting.weight);
        waiting.made.dropped += weight as u64;
        weight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(usize);

    impl Weight for Item {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn a_full_queue_drops_the_newest_as_a_whole() {
        let (sender, mut receiver) = kept_queue(10, 6);
        for weight in [6, 3, 2, 1] {
            sender.offer(Item(weight));
        }
        let expected = Made { all: 12, dropped: 2 };
        assert_eq!(sender.counter().made(), expected);
        assert_eq!(receiver.take(), [Item(6)]);
        assert_eq!(receiver.take(), [Item(3), Item(1)]);
        assert_eq!(receiver.take(), []);
    }

    #[test]
    fn what_waits_at_the_end_is_counted_as_dropped() {
        let (sender, mut receiver) = kept_queue(10, 5);
        sender.offer(Item(4));
        assert_eq!(receiver.close(), 4);
        sender.offer(Item(1));
        assert_eq!(sender.counter().made(), Made { all: 5, dropped: 5 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_reader_waits_for_one_or_for_a_batch() {
        let (sender, mut receiver) = kept_queue(10, 5);
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), receiver.any()).await;
        assert!(waits.is_err());
        sender.offer(Item(1));
        assert!(receiver.any().await);
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), receiver.enough()).await;
        assert!(waits.is_err());
        let reads = tokio::spawn(async move {
            receiver.enough().await;
            receiver.take().len()
        });
        for _ in 0..4 {
            sender.offer(Item(1));
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.await.expect("no panic"), 5);
    }

    #[tokio::test]
    async fn what_was_offered_before_the_end_is_still_read() {
        let (sender, mut receiver) = kept_queue(10, 5);
        sender.offer(Item(1));
        drop(sender);
        assert!(receiver.any().await);
        receiver.enough().await;
        assert_eq!(receiver.take(), [Item(1)]);
        assert!(!receiver.any().await);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_that_is_not_counted(steps in prop::collection::vec(0usize..7, 0..200)) {
            let (sender, mut receiver) = kept_queue(20, 8);
            let mut taken = 0;
            for step in steps {
                match step {
                    0 => taken += receiver.take().iter().map(Weight::weight).sum::<usize>(),
                    weight => sender.offer(Item(weight)),
                }
                let waiting = sender.0.0.lock().items.iter().map(Weight::weight).sum::<usize>();
                let made = sender.counter().made();
                prop_assert!(waiting <= 20);
                prop_assert_eq!(made.all, made.dropped + (taken + waiting) as u64);
            }
        }
    }
}
