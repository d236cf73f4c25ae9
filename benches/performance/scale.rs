//! Central mode: fleets in racks of 48 ports at an interval of a minute. One process with all of it, healthy and half of it hung;
//! several that share it; and a Prometheus that scrapes it, with the delivered rules.
//!
//! `SCALE=1000,20000` chooses the numbers of SoCs, `SCALE_ROUNDS=1` makes it short.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dualtor_testkit::child::binary;
use tempfile::TempDir;

use crate::client::{cpu, resident};
use crate::rack::{Simulator, own_port};
use crate::whole::Process;

const PER_RACK: usize = 48;
/// Of `probe.interval`.
const INTERVAL: Duration = Duration::from_secs(60);
/// Of one simulator: its file of targets is then of whole racks.
const PER_SIMULATOR: usize = 2_400;
/// What a process may have open is 20,000 on many machines, of which the exporter needs some itself.
const PER_PROCESS: usize = 19_900;
/// Dials take 20 s for 20,000; more on a busy machine.
const READY: Duration = Duration::from_secs(180);
/// For Prometheus: two scrapes, and some evaluations of the rules over them.
const WATCHED: Duration = Duration::from_secs(150);

fn sizes(default: &[usize]) -> anyhow::Result<Vec<usize>> {
    let Ok(text) = std::env::var("SCALE") else {
        return Ok(default.to_vec());
    };
    text.split(',')
        .map(|size| size.parse().context("SCALE"))
        .collect()
}

fn rounds() -> anyhow::Result<u32> {
    let text = std::env::var("SCALE_ROUNDS").unwrap_or_else(|_| "3".to_owned());
    text.parse().context("SCALE_ROUNDS")
}

/// Simulated SoCs, and what the exporters that probe them need.
struct Fleet {
    simulators: Vec<Simulator>,
    directory: TempDir,
}

impl Fleet {
    /// `hung`: the racks of every other simulator never answer a query, only PINGs.
    fn start(socs: usize, hung: bool, processes: usize) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("dualtor-bench-")?;
        let simulators = socs.div_ceil(PER_SIMULATOR).max(2);
        let (mut all, mut targets, mut left) = (Vec::new(), String::new(), socs);
        for n in 0..simulators {
            let count = left.div_ceil(simulators - n);
            left -= count;
            let stalled = hung && n % 2 == 1;
            // 127.64.0.1, 127.65.0.1, ...
            let first = Ipv4Addr::new(127, u8::try_from(64 + n)?, 0, 1);
            let simulator = Simulator::start(first, count, stalled)?;
            for (soc, address) in simulator.rack.addresses().enumerate() {
                let kind = if stalled { "hung" } else { "r" };
                writeln!(
                    targets,
                    "- {{targets: [\"{address}\"], labels: {{port: Ethernet{}, rack: {kind}{n}-{}, side: upper}}}}",
                    soc % PER_RACK * 4,
                    soc / PER_RACK,
                )?;
            }
            all.push(simulator);
        }
        std::fs::write(directory.path().join("targets.yml"), targets)?;
        let config = format!(
            "shard: {{count: {processes}}}\ninventory: [{{file_sd: {{files: [targets.yml]}}}}]\n\
             databases: {{publish: off}}\nprobe: {{interval: {}s}}\n",
            INTERVAL.as_secs()
        );
        std::fs::write(directory.path().join("config.yml"), config)?;
        Ok(Self {
            simulators: all,
            directory,
        })
    }

    fn exporter(&self, index: usize) -> anyhow::Result<Exporter> {
        let web: SocketAddr =
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 7, u8::try_from(index + 1)?), own_port()).into();
        let child = Command::new(binary("dualtor-exporter"))
            .arg("--config.file")
            .arg(self.directory.path().join("config.yml"))
            .args(["--web.listen-address", &web.to_string(), "--log.level", "error"])
            .env("DUALTOR_SHARD_INDEX", index.to_string())
            .spawn()?;
        Ok(Exporter {
            process: Process::of(child),
            web,
        })
    }

    /// Resident memory of all simulators, MB.
    fn memory(&self) -> anyhow::Result<f64> {
        let each = self.simulators.iter().map(|simulator| resident(simulator.id()));
        Ok(each.sum::<anyhow::Result<u64>>()? as f64 / 1024.0)
    }
}

struct Exporter {
    process: Process,
    web: SocketAddr,
}

/// One answer of `/metrics`.
#[derive(Debug, Default)]
struct Answer {
    bytes: usize,
    series: usize,
    took: f64,
    /// Of racks that are not hung: for each SoC how often the query for its directions was answered.
    answered: BTreeMap<String, u64>,
    /// Queries to those SoCs that were not answered.
    missed: u64,
}

