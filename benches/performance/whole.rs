//! The real binary, measured from outside: a private redis-server, a simulator process, and the rows that a reader finds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::{cpu, resident};
use crate::median;
use crate::rack::{self, Simulator};

const SOCS: usize = 128;

pub(crate) fn listen() -> String {
    format!("127.0.0.1:{}", rack::own_port())
}

/// A process that ends with its owner.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Database {
    _server: Process,
    connection: redis::Connection,
    url: String,
}

impl Database {
    fn start(directory: &Path) -> anyhow::Result<Self> {
        let socket = directory.join("redis.sock");
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server (Debian: apt-get install redis-server)")?;
        let server = Process(server);
        let url = format!("redis+unix://{}", socket.display());
        let client = redis::Client::open(format!("{url}?db=6"))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let connection = loop {
            match client.get_connection() {
                Ok(connection) => break connection,
                Err(error) => ensure!(Instant::now() < deadline, "redis-server: {error}"),
            }
            sleep(Duration::from_millis(10));
        };
        Ok(Self {
            _server: server,
            connection,
            url,
        })
    }

    /// For each port: whether its row shows READY, a direction and a version.
    fn fresh(&mut self, ports: &[String]) -> anyhow::Result<Vec<bool>> {
        let mut pipeline = redis::pipe();
        for port in ports {
            let key = format!("MUX_CABLE_INFO|{port}");
            let fields = ["grpc_connection_status", "self_mux_direction", "server_version"];
            pipeline.cmd("HMGET").arg(key).arg(&fields);
        }
        let rows: Vec<Vec<Value>> = pipeline.query(&mut self.connection)?;
        let text = |value: &Value| match value {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let is_fresh = |row: &Vec<Value>| {
            let row: Vec<String> = row.iter().map(text).collect();
            matches!(&row[..], [state, direction, version]
                if state == "READY" && ["active", "standby"].contains(&&**direction) && version != "N/A")
        };
        Ok(rows.iter().map(is_fresh).collect())
    }

    /// Seconds until each row shows READY with known directions (`fresh`), or does not any more.
    fn wait(&mut self, ports: &[String], fresh: bool, since: Instant) -> anyhow::Result<Vec<f64>> {
        let mut times = vec![None; ports.len()];
        while times.iter().any(Option::is_none) {
            ensure!(
                since.elapsed() < Duration::from_secs(60),
                "the rows do not change"
            );
            for (time, is_fresh) in times.iter_mut().zip(self.fresh(ports)?) {
                if is_fresh == fresh {
                    time.get_or_insert(since.elapsed().as_secs_f64());
                }
            }
            sleep(Duration::from_millis(5));
        }
        Ok(times.into_iter().flatten().collect())
    }
}

pub(crate) struct Setting {
    pub(crate) directory: TempDir,
    pub(crate) ports: Vec<String>,
}

impl Setting {
    pub(crate) fn new(racks: &[Simulator], interval: &str, databases: &str) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("dualtor-bench-")?;
        let mut yaml =
            format!("probe: {{interval: {interval}}}\nside: upper\ndatabases: {databases}\ntargets:\n");
        let mut ports = Vec::new();
        for address in racks.iter().flat_map(|simulator| simulator.rack.addresses()) {
            let port = format!("Ethernet{}", ports.len() * 4);
            yaml += &format!("  - {{port: {port}, address: \"{address}\"}}\n");
            ports.push(port);
        }
        std::fs::write(directory.path().join("config.yml"), yaml)?;
        Ok(Self { directory, ports })
    }

    pub(crate) fn exporter(&self) -> anyhow::Result<Process> {
        self.exporter_with(&[])
    }

    /// With more arguments.
    pub(crate) fn exporter_with(&self, more: &[&str]) -> anyhow::Result<Process> {
        let child = Command::new(env!("CARGO_BIN_EXE_dualtor-exporter"))
            .arg("--config.file")
            .arg(self.directory.path().join("config.yml"))
            .args(["--web.listen-address", &listen(), "--log.level", "error"])
            .args(more)
            .spawn()?;
        Ok(Process(child))
    }
}

/// Sends one GET and returns the whole answer.
fn scrape() -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(listen())?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no metrics");
    Ok(answer.len())
}

fn row(what: &str, times: &mut [f64], target: &str) {
    let max = times.iter().copied().fold(0.0, f64::max);
    println!("| {what} | {:.2} s | {max:.2} s | {target} |", median(times));
}

