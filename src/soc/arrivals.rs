//! When things happened on one connection, as far as the kernel knows. This distinguishes a late SoC from a late exporter.
//!
//! On a machine that is short of CPU, an answer may wait in the socket for a second before it is read. So the socket records
//! when its bytes arrived, and the sniffer records which stream ended with them. At its deadline a round asks for a last look
//! into the socket, and then for the moment at which each of its queries ended. There is one `Arrivals` per connection, shared
//! by socket, sniffer, connection and transport.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use std::task::Waker;
use tokio::sync::Notify;

/// Ends of streams that are remembered: those of about three rounds. If a peer ends more streams, the time of reading counts.
const REMEMBERED: usize = 16;

/// Shared by all parts of one connection.
#[derive(Debug)]
pub struct Arrivals {
    /// The moments below are nanoseconds since this one.
    origin: Instant,
    /// When the bytes of the last read arrived.
    read: AtomicU64,
    /// When the socket was last seen empty.
    empty: AtomicU64,
    /// When something was first written since `begin`, or a write was tried. 0: not yet.
    sent: AtomicU64,
    ended: Mutex<Ended>,
    looking: AtomicBool,
    /// The task that drives the connection.
    driver: AtomicWaker,
    looked: Notify,
}

/// The last ends of streams: which stream, and when.
#[derive(Debug, Default)]
struct Ended {
    last: [(u32, u64); REMEMBERED],
    next: usize,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            // So that no moment is 0, which means "not yet".
            origin: Instant::now() - Duration::from_nanos(1),
            read: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            ended: Mutex::default(),
            looking: AtomicBool::new(false),
            driver: AtomicWaker::new(),
            looked: Notify::new(),
        }
    }
}

impl Arrivals {
    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn moment(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    /// Bytes were read at `now`. By the wall clock they arrived `age` ago. The wall clock may have been set since then, so the
    /// result is never earlier than the last moment at which the socket was empty.
    pub fn read(&self, now: Instant, age: Duration) {
        let now = self.nanos(now);
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let arrived = now.saturating_sub(age).max(self.empty.load(Ordering::Relaxed));
        self.read.store(arrived.min(now), Ordering::Relaxed);
    }

    /// The socket was empty at `now`.
    pub fn emptied(&self, now: Instant) {
        self.empty.store(self.nanos(now), Ordering::Relaxed);
    }

    /// When the bytes of the last read arrived.
    pub fn last(&self) -> Instant {
        self.moment(self.read.load(Ordering::Relaxed))
    }

    /// The bytes of the last read contained the end of this stream.
    pub fn ended(&self, stream: u32) {
        let at = self.read.load(Ordering::Relaxed);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ended.next;
        ended.last[next] = (stream, at);
        ended.next = (next + 1) % REMEMBERED;
    }

    /// When the end of this stream arrived.
    pub fn end_of(&self, stream: u32) -> Option<Instant> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, at) = ended.last.iter().find(|(of, at)| *of == stream && *at > 0)?;
        Some(self.moment(*at))
    }

    /// A round begins: what is written from now on is its requests.
    pub fn begin(&self) {
        self.sent.store(0, Ordering::Release);
    }

    /// Something is about to be written.
    pub fn writes(&self) {
        if self.sent.load(Ordering::Acquire) == 0 {
            self.sent.store(self.nanos(Instant::now()), Ordering::Release);
        }
    }

    /// When the round's requests were sent, or would have been if the peer had accepted them. `None`: the connection was not
    /// driven since then.
    pub fn sent(&self) -> Option<Instant> {
        let sent = self.sent.load(Ordering::Acquire);
        (sent > 0).then(|| self.moment(sent))
    }

    /// How to wake the task that drives the connection.
    pub fn driven_by(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    /// The next read checks the socket itself, whatever the runtime knows of it.
    pub fn ask(&self) {
        self.looking.store(true, Ordering::Release);
    }

    /// Whether a look was asked for and has not happened yet.
    pub fn asked(&self) -> bool {
        self.looking.load(Ordering::Acquire)
    }

    /// Everything that was in the socket has been read.
    pub fn has_looked(&self) {
        if self.looking.swap(false, Ordering::AcqRel) {
            self.looked.notify_waiters();
        }
    }

    /// Waits until everything that is in the socket now has been read. That is at once, unless the connection's task gets no
    /// CPU or the connection is gone: so the caller needs a time limit. Cancel-safe.
    pub async fn look(&self) {
        let looked = self.looked.notified();
        self.ask();
        self.driver.wake();
        looked.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bytes_came_in_after_the_socket_was_seen_empty_and_before_they_were_read() {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        let check = |age: Duration, expected: Instant| {
            arrivals.read(start + 100 * MS, age);
            assert_eq!(arrivals.last(), expected, "{age:?}");
        };
        check(30 * MS, start + 70 * MS);
        check(Duration::ZERO, start + 100 * MS);
        arrivals.emptied(start + 40 * MS);
        check(60 * MS, start + 40 * MS);
        // The wall clock was set in between.
        check(3_600_000 * MS, start + 40 * MS);
        arrivals.emptied(start + 200 * MS);
        check(Duration::ZERO, start + 100 * MS);
    }

    #[test]
    fn the_end_of_a_stream_came_in_with_the_bytes_that_were_read_last() {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        for n in 0..20 {
            arrivals.read(start + n * MS, Duration::ZERO);
            arrivals.ended(n * 2 + 1);
        }
        assert_eq!(arrivals.end_of(39), Some(start + 19 * MS));
        assert_eq!(arrivals.end_of(9), Some(start + 4 * MS));
        // Forgotten, never there, and the value of the empty places.
        for stream in [1, 41, 0] {
            assert_eq!(arrivals.end_of(stream), None, "{stream}");
        }
    }

    #[tokio::test]
    async fn a_look_waits_until_the_socket_has_been_read() {
        let arrivals = Arrivals::default();
        let socket = async {
            while !arrivals.asked() {
                tokio::task::yield_now().await;
            }
            arrivals.has_looked();
        };
        tokio::join!(arrivals.look(), socket);
        assert!(!arrivals.asked());
    }
}