impl Answer {
    /// The SoC of them that was asked least.
    fn least(&self) -> u64 {
        self.answered.values().copied().min().unwrap_or(0)
    }
}

impl Exporter {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn scrape(&self) -> anyhow::Result<Answer> {
        let began = Instant::now();
        let text = text(self.web, "/metrics")?;
        let took = began.elapsed().as_secs_f64();
        ensure!(text.starts_with("HTTP/1.0 200"), "no metrics");
        let mut answer = Answer {
            bytes: text.len(),
            took,
            ..Answer::default()
        };
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            answer.series += 1;
            let (series, value) = line.rsplit_once(' ').context("a value")?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "dualtor_probes_total" if !labels.contains("rack=\"hung") => {
                    let count: u64 = value.parse()?;
                    let good = labels.contains("result=\"OK\"");
                    if !good {
                        answer.missed += count;
                    } else if labels.contains("query=\"admin\"") {
                        answer.answered.insert(labels.to_owned(), count);
                    }
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Channels that are READY, without a scrape, which costs more than the dials while they come.
    fn count_ready(&self) -> anyhow::Result<usize> {
        let fleet = text(self.web, "/api/v1/fleet")?;
        let (_, rest) = fleet.split_once("\"ready\":").context("a count of READY")?;
        let digits = rest
            .trim_start()
            .split(|other: char| !other.is_ascii_digit())
            .next();
        Ok(digits.unwrap_or_default().parse()?)
    }

    /// Waits until so many channels are READY.
    fn ready(&self, socs: impl Fn(usize) -> bool) -> anyhow::Result<()> {
        let limit = Instant::now() + READY;
        loop {
            let ready = self.count_ready().unwrap_or(0);
            if socs(ready) {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "{ready} SoCs are READY after {READY:?}");
            sleep(Duration::from_secs(1));
        }
    }
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1024.0
}

/// 1,000 to 20,000 SoCs in one process.
pub(crate) fn one_process() -> anyhow::Result<()> {
    let rounds = rounds()?;
    println!("\n### One process, interval 60 s, {rounds} rounds\n");
    println!(
        "| SoCs | hung | all READY after | CPU, of a core | memory | after a scrape | series | scrape | least rounds of a healthy SoC | its queries missed | load |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for socs in sizes(&[1_000, 10_000, PER_PROCESS])? {
        for hung in [false, true] {
            let fleet = Fleet::start(socs, hung, 1)?;
            let exporter = fleet.exporter(0)?;
            let began = Instant::now();
            exporter.ready(|ready| ready == socs)?;
            let ready = began.elapsed().as_secs_f64();
            drop(exporter);
            // Again, because the scrapes of the wait are in the memory.
            let exporter = fleet.exporter(0)?;
            let pid = exporter.id();
            sleep(Duration::from_secs_f64(ready + 10.0));
            let before = cpu(pid)?;
            sleep(INTERVAL * rounds);
            let load = (cpu(pid)? - before) / (INTERVAL * rounds).as_micros() as f64 * 100.0;
            let memory = resident(pid)?;
            let answer = exporter.scrape()?;
            println!(
                "| {socs} | {} | {ready:.0} s | {load:.1} % | {:.0} MB | {:.0} MB | {} | {:.2} s, {:.1} MB | {} | {} | {} |",
                if hung { "half" } else { "none" },
                megabytes(memory),
                megabytes(resident(pid)?),
                answer.series,
                answer.took,
                answer.bytes as f64 / 1e6,
                answer.least(),
                answer.missed,
                load_average()?,
            );
        }
    }
    Ok(())
}

/// The machine's, which says how quiet it was.
fn load_average() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(1).collect())
}

