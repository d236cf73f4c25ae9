//! The TCP socket of a connection. It records when bytes arrived ([`Arrivals`]).
//!
//! The kernel stamps what it receives (SO_TIMESTAMPNS) and returns, with each read, the time stamp of the last bytes in it.
//! Data that is read together gets the time stamp of its last part: earlier parts seem later than they were, never earlier.
//! Smaller reads would not help: the kernel joins the parts as they arrive and keeps only the last time stamp. After
//! `Arrivals::ask` a read checks the socket itself, because what the runtime knows of it may be as late as this process.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::layer::as_below;
use crate::soc::arrivals::Arrivals;

/// Bytes that one look reads at most. So a peer that sends faster than we read cannot make a look endless.
const LOOK: usize = 64 * 1024;

/// Bytes. Memory that was never written must be cleared before a read, so at most this much per read. A round's replies are
/// under 2 kB; h2 offers room for 8 KiB.
const CLEARED: usize = 2 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    arrivals: Arc<Arrivals>,
    /// Where the kernel writes its time stamp. On the heap, because it must be aligned.
    control: Vec<u8>,
    /// Bytes that the present look has read.
    looked: usize,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> (Self, Arc<Arrivals>) {
        // If this fails, bytes count as arrived when they are read.
        let _ = setsockopt(&tcp, sockopt::ReceiveTimestampns, &true);
        let arrivals = Arc::new(Arrivals::default());
        let socket = Self {
            tcp,
            arrivals: arrivals.clone(),
            control: nix::cmsg_space!(TimeSpec),
            looked: 0,
        };
        (socket, arrivals)
    }

    /// Reads what is there without asking the runtime. `None`: there is nothing.
    fn look(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        match receive(&self.tcp, &self.arrivals, &mut self.control, into) {
            Ok((bytes, _)) => {
                self.looked += bytes;
                if bytes == 0 || self.looked > LOOK {
                    self.end_look();
                }
                Some(Ok(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.end_look();
                None
            }
            Err(error) => {
                self.end_look();
                Some(Err(error))
            }
        }
    }

    fn end_look(&mut self) {
        self.looked = 0;
        self.arrivals.has_looked();
    }
}

/// Where the next read goes.
fn room<'a>(buf: &'a mut ReadBuf<'_>) -> &'a mut [u8] {
    let cleared = buf.initialized().len() - buf.filled().len();
    buf.initialize_unfilled_to(cleared.max(CLEARED).min(buf.remaining()))
}

/// One read. Also returns whether the socket was empty after it.
fn receive(
    tcp: &TcpStream,
    arrivals: &Arrivals,
    control: &mut [u8],
    into: &mut [u8],
) -> io::Result<(usize, bool)> {
    let (began, room) = (Instant::now(), into.len());
    let mut slices = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = match recvmsg::<()>(tcp.as_raw_fd(), &mut slices, Some(control), flags) {
        Ok(message) => message,
        Err(error) => {
            arrivals.emptied(began);
            return Err(error.into());
        }
    };
    let mut controls = message.cmsgs().into_iter().flatten();
    let age = controls.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => age(stamp),
        _ => None,
    });
    arrivals.read(Instant::now(), age.unwrap_or_default());
    let emptied = message.bytes < room;
    if emptied {
        arrivals.emptied(began);
    }
    Ok((message.bytes, emptied))
}

/// How long ago the kernel stamped it.
fn age(stamp: TimeSpec) -> Option<Duration> {
    let stamp = SystemTime::UNIX_EPOCH.checked_add(Duration::from(stamp))?;
    SystemTime::now().duration_since(stamp).ok()
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.arrivals.asked()
            && let Some(read) = this.look(room(buf))
        {
            return Poll::Ready(read.map(|bytes| buf.advance(bytes)));
        }
        loop {
            ready!(this.tcp.poll_read_ready(cx))?;
            let mut bytes = None;
            let Self {
                tcp,
                arrivals,
                control,
                ..
            } = this;
            let read = tcp.try_io(Interest::READABLE, || {
                let (read, emptied) = receive(tcp, arrivals, control, room(buf))?;
                bytes = Some(read);
                // Then the runtime does not try again in vain. tokio's own read does the same.
                match emptied && read > 0 {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            match (read, bytes) {
                (_, Some(bytes)) => {
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                (Err(error), None) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (_, None) => {}
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.arrivals.writes();
        Pin::new(&mut this.tcp).poll_write(cx, buf)
    }

    as_below!(tcp);

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.arrivals.writes();
        Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, Arc<Arrivals>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (ours, peer) = tokio::join!(TcpStream::connect(address), listener.accept());
        let peer = peer.expect("accepted").0.into_std().expect("a socket");
        peer.set_nonblocking(false).expect("blocking");
        let (socket, arrivals) = Socket::new(ours.expect("connected"));
        (socket, arrivals, peer)
    }

    #[tokio::test]
    async fn bytes_that_lay_in_the_socket_came_in_when_they_came_and_not_when_they_are_read() {
        let (mut socket, arrivals, mut peer) = pair().await;
        let mut buf = [0; 64];
        // The kernel starts to stamp a moment after the first socket on the machine has asked for it.
        for _ in 0..200 {
            peer.write_all(b"early").expect("written");
            std::thread::sleep(Duration::from_millis(10));
            let read = socket.read(&mut buf).await.expect("read");
            if arrivals.last().elapsed() > Duration::from_millis(8) && read == 5 {
                break;
            }
        }
        for _ in 0..3 {
            let before = Instant::now();
            peer.write_all(b"early").expect("written");
            let sent = Instant::now();
            // The runtime gets no CPU here.
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(socket.read(&mut buf).await.expect("read"), 5);
            let arrived = arrivals.last();
            // The two clocks are read one after the other.
            let slack = Duration::from_millis(20);
            assert!(
                arrived + slack > before && arrived < sent + slack * 5,
                "{:?}",
                arrived.duration_since(before)
            );
        }
    }

    #[tokio::test]
    async fn a_look_finds_what_the_runtime_does_not_know_of() {
        let (mut socket, arrivals, mut peer) = pair().await;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut poll = |socket: &mut Socket| {
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(socket).poll_read(&mut cx, &mut buf) {
                Poll::Pending => None,
                Poll::Ready(read) => Some(read.map(|()| buf.filled().len()).expect("read")),
            }
        };
        assert_eq!(poll(&mut socket), None);
        peer.write_all(b"early").expect("written");
        // Nothing is awaited, so the runtime's own driver has no turn.
        assert_eq!(poll(&mut socket), None);
        arrivals.ask();
        assert_eq!(poll(&mut socket), Some(5));
        assert!(arrivals.asked());
        assert_eq!(poll(&mut socket), None);
        assert!(!arrivals.asked(), "it is empty");
        drop(peer);
        arrivals.ask();
        assert_eq!(poll(&mut socket), Some(0));
        assert!(!arrivals.asked(), "it is over");
    }
}
