//! The demo's own redis-server, on a unix socket.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::daemon::Daemon;
use dualtor_exporter::config::RedisServer;

/// How long Redis may take to start. Usually it is about 10 ms.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's page.
pub(crate) struct Redis {
    daemon: Daemon,
    pub(crate) socket: PathBuf,
}

impl Redis {
    /// `None`: there is no redis-server to start. It sends keyspace notifications, as on a switch.
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Option<Self>> {
        let socket = directory.join("redis.sock");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--notify-keyspace-events", "AKE", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .stderr(Stdio::null());
        let started = Daemon::start(&mut command).context("cannot start redis-server")?;
        let Some(mut daemon) = started else {
            return Ok(None);
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = UnixStream::connect(&socket).await {
            if let Some(status) = daemon.ended()? {
                bail!("redis-server ended at once ({status})");
            }
            if Instant::now() > deadline {
                bail!("redis-server does not listen on {}: {error}", socket.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Some(Self { daemon, socket }))
    }

    /// Its address for the configuration.
    pub(crate) fn server(&self) -> RedisServer {
        RedisServer::unix(&self.socket)
    }

    pub(crate) async fn stop(self) {
        self.daemon.stop().await;
    }
}
