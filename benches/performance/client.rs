//! One measurement, in a separate process, so that CPU time and memory include nothing else: N clients, the exporter's or bare
//! ones, in rounds that are released together or spread over an interval, or idle.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use dualtor_exporter::app::{Exporter, Options};
use dualtor_exporter::config::{Config, OtelFile, Publish, Schema, SourceRule};
use dualtor_exporter::model::{
    ChannelEvent, ChannelState, ProbeSettings, QueryResult, Report, Side, Snapshot, Target,
};
use dualtor_exporter::soc::channel::{Channel, TlsStore};
use dualtor_exporter::soc::probe::{self, Ready, RoundLimiter};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::bare::Bare;
use crate::rack::Rack;

/// gRPC's deadline for each query.
const TIMEOUT: Duration = Duration::from_millis(500);
const SETTINGS: ProbeSettings = ProbeSettings {
    interval: Duration::from_secs(60),
    timeout: TIMEOUT,
};

/// Twice the time that spans wait for others (`OTEL_BSP_SCHEDULE_DELAY`).
const OTEL_SETTLES: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The bare loop.
    Bare,
    /// The exporter's channels and rounds.
    Ours,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// All SoCs at once, this many times.
    Together { rounds: usize },
    /// For this many seconds, each SoC once per interval. `Ours` is the whole exporter here.
    Spread { interval: f64, seconds: f64 },
    /// No rounds, only open connections.
    Idle { seconds: f64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) racks: Vec<Rack>,
    /// Most rounds at a time; `Ours` only.
    pub(crate) max_rounds: Option<u32>,
    /// The key `otel` of the configuration; `Ours` with `Spread` only.
    pub(crate) otel: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Rounds of single SoCs.
    pub(crate) rounds: u64,
    /// CPU time of this process during the rounds, µs.
    pub(crate) cpu: f64,
    /// Wall time of each round of all SoCs, ms; with `Together`.
    pub(crate) walls: Vec<f64>,
    /// The longest round of one SoC, from its admission on, ms; with `Together`.
    pub(crate) longest: f64,
    /// Failed queries to healthy SoCs.
    pub(crate) failed: u64,
    /// Those that failed at the deadline.
    pub(crate) late: u64,
    /// Memory of all connections, kB, with `Idle`; of the whole process, with `Spread`.
    pub(crate) memory: u64,
    /// CPU time as a share of one core; with `Idle`.
    pub(crate) load: f64,
}

impl Measured {
    pub(crate) fn cpu_per_round(&self) -> f64 {
        self.cpu / self.rounds as f64
    }
}

/// CPU time of a process, µs: the sum over its threads, which run as long as the process.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds / 1e3)
}

fn own_cpu() -> anyhow::Result<f64> {
    cpu(std::process::id())
}

/// Resident memory of a process, kB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse()?)
}

/// The child process: connect, report it, wait for the start, measure, report.
pub(crate) fn run(spec: &str) -> anyhow::Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    rlimit::increase_nofile_limit(u64::MAX)?;
    // Like the exporter's runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(dualtor_exporter::cli::program::WORKERS)
        .enable_all()
        .build()?;
    let measured = runtime.block_on(async {
        match (spec.kind, spec.mode.clone()) {
            (kind, Mode::Together { rounds }) => together(kind, rounds, &spec).await,
            (Kind::Bare, Mode::Spread { interval, seconds }) => spread_bare(interval, seconds, &spec).await,
            (Kind::Ours, Mode::Spread { interval, seconds }) => spread_ours(interval, seconds, &spec).await,
            (kind, Mode::Idle { seconds }) => idle(kind, seconds, &spec).await,
        }
    })?;
    println!("{}", serde_json::to_string(&measured)?);
    // Ten thousand connections need not be closed one by one.
    std::process::exit(0);
}

