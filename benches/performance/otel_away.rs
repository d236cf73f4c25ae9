//! A collector that refuses, is mute, stopped or slow, for minutes: what of it does probing notice? Two exporters beside each other,
//! each with 1,000 SoCs of its own: one that sends all traces to this collector, and one without telemetry. So whatever else the
//! machine does concerns both.
//!
//! `make bench SECTIONS=otel-away MINUTES=10 INTERVAL=1s`: of each case. An error if a limit is broken, but for that of the durations:
//! on a busy machine their 99th of 100 is mostly chance.

use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dualtor_testkit::child::Program;
use dualtor_testkit::http::{Scrape, get};
use dualtor_testkit::otlp_receiver::{Behaviour, OtlpReceiver};
use dualtor_testkit::wait::wait_until;
use tokio::time::sleep;

use crate::median;
use crate::rack::{self, Simulator};
use crate::web_logins::at;
use crate::whole::Setting;

const SOCS: usize = 1_000;
/// Ports whose rounds are read. All of them would be more work than the rounds themselves.
const READ: usize = 250;
/// The API has this many rounds of a port.
const ROUNDS: u32 = 16;
/// More memory than without telemetry, MB.
const MORE_MEMORY: f64 = 8.0;
/// A stop takes at most this long.
const STOP: Duration = Duration::from_secs(5);
/// An answer later than this is slow, but within the time-out (10 s).
const SLOW: Duration = Duration::from_secs(3);

/// How the collector is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    Refused,
    Mute,
    Stopped,
    Slow,
}

impl Bad {
    const ALL: [Self; 4] = [Self::Refused, Self::Mute, Self::Stopped, Self::Slow];

    /// Lines in the log each way. What arrives slowly arrives.
    fn lines(self) -> usize {
        usize::from(self != Self::Slow)
    }
}

/// A collector in a process of its own, so that it can be stopped.
struct Place {
    address: SocketAddr,
    running: Option<Program>,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.78.0.1:0")?.local_addr()?;
        let running = None;
        Ok(Self { address, running })
    }

    async fn start(&mut self, behaviour: &str) -> anyhow::Result<()> {
        self.running = None;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--collector", &self.address.to_string(), behaviour]);
        let program = self.running.insert(Program::spawn(command));
        program.says("ready", 1).await;
        Ok(())
    }

    async fn become_bad(&mut self, bad: Bad) -> anyhow::Result<()> {
        match bad {
            Bad::Refused => self.running = None,
            Bad::Mute => self.start("mute").await?,
            Bad::Slow => self.start("slow").await?,
            Bad::Stopped => {
                self.start("accept").await?;
                if let Some(running) = &self.running {
                    running.signal("STOP");
                }
            }
        }
        Ok(())
    }

    async fn become_good(&mut self, from: Bad) -> anyhow::Result<()> {
        match &self.running {
            Some(running) if from == Bad::Stopped => running.signal("CONT"),
            _ => self.start("accept").await?,
        }
        Ok(())
    }
}

/// The collector's process.
pub(crate) fn collector(address: &str, behaviour: &str) -> anyhow::Result<()> {
    let behaviour = match behaviour {
        "accept" => Behaviour::Accept,
        "mute" => Behaviour::Mute,
        "slow" => Behaviour::Slow(SLOW),
        other => bail!("expected accept, mute or slow, got {other:?}"),
    };
    let address = address.parse()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let receiver = OtlpReceiver::start_at(address, false).await;
        receiver.behave(behaviour);
        println!("ready");
        std::future::pending::<()>().await;
    });
    Ok(())
}

/// An exporter, its SoCs and its address.
struct Running {
    program: Program,
    web: SocketAddr,
    setting: Setting,
}

