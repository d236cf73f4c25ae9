//! Thousands of requests that are no sane HTTP, over both versions: valid ones that a seeded mutator has changed, sent by clients that
//! reset, close half, wait or do not read. Probing goes on, no answer is a defect, and nothing is left behind.
//!
//! `BAD_REQUESTS=100000 BAD_SEED=7 cargo test --test it bad_requests` sends more of them. A failure prints its seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bad_frames::{self, Heard};
use crate::certificates::{self, Ca, VALID};
use crate::child::Program;
use crate::harness::{LONG, Rack, Setup, wait_until};
use crate::http::Scrape;
use crate::web_limits::{CALM, CONNECTIONS, connect, start};

/// Clients at a time.
const AT_A_TIME: usize = 24;
/// Bad HTTP/1 requests, and as many sequences of HTTP/2 frames.
const EACH: usize = 5_000;
/// Bad sequences in one HTTP/2 connection, if the exporter does not close it before: handshakes cost most of the time.
const PER_CONNECTION: usize = 10;
/// How long an answer is waited for that may never come.
const PATIENCE: Duration = Duration::from_millis(200);
/// A query is late only after this: the machine may be busy.
const PROBE: &str = "interval: 3s, timeout: 2900ms";
const SOCS: usize = 24;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn each() -> usize {
    number("BAD_REQUESTS").map_or(EACH, |count| usize::try_from(count / 2).expect("a number"))
}

