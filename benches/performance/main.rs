//! `make bench`: the cost of a round, an idle channel and a scrape, compared with the possible minimum. Prints Markdown.
//!
//! Sections: `rounds`, `hung`, `idle`, `scrape`, `process`, `scrapers`, `pages`, `streams`, `logins`, `otel`, `modules`. Only if named:
//! `full` (10,000 SoCs for three minutes), `otel-away` (a bad collector, `MINUTES` four times), `otel-feature` (builds the program
//! twice), and docs/scale.md's `scale`, `shards`, `prometheus` (half an hour). `cargo bench --bench performance -- rounds idle`

#![allow(clippy::print_stdout)]

mod bare;
mod client;
mod exposition;
mod module_targets;
mod otel_away;
mod otel_costs;
mod otel_feature;
mod rack;
mod scale;
mod scrapers;
mod web_clients;
mod web_logins;
mod web_streams;
mod whole;

use client::{Kind, Measured, Mode, Spec, measure};
use rack::{Rack, Simulator};
use rustix::process::Signal;

const SIZES: [usize; 3] = [128, 1_000, 10_000];
const REPETITIONS: usize = 5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, spec] = &arguments[..]
        && flag == "--client"
    {
        return client::run(spec);
    }
    if let [flag, address, behaviour] = &arguments[..]
        && flag == "--collector"
    {
        return otel_away::collector(address, behaviour);
    }
    // cargo adds `--bench`.
    let named: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |section| named.is_empty() || named.contains(&section);
    rlimit::increase_nofile_limit(u64::MAX)?;
    if wanted("scrape") {
        exposition::run()?;
    }
    if wanted("rounds") {
        rounds()?;
    }
    if wanted("hung") {
        hung()?;
    }
    if wanted("idle") {
        idle()?;
    }
    if wanted("process") {
        whole::small(4)?;
    }
    if wanted("scrapers") {
        scrapers::run()?;
    }
    if wanted("pages") {
        web_clients::run()?;
    }
    if wanted("streams") {
        web_streams::run()?;
    }
    if wanted("logins") {
        web_logins::run()?;
    }
    if wanted("otel") {
        otel_costs::run()?;
    }
    if wanted("modules") {
        module_targets::run()?;
    }
    if named.contains(&"otel-away") {
        otel_away::run()?;
    }
    if named.contains(&"otel-feature") {
        otel_feature::run()?;
    }
    if named.contains(&"full") {
        whole::large()?;
    }
    if named.contains(&"scale") {
        scale::one_process()?;
    }
    if named.contains(&"shards") {
        scale::shards()?;
    }
    if named.contains(&"prometheus") {
        scale::prometheus()?;
    }
    Ok(())
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn racks(simulators: &[Simulator]) -> Vec<Rack> {
    simulators
        .iter()
        .map(|simulator| simulator.rack.clone())
        .collect()
}

/// Measures the exporter and the bare loop in turn.
fn in_turn(simulators: &[Simulator], mode: &Mode) -> anyhow::Result<[Vec<Measured>; 2]> {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..REPETITIONS {
        for (kind, measured) in [Kind::Bare, Kind::Ours].into_iter().zip(&mut all) {
            let spec = Spec {
                kind,
                mode: mode.clone(),
                racks: racks(simulators),
                max_rounds: None,
                otel: None,
            };
            measured.push(measure(&spec, || Ok(()))?);
        }
    }
    Ok(all)
}

fn rounds() -> anyhow::Result<()> {
    println!("\n### CPU of the client per SoC-round (five RPCs), median of {REPETITIONS} runs in turn\n");
    println!(
        "| SoCs | rounds | bare h2 loop | exporter | ratio (least to most) | wall of a round, bare | exporter | queries late |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for socs in SIZES {
        let simulators = rack::start(socs, 1)?;
        let together = Mode::Together {
            rounds: (20_000 / socs).clamp(4, 100),
        };
        report(socs, "released together", &in_turn(&simulators, &together)?);
        // With 10,000 SoCs, 2,000 rounds a second keep both cores busy.
        let interval = (socs as f64 / 2_000.0).max(1.0);
        let spread = Mode::Spread {
            interval,
            seconds: 6.0,
        };
        let text = format!("every {interval} s, spread");
        report(socs, &text, &in_turn(&simulators, &spread)?);
    }
    Ok(())
}