/// 128 SoCs and their rows.
pub(crate) fn small(runs: usize) -> anyhow::Result<()> {
    let home = TempDir::with_prefix("dualtor-bench-")?;
    let mut database = Database::start(home.path())?;
    let mut racks = rack::start(SOCS, 1)?;
    let setting = Setting::new(&racks, "60s", &format!("{{url: \"{}\"}}", database.url))?;
    let ports = setting.ports.clone();

    println!("\n### The whole exporter, {SOCS} SoCs, seen in their rows in Redis ({runs} runs)\n");
    println!("| | median | max | target |\n|---|---|---|---|");
    let (mut first, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        redis::cmd("FLUSHALL").exec(&mut database.connection)?;
        let began = Instant::now();
        let _exporter = setting.exporter()?;
        let times = database.wait(&ports, true, began)?;
        first.push(times.into_iter().fold(0.0, f64::max));
    }
    row("start → all rows complete", &mut first, "2 s");

    let exporter = setting.exporter()?;
    database.wait(&ports, true, Instant::now())?;
    let rack = &mut racks[0];
    let (mut lost, mut returned) = (Vec::new(), Vec::new());
    for n in 0..runs {
        let began = Instant::now();
        rack.kill()?;
        lost.extend(database.wait(&ports, false, began)?);
        // A different pause each time, so that the backoff is at different points.
        sleep(Duration::from_secs_f64(1.0 + 6.5 * n as f64));
        rack.restart()?;
        returned.extend(database.wait(&ports, true, Instant::now())?);
    }
    row(
        "SIGKILL of the SoCs → row not READY, directions unknown",
        &mut lost,
        "0.5 s",
    );
    row(
        "restarted SoC → READY and a fresh row",
        &mut returned,
        "12 s, median 6 s",
    );
    let (mut stopped, mut continued) = (Vec::new(), Vec::new());
    for n in 0..runs.min(3) {
        // A different pause each time, so that keepalives are at different points of their interval.
        sleep(Duration::from_secs_f64(1.3 * (n + 1) as f64));
        let began = Instant::now();
        rack.signal(Signal::STOP)?;
        stopped.extend(database.wait(&ports, false, began)?);
        rack.signal(Signal::CONT)?;
        continued.extend(database.wait(&ports, true, Instant::now())?);
    }
    row("SIGSTOP of the SoCs → row not READY", &mut stopped, "12.5 s");
    row(
        "SIGCONT → READY and a fresh row",
        &mut continued,
        "12 s, median 6 s",
    );
    drop(exporter);

    let setting = Setting::new(&racks, "1s", &format!("{{url: \"{}\"}}", database.url))?;
    let exporter = setting.exporter()?;
    sleep(Duration::from_secs(5));
    let before = cpu(exporter.id())?;
    for _ in 0..5 {
        sleep(Duration::from_secs(2));
        memory.push(resident(exporter.id())? as f64 / 1024.0);
    }
    let cpu = (cpu(exporter.id())? - before) / (10.0 * SOCS as f64);
    scrape()?;
    println!("\n| | | target |\n|---|---|---|");
    println!(
        "| memory, {SOCS} SoCs probed each second, rows written | {:.1} MB | 20 MB |",
        memory.iter().copied().fold(0.0, f64::max)
    );
    println!(
        "| the same after a scrape | {:.1} MB | 20 MB |",
        resident(exporter.id())? as f64 / 1024.0
    );
    println!("| CPU per SoC-round, row written | {cpu:.0} µs | |");
    Ok(())
}

/// 10,000 SoCs for three minutes.
pub(crate) fn large() -> anyhow::Result<()> {
    let racks = rack::start(10_000, 1)?;
    let setting = Setting::new(&racks, "60s", "{publish: off}")?;
    let exporter = setting.exporter()?;
    let pid = exporter.id();
    sleep(Duration::from_secs(30));
    let idle = resident(pid)?;
    let before = cpu(pid)?;
    sleep(Duration::from_secs(60));
    let load = (cpu(pid)? - before) / 60e6 * 100.0;
    sleep(Duration::from_secs(95));
    let began = Instant::now();
    let bytes = scrape()?;
    let took = began.elapsed().as_secs_f64();
    println!("\n### The whole exporter, 10,000 SoCs, interval 60 s\n");
    println!("| | | target |\n|---|---|---|");
    println!("| memory after 30 s | {:.0} MB | |", idle as f64 / 1024.0);
    println!(
        "| memory after 3 rounds and a scrape | {:.0} MB | 500 MB |",
        resident(pid)? as f64 / 1024.0
    );
    println!("| a scrape ({:.0} MB) | {took:.2} s | |", bytes as f64 / 1e6);
    println!("| CPU, rounds and keepalives | {load:.1} % of a core | |");
    Ok(())
}
