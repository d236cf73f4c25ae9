//! Clients that do not finish a handshake, or send garbage.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::{ANY, Client, LONG, Site, tls, until};
use crate::model::Refusal;
use crate::web::Limits;

#[tokio::test]
async fn half_handshakes_and_garbage_end_and_keep_nobody_away() {
    let handshake = Duration::from_secs(2);
    let site = Site::with(
        &tls(""),
        Limits {
            handshake,
            ..Limits::default()
        },
    )
    .await;
    let began = Instant::now();
    let mut half = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(site.address).await.expect("a listener");
        // The beginning of a ClientHello; half of them say nothing at all.
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.expect("sent");
        }
        half.push(stream);
    }
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 1000],
        &[22, 3, 1, 0xff, 0xff],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(site.address).await.expect("a listener");
        stream.write_all(garbage).await.expect("sent");
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("an end");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    // Garbage inside TLS, for both versions of HTTP.
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let mut stream = site.tls(Client { alpn, ..ANY }).await.expect("TLS");
        stream.write_all(&[0xfe; 5000]).await.expect("sent");
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("an end");
    }
    assert!(site.lets_in(ANY).await);
    for mut stream in half {
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("it is closed");
    }
    assert!(began.elapsed() >= handshake, "{:?}", began.elapsed());
    let refused = async || site.stats.status().refused[Refusal::Handshake.index()] == 40;
    until("all are counted", refused).await;
    assert!(site.lets_in(ANY).await);
}
