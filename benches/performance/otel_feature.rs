//! What OpenTelemetry costs where it is in the program but off: the program with the feature `otel` and the program without it, both
//! built here by cargo with the release profile, measured in turn in one run. `make bench SECTIONS=otel-feature`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use dualtor_testkit::child::Program;
use dualtor_testkit::http::{Scrape, get};
use dualtor_testkit::wait::wait_until;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::cpu;
use crate::median;
use crate::rack;
use crate::whole::Setting;

const SOCS: usize = 1_000;
/// More than elsewhere: the limit is 1 %.
const PAIRS: usize = 9;
const SECONDS: u64 = 10;

/// Builds the program with these features and puts it aside as `name`.
fn build(directory: &Path, name: &str, features: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        "build --locked --release -p dualtor-exporter --bin dualtor-exporter --no-default-features";
    let status = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments.split(' '))
        .args(["--features", features])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo has failed");
    // target/release/deps/performance-1234, or that of another profile.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("a target directory")?;
    let kept = directory.join(name);
    std::fs::copy(target.join("release/dualtor-exporter"), &kept)?;
    Ok(kept)
}

/// CPU per round, µs, of this program, whose rounds have settled.
async fn cost(program: &Path, setting: &Setting) -> anyhow::Result<f64> {
    let config = setting.directory.path().join("config.yml");
    let mut command = Command::new(program);
    command.arg("--config.file").arg(config);
    command.args(["--web.listen-address", "127.0.0.1:0"]);
    let mut running = Program::spawn(command);
    let web = running.address().await;
    let rounds = async || {
        let scrape = Scrape::parse(get(web, "/metrics").await.text());
        scrape.count("dualtor_probes_total", &[("query", "health"), ("result", "OK")])
    };
    wait_until("the second round of all", async || match rounds().await {
        count if count >= 2 * SOCS as u64 => Ok(()),
        count => Err(format!("{count} rounds")),
    })
    .await;
    // The scrapes are not measured; the rounds during them are few, and both programs have them.
    let (before, start) = (rounds().await, cpu(running.id())?);
    sleep(Duration::from_secs(SECONDS)).await;
    let (end, after) = (cpu(running.id())?, rounds().await);
    Ok((end - start) / (after - before) as f64)
}

pub(crate) fn run() -> anyhow::Result<()> {
    let directory = TempDir::with_prefix("dualtor-bench-")?;
    // The usual one last: its copy in target/ is what others find there.
    let without = build(directory.path(), "without", "unary")?;
    let with = build(directory.path(), "with", "unary,otel")?;
    let programs = [("without the feature", without), ("with the feature, off", with)];
    println!(
        "\n### OpenTelemetry in the program, but off: {SOCS} SoCs every second for {SECONDS} s, median of {PAIRS} runs in turn\n"
    );
    println!("| program | size | CPU per SoC-round | compared, same pair |\n|---|---|---|---|");
    let simulators = rack::start(SOCS, 1)?;
    let setting = Setting::new(&simulators, "1s", "{publish: off}")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..PAIRS {
        for ((_, program), costs) in programs.iter().zip(&mut costs) {
            costs.push(runtime.block_on(cost(program, &setting))?);
        }
    }
    for ((name, program), own) in programs.iter().zip(&costs) {
        let mut ratios: Vec<f64> = own
            .iter()
            .zip(&costs[0])
            .map(|(own, first)| own / first)
            .collect();
        let size = std::fs::metadata(program)?.len() as f64 / 1e6;
        let cost = median(&mut own.clone());
        println!(
            "| {name} | {size:.2} MB | {cost:.1} µs | {:.3} |",
            median(&mut ratios)
        );
    }
    println!("\nLimit: 1.010.");
    Ok(())
}
