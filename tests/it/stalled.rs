//! The real binary when its output and log are not read, or cannot be written.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use dualtor_sim::ConnectionFault;

use crate::child::Program;
use crate::harness::{LONG, Rack, Setup, wait_until};
use crate::soc_view::Look;

const PORT: &str = "Ethernet0";
const BINARY: &str = env!("CARGO_BIN_EXE_dualtor-exporter");

/// The real binary. Its log is read only up to the line with the listen address.
struct Unread {
    child: Child,
    _stderr: Option<BufReader<ChildStderr>>,
}

impl Unread {
    fn start(rack: &mut Rack, args: &[&str]) -> Self {
        let path = rack.config_path();
        let mut child = Command::new(BINARY)
            .args(["--config.file", path.to_str().expect("UTF-8")])
            .args(["--web.listen-address", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stderr = BufReader::with_capacity(256, child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("message=serving") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("a line") > 0, "it has ended");
        }
        let address = line
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        rack.web = address.expect("an address").trim().parse().expect("an address");
        Self {
            child,
            _stderr: Some(stderr),
        }
    }

    /// Sends SIGTERM; returns the time until the end, and the exit code.
    async fn stop(mut self) -> (Duration, Option<i32>) {
        let began = Instant::now();
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status();
        assert!(sent.expect("kill").success());
        let status = wait_until("its end", async || {
            self.child
                .try_wait()
                .expect("its state")
                .ok_or_else(|| "it runs on".to_owned())
        })
        .await;
        (began.elapsed(), status.code())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let setup = Setup::rack(2).channel("backoff: {initial: 10ms, max: 10ms}");
    let mut rack = setup.stage().await;
    // Nothing listens there, so each dial fails and logs a line.
    rack.settings
        .targets
        .extend((0..64).map(|n| (format!("Ethernet{}", 100 + n), ([127, 0, 0, 1], 1).into())));
    rack.write_config(&rack.settings.yaml(&rack.redis));
    let program = Unread::start(&mut rack, &["--log.level", "debug"]);
    rack.shows(PORT, &Look::HEALTHY).await;
    let dropped = "dualtor_log_lines_dropped_total";
    let first = rack.counts(dropped, &[], 1).await.count(dropped, &[]);
    // Everything continues: probing, scrapes, rows, and the count of dropped lines.
    rack.soc(PORT).connection_fault(ConnectionFault::Hang);
    rack.soc(PORT).close_connections();
    rack.shows(PORT, &Look::unknown("transient_failure")).await;
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    rack.soc(PORT).close_connections();
    rack.shows(PORT, &Look::HEALTHY).await;
    rack.counts(dropped, &[], first + 100).await;
    let (took, code) = program.stop().await;
    assert_eq!(code, Some(0));
    assert!(took < LONG, "{took:?}");
    rack.soc(PORT).connection_fault(ConnectionFault::None);
    let row = rack.row(PORT);
    assert_eq!(row["grpc_connection_status"], "SHUTDOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_flaps_says_a_few_lines_and_how_it_ended() {
    for format in ["logfmt", "json"] {
        let setup = Setup::rack(2).channel("backoff: {initial: 10ms, max: 20ms}");
        let mut rack = setup.stage().await;
        let path = rack.config_path();
        let path = path.to_str().expect("UTF-8");
        let args = [
            "--config.file",
            path,
            "--web.listen-address",
            "127.0.0.1:0",
            "--log.format",
            format,
        ];
        let mut program = Program::start(&args);
        rack.web = match format {
            "json" => {
                let line = program.says("\"message\":\"serving\"", 1).await;
                let fields: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                fields["address"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("an address")
            }
            _ => program.address().await,
        };
        let ready = [("port", PORT), ("to", "ready")];
        for times in 1..12 {
            rack.counts("dualtor_channel_transitions_total", &ready, times)
                .await;
            rack.soc(PORT).close_connections();
        }
        program.signal("TERM");
        let ended = program.ended().await;
        let about = |port: &str| -> Vec<&str> {
            let lines = ended.stderr.lines();
            lines
                .filter(|line| line.contains(&format!("{port}\"")) || line.contains(&format!("port={port} ")))
                .collect()
        };
        let lines = about(PORT);
        assert_eq!(lines.len(), 11, "{ended:?}");
        let last = lines[10];
        assert!(last.contains("shutdown") && last.contains("left_out"), "{last}");
        if format == "json" {
            let fields: serde_json::Value = serde_json::from_str(last).expect("JSON");
            assert!(fields["left_out"].as_u64() >= Some(12), "{last}");
        }
        let other = about("Ethernet4");
        assert!((3..=6).contains(&other.len()), "{other:?}");
        assert!(!other.iter().any(|line| line.contains("left_out")), "{other:?}");
    }
}

/// Runs the binary in a shell with this redirection.
async fn run(redirect: &str, args: &[&str]) -> crate::child::Ended {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirect}"), BINARY])
        .args(args);
    Program::spawn(command).ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_by_message_and_exit_code() {
    let rack = Setup::rack(1).stage().await;
    let config = rack.config_path();
    let config = config.to_str().expect("UTF-8");
    let address = rack.soc(PORT).address().to_string();
    let commands: [&[&str]; 3] = [
        &["probe", &address],
        &["--config.check", "--config.file", config],
        // There is only an empty Redis, which `doctor` reports as a problem.
        &["doctor", "--config.file", config],
    ];
    for (args, good) in commands.into_iter().zip([0, 0, 1]) {
        for (redirect, code, message) in [
            ("", good, ""),
            (
                ">/dev/full",
                2,
                "dualtor-exporter: cannot write to stdout: No space left on device",
            ),
            (">&-", good, ""),
            ("2>&-", good, ""),
            ("2>/dev/full", good, ""),
            (">/dev/full 2>/dev/full", 2, ""),
        ] {
            let ended = run(redirect, args).await;
            assert_eq!(ended.code, Some(code), "{args:?} {redirect}: {ended:?}");
            assert_eq!(
                ended.stderr.contains("cannot write"),
                !message.is_empty(),
                "{ended:?}"
            );
            assert!(ended.stderr.contains(message), "{args:?} {redirect}: {ended:?}");
            assert!(!ended.stderr.contains("panic"), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_is_no_failure() {
    let rack = Setup::rack(1).stage().await;
    let mut child = Command::new(BINARY)
        .args(["probe", &rack.soc(PORT).address().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("ended");
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Not a test: `a_panic_that_nobody_catches_is_a_line_of_the_log` runs it in a separate process, because a hook is per process.
#[test]
#[ignore = "run by another test"]
fn a_thread_that_panics() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    dualtor_exporter::runtime::defect::log_panics();
    let caught = dualtor_exporter::runtime::defect::attempt(|| panic!("caught: not logged by the hook"));
    let defect = caught.expect_err("a defect");
    writeln!(std::io::stdout(), "{defect}").expect("written");
    let ended = std::thread::spawn(|| panic!("nobody \u{1b}[31m catches\nthis")).join();
    assert!(ended.is_err());
}

#[test]
fn a_panic_that_nobody_catches_is_a_line_of_the_log() {
    let itself = std::env::current_exe().expect("this program");
    let ended = Command::new(itself)
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "stalled::a_thread_that_panics",
        ])
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("started");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr, "", "{stdout}");
    let lines: Vec<&str> = stdout.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        matches!(lines[..], [line] if line.contains("nobody \u{fffd}[31m catches\u{fffd}this") && line.contains("stalled.rs:")),
        "{stdout}"
    );
    assert!(
        stdout.contains("caught: not logged by the hook (tests/it/stalled.rs:"),
        "{stdout}"
    );
}
