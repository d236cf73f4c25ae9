//! A real program, usually our own binary: it is started with arguments, gets signals, is waited for, and is killed when
//! dropped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::wait::{LONG, wait_until};

/// A binary of the workspace, from the same build as the running test or benchmark.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    // target/debug/deps/it-1234
    let directory = own.parent().and_then(Path::parent).expect("a target directory");
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build -p {name}` makes it, with the profile of this run",
        path.display()
    );
    path
}

/// A running program, and what it has printed so far.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// Starts it with these arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// Starts it with these arguments and environment variables.
    pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_our("dualtor-exporter", args, variables)
    }

    /// Starts another binary of the workspace.
    pub fn start_our(name: &str, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary(name));
        // The width of the help text.
        command
            .args(args)
            .env("COLUMNS", "100")
            .envs(variables.iter().copied());
        Self::spawn(command)
    }

    /// Starts another program and collects its output.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", command.get_program()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, out) = collect(stdout.expect("piped"));
        let (stderr, err) = collect(stderr.expect("piped"));
        Self {
            child,
            stdout,
            stderr,
            readers: vec![out, err],
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("no panic").clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no panic").clone()
    }

    /// Resident memory in kB.
    pub fn memory_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// The most resident memory in kB since the start, or since `forget_peak`.
    pub fn peak_memory_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    /// The peak is measured anew from now on.
    pub fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.id());
        // The kernel's word for this (proc(5)).
        std::fs::write(path, "5").expect("our own child");
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("running");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.expect("its size").trim().trim_end_matches(" kB");
        number.parse().expect("a number")
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id()));
        files.expect("running").count()
    }

    /// `TERM`, `INT` or `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    /// Waits until it has logged or printed this many lines with `words`. Returns the last of them.
    pub async fn says(&mut self, words: &str, times: usize) -> String {
        wait_until(&format!("{words:?}, {times} times"), async || {
            let all = self.stdout() + &self.stderr();
            let lines: Vec<&str> = all.lines().filter(|line| line.contains(words)).collect();
            match lines.last() {
                Some(line) if lines.len() >= times => Ok((*line).to_owned()),
                _ => {
                    let ended = self.child.try_wait().expect("its state");
                    assert!(ended.is_none(), "{words:?} was not printed before the end: {all}");
                    Err(all)
                }
            }
        })
        .await
    }

    /// Waits until it has logged or printed `words`. `Err`: its output, if it ended without them.
    pub async fn says_or_ends(&mut self, words: &str) -> Result<(), String> {
        wait_until(&format!("{words:?} or the end"), async || {
            let ended = self.child.try_wait().expect("its state").is_some();
            let all = self.stdout() + &self.stderr();
            match (all.contains(words), ended) {
                (true, _) => Ok(Ok(())),
                (false, true) => Ok(Err(all)),
                (false, false) => Err(all),
            }
        })
        .await
    }

    /// Where it serves, from its log.
    pub async fn address(&mut self) -> std::net::SocketAddr {
        let line = self.says("message=serving", 1).await;
        let rest = line.split("address=").nth(1).expect("an address");
        let address = rest.split([' ', '"']).find(|word| !word.is_empty());
        address.expect("an address").parse().expect("an address")
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let deadline = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                break status;
            }
            assert!(Instant::now() < deadline, "it still runs: {}", self.stderr());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("no panic");
        }
        Ended {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end on a separate thread.
fn collect(mut pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, std::thread::JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = text.clone();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut bytes) {
            let part = String::from_utf8_lossy(&bytes[..n]).into_owned();
            collected.lock().expect("no panic").push_str(&part);
        }
    });
    (text, reader)
}

/// Runs it until it ends.
pub async fn run(args: &[&str]) -> Ended {
    Program::start(args).ended().await
}

/// Checks that it could not start: exit code 2, nothing on stdout, one message with all these `words`.
pub fn assert_cannot_start(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?}: {ended:?}");
    }
    let messages = ended.stderr.lines().filter(|line| line.starts_with("dualtor-"));
    assert_eq!(messages.count(), 1, "{ended:?}");
}
