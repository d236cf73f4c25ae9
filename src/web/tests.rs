//! The web endpoint over real sockets.
//!
//! | file | tests |
//! |---|---|
//! | cases | the names of the exporter-toolkit's cases; each is in one of the tests here or in web_config/tests.rs |
//! | site | a server with a web.config.file, and its clients (no tests) |
//! | tls_cases, policies | TLS; client certificates |
//! | logins | logins, headers, the rate limit |
//! | changes | web.config.file changes while the exporter runs |
//! | http2_clients, hostile_handshakes | HTTP/2 and its limits; hostile clients |
//! | unread_streams | event streams that no one reads |
//!
//! Here: what happens when a part panics. Only the affected clients notice.

pub(in crate::web) mod cases;
mod changes;
mod hostile_handshakes;
mod http2_clients;
mod logins;
mod policies;
mod site;
mod tls_cases;
mod unread_streams;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::telemetry::testing::empty_view;

/// A body that panics when its second piece is requested.
struct Bomb(bool);

impl http_body::Body for Bomb {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, io::Error>>> {
        assert!(!self.0, "no second piece");
        self.0 = true;
        Poll::Ready(Some(Ok(Frame::data("first".into()))))
    }
}

/// No SoC has a history.
fn no_history() -> HistorySource {
    Arc::new(|_| Box::pin(async { Some(None) }))
}

/// A web server that runs until it is dropped.
struct Running {
    address: std::net::SocketAddr,
    stats: Arc<WebStats>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn start(router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stats = Arc::<WebStats>::default();
    let (_, files) = watch::channel(100);
    let stop = CancellationToken::new();
    let server = client::Server {
        listener,
        gate: Gate::new(Limits::default(), files, stats.clone()),
        router,
        access: Access::new(
            AllowedHosts::default(),
            WebPaths::default(),
            stats.clone(),
            watch::channel(Arc::default()).1,
        ),
        connections: TaskTracker::new(),
        stop: stop.clone(),
    };
    Running {
        address,
        stats,
        stop,
        serving: tokio::spawn(server.run()),
    }
}

async fn ask(running: &Running, path: &str) -> String {
    let mut stream = TcpStream::connect(running.address).await.expect("a listener");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // The connection may be reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_handler_that_panics_is_one_answer_of_500_and_the_listener_goes_on() {
    async fn now() {
        panic!("a defect");
    }
    async fn later() {
        tokio::task::yield_now().await;
        panic!("a defect");
    }
    let router = Router::new()
        .route("/now", get(now))
        .route("/later", get(later))
        .route("/body", get(async || Body::new(Bomb(false))))
        .route("/fine", get(async || "fine"));
    let running = start(router).await;
    for _ in 0..100 {
        for path in ["/now", "/later"] {
            let answer = ask(&running, path).await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
            assert!(answer.contains("a defect of the exporter"), "{path}: {answer}");
        }
        let answer = ask(&running, "/body").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "cut off: {answer}");
        let answer = ask(&running, "/fine").await;
        assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
    }
    assert_eq!(running.stats.status().refused, [0; crate::model::Refusal::COUNT]);
    running.stop.cancel();
    running.serving.await.expect("no panic");
    while running.stats.status().connections > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_scrape_that_panics_is_one_answer_of_500() {
    let times = std::sync::atomic::AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_, ready) = watch::channel(true);
    let (_files, files) = watch::channel(100);
    let web = Web {
        history: no_history(),
        paths: WebPaths::default(),
        allowed_hosts: AllowedHosts::default(),
        view: Arc::new(
            move || match times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => panic!("before there is a future"),
                1 => Box::pin(async { panic!("in it") }),
                _ => Box::pin(async { Some(empty_view()) }),
            },
        ),
        ready,
        reload: None,
        probe: None,
        modules: std::sync::Arc::new(|_, _| crate::web::ModuleLookup::UnknownModule),
        config: None,
        limits: Limits::default(),
        files,
        stats: Arc::default(),
    };
    let stop = CancellationToken::new();
    let running = Running {
        address,
        stats: web.stats.clone(),
        stop: stop.clone(),
        serving: tokio::spawn(async move {
            serve(vec![listener], web, stop).await.expect("served");
        }),
    };
    for expected in ["500", "500", "200"] {
        let answer = ask(&running, "/metrics").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
    running.stop.cancel();
    running.serving.await.expect("no panic");
}

#[tokio::test]
async fn a_scrape_is_refused_before_its_scraper_gives_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_ready, ready) = watch::channel(true);
    let (_files, files) = watch::channel(100);
    let web = Web {
        paths: WebPaths::default(),
        history: no_history(),
        allowed_hosts: AllowedHosts::default(),
        // A fleet that does not answer.
        view: Arc::new(|| Box::pin(std::future::pending())),
        ready,
        reload: None,
        probe: None,
        modules: std::sync::Arc::new(|_, _| crate::web::ModuleLookup::UnknownModule),
        config: None,
        limits: Limits {
            turn: std::time::Duration::from_secs(3600),
            ..Limits::default()
        },
        files,
        stats: Arc::default(),
    };
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(vec![listener], web, stop.clone()));
    let stream = TcpStream::connect(address).await.expect("a listener");
    let seconds = [("X-Prometheus-Scrape-Timeout-Seconds", "0.5")];
    let answer = site::ask(stream, "/metrics", &seconds).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 5\r\n"),
        "{answer}"
    );
    stop.cancel();
    serving.await.expect("no panic").expect("a clean stop");
}
