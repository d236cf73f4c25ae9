//! A mailbox that keeps only the latest message per port: the fleet never waits for a reader, a slow reader never
//! makes anything grow, and what it reads is always the newest. That is how a hanging Redis stays its own problem.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{Port, SocStatus};

/// What became of a port since the reader last looked.
#[derive(Debug, Clone)]
pub enum Change {
    /// This is its status now, and its row must be written.
    Put(Arc<SocStatus>),
    /// It has left the inventory.
    Remove,
}

#[derive(Debug, Default)]
struct Shared {
    // A std mutex: it is held for a map operation, never across an await.
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    changes: HashMap<Port, Change>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Sender(Arc<Shared>);

/// The reading end.
#[derive(Debug)]
pub struct Receiver(Arc<Shared>);

/// A new, empty mailbox.
pub fn mailbox() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(shared.clone()), Receiver(shared))
}

impl Sender {
    /// Replaces what was there for `port`. Never waits.
    pub fn send(&self, port: Port, change: Change) {
        self.0.lock().changes.insert(port, change);
        self.0.notify.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.notify.notify_one();
    }
}

impl Receiver {
    /// Waits until there is something to take; false once the sender is gone and everything has been taken.
    /// Cancel-safe: nothing is taken here.
    pub async fn ready(&mut self) -> bool {
        loop {
            {
                let state = self.0.lock();
                if !state.changes.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.0.notify.notified().await;
        }
    }

    /// Whether the sender is gone: what can still be taken is the last.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Takes everything that is there.
    pub fn take(&mut self) -> HashMap<Port, Change> {
        std::mem::take(&mut self.0.lock().changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str) -> Port {
        Port::new(name).expect("a port name")
    }

    #[tokio::test]
    async fn only_the_latest_change_of_a_port_is_kept() {
        let (tx, mut rx) = mailbox();
        for _ in 0..1000 {
            tx.send(port("Ethernet0"), Change::Remove);
        }
        tx.send(port("Ethernet4"), Change::Remove);
        assert!(rx.ready().await);
        assert_eq!(rx.take().len(), 2);
    }

    #[tokio::test]
    async fn what_was_sent_before_the_close_is_still_read() {
        let (tx, mut rx) = mailbox();
        tx.send(port("Ethernet0"), Change::Remove);
        drop(tx);
        assert!(rx.is_closed());
        assert!(rx.ready().await);
        assert_eq!(rx.take().len(), 1);
        assert!(!rx.ready().await);
    }
}
