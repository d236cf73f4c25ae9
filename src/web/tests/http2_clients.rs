//! HTTP/2 over TLS, with a real client.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::site::{ANY, Client, LONG, Site, login, tls, until, users};
use crate::model::Refusal;
use crate::web::Limits;
use crate::web::web_config::tests::HASHES;

/// An HTTP/2 connection.
async fn http2(
    site: &Site,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    tokio::task::JoinHandle<Result<(), h2::Error>>,
) {
    let stream = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    (send, tokio::spawn(connection))
}

fn get_request(headers: &[(&str, &str)]) -> axum::http::Request<()> {
    let mut request = axum::http::Request::get("https://localhost/metrics");
    for (header, value) in headers {
        request = request.header(*header, *value);
    }
    request.body(()).expect("a request")
}

async fn status(
    send: &mut h2::client::SendRequest<bytes::Bytes>,
    headers: &[(&str, &str)],
) -> Result<u16, h2::Error> {
    let mut ready = send.clone().ready().await?;
    let (response, _) = ready.send_request(get_request(headers), true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(status)
}

#[tokio::test]
async fn http_2_has_its_limits() {
    let site = Site::start(&format!("{}{}", tls(""), users(&HASHES[..1]))).await;
    let (mut send, connection) = http2(&site).await;
    let right = login("alice", "alice123");
    assert_eq!(status(&mut send, &[]).await.ok(), Some(401));
    for _ in 0..100 {
        assert_eq!(
            status(&mut send, &[("authorization", &right)]).await.ok(),
            Some(200)
        );
    }
    assert_eq!(send.current_max_send_streams(), 32);
    let huge = "x".repeat(20_000);
    let refused = status(&mut send, &[("authorization", &right), ("x-huge", &huge)]).await;
    assert!(!matches!(refused, Ok(200)), "{refused:?}");
    // A request with a body.
    let mut ready = http2(&site).await.0.ready().await.expect("ready");
    let request = axum::http::Request::post("https://localhost/-/healthy")
        .body(())
        .expect("a request");
    let (response, mut body) = ready.send_request(request, false).expect("sent");
    let _ = body.send_data("x".into(), true);
    assert_eq!(response.await.expect("an answer").status(), 413);
    site.stop.cancel();
    timeout(LONG, connection)
        .await
        .expect("the stop ends it")
        .expect("no panic")
        .ok();
}

#[tokio::test]
async fn idle_and_unread_http_2_connections_end() {
    let (header, untaken) = (Duration::from_secs(1), Duration::from_secs(2));
    let site = Site::with(
        &tls(""),
        Limits {
            header,
            untaken,
            ..Limits::default()
        },
    )
    .await;
    // It never asks.
    let (_send, connection) = http2(&site).await;
    timeout(LONG, connection)
        .await
        .expect("it is ended")
        .expect("no panic")
        .ok();
    // It says nothing at all after the handshake.
    let mut silent = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let mut rest = Vec::new();
    let read = timeout(LONG, silent.read_to_end(&mut rest)).await;
    read.expect("it is ended").ok();
    // It does not open its window for the answer, and asks on.
    let stream = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16);
    let (mut send, connection) = builder
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let began = Instant::now();
    let (response, _) = send.send_request(get_request(&[]), true).expect("sent");
    let _unread = response.await.expect("a head").into_body();
    timeout(LONG, connection)
        .await
        .expect("it is ended")
        .expect("no panic")
        .ok();
    assert!(began.elapsed() >= untaken, "{:?}", began.elapsed());
    let refused = async || site.stats.status().refused[Refusal::Timeout.index()] == 3;
    until("all are counted", refused).await;
}

#[tokio::test]
async fn an_http_2_connection_has_an_age_at_which_it_takes_no_more() {
    let age = Duration::from_secs(1);
    let limits = Limits {
        age,
        ..Limits::default()
    };
    let site = Site::with(&tls(""), limits).await;
    let (mut send, connection) = http2(&site).await;
    let began = Instant::now();
    while status(&mut send, &[]).await.is_ok() {
        assert!(began.elapsed() < LONG, "it goes on");
    }
    assert!(began.elapsed() >= age, "{:?}", began.elapsed());
    let ended = timeout(LONG, connection).await.expect("it ends");
    ended.expect("no panic").ok();
    assert_eq!(site.stats.status().refused, [0; Refusal::COUNT]);
}

/// Frames of a type that arrive until the connection ends.
async fn frames(mut stream: impl tokio::io::AsyncRead + Unpin, kind: u8) -> usize {
    let mut count = 0;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        count += usize::from(head[3] == kind);
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
    }
    count
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone_and_one_that_does_stays() {
    let (ping_every, pong_within) = (Duration::from_millis(200), Duration::from_secs(2));
    let limits = Limits {
        ping_every,
        pong_within,
        ..Limits::default()
    };
    let site = Site::with(&tls(""), limits).await;
    let (mut send, connection) = http2(&site).await;
    let began = Instant::now();
    let mut stream = site.tls(Client { alpn: &["h2"], ..ANY }).await.expect("TLS");
    // The preface and SETTINGS without values.
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .expect("sent");
    const PING: u8 = 6;
    let pings = timeout(LONG, frames(stream, PING)).await.expect("it is ended");
    assert!(
        pings >= 1 && began.elapsed() >= ping_every + pong_within,
        "{pings}"
    );
    let refused = async || site.stats.status().refused[Refusal::Timeout.index()] == 1;
    until("it is counted", refused).await;
    // The other one has answered some ten by now.
    assert!(!connection.is_finished());
    assert_eq!(status(&mut send, &[]).await.ok(), Some(200));
}
