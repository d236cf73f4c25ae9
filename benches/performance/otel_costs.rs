//! What OpenTelemetry costs: CPU per round with traces off, failed and all, and memory with a collector that is away. To compare with
//! a program without the feature: `cargo bench -p dualtor-exporter --no-default-features --bench performance -- otel`.

use std::net::TcpListener;

use dualtor_testkit::otlp_receiver::OtlpReceiver;

use crate::client::{Kind, Measured, Mode, Spec, measure};
use crate::rack::{self, Simulator};
use crate::{REPETITIONS, median, racks};

const SOCS: usize = 1_000;
const MANY: usize = 10_000;

pub(crate) fn run() -> anyhow::Result<()> {
    println!(
        "\n### OpenTelemetry: CPU per SoC-round, {SOCS} SoCs every second, median of {REPETITIONS} runs in turn\n"
    );
    println!("| traces | CPU | compared with off, same run |\n|---|---|---|");
    let simulators = rack::start(SOCS, 1)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let receiver = runtime.block_on(OtlpReceiver::start(false));
    let arrives = format!("http://{}", receiver.address);
    let cases: &[(&str, Option<&str>)] = match cfg!(feature = "otel") {
        true => &[("off", None), ("failed", Some("failed")), ("all", Some("all"))],
        false => &[("without the feature", None)],
    };
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..REPETITIONS {
        for ((_, traces), times) in cases.iter().zip(&mut times) {
            let spec = spec(&simulators, traces.map(|traces| (&*arrives, traces)), 1.0, 10.0);
            times.push(measure(&spec, || Ok(()))?.cpu_per_round());
        }
    }
    for ((name, _), mut own) in cases.iter().zip(times.clone()) {
        let mut ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, off)| own / off).collect();
        println!(
            "| {name} | {:.1} µs | {:.3} |",
            median(&mut own),
            median(&mut ratios)
        );
    }
    drop((receiver, simulators));
    if cfg!(feature = "otel") { memory() } else { Ok(()) }
}

fn memory() -> anyhow::Result<()> {
    println!("\n### OpenTelemetry: memory of {MANY} SoCs every 10 s\n");
    println!("| traces | collector | resident |\n|---|---|---|");
    // Nothing listens there any more.
    let away = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    // It accepts connections in the kernel and never answers.
    let mute = TcpListener::bind("127.0.0.1:0")?;
    for (traces, collector, at) in [
        ("off", "none", None),
        ("all", "away", Some(away)),
        ("all", "mute", Some(mute.local_addr()?)),
    ] {
        let simulators = rack::start(MANY, 1)?;
        let endpoint = at.map(|at| format!("http://{at}"));
        let otel = endpoint.as_deref().map(|endpoint| (endpoint, traces));
        let Measured { memory, .. } = measure(&spec(&simulators, otel, 10.0, 30.0), || Ok(()))?;
        println!("| {traces} | {collector} | {:.1} MB |", memory as f64 / 1024.0);
    }
    Ok(())
}

fn spec(simulators: &[Simulator], otel: Option<(&str, &str)>, interval: f64, seconds: f64) -> Spec {
    Spec {
        kind: Kind::Ours,
        mode: Mode::Spread { interval, seconds },
        racks: racks(simulators),
        max_rounds: None,
        otel: Some(otel.map_or_else(
            || "{}".to_owned(),
            |(endpoint, traces)| format!("{{endpoint: \"{endpoint}\", traces: {traces}}}"),
        )),
    }
}