fn report(socs: usize, mode: &str, [bare, ours]: &[Vec<Measured>; 2]) {
    let cpu = |all: &[Measured]| -> Vec<f64> { all.iter().map(Measured::cpu_per_round).collect() };
    let wall = |all: &[Measured]| -> String {
        let mut walls: Vec<f64> = all.iter().flat_map(|one| one.walls.clone()).collect();
        match &walls[..] {
            [] => "-".to_owned(),
            _ => format!("{:.1} ms", median(&mut walls)),
        }
    };
    let mut ratios: Vec<f64> = cpu(ours).iter().zip(cpu(bare)).map(|(a, b)| a / b).collect();
    let ratio = median(&mut ratios);
    println!(
        "| {socs} | {mode} | {:.0} µs | {:.0} µs | {ratio:.2} ({:.2} to {:.2}) | {} | {} | {} |",
        median(&mut cpu(bare)),
        median(&mut cpu(ours)),
        ratios[0],
        ratios[ratios.len() - 1],
        wall(bare),
        wall(ours),
        ours.iter().map(|one| one.late).sum::<u64>(),
    );
}

/// Half of the SoCs do not answer.
fn hung() -> anyhow::Result<()> {
    println!("\n### Half of the SoCs hung, all released together\n");
    println!(
        "| SoCs | the hung half | rounds at a time | wall of the round | longest of one SoC | healthy queries failed | of these late |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (socs, how) in [
        (128, "stopped"),
        (128, "stalled"),
        (1_000, "stopped"),
        (10_000, "none"),
        (10_000, "stopped"),
    ] {
        let limits: &[Option<u32>] = match socs {
            10_000 => &[None, Some(64), Some(128), Some(256)],
            _ => &[None],
        };
        for limit in limits {
            half_hung(socs, how, *limit)?;
        }
    }
    Ok(())
}

fn half_hung(socs: usize, how: &str, max_rounds: Option<u32>) -> anyhow::Result<()> {
    let mut simulators = if how == "stalled" {
        let first = std::net::Ipv4Addr::new(127, 80, 0, 1);
        let second = std::net::Ipv4Addr::new(127, 81, 0, 1);
        vec![
            Simulator::start(first, socs / 2, true)?,
            Simulator::start(second, socs / 2, false)?,
        ]
    } else {
        rack::start(socs, 2)?
    };
    let half = simulators.len() / 2;
    let (hung, _) = simulators.split_at_mut(if how == "none" { 0 } else { half });
    for simulator in hung {
        simulator.rack.healthy = false;
    }
    let spec = Spec {
        kind: Kind::Ours,
        mode: Mode::Together { rounds: 1 },
        racks: racks(&simulators),
        max_rounds,
        otel: None,
    };
    let mut all = Vec::new();
    for _ in 0..REPETITIONS.min(3) {
        let stop = || {
            let mut hung = simulators.iter().filter(|simulator| !simulator.rack.healthy);
            match how {
                "stopped" => hung.try_for_each(|simulator| simulator.signal(Signal::STOP)),
                _ => Ok(()),
            }
        };
        all.push(measure(&spec, stop)?);
        for simulator in &simulators {
            simulator.signal(Signal::CONT)?;
        }
    }
    let limit = max_rounds.map_or_else(|| "default".to_owned(), |limit| limit.to_string());
    let mut walls: Vec<f64> = all.iter().flat_map(|one| one.walls.clone()).collect();
    let longest = all.iter().map(|one| one.longest).fold(0.0, f64::max);
    println!(
        "| {socs} | {how} | {limit} | {:.0} ms | {longest:.0} ms | {} | {} |",
        median(&mut walls),
        all.iter().map(|one| one.failed).sum::<u64>(),
        all.iter().map(|one| one.late).sum::<u64>(),
    );
    Ok(())
}

fn idle() -> anyhow::Result<()> {
    println!("\n### An idle channel\n");
    println!(
        "| SoCs | kB per channel, bare h2 | exporter | keepalive of all channels, exporter |\n|---|---|---|---|"
    );
    for socs in SIZES {
        let simulators = rack::start(socs, 1)?;
        let spec = |kind, seconds| Spec {
            kind,
            mode: Mode::Idle { seconds },
            racks: racks(&simulators),
            max_rounds: None,
            otel: None,
        };
        let bare = measure(&spec(Kind::Bare, 0.1), || Ok(()))?;
        let ours = measure(&spec(Kind::Ours, 12.0), || Ok(()))?;
        println!(
            "| {socs} | {:.1} | {:.1} | {:.2} % of a core |",
            bare.memory as f64 / socs as f64,
            ours.memory as f64 / socs as f64,
            ours.load * 100.0,
        );
    }
    Ok(())
}
