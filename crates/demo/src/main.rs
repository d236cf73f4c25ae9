//! `dualtor-demo`: a simulated rack and an exporter in one process, with a private Redis, Prometheus and Alertmanager beside
//! it. It prints where to look.
//!
//! The Redis has the content of a switch's databases, and the exporter finds the SoCs there. Without a redis-server its
//! configuration names them. Prometheus and Alertmanager use the rules and routes of alerts/.
//!
//! | file | job |
//! |---|---|
//! | demo.yaml | the SoCs, and what happens to them |
//! | demo_switch | the switch's databases, and what happens in them |
//! | server | the redis-server |
//! | monitoring | Prometheus, Alertmanager and the pages that are sent |
//! | daemon | a program that ends with the demo |
//! | teller | the lines that are printed while it runs |
//!
//! Everything is on loopback addresses and in one temporary directory. All of it is removed when the demo ends.

mod daemon;
mod demo_switch;
mod monitoring;
mod server;
mod teller;

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, bail};
use clap::Parser;
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use demo_switch::Switch;
use dualtor_exporter::app::{Exporter, Listeners, Options};
use dualtor_exporter::cli::host::{listen, raise_open_files, stop_signals};
use dualtor_exporter::cli::open_telemetry::otel_settings_at_start;
use dualtor_exporter::cli::program::{self, FAILED, LogArgs, Program, print};
use dualtor_exporter::config::Config;
use dualtor_sim::{Scenario, SimError, Simulator};
use monitoring::Monitoring;
use server::Redis;

/// The rack and what happens in it.
const SCENARIO: &str = include_str!("demo.yaml");

/// Runs a simulated rack of 24 SoCs with an exporter, and prints where to look
#[derive(Debug, Parser)]
#[command(name = "dualtor-demo", version, max_term_width = 110)]
struct Arguments {
    /// Address to serve on
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9075"
    )]
    listen: String,
    #[command(flatten)]
    log: LogArgs,
}

fn main() -> ExitCode {
    let arguments = match program::parse::<Arguments>(program::CANNOT_START) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let program = Program {
        name: "dualtor-demo",
        quiet: true,
        cannot_start: program::CANNOT_START,
        after_a_defect: FAILED,
    };
    program::run(program, &arguments.log, |dropped| run(&arguments.listen, dropped))
}

async fn run(at: &str, lines_dropped: Arc<AtomicU64>) -> anyhow::Result<ExitCode> {
    let listener = listen(at)
        .await
        .with_context(|| format!("--web.listen-address {at:?}"))?;
    let address = listener.local_addr()?;
    raise_open_files();
    let mut stop = stop_signals()?;
    let directory = TempDir::with_prefix("dualtor-demo-").context("cannot make a temporary directory")?;
    let redis = Redis::start(directory.path()).await?;
    let simulator = simulator().await?;
    let switch = match &redis {
        Some(redis) => Some(Switch::boot(&redis.server(), &simulator).await?),
        None => None,
    };
    let config = config(&simulator, redis.as_ref())?;
    let (reloaded, with_otel) = (config.clone(), config.clone());
    let exporter = Exporter::start(Options {
        config,
        load: Arc::new(move || Ok(reloaded.clone())),
        follow: None,
        listeners: Listeners {
            web: vec![listener],
            grpc: Vec::new(),
        },
        paths: Default::default(),
        allowed_hosts: Default::default(),
        enable_lifecycle: false,
        service_manager: Default::default(),
        watchdog: Default::default(),
        web_config: None,
        limits: Default::default(),
        otel: otel_settings_at_start(&with_otel, None)?,
        lines_dropped,
    });

    // The first lines are about what happens from now on.
    let feed = exporter.fleet().feed();

    print(&format!(
        "{} simulated SoCs, probed every 5 s. Ctrl-C ends the demo.\n",
        simulator.socs().len()
    ));
    print(&format!("  page      http://{address}/"));
    print(&format!(
        "  metrics   curl -s http://{address}/metrics | grep dualtor_channel_state"
    ));
    match &redis {
        Some(redis) => print(&format!(
            "  one row   redis-cli -s {} -n 6 hgetall 'MUX_CABLE_INFO|Ethernet0'",
            redis.socket.display()
        )),
        None => {
            print("  rows      none: redis-server is not installed (Debian: apt-get install redis-server)")
        }
    }
    let monitoring = Monitoring::start(directory.path(), address).await;
    print("");

    let teller = tokio::spawn(teller::tell(feed, simulator.socs().len()));
    let life = switch.map(|switch| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = switch.live(teller::print_about).await {
                warn!(target: "dualtor::demo", %error, "nothing more happens in the switch's databases");
            }
        }))
    });
    let outcome = exporter.run(async move { stop.recv().await }).await;
    teller.abort();
    drop((life, simulator));
    monitoring.stop().await;
    if let Some(redis) = redis {
        redis.stop().await;
    }
    directory
        .close()
        .context("cannot remove the temporary directory")?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// The addresses are always the same, so that they can be written into commands.
async fn simulator() -> anyhow::Result<Simulator> {
    match Simulator::start(Scenario::from_yaml(SCENARIO)?).await {
        Err(SimError::Listen { address, source, .. }) if source.kind() == ErrorKind::AddrInUse => bail!(
            "{address} is in use, where one of the demo's SoCs should be: end the demo (or dualtor-sim) that runs already"
        ),
        started => Ok(started?),
    }
}

/// From CONFIG_DB, as on a switch. Without a Redis the configuration lists the SoCs.
fn config(simulator: &Simulator, redis: Option<&Redis>) -> anyhow::Result<Config> {
    let mut yaml = String::from("probe: {interval: 5s}\n");
    match redis {
        Some(redis) => yaml += &format!("databases: {{url: \"{}\"}}\n", redis.server()),
        None => {
            yaml += "side: upper\ndatabases: {publish: off}\ntargets:\n";
            for soc in simulator.socs() {
                yaml += &format!("  - {{port: {}, address: \"{}\"}}\n", soc.name(), soc.address());
            }
        }
    }
    Ok(Config::parse(&yaml, Path::new("the demo's configuration"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_scenario_is_valid_and_has_24_socs() {
        let scenario = Scenario::from_yaml(SCENARIO).expect("valid");
        assert_eq!(scenario.rack.map(|rack| rack.count), Some(24));
    }
}
