//! `demo`: a simulated rack, a private Redis and an exporter in one process, and where to look.
//!
//! Everything lives on loopback addresses and in one temporary directory; all of it is gone when the demo ends.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{listen, print, raise_open_files, stop_signals};
use crate::app::{Exporter, Options};
use crate::config::Config;
use crate::fleet::FeedItem;
use crate::model::{Cause, ChannelState, SocService, Transition, TransitionKind};
use crate::sim::{Scenario, Simulator};

/// The rack and what happens in it.
const SCENARIO: &str = include_str!("demo.yaml");
/// A rack-local Redis is up in some 10 ms.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Address to serve on
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9075"
    )]
    listen: String,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let listener = listen(&args.listen)
        .await
        .with_context(|| format!("--web.listen-address {}", args.listen))?;
    let address = listener.local_addr()?;
    raise_open_files(0);
    let mut stop = stop_signals()?;
    let directory = TempDir::with_prefix("dualtor-demo-").context("cannot make a temporary directory")?;
    let redis = Redis::start(directory.path()).await?;
    let simulator = Simulator::start(Scenario::from_yaml(SCENARIO)?).await?;
    let config = config(&simulator, redis.as_ref())?;
    let reloaded = config.clone();
    let exporter = Exporter::start(Options {
        config,
        load: std::sync::Arc::new(move || Ok(reloaded.clone())),
        listeners: vec![listener],
        telemetry_path: "/metrics".to_owned(),
        enable_lifecycle: false,
    });

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
            "  one row   redis-cli -s {} -n 6 hgetall 'MUX_CABLE_INFO|Ethernet0'\n",
            redis.socket.display()
        )),
        None => {
            print("  rows      none: redis-server is not installed (Debian: apt-get install redis-server)\n")
        }
    }

    let mut feed = exporter.fleet().feed();
    let teller = tokio::spawn(async move {
        loop {
            match feed.recv().await {
                Ok(item) if is_news(&item.1.kind) => print(&line(&item)),
                Ok(_) => {}
                Err(RecvError::Lagged(lines)) => print(&format!("({lines} lines left out)")),
                Err(RecvError::Closed) => return,
            }
        }
    });
    let outcome = exporter.run(async move { stop.recv().await }).await;
    teller.abort();
    drop(simulator);
    if let Some(redis) = redis {
        redis.stop().await;
    }
    directory
        .close()
        .context("cannot remove the temporary directory")?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn config(simulator: &Simulator, redis: Option<&Redis>) -> anyhow::Result<Config> {
    let mut yaml = String::from("probe: {interval: 5s}\nside: upper\n");
    match redis {
        Some(redis) => {
            yaml += &format!(
                "databases: {{url: \"redis+unix://{}\"}}\n",
                redis.socket.display()
            )
        }
        None => yaml += "databases: {publish: off}\n",
    }
    yaml += "targets:\n";
    for soc in simulator.socs() {
        yaml += &format!("  - {{port: {}, address: \"{}\"}}\n", soc.name(), soc.address());
    }
    Ok(Config::parse(&yaml, Path::new("the demo's configuration"))?)
}

/// A redis-server of our own on a unix socket.
struct Redis {
    child: Child,
    socket: std::path::PathBuf,
}

impl Redis {
    /// `None` where there is no redis-server to start.
    async fn start(directory: &Path) -> anyhow::Result<Option<Self>> {
        let socket = directory.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the whole group of the terminal: Redis must outlive our last rows.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start redis-server"),
        };
        let deadline = Instant::now() + REDIS_PATIENCE;
        while let Err(error) = UnixStream::connect(&socket).await {
            if let Some(status) = child.try_wait()? {
                bail!("redis-server ended at once ({status})");
            }
            if Instant::now() > deadline {
                bail!("redis-server does not listen on {}: {error}", socket.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Some(Self { child, socket }))
    }

    async fn stop(mut self) {
        if let Err(error) = self.child.kill().await {
            debug!(%error, "redis-server was gone already");
        }
    }
}

/// One transition for a person, such as `02:31:07 Ethernet4    channel READY -> TRANSIENT_FAILURE (closed)`.
fn line((port, transition): &FeedItem) -> String {
    let Transition { at, kind } = transition;
    let what = match kind {
        TransitionKind::Channel { from, to, cause } => {
            let cause = cause.map_or(String::new(), |cause: Cause| format!(" ({cause})"));
            format!("channel {} -> {}{cause}", from.upper(), to.upper())
        }
        TransitionKind::Direction { own, from, to } => {
            format!(
                "{} mux direction {from} -> {to}",
                if *own { "self" } else { "peer" }
            )
        }
        TransitionKind::Service { from, to } => format!("soc service {from} -> {to}"),
        TransitionKind::Health { from, to } => format!("health {from} -> {to}"),
    };
    format!("{} {port:<12} {what}", clock(*at))
}

/// Not the first dial of each SoC, nor the stop.
fn is_news(kind: &TransitionKind) -> bool {
    use TransitionKind::{Channel, Direction, Health, Service};
    match kind {
        Channel { from, to, .. } => *from != ChannelState::Idle && *to != ChannelState::Shutdown,
        Service { from, .. } => *from != SocService::Unknown,
        Direction { .. } | Health { .. } => true,
    }
}

fn clock(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Port;

    #[test]
    fn the_demos_scenario_is_valid_and_has_24_socs() {
        let scenario = Scenario::from_yaml(SCENARIO).expect("valid");
        assert_eq!(scenario.rack.map(|rack| rack.count), Some(24));
    }

    #[test]
    fn a_transition_is_told_in_one_line() {
        let kind = TransitionKind::Channel {
            from: ChannelState::Ready,
            to: ChannelState::TransientFailure,
            cause: Some(Cause::Closed),
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(3661);
        let port = Port::new("Ethernet4").expect("a port");
        assert_eq!(
            line(&(port, Transition { at, kind })),
            "01:01:01 Ethernet4    channel READY -> TRANSIENT_FAILURE (closed)"
        );
    }
}
