//! A connection of which only so much is read.
//!
//! HTTP lets a server send much that answers nothing: interim answers (`100 Continue`) without end, chunks of one byte, trailers. The
//! libraries read it as fast as it comes, so a limit on the body alone bounds neither the time that this costs nor, where the
//! task that reads shares its thread with others, how long those wait. Here every byte counts, below TLS.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one read returns, bytes. tokio lets a task read 128 times before others have their turn, and reading HTTP takes a
/// millisecond for each half megabyte.
const PIECE: usize = 4096;

/// How many bytes may still come.
#[derive(Debug, Clone)]
pub struct Ration {
    left: Arc<AtomicUsize>,
    whole: usize,
}

impl Ration {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
            whole: bytes,
        }
    }

    /// All of it again: for the next answer over the same connection.
    pub fn renew(&self) {
        self.left.store(self.whole, Ordering::Relaxed);
    }

    /// Applies to what `socket` receives.
    pub fn of<S>(&self, socket: S) -> Rationed<S> {
        Rationed {
            socket,
            ration: self.clone(),
        }
    }
}

/// The server sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RationUsed {
    /// So many bytes were allowed.
    pub whole: usize,
}

impl fmt::Display for RationUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server sends too much: more than {} KiB for one answer",
            self.whole >> 10
        )
    }
}

impl Error for RationUsed {}

/// A socket with a ration. When it is used up, reading fails with `RationUsed`.
#[derive(Debug)]
pub struct Rationed<S> {
    socket: S,
    ration: Ration,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.ration.left.load(Ordering::Relaxed);
        if left == 0 {
            let whole = self.ration.whole;
            return Poll::Ready(Err(io::Error::other(RationUsed { whole })));
        }
        let most = buf.remaining().min(PIECE).min(left);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        buf.advance(read);
        // Another task may renew it meanwhile: then it is a little less than the whole.
        let left = |left: usize| Some(left.saturating_sub(read));
        let _ = self
            .ration
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_over_the_ration_is_an_error_and_it_can_be_renewed() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        server.write_all(&[7; 3 * PIECE]).await.expect("there is room");
        let ration = Ration::new(2 * PIECE);
        let mut client = ration.of(client);
        let mut all = vec![0; 8 * PIECE];
        // However much is asked for, a piece comes.
        assert_eq!(client.read(&mut all).await.ok(), Some(PIECE));
        assert_eq!(client.read(&mut all).await.ok(), Some(PIECE));
        let error = client.read(&mut all).await.expect_err("it is used up");
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(reason, Some(&RationUsed { whole: 2 * PIECE }));
        ration.renew();
        assert_eq!(client.read(&mut all).await.ok(), Some(PIECE));
        assert_eq!(&all[..PIECE], &[7; PIECE]);
        drop(server);
        assert_eq!(client.read(&mut all).await.ok(), Some(0), "an end is no error");
    }

    #[tokio::test]
    async fn writing_is_not_rationed() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let mut client = Ration::new(1).of(client);
        client.write_all(b"a request").await.expect("there is room");
        client.shutdown().await.expect("it can end");
        let mut got = String::new();
        server.read_to_string(&mut got).await.expect("it came");
        assert_eq!(got, "a request");
    }
}
