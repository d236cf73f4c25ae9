//! A client's socket that fails when the client reads nothing for too long, and the state of a connection that its end depends
//! on.
//!
//! When the kernel's send buffer is full, a write must wait and a timer starts. Each byte that the kernel accepts resets it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::gate::Admission;

/// The state of a connection, shared by its socket, its requests and the task that serves it.
#[derive(Debug)]
pub(super) struct Standing {
    /// The client must still send a request: it has not sent any, or has sent only a part.
    owes: AtomicBool,
    /// The client did not read its answer in time.
    untaken: AtomicBool,
    /// The last request has a body, which is not read.
    leaves_unread: AtomicBool,
    /// The whole answer has been passed to hyper, but not yet to the kernel.
    answered: AtomicBool,
    exchanges: Mutex<Exchanges>,
    place: Admission,
}

/// The requests that are being answered: HTTP/2 has several at a time.
#[derive(Debug)]
struct Exchanges {
    /// When each last went on.
    open: BTreeMap<u64, Instant>,
    /// How many there have been.
    asked: u64,
    /// Since when there has been none.
    idle: Instant,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    standing: Arc<Standing>,
    id: u64,
}

impl Exchange {
    /// A piece of the answer is fetched.
    pub(super) fn goes_on(&self) {
        let mut exchanges = self.standing.exchanges();
        exchanges.open.insert(self.id, Instant::now());
    }
}

impl Drop for Exchange {
    /// The last piece of the answer has been fetched, or the answer was abandoned.
    fn drop(&mut self) {
        let mut exchanges = self.standing.exchanges();
        exchanges.open.remove(&self.id);
        exchanges.idle = Instant::now();
        drop(exchanges);
        self.standing.answered.store(true, Ordering::Relaxed);
    }
}

impl Standing {
    /// The state of a new connection.
    pub(super) fn new(place: Admission) -> Arc<Self> {
        Arc::new(Self {
            owes: AtomicBool::new(true),
            untaken: AtomicBool::new(false),
            leaves_unread: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            exchanges: Mutex::new(Exchanges {
                open: BTreeMap::new(),
                asked: 0,
                idle: Instant::now(),
            }),
            place,
        })
    }

    pub(super) fn place(&self) -> &Admission {
        &self.place
    }

    /// A complete request header has been received.
    pub(super) fn asked(self: &Arc<Self>, has_body: bool) -> Exchange {
        self.owes.store(false, Ordering::Relaxed);
        self.leaves_unread.store(has_body, Ordering::Relaxed);
        self.place.asked();
        let mut exchanges = self.exchanges();
        exchanges.asked += 1;
        let id = exchanges.asked;
        exchanges.open.insert(id, Instant::now());
        Exchange {
            standing: self.clone(),
            id,
        }
    }

    /// Everything has been passed to the kernel. After an answer, the connection now waits for the next request.
    fn flushed(&self) {
        if self.exchanges().open.is_empty() && self.answered.swap(false, Ordering::Relaxed) {
            self.place.waits(std::time::Instant::now());
        }
    }

    /// Whether it has waited for a request for so long. Also marks it as waiting, if it does.
    pub(super) fn is_idle(&self, now: Instant, patience: Duration) -> bool {
        self.flushed();
        let exchanges = self.exchanges();
        exchanges.open.is_empty() && now.saturating_duration_since(exchanges.idle) >= patience
    }

    /// Whether the client has not read one of its answers for so long.
    pub(super) fn is_stalled(&self, now: Instant, patience: Duration) -> bool {
        let exchanges = self.exchanges();
        let mut last = exchanges.open.values();
        last.any(|last| now.saturating_duration_since(*last) >= patience)
    }

    /// Whether no request has been complete.
    pub(super) fn has_never_asked(&self) -> bool {
        self.exchanges().asked == 0
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    pub(super) fn leaves_unread(&self) -> bool {
        self.leaves_unread.load(Ordering::Relaxed)
    }

    pub(super) fn untaken(&self) -> bool {
        self.untaken.load(Ordering::Relaxed)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ClientSocket<S> {
    inner: S,
    standing: Arc<Standing>,
    patience: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> ClientSocket<S> {
    /// `patience`: how long a write waits until the kernel accepts a byte.
    pub(super) fn new(inner: S, standing: Arc<Standing>, patience: Duration) -> Self {
        Self {
            inner,
            standing,
            patience,
            timer: None,
        }
    }

    /// The outcome of a write that the kernel did not accept: pending, or an error when `patience` is over.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let patience = self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        ready!(timer.as_mut().poll(cx));
        self.standing.untaken.store(true, Ordering::Relaxed);
        let text = format!("the client read nothing for {patience:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.standing.owes.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, data) {
            Poll::Pending => self.wait(cx),
            taken => {
                self.timer = None;
                taken
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(cx, data) {
            Poll::Pending => self.wait(cx),
            taken => {
                self.timer = None;
                taken
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only after it has written everything.
        self.standing.flushed();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::gate::Gate;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::sleep;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn standing() -> Arc<Standing> {
        let (_, files) = tokio::sync::watch::channel(9);
        let gate = Gate::new(Default::default(), files, Arc::default());
        let place = gate.admit([127, 0, 0, 1].into(), std::time::Instant::now());
        Standing::new(place.expect("a place"))
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_a_minute_is_given_up() {
        let (near, _far) = duplex(4);
        let standing = standing();
        let mut socket = ClientSocket::new(near, standing.clone(), PATIENCE);
        let began = Instant::now();
        let error = socket.write_all(b"12345").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(standing.untaken());
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_that_is_taken_gives_another_minute() {
        let (near, mut far) = duplex(4);
        let standing = standing();
        let mut socket = ClientSocket::new(near, standing.clone(), PATIENCE);
        let reader = async {
            let mut byte = [0; 1];
            for _ in 0..16 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                far.read_exact(&mut byte).await.expect("a byte");
            }
        };
        let (sent, ()) = tokio::join!(socket.write_all(&[7; 20]), reader);
        sent.expect("taken byte by byte");
        assert!(!standing.untaken());
    }

    #[tokio::test]
    async fn it_is_known_whether_a_request_is_owed() {
        let (near, mut far) = duplex(64);
        let standing = standing();
        let mut socket = ClientSocket::new(near, standing.clone(), PATIENCE);
        assert!(standing.owes(), "it has never sent one");
        drop(standing.asked(false));
        assert!(!standing.owes());
        far.write_all(b"G").await.expect("sent");
        let mut byte = [0; 1];
        socket.read_exact(&mut byte).await.expect("read");
        assert!(standing.owes(), "it has begun one");
    }
}
