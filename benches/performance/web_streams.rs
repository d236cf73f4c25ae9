//! Event streams of the API: what sixteen cost, and what one costs that does not read.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{cpu, resident};
use crate::rack;
use crate::scrapers::get;
use crate::web_clients::{all_ready, web_cpu};
use crate::whole::{Setting, listen};

const SOCS: usize = 1_000;
const STREAMS: usize = 16;
const SECONDS: u64 = 10;

/// Reads a stream until it is dropped, and counts its events and the rows in them.
struct Reader {
    socket: TcpStream,
    events: Arc<AtomicU64>,
    rows: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Reader {
    fn open() -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(listen())?;
        socket.write_all(b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let reader = Self {
            events: Arc::default(),
            rows: Arc::default(),
            ended: Arc::default(),
            socket: socket.try_clone()?,
        };
        let (events, rows, ended) = (reader.events.clone(), reader.rows.clone(), reader.ended.clone());
        thread::spawn(move || {
            for line in BufReader::new(socket).lines() {
                let Ok(line) = line else { break };
                if line.starts_with("data: ") {
                    events.fetch_add(1, Ordering::Relaxed);
                    let found = line.matches("\"port\":").count() as u64;
                    rows.fetch_add(found, Ordering::Relaxed);
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        Ok(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The thread ends with it; it may be closed already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Waits until the exporter has closed all streams, which it does when it sends them the next message.
fn none_open() -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while metric("dualtor_web_event_streams")? > 0 {
        ensure!(Instant::now() < deadline, "the streams before are still open");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// CPU of all threads and of the web thread in `SECONDS`, as shares of a core, and the rows that each stream got per second.
fn with_streams(pid: u32, count: usize) -> anyhow::Result<(f64, f64, f64)> {
    none_open()?;
    let readers = (0..count)
        .map(|_| Reader::open())
        .collect::<anyhow::Result<Vec<_>>>()?;
    // The first rows are those of all ports.
    sleep(Duration::from_secs(5));
    let got = || {
        readers
            .iter()
            .map(|reader| reader.rows.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let (all, web, rows, began) = (cpu(pid)?, web_cpu(pid)?, got(), Instant::now());
    sleep(Duration::from_secs(SECONDS));
    let took = began.elapsed().as_secs_f64();
    let share = |before: f64, now: f64| (now - before) / took / 1e6 * 100.0;
    let (all, web) = (share(all, cpu(pid)?), share(web, web_cpu(pid)?));
    let rows = (got() - rows) as f64 / took / count.max(1) as f64;
    ensure!(
        readers.iter().all(|reader| !reader.ended.load(Ordering::Relaxed)),
        "a stream has ended"
    );
    Ok((all, web, rows))
}

pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n### {STREAMS} event streams, {SOCS} ports, {SECONDS} s each, in turn\n");
    println!(
        "| interval | streams | rows per second of each | CPU of the exporter | of the web thread |\n|---|---|---|---|---|"
    );
    let racks = rack::start(SOCS, 1)?;
    for interval in ["10s", "2s"] {
        let setting = Setting::new(&racks, interval, "{publish: off}")?;
        let exporter = setting.exporter()?;
        all_ready(SOCS)?;
        for _ in 0..2 {
            for count in [0, 1, STREAMS] {
                let (all, web, rows) = with_streams(exporter.id(), count)?;
                println!("| {interval} | {count} | {rows:.0} | {all:.1} % of a core | {web:.1} % |");
            }
        }
        if interval == "2s" {
            stopped(exporter.id())?;
        }
    }
    Ok(())
}

fn metric(name: &str) -> anyhow::Result<u64> {
    let answer = String::from_utf8(get("/metrics", "")?)?;
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value: f64 = line.context("no such metric")?.parse()?;
    Ok(value as u64)
}

/// A curl that is stopped (SIGSTOP) among fifteen streams that are read.
fn stopped(pid: u32) -> anyhow::Result<()> {
    println!(
        "\n### A curl stopped among {} event streams that are read\n",
        STREAMS - 1
    );
    none_open()?;
    let readers = (1..STREAMS)
        .map(|_| Reader::open())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let before = metric("dualtor_web_connections")?;
    let mut curl = Command::new("curl")
        .args(["--silent", "--no-buffer", "--output", "/dev/null"])
        .arg(format!("http://{}/api/v1/events", listen()))
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start curl")?;
    while metric("dualtor_web_connections")? <= before {
        sleep(Duration::from_millis(10));
    }
    let memory = resident(pid)?;
    kill_process(Pid::from_child(&curl), Signal::STOP)?;
    let began = Instant::now();
    let events = || readers.iter().map(|reader| reader.events.load(Ordering::Relaxed));
    let (mut last, mut slowest, mut most) = (events().collect::<Vec<_>>(), f64::INFINITY, 0);
    // The kernel's buffers are filled first, then 60 s pass.
    while metric("dualtor_web_connections")? > before {
        ensure!(began.elapsed() < Duration::from_secs(300), "it is never closed");
        let second = Instant::now();
        sleep(Duration::from_secs(5));
        let now: Vec<u64> = events().collect();
        for (now, last) in now.iter().zip(&last) {
            slowest = slowest.min((now - last) as f64 / second.elapsed().as_secs_f64());
        }
        last = now;
        most = most.max(resident(pid)?.saturating_sub(memory));
    }
    let took = began.elapsed().as_secs();
    println!(
        "| closed after | memory, at most | events per second of the slowest other stream, in 5 s |\n|---|---|---|"
    );
    println!("| {took} s | + {most} kB | {slowest:.1} |");
    curl.kill()?;
    curl.wait()?;
    Ok(())
}