impl Running {
    async fn start(
        simulators: &[Simulator],
        interval: &str,
        collector: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let setting = Setting::new(simulators, interval, "{publish: off}")?;
        let endpoint = collector.map(|address| format!("http://{address}"));
        let variables: Vec<(&str, &str)> = match &endpoint {
            Some(endpoint) => vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_TRACES_SAMPLER", "always_on"),
            ],
            None => Vec::new(),
        };
        let config = setting.directory.path().join("config.yml");
        let config = config.to_str().context("UTF-8")?;
        let args = ["--config.file", config, "--web.listen-address", "127.0.0.1:0"];
        let mut program = Program::start_with(&args, &variables);
        let web = program.address().await;
        Ok(Self {
            program,
            web,
            setting,
        })
    }

    async fn scrape(&self) -> Scrape {
        Scrape::parse(get(self.web, "/metrics").await.text())
    }

    /// Until all SoCs are READY and have had a round.
    async fn settled(&self) {
        wait_until("all SoCs READY", async || {
            let scrape = self.scrape().await;
            let ready = scrape.count("dualtor_channel_state", &[("state", "ready")]);
            let rounds = scrape.count("dualtor_probes_total", &[("query", "health"), ("result", "OK")]);
            match ready as usize == SOCS && rounds as usize >= SOCS {
                true => Ok(()),
                false => Err(format!("{ready} READY, {rounds} rounds")),
            }
        })
        .await;
    }

    /// The durations of the last rounds, ms, sorted.
    async fn rounds(&self) -> anyhow::Result<Vec<f64>> {
        let mut all = Vec::new();
        for port in self.setting.ports.iter().step_by(SOCS / READ) {
            let answer = get(self.web, &format!("/api/v1/ports/{port}")).await;
            let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let rounds = page["rounds"].as_array().context("rounds")?;
            all.extend(rounds.iter().filter_map(|round| round["duration"].as_f64()));
        }
        all.sort_by(f64::total_cmp);
        Ok(all.iter().map(|seconds| seconds * 1e3).collect())
    }

    /// Another interval, without a restart.
    async fn reload(&mut self, from: &str, to: &str, times: usize) -> anyhow::Result<()> {
        let path = self.setting.directory.path().join("config.yml");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(
            &path,
            text.replacen(&format!("interval: {from}"), &format!("interval: {to}"), 1),
        )?;
        self.program.signal("HUP");
        self.program
            .says("message=\"configuration reloaded\"", times)
            .await;
        Ok(())
    }

    fn lines(&self, words: &str) -> usize {
        let text = self.program.stderr();
        text.lines().filter(|line| line.contains(words)).count()
    }
}

/// Spans by what has become of them, and how many there must be, by counters that know nothing of spans: one for each dial, one for each
/// round, one for each query that was sent. Of those that ended as UNAVAILABLE it is not known whether they were sent: while there is
/// no channel they are not.
fn spans(scrape: &Scrape) -> ([u64; 3], RangeInclusive<u64>) {
    let of = |result: &str| scrape.count("dualtor_otlp_spans_total", &[("result", result)]);
    let probes = |labels: &[(&str, &str)]| scrape.count("dualtor_probes_total", labels);
    let dials = scrape.count("dualtor_channel_dials_total", &[]);
    let most = dials + probes(&[("query", "admin")]) + probes(&[]);
    let made = most - probes(&[("result", "UNAVAILABLE")])..=most;
    (["ok", "error", "dropped"].map(of), made)
}

