//! Floods of rude web clients, and clients with invalid HTTP: other clients are still answered, and nothing is left behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dualtor_exporter::web::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::child::Program;
use crate::harness::{LONG, ONLY_AT_READY, Rack, Setup, wait_until};
use crate::http::{self, get};
use crate::web_limits::{
    CALM, CONNECTIONS, connect, half_sent, many_ports, once_let_in, refused, rest, send, setup, start, unread,
};

/// What the allocator keeps for reuse.
const KEPT_KB: u64 = 2 * 1024;

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEALTHY: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Only the client that asks is connected.
async fn all_gone(rack: &Rack) {
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) == Some(1.0))
        .await;
}

/// A small exporter, with its memory and open files at rest.
async fn at_rest(ports: usize) -> (Rack, Program, u64, usize) {
    let setup = Setup::rack(8).probe(ONLY_AT_READY).channel(CALM);
    let mut rack = many_ports(setup.databases("publish: off"), ports).await;
    let program = start(&mut rack, "4000", &[]).await;
    let ok = [("query", "health"), ("result", "OK")];
    rack.counts("dualtor_probes_total", &ok, ports as u64).await;
    for _ in 0..5 {
        rack.scrape().await;
    }
    let (memory, files) = (program.memory_kb(), program.open_files());
    (rack, program, memory, files)
}

