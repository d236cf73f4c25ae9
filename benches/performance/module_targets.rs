//! 1,000 targets of a module that hang, beside SoCs that are healthy: do they delay a round or a scrape? And what modules cost where
//! there are none.
//!
//! `MODULE_TARGETS=50`, `MODULE_SECONDS=3` and `MODULE_TURNS=1` make it short.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::client::{cpu, resident};
use crate::median;
use crate::rack::Simulator;
use crate::scrapers::get;
use crate::web_clients::all_ready;
use crate::whole::{Process, Setting};

/// Each way is measured so often, in turn.
const TURNS: u64 = 3;
/// Scrapes in each measurement.
const SCRAPES: u32 = 10;
/// The interval of the SoCs' rounds: short, so that many are seen.
const INTERVAL: &str = "2s";

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

/// How the targets of the module hang.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hang {
    /// There is no key `modules`.
    Absent,
    /// A module without a target.
    NoTarget,
    /// They answer PINGs, but no RPC: each round lasts until its deadline.
    Stalled,
    /// Their process is stopped: each is lost by its keepalive, and each dial after that fails by its time.
    Stopped,
}

impl Hang {
    const ALL: [Self; 4] = [Self::Absent, Self::NoTarget, Self::Stalled, Self::Stopped];

    fn name(self, targets: usize) -> String {
        match self {
            Self::Absent => "`modules` absent".to_owned(),
            Self::NoTarget => "a module without targets".to_owned(),
            Self::Stalled => format!("{targets} targets that answer no RPC"),
            Self::Stopped => format!("{targets} targets whose process is stopped"),
        }
    }
}

/// The counters of one scrape, and how long it took.
struct Counters {
    took: f64,
    /// Queries to SoCs by the upper bound of their duration, cumulative.
    durations: BTreeMap<Bound, u64>,
    queries: u64,
    late: u64,
    /// Rounds of the module.
    module_rounds: u64,
}

/// An upper bound in microseconds.
type Bound = u64;

impl Counters {
    fn read() -> anyhow::Result<Self> {
        let began = Instant::now();
        let answer = get("/metrics", "Accept-Encoding: identity\r\n")?;
        let took = began.elapsed().as_secs_f64();
        ensure!(answer.starts_with(b"HTTP/1.0 200"), "no metrics");
        let text = String::from_utf8(answer)?;
        let mut counters = Self {
            took,
            durations: BTreeMap::new(),
            queries: 0,
            late: 0,
            module_rounds: 0,
        };
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let count = || value.parse::<f64>().map(|value| value as u64);
            if series.starts_with("dualtor_probe_duration_seconds_bucket{") {
                let (_, bound) = series.split_once("le=\"").context("a bound")?;
                let bound = bound.split('"').next().unwrap_or_default();
                let bound = bound
                    .parse::<f64>()
                    .map_or(u64::MAX, |bound| (bound * 1e6) as u64);
                *counters.durations.entry(bound).or_default() += count()?;
            } else if series.starts_with("dualtor_probes_total{") {
                counters.queries += count()?;
                if series.contains("result=\"DEADLINE_EXCEEDED\"") {
                    counters.late += count()?;
                }
            } else if series.starts_with("grpc_probes_total{") {
                counters.module_rounds += count()?;
            }
        }
        Ok(counters)
    }
}

/// What was seen in one measurement.
struct Seen {
    queries: u64,
    late: u64,
    /// Milliseconds under which 99 % of the queries ended.
    p99: f64,
    scrapes: Vec<f64>,
    /// CPU of the exporter per query, µs.
    cpu: f64,
    /// MB
    memory: f64,
    module_rounds: u64,
}

/// In the bucket of the 99th percent, as `histogram_quantile` of Prometheus finds it.
fn p99(before: &Counters, after: &Counters) -> f64 {
    let buckets: Vec<(u64, u64)> = after
        .durations
        .iter()
        .map(|(bound, count)| (*bound, count - before.durations.get(bound).copied().unwrap_or(0)))
        .collect();
    let all = buckets.last().map_or(0, |(_, count)| *count);
    let wanted = all as f64 * 0.99;
    let mut below = (0.0, 0.0);
    for (bound, count) in buckets {
        let (bound, count) = (bound as f64 / 1e3, count as f64);
        if count >= wanted {
            if bound > 1e9 {
                return below.0;
            }
            return below.0 + (bound - below.0) * (wanted - below.1) / (count - below.1).max(1.0);
        }
        below = (bound, count);
    }
    f64::NAN
}