/// Prints "ready" and waits for the parent.
fn ready() -> anyhow::Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// How one SoC's round went.
#[derive(Debug, Default)]
struct Outcome {
    healthy: bool,
    failed: u64,
    late: u64,
    took: Duration,
}

struct Group {
    go: watch::Sender<u64>,
    /// One `None` from each SoC that is connected, then one outcome per round.
    outcomes: mpsc::UnboundedReceiver<Option<Outcome>>,
    socs: usize,
}

/// Connects everything; each SoC's task then waits for the start.
fn group(kind: Kind, spec: &Spec) -> anyhow::Result<Group> {
    let (go, _) = watch::channel(0);
    let (tx, outcomes) = mpsc::unbounded_channel();
    let limiter = spec
        .max_rounds
        .map_or_else(RoundLimiter::default, RoundLimiter::at_a_time);
    if spec.max_rounds.is_none() {
        limiter.fleet(spec.racks.iter().map(|rack| rack.count).sum());
    }
    let limiter = Arc::new(limiter);
    let mut socs = 0;
    for rack in &spec.racks {
        for target in rack.targets()? {
            socs += 1;
            let (go, tx, healthy) = (go.subscribe(), tx.clone(), rack.healthy);
            match kind {
                Kind::Bare => {
                    tokio::spawn(bare_soc(target, healthy, go, tx));
                }
                Kind::Ours => {
                    tokio::spawn(our_soc(
                        Channel::new(target, Arc::default(), &TlsStore::default())?,
                        healthy,
                        limiter.clone(),
                        go,
                        tx,
                    ));
                }
            }
        }
    }
    Ok(Group { go, outcomes, socs })
}

type Outcomes = mpsc::UnboundedSender<Option<Outcome>>;

