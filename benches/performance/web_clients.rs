//! What web clients cost: scrapes, pages and the API at 1,000 and 10,000 ports; the memory of a connection that is only open.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dualtor_testkit::certificates::{self, Ca, VALID};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket::from;

use crate::client::resident;
use crate::median;
use crate::rack;
use crate::scrapers::get;
use crate::whole::{Setting, listen};

const REPETITIONS: usize = 15;
const GZIP: &str = "Accept-Encoding: gzip\r\n";

pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n### Scrapes, pages and API, gzip, median of {REPETITIONS}; CPU of the web thread\n");
    println!("| ports | path | bytes | packed | wall | CPU | of a scrape |\n|---|---|---|---|---|---|---|");
    for (socs, interval) in [(1_000, "10s"), (10_000, "60s")] {
        answers(socs, interval)?;
    }
    println!("\n### The memory of a web connection\n");
    println!("| | connections | kB each |\n|---|---|---|");
    connections()
}

/// CPU time of the web thread, µs.
pub(crate) fn web_cpu(pid: u32) -> anyhow::Result<f64> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == "web" {
            let text = std::fs::read_to_string(path.join("schedstat"))?;
            let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
            return Ok(nanoseconds / 1e3);
        }
    }
    anyhow::bail!("no thread is named web")
}

/// Returns when the exporter answers and all channels are READY.
pub(crate) fn all_ready(socs: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = get("/api/v1/fleet", "").unwrap_or_default();
        let text = String::from_utf8_lossy(&answer);
        if text.contains(&format!("\"ready\":{socs}")) {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(120),
            "not all SoCs are READY: {text}"
        );
        sleep(Duration::from_millis(200));
    }
}

fn answers(socs: usize, interval: &str) -> anyhow::Result<()> {
    let racks = rack::start(socs, 1)?;
    let setting = Setting::new(&racks, interval, "{publish: off}")?;
    let exporter = setting.exporter()?;
    all_ready(socs)?;
    let paths = [
        "/metrics",
        "/",
        "/ports/Ethernet0",
        "/api/v1/ports?limit=5000",
        "/api/v1/ports?limit=10&q=Ethernet0",
        "/api/v1/ports/Ethernet0",
        "/api/v1/fleet",
    ];
    let mut measured = vec![(Vec::new(), Vec::new()); paths.len()];
    // In turn, so that what else the machine does is in all of them.
    for _ in 0..REPETITIONS {
        for (path, (walls, cpus)) in paths.iter().zip(&mut measured) {
            let (began, before) = (Instant::now(), web_cpu(exporter.id())?);
            let answer = get(path, GZIP)?;
            walls.push(began.elapsed().as_secs_f64() * 1e3);
            cpus.push((web_cpu(exporter.id())? - before) / 1e3);
            ensure!(answer.starts_with(b"HTTP/1.0 200"), "{path}: no answer");
        }
    }
    let scrape = median(&mut measured[0].1.clone());
    for (path, (walls, cpus)) in paths.iter().zip(&mut measured) {
        let cpu = median(cpus);
        println!(
            "| {socs} | `{path}` | {} | {} | {:.1} ms | {cpu:.1} ms | {:.2} |",
            size(get(path, "")?.len()),
            size(get(path, GZIP)?.len()),
            median(walls),
            cpu / scrape,
        );
    }
    Ok(())
}

fn size(bytes: usize) -> String {
    match bytes {
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} kB", bytes as f64 / 1e3),
    }
}

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection that speaks this protocol.
fn tls(ca: &Ca, protocol: &[u8], n: usize) -> anyhow::Result<TlsClient> {
    let connection = ClientConnection::new(
        certificates::client(ca.der(), protocol),
        ServerName::try_from("127.0.0.1")?,
    )?;
    Ok(StreamOwned::new(connection, plain(n)?))
}

/// A connection, of one of four peers.
fn plain(n: usize) -> anyhow::Result<TcpStream> {
    let peer = Ipv4Addr::new(127, 0, 9, (n % 4 + 1) as u8);
    from(peer, listen().parse()?)
}

/// Connects from a given address, which std cannot.
mod socket {
    use super::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

    pub(super) fn from(peer: Ipv4Addr, to: SocketAddr) -> anyhow::Result<TcpStream> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(peer, 0))?;
        connect(&socket, &to)?;
        Ok(socket.into())
    }
}

/// A kept connection after its first answer.
fn kept(mut stream: impl Read + Write, request: &[u8]) -> anyhow::Result<impl Read + Write> {
    stream.write_all(request)?;
    ensure!(stream.read(&mut [0; 4096])? > 0, "no answer");
    Ok(stream)
}

const HTTP_1: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
const EVENTS: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The preface, SETTINGS, and HEADERS of stream 1 that ask for /-/healthy: indexed :method GET and :scheme https, :path as a literal.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x19\x01\x05\0\0\0\x01\x82\x87\x01\x09localhost\x04\x0a/-/healthy";

fn connections() -> anyhow::Result<()> {
    const MANY: usize = 200;
    let racks = rack::start(1, 1)?;
    let setting = Setting::new(&racks, "60s", "{publish: off}")?;
    let ca = Ca::new("CA", VALID);
    let server = ca.soc(VALID);
    let path = |file: &str| setting.directory.path().join(file);
    std::fs::write(path("server.crt"), &server.cert)?;
    std::fs::write(path("server.key"), &server.key)?;
    std::fs::write(
        path("web.yml"),
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
    )?;
    let web = path("web.yml");
    let with_tls = ["--web.config.file", web.to_str().context("UTF-8")?];
    let streams = ["--web.max-event-streams", "200"];
    let row = |what: &str, more: &[&str], open: &dyn Fn(usize) -> anyhow::Result<Box<dyn Read>>| {
        let exporter = setting.exporter_with(more)?;
        // The first connections pay for what all share.
        let began = Instant::now();
        while open(0).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(20), "{what}: no answer");
            sleep(Duration::from_millis(100));
        }
        let first = (0..20).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        drop(first);
        sleep(Duration::from_secs(2));
        let before = resident(exporter.id())?;
        let held = (0..MANY).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        sleep(Duration::from_secs(2));
        let each = resident(exporter.id())?.saturating_sub(before) as f64 / held.len() as f64;
        println!("| {what} | {} | {each:.1} |", held.len());
        Ok::<_, anyhow::Error>(())
    };
    row("HTTP/1, idle after an answer", &[], &|n| {
        Ok(Box::new(kept(plain(n)?, HTTP_1)?))
    })?;
    row("event stream, HTTP/1", &streams, &|n| {
        Ok(Box::new(kept(plain(n)?, EVENTS)?))
    })?;
    row("HTTP/1 over TLS, idle after an answer", &with_tls, &|n| {
        Ok(Box::new(kept(tls(&ca, b"http/1.1", n)?, HTTP_1)?))
    })?;
    row("HTTP/2 over TLS, idle after an answer", &with_tls, &|n| {
        Ok(Box::new(kept(tls(&ca, b"h2", n)?, HTTP_2)?))
    })
}
