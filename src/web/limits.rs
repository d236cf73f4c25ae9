//! Limits for web clients, and counters of connections and requests. `gate` applies the limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::model::{ConfigStatus, HandlerRequests, REQUEST_BUCKETS, Refusal, WebCode, WebHandler, WebStatus};

/// Limits for all clients together and for one of them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections, over all listeners.
    pub connections: usize,
    /// Most connections of one peer address. A Prometheus needs one, a browser about six.
    pub per_peer: usize,
    /// Most scrapes that are rendered at the same time.
    pub renders: usize,
    /// Most event streams of the API.
    pub event_streams: usize,
    /// How long a scrape may wait for its turn to be rendered, and then for the fleet.
    pub turn: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request header may take, and how long an idle connection may wait for the next request.
    pub header: Duration,
    /// How long a client may read no byte of its answer.
    pub untaken: Duration,
    /// How often an HTTP/2 client is asked whether it is still there.
    pub ping_every: Duration,
    /// How long it may take to answer that.
    pub pong_within: Duration,
    /// After this time an HTTP/2 connection takes no further request. hyper passes the last piece of an answer on before it is
    /// read, so a client that asks on and reads nothing is noticed only then.
    pub age: Duration,
    /// After this time without a complete request, a connection may be closed to make room for another.
    pub yields: Duration,
}

impl Limits {
    /// Default of `--web.max-connections`: a few scrapers, some browsers, and room. About 30 kB each.
    pub const CONNECTIONS: u16 = 256;
    /// Default of `--web.max-requests`.
    pub const RENDERS: u16 = 4;
    /// Default of `--web.max-event-streams`.
    pub const EVENT_STREAMS: u16 = 16;
    /// Most bytes of a request header; similar to the defaults of nginx and of Go's servers.
    pub(super) const HEADER_SIZE: usize = 16 * 1024;
    /// Requests at a time on one HTTP/2 connection.
    pub(super) const STREAMS: u32 = 32;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS.into(),
            per_peer: 64,
            renders: Self::RENDERS.into(),
            event_streams: Self::EVENT_STREAMS.into(),
            turn: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            untaken: Duration::from_secs(60),
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(10),
            age: Duration::from_secs(600),
            // Much longer than a normal request takes, much shorter than a scraper's interval.
            yields: Duration::from_secs(5),
        }
    }
}

/// How many file descriptors are left for web clients now. One for each SoC and those that the exporter needs itself are
/// reserved.
pub type FilesLeft = watch::Receiver<u64>;

/// The counters behind [`HandlerRequests`].
#[derive(Debug, Default)]
struct HandlerCounters {
    codes: [AtomicU64; WebCode::COUNT],
    durations: [AtomicU64; REQUEST_BUCKETS.len() + 1],
    /// Microseconds.
    sum: AtomicU64,
}

fn load<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|n| counters[n].load(Ordering::Relaxed))
}

impl HandlerCounters {
    fn read(&self) -> HandlerRequests {
        HandlerRequests {
            codes: load(&self.codes),
            durations: load(&self.durations),
            sum: Duration::from_micros(self.sum.load(Ordering::Relaxed)),
        }
    }
}

/// An event stream that is counted as open until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<WebStats>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.event_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters behind [`WebStatus`].
#[derive(Debug, Default)]
pub struct WebStats {
    connections: AtomicU64,
    refused: [AtomicU64; Refusal::COUNT],
    event_streams: AtomicU64,
    requests: [HandlerCounters; WebHandler::COUNT],
    config: Mutex<(Option<ConfigStatus>, Option<SystemTime>)>,
}

impl WebStats {
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered.
    pub(super) fn answered(&self, handler: WebHandler, status: u16, took: Duration) {
        let counters = &self.requests[handler.index()];
        let seconds = took.as_secs_f64();
        let bucket = REQUEST_BUCKETS.iter().position(|bound| seconds <= *bound);
        let bucket = bucket.unwrap_or(REQUEST_BUCKETS.len());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.codes[WebCode::of(status).index()].fetch_add(1, Ordering::Relaxed);
        counters.durations[bucket].fetch_add(1, Ordering::Relaxed);
        counters.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// An event stream begins.
    pub(super) fn streams(self: &Arc<Self>) -> OpenStream {
        self.event_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// How loading web.config.file went, and when our certificate expires.
    pub(super) fn loaded(&self, config: ConfigStatus, certificate: Option<SystemTime>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = (Some(config), certificate);
    }

    /// The counters now.
    pub fn status(&self) -> WebStatus {
        let (config, certificate) = *self.config.lock().unwrap_or_else(PoisonError::into_inner);
        WebStatus {
            connections: self.connections.load(Ordering::Relaxed),
            refused: load(&self.refused),
            event_streams: self.event_streams.load(Ordering::Relaxed),
            requests: std::array::from_fn(|n| self.requests[n].read()),
            config,
            certificate,
        }
    }
}
