//! A mailbox that keeps only the latest message per port. So the fleet never waits for a reader, a slow reader costs no memory,
//! and the reader always gets the newest message. A Redis that hangs therefore cannot slow the fleet.
//! One mailbox carries rows (`Change`), another notices.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::model::{Port, SocStatus};

/// What happened to a port since the reader last took.
#[derive(Debug, Clone)]
pub enum Change {
    /// Its row must be written with this status.
    Put(Arc<SocStatus>),
    /// It has left the inventory.
    Remove,
}

#[derive(Debug)]
struct Mailbox<T> {
    // A std mutex: it is held only for a map operation, never across an await.
    state: Mutex<Latest<T>>,
    notify: Notify,
    /// The sender is gone.
    closing: CancellationToken,
}

#[derive(Debug)]
struct Latest<T> {
    latest: HashMap<Port, T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    fn lock(&self) -> MutexGuard<'_, Latest<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Sender<T = Change>(Arc<Mailbox<T>>);

/// The reading end.
#[derive(Debug)]
pub struct Receiver<T = Change>(Arc<Mailbox<T>>);

/// A new, empty mailbox.
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let state = Latest {
        latest: HashMap::new(),
        closed: false,
    };
    let shared = Arc::new(Mailbox {
        state: Mutex::new(state),
        notify: Notify::new(),
        closing: CancellationToken::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

/// How much is in a mailbox, for metrics.
#[derive(Debug)]
pub struct Backlog<T = Change>(Arc<Mailbox<T>>);

// Not derived: a message need not be cloned.
impl<T> Clone for Backlog<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Backlog<T> {
    /// How many ports have a message.
    pub fn waiting(&self) -> usize {
        self.0.lock().latest.len()
    }
}

impl<T> Sender<T> {
    /// How much is in the mailbox, from now on.
    pub fn backlog(&self) -> Backlog<T> {
        Backlog(self.0.clone())
    }

    /// Replaces the message for `port`. Never waits.
    pub fn send(&self, port: Port, message: T) {
        self.0.lock().latest.insert(port, message);
        self.0.notify.notify_one();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.closing.cancel();
        self.0.notify.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits until there is something to take. False: the sender is gone and everything has been taken.
    /// Cancel-safe: nothing is taken here.
    pub async fn ready(&mut self) -> bool {
        loop {
            {
                let state = self.0.lock();
                if !state.latest.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.0.notify.notified().await;
        }
    }

    /// Whether the sender is gone: no further message will come.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Cancelled when the sender is dropped, so that a reader that waits for something else notices it.
    pub fn closing(&self) -> CancellationToken {
        self.0.closing.clone()
    }

    /// Takes all messages.
    pub fn take(&mut self) -> HashMap<Port, T> {
        std::mem::take(&mut self.0.lock().latest)
    }

    /// Puts back messages that could not be written, unless a newer one has come for the same port.
    pub fn put_back(&mut self, messages: impl IntoIterator<Item = (Port, T)>) {
        let mut state = self.0.lock();
        for (port, message) in messages {
            state.latest.entry(port).or_insert(message);
        }
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
        let backlog = tx.backlog();
        assert_eq!(backlog.waiting(), 2);
        assert_eq!(rx.take().len(), 2);
        assert_eq!(backlog.waiting(), 0);
    }

    #[test]
    fn what_is_put_back_is_there_again_unless_something_newer_is() {
        let (tx, mut rx) = mailbox();
        tx.send(port("Ethernet0"), "old");
        tx.send(port("Ethernet4"), "only");
        let taken = rx.take();
        tx.send(port("Ethernet0"), "new");
        rx.put_back(taken);
        let expected = [(port("Ethernet0"), "new"), (port("Ethernet4"), "only")];
        assert_eq!(rx.take(), HashMap::from(expected));
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