async fn bare_soc(target: Target, healthy: bool, mut go: watch::Receiver<u64>, tx: Outcomes) {
    let mut bare = loop {
        match Bare::connect(target.address).await {
            Ok(bare) => break bare,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    let _ = tx.send(None);
    while go.changed().await.is_ok() {
        let began = Instant::now();
        let failed = bare.round().await.is_err();
        let _ = tx.send(Some(Outcome {
            healthy,
            failed: u64::from(failed),
            late: 0,
            took: began.elapsed(),
        }));
    }
}

/// Like `session`, but without its schedule.
async fn our_soc(
    mut channel: Channel,
    healthy: bool,
    limiter: Arc<RoundLimiter>,
    mut go: watch::Receiver<u64>,
    tx: Outcomes,
) {
    let mut ready = None;
    let mut round: Option<AbortOnDropHandle<Report>> = None;
    loop {
        tokio::select! {
            biased;
            signal = channel.next() => {
                if let ChannelEvent::State { epoch, .. } = signal.event {
                    if signal.transport.is_some() {
                        let _ = tx.send(None);
                    }
                    ready = signal.transport.map(|transport| Ready { epoch, transport });
                }
            }
            Ok(report) = async {
                match &mut round {
                    Some(round) => round.await,
                    None => std::future::pending().await,
                }
            } => {
                round = None;
                let _ = tx.send(Some(outcome(healthy, &report)));
            }
            Ok(()) = go.changed() => {
                let (ready, limiter) = (ready.clone(), limiter.clone());
                round = Some(AbortOnDropHandle::new(tokio::spawn(probe::round(ready, SETTINGS, limiter))));
            }
        }
    }
}

fn outcome(healthy: bool, report: &Report) -> Outcome {
    let failed = report
        .queries
        .iter()
        .filter(|query| query.result != QueryResult::Ok);
    let late = report
        .queries
        .iter()
        .filter(|query| query.result == QueryResult::DeadlineExceeded);
    Outcome {
        healthy,
        failed: failed.count() as u64,
        late: late.count() as u64,
        took: report
            .queries
            .iter()
            .filter_map(|query| query.took)
            .max()
            .unwrap_or_default(),
    }
}

async fn together(kind: Kind, rounds: usize, spec: &Spec) -> anyhow::Result<Measured> {
    let mut group = group(kind, spec)?;
    for _ in 0..group.socs {
        group.outcomes.recv().await.context("a SoC's task has ended")?;
    }
    // The first round, which allocates buffers and tables, is not measured.
    let warm = group.socs <= 1000 && spec.racks.iter().all(|rack| rack.healthy);
    if warm {
        one_round(&mut group, &mut Measured::default()).await?;
    }
    ready()?;
    let mut measured = Measured::default();
    let before = own_cpu()?;
    for _ in 0..rounds {
        one_round(&mut group, &mut measured).await?;
    }
    measured.cpu = own_cpu()? - before;
    measured.rounds = (rounds * group.socs) as u64;
    Ok(measured)
}

async fn one_round(group: &mut Group, measured: &mut Measured) -> anyhow::Result<()> {
    let began = Instant::now();
    group.go.send_modify(|round| *round += 1);
    let mut left = group.socs;
    while left > 0 {
        // A SoC that became READY again meanwhile sends `None`.
        let Some(outcome) = group.outcomes.recv().await.context("a SoC's task has ended")? else {
            continue;
        };
        left -= 1;
        if outcome.healthy {
            measured.failed += outcome.failed;
            measured.late += outcome.late;
        }
        measured.longest = measured.longest.max(outcome.took.as_secs_f64() * 1e3);
    }
    measured.walls.push(began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

async fn spread_bare(interval: f64, seconds: f64, spec: &Spec) -> anyhow::Result<Measured> {
    let interval = Duration::from_secs_f64(interval);
    let counter = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(AtomicU64::new(0));
    let targets = targets(spec)?;
    let socs = targets.len();
    let mut connected = tokio::task::JoinSet::new();
    for target in targets {
        connected.spawn(async move { Bare::connect(target.address).await });
    }
    let mut bares = Vec::new();
    while let Some(bare) = connected.join_next().await {
        bares.push(bare??);
    }
    let origin = Instant::now();
    for (n, mut bare) in bares.into_iter().enumerate() {
        let (counter, failed) = (counter.clone(), failed.clone());
        let mut due = origin + interval.mul_f64(n as f64 / socs as f64);
        tokio::spawn(async move {
            loop {
                sleep_until(due).await;
                due += interval;
                if bare.round().await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    sleep(interval).await;
    ready()?;
    let (before, rounds) = (own_cpu()?, counter.load(Ordering::Relaxed));
    sleep(Duration::from_secs_f64(seconds)).await;
    Ok(Measured {
        cpu: own_cpu()? - before,
        rounds: counter.load(Ordering::Relaxed) - rounds,
        failed: failed.load(Ordering::Relaxed),
        ..Measured::default()
    })
}

fn targets(spec: &Spec) -> anyhow::Result<Vec<Target>> {
    let mut all = Vec::new();
    for rack in &spec.racks {
        all.extend(rack.targets()?);
    }
    Ok(all)
}

/// The whole exporter: fleet and sessions.
async fn spread_ours(interval: f64, seconds: f64, spec: &Spec) -> anyhow::Result<Measured> {
    let interval = Duration::from_secs_f64(interval);
    let otel = match &spec.otel {
        Some(keys) => Config::parse(&format!("side: upper\notel: {keys}\n"), Path::new("otel.yml"))?.otel,
        None => OtelFile::default(),
    };
    let (sent, _) = otel.with_environment(Path::new("otel.yml"), &|_| None)?;
    let config = Config {
        probe: ProbeSettings {
            interval,
            timeout: TIMEOUT,
        },
        side: Side::Upper,
        inventory: Vec::new(),
        shard: None,
        targets: Some(targets(spec)?),
        source: SourceRule::None,
        port: 0,
        channel: Arc::default(),
        grpc_secrets: "/nonexistent".into(),
        namespaces: Vec::new(),
        publish: Publish::Off,
        publish_notifications: false,
        schema: Schema::Sonic,
        modules: Arc::new([]),
        otel,
    };
    let reloaded = config.clone();
    let exporter = Exporter::start(Options {
        config,
        load: std::sync::Arc::new(move || Ok(reloaded.clone())),
        follow: None,
        listeners: Default::default(),
        paths: Default::default(),
        allowed_hosts: Default::default(),
        enable_lifecycle: false,
        service_manager: Default::default(),
        watchdog: Default::default(),
        web_config: None,
        limits: Default::default(),
        otel: sent,
        lines_dropped: Arc::default(),
    });
    let fleet = exporter.fleet();
    tokio::spawn(exporter.run(std::future::pending()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !all_ready(&fleet.snapshot().await?) {
        ensure!(Instant::now() < deadline, "not all SoCs are READY");
        sleep(Duration::from_millis(50)).await;
    }
    // With telemetry also until the traces of the start have been sent: they are no cost of a round.
    let settle = if spec.otel.is_some() {
        OTEL_SETTLES
    } else {
        Duration::ZERO
    };
    sleep(interval + settle).await;
    ready()?;
    let (before, start) = (own_cpu()?, fleet.snapshot().await?);
    sleep(Duration::from_secs_f64(seconds)).await;
    let (after, end) = (own_cpu()?, fleet.snapshot().await?);
    let rounds = |snapshot: &Snapshot| snapshot.socs.iter().map(|soc| soc.rounds).sum::<u64>();
    let count = |snapshot: &Snapshot, counts: fn(QueryResult) -> bool| {
        let results = QueryResult::ALL.iter().filter(|result| counts(**result));
        let of = |result: &QueryResult| {
            let per_soc = |soc: &Arc<_>| queries(soc, *result);
            snapshot.socs.iter().map(per_soc).sum::<u64>()
        };
        results.map(of).sum::<u64>()
    };
    Ok(Measured {
        cpu: after - before,
        rounds: rounds(&end) - rounds(&start),
        failed: count(&end, |result| result != QueryResult::Ok),
        late: count(&end, |result| result == QueryResult::DeadlineExceeded),
        memory: resident(std::process::id())?,
        ..Measured::default()
    })
}

fn queries(soc: &Arc<dualtor_exporter::model::SocStatus>, result: QueryResult) -> u64 {
    soc.probes.iter().map(|query| query[result.index()]).sum()
}

fn all_ready(snapshot: &Snapshot) -> bool {
    let is_ready = |soc: &Arc<dualtor_exporter::model::SocStatus>| {
        soc.channel.state == ChannelState::Ready && soc.rounds > 0
    };
    snapshot.socs.iter().all(is_ready)
}

async fn idle(kind: Kind, seconds: f64, spec: &Spec) -> anyhow::Result<Measured> {
    let pid = std::process::id();
    let before = resident(pid)?;
    let mut group = group(kind, spec)?;
    for _ in 0..group.socs {
        group.outcomes.recv().await.context("a SoC's task has ended")?;
    }
    let memory = resident(pid)? - before;
    ready()?;
    let before = own_cpu()?;
    sleep(Duration::from_secs_f64(seconds)).await;
    Ok(Measured {
        memory,
        load: (own_cpu()? - before) / (seconds * 1e6),
        ..Measured::default()
    })
}

/// Runs a measurement in a separate process; `connected` is called when it has its connections.
pub(crate) fn measure(
    spec: &Spec,
    connected: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    use std::process::{Command, Stdio};
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--client", &serde_json::to_string(spec)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("no pipes");
    };
    let mut lines = std::io::BufReader::new(stdout).lines();
    let line = lines.next().context("the client has failed")??;
    ensure!(line == "ready", "the client says {line}");
    connected()?;
    stdin.write_all(b"go\n")?;
    let line = lines.next().context("the client has failed")??;
    child.wait()?;
    Ok(serde_json::from_str(&line)?)
}