/// Printed where a test fails.
#[expect(clippy::print_stderr, reason = "a failure is repeated with it")]
fn seed() -> u64 {
    let seed = number("BAD_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("BAD_SEED={seed}");
    seed
}

const ADDRESS: &str = "Host: localhost\r\n";

/// Requests before they are changed.
fn sane(random: &mut Rng) -> Vec<u8> {
    let paths = [
        "/",
        "/metrics",
        "/ports/Ethernet0",
        "/static/none.js",
        "/-/healthy",
        "/-/reload",
        "/api/v1/fleet",
        "/api/v1/ports?level=ok,critical&state=ready&q=Ethernet&sort=port&limit=10&offset=1",
        "/api/v1/ports/Ethernet0",
        "/api/v1/ports/Ethernet0%2F1",
        "/api/v1/events",
        "/api/v1/openapi.json",
    ];
    let methods = [
        "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "TRACE",
    ];
    let headers = [
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1,*/*\r\n",
        "Accept-Encoding: gzip;q=1.0, identity; q=0.5, *;q=0\r\n",
        "Authorization: Basic YWxpY2U6YWxpY2UxMjM=\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Last-Event-ID: 1f-7\r\n",
        "Origin: http://elsewhere\r\nSec-Fetch-Site: cross-site\r\n",
        "Range: bytes=0-0,-1\r\n",
        "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
        "Cookie: a=b; c=\"d\"\r\n",
    ];
    let mut text = format!(
        "{} {} HTTP/1.1\r\n{ADDRESS}",
        pick(random, &methods),
        pick(random, &paths)
    );
    for _ in 0..random.usize(..4) {
        text += pick(random, &headers);
    }
    text += "\r\n";
    text += pick(random, &["", "", "hello", "5\r\nhello\r\n0\r\n\r\n"]);
    text.into_bytes()
}

fn pick<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

/// What parsers stumble over.
const ODD: [&[u8]; 24] = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"%",
    b"%00",
    b"%2e%2e%2f",
    b"%ff%fe",
    b"%zz",
    b"../",
    b"//",
    b"?",
    b"#",
    b";q=1e999",
    b"99999999999999999999",
    b"-1",
    b"\xff\xfe",
    b"\xf0\x9f\x94\xa5",
    b"HTTP/1.1",
    b"GET / HTTP/1.1\r\n",
];

/// Changes a request a few times.
fn mutate(random: &mut Rng, mut request: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..=request.len());
        let end = (at + random.usize(..20)).min(request.len());
        match random.u8(..8) {
            0 if at < request.len() => request[at] ^= 1 << random.u8(..8),
            1 => request.truncate(at),
            2 => drop(request.drain(at..end)),
            3 => {
                let copy = request[at..end].to_vec();
                let times = random.usize(1..50);
                request.splice(at..at, copy.repeat(times));
            }
            4 => {
                let noise: Vec<u8> = (0..random.usize(1..30)).map(|_| random.u8(..)).collect();
                request.splice(at..at, noise);
            }
            5 => {
                let long = vec![random.u8(b' '..b'~'); random.usize(1..20_000)];
                request.splice(at..at, long);
            }
            6 => request.extend(sane(random)),
            _ => {
                let odd = ODD[random.usize(..ODD.len())];
                request.splice(at..end, odd.iter().copied());
            }
        }
    }
    request
}

/// The status codes in what an exporter has sent, and that no more is 5xx than the documented 503.
fn judge(answer: &[u8], request: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let mut rest = &*text;
    // Bodies may quote a request, so only what begins a line counts.
    while let Some((_, after)) = rest.split_once("HTTP/1.1 5") {
        let is_503 = after.starts_with("03");
        assert!(is_503, "{after:.200} after {}", request.escape_ascii());
        rest = after;
    }
}

/// Reads to the end, or until an event stream has begun, which never ends.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let read = match timeout(LONG, stream.read(&mut piece)).await.expect("an end") {
            // A reset ends it like a close.
            Ok(0) | Err(_) => return all,
            Ok(read) => read,
        };
        all.extend_from_slice(&piece[..read]);
        let new = &all[all.len().saturating_sub(read + 16)..];
        if new.windows(17).any(|window| window == b"text/event-stream") {
            return all;
        }
    }
}

/// One bad HTTP/1 request.
async fn bad_request(seed: u64, n: usize, web: SocketAddr) {
    let mut random = Rng::with_seed(seed.wrapping_add(n as u64));
    let request = sane(&mut random);
    let request = mutate(&mut random, request);
    let mut stream = connect(&format!("127.0.2.{}", n % 200 + 1), web).await;
    // The exporter may close before it has read everything.
    let mut rest = &request[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
        let sent = stream.write_all(piece).await;
        rest = if sent.is_ok() { after } else { &[] };
    }
    match random.u8(..8) {
        0 => stream.set_zero_linger().expect("a socket"),
        1 => {}
        2 => {
            // Resets during the answer, if there is one.
            stream.shutdown().await.ok();
            let _ = timeout(LONG, stream.read(&mut [0; 100])).await.expect("an end");
            stream.set_zero_linger().expect("a socket");
        }
        _ => {
            stream.shutdown().await.ok();
            judge(&answer(&mut stream).await, &request);
        }
    }
}

/// An exporter that probes a rack, and what it was like before the bad requests.
struct Before {
    program: Program,
    files: usize,
    scrape: Scrape,
}

const PROBES: &str = "dualtor_probes_total";

/// Queries that were answered as they should be, and all others.
fn queries(scrape: &Scrape) -> (u64, u64) {
    let good = scrape.count(PROBES, &[("result", "OK")]);
    (good, scrape.count(PROBES, &[]) - good)
}

impl Before {
    /// `scrape`: how this exporter is scraped.
    async fn new(program: Program, scrape: impl AsyncFn() -> Scrape) -> Self {
        let first = wait_until("a round of all SoCs", async || {
            let scrape = scrape().await;
            match queries(&scrape) {
                (good, 0) if good >= 5 * SOCS as u64 => Ok(scrape),
                other => Err(format!("{other:?}")),
            }
        });
        let scrape = first.await;
        let files = program.open_files();
        Self {
            program,
            files,
            scrape,
        }
    }

    /// Nothing has happened but rounds.
    async fn is_untouched(&self, scrape: impl AsyncFn() -> Scrape) {
        let (before, _) = queries(&self.scrape);
        // Two rounds more than before, the last one of all SoCs.
        let after = wait_until("rounds go on, and no connection is left", async || {
            let scrape = scrape().await;
            let connections = scrape.value(CONNECTIONS, &[]);
            match queries(&scrape) {
                (good, _) if good >= before + 10 * SOCS as u64 && connections == Some(1.0) => Ok(scrape),
                other => Err(format!("{other:?} queries, {connections:?} connections")),
            }
        });
        let after = after.await;
        assert_eq!(queries(&after).1, 0, "queries have failed");
        let ready = [("state", "ready")];
        assert_eq!(after.count("dualtor_channel_state", &ready), SOCS as u64);
        wait_until("open files", async || {
            let files = self.program.open_files();
            // The last scrape's socket may still be open.
            (files <= self.files + 1)
                .then_some(())
                .ok_or_else(|| format!("{files} after {}", self.files))
        })
        .await;
        let log = self.program.stderr();
        // Only builds without optimisation have this check of h2, which fails for some connections that end with open streams
        // (hyperium/h2 issue 907).
        let mut lines = log.lines().filter(|line| !line.contains("!self.has_streams()"));
        assert!(
            lines.all(|line| !line.contains("defect") && !line.contains("panicked")),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bad_http_1_requests_leave_probing_untouched() {
    let seed = seed();
    let mut rack = Setup::rack(SOCS).probe(PROBE).channel(CALM).stage().await;
    let program = start(&mut rack, "4000", &[]).await;
    let before = Before::new(program, async || rack.scrape().await).await;
    let web = rack.web;
    // They begin a request and say no more, until the end.
    let mut slow = Vec::new();
    for n in 0..100 {
        let mut stream = connect(&format!("127.0.3.{}", n % 10 + 1), web).await;
        let mut random = Rng::with_seed(seed.wrapping_sub(n));
        let request = sane(&mut random);
        let begun = &request[..random.usize(..request.len() / 2)];
        stream.write_all(begun).await.expect("sent");
        slow.push(stream);
    }
    let all = stream::iter(0..each()).map(|n| bad_request(seed, n, web));
    all.buffer_unordered(AT_A_TIME).collect::<()>().await;
    drop(slow);
    before.is_untouched(async || rack.scrape().await).await;
}

/// A TLS client of `web` that chooses this protocol.
async fn tls(connector: &TlsConnector, from: &str, web: SocketAddr) -> TlsStream<TcpStream> {
    let stream = connect(from, web).await;
    let host = ServerName::try_from("127.0.0.1").expect("an address");
    let connecting = timeout(LONG, connector.connect(host, stream)).await;
    connecting.expect("a handshake in time").expect("a handshake")
}

fn connector(ca: &Ca, protocol: &[u8]) -> TlsConnector {
    TlsConnector::from(certificates::client(ca.der(), protocol))
}

/// Some bad sequences of frames on one connection; the status codes of the answers.
async fn bad_connection(connector: &TlsConnector, seed: u64, n: usize, web: SocketAddr) -> Vec<String> {
    let mut random = Rng::with_seed(seed.wrapping_add(n as u64));
    let from = format!("127.0.2.{}", n % 200 + 1);
    let stream = tls(connector, &from, web).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (sender, heard) = watch::channel(Heard::default());
    let mut news = heard.clone();
    let sending = async {
        let mut streams = bad_frames::Streams::default();
        writer.write_all(&bad_frames::preface(&mut random)).await?;
        for n in 1..=PER_CONNECTION {
            // Each error means that it was closed.
            let frames = bad_frames::sequence(&mut random, &mut streams);
            writer.write_all(&frames).await?;
            // It was read when the PING is answered; a frame whose length is wrong may take the PING for its content.
            writer.write_all(&bad_frames::ping()).await?;
            let answered = news.wait_for(|heard| heard.pongs >= n);
            drop(timeout(PATIENCE, answered).await);
        }
        // A connection that is still open still serves.
        let before = news.borrow().statuses.len();
        writer.write_all(&bad_frames::sane(&mut streams)).await?;
        let answered = news.wait_for(|heard| heard.statuses.len() > before);
        drop(timeout(PATIENCE, answered).await);
        writer.shutdown().await
    };
    let _ = tokio::join!(sending, bad_frames::read(&mut reader, sender));
    let read = heard.borrow().statuses.clone();
    let bad = read
        .iter()
        .find(|status| status.starts_with('5') && *status != "503");
    assert!(bad.is_none(), "{bad:?}: BAD_SEED={seed}, connection {n}");
    read
}

/// A scrape over TLS, with a connection of its own.
async fn scrape(connector: &TlsConnector, web: SocketAddr) -> Scrape {
    let mut stream = tls(connector, "127.0.0.1", web).await;
    Scrape::parse(&ask(&mut stream).await)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .await
        .expect("sent");
    let answer = String::from_utf8(answer(stream).await).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    body.to_owned()
}

/// `rack` has not started its exporter.
async fn start_with_tls(rack: &mut Rack) -> (Program, Ca, tempfile::TempDir) {
    let (dir, ca) = (
        tempfile::TempDir::new().expect("a directory"),
        Ca::new("CA", VALID),
    );
    let server = ca.soc(VALID);
    for (file, text) in [
        (
            "web.yml",
            "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
        ),
        ("server.crt", &server.cert),
        ("server.key", &server.key),
    ] {
        std::fs::write(dir.path().join(file), text).expect("written");
    }
    let web = dir.path().join("web.yml");
    let args = ["--web.config.file", web.to_str().expect("UTF-8")];
    (start(rack, "4000", &args).await, ca, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bad_http_2_frames_leave_probing_untouched() {
    let seed = seed();
    let mut rack = Setup::rack(SOCS).probe(PROBE).channel(CALM).stage().await;
    let (program, ca, _dir) = start_with_tls(&mut rack).await;
    let web = rack.web;
    let (h1, h2) = (connector(&ca, b"http/1.1"), connector(&ca, b"h2"));
    let before = Before::new(program, async || scrape(&h1, web).await).await;
    // A handshake, and no more.
    let mut silent = Vec::new();
    for n in 0..50 {
        silent.push(tls(&h2, &format!("127.0.3.{}", n + 1), web).await);
    }
    let all = stream::iter(0..each() / PER_CONNECTION).map(|n| bad_connection(&h2, seed, n, web));
    let answered: Vec<String> = all.buffer_unordered(AT_A_TIME).concat().await;
    // Not all of it may be refused before it is a request.
    let mut counts = BTreeMap::new();
    for status in answered {
        *counts.entry(status).or_insert(0) += 1;
    }
    let often = |status: &str| counts.get(status).is_some_and(|count| *count >= 50);
    assert!(often("200") && often("404"), "{counts:?}");
    drop(silent);
    before.is_untouched(async || scrape(&h1, web).await).await;
}