async fn memory_is_back(program: &Program, before: u64) {
    wait_until("memory", async || match program.memory_kb() {
        now if now * 10 <= before * 12 + 10 * KEPT_KB => Ok(()),
        now => Err(format!("{now} kB after {before} kB")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_web_flood_comes_back() {
    let (rack, program, before, _) = at_rest(24).await;
    for _ in 0..3 {
        let mut held = Vec::new();
        for n in 0..1_000 {
            held.push(half_sent(&format!("127.0.1.{}", n % 20 + 1), rack.web).await);
        }
        drop(held);
        all_gone(&rack).await;
    }
    memory_is_back(&program, before).await;
    let mut held = Vec::new();
    for n in 0..100 {
        held.push(unread(&format!("127.0.1.{}", n % 20 + 1), rack.web).await);
    }
    drop(held);
    all_gone(&rack).await;
    memory_is_back(&program, before).await;
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
enum Rude {
    /// Resets at once.
    Reset,
    /// Resets during its request, after it, or during the answer.
    ResetInRequest,
    ResetAfterRequest,
    ResetInAnswer,
    /// Closes its side before, during or after a request.
    HalfClosed,
    HalfClosedInRequest,
    HalfClosedAfterRequest,
    /// Closes after many pipelined requests, without reading an answer.
    Pipelined,
}

/// One such client; with its own address if there are many.
async fn come_and_go(how: Rude, n: usize, to: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(&format!("127.0.1.{}", n % 50 + 1), to).await;
    match how {
        Rude::Reset => {}
        Rude::ResetInRequest | Rude::HalfClosedInRequest => stream.write_all(&SCRAPE[..20]).await?,
        Rude::ResetAfterRequest | Rude::HalfClosedAfterRequest => stream.write_all(SCRAPE).await?,
        Rude::ResetInAnswer => {
            stream.write_all(SCRAPE).await?;
            stream.read_exact(&mut [0; 100]).await?;
        }
        Rude::HalfClosed => {}
        Rude::Pipelined => stream.write_all(&SCRAPE.repeat(20)).await?,
    }
    match how {
        Rude::HalfClosed | Rude::HalfClosedInRequest | Rude::HalfClosedAfterRequest => {
            stream.shutdown().await?;
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Rude::Pipelined => {}
        _ => stream.set_zero_linger()?,
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rude_clients_leave_nothing_behind() {
    let (rack, program, before, files) = at_rest(24).await;
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id()));
    let threads = tasks.expect("running").count();
    for how in [
        Rude::Reset,
        Rude::ResetInRequest,
        Rude::ResetAfterRequest,
        Rude::ResetInAnswer,
        Rude::HalfClosed,
        Rude::HalfClosedInRequest,
        Rude::HalfClosedAfterRequest,
        Rude::Pipelined,
    ] {
        for n in (0..each()).step_by(20) {
            let clients = (n..n + 20).map(|n| come_and_go(how, n, rack.web));
            // The connection may be refused or reset.
            let _ = futures_util::future::join_all(clients).await;
        }
        all_gone(&rack).await;
        wait_until(&format!("files after {how:?}"), async || {
            let now = program.open_files();
            // The last scrape's socket may still be open.
            (now <= files + 1)
                .then_some(())
                .ok_or_else(|| format!("{now} after {files}"))
        })
        .await;
    }
    memory_is_back(&program, before).await;
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id()));
    // A thread for files that has nothing to do may have ended.
    assert!(tasks.expect("running").count() <= threads);
    assert!(!program.stderr().contains("defect"), "{}", program.stderr());
}

/// Clients of each kind.
fn each() -> usize {
    let more = std::env::var("RUDE_CLIENTS").ok();
    more.map_or(200, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_without_a_request_makes_room_for_one_who_asks() {
    let yields = Duration::from_millis(500);
    let rack = setup(Limits {
        connections: 3,
        yields,
        ..Limits::default()
    })
    .start()
    .await;
    let mut silent = connect("127.0.0.2", rack.web).await;
    let mut begun = half_sent("127.0.0.3", rack.web).await;
    let mut kept = connect("127.0.0.4", rack.web).await;
    kept.write_all(HEALTHY).await.expect("sent");
    assert!(kept.read(&mut [0; 1024]).await.expect("an answer") > 0);
    let began = Instant::now();
    for places in 1..=3 {
        let scrape = once_let_in(rack.web).await;
        let scrape = http::Scrape::parse(&scrape);
        assert!(refused(&scrape, "total") >= f64::from(places), "{places}");
        assert_eq!(scrape.value(CONNECTIONS, &[]), Some(3.0));
        // The accepted client has gone; another silent one has its place.
        let stream = connect("127.0.0.5", rack.web).await;
        match places {
            1 => assert_eq!(rest(&mut silent).await, ""),
            2 => assert_eq!(rest(&mut begun).await, ""),
            _ => assert!(!rest(&mut kept).await.contains("HTTP/1.1 4")),
        }
        silent_for_good(stream);
    }
    assert!(
        began.elapsed() < LONG / 2,
        "before their time: {:?}",
        began.elapsed()
    );
}

/// Open until the test ends.
fn silent_for_good(stream: TcpStream) {
    std::mem::forget(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_adds_socs_takes_their_files_from_web_clients() {
    let all = 60;
    let mut rack = many_ports(Setup::rack(4), all).await;
    let targets = std::mem::take(&mut rack.settings.targets);
    rack.settings.targets = targets[..4].to_vec();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let program = start(&mut rack, "130", &[]).await;
    let ready = async |rack: &Rack, count: usize| {
        wait_until(&format!("{count} rows say READY"), async || {
            let rows = (0..count).map(|n| rack.row(&format!("Ethernet{n}")));
            let is = |row: &crate::soc_view::Row| {
                row.get("grpc_connection_status").is_some_and(|is| is == "READY")
            };
            match rows.filter(is).count() {
                ready if ready == count => Ok(()),
                some => Err(format!("{some} of {count}: {}", program.stderr())),
            }
        })
        .await;
    };
    ready(&rack, 4).await;
    let mut held = Vec::new();
    for n in 2..4 {
        for _ in 0..60 {
            held.push(half_sent(&format!("127.0.0.{n}"), rack.web).await);
        }
    }
    wait_until("the web has what is left", async || match program.open_files() {
        files @ 75.. => Ok(files),
        files => Err(files.to_string()),
    })
    .await;
    rack.settings.targets = targets.clone();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    program.signal("HUP");
    // A dial before a web connection has closed finds no file; the next dial does.
    ready(&rack, all).await;
    // More SoCs than files: logged with numbers, and not repeated while nothing changes.
    let addresses: Vec<_> = targets.iter().map(|(_, address)| *address).collect();
    rack.settings.targets = (0..100)
        .map(|n| (format!("Ethernet{n}"), addresses[n % 4]))
        .collect();
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let mut program = program;
    program.signal("HUP");
    let line = program.says("limit of open files is too low", 1).await;
    for words in ["level=error", "limit=130", "targets=100", "needed=158"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    rack.settings.targets.truncate(all);
    rack.write_config(&rack.settings.yaml(&rack.redis));
    program.signal("HUP");
    program.says("limit of open files is sufficient", 1).await;
    assert_eq!(
        program.stderr().matches("limit of open files is too low").count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_its_time_with_many_clients_of_every_kind() {
    let (rack, program, ..) = at_rest(200).await;
    let mut held = Vec::new();
    for n in 0..50 {
        let from = format!("127.0.1.{}", n % 10 + 1);
        held.push(connect(&from, rack.web).await);
        held.push(half_sent(&from, rack.web).await);
        held.push(unread(&from, rack.web).await);
        let mut kept = connect(&from, rack.web).await;
        kept.write_all(HEALTHY).await.expect("sent");
        held.push(kept);
    }
    let web = rack.web;
    let scrapers: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(async move {
                // Until the listener is closed.
                while let Ok(mut stream) = TcpStream::connect(web).await {
                    let _ = stream.write_all(SCRAPE).await;
                    let _ = stream.read(&mut [0; 512]).await;
                }
            })
        })
        .collect();
    rack.scraped(CONNECTIONS, |scrape| scrape.value(CONNECTIONS, &[]) > Some(200.0))
        .await;
    let began = Instant::now();
    program.signal("TERM");
    let ended = program.ended().await;
    // The promised 5 s, and the delay of a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for scraper in scrapers {
        scraper.await.expect("no panic");
    }
}

/// How the answer must begin; "": closed without an answer.
const BAD: &str = "HTTP/1.1 400 ";
const GOOD: &str = "HTTP/1.1 200 ";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sane_request_is_refused_and_harms_nobody() {
    let rack = setup(Limits::default()).start().await;
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let many = "a,".repeat(5_000);
    let table: Vec<(String, &str)> = vec![
        // HTTP/0.9, HTTP/2 by prior knowledge, TLS, another protocol, nothing at all.
        ("GET /metrics\r\n\r\n".to_owned(), BAD),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
            "",
        ),
        (
            "\x16\x03\x01\x02\0\x01\0\x01\x7f\x03\x03".to_owned() + &"\x05".repeat(500),
            BAD,
        ),
        ("*1\r\n$4\r\nPING\r\n".to_owned(), BAD),
        ("\0".repeat(1000), BAD),
        // Requests whose end can be parsed in two ways.
        (
            "GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET /x".to_owned(),
            BAD,
        ),
        ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(), BAD),
        (
            "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_owned(),
            BAD,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n".to_owned(),
            "HTTP/1.1 4",
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n".to_owned(),
            BAD,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
            BAD,
        ),
        (
            "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n".to_owned(),
            "HTTP/1.1 413 ",
        ),
        (
            "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
            "HTTP/1.1 413 ",
        ),
        // Odd heads.
        ("GET / HTTP/1.1\r\na\0b: c\r\n\r\n".to_owned(), BAD),
        ("GET / HTTP/1.1\r\n: c\r\n\r\n".to_owned(), BAD),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 "),
        (
            format!("GET /{} HTTP/1.1\r\n{close}", "x".repeat(20_000)),
            "HTTP/1.1 4",
        ),
        (
            format!("{} / HTTP/1.1\r\n{close}", "X".repeat(5_000)),
            "HTTP/1.1 4",
        ),
        (
            format!("GET / HTTP/1.1\r\n{}{close}", "h: v\r\n".repeat(2_500)),
            "HTTP/1.1 431 ",
        ),
        (format!("CONNECT x:1 HTTP/1.1\r\n{close}"), "HTTP/1.1 4"),
        (format!("GET http://elsewhere/metrics HTTP/1.1\r\n{close}"), GOOD),
        (format!("OPTIONS * HTTP/1.1\r\n{close}"), "HTTP/1.1 4"),
        (
            format!("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n{close}"),
            "HTTP/1.1 404 ",
        ),
        (
            format!("GET /metrics?{} HTTP/1.1\r\n{close}", "a=b&".repeat(2_000)),
            GOOD,
        ),
        // Headers that select a format or an encoding.
        (
            format!("GET /metrics HTTP/1.1\r\nAccept: {many}\r\n{close}"),
            GOOD,
        ),
        (
            format!(
                "GET /metrics HTTP/1.1\r\nAccept: {}\r\n{close}",
                "\"\\;,q=".repeat(1_500)
            ),
            GOOD,
        ),
        (
            format!(
                "GET /metrics HTTP/1.1\r\nAccept: text/plain;q={}\r\n{close}",
                "9".repeat(9_000)
            ),
            GOOD,
        ),
        (
            format!("GET /metrics HTTP/1.1\r\nAccept-Encoding: {many}identity;q=0,*;q=0\r\n{close}"),
            GOOD,
        ),
        (
            format!("GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip;q=NaN;q=1e999\r\n{close}"),
            GOOD,
        ),
        // Requests for another protocol.
        (
            format!("GET /metrics HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n{close}"),
            GOOD,
        ),
        (
            format!("GET /metrics HTTP/1.1\r\nRange: bytes=0-0,1-1,2-2\r\n{close}"),
            GOOD,
        ),
    ];
    for (request, expected) in &table {
        let mut stream = connect("127.0.0.1", rack.web).await;
        // A server that refuses a request may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.shutdown().await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(expected), "{request:.200?}: {answer:.200}");
        let answers = usize::from(!expected.is_empty());
        // One request gets one answer: the rest is not a second request.
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            answers,
            "{request:.200?}: {answer:.500}"
        );
        assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
    }
    all_gone(&rack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_full_of_requests_is_answered_in_order_and_others_meanwhile() {
    const MANY: usize = 2_000;
    let rack = setup(Limits::default()).start().await;
    let mut requests = HEALTHY.repeat(MANY);
    requests.extend_from_slice(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (answers, others) = tokio::join!(send(rack.web, &requests), async {
        for _ in 0..20 {
            assert_eq!(get(rack.web, "/-/healthy").await.status, 200);
        }
    });
    let () = others;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), MANY);
    let last = answers.rfind("HTTP/1.1 404 ").expect("the last one");
    assert!(answers.rfind("HTTP/1.1 200 ").expect("one") < last);
}
