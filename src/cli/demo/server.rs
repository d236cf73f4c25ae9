//! The demo's own redis-server, on a unix socket, and gone with the demo however that ends.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::config::RedisServer;

/// A rack-local Redis is up in some 10 ms.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(super) struct Redis {
    child: Child,
    /// Ends redis-server when the demo has ended without doing so. `None`: that cannot be done here.
    watchman: Option<Child>,
    pub(super) socket: PathBuf,
}

impl Redis {
    /// `None` where there is no redis-server to start. It tells of changes, as a switch's does.
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Option<Self>> {
        let socket = directory.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--notify-keyspace-events", "AKE", "--unixsocket"])
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
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start redis-server"),
        };
        let watchman = child.id().and_then(watchman);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = UnixStream::connect(&socket).await {
            if let Some(status) = child.try_wait()? {
                bail!("redis-server ended at once ({status})");
            }
            if Instant::now() > deadline {
                bail!("redis-server does not listen on {}: {error}", socket.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Some(Self {
            child,
            watchman,
            socket,
        }))
    }

    /// Where it is, as the configuration says it.
    pub(super) fn server(&self) -> RedisServer {
        RedisServer::Unix(self.socket.clone())
    }

    pub(super) async fn stop(mut self) {
        // The watchman first: the process id that it knows may soon be another's.
        let children = self.watchman.iter_mut().chain([&mut self.child]);
        for child in children {
            if let Err(error) = child.kill().await {
                debug!(%error, "redis-server, or who watches it, was gone already");
            }
        }
    }
}

/// Waits for the end of its input, which comes when this process ends, were it by SIGKILL.
fn watchman(process: u32) -> Option<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill \"$0\"", &process.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()
}
