//! Simulated SoCs in separate processes (`dualtor-sim`) that can be started, stopped, continued and killed.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use dualtor_exporter::model::{ChannelSettings, Port, Side, Target};
use dualtor_testkit::child::binary;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// A TCP port of this benchmark: not the SoCs' default, and not that of another run at the same time.
pub(crate) fn own_port() -> u16 {
    20_000 + (std::process::id() % 10_000) as u16
}

/// A process may have 20,000 files open. A SoC needs a listener and a connection, and for a moment connections of two clients.
const SOCS_PER_PROCESS: usize = 2_500;

/// The addresses of the SoCs of one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rack {
    pub(crate) first: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) count: usize,
    /// Whether they answer queries.
    pub(crate) healthy: bool,
}

impl Rack {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let first = u32::from(self.first);
        (first..)
            .take(self.count)
            .map(|ip| SocketAddrV4::new(ip.into(), self.port).into())
    }

    /// Different in each rack, so that names are unique.
    pub(crate) fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let channel = std::sync::Arc::new(ChannelSettings::default());
        self.addresses()
            .map(|address| {
                Ok(Target {
                    id: Port::new(&format!("Ethernet-{}", address.ip()))?.into(),
                    namespace: "".into(),
                    address,
                    side: Side::Upper,
                    channel: channel.clone(),
                })
            })
            .collect()
    }
}

/// One simulator process.
#[derive(Debug)]
pub(crate) struct Simulator {
    child: Child,
    pub(crate) rack: Rack,
    // The directory of its scenario.
    directory: TempDir,
}

impl Simulator {
    /// Returns when its SoCs can be dialled. `stalled`: they never answer a query, only PINGs.
    pub(crate) fn start(first: Ipv4Addr, count: usize, stalled: bool) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("dualtor-bench-")?;
        let port = own_port();
        let mut yaml = format!("rack: {{count: {count}, first_address: {first}, port: {port}}}\nsocs:\n");
        for n in 0..count {
            let reply = if stalled { "stall" } else { "none" };
            yaml += &format!("  - {{port: Ethernet{}, reply: {reply}}}\n", n * 4);
        }
        std::fs::write(directory.path().join("scenario.yaml"), yaml)?;
        let rack = Rack {
            first,
            port,
            count,
            healthy: true,
        };
        let child = spawn(&directory)?;
        Ok(Self {
            child,
            rack,
            directory,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The same SoCs again, in a new process.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.directory)?;
        Ok(())
    }
}

fn spawn(directory: &TempDir) -> anyhow::Result<Child> {
    let mut child = Command::new(binary("dualtor-sim"))
        .arg(directory.path().join("scenario.yaml"))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the simulator")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    ensure!(!line.is_empty(), "the simulator ended at once");
    Ok(child)
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `count` SoCs in as many processes as needed, at least `processes`.
pub(crate) fn start(count: usize, processes: usize) -> anyhow::Result<Vec<Simulator>> {
    let processes = count.div_ceil(SOCS_PER_PROCESS).max(processes);
    let each = count / processes;
    (0u8..)
        .take(processes)
        .map(|n| Simulator::start(Ipv4Addr::new(127, 80 + n, 0, 1), each, false))
        .collect()
}
