//! Real servers, and the real exporter that probes them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use dualtor_testkit::child::Program;
use dualtor_testkit::http::{self, Scrape};
use dualtor_testkit::reserved_port::ReservedPort;
use dualtor_testkit::wait::wait_until;
use tempfile::TempDir;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// The Python that has grpcio and grpc-helper.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let made = Command::new(source().join("install"))
            .stderr(Stdio::inherit())
            .output();
        let made = made.expect("tests/peers/install");
        assert!(
            made.status.success(),
            "tests/peers/install failed: it needs python3-venv and PyPI"
        );
        String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned()
    })
}

/// A Python server.
pub(crate) struct Peer {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(python());
        command.arg(source().join("servers.py")).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let commands = child.stdin.take().expect("piped");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let port = line(&mut answers).parse().expect("a port");
        Self {
            child,
            commands,
            answers,
            port,
        }
    }

    /// Sends a command and returns its answer.
    pub(crate) fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").expect("it runs");
        line(&mut self.answers)
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("it runs");
    line.trim().to_owned()
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program from a Debian package, which is killed at the end.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        let silent = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(
            silent
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}; `make deps` installs it")),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that no one listens on.
pub(crate) fn free_port() -> ReservedPort {
    ReservedPort::on(Ipv4Addr::LOCALHOST.into())
}

/// The exporter, with modules only.
pub(crate) struct Rig {
    pub(crate) program: Program,
    web: std::net::SocketAddr,
    pub(crate) directory: TempDir,
}

impl Rig {
    /// `modules`: the content of that key in one line, without braces.
    pub(crate) async fn start(modules: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), modules).await
    }

    pub(crate) async fn start_in(directory: TempDir, modules: &str) -> Self {
        let file = directory.path().join("config.yml");
        let text = format!("side: upper\ndatabases: {{publish: off}}\ntargets: []\nmodules: {{{modules}}}\n");
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("UTF-8");
        let mut program = Program::start(&["--config.file", file, "--web.listen-address", "127.0.0.1:0"]);
        let web = program.address().await;
        Self {
            program,
            web,
            directory,
        }
    }

    /// The command `probe` with these arguments, and this exporter's configuration.
    pub(crate) async fn probe(&self, module: &str, target: &str) -> (Option<i32>, serde_json::Value) {
        let file = self.directory.path().join("config.yml");
        let file = file.to_str().expect("UTF-8");
        let arguments = [
            "probe",
            "--module",
            module,
            "--config.file",
            file,
            "--output",
            "json",
            target,
        ];
        let ended = dualtor_testkit::child::run(&arguments).await;
        let json = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        (ended.code, json)
    }

    /// Waits until a scrape satisfies `condition`. If it never does, the series of modules are printed.
    pub(crate) async fn scraped(&self, what: &str, mut condition: impl FnMut(&Scrape) -> bool) -> Scrape {
        wait_until(what, async || {
            let answer = http::get(self.web, "/metrics").await;
            let scrape = Scrape::parse(answer.text());
            if condition(&scrape) {
                return Ok(scrape);
            }
            let ours = answer
                .text()
                .lines()
                .filter(|line| line.starts_with("gr") && !line.ends_with(" 0"));
            Err(ours.collect::<Vec<_>>().join("\n"))
        })
        .await
    }

    /// Waits until the rounds of the module `m` with this result are at least `count`.
    pub(crate) async fn rounds(&self, result: &str, count: u64) -> Scrape {
        let labels = [("module", "m"), ("result", result)];
        self.scraped(&format!("{count} rounds that end with {result}"), |scrape| {
            scrape.count("grpc_probes_total", &labels) >= count
        })
        .await
    }
}
