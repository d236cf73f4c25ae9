//! How many clients may be connected. If all places are taken, the client that has had no call for the longest time makes room, if
//! that is long enough: a client that connects and asks nothing must not keep others out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::MOST_CLIENTS;

/// A client without a call for this time may be closed to make room. Much longer than the way from connecting to the first call.
const YIELDS: Duration = Duration::from_secs(5);

/// The places of all clients.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientPlaces(Arc<Mutex<ConnectedClients>>);

#[derive(Debug, Default)]
struct ConnectedClients {
    all: Vec<ConnectedClient>,
    next: u64,
}

#[derive(Debug)]
struct ConnectedClient {
    id: u64,
    calls: usize,
    /// When its last call ended, or it connected.
    idle: Instant,
    lost: CancellationToken,
}

/// One client's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct ClientPlace {
    places: ClientPlaces,
    id: u64,
    lost: CancellationToken,
}

/// A call of a client, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenCall(Arc<ClientPlace>);

impl ClientPlaces {
    fn clients(&self) -> MutexGuard<'_, ConnectedClients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one or a client makes room.
    pub(super) fn take(&self, now: Instant) -> Option<ClientPlace> {
        let mut clients = self.clients();
        if clients.all.len() >= MOST_CLIENTS {
            let idle = clients.all.iter().enumerate().filter(|(_, client)| {
                client.calls == 0 && now.saturating_duration_since(client.idle) >= YIELDS
            });
            let (longest, _) = idle.min_by_key(|(_, client)| client.idle)?;
            clients.all.swap_remove(longest).lost.cancel();
        }
        let (id, lost) = (clients.next, CancellationToken::new());
        clients.next += 1;
        clients.all.push(ConnectedClient {
            id,
            calls: 0,
            idle: now,
            lost: lost.clone(),
        });
        let places = self.clone();
        Some(ClientPlace { places, id, lost })
    }
}

impl ClientPlace {
    /// Waits until another client needs the place.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// A call begins.
    pub(super) fn call(self: &Arc<Self>) -> OpenCall {
        self.change(|client| client.calls += 1);
        OpenCall(self.clone())
    }

    /// A place that is lost is not there any more.
    fn change(&self, change: impl FnOnce(&mut ConnectedClient)) {
        let mut clients = self.places.clients();
        if let Some(client) = clients.all.iter_mut().find(|client| client.id == self.id) {
            change(client);
        }
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.places.clients().all.retain(|client| client.id != self.id);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.change(|client| {
            client.calls -= 1;
            client.idle = now;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_has_asked_nothing_for_longest_makes_room_and_one_with_a_call_never_does() {
        let (places, begin) = (ClientPlaces::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let first = Arc::new(places.take(at(0)).expect("a place"));
        let call = first.call();
        let second = places.take(at(1)).expect("a place");
        let others: Vec<_> = (2..MOST_CLIENTS).map(|_| places.take(at(2))).collect();
        assert!(places.take(at(5)).is_none(), "nobody has waited for 5 s");
        let newcomer = places.take(at(6)).expect("the second makes room");
        assert!(second.lost.is_cancelled() && !first.lost.is_cancelled());
        assert!(places.take(at(6)).is_none());
        drop(second);
        assert!(places.take(at(6)).is_none(), "its place was given away");
        drop((newcomer, call, first));
        let free = [places.take(at(6)), places.take(at(6))];
        assert!(free.iter().all(Option::is_some) && places.take(at(6)).is_none());
        drop((others, free));
        assert!(places.clients().all.is_empty());
    }
}
