//! One accepted connection, from accept to its end: chooses what it does, freezes it, ends it.
//!
//! The behaviour (HTTP/2, or one of the faults) is a future that this task polls. A hang means that it is not polled, and a
//! later fault means that it is dropped. So each behaviour is written as if it never ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::fault::ConnectionFault;
use super::h2server;
use super::server_wire::{ACK, PING, PREFACE, SETTINGS, Socket, Walker, frame};
use super::simulated_soc::{Control, Inner};

const HTTP1_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nBad Request\n";
/// Bytes of garbage: more than the head of any protocol.
const GARBAGE_BYTES: usize = 512;
/// The time between two PINGs: shorter than a client's dial timeout.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long it reads from a client after our FIN. Unread bytes would turn the FIN into a reset.
const LINGER: Duration = Duration::from_secs(1);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// Serves one connection to its end.
pub(super) async fn run(tcp: TcpStream, soc: Arc<Inner>, control: watch::Receiver<Control>) {
    let open = soc.connected();
    // An answer must not wait for more data.
    let _ = tcp.set_nodelay(true);
    let socket = Arc::new(Socket::new(tcp, soc.clone()));
    let ending = supervise(&socket, &soc, control).await;
    // The behaviour was dropped, and with it every other owner of the socket.
    let tcp = Arc::into_inner(socket).map(|socket| socket.tcp);
    match (tcp, ending) {
        (Some(tcp), Ending::Reset) => {
            let _ = tcp.set_zero_linger();
        }
        (Some(mut tcp), Ending::Close) => {
            let _ = tcp.shutdown().await;
            drop(open);
            let mut rest = [0; 512];
            let listen = async { while matches!(tcp.read(&mut rest).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(LINGER, listen).await;
        }
        (None, _) => {}
    }
}

/// Polls the behaviour, except while the SoC hangs, until it ends or a change of the fault ends it.
async fn supervise(socket: &Arc<Socket>, soc: &Arc<Inner>, mut control: watch::Receiver<Control>) -> Ending {
    let start = control.borrow_and_update().clone();
    let mut frozen = start.fault == ConnectionFault::Hang;
    let begun = match start.fault {
        ConnectionFault::Hang => ConnectionFault::None,
        fault => fault,
    };
    // Boxed: it is small while a connection only waits, and the runtime does not move a large future.
    let mut behaviour = Box::pin(behave(
        socket.clone(),
        soc.clone(),
        begun.clone(),
        control.clone(),
        start.goaways,
    ));
    loop {
        tokio::select! {
            // A hang must win against bytes that have arrived.
            biased;
            changed = control.changed() => {
                if changed.is_err() {
                    return Ending::Close;
                }
                let now = control.borrow_and_update();
                if now.resets != start.resets {
                    return Ending::Reset;
                }
                if now.closes != start.closes {
                    return Ending::Close;
                }
                match &now.fault {
                    ConnectionFault::Hang => frozen = true,
                    fault if *fault == begun => frozen = false,
                    ConnectionFault::Reset | ConnectionFault::ResetAfterSettings => return Ending::Reset,
                    _ => return Ending::Close,
                }
            }
            ending = &mut behaviour, if !frozen => return ending,
        }
    }
}

/// What a connection does that was accepted under this fault.
async fn behave(
    socket: Arc<Socket>,
    soc: Arc<Inner>,
    fault: ConnectionFault,
    control: watch::Receiver<Control>,
    goaways: u64,
) -> Ending {
    let tcp = &socket.tcp;
    // An error means that the client closed the connection.
    let _: io::Result<()> = match fault {
        ConnectionFault::None | ConnectionFault::Hang | ConnectionFault::Goaway(_) => {
            h2server::serve(socket, soc, control, goaways, None).await;
            return Ending::Close;
        }
        ConnectionFault::Flood(frame) => {
            h2server::serve(socket, soc, control, goaways, Some(frame)).await;
            return Ending::Close;
        }
        ConnectionFault::Reset => return Ending::Reset,
        ConnectionFault::ResetAfterSettings => {
            if settings_acknowledged(tcp).await.is_ok() {
                return Ending::Reset;
            }
            Ok(())
        }
        ConnectionFault::Close | ConnectionFault::Refuse => Ok(()),
        ConnectionFault::Mute => ignore(tcp).await,
        ConnectionFault::PingsOnly => tokio::select! {
            end = pings(tcp) => end,
            end = ignore(tcp) => end,
        },
        ConnectionFault::Http1 => http1(tcp).await,
        ConnectionFault::Http1KeepOpen => match http1(tcp).await {
            Ok(()) => ignore(tcp).await,
            error => error,
        },
        ConnectionFault::Echo => echo(tcp).await,
        ConnectionFault::Garbage => match garbage(tcp).await {
            Ok(()) => ignore(tcp).await,
            error => error,
        },
    };
    Ending::Close
}

/// Reads and discards until the client closes.
async fn ignore(tcp: &TcpStream) -> io::Result<()> {
    let mut bytes = [0; 512];
    while read(tcp, &mut bytes).await? > 0 {}
    Ok(())
}

async fn pings(tcp: &TcpStream) -> io::Result<()> {
    let mut every = tokio::time::interval(PING_INTERVAL);
    loop {
        every.tick().await;
        write(tcp, &frame(PING, 0, b"simulate")).await?;
    }
}

async fn http1(tcp: &TcpStream) -> io::Result<()> {
    if read(tcp, &mut [0; 512]).await? > 0 {
        write(tcp, HTTP1_ANSWER).await?;
    }
    Ok(())
}

async fn echo(tcp: &TcpStream) -> io::Result<()> {
    let mut bytes = [0; 512];
    loop {
        let n = read(tcp, &mut bytes).await?;
        if n == 0 {
            return Ok(());
        }
        write(tcp, &bytes[..n]).await?;
    }
}

async fn garbage(tcp: &TcpStream) -> io::Result<()> {
    let mut bytes = [0; GARBAGE_BYTES];
    fastrand::fill(&mut bytes);
    // So that the first bytes are not by chance the length of a short frame.
    bytes[0] = 0xff;
    write(tcp, &bytes).await
}

/// Sends SETTINGS and waits for the client to acknowledge them.
async fn settings_acknowledged(tcp: &TcpStream) -> io::Result<()> {
    write(tcp, &frame(SETTINGS, 0, &[])).await?;
    let (mut walker, mut acknowledged) = (Walker::after(PREFACE), false);
    let mut bytes = [0; 512];
    while !acknowledged {
        let n = read(tcp, &mut bytes).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        walker.advance(&bytes[..n], |head| {
            acknowledged |= head.kind == SETTINGS && head.flags & ACK != 0;
        });
    }
    Ok(())
}

/// Reads through a shared reference. 0 is the end.
async fn read(tcp: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        tcp.readable().await?;
        match tcp.try_read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(tcp: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