/// As many SoCs as memory allows, shared by as many processes as they need.
pub(crate) fn shards() -> anyhow::Result<()> {
    let rounds = rounds()?;
    println!(
        "\n### Processes that share the SoCs, interval 60 s, {rounds} rounds; all on this machine, simulators too\n"
    );
    println!(
        "| SoCs | processes | shares | all READY after | CPU of all, of a core | memory of all | largest | simulators' memory | longest scrape | least rounds of a SoC | queries missed in the rounds | missed at the start | load |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for socs in sizes(&[100_000])? {
        // Shares differ by a tenth.
        let processes = (socs * 11 / 10).div_ceil(PER_PROCESS).max(2);
        let fleet = Fleet::start(socs, false, processes)?;
        let began = Instant::now();
        let exporters: Vec<Exporter> = (0..processes)
            .map(|index| fleet.exporter(index))
            .collect::<anyhow::Result<_>>()?;
        let limit = began + READY;
        let mut shares: Vec<usize>;
        loop {
            sleep(Duration::from_secs(1));
            shares = exporters
                .iter()
                .map(|one| one.count_ready().unwrap_or(0))
                .collect();
            let ready: usize = shares.iter().sum();
            if ready == socs {
                break;
            }
            ensure!(
                Instant::now() < limit,
                "{ready} of {socs} SoCs are READY after {READY:?}"
            );
        }
        let ready = began.elapsed().as_secs_f64();
        let all_cpu = || {
            exporters
                .iter()
                .map(|one| cpu(one.id()))
                .sum::<anyhow::Result<f64>>()
        };
        // One after the other, here and below: each parses 110 MB on the same two cores.
        let scrape_all = || {
            exporters
                .iter()
                .map(Exporter::scrape)
                .collect::<anyhow::Result<Vec<_>>>()
        };
        let missed = |answers: &[Answer]| answers.iter().map(|answer| answer.missed).sum::<u64>();
        let missed_before = missed(&scrape_all()?);
        let before = all_cpu()?;
        sleep(INTERVAL * rounds);
        let load = (all_cpu()? - before) / (INTERVAL * rounds).as_micros() as f64 * 100.0;
        let memory = exporters.iter().map(|one| resident(one.id()));
        let memory = memory.collect::<anyhow::Result<Vec<u64>>>()?;
        let answers = scrape_all()?;
        println!(
            "| {socs} | {processes} | {} to {} | {ready:.0} s | {load:.0} % | {:.0} MB | {:.0} MB | {:.0} MB | {:.2} s | {} | {} | {missed_before} | {} |",
            shares.iter().min().unwrap_or(&0),
            shares.iter().max().unwrap_or(&0),
            megabytes(memory.iter().sum()),
            megabytes(memory.iter().copied().max().unwrap_or(0)),
            fleet.memory()?,
            answers.iter().map(|answer| answer.took).fold(0.0, f64::max),
            answers.iter().map(Answer::least).min().unwrap_or(0),
            missed(&answers) - missed_before,
            load_average()?,
        );
    }
    Ok(())
}

/// What it costs Prometheus.
pub(crate) fn prometheus() -> anyhow::Result<()> {
    println!("\n### Prometheus, scraping one process each 60 s, with the delivered rules\n");
    println!(
        "| SoCs | series in Prometheus | its scrape | slowest rule group | its memory | its CPU, of a core | load |"
    );
    println!("|---|---|---|---|---|---|---|");
    for socs in sizes(&[1_000, 10_000, PER_PROCESS])? {
        let fleet = Fleet::start(socs, false, 1)?;
        let exporter = fleet.exporter(0)?;
        exporter.ready(|ready| ready == socs)?;
        let home = TempDir::with_prefix("dualtor-bench-")?;
        let web = SocketAddrV4::new(Ipv4Addr::new(127, 0, 7, 200), own_port());
        let alerts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("alerts");
        let config = format!(
            "global: {{scrape_interval: 60s, scrape_timeout: 50s, evaluation_interval: 30s}}\nrule_files: [{}/*.yaml]\n\
             scrape_configs: [{{job_name: dualtor-exporter, static_configs: [{{targets: [\"{}\"]}}]}}]\n",
            alerts.display(),
            exporter.web,
        );
        let file = home.path().join("prometheus.yml");
        std::fs::write(&file, config)?;
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                home.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={web}"))
            .args(["--log.level=error"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start prometheus (Debian: apt-get install prometheus)")?;
        let server = Process::of(server);
        sleep(WATCHED);
        let used = cpu(server.id())? / WATCHED.as_micros() as f64 * 100.0;
        let own = text(web.into(), "/metrics")?;
        let largest = |name: &str| {
            let lines = own
                .lines()
                .filter(|line| line.starts_with(name) && !line.starts_with('#'));
            let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            values.fold(0.0, f64::max)
        };
        let took = text(web.into(), "/api/v1/query?query=scrape_duration_seconds")?;
        let took = took
            .rsplit('"')
            .find(|part| part.parse::<f64>().is_ok())
            .unwrap_or("?");
        println!(
            "| {socs} | {:.0} | {took} s | {:.2} s | {:.0} MB | {used:.0} % | {} |",
            largest("prometheus_tsdb_head_series "),
            largest("prometheus_rule_group_last_duration_seconds{"),
            megabytes(resident(server.id())?),
            load_average()?,
        );
    }
    Ok(())
}

fn text(web: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(web)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