fn measure(exporter: &Process, seconds: u64) -> anyhow::Result<Seen> {
    let (before, used) = (Counters::read()?, cpu(exporter.id())?);
    let mut scrapes = Vec::new();
    for _ in 0..SCRAPES {
        sleep(Duration::from_secs(seconds) / SCRAPES);
        scrapes.push(Counters::read()?.took * 1e3);
    }
    let (after, used) = (Counters::read()?, cpu(exporter.id())? - used);
    let queries = after.queries - before.queries;
    ensure!(queries > 0, "nothing was probed");
    Ok(Seen {
        queries,
        late: after.late - before.late,
        p99: p99(&before, &after),
        scrapes,
        cpu: used / queries as f64,
        memory: resident(exporter.id())? as f64 / 1024.0,
        module_rounds: after.module_rounds - before.module_rounds,
    })
}

/// An exporter with these SoCs, and this way to hang.
fn turn(healthy: &[Simulator], hang: Hang, hung: &Simulator, seconds: u64) -> anyhow::Result<Seen> {
    let setting = Setting::new(healthy, INTERVAL, "{publish: off}")?;
    let path = setting.directory.path().join("config.yml");
    let mut yaml = std::fs::read_to_string(&path)?;
    if hang != Hang::Absent {
        yaml += "modules:\n  hung:\n    grpc_health: {}\n    interval: 5s\n    targets:\n";
        let addresses = hung.rack.addresses().filter(|_| hang != Hang::NoTarget);
        for address in addresses {
            writeln!(yaml, "      - {{address: \"{address}\"}}")?;
        }
        if hang == Hang::NoTarget {
            yaml += "      []\n";
        }
    }
    std::fs::write(&path, yaml)?;
    let exporter = setting.exporter()?;
    all_ready(setting.ports.len())?;
    if hang == Hang::Stopped {
        // All have been READY, and are lost while it is measured.
        sleep(Duration::from_secs(3));
        hung.signal(Signal::STOP)?;
    }
    // Until the first rounds and dials of all are over.
    sleep(Duration::from_secs(6));
    let seen = measure(&exporter, seconds);
    if hang == Hang::Stopped {
        hung.signal(Signal::CONT)?;
    }
    seen
}

pub(crate) fn run() -> anyhow::Result<()> {
    let targets = number("MODULE_TARGETS", 1_000)? as usize;
    let seconds = number("MODULE_SECONDS", 20)?;
    let turns = number("MODULE_TURNS", TURNS)?;
    println!(
        "\n### Targets of a module that hang, beside healthy SoCs probed each {INTERVAL}: {turns} turns of {seconds} s each\n"
    );
    println!(
        "| SoCs | modules | queries to SoCs | late | p99 | scrape, median | longest | CPU per query | memory | rounds of the module |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for socs in [128, 1_000] {
        let healthy = [Simulator::start(Ipv4Addr::new(127, 80, 0, 1), socs, false)?];
        let hung = Simulator::start(Ipv4Addr::new(127, 90, 0, 1), targets, true)?;
        let mut all: Vec<Vec<Seen>> = Hang::ALL.iter().map(|_| Vec::new()).collect();
        for _ in 0..turns {
            for (hang, seen) in Hang::ALL.iter().zip(&mut all) {
                seen.push(turn(&healthy, *hang, &hung, seconds)?);
            }
        }
        for (hang, seen) in Hang::ALL.iter().zip(&all) {
            let of = |value: fn(&Seen) -> f64| median(&mut seen.iter().map(value).collect::<Vec<_>>());
            let mut scrapes: Vec<f64> = seen.iter().flat_map(|one| one.scrapes.clone()).collect();
            let longest = scrapes.iter().copied().fold(0.0, f64::max);
            println!(
                "| {socs} | {} | {} | {} | {:.1} ms | {:.1} ms | {longest:.1} ms | {:.1} µs | {:.1} MB | {} |",
                hang.name(targets),
                seen.iter().map(|one| one.queries).sum::<u64>(),
                seen.iter().map(|one| one.late).sum::<u64>(),
                of(|one| one.p99),
                median(&mut scrapes),
                of(|one| one.cpu),
                of(|one| one.memory),
                seen.iter().map(|one| one.module_rounds).sum::<u64>(),
            );
        }
    }
    Ok(())
}
