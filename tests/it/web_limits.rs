//! Limits for web clients: connections, time, memory, files, CPU. Other clients are still answered.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use dualtor_exporter::web::Limits;
use dualtor_sim::ConnectionFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::child::Program;
use crate::harness::{LONG, ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{self, Scrape, get};
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
pub(crate) const CONNECTIONS: &str = "dualtor_web_connections";
pub(crate) const REFUSED: &str = "dualtor_web_connections_refused_total";

/// A connection from this loopback address.
pub(crate) async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from: std::net::IpAddr = from.parse().expect("an address");
    socket.bind((from, 0).into()).expect("bound");
    socket.connect(to).await.expect("a connection")
}

/// Only the start of a request.
pub(crate) async fn half_sent(from: &str, to: SocketAddr) -> TcpStream {
    let mut stream = connect(from, to).await;
    // The connection may be closed already.
    let _ = stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        .await;
    stream
}

/// Reads everything until the end or a reset.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut bytes)).await;
    let _ = read.unwrap_or_else(|_| panic!("it is not closed within {LONG:?}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends this on a new connection; returns the whole answer.
pub(crate) async fn send(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect("127.0.0.1", to).await;
    // A server that refuses a request may close before it has read everything.
    let _ = stream.write_all(request).await;
    rest(&mut stream).await
}

/// A scrape, as soon as there is a place for it.
pub(crate) async fn once_let_in(to: SocketAddr) -> String {
    wait_until("a place", async || {
        let answer = send(to, b"GET /metrics HTTP/1.0\r\n\r\n").await;
        match answer.split_once("\r\n\r\n") {
            Some((_, body)) => Ok(body.to_owned()),
            None => Err("closed".to_owned()),
        }
    })
    .await
}

pub(crate) fn refused(scrape: &Scrape, reason: &str) -> f64 {
    scrape
        .value(REFUSED, &[("reason", reason)])
        .expect("each reason is there")
}

pub(crate) fn setup(limits: Limits) -> Setup {
    let mut setup = Setup::rack(1).probe(ONLY_AT_READY);
    setup.limits = limits;
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_of_one_peer_keep_nobody_else_away_and_end() {
    let header = Duration::from_secs(2);
    let rack = setup(Limits {
        per_peer: 8,
        header,
        ..Limits::default()
    })
    .start()
    .await;
    let began = Instant::now();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(half_sent("127.0.0.2", rack.web).await);
    }
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) == Some(9.0))
        .await;
    for _ in 0..40 {
        let mut one_more = half_sent("127.0.0.2", rack.web).await;
        assert_eq!(rest(&mut one_more).await, "", "it has had its share");
    }
    let scrape = rack.scrape().await;
    assert_eq!((refused(&scrape, "peer"), refused(&scrape, "total")), (40.0, 0.0));
    for stream in &mut held {
        assert_eq!(rest(stream).await, "");
    }
    assert!(began.elapsed() >= header, "{:?}", began.elapsed());
    let scrape = rack.scrape().await;
    assert_eq!(refused(&scrape, "timeout"), 8.0);
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) == Some(1.0))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_drips_in_has_no_more_time_than_another() {
    let header = Duration::from_secs(1);
    let rack = setup(Limits {
        header,
        ..Limits::default()
    })
    .start()
    .await;
    let mut stream = half_sent("127.0.0.1", rack.web).await;
    let drips = async {
        // Until it is closed.
        while stream.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, drips).await.expect("it is closed");
    assert_eq!(refused(&rack.scrape().await, "timeout"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_asks_no_more_is_closed_and_no_complaint() {
    let rack = setup(Limits {
        header: Duration::from_millis(500),
        ..Limits::default()
    })
    .start()
    .await;
    let mut stream = connect("127.0.0.1", rack.web).await;
    for _ in 0..3 {
        let request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of it.
        let mut scratch = [0; 1024];
        assert!(stream.read(&mut scratch).await.expect("the rest") > 0);
    }
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(refused(&rack.scrape().await, "timeout"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_total_a_connection_is_closed_at_once_and_counted() {
    let rack = setup(Limits {
        connections: 3,
        ..Limits::default()
    })
    .start()
    .await;
    let mut held = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        held.push(half_sent(from, rack.web).await);
    }
    let mut one_more = half_sent("127.0.0.5", rack.web).await;
    assert_eq!(rest(&mut one_more).await, "");
    held.pop();
    let scrape = Scrape::parse(&once_let_in(rack.web).await);
    assert!(refused(&scrape, "total") >= 1.0);
    assert_eq!(refused(&scrape, "peer"), 0.0);
    assert_eq!(scrape.value(CONNECTIONS, &[]), Some(3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_no_body() {
    let rack = setup(Limits::default()).start().await;
    let long = "x".repeat(3_000_000);
    for (head, body) in [
        ("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n", "hello"),
        ("POST /-/reload HTTP/1.1\r\nContent-Length: 3000000\r\n", &*long),
        (
            "POST /-/reload HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
            "",
        ),
        (
            "POST /-/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        ("PUT /nothing HTTP/1.1\r\nContent-Length: 1\r\n", "x"),
    ] {
        let answer = send(
            rack.web,
            format!("{head}Host: localhost\r\n\r\n{body}").as_bytes(),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{head}: {answer}");
    }
    let request =
        b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = send(rack.web, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_has_16_kib_at_most() {
    let rack = setup(Limits::default()).start().await;
    for (size, status) in [(15_000, 200), (16_500, 431), (20_000, 431), (2_000_000, 431)] {
        let accept = "text/plain;q=0.1,".repeat(size / 17);
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}application/openmetrics-text\r\n\r\n"
        );
        let answer = send(rack.web, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{size}: {answer:.200}"
        );
        assert_eq!(answer.contains("# EOF"), status == 200, "{size}");
    }
    let request = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(150));
    let answer = send(rack.web, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_said_all_gets_its_answers() {
    let rack = setup(Limits::default()).start().await;
    for path in ["/metrics", "/-/healthy", "/"] {
        for requests in [1, 3] {
            let mut stream = connect("127.0.0.1", rack.web).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(requests);
            stream.write_all(request.as_bytes()).await.expect("sent");
            stream.shutdown().await.expect("closed on this side");
            let answer = rest(&mut stream).await;
            assert_eq!(
                answer.matches("HTTP/1.1 200 OK").count(),
                requests,
                "{path}: {answer}"
            );
        }
    }
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) == Some(1.0))
        .await;
}

/// A rack of few SoCs that are probed under many names, so that a scrape is larger than sockets' buffers.
pub(crate) async fn many_ports(setup: Setup, ports: usize) -> Rack {
    let mut rack = setup.stage().await;
    let addresses: Vec<_> = rack.socs().iter().map(|soc| soc.address()).collect();
    rack.settings.targets = (0..ports)
        .map(|n| (format!("Ethernet{n}"), addresses[n % addresses.len()]))
        .collect();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    rack
}

/// Few PINGs.
pub(crate) const CALM: &str = "keepalive_time: 30s, keepalive_timeout: 30s";

/// Requests a scrape and reads none of the answer.
pub(crate) async fn unread(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A small buffer, but large enough that the answer can be read in reasonable time.
    socket.set_recv_buffer_size(64 << 10).expect("a small buffer");
    let from: std::net::IpAddr = from.parse().expect("an address");
    socket.bind((from, 0).into()).expect("bound");
    let mut stream = socket.connect(to).await.expect("a connection");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    stream.readable().await.expect("the answer has begun");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_ends_its_connection() {
    // 6 MB: more than a socket's buffer grows to.
    let limits = Limits {
        untaken: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut rack = many_ports(setup(limits), 1_200).await;
    rack.start_exporter().await;
    rack.scraped("dualtor_inventory_ports", |scrape| {
        scrape.value("dualtor_inventory_ports", &[]) == Some(1_200.0)
    })
    .await;
    let mut stream = unread("127.0.0.2", rack.web).await;
    rack.scraped(REFUSED, |scrape| refused(scrape, "timeout") == 1.0)
        .await;
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) == Some(1.0))
        .await;
    let answer = rest(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let promised = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let promised: usize = promised.expect("a length").parse().expect("a number");
    assert!(body.len() < promised, "what is cut off can be seen to be");
}

/// The real binary on a rack's configuration file, with this limit of open files.
pub(crate) async fn start(rack: &mut Rack, files: &str, more: &[&str]) -> Program {
    let path = rack.config_path();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n \"$FILES\" && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_dualtor-exporter"))
        .arg("--config.file")
        .arg(path)
        .args(["--web.listen-address", "127.0.0.1:0"])
        .args(more)
        .env("FILES", files);
    let mut program = Program::spawn(command);
    rack.web = program.address().await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_scrapes_take_little_memory() {
    const PORTS: usize = 1_000;
    let setup = Setup::rack(4).probe(ONLY_AT_READY).channel(CALM);
    let mut rack = many_ports(setup.databases("publish: off"), PORTS).await;
    let program = start(&mut rack, "4000", &[]).await;
    let ok = [("query", "health"), ("result", "OK")];
    rack.counts("dualtor_probes_total", &ok, PORTS as u64).await;
    // The memory of the first scrapes is already allocated.
    for _ in 0..5 {
        rack.scrape().await;
    }
    let before = program.memory_kb();
    let mut held = Vec::new();
    for _ in 0..10 {
        for from in ["127.0.0.2", "127.0.0.3"].repeat(3) {
            held.push(unread(from, rack.web).await);
        }
    }
    let grown = program.memory_kb().saturating_sub(before);
    // Each has its own answer: 0.3 MB packed, and about 0.1 MB for the connection. All answers together may keep 8 MiB. If each
    // held text, it would be 0.5 MB each, and its snapshot.
    assert!(grown < 20_000, "{grown} kB for {} unread scrapes", held.len());
    // The next scrape is still served.
    assert_eq!(rack.scrape().await.value(CONNECTIONS, &[]), Some(61.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_socs_first() {
    const PORTS: usize = 40;
    let mut rack = many_ports(Setup::rack(4), PORTS).await;
    let program = start(&mut rack, "130", &[]).await;
    let ready = async |rack: &Rack, state: &str| {
        wait_until(&format!("all rows say {state}"), async || {
            let rows = (0..PORTS).map(|n| rack.row(&format!("Ethernet{n}")));
            let is =
                |row: &crate::soc_view::Row| row.get("grpc_connection_status").is_some_and(|is| is == state);
            match rows.filter(is).count() {
                PORTS => Ok(()),
                some => Err(format!("{some} of {PORTS}: {}", program.stderr())),
            }
        })
        .await;
    };
    ready(&rack, "READY").await;
    let mut held = Vec::new();
    for n in 2..6 {
        for _ in 0..50 {
            held.push(half_sent(&format!("127.0.0.{n}"), rack.web).await);
        }
    }
    let began = Instant::now();
    for (fault, state) in [
        (ConnectionFault::Refuse, "TRANSIENT_FAILURE"),
        (ConnectionFault::None, "READY"),
    ] {
        for soc in rack.socs() {
            soc.connection_fault(fault.clone());
        }
        ready(&rack, state).await;
    }
    // The longest backoff is half a second. Before the fix it took 30 s, until the web's files were free.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let files = program.open_files();
    assert!(files < 130, "{files} open files");
    drop(held);
    let scrape = Scrape::parse(&once_let_in(rack.web).await);
    assert!(refused(&scrape, "total") > 0.0);
    assert_eq!(
        (refused(&scrape, "peer"), refused(&scrape, "timeout")),
        (0.0, 0.0)
    );
    program.signal("TERM");
    let ended = program.ended().await;
    assert!(!ended.stderr.contains("Too many open files"), "{}", ended.stderr);
}

/// The threads of a process: name, nice value, and CPU clock ticks of each.
fn threads(process: u32) -> Vec<(String, i64, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("running");
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let read = |stat: String| {
        let (before, after) = stat.rsplit_once(')').expect("a name");
        let (_, name) = before.split_once('(').expect("a name");
        let fields: Vec<i64> = after
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // proc_pid_stat(5): 14 utime, 15 stime, 19 nice; here 3 is the first.
        let ticks = u64::try_from(fields[11] + fields[12]).expect("ticks");
        (name.to_owned(), fields[16], ticks)
    };
    stats.map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_are_rendered_away_from_the_threads_that_probe() {
    let setup = Setup::rack(4).probe(ONLY_AT_READY).channel(CALM);
    let mut rack = many_ports(setup.databases("publish: off"), 200).await;
    let program = start(&mut rack, "4000", &["--web.max-requests", "2"]).await;
    let ready = [("state", "ready")];
    rack.scraped("dualtor_channel_state", |scrape| {
        scrape.count("dualtor_channel_state", &ready) == 200
    })
    .await;
    let cost = || {
        let threads = threads(program.id());
        let web = threads
            .iter()
            .find(|(name, ..)| name == "web")
            .expect("a thread of its own");
        assert!(web.1 > 0, "it stands back: nice {}", web.1);
        let others = threads.iter().filter(|(name, ..)| name != "web");
        (web.2, others.map(|(.., ticks)| ticks).sum::<u64>())
    };
    let (web, others) = cost();
    // One after the other and in parallel.
    wait_until("half a second of scrapes", async || {
        let scrapes = (0..16).map(|_| http::ask(rack.web, "GET", "/metrics", &[("Accept-Encoding", "gzip")]));
        for answer in futures_util::future::join_all(scrapes).await {
            assert_eq!(answer.status, 200);
        }
        match cost().0 - web {
            50.. => Ok(()),
            ticks => Err(format!("{ticks} ticks")),
        }
    })
    .await;
    let (web, others) = (cost().0 - web, cost().1 - others);
    assert!(
        others * 4 < web,
        "{web} ticks on the web thread, {others} on all others"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_scrapers_at_a_time_all_get_their_answer() {
    let limits = Limits {
        renders: 1,
        ..Limits::default()
    };
    let mut rack = many_ports(setup(limits), 100).await;
    rack.start_exporter().await;
    rack.shows(PORT, &Look::HEALTHY).await;
    let web = rack.web;
    let scrapes = (0..40).map(async |n| {
        let encoding = ["identity", "gzip"][n % 2];
        http::ask(web, "GET", "/metrics", &[("Accept-Encoding", encoding)]).await
    });
    for answer in futures_util::future::join_all(scrapes).await {
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() > 1000);
    }
    assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
}
