//! A server that answers nothing of what it is asked, and never stops sending: each piece is valid HTTP.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is sent without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endless {
    /// Interim answers.
    Interim,
    /// The same over HTTP/2, on the first stream of a client.
    Interim2,
}

/// Serves on a free port, as long as the test runs.
pub async fn serve(endless: Endless) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 65536];
                // Of HTTP/2, a stream must be open before it is answered: there are HEADERS.
                let awaited: &[u8] = match endless {
                    Endless::Interim2 => b"\x01\x04\0\0\0\x01",
                    Endless::Interim => b"HTTP/1.1",
                };
                if endless == Endless::Interim2 {
                    // Our SETTINGS, and that we have got the client's.
                    let _ = socket
                        .write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")
                        .await;
                }
                while !request.windows(awaited.len()).any(|part| part == awaited) {
                    if !matches!(socket.read(&mut request).await, Ok(1..)) {
                        return;
                    }
                }
                pour(socket, endless).await;
            });
        }
    });
    address
}

/// Answers a request that has been read, until the client goes away.
pub async fn pour(mut socket: TcpStream, endless: Endless) {
    let piece = match endless {
        Endless::Interim => b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2000),
        // HEADERS with `:status: 103`.
        Endless::Interim2 => b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03103".repeat(3000),
    };
    while socket.write_all(&piece).await.is_ok() {}
}
