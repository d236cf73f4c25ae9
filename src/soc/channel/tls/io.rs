//! The stream of a connection: TCP alone, or TLS over it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::soc::channel::layer::as_below;
use crate::soc::channel::socket::Socket;

/// What HTTP/2 is spoken over.
#[derive(Debug)]
pub(in crate::soc::channel) enum SocStream {
    /// Plain TCP.
    Plain(LastWords<Socket>),
    /// TLS. Boxed: it is several hundred bytes, which plain channels need not have.
    Tls(Box<TlsStream<LastWords<Socket>>>),
}

impl SocStream {
    /// TCP alone.
    pub(in crate::soc::channel) fn plain(tcp: Socket) -> Self {
        Self::Plain(LastWords::new(tcp))
    }
}

/// Passes a call to the stream in use.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            SocStream::Plain(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            SocStream::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for SocStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for SocStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }
}

/// Lies under TLS and HTTP/2. After a failed write it still reads what the peer sent last.
///
/// A web server that does not know HTTP/2 answers, or a SoC sends GOAWAY, and both close the connection without reading our
/// bytes: TCP reports that as a reset. A SoC that refuses our certificate under TLS 1.3 sends its alert only after the
/// handshake and closes without reading our preface: that is a reset too, and our next write fails before the alert has been
/// read. So a write to such a peer is not an error here. The next reads return what had arrived before, and then that error.
#[derive(Debug)]
pub(in crate::soc::channel) struct LastWords<IO> {
    io: IO,
    gone: Option<ErrorKind>,
}

impl<IO> LastWords<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, gone: None }
    }

    /// `all`: what a write of everything would have returned.
    fn or_gone(&mut self, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            // With these errors TCP is closed in both directions, so a read cannot wait without end.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.gone = Some(error.kind());
                Ok(all)
            }
            written => written,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for LastWords<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        match this.gone {
            // The write took the error from the socket, which now reports only the end.
            Some(kind) if buf.filled().len() == before => Poll::Ready(Err(kind.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for LastWords<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf));
        Poll::Ready(this.or_gone(written, buf.len()))
    }

    as_below!(io);

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs));
        let all = bufs.iter().map(|buf| buf.len()).sum();
        Poll::Ready(this.or_gone(written, all))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A socket whose peer is gone: each write fails, and the reads return what had arrived before and then the end.
    struct Gone {
        writes: ErrorKind,
        arrived: VecDeque<u8>,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(byte) = self.get_mut().arrived.pop_front() {
                buf.put_slice(&[byte]);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.writes.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gone(writes: ErrorKind) -> LastWords<Gone> {
        let arrived = VecDeque::from(*b"alert");
        LastWords::new(Gone { writes, arrived })
    }

    #[tokio::test]
    async fn what_a_peer_that_is_gone_said_last_is_read_before_the_error() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset] {
            let mut io = gone(kind);
            io.write_all(b"preface").await.expect("no error yet");
            let mut words = [0; 5];
            io.read_exact(&mut words).await.expect("the last words");
            assert_eq!(&words, b"alert");
            let end = io.read(&mut words).await.expect_err("the end is no clean one");
            assert_eq!(end.kind(), kind);
        }
    }

    #[tokio::test]
    async fn any_other_error_of_a_write_is_one_at_once() {
        let mut io = gone(ErrorKind::OutOfMemory);
        let error = io.write_all(b"preface").await.expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }

    #[tokio::test]
    async fn an_end_without_a_failed_write_is_a_clean_one() {
        let mut io = gone(ErrorKind::BrokenPipe);
        let mut words = Vec::new();
        io.read_to_end(&mut words).await.expect("the end");
        assert_eq!(words, b"alert");
    }
}
