//! A program that runs beside the demo and ends with it, however the demo ends.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};
use tracing::debug;

/// See the module's page.
pub(crate) struct Daemon {
    child: Child,
    /// Ends the program if the demo has ended without doing so. `None`: this is not possible here.
    watchman: Option<Child>,
}

impl Daemon {
    /// `None`: the program is not installed.
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Option<Self>> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C goes to the whole process group of the terminal. Redis must run until our last rows are written.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match child {
            Ok(child) => Ok(Some(Self {
                watchman: child.id().and_then(watchman),
                child,
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How it ended, if it has ended.
    pub(crate) fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    pub(crate) async fn stop(mut self) {
        // The watchman first: the process id that it knows may soon belong to another process.
        let children = self.watchman.iter_mut().chain([&mut self.child]);
        for child in children {
            if let Err(error) = child.kill().await {
                debug!(target: "dualtor::demo", %error, "a program of the demo, or who watches it, was gone already");
            }
        }
    }
}

/// Waits for the end of its input. That comes when this process ends, even by SIGKILL.
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