fn variable(name: &str, default: &str) -> String {
    let value = std::env::var(name).unwrap_or_default();
    if value.is_empty() {
        default.to_owned()
    } else {
        value
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    let minutes: f64 = variable("MINUTES", "10")
        .parse()
        .context("MINUTES: expected a number")?;
    let interval = variable("INTERVAL", "1s");
    let seconds = interval.strip_suffix('s').and_then(|number| number.parse().ok());
    let seconds: f64 = seconds.context("INTERVAL: expected seconds, such as 5s")?;
    println!(
        "\n### A bad collector for {minutes} minutes, `traces: all`, {SOCS} SoCs every {interval}, beside an exporter without telemetry\n"
    );
    println!(
        "| collector | memory without, with | 99th of a round without, with (ratio; of {READ} SoCs) | lines in the log | ok + error + dropped, of those made | SIGTERM |"
    );
    println!("|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Runtime::new()?;
    let mut broken = Vec::new();
    for bad in Bad::ALL {
        broken.extend(runtime.block_on(one(bad, minutes, &interval, seconds))?);
    }
    println!("\nLimits: {MORE_MEMORY} MB more, 5 % longer, the same number, {STOP:?}.");
    ensure!(broken.is_empty(), "limits broken: {}", broken.join("; "));
    Ok(())
}

/// Memory, MB, and the 99th of the rounds, ms, of both exporters over the minutes.
struct Watched {
    memory: [f64; 2],
    slowest: [f64; 2],
    ratio: f64,
}

async fn watch(both: &[Running; 2], minutes: f64, seconds: f64) -> anyhow::Result<Watched> {
    let window = seconds * f64::from(ROUNDS);
    let windows = (minutes * 60.0 / window).ceil().max(1.0) as usize;
    let (mut memory, mut slowest, mut ratios) = ([0.0_f64; 2], [Vec::new(), Vec::new()], Vec::new());
    for _ in 0..windows {
        sleep(Duration::from_secs_f64(window)).await;
        let mut pair = [0.0; 2];
        for (n, running) in both.iter().enumerate() {
            memory[n] = memory[n].max(running.program.memory_kb() as f64 / 1024.0);
            pair[n] = at(&running.rounds().await?, 0.99);
            slowest[n].push(pair[n]);
        }
        ratios.push(pair[1] / pair[0]);
    }
    Ok(Watched {
        memory,
        slowest: slowest.map(|mut slowest| median(&mut slowest)),
        ratio: median(&mut ratios),
    })
}

/// Returns the limits that were broken.
async fn one(bad: Bad, minutes: f64, interval: &str, seconds: f64) -> anyhow::Result<Vec<String>> {
    let (mut place, simulators) = (Place::new()?, rack::start(2 * SOCS, 2)?);
    place.become_bad(bad).await?;
    let mut both = [
        Running::start(&simulators[..1], interval, None).await?,
        Running::start(&simulators[1..], interval, Some(place.address)).await?,
    ];
    for running in &both {
        running.settled().await;
    }
    let watched = watch(&both, minutes, seconds).await?;

    // No more rounds; then all that waits arrives.
    let [_, with] = &mut both;
    with.reload(interval, "1h", 1).await?;
    place.become_good(bad).await?;
    let mut before = 0..=0;
    let ([ok, error, dropped], made) = wait_until("all spans counted", async || {
        let (counts, made) = spans(&with.scrape().await);
        let is_still = std::mem::replace(&mut before, made.clone()) == made;
        match is_still && made.contains(&counts.iter().sum()) {
            true => Ok((counts, made)),
            false => {
                sleep(Duration::from_secs_f64(seconds)).await;
                Err(format!("{counts:?} of {made:?}"))
            }
        }
    })
    .await;
    // It is well again when nothing has failed for half a minute, and the next message tells: within a minute.
    let lines = wait_until("the end in the log", async || {
        let lines = ["telemetry does not arrive", "telemetry arrives again"].map(|words| with.lines(words));
        match lines[1] >= bad.lines() {
            true => Ok(lines),
            false => Err(format!("{lines:?}")),
        }
    })
    .await;
    let all = with.lines("telemetry");

    // A stop while it is bad again, and spans wait.
    with.reload("1h", interval, 2).await?;
    place.become_bad(bad).await?;
    sleep(Duration::from_secs_f64(2.0 * seconds + 6.0)).await;
    let [without, with] = both;
    drop(without);
    let began = Instant::now();
    with.program.signal("TERM");
    let (ended, took) = (with.program.ended().await, began.elapsed());

    let Watched {
        memory,
        slowest,
        ratio,
    } = watched;
    let name = format!("{bad:?}").to_lowercase();
    println!(
        "| {name} | {:.1} MB, {:.1} MB | {:.2} ms, {:.2} ms ({ratio:.3}) | {} and {} | {ok} + {error} + {dropped} = {}, of {made:?} | {:.2} s |",
        memory[0],
        memory[1],
        slowest[0],
        slowest[1],
        lines[0],
        lines[1],
        ok + error + dropped,
        took.as_secs_f64()
    );
    let limits = [
        (memory[1] - memory[0] < MORE_MEMORY, "memory"),
        (
            lines == [bad.lines(); 2] && all == 2 * bad.lines(),
            "lines in the log",
        ),
        (took < STOP && ended.code == Some(0), "stop"),
    ];
    let broken = limits.iter().filter(|(is_kept, _)| !is_kept);
    Ok(broken.map(|(_, what)| format!("{name}: {what}")).collect())
}
