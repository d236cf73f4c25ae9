//! Event streams that no one reads, as a stopped client's: the others go on, and it is closed in its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::no_history;
use super::site::{LONG, until};
use crate::model::{PortReason, Refusal, SocView, View};
use crate::telemetry::testing::{empty_view, status};
use crate::web::{AllowedHosts, Limits, ViewSource, Web, WebPaths, WebStats, serve};

const REQUEST: &[u8] = b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// A hundred ports, of which each looks different each time. Their rows are long, so that buffers are full soon.
fn always_changing() -> ViewSource {
    let times = AtomicU64::new(0);
    let ports: Vec<_> = (0..100).map(|n| status(&format!("Ethernet{n}"))).collect();
    Arc::new(move || {
        let seconds = Duration::from_secs(times.fetch_add(1, Ordering::Relaxed));
        let socs = ports.iter().map(|port| {
            let mut status = port.clone();
            status.last_success = Some(SystemTime::UNIX_EPOCH + seconds);
            status.observed.version = Some("1.4.2 ".repeat(600).into());
            SocView {
                status: Arc::new(status),
                facts: None,
                reason: PortReason::Healthy,
            }
        });
        let view = View {
            socs: socs.collect(),
            ..empty_view()
        };
        Box::pin(async { Some(view) })
    })
}

/// Reads until there are so many more events.
async fn reads(stream: &mut BufReader<TcpStream>, events: usize) {
    let (mut seen, mut line) = (0, String::new());
    while seen < events {
        line.clear();
        let read = timeout(LONG, stream.read_line(&mut line)).await;
        assert!(
            read.expect("a line in time").expect("a line") > 0,
            "the stream has ended"
        );
        seen += usize::from(line.starts_with("event: ports"));
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_closed_in_its_time_and_changes_nothing_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let ((_ready, ready), (_files, files)) = (watch::channel(true), watch::channel(100));
    let stats = Arc::<WebStats>::default();
    let untaken = Duration::from_secs(2);
    let web = Web {
        paths: WebPaths::default(),
        history: no_history(),
        allowed_hosts: AllowedHosts::default(),
        view: always_changing(),
        ready,
        reload: None,
        probe: None,
        modules: std::sync::Arc::new(|_, _| crate::web::ModuleLookup::UnknownModule),
        config: None,
        limits: Limits {
            untaken,
            ..Limits::default()
        },
        files,
        stats: stats.clone(),
    };
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(vec![listener], web, stop.clone()));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(REQUEST).await.expect("sent");
        readers.push(BufReader::new(stream));
    }
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stopped = socket.connect(address).await.expect("a listener");
    stopped.write_all(REQUEST).await.expect("sent");
    let closed = async || stats.status().refused[Refusal::Timeout.index()] == 1;
    // The others read all the while.
    let all_the_while = async {
        for _ in 0.. {
            for reader in &mut readers {
                reads(reader, 1).await;
            }
        }
    };
    tokio::select! {
        () = until("the stopped one is closed", closed) => {}
        () = all_the_while => {}
    }
    assert_eq!(stats.status().connections, 3);
    for reader in &mut readers {
        reads(reader, 4).await;
    }
    stop.cancel();
    serving.await.expect("no panic").expect("a clean stop");
}
